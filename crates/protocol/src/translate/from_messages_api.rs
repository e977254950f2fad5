//! The answer of Bedrock's own Messages API: Anthropic's events, as server-sent events.

use super::forward::EventForwarder;
use super::from_converse::{End, StreamContext, StreamSummary};
use super::{MappedError, Step};
use crate::anthropic::sse::SseReader;
use crate::event_sink::EventSink;

/// Passes on the events of one answer.
#[derive(Debug)]
pub struct MessagesApiStream {
    reader: SseReader,
    events: EventForwarder,
}

impl MessagesApiStream {
    /// Begins an answer.
    #[must_use]
    pub fn new(context: StreamContext) -> Self {
        Self { reader: SseReader::default(), events: EventForwarder::new(context) }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8], sink: &mut (impl EventSink + ?Sized)) -> Step {
        self.reader.feed(bytes);
        while !self.events.is_over() {
            let json = match self.reader.next_event() {
                Ok(None) => break,
                Ok(Some(json)) => Ok(json),
                Err(error) => Err(MappedError::unreadable(error.to_string())),
            };
            self.events.take(json, sink);
        }
        if self.events.is_over() { Step::Ended } else { Step::More }
    }

    /// Whether anything has been said to the client.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.events.is_started()
    }

    /// What went wrong, if anything.
    #[must_use]
    pub fn failure(&self) -> Option<&MappedError> {
        self.events.failure()
    }

    /// Ends the answer: says what has to be said last, and what it came to.
    pub fn finish(self, end: End, sink: &mut (impl EventSink + ?Sized)) -> StreamSummary {
        let truncated = self.reader.finish().err().map(|error| MappedError::unreadable(error.to_string()));
        self.events.finish(truncated, end, sink)
    }
}
