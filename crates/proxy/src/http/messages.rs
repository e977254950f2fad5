//! `POST /v1/messages`: the life of a request.
//!
//! <https://docs.anthropic.com/en/api/messages>

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use messages::anthropic::Request;
use messages::translate::{self, Notice, Options};

use super::access_log::Entry;
use super::body::Whole;
use super::error::ApiError;
use super::opening::Inquiry;
use super::{relay, whole};
use crate::app::App;
use crate::catalog::Target;

/// Tells the client what was changed in its request.
const NOTICE: &str = "x-bedrock-proxy-notice";
const LONGEST_NOTICE: usize = 1024;

/// Translates the request, asks Bedrock, and answers with a stream or with one message.
///
/// # Errors
/// In Anthropic's words; see the table in [`super::error`].
pub async fn post(
    State(app): State<Arc<App>>,
    entry: Entry,
    Whole(body): Whole,
) -> Result<Response, ApiError> {
    let request = Request::parse(&body)?;
    let streams = request.stream.unwrap_or(false);
    let target = app.catalog.resolve(request.model.as_deref())?;
    note(&entry, &target, streams);
    let call = translate::request(request, &target.capabilities, &options(&app, &target))?;
    drop(body);
    if !call.losses.is_empty() {
        return Err(translate::refusal(&call.losses).into());
    }
    let notice = notice(&call.notices);
    note_notices(&entry, &call.notices);
    let inquiry = Inquiry::new(target, call, entry, app.relay.xml_buffer);
    let answer = async {
        if streams {
            relay::respond(Arc::clone(&app), inquiry).await
        } else {
            whole::respond(Arc::clone(&app), inquiry).await
        }
    };
    let mut response = tokio::select! {
        answer = answer => answer?,
        () = app.tasks.cutting() => return Err(ApiError::shutting_down()),
    };
    if let Some(notice) = notice {
        response.headers_mut().insert(NOTICE, notice);
    }
    Ok(response)
}

fn note(entry: &Entry, target: &Target, streams: bool) {
    entry.note(|fields| {
        fields.model_requested = Some(target.requested.clone());
        fields.model_upstream = Some(target.model_id.clone());
        fields.stream = streams;
    });
}

/// Notices name places and reasons, never content.
fn note_notices(entry: &Entry, notices: &[Notice]) {
    entry.note(|fields| fields.notices = notices.len());
    for notice in notices {
        tracing::debug!(request_id = %entry.request_id(), %notice, "the request was changed");
    }
}

/// The default for `max_tokens` is the operator's, as far as the model goes.
fn options(app: &App, target: &Target) -> Options {
    let most = target.capabilities.max_output_tokens.unwrap_or(u64::MAX);
    Options { default_max_tokens: app.relay.default_max_tokens.min(most) }
}

/// All notices in one header: printable ASCII, bounded.
fn notice(notices: &[Notice]) -> Option<HeaderValue> {
    if notices.is_empty() {
        return None;
    }
    let text = notices.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let plain = |letter: char| {
        if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' }
    };
    let line: String = text.chars().take(LONGEST_NOTICE).map(plain).collect();
    HeaderValue::from_str(&line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_bounded_line_of_ascii() {
        let notices = [("a.b", "dröpped\r\nx: y"), ("c", &"long ".repeat(1000))]
            .map(|(path, what)| Notice { path: path.to_owned(), what: what.to_owned() });
        let line = notice(&notices).unwrap();
        let line = line.to_str().unwrap();
        assert!(line.starts_with("a.b: dr?pped??x: y; c: long"), "{line}");
        assert_eq!(line.len(), LONGEST_NOTICE);
        assert_eq!(notice(&[]), None);
    }
}
