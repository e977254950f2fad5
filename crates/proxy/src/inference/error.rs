//! Why an inference request fails, and what its error is in the words of Anthropic's API.

use std::borrow::Cow;

use protocol::anthropic::{Error, ErrorType, InvalidRequest};
use protocol::apis::ClientApi;
use protocol::translate::{Fault, MappedError};

use crate::bedrock::{CredentialsError, ServiceError, UpstreamError};
use crate::catalog::ResolveError;
use crate::ids::RequestId;
use crate::quota::AdmitError;
use crate::telemetry::record::{ErrorRecord, loggable_path};

/// An error of an inference request.
#[derive(Debug)]
pub(crate) enum InferenceError {
    /// The request is invalid, or no upstream API can carry it.
    Invalid(Error),
    /// No such model.
    Resolve(ResolveError),
    /// A limit is reached, or cannot be checked.
    Admit(AdmitError),
    /// Bedrock responded with an error, before the response or inside it; or no response came.
    Upstream(Box<ServiceError>),
    /// The response is broken although AWS reported no error: 502.
    BadGateway(String),
    /// No response in time.
    Timeout(String),
    /// Too many large requests are being translated.
    Busy,
    /// The server shuts down before the response ends.
    ShuttingDown,
}

impl InferenceError {
    /// An error inside a response, or one that is not AWS's.
    pub(super) fn from_mapped(mapped: MappedError, request_id: Option<String>) -> Self {
        Self::Upstream(Box::new(ServiceError { mapped, status: None, request_id, retry_after: None }))
    }

    /// No event from Bedrock within the idle timeout.
    pub(super) fn idle_timeout() -> Self {
        Self::Timeout("Bedrock did not respond in time".to_owned())
    }

    /// The error in Anthropic's words, without the code of `docs/errors.md`.
    pub(crate) fn to_error(&self) -> Error {
        match self {
            Self::Invalid(error) => error.clone(),
            Self::Resolve(error) => resolve_error(error),
            // Reported before anything is sent, by `api`, with more than this.
            Self::Admit(_) => Error::new(ErrorType::RateLimit, "a limit does not admit the request"),
            Self::Upstream(error) => error.mapped.error.clone(),
            Self::BadGateway(message) => Error::new(ErrorType::Api, message.clone()),
            Self::Timeout(message) => Error::new(ErrorType::Timeout, message.clone()),
            Self::Busy => Error::new(
                ErrorType::Overloaded,
                "the proxy is busy with large requests; try again in a few seconds",
            ),
            Self::ShuttingDown => {
                Error::new(ErrorType::Overloaded, "the proxy is shutting down; try again in a few seconds")
            }
        }
    }

    /// The error for an event inside a stream, with the code of `docs/errors.md`: many clients show the message alone.
    pub(super) fn to_event(&self, request_id: &RequestId) -> Error {
        let error = self.to_error();
        match self {
            Self::Upstream(service) if !service.mapped.known_error.is_verbatim() => {
                message_with_code(&error, service.mapped.known_error.code, request_id).into_owned()
            }
            _ => error,
        }
    }

    /// The status of a response that has nothing but this error.
    pub(super) fn status(&self, api: ClientApi) -> u16 {
        let Self::Upstream(error) = self else {
            let is_bad_gateway = matches!(self, Self::BadGateway(_)) && api != ClientApi::Bedrock;
            return if is_bad_gateway { 502 } else { api.error_status(self.to_error().kind) };
        };
        let (kind, fault) = (error.mapped.error.kind, error.mapped.fault);
        let is_bad_gateway = kind == ErrorType::Api && matches!(fault, Fault::Operator | Fault::Network);
        match (api, error.status) {
            (ClientApi::Bedrock, Some(status)) if !(is_bad_gateway && fault == Fault::Operator) => status,
            (ClientApi::Bedrock, _) => api.error_status(kind),
            _ if is_bad_gateway => 502,
            _ => api.error_status(kind),
        }
    }

