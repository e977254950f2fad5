//! Errors on their way to the client: kind → status and retry advice, and one rendering for each client API.
//!
//! <https://docs.anthropic.com/en/api/errors>

mod aws;

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use protocol::anthropic::{Error, ErrorType, InvalidRequest};
use protocol::apis::ClientApi;
use protocol::translate::{Fault, Retry, chat_error};
use serde::Serialize;

use crate::bedrock::{ServiceError, UpstreamError};
use crate::catalog::ResolveError;
use crate::ids::RequestId;
use crate::inference::{InferenceError, error_class, message_with_code, resolve_error};
use crate::language::{ERRORS, Language};
use crate::telemetry::record::{ErrorRecord, loggable_path};
use aws::AwsResponse;

/// Seconds of `retry-after` for errors that pass by themselves; their sentences have "a few seconds".
const RETRY_AFTER_SECONDS: u16 = 5;

/// `content-language` of a translated error.
const SPANISH: HeaderValue = HeaderValue::from_static("es");

/// The shape of errors, by route group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    /// Anthropic's.
    Anthropic,
    /// OpenAI's.
    OpenAi,
    /// AWS's.
    Aws,
}

/// An error on its way to the client. Returned by handlers; rendered once, where the request id is known.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    error: Error,
    status: StatusCode,
    /// Whether the status is another than that of the kind.
    has_own_status: bool,
    /// `x-should-retry`, which Anthropic's SDKs obey.
    should_retry: Option<bool>,
    /// `retry-after`, in seconds; 0 sends no header.
    retry_after: u16,
    /// The code of the error in `docs/errors.md`, unless clients have to read AWS's text as it is.
    doc_code: Option<&'static str>,
    /// The code for the log, which has one also where clients have to read AWS's text as it is.
    log_code: Option<&'static str>,
    /// Whose fault it is, where AWS or the connection to it failed.
    fault: Option<Fault>,
    format: ErrorFormat,
    /// The language of the message.
    language: Language,
    /// Further headers; boxed, as hardly any error has some.
    headers: Option<Box<HeaderMap>>,
    /// For [`ErrorFormat::Aws`].
    aws: Option<Box<AwsResponse>>,
}

fn status(kind: ErrorType) -> StatusCode {
    StatusCode::from_u16(ClientApi::Messages.error_status(kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl ApiError {
    /// An error of `kind` with the status of its kind.
    pub(crate) fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Error::new(kind, message).into()
    }

    /// The same error with another status.
    #[must_use]
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status, has_own_status: true, ..self }
    }

    /// 502: something between the client and the model is broken, and the client cannot mend it.
    pub(crate) fn bad_gateway(message: impl Into<String>) -> Self {
        let error = Self::new(ErrorType::Api, message).with_status(StatusCode::BAD_GATEWAY);
        Self { fault: Some(Fault::Upstream), ..error }
    }

    /// 503: the database is needed and unavailable.
    pub(crate) fn database_unavailable(message: impl Into<String>) -> Self {
        let error = Self::new(ErrorType::Api, message).with_status(StatusCode::SERVICE_UNAVAILABLE);
        Self { retry_after: RETRY_AFTER_SECONDS, ..error }
    }

    /// The same error with another `retry-after`, in seconds.
    #[must_use]
    pub(super) fn with_retry_after(self, retry_after: u16) -> Self {
        Self { retry_after, ..self }
    }

    /// The same error with further headers, which win over those that its kind brings.
    #[must_use]
    pub(crate) fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers: Some(Box::new(headers)), ..self }
    }

    /// The same error with its code for the log.
    #[must_use]
    pub(super) fn with_log_code(self, code: &'static str) -> Self {
        Self { log_code: Some(code), ..self }
    }

    /// Sets the shape.
    pub(super) fn set_format(&mut self, format: ErrorFormat) {
        self.format = format;
    }

    /// Sets the language of the message.
    pub(super) fn set_language(&mut self, language: Language) {
        self.language = language;
    }

    /// `message` in the language of the client; `None` where it stays as it is.
    fn translated(&self, message: &str) -> Option<String> {
        match self.language {
            Language::English => None,
            Language::Spanish => ERRORS.translate_error(message),
        }
    }

    /// The cause, for the log: `client`, `auth`, `quota`, `upstream` or `gateway`.
    #[must_use]
    pub(crate) fn class(&self) -> &'static str {
        error_class(self.fault, self.error.kind)
    }

    /// The error for the request record.
    pub(super) fn to_record(&self) -> ErrorRecord {
        let path = self.error.path.as_deref().map(loggable_path);
        ErrorRecord { kind: self.error.kind.as_str(), class: self.class(), code: self.log_code, path }
    }

    /// Renders the response.
    #[must_use]
    pub(crate) fn render(&self, request_id: &RequestId) -> Response {
        #[derive(Serialize)]
        struct Envelope<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            error: &'a Error,
            request_id: &'a str,
        }
        let error = self.message_with_code(request_id);
        let (json, translated) = match self.format {
            ErrorFormat::Aws => return aws::render(self),
            ErrorFormat::OpenAi => {
                // Its code follows from the English message.
                let mut error = chat_error(&error);
                let translated = self.translated(&error.message);
                error.message = translated.clone().unwrap_or(error.message);
                (error.envelope(), translated)
            }
            ErrorFormat::Anthropic => {
                let translated = self.translated(&error.message);
                let message = translated.clone().unwrap_or_else(|| error.message.clone());
                let error = &Error { message, ..error.into_owned() };
                let envelope = Envelope { kind: "error", error, request_id: request_id.as_str() };
                (serde_json::to_vec(&envelope).unwrap_or_default(), translated)
            }
        };
        let mut response = (self.status, Bytes::from(json)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if translated.is_some() {
            headers.insert(header::CONTENT_LANGUAGE, SPANISH);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(should_retry) = self.should_retry {
            let value = if should_retry { "true" } else { "false" };
            headers.insert("x-should-retry", HeaderValue::from_static(value));
        } else if self.retry_after > 0 {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        for (name, value) in self.headers.iter().flat_map(|headers| headers.iter()) {
            headers.insert(name, value.clone());
        }
        response
    }

    /// The error with its code in the message: many clients show the message alone.
    fn message_with_code(&self, request_id: &RequestId) -> Cow<'_, Error> {
        match self.doc_code {
            Some(code) => message_with_code(&self.error, code, request_id),
            None => Cow::Borrowed(&self.error),
        }
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
        let passes = matches!(error.kind, ErrorType::RateLimit | ErrorType::Overloaded);
        let retry_after = if passes { RETRY_AFTER_SECONDS } else { 0 };
        // The same token is no better a moment later.
        let is_final = matches!(error.kind, ErrorType::Authentication | ErrorType::Permission);
        Self {
            status: status(error.kind),
            has_own_status: false,
            error,
            should_retry: is_final.then_some(false),
            retry_after,
            doc_code: None,
            log_code: None,
            fault: None,
            format: ErrorFormat::Anthropic,
            language: Language::English,
            headers: None,
            aws: None,
        }
    }
}

