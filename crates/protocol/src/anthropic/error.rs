//! Errors of the Messages API: a type and a message.
//!
//! HTTP status codes belong to the server, the errors of AWS to `translate::error`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::request_body::InvalidRequest;

/// Error types of the Messages API.
///
/// See <https://platform.claude.com/docs/en/api/errors>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorType {
    /// Malformed or unsupported request.
    #[serde(rename = "invalid_request_error")]
    InvalidRequest,
    /// Missing or invalid credentials.
    #[serde(rename = "authentication_error")]
    Authentication,
    /// Spent budget.
    #[serde(rename = "billing_error")]
    Billing,
    /// Valid credentials without the permission.
    #[serde(rename = "permission_error")]
    Permission,
    /// Unknown path or model.
    #[serde(rename = "not_found_error")]
    NotFound,
    /// Too large body.
    #[serde(rename = "request_too_large")]
    TooLarge,
    /// Exceeded rate limit.
    #[serde(rename = "rate_limit_error")]
    RateLimit,
    /// Internal error, which the client cannot correct.
    #[serde(rename = "api_error")]
    Api,
    /// Timeout.
    #[serde(rename = "timeout_error")]
    Timeout,
    /// Missing capacity at the moment.
    #[serde(rename = "overloaded_error")]
    Overloaded,
}

impl ErrorType {
    /// Name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::TooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Api => "api_error",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
        }
    }
}

/// Error for a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Type of the error.
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// Problem and remedy, without secrets, account ids or ARNs.
    pub message: String,
    /// JSON path of the value at fault in the client's body, if there is one. The message names it, too.
    #[serde(skip)]
    pub path: Option<String>,
}

impl Error {
    /// Message for a prompt that is too long by an unknown number of tokens.
    pub const PROMPT_TOO_LONG: &str =
        "prompt is too long: it does not fit into the model's context; shorten the conversation";

    /// Error of this type with this message.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), path: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<InvalidRequest> for Error {
    fn from(invalid: InvalidRequest) -> Self {
        let message = invalid.to_string();
        let path = Some(invalid.path).filter(|path| !path.is_empty());
        Self { path, ..Self::new(ErrorType::InvalidRequest, message) }
    }
}
