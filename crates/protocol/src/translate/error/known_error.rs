//! Known error.

use super::{Fault, Retry};
use crate::anthropic::ErrorType;

/// Known error: how it is recognized, the message for the client, and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownError {
    /// Stable code, for documentation and for matching.
    pub code: &'static str,
    /// Status of AWS's response; 0 for errors that are not AWS's.
    pub status: u16,
    /// AWS's exceptions. The first is the usual one.
    pub exceptions: &'static [&'static str],
    /// Patterns in lower case; one of them has to be in the message. Empty for any message.
    pub(super) patterns: &'static [&'static str],
    /// The text, as AWS writes it.
    pub example: &'static str,
    /// Error type for the client.
    pub kind: ErrorType,
    /// Who can correct the error.
    pub fault: Fault,
    /// Whether to retry.
    pub retry: Retry,
    /// The seconds that a client should wait; 0 for no `retry-after`.
    pub retry_after: u16,
    pub(super) client_message: ClientMessage,
    /// Cause.
    pub cause: &'static str,
    /// What to do about it; empty when there is nothing to do.
    pub advice: &'static str,
}

/// What the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientMessage {
    /// AWS's message unchanged: clients recover on its text.
    AwsText,
    /// AWS's message and the advice.
    AwsTextWithAdvice,
    /// Another message and the advice.
    Fixed(&'static str),
    /// `prompt is too long`, which clients recover on.
    PromptTooLong,
}

impl KnownError {
    /// Error with one of these exceptions when one of `patterns` is in the message.
    pub(super) const fn new(
        code: &'static str,
        status: u16,
        exceptions: &'static [&'static str],
        patterns: &'static [&'static str],
    ) -> Self {
        Self {
            code,
            status,
            exceptions,
            patterns,
            example: "",
            kind: ErrorType::Api,
            fault: Fault::Upstream,
            retry: Retry::Never,
            retry_after: 0,
            client_message: ClientMessage::AwsText,
            cause: "",
            advice: "",
        }
    }

    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    pub(super) const fn maps_to(self, kind: ErrorType, fault: Fault, retry: Retry) -> Self {
        Self { kind, fault, retry, ..self }
    }

    pub(super) const fn retry_after(self, retry_after: u16) -> Self {
        Self { retry_after, ..self }
    }

    pub(super) const fn cause(self, cause: &'static str) -> Self {
        Self { cause, ..self }
    }

    /// What to do; only the operator reads it, unless [`KnownError::with_advice`] or [`KnownError::with_message`] follows.
    pub(super) const fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    /// Adds the advice to the client's message.
    pub(super) const fn with_advice(self) -> Self {
        Self { client_message: ClientMessage::AwsTextWithAdvice, ..self }
    }

    /// Replaces AWS's message by this one and the advice.
    pub(super) const fn with_message(self, message: &'static str) -> Self {
        Self { client_message: ClientMessage::Fixed(message), ..self }
    }

    pub(super) const fn prompt_too_long(self) -> Self {
        Self { client_message: ClientMessage::PromptTooLong, ..self }
    }

    /// Whether the client reads AWS's words and nothing else.
    #[must_use]
    pub fn is_verbatim(&self) -> bool {
        matches!(self.client_message, ClientMessage::AwsText | ClientMessage::PromptTooLong)
    }

    /// Whether this is what went wrong. `text` is in lower case. Words are enough where AWS named nothing.
    pub(super) fn matches(&self, code: &str, text: &str) -> bool {
        let named = self.exceptions.contains(&code) || (code.is_empty() && !self.patterns.is_empty());
        named && (self.patterns.is_empty() || self.patterns.iter().any(|pattern| text.contains(pattern)))
    }
}
