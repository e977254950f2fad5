//! What every handler may know about its request beside the body, and the layer that names requests and finds their traces.

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use super::access_log::Entry;
use super::error::ApiError;
use crate::ids::RequestId;
use crate::telemetry::trace_context::{self, TraceContext};

/// What a caller calls its request; in the answer ours, when it calls it nothing.
const CALLERS_ID: &str = "x-request-id";
/// The same from Claude Code and Codex; not given back.
const CLIENTS_ID: &str = "x-client-request-id";
const LONGEST_ID: usize = 128;

/// What the caller calls its request, if that may stand in a log.
#[derive(Clone, Debug)]
pub struct CallersId(HeaderValue);

impl CallersId {
    fn of(headers: &HeaderMap, name: &str) -> Option<Self> {
        headers.get(name).filter(|value| is_id(value)).cloned().map(Self)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The layer: draws the request's id, finds its trace, puts both on the response, and renders errors with the id.
///
/// `request-id` is always ours, as Anthropic's SDKs read it; `x-request-id` is the caller's own if it sent one.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let id = RequestId::draw();
    let trace = TraceContext::from_headers(request.headers());
    let named = CallersId::of(request.headers(), CALLERS_ID);
    let known = named.clone().or_else(|| CallersId::of(request.headers(), CLIENTS_ID));
    let extensions = request.extensions_mut();
    extensions.insert(id.clone());
    extensions.insert(trace.clone());
    if let Some(known) = known {
        extensions.insert(known);
    }
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.render(&id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(CALLERS_ID, named.map_or_else(|| value.clone(), |named| named.0));
        headers.insert("request-id", value);
    }
    if let Some(value) = trace.response_header() {
        headers.insert(trace_context::TRACERESPONSE, value);
    }
    response
}

/// Whether a caller's name for its request is given back: letters, digits, dots, dashes and underscores.
fn is_id(value: &HeaderValue) -> bool {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=LONGEST_ID).contains(&value.len()) && value.as_bytes().iter().all(fine)
}

/// The line in the access log, from the layer that opened it.
impl<S: Sync> FromRequestParts<S> for Entry {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let entry = parts.extensions.get::<Self>().cloned();
        entry.ok_or_else(|| ApiError::new(protocol::anthropic::ErrorType::Api, "no log entry was opened"))
    }
}

/// A panic below becomes an answer without details; its text is in the log.
#[must_use]
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    use axum::response::IntoResponse;
    ApiError::new(protocol::anthropic::ErrorType::Api, "internal error in the gateway").into_response()
}