    /// The code of `docs/errors.md`, unless clients have to read AWS's text as it is.
    pub(crate) fn doc_code(&self) -> Option<&'static str> {
        match self {
            Self::Upstream(error) if !error.mapped.known_error.is_verbatim() => {
                Some(error.mapped.known_error.code)
            }
            _ => None,
        }
    }

    /// The error for the request record.
    pub(super) fn to_record(&self) -> ErrorRecord {
        let error = self.to_error();
        let kind = error.kind;
        let fault = match self {
            Self::Upstream(error) => Some(error.mapped.fault),
            Self::BadGateway(_) => Some(Fault::Upstream),
            _ => None,
        };
        let code = match self {
            Self::Upstream(error) => Some(error.mapped.known_error.code),
            _ => None,
        };
        ErrorRecord {
            kind: kind.as_str(),
            class: error_class(fault, kind),
            code,
            path: error.path.as_deref().map(loggable_path),
        }
    }
}

/// `error` with the code of its known error and the request id appended to the message.
pub(crate) fn message_with_code<'a>(error: &'a Error, code: &str, request_id: &RequestId) -> Cow<'a, Error> {
    let message = format!("{} [{code} {}]", error.message, request_id.as_str());
    Cow::Owned(Error { message, ..error.clone() })
}

/// The cause of an error, for the log: `client`, `auth`, `quota`, `upstream` or `gateway`.
pub(crate) fn error_class(fault: Option<Fault>, kind: ErrorType) -> &'static str {
    match (fault, kind) {
        (Some(Fault::Client), _) => "client",
        (Some(Fault::Upstream | Fault::Network), _) => "upstream",
        (Some(Fault::Operator | Fault::Proxy), _) => "gateway",
        (None, ErrorType::InvalidRequest | ErrorType::NotFound | ErrorType::TooLarge) => "client",
        (None, ErrorType::Authentication | ErrorType::Permission) => "auth",
        (None, ErrorType::Billing | ErrorType::RateLimit) => "quota",
        (None, ErrorType::Timeout) => "upstream",
        (None, ErrorType::Api | ErrorType::Overloaded) => "gateway",
    }
}

/// The error for a model that cannot be resolved.
pub(crate) fn resolve_error(error: &ResolveError) -> Error {
    let kind = match error {
        ResolveError::MissingModel | ResolveError::InvalidName(_) => ErrorType::InvalidRequest,
        ResolveError::UnknownModel { .. } => ErrorType::NotFound,
        ResolveError::LookupBusy => return Error::new(ErrorType::Overloaded, error.to_string()),
    };
    Error { path: Some("model".to_owned()), ..Error::new(kind, error.to_string()) }
}

impl From<Error> for InferenceError {
    fn from(error: Error) -> Self {
        Self::Invalid(error)
    }
}

impl From<InvalidRequest> for InferenceError {
    fn from(invalid: InvalidRequest) -> Self {
        Self::Invalid(invalid.into())
    }
}

impl From<ResolveError> for InferenceError {
    fn from(error: ResolveError) -> Self {
        Self::Resolve(error)
    }
}

impl From<AdmitError> for InferenceError {
    fn from(error: AdmitError) -> Self {
        Self::Admit(error)
    }
}

impl From<UpstreamError> for InferenceError {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Incomplete => {
                Self::BadGateway("Bedrock ended its response before it began".to_owned())
            }
            UpstreamError::Service(error) => Self::Upstream(error),
            error => Self::from_mapped(error.into_mapped(), None),
        }
    }
}

/// Logs why a request could not be signed, and what to do about it.
pub(super) fn log_credentials_error(request_id: &RequestId, error: &CredentialsError) {
    let row = UpstreamError::from(error.clone()).into_mapped().known_error;
    tracing::error!(%request_id, %error, row = row.code, advice = row.advice, "request not sent to Bedrock");
}

/// Logs AWS's own text, for the operator, and what to do about it.
pub(super) fn log_service_error(request_id: &RequestId, aws_request_id: Option<&str>, error: &MappedError) {
    /// Enough for every text that AWS is known to send.
    const MAX_CHARS: usize = 1000;
    let text: String = error.aws_message.chars().take(MAX_CHARS).collect();
    let (code, row) = (error.code.as_str(), error.known_error.code);
    // The advice for an unknown text is to read this line.
    let advice = (row != "E49").then_some(error.known_error.advice);
    if matches!(error.fault, Fault::Operator | Fault::Proxy) {
        tracing::error!(%request_id, aws_request_id, code, text, row, advice, "Bedrock returned an error");
    } else if error.error.kind == ErrorType::NotFound {
        tracing::info!(%request_id, aws_request_id, code, text, row, "Bedrock does not know the model");
    } else {
        tracing::warn!(%request_id, aws_request_id, code, text, row, advice, "Bedrock returned an error");
    }
}
