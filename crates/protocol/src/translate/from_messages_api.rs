//! Streams of Bedrock's Messages API: server-sent events; and messages that are not streamed.

mod document;

pub use document::translate_message;

use super::forward::EventForwarder;
use super::from_converse::{End, StreamContext, StreamSummary};
use super::{MappedError, Step};
use crate::anthropic::event_sink::EventSink;
use crate::anthropic::sse::SseReader;

/// Decoder of the events of one response.
#[derive(Debug)]
pub struct MessagesApiStream {
    reader: SseReader,
    events: EventForwarder,
}

impl MessagesApiStream {
    /// New stream.
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
                Err(error) => Err(error.into()),
            };
            self.events.take(json, sink);
        }
        if self.events.is_over() { Step::Ended } else { Step::More }
    }

    /// Whether the first event was written.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.events.is_started()
    }

    /// Error of the stream, if any.
    #[must_use]
    pub fn failure(&self) -> Option<&MappedError> {
        self.events.failure()
    }

    /// Ends the stream: writes the last events, and returns the summary.
    pub fn finish(self, end: End, sink: &mut (impl EventSink + ?Sized)) -> StreamSummary {
        let truncated = self.reader.finish().err().map(MappedError::from);
        self.events.finish(truncated, end, sink)
    }
}
