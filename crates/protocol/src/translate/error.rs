//! AWS errors → errors of the Messages API.
//!
//! Fault, retry and advice are columns of the table [`KNOWN_ERRORS`]. The
//! message is the one that clients recover on, without ARNs and account ids. Status codes belong to the
//! server.

pub(super) mod anthropic_error;
mod known_error;
mod known_errors;
mod message;

pub use known_error::KnownError;
pub use known_errors::{KNOWN_ERRORS, known_error};

use crate::anthropic::sse::SseError;
use crate::anthropic::{Error, ErrorType};
use crate::converse::event::Exception;
use crate::converse::{Frame, FrameError, FrameKind};
use crate::json::truncated;
use known_error::ClientMessage;

/// Known errors that mean a prompt that is too long.
const CONTEXT_OVERFLOW: [&str; 2] = ["E22", "E22b"];

/// Known error that means a retired model.
const RETIRED_MODEL: &str = "E10";
/// Known errors that mean an unknown model.
const UNKNOWN_MODEL: [&str; 2] = ["E03", "E43"];

/// Bytes of AWS's text that are read: its texts are some hundred bytes.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// Maximum length of AWS's code, in bytes: names of exceptions are shorter.
const MAX_CODE_BYTES: usize = 200;

/// Who can correct the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client.
    Client,
    /// AWS; a retry may succeed.
    Upstream,
    /// The operator: credentials, clock, access to models.
    Operator,
    /// The network between the proxy and AWS; a retry may succeed.
    Network,
    /// The proxy: the translation should have prevented it.
    Proxy,
}

/// Whether to retry, before the response to the client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not retried: it would fail again.
    Never,
    /// Only by the client.
    ByClient,
    /// After a backoff.
    AfterPause,
    /// With refreshed credentials.
    WithNewCredentials,
}

/// Upstream error, mapped to an error of the Messages API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedError {
    /// Error for the client.
    pub error: Error,
    /// AWS's code, or one of the constants of this type.
    pub code: String,
    /// AWS's message, for the operator's log only.
    pub aws_message: String,
    /// Who can correct the error.
    pub fault: Fault,
    /// Whether to retry.
    pub retry: Retry,
    /// The known error that matched.
    pub known_error: &'static KnownError,
}

impl From<FrameError> for MappedError {
    fn from(error: FrameError) -> Self {
        Self::undecodable(matches!(error, FrameError::TooLarge(_)), error.to_string())
    }
}

impl From<SseError> for MappedError {
    fn from(error: SseError) -> Self {
        Self::undecodable(error == SseError::TooLarge, error.to_string())
    }
}

impl MappedError {
    /// Code of an unreadable response.
    pub const BAD_STREAM: &str = "BadStream";
    /// Code of a response with an event that is too large to be read.
    pub const TOO_LARGE: &str = "TooLarge";
    /// Code of a response with another content type.
    pub const NOT_A_STREAM: &str = "NotAStream";
    /// Code of a failed connection.
    pub const UNREACHABLE: &str = "Unreachable";
    /// Code of a timeout.
    pub const SILENT: &str = "Silent";
    /// Code of a request without credentials.
    pub const NO_CREDENTIALS: &str = "NoCredentials";

    /// Error that is not AWS's: `code` is one of the constants of this type, `text` the message for the client,
    /// unless the known error has a message.
    #[must_use]
    pub fn local(code: &str, text: &str) -> Self {
        map_error(0, code, &Exception { message: Some(text.to_owned()), ..Exception::default() })
    }

    /// Error of an unreadable response.
    pub(super) fn unreadable(what: String) -> Self {
        let mapped = Self::local(Self::BAD_STREAM, &format!("Bedrock's response cannot be read: {what}."));
        Self { aws_message: what, ..mapped }
    }

    /// Error of bytes that are no events.
    pub(super) fn undecodable(is_too_large: bool, what: String) -> Self {
        let code = if is_too_large { Self::TOO_LARGE } else { Self::BAD_STREAM };
        Self { code: code.to_owned(), ..Self::unreadable(what) }
    }

