//! The languages that clients are answered in: Anthropic's messages, and OpenAI's chat completions. The way to Bedrock
//! is one and the same; a tongue is only how its events are told.

use protocol::anthropic::{Error, Event, MessagesFormat};
use protocol::event_sink::{ClientFormat, Encoder, EventSink};
use protocol::openai::CompletionHead;
use protocol::translate::ChatFormat;

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
pub(super) struct Voice {
    tongue: Tongue,
    before: Vec<u8>,
    encoder: Box<dyn Encoder>,
}

impl Tongue {
    fn format(&self) -> Box<dyn ClientFormat> {
        match self {
            Self::Messages => Box::new(MessagesFormat),
            Self::Chat(head) => Box::new(ChatFormat::new(head.clone())),
        }
    }

    /// For an answer that streams.
    pub(super) fn voice(&self) -> Voice {
        Voice { tongue: self.clone(), before: Vec::new(), encoder: self.format().encoder() }
    }

    /// A whole answer, made of the JSON of a message.
    ///
    /// # Errors
    /// When there is no such answer in this language.
    pub(super) fn whole(&self, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.format().document(message)
    }
}

impl Voice {
    /// How much was said and not yet taken away.
    pub(super) fn len(&self) -> usize {
        self.before.len() + self.encoder.len()
    }

    /// Whether everything that was said has been taken away.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was said and not yet taken away.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.before);
        let more = self.encoder.take();
        if bytes.is_empty() {
            return more;
        }
        bytes.extend(more);
        bytes
    }

    /// Puts what `before` has left in front of what was said.
    pub(super) fn follow(&mut self, mut before: Self) {
        self.before = before.take();
    }

    /// Breaks the silence.
    pub(super) fn ping(&mut self) {
        self.encoder.ping();
    }

    /// The one error of an answer that never began.
    pub(super) fn fail(&mut self, error: &ApiError, request_id: &RequestId) {
        self.encoder.error(&error.worded(request_id), request_id.as_str());
    }
}

impl EventSink for Voice {
    fn event(&mut self, event: &Event<'_>) {
        self.encoder.event(event);
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.encoder.raw(name, json);
    }
}

impl Sink for Voice {
    fn forget(&mut self) {
        self.encoder = self.tongue.format().encoder();
    }
}
