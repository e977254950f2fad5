//! The one table of errors: kind → status, and what a client is told beside it. Two renderings: JSON before the first
//! byte of a stream, in Anthropic's envelope or OpenAI's, and `event: error` after it.
//!
//! <https://docs.anthropic.com/en/api/errors>

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use protocol::anthropic::{Error, ErrorType, InvalidRequest};
use protocol::translate::{self, Fault, Retry};
use serde::Serialize;

use crate::bedrock::Failure;
use crate::catalog::ResolveError;
use crate::ids::RequestId;

/// Seconds a client should wait when there is too much at once and nobody knows better; AWS names none.
const PAUSE: u16 = 5;

/// An error on its way to the client. Returned by handlers; rendered once, where the request id is known.
#[derive(Clone, Debug)]
pub struct ApiError {
    error: Error,
    status: StatusCode,
    /// `x-should-retry: false`, which Anthropic's SDKs obey.
    hopeless: bool,
    /// `retry-after`, in seconds; 0 says nothing.
    pause: u16,
    /// The row of `docs/errors.md` that explains it, unless clients have to read AWS's words as they are.
    explained: Option<&'static str>,
    /// Whose fault it is, where AWS or the way to it said so.
    fault: Option<Fault>,
    /// Whether the client speaks OpenAI's language.
    chat: bool,
    /// Further headers; boxed, as hardly any error has some.
    headers: Option<Box<HeaderMap>>,
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

    /// The same error with further headers, which win over those that its kind brings.
    #[must_use]
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers: Some(Box::new(headers)), ..self }
    }

    /// The same error for a client that speaks OpenAI's language.
    #[must_use]
    pub fn for_chat(self) -> Self {
        Self { chat: true, ..self }
    }

    /// What happened, in Anthropic's words.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Whose fault it is, for the log: `client`, `auth`, `quota`, `upstream` or `gateway`.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match (self.fault, self.error.kind) {
            (Some(Fault::Client), _) => "client",
            (Some(Fault::Upstream | Fault::Network), _) => "upstream",
            (Some(Fault::Operator | Fault::Gateway), _) => "gateway",
            (None, ErrorType::InvalidRequest | ErrorType::NotFound | ErrorType::TooLarge) => "client",
            (None, ErrorType::Authentication | ErrorType::Permission) => "auth",
            (None, ErrorType::Billing | ErrorType::RateLimit) => "quota",
            (None, ErrorType::Timeout) => "upstream",
            (None, _) if self.status == StatusCode::BAD_GATEWAY => "upstream",
            (None, ErrorType::Api | ErrorType::Overloaded) => "gateway",
        }
    }

    /// The row of `docs/errors.md` that explains it.
    pub(super) fn explained(&self) -> Option<&'static str> {
        self.explained
    }

    /// Its further headers.
    pub(super) fn headers(&self) -> HeaderMap {
        self.headers.as_deref().cloned().unwrap_or_default()
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
        let error = &self.worded(request_id);
        let envelope = Envelope { kind: "error", error, request_id: request_id.as_str() };
        let json = if self.chat {
            translate::chat_error(error).envelope()
        } else {
            serde_json::to_vec(&envelope).unwrap_or_default()
        };
        let mut response = (self.status, Bytes::from(json)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.hopeless {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        } else if self.pause > 0 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.pause));
        }
        for (name, value) in self.headers.iter().flat_map(|headers| headers.iter()) {
            headers.insert(name, value.clone());
        }
        response
    }

    /// The error with where to read on: many clients show the message and nothing else.
    pub(super) fn worded(&self, request_id: &RequestId) -> Cow<'_, Error> {
        let Some(code) = self.explained else { return Cow::Borrowed(&self.error) };
        let message = format!("{} [{code} {}]", self.error.message, request_id.as_str());
        Cow::Owned(Error::new(self.error.kind, message))
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
        let pause = if error.kind == ErrorType::RateLimit { PAUSE } else { 0 };
        // The same token will not be better a moment later.
        let hopeless = matches!(error.kind, ErrorType::Authentication | ErrorType::Permission);
        Self {
            status: status(error.kind),
            error,
            hopeless,
            pause,
            explained: None,
            fault: None,
            chat: false,
            headers: None,
        }
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(invalid: InvalidRequest) -> Self {
        Error::from(invalid).into()
    }
}