    /// Whether the response has an event that is too large to be read.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.code == Self::TOO_LARGE
    }

    /// Error of a response that a model malformed.
    pub(super) fn malformed(reason: &str) -> Self {
        let mapped = Self::local(reason, &format!("The model broke its own format ({reason})."));
        Self { code: reason.to_owned(), aws_message: String::new(), ..mapped }
    }

    /// AWS's message as a client of its API may see it, where the message of [`Self::error`] is another.
    #[must_use]
    pub fn replaced_aws_message(&self) -> Option<String> {
        let is_replaced = self.known_error.client_message == ClientMessage::PromptTooLong;
        is_replaced.then(|| message::visible(&self.aws_message, &self.code))
    }

    /// Whether the cause may be that AWS has retired the model: it rejects one as legacy, or no longer knows it.
    #[must_use]
    pub fn may_be_retired(&self) -> bool {
        self.known_error.code == RETIRED_MODEL || UNKNOWN_MODEL.contains(&self.known_error.code)
    }

    /// Changes the error of an unknown model to the client's, when it is the client that chose the name `model`, and not
    /// the operator: then the client can correct it, by the known name `suggestion` for example.
    pub fn blame_client(&mut self, model: &str, suggestion: Option<&str>) {
        /// Longest name in the message, in bytes: clients choose names, and ids of AWS's models are shorter.
        const MAX_BYTES: usize = 200;
        if !UNKNOWN_MODEL.contains(&self.known_error.code) {
            return;
        }
        let name = &model[..model.floor_char_boundary(MAX_BYTES)];
        let suggested = suggestion.map_or_else(String::new, |known| format!(" Did you mean {known}?"));
        let message = message::visible(&self.aws_message, &self.code);
        let message = message.trim_end_matches('.');
        self.error = Error {
            path: Some("model".to_owned()),
            ..Error::new(
                ErrorType::NotFound,
                format!("{message}: {name}.{suggested} GET /v1/models lists the models of this proxy."),
            )
        };
        self.fault = Fault::Client;
    }
}

/// Translates an error response (`status` ≥ 400), or an exception inside a stream (`status` 400).
///
/// `code` is `x-amzn-errortype`, the body's `__type` or the exception type of a frame, in any spelling.
#[must_use]
pub fn map_error(status: u16, code: &str, exception: &Exception) -> MappedError {
    let code = truncated(message::code(code), MAX_CODE_BYTES);
    let text = bounded(exception.message.as_deref().unwrap_or_default());
    let searched = message::searchable(text);
    let known_error = KNOWN_ERRORS
        .iter()
        .find(|known_error| known_error.matches(&code, &searched))
        .unwrap_or_else(|| known_errors::by_status(status));
    let (kind, fault, retry) = match exception.original_status_code {
        // Clients do not know 424, but the status of the model's own server.
        Some(original) if known_error.code == "E15c" => of_model(original),
        _ => (known_error.kind, known_error.fault, known_error.retry),
    };
    let inner = exception.original_message.as_deref().filter(|text| !text.is_empty()).map(bounded);
    let shown = message::visible(inner.unwrap_or(text), &code);
    let message = match known_error.client_message {
        ClientMessage::AwsText => shown,
        ClientMessage::AwsTextWithAdvice => message::sentences(&shown, known_error.advice),
        ClientMessage::Fixed(words) => message::sentences(words, known_error.advice),
        ClientMessage::PromptTooLong => {
            message::overflow(text).unwrap_or_else(|| Error::PROMPT_TOO_LONG.to_owned())
        }
    };
    MappedError {
        error: Error::new(kind, message),
        aws_message: text.to_owned(),
        fault,
        retry,
        known_error,
        code,
    }
}

/// Whether the message of an invalid request means that the prompt is too long.
pub(super) fn is_context_overflow(text: &str) -> bool {
    let searched = message::searchable(text);
    let known_errors = CONTEXT_OVERFLOW.iter().filter_map(|code| known_error(code));
    let mut patterns = known_errors.flat_map(|known_error| known_error.patterns);
    patterns.any(|pattern| searched.contains(pattern))
}

/// The first part of AWS's text: an exception frame can be as long as any frame.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

/// Error that a frame stands for: a modelled exception, or an error without a model.
pub(super) fn frame_error(frame: &Frame<'_>) -> Option<MappedError> {
    match frame.kind {
        FrameKind::Exception(kind) => Some(map_error(400, kind, &Exception::parse(frame.payload))),
        FrameKind::Error { code, message } => {
            let exception = Exception { message: Some(message.to_owned()), ..Exception::default() };
            Some(map_error(500, code, &exception))
        }
        FrameKind::Event(_) | FrameKind::Other(_) => None,
    }
}

fn of_model(original: u16) -> (ErrorType, Fault, Retry) {
    match original {
        400 => (ErrorType::InvalidRequest, Fault::Client, Retry::Never),
        413 => (ErrorType::TooLarge, Fault::Client, Retry::Never),
        429 => (ErrorType::RateLimit, Fault::Upstream, Retry::AfterPause),
        503 | 529 => (ErrorType::Overloaded, Fault::Upstream, Retry::AfterPause),
        _ => (ErrorType::Api, Fault::Upstream, Retry::AfterPause),
    }
}

#[cfg(test)]
mod tests;
