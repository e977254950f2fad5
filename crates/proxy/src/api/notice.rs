//! The header that tells a client what was changed in its request.

use http::{HeaderName, HeaderValue};
use protocol::translate::{self, Notice};

/// Its name.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-bedrock-proxy-notice");
const LONGEST: usize = 1024;

/// All notices in one line: printable ASCII, bounded.
pub(super) fn line(notices: &[Notice]) -> Option<HeaderValue> {
    if notices.is_empty() {
        return None;
    }
    let plain = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
    let line: String = translate::notice_summary(notices, LONGEST).chars().map(plain).take(LONGEST).collect();
    HeaderValue::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_bounded_line_of_ascii() {
        let notices = [("a.b", "dröpped\r\nx: y"), ("c", &"long ".repeat(1000))].map(|(path, what)| Notice {
            path: path.to_owned(),
            what: what.to_owned(),
            dropped: false,
        });
        let line_of = |notices| line(notices).unwrap().to_str().unwrap().to_owned();
        assert_eq!(line_of(&notices[..]), "a.b: dr?pped??x: y; and 1 more");
        assert_eq!(line_of(&notices[1..]).len(), LONGEST);
        assert_eq!(line(&[]), None);
    }
}
