//! What AWS calls a failure, into what Anthropic calls it.
//!
//! Whose fault it is, whether to try again and what to do are part of the answer: one row of [`KNOWN_ERRORS`] each. The
//! text is the one that clients recover on, without ARNs and account ids. Not here: status codes (the server's
//! table).

pub(super) mod anthropic_error;
mod known_error;
mod known_errors;
mod message;

pub use known_error::KnownError;
pub use known_errors::{KNOWN_ERRORS, known_error};

use crate::anthropic::{Error, ErrorType};
use crate::converse::event::Exception;
use crate::converse::{Frame, FrameKind};
use known_error::ClientMessage;

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever wrote the request.
    Client,
    /// AWS, or time.
    Upstream,
    /// Whoever runs this: credentials, clock, access to models.
    Operator,
    /// Whoever runs what lies between this and AWS, or time.
    Network,
    /// Whoever wrote this: the translation should have prevented it.
    Gateway,
}

/// Whether to try again, as long as the client has been told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// That is for the client to decide.
    ByClient,
    /// After a pause.
    AfterPause,
    /// With credentials fetched anew.
    WithNewCredentials,
}

/// A failure of an upstream call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedError {
    /// What the client may see.
    pub error: Error,
    /// AWS's code, or one of the constants here.
    pub code: String,
    /// AWS's own text, for the operator's log only.
    pub aws_message: String,
    /// Who can mend it.
    pub fault: Fault,
    /// Whether to try again.
    pub retry: Retry,
    /// What is known of it.
    pub known_error: &'static KnownError,
}

impl MappedError {
    /// The code of an answer that cannot be read.
    pub const BAD_STREAM: &str = "BadStream";
    /// The code of an answer that is not what was asked for.
    pub const NOT_A_STREAM: &str = "NotAStream";
    /// The code of a connection that failed.
    pub const UNREACHABLE: &str = "Unreachable";
    /// The code of an answer that did not come in time.
    pub const SILENT: &str = "Silent";
    /// The code of a call that could not be signed.
    pub const NO_CREDENTIALS: &str = "NoCredentials";

    /// A failure that AWS has no part in: `code` is one of the constants here, `text` what the client is told,
    /// as far as the table has no better words.
    #[must_use]
    pub fn local(code: &str, text: &str) -> Self {
        map_error(0, code, &Exception { message: Some(text.to_owned()), ..Exception::default() })
    }

    /// The answer cannot be read.
    pub(super) fn unreadable(what: String) -> Self {
        let told = Self::local(Self::BAD_STREAM, &format!("Bedrock's answer cannot be read: {what}."));
        Self { aws_message: what, ..told }
    }

    /// The model broke its own format and said nothing else.
    pub(super) fn malformed(reason: &str) -> Self {
        let told = Self::local(reason, &format!("The model broke its own format ({reason})."));
        Self { code: reason.to_owned(), aws_message: String::new(), ..told }
    }

    /// The same, when it is the client itself that wrote the id of the model, and not a mapping of the gateway's:
    /// then the client can mend it.
    #[must_use]
    pub fn blame_client(mut self) -> Self {
        let kind = match self.known_error.code {
            "E03" => ErrorType::InvalidRequest,
            "E43" => ErrorType::NotFound,
            _ => return self,
        };
        self.error.kind = kind;
        self.fault = Fault::Client;
        self
    }
}

/// Translates an error answer (`status` ≥ 400), or an exception inside a stream (`status` 400).
///
/// `code` is `x-amzn-errortype`, the body's `__type` or the exception type of a frame, in any spelling.
#[must_use]
pub fn map_error(status: u16, code: &str, said: &Exception) -> MappedError {
    let code = message::code(code);
    let text = said.message.as_deref().unwrap_or_default();
    let searched = message::searchable(text);
    let known_error = KNOWN_ERRORS
        .iter()
        .find(|known_error| known_error.matches(&code, &searched))
        .unwrap_or_else(|| known_errors::by_status(status));
    let (kind, fault, retry) = match said.original_status_code {
        // 424 means nothing to clients; what the model's own server said does.
        Some(original) if known_error.code == "E15c" => of_model(original),
        _ => (known_error.kind, known_error.fault, known_error.retry),
    };
    let inner = said.original_message.as_deref().filter(|text| !text.is_empty());
    let shown = message::visible(inner.unwrap_or(text), &code);
    let message = match known_error.client_message {
        ClientMessage::AwsText => shown,
        ClientMessage::AwsTextWithAdvice => message::sentences(&shown, known_error.advice),
        ClientMessage::Fixed(words) => message::sentences(words, known_error.advice),
        ClientMessage::PromptTooLong => message::overflow(text),
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
