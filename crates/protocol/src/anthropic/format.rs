//! Response format of the Messages API.

use std::borrow::Cow;

use super::event_sink::{ClientFormat, Encoder, EventSink};
use super::{Error, Event, sse};

/// Message on which Claude Code compacts the conversation; in no other client it means anything.
const PROMPT_TOO_LONG_FOR_CLAUDE_CODE: &str = "capability_rejected: prompt_too_long";

/// Response format of the Messages API: server-sent events, or the message itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagesFormat {
    /// Whether the client is Claude Code, which recovers on words of its own.
    pub is_claude_code: bool,
}

impl ClientFormat for MessagesFormat {
    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(MessagesEncoder::default())
    }

    fn document(&self, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(message)
    }

    fn upstream_error(&self, error: Error) -> Error {
        if self.is_claude_code && error.message == Error::PROMPT_TOO_LONG {
            return Error::new(error.kind, PROMPT_TOO_LONG_FOR_CLAUDE_CODE);
        }
        error
    }
}

/// Encoder of events as server-sent events.
#[derive(Debug, Default)]
pub struct MessagesEncoder {
    out: Vec<u8>,
}

impl EventSink for MessagesEncoder {
    #[inline]
    fn event(&mut self, event: &Event<'_>) {
        sse::write(event, &mut self.out);
    }

    #[inline]
    fn raw(&mut self, name: &str, json: &str) {
        sse::write_raw(name, json, &mut self.out);
    }
}

impl Encoder for MessagesEncoder {
    fn ping(&mut self) {
        self.out.extend_from_slice(sse::PING);
    }

    fn error(&mut self, error: &Error, request_id: &str) {
        let request_id = (!request_id.is_empty()).then_some(Cow::Borrowed(request_id));
        self.event(&Event::Error { error: Cow::Borrowed(error), request_id });
    }

    fn take(&mut self) -> Vec<u8> {
        // The next write is about as long: a buffer that need not grow saves copies.
        let next = Vec::with_capacity(self.out.len());
        std::mem::replace(&mut self.out, next)
    }

    fn len(&self) -> usize {
        self.out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::ErrorType;

    #[test]
    fn only_claude_code_gets_its_own_word() {
        let message = |is_claude_code: bool, message: &str| {
            let error = Error::new(ErrorType::InvalidRequest, message);
            MessagesFormat { is_claude_code }.upstream_error(error).message
        };
        assert_eq!(message(true, Error::PROMPT_TOO_LONG), "capability_rejected: prompt_too_long");
        assert_eq!(message(false, Error::PROMPT_TOO_LONG), Error::PROMPT_TOO_LONG);
        assert_eq!(message(true, "Input is too long."), "Input is too long.");
    }
}
