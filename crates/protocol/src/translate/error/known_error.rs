//! What a row of the table of errors says.

use super::{Fault, Retry};
use crate::anthropic::ErrorType;

/// One thing that goes wrong: how it is known, what the client is told, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownError {
    /// Its name, which stays: people look it up and match on it.
    pub code: &'static str,
    /// The status that AWS answers with; 0 for what AWS does not say.
    pub status: u16,
    /// AWS's names for it. The first is the usual one.
    pub exceptions: &'static [&'static str],
    /// In lower case; one of them has to stand in the text. None for any text.
    pub(super) patterns: &'static [&'static str],
    /// The text, as AWS writes it.
    pub example: &'static str,
    /// What kind of error a client sees.
    pub kind: ErrorType,
    /// Who can mend it.
    pub fault: Fault,
    /// Whether to try again.
    pub retry: Retry,
    /// The seconds that a client should wait; 0 when there is nothing to say.
    pub retry_after: u16,
    pub(super) client_message: ClientMessage,
    /// What is behind it.
    pub cause: &'static str,
    /// What to do about it; empty when there is nothing to do.
    pub advice: &'static str,
}

/// What the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientMessage {
    /// AWS's text as it is: clients recover on the words.
    AwsText,
    /// AWS's text, and what to do.
    AwsTextWithAdvice,
    /// Other words, and what to do.
    Fixed(&'static str),
    /// That the prompt is too long, in words that clients know.
    PromptTooLong,
}

impl KnownError {
    /// A row for these exceptions when one of `words` stands in the text.
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

    /// What to do; only the operator reads it, unless [`KnownError::told`] or [`KnownError::says`] follows.
    pub(super) const fn advice(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }

    /// The client reads the advice, too.
    pub(super) const fn with_advice(self) -> Self {
        Self { client_message: ClientMessage::AwsTextWithAdvice, ..self }
    }

    /// The client reads these words and the advice.
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
