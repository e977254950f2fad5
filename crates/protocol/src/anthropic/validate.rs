//! Validation of the order of events, for tests and fuzz targets.
//!
//! Every stream of the tests and the fuzz targets is validated.

use super::{BlockStart, Delta, Event};

/// Validator of the order of events of one stream.
#[derive(Debug, Default)]
pub struct StreamValidator {
    state: State,
    next_index: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Nothing,
    Between,
    Within(Block),
    Stopping,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Whole,
    ToolUse,
}

impl StreamValidator {
    /// Validates the next event.
    ///
    /// # Errors
    /// The rule that the event violates.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), String> {
        let broken = |rule: &str| Err(format!("{rule}: {event:?} in {self:?}"));
        self.state = match (self.state, event) {
            (State::Closed, _) => return broken("nothing follows the end"),
            (state, Event::Ping) => state,
            (_, Event::Error { .. }) => State::Closed,
            (State::Nothing, Event::MessageStart { .. }) => State::Between,
            (State::Between, Event::ContentBlockStart { index, content_block })
                if *index == self.next_index =>
            {
                self.next_index += 1;
                State::Within(match content_block {
                    BlockStart::Text { .. } => Block::Text,
                    BlockStart::Thinking { .. } => Block::Thinking,
                    BlockStart::RedactedThinking { .. } => Block::Whole,
                    BlockStart::ToolUse { .. } => Block::ToolUse,
                })
            }
            (State::Within(block), Event::ContentBlockDelta { index, delta })
                if index + 1 == self.next_index =>
            {
                let fits = match delta {
                    Delta::TextDelta { text } => block == Block::Text && !text.is_empty(),
                    Delta::CitationsDelta { .. } => block == Block::Text,
                    Delta::ThinkingDelta { .. } | Delta::SignatureDelta { .. } => block == Block::Thinking,
                    Delta::InputJsonDelta { .. } => block == Block::ToolUse,
                };
                if !fits {
                    return broken("a delta fits its block");
                }
                State::Within(block)
            }
            (State::Within(_), Event::ContentBlockStop { index }) if index + 1 == self.next_index => {
                State::Between
            }
            (State::Between, Event::MessageDelta { .. }) => State::Stopping,
            (State::Stopping, Event::MessageStop) => State::Closed,
            _ => return broken("blocks open and close one after the other, numbered from 0, before the end"),
        };
        Ok(())
    }

    /// Whether the stream has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}
