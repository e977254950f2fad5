//! Response headers of the proxy: the upstream API, and what was changed in the request.

use http::{HeaderMap, HeaderName, HeaderValue};
use protocol::apis::UpstreamApi;
use protocol::translate::{self, Notice};

/// What was changed in the request.
pub(super) const NOTICE: HeaderName = HeaderName::from_static("x-bedrock-proxy-notice");
/// The upstream API that was used.
const ROUTE: HeaderName = HeaderName::from_static("x-bedrock-proxy-route");
/// Proxies in front take some kilobytes of headers in all.
const MAX_NOTICE_LEN: usize = 1024;

/// Adds the upstream API, if the proxy chose one.
pub(super) fn add_route(api: Option<UpstreamApi>, headers: &mut HeaderMap) {
    if let Some(api) = api {
        headers.insert(ROUTE, HeaderValue::from_static(api.as_str()));
    }
}

/// Adds the notices, if there are any.
pub(super) fn add_notices(notices: &[Notice], headers: &mut HeaderMap) {
    if let Some(line) = notice_line(notices) {
        headers.insert(NOTICE, line);
    }
}

/// All notices in one line: printable ASCII, bounded.
fn notice_line(notices: &[Notice]) -> Option<HeaderValue> {
    if notices.is_empty() {
        return None;
    }
    let ascii = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    let line: String =
        translate::notice_summary(notices, MAX_NOTICE_LEN).chars().map(ascii).take(MAX_NOTICE_LEN).collect();
    HeaderValue::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_one_bounded_line_of_ascii() {
        let notices = [("a.b", "dröpped\r\nx: y"), ("c", &"long ".repeat(1000))].map(|(path, what)| Notice {
            path: path.to_owned(),
            what: what.to_owned(),
            dropped: false,
        });
        let line_of = |notices| notice_line(notices).unwrap().to_str().unwrap().to_owned();
        assert_eq!(line_of(&notices[..]), "a.b: dr?pped??x: y; and 1 more");
        assert_eq!(line_of(&notices[1..]).len(), MAX_NOTICE_LEN);
        assert_eq!(notice_line(&[]), None);
    }
}
