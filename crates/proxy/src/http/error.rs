//! The one table of errors: kind → status, and what a client is told beside it. Two renderings: JSON before the first
//! byte of a stream, `event: error` after it.
//!
//! <https://docs.anthropic.com/en/api/errors>

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use messages::anthropic::{Error, ErrorType, Event, InvalidRequest, sse};
use messages::translate::{self, Fault, Retry};
use serde::Serialize;

use crate::bedrock::Failure;
use crate::catalog::Unresolved;
use crate::ids::RequestId;

/// Seconds a client should wait after a throttle; AWS names none.
const RETRY_AFTER: &str = "5";

/// An error on its way to the client. Returned by handlers; rendered once, where the request id is known.
#[derive(Clone, Debug)]
pub struct ApiError {
    error: Error,
    status: StatusCode,
    /// `x-should-retry: false`, which Anthropic's SDKs obey.
    hopeless: bool,
}

/// The status of each kind of error.
fn status(kind: ErrorType) -> StatusCode {
    match kind {
        ErrorType::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorType::Authentication => StatusCode::UNAUTHORIZED,
        ErrorType::Billing => StatusCode::PAYMENT_REQUIRED,
        ErrorType::Permission => StatusCode::FORBIDDEN,
        ErrorType::NotFound => StatusCode::NOT_FOUND,
        ErrorType::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorType::RateLimit => StatusCode::TOO_MANY_REQUESTS,
        ErrorType::Api => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorType::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorType::Overloaded => StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
    }
}

impl ApiError {
    /// An error of `kind` with the status of its kind.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Error::new(kind, message).into()
    }

    /// The same error with another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Something between the client and the model is broken, and the client cannot mend it: 502.
    pub fn gateway(message: impl Into<String>) -> Self {
        Self::new(ErrorType::Api, message).with_status(StatusCode::BAD_GATEWAY)
    }

    /// The server ends before the answer does.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(ErrorType::Overloaded, "the gateway is shutting down; send the request again")
    }

    /// What happened, in Anthropic's words.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The JSON rendering.
    #[must_use]
    pub fn render(&self, request_id: &RequestId) -> Response {
        #[derive(Serialize)]
        struct Envelope<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            error: &'a Error,
            request_id: &'a str,
        }
        let envelope = Envelope { kind: "error", error: &self.error, request_id: request_id.as_str() };
        let json = serde_json::to_vec(&envelope).unwrap_or_default();
        let mut response = (self.status, Bytes::from(json)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.hopeless {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        } else if self.error.kind == ErrorType::RateLimit {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }

    /// The event rendering, appended to `out`.
    pub(super) fn render_event(&self, request_id: &RequestId, out: &mut Vec<u8>) {
        let error = Cow::Borrowed(&self.error);
        sse::write(&Event::Error { error, request_id: Some(Cow::Borrowed(request_id.as_str())) }, out);
    }
}

/// Carries the error to the layer that knows the request id; that layer writes the body.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self { status: status(error.kind), error, hopeless: false }
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(invalid: InvalidRequest) -> Self {
        Error::from(invalid).into()
    }
}

impl From<Unresolved> for ApiError {
    fn from(unresolved: Unresolved) -> Self {
        let kind = match unresolved {
            Unresolved::Missing | Unresolved::Malformed(_) => ErrorType::InvalidRequest,
            Unresolved::Unknown(_) => ErrorType::NotFound,
        };
        Self::new(kind, unresolved.to_string())
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.meaning.into(),
            Failure::NotAStream { content_type, .. } => Self::gateway(format!(
                "Bedrock's endpoint did not answer with an event stream but with content-type {content_type}; a proxy \
                 in between or a wrong endpoint URL is the usual cause"
            )),
            // Where Bedrock is, the operator's log says.
            Failure::Unreachable { connecting: true, .. } => {
                Self::gateway("the gateway cannot reach Bedrock")
            }
            Failure::Unreachable { .. } => Self::gateway("Bedrock closed the connection without an answer"),
            Failure::NoCredentials(_) => {
                Self::gateway("the gateway has no AWS credentials; its operator finds the reason in its log")
            }
            Failure::Unreadable { host, .. } => Self::gateway(format!("the answer of {host} cannot be read")),
            Failure::Unsendable(_) => {
                Self::new(ErrorType::Api, "the gateway could not make a request of this")
            }
        }
    }
}

/// What AWS said, before a stream or inside one.
impl From<translate::Failure> for ApiError {
    fn from(failure: translate::Failure) -> Self {
        // The gateway's own credentials, or an answer that is none: not the client's fault and not the model's.
        let gateway = failure.error.kind == ErrorType::Api
            && (failure.fault == Fault::Operator || failure.code == translate::Failure::BAD_STREAM);
        // A daily quota or an account limit does not pass by waiting a moment.
        let hopeless = failure.error.kind == ErrorType::RateLimit && failure.retry == Retry::Never;
        let error = Self { hopeless, ..failure.error.into() };
        if gateway { error.with_status(StatusCode::BAD_GATEWAY) } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_status_that_anthropic_documents() {
        let table = [
            (ErrorType::InvalidRequest, 400),
            (ErrorType::Authentication, 401),
            (ErrorType::Billing, 402),
            (ErrorType::Permission, 403),
            (ErrorType::NotFound, 404),
            (ErrorType::TooLarge, 413),
            (ErrorType::RateLimit, 429),
            (ErrorType::Api, 500),
            (ErrorType::Timeout, 504),
            (ErrorType::Overloaded, 529),
        ];
        for (kind, expected) in table {
            assert_eq!(ApiError::new(kind, "").status.as_u16(), expected);
        }
    }

    #[test]
    fn a_throttle_says_when_to_come_back() {
        let response = ApiError::new(ErrorType::RateLimit, "slow down").render(&RequestId::draw());
        assert_eq!(response.headers()["retry-after"], "5");
    }

    #[test]
    fn the_event_rendering_names_the_request() {
        let (id, mut out) = (RequestId::draw(), Vec::new());
        ApiError::new(ErrorType::Overloaded, "full").render_event(&id, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("event: error\ndata: {\"type\":\"error\""), "{text}");
        assert!(text.contains("overloaded_error") && text.contains(id.as_str()), "{text}");
    }
}
