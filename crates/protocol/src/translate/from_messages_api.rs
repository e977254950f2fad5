//! The answer of Bedrock's own Messages API: Anthropic's events, as server-sent events.

use super::forward::{Passer, Sink};
use super::from_converse::{End, Opening, Summary};
use super::{Failure, Step};
use crate::anthropic::sse::Reader;

/// Passes on the events of one answer.
#[derive(Debug)]
pub struct SsePipeline {
    reader: Reader,
    events: Passer,
}

impl SsePipeline {
    /// Begins an answer.
    #[must_use]
    pub fn new(opening: Opening) -> Self {
        Self { reader: Reader::default(), events: Passer::new(opening) }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Step {
        self.reader.feed(bytes);
        while !self.events.is_over() {
            let json = match self.reader.next_event() {
                Ok(None) => break,
                Ok(Some(json)) => Ok(json),
                Err(error) => Err(Failure::unreadable(error.to_string())),
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
    pub fn failure(&self) -> Option<&Failure> {
        self.events.failure()
    }

    /// Ends the answer: says what has to be said last, and what it came to.
    pub fn finish(self, end: End, sink: &mut impl Sink) -> Summary {
        let truncated = self.reader.finish().err().map(|error| Failure::unreadable(error.to_string()));
        self.events.finish(truncated, end, sink)
    }
}
