//! The languages that clients are answered in: Anthropic's messages, and OpenAI's chat completions. The way to Bedrock
//! is one and the same; a tongue is only how its events are told.

use protocol::anthropic::{Error, Event, sse};
use protocol::openai::CompletionHead;
use protocol::translate::{self, ChatStream};

use super::error::ApiError;
use super::live::Sink;
use crate::ids::RequestId;

/// The language of a client.
#[derive(Clone, Debug)]
pub(super) enum Tongue {
    /// Anthropic's.
    Messages,
    /// OpenAI's, and how its answer begins.
    Chat(CompletionHead),
}

/// The stream of one answer in its client's language.
#[derive(Debug)]
pub(super) enum Voice {
    /// Anthropic's events.
    Messages(Vec<u8>),
    /// OpenAI's chunks.
    Chat(Box<ChatStream>),
}

impl Tongue {
    /// For an answer that streams.
    pub(super) fn voice(&self) -> Voice {
        match self {
            Self::Messages => Voice::Messages(Vec::new()),
            Self::Chat(head) => Voice::Chat(Box::new(ChatStream::new(head.clone()))),
        }
    }

    /// A whole answer, made of the JSON of a message.
    ///
    /// # Errors
    /// When there is no such answer in this language.
    pub(super) fn whole(&self, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        match self {
            Self::Messages => Ok(message),
            Self::Chat(head) => translate::chat_completion(&message, head),
        }
    }
}

impl Voice {
    /// What was said and not yet taken away.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Messages(bytes) => bytes,
            Self::Chat(stream) => stream.bytes(),
        }
    }

    /// Whether everything that was said has been taken away.
    pub(super) fn is_silent(&self) -> bool {
        match self {
            Self::Messages(bytes) => bytes.is_empty(),
            Self::Chat(stream) => stream.is_empty(),
        }
    }

    /// Puts what `before` has left in front of what was said.
    pub(super) fn follow(&mut self, mut before: Self) {
        let mut bytes = std::mem::take(before.bytes());
        bytes.append(self.bytes());
        *self.bytes() = bytes;
    }

    /// Breaks the silence.
    pub(super) fn ping(&mut self) {
        match self {
            Self::Messages(bytes) => bytes.extend_from_slice(sse::PING),
            Self::Chat(stream) => stream.ping(),
        }
    }

    /// The one error of an answer that never began.
    pub(super) fn fail(&mut self, error: &ApiError, request_id: &RequestId) {
        match self {
            Self::Messages(bytes) => error.render_event(request_id, bytes),
            Self::Chat(stream) => stream.fail(&error.worded(request_id)),
        }
    }
}

impl translate::EventSink for Voice {
    fn event(&mut self, event: &Event<'_>) {
        match self {
            Self::Messages(bytes) => bytes.event(event),
            Self::Chat(stream) => stream.event(event),
        }
    }

    fn raw(&mut self, name: &str, json: &str) {
        match self {
            Self::Messages(bytes) => bytes.raw(name, json),
            Self::Chat(stream) => stream.raw(name, json),
        }
    }
}

impl Sink for Voice {
    fn forget(&mut self) {
        match self {
            Self::Messages(bytes) => bytes.clear(),
            Self::Chat(stream) => stream.forget(),
        }
    }
}
