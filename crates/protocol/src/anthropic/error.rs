//! Errors in Anthropic's words: a kind and a sentence.
//!
//! Not here: HTTP status codes (the server's table) and what AWS calls them (`translate::error`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of error that clients of the Messages API know.
///
/// See <https://platform.claude.com/docs/en/api/errors>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorType {
    /// The request is malformed or asks for what cannot be had.
    #[serde(rename = "invalid_request_error")]
    InvalidRequest,
    /// No credentials, or wrong ones.
    #[serde(rename = "authentication_error")]
    Authentication,
    /// A budget is spent.
    #[serde(rename = "billing_error")]
    Billing,
    /// Known, and not allowed.
    #[serde(rename = "permission_error")]
    Permission,
    /// No such path or model.
    #[serde(rename = "not_found_error")]
    NotFound,
    /// The body is too large.
    #[serde(rename = "request_too_large")]
    TooLarge,
    /// Too much in too short a time.
    #[serde(rename = "rate_limit_error")]
    RateLimit,
    /// Something failed that the client cannot mend.
    #[serde(rename = "api_error")]
    Api,
    /// It took too long.
    #[serde(rename = "timeout_error")]
    Timeout,
    /// No capacity at the moment.
    #[serde(rename = "overloaded_error")]
    Overloaded,
}

impl ErrorType {
    /// The name on the wire.
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

/// An error that a client may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: ErrorType,
    /// What is wrong and what to do, without secrets, account ids or ARNs.
    pub message: String,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)
    }
}

impl std::error::Error for Error {}

/// A request that is not a Messages request: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    /// The place in the body, members and indices joined by dots (`messages.0.content`); empty for the
    /// body as a whole.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl InvalidRequest {
    /// Says that what stands at `path` is wrong.
    pub fn new(path: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), message: message.into() }
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for InvalidRequest {}

impl From<InvalidRequest> for Error {
    fn from(invalid: InvalidRequest) -> Self {
        Self::new(ErrorType::InvalidRequest, invalid.to_string())
    }
}