impl From<InvalidRequest> for ApiError {
    fn from(invalid: InvalidRequest) -> Self {
        Error::from(invalid).into()
    }
}

impl From<ResolveError> for ApiError {
    fn from(error: ResolveError) -> Self {
        resolve_error(&error).into()
    }
}

impl From<InferenceError> for ApiError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Resolve(error) => error.into(),
            InferenceError::Admit(error) => error.into(),
            InferenceError::Upstream(error) => (*error).into(),
            InferenceError::BadGateway(message) => Self::bad_gateway(message),
            InferenceError::Invalid(_)
            | InferenceError::Timeout(_)
            | InferenceError::Busy
            | InferenceError::ShuttingDown => error.to_error().into(),
        }
    }
}

impl From<UpstreamError> for ApiError {
    fn from(error: UpstreamError) -> Self {
        InferenceError::from(error).into()
    }
}

/// Full seconds, rounded up.
fn seconds(duration: Duration) -> u16 {
    u16::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u16::MAX)
}

/// What AWS responded with, before a stream or inside one.
impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        let ServiceError { mapped, status, request_id, retry_after } = error;
        let kind = mapped.error.kind;
        let aws = AwsResponse {
            status,
            message: mapped.replaced_aws_message(),
            code: mapped.code,
            request_id,
            retry_after: retry_after.map(seconds),
            is_operator_fault: mapped.fault == Fault::Operator && kind == ErrorType::Api,
        };
        // The proxy's own credentials, or the connection to AWS: neither the client's fault nor the model's.
        let is_bad_gateway =
            kind == ErrorType::Api && matches!(mapped.fault, Fault::Operator | Fault::Network);
        // Errors that clients retry by default although a retry cannot help: a daily quota, rejected credentials.
        let is_retried = matches!(
            kind,
            ErrorType::RateLimit | ErrorType::Api | ErrorType::Timeout | ErrorType::Overloaded
        );
        let is_final = is_retried && matches!(mapped.retry, Retry::Never | Retry::WithNewCredentials);
        let is_throttle = kind == ErrorType::RateLimit;
        let error = Self::from(mapped.error);
        let error = Self {
            should_retry: is_final.then_some(false),
            log_code: Some(mapped.known_error.code),
            doc_code: (!mapped.known_error.is_verbatim()).then_some(mapped.known_error.code),
            // A throttle of AWS names no time; an overloaded model may be overloaded for long.
            retry_after: match retry_after {
                Some(retry_after) => seconds(retry_after),
                None if is_throttle => mapped.known_error.retry_after.max(error.retry_after),
                None => mapped.known_error.retry_after,
            },
            fault: Some(mapped.fault),
            aws: Some(Box::new(aws)),
            ..error
        };
        if is_bad_gateway { Self { status: StatusCode::BAD_GATEWAY, ..error } } else { error }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use protocol::converse::event::Exception;
    use protocol::translate::{KNOWN_ERRORS, MappedError, map_error};

    use super::*;
    use crate::auth::AccessError;
    use crate::quota::{AdmitError, LimitScope, LimitStatus, Period};

    #[test]
    fn error_kinds_have_anthropics_statuses() {
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

    fn service_error(mapped: MappedError) -> ApiError {
        ServiceError { mapped, status: None, request_id: None, retry_after: None }.into()
    }

    /// Each row of the table of errors as it reaches a client.
    #[test]
    fn known_errors_render_as_documented() {
        let mut table = String::new();
        let id = RequestId::generate();
        for row in KNOWN_ERRORS {
            let exception = Exception { message: Some(row.example.to_owned()), ..Exception::default() };
            let error = service_error(map_error(row.status, row.exceptions[0], &exception));
            let response = error.render(&id);
            let _ =
                write!(table, "{:5}{} {}", row.code, response.status().as_u16(), error.error.kind.as_str());
            for name in ["retry-after", "x-should-retry"] {
                if let Some(value) = response.headers().get(name) {
                    let _ = write!(table, ", {name}: {}", value.to_str().unwrap());
                }
            }
            let message = error.message_with_code(&id).message.clone();
            let named = message.ends_with(&format!("[{} {}]", row.code, id.as_str()));
            assert_eq!(named, !row.is_verbatim(), "{message}");
            table.push_str(if named { ", explained\n" } else { "\n" });
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn errors_have_a_class() {
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
        assert_eq!(ApiError::bad_gateway("").class(), "upstream");
        let throttled = Exception { message: Some("Too many requests".to_owned()), ..Exception::default() };
        let throttled = map_error(429, "ThrottlingException", &throttled);
        assert_eq!(service_error(throttled).class(), "upstream");
    }

    /// All errors with the status 429, 503 or 529 that are not AWS's.
    fn own_retryable_errors() -> Vec<ApiError> {
        let midnight = 1_795_305_600_000;
        let period =
            Period { start: midnight, end: midnight + 86_400_000, date: jiff::civil::date(2026, 11, 22) };
        let exceeded = |used, reserved| AdmitError::LimitExceeded {
            status: LimitStatus {
                scope: LimitScope::User,
                name: "ana".to_owned(),
                label: None,
                limit: 1000,
                used,
                reserved,
            },
            need: 100,
            min_need: 100,
            period,
            now: midnight + 1000,
        };
        let denied = [
            exceeded(0, 950),
            exceeded(950, 0),
            exceeded(1000, 0),
            AdmitError::StoreUnavailable(LimitScope::Team),
            AdmitError::StoreBusy,
            AdmitError::QueueFull,
            AdmitError::ShuttingDown,
        ];
        let rejected = [
            AccessError::TooManyRequests { user_id: "ana".to_owned(), max: 2 },
            AccessError::StoreUnavailable,
        ];
        let failed = [
            InferenceError::Busy,
            InferenceError::ShuttingDown,
            InferenceError::Resolve(ResolveError::LookupBusy),
        ];
        let errors = denied.into_iter().map(ApiError::from).chain(rejected.into_iter().map(ApiError::from));
        errors.chain(failed.into_iter().map(ApiError::from)).collect()
    }

    #[tokio::test]
    async fn retry_after_agrees_with_the_sentence() {
        for error in own_retryable_errors() {
            for format in [ErrorFormat::Anthropic, ErrorFormat::OpenAi, ErrorFormat::Aws] {
                let mut error = error.clone();
                error.set_format(format);
                let response = error.render(&RequestId::generate());
                assert!([429, 503, 529, 400].contains(&response.status().as_u16()), "{error:?}");
                let header =
                    |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
                let seconds: Option<u64> = header("retry-after").map(|value| value.parse().unwrap());
                let is_final = header("x-should-retry").as_deref() == Some("false");
                let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
                let text = String::from_utf8(body.to_vec()).unwrap();
                if text.to_lowercase().contains("try again in a few seconds") {
                    assert!(
                        seconds.is_some_and(|seconds| (1..=10).contains(&seconds)),
                        "{seconds:?}: {text}"
                    );
                    assert!(!is_final, "{text}");
                } else {
                    assert!(is_final && !text.contains("again"), "{text}");
                    // The rest of the day.
                    assert_eq!(seconds, text.contains("(in 24 h 0 min)").then_some(86_400), "{text}");
                }
            }
        }
    }

    #[test]
    fn throttle_has_retry_after() {
        let response = ApiError::new(ErrorType::RateLimit, "slow down").render(&RequestId::generate());
        assert_eq!(response.headers()["retry-after"], "5");
    }
}
