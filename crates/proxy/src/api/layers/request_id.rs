//! The layer that gives a request its id and finds its trace.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue};

use crate::api::error::ApiError;
use crate::ids::RequestId;
use crate::telemetry::trace_context::{self, TraceContext};

/// The client's id of the request; in the response ours, if the client sent none.
const X_REQUEST_ID: &str = "x-request-id";
/// The same from Claude Code and Codex; not in the response.
const X_CLIENT_REQUEST_ID: &str = "x-client-request-id";
/// UUIDs and trace ids are shorter; a log line has room for no more.
const MAX_ID_LEN: usize = 128;

/// The client's id of a request, if it may stand in a log.
#[derive(Clone, Debug)]
pub(crate) struct ClientRequestId(HeaderValue);

impl ClientRequestId {
    fn from_headers(headers: &HeaderMap, name: &str) -> Option<Self> {
        headers.get(name).filter(|value| is_valid_id(value)).cloned().map(Self)
    }

    /// The id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Generates the request's id, finds its trace, puts both on the response, and renders errors that have no record.
///
/// `request-id` is always ours, as Anthropic's SDKs read it; `x-request-id` is the client's own if it sent one.
pub(crate) async fn layer(mut request: Request, next: Next) -> Response {
    let id = RequestId::generate();
    let trace = TraceContext::from_headers(request.headers());
    let client_id = ClientRequestId::from_headers(request.headers(), X_REQUEST_ID);
    let logged_id =
        client_id.clone().or_else(|| ClientRequestId::from_headers(request.headers(), X_CLIENT_REQUEST_ID));
    let extensions = request.extensions_mut();
    extensions.insert(id.clone());
    extensions.insert(trace.clone());
    if let Some(logged_id) = logged_id {
        extensions.insert(logged_id);
    }
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.render(&id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, client_id.map_or_else(|| value.clone(), |client_id| client_id.0));
        headers.insert("request-id", value);
    }
    if let Some(value) = trace.response_header() {
        headers.insert(trace_context::TRACERESPONSE, value);
    }
    response
}

/// Letters, digits, dots, dashes and underscores.
fn is_valid_id(value: &HeaderValue) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=MAX_ID_LEN).contains(&value.len()) && value.as_bytes().iter().all(is_allowed)
}
