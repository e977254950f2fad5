//! From events to the whole: a stream is a message written slowly.

use serde_json::value::RawValue;

use super::message::{Citation, MessageKind, Role};
use super::{BlockStart, ContentBlock, Delta, Error, ErrorType, Event, Message, Usage};
use crate::partial_json::complete_partial_json;

/// Collects the events of one answer.
#[derive(Debug, Default)]
pub struct Fold {
    head: Option<(String, String)>,
    blocks: Vec<Open>,
    end: Option<(Option<String>, Option<String>, Usage)>,
    failure: Option<Error>,
}

#[derive(Debug)]
enum Open {
    Text { text: String, citations: Vec<Citation> },
    Thinking { thinking: String, signature: String },
    Redacted(String),
    ToolUse { id: String, name: String, json: String },
}

impl Fold {
    /// Takes the next event. Deltas for blocks that never began are left out.
    pub fn push(&mut self, event: &Event<'_>) {
        match event {
            Event::MessageStart { message } => {
                self.head = Some((message.id.to_string(), message.model.to_string()));
            }
            Event::ContentBlockStart { content_block, .. } => self.blocks.push(Open::new(content_block)),
            Event::ContentBlockDelta { index, delta } => {
                let block = usize::try_from(*index).ok().and_then(|index| self.blocks.get_mut(index));
                if let Some(block) = block {
                    block.add(delta);
                }
            }
            Event::MessageDelta { delta, usage } => {
                let owned = |text: &Option<_>| text.as_ref().map(ToString::to_string);
                self.end = Some((owned(&delta.stop_reason), owned(&delta.stop_sequence), *usage));
            }
            Event::Error { error, .. } => self.failure = Some(error.clone().into_owned()),
            Event::ContentBlockStop { .. } | Event::MessageStop | Event::Ping => {}
        }
    }

    /// The whole answer.
    ///
    /// # Errors
    /// The error that the stream ended with, or that it did not end, or that the model wrote arguments
    /// that are not JSON.
    pub fn finish(self) -> Result<Message, Error> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let (Some((id, model)), Some((stop_reason, stop_sequence, usage))) = (self.head, self.end) else {
            return Err(Error::new(ErrorType::Api, "the answer ended before it was complete"));
        };
        let content = self.blocks.into_iter().map(Open::close).collect::<Result<_, _>>()?;
        let (kind, role) = (MessageKind::Message, Role::Assistant);
        Ok(Message { id, kind, role, model, content, stop_reason, stop_sequence, usage })
    }
}

impl Open {
    fn new(start: &BlockStart<'_>) -> Self {
        match start {
            BlockStart::Text { text } => Self::Text { text: text.to_string(), citations: Vec::new() },
            BlockStart::Thinking { thinking, signature } => {
                Self::Thinking { thinking: thinking.to_string(), signature: signature.to_string() }
            }
            BlockStart::RedactedThinking { data } => Self::Redacted(data.to_string()),
            BlockStart::ToolUse { id, name, .. } => {
                Self::ToolUse { id: id.to_string(), name: name.to_string(), json: String::new() }
            }
        }
    }

    fn add(&mut self, delta: &Delta<'_>) {
        match (self, delta) {
            (Self::Text { text: all, .. }, Delta::TextDelta { text }) => all.push_str(text),
            (Self::Text { citations, .. }, Delta::CitationsDelta { citation }) => {
                citations.push(citation.clone());
            }
            (Self::Thinking { thinking: all, .. }, Delta::ThinkingDelta { thinking }) => {
                all.push_str(thinking);
            }
            (Self::Thinking { signature: all, .. }, Delta::SignatureDelta { signature }) => {
                signature.as_ref().clone_into(all);
            }
            (Self::ToolUse { json, .. }, Delta::InputJsonDelta { partial_json }) => {
                json.push_str(partial_json);
            }
            _ => {}
        }
    }

    fn close(self) -> Result<ContentBlock, Error> {
        Ok(match self {
            Self::Text { text, citations } => ContentBlock::Text { text, citations },
            Self::Thinking { thinking, signature } => ContentBlock::Thinking { thinking, signature },
            Self::Redacted(data) => ContentBlock::RedactedThinking { data },
            Self::ToolUse { id, name, json } => {
                ContentBlock::ToolUse { input: arguments(json, &name)?, id, name }
            }
        })
    }
}

/// The arguments of a call. An answer cut off by `max_tokens` ends in the middle of them; the SDKs then
/// keep the members that are complete, and so does this.
fn arguments(json: String, tool: &str) -> Result<Box<RawValue>, Error> {
    let json = if json.trim().is_empty() { "{}".to_owned() } else { json };
    RawValue::from_string(json.clone())
        .or_else(|_| RawValue::from_string(complete_partial_json(&json)))
        .map_err(|error| {
            Error::new(
                ErrorType::Api,
                format!("the model called the tool `{tool}` with arguments that are not JSON: {error}"),
            )
        })
}