impl From<ResolveError> for ApiError {
    fn from(unresolved: ResolveError) -> Self {
        let kind = match unresolved {
            ResolveError::MissingModel | ResolveError::InvalidName(_) => ErrorType::InvalidRequest,
            ResolveError::UnknownModel(_) => ErrorType::NotFound,
        };
        Self::new(kind, unresolved.to_string())
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        failure.meaning().into()
    }
}

/// What went wrong upstream, before a stream or inside one.
impl From<translate::MappedError> for ApiError {
    fn from(failure: translate::MappedError) -> Self {
        let kind = failure.error.kind;
        // The gateway's own credentials, or the way to AWS: not the client's fault and not the model's.
        let gateway = kind == ErrorType::Api && matches!(failure.fault, Fault::Operator | Fault::Network);
        // What clients would try again by themselves, in vain: a daily quota, wrong credentials.
        let retried = matches!(
            kind,
            ErrorType::RateLimit | ErrorType::Api | ErrorType::Timeout | ErrorType::Overloaded
        );
        let hopeless = retried && matches!(failure.retry, Retry::Never | Retry::WithNewCredentials);
        let explained = (!failure.known_error.is_verbatim()).then_some(failure.known_error.code);
        let error = Self::from(failure.error);
        let pause = failure.known_error.retry_after.max(error.pause);
        let error = Self { hopeless, explained, pause, fault: Some(failure.fault), ..error };
        if gateway { error.with_status(StatusCode::BAD_GATEWAY) } else { error }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use protocol::anthropic::MessagesFormat;
    use protocol::converse::event::Exception;
    use protocol::event_sink::ClientFormat;

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

    /// Each row of the table of errors as it reaches a client.
    #[test]
    fn what_clients_see_of_each_row() {
        let mut table = String::new();
        let id = RequestId::draw();
        for row in translate::KNOWN_ERRORS {
            let exception = Exception { message: Some(row.example.to_owned()), ..Exception::default() };
            let error = ApiError::from(translate::map_error(row.status, row.exceptions[0], &exception));
            let response = error.render(&id);
            let _ =
                write!(table, "{:5}{} {}", row.code, response.status().as_u16(), error.error.kind.as_str());
            for name in ["retry-after", "x-should-retry"] {
                if let Some(value) = response.headers().get(name) {
                    let _ = write!(table, ", {name}: {}", value.to_str().unwrap());
                }
            }
            let worded = error.worded(&id).message.clone();
            let named = worded.ends_with(&format!("[{} {}]", row.code, id.as_str()));
            assert_eq!(named, !row.is_verbatim(), "{worded}");
            table.push_str(if named { ", explained\n" } else { "\n" });
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn an_error_is_somebodys_fault() {
        for (kind, class) in [
            (ErrorType::InvalidRequest, "client"),
            (ErrorType::Authentication, "auth"),
            (ErrorType::Permission, "auth"),
            (ErrorType::Billing, "quota"),
            (ErrorType::RateLimit, "quota"),
            (ErrorType::Timeout, "upstream"),
            (ErrorType::Overloaded, "gateway"),
            (ErrorType::Api, "gateway"),
        ] {
            assert_eq!(ApiError::new(kind, "").class(), class);
        }
        assert_eq!(ApiError::gateway("").class(), "upstream");
        let throttled = Exception { message: Some("Too many requests".to_owned()), ..Exception::default() };
        let throttled = translate::map_error(429, "ThrottlingException", &throttled);
        assert_eq!(ApiError::from(throttled).class(), "upstream");
    }

    #[test]
    fn a_throttle_says_when_to_come_back() {
        let response = ApiError::new(ErrorType::RateLimit, "slow down").render(&RequestId::draw());
        assert_eq!(response.headers()["retry-after"], "5");
    }

    #[test]
    fn the_event_rendering_names_the_request() {
        let (id, mut encoder) = (RequestId::draw(), MessagesFormat.encoder());
        encoder.error(&ApiError::new(ErrorType::Overloaded, "full").worded(&id), id.as_str());
        let text = String::from_utf8(encoder.take()).unwrap();
        assert!(text.starts_with("event: error\ndata: {\"type\":\"error\""), "{text}");
        assert!(text.contains("overloaded_error") && text.contains(id.as_str()), "{text}");
    }
}
