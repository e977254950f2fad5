//! Stream events of the Messages API.
//!
//! Order of events: `message_start (content_block_start content_block_delta* content_block_stop)*
//! message_delta message_stop`, or a beginning of that and then one `error`; `ping` anywhere before the
//! end. See <https://platform.claude.com/docs/en/build-with-claude/streaming>.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::message::{MessageKind, Role, TextCitation};
use super::{Error, Usage};

/// Stream event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// Begin of the message.
    MessageStart {
        /// The message without content.
        #[serde(borrow)]
        message: MessageStart<'a>,
    },
    /// Begin of a content block.
    ContentBlockStart {
        /// Index of the block, counted from 0 without gaps.
        index: u32,
        /// The block without its content.
        #[serde(borrow)]
        content_block: BlockStart<'a>,
    },
    /// Further content of a block.
    ContentBlockDelta {
        /// Index of the block.
        index: u32,
        /// The addition.
        #[serde(borrow)]
        delta: Delta<'a>,
    },
    /// End of a content block.
    ContentBlockStop {
        /// Index of the block.
        index: u32,
    },
    /// End of the content.
    MessageDelta {
        /// Stop reason and stop sequence.
        #[serde(borrow)]
        delta: MessageEnd<'a>,
        /// Usage of the whole message.
        usage: Usage,
    },
    /// End of the stream.
    MessageStop,
    /// Keep-alive.
    Ping,
    /// Failure; ends the stream.
    Error {
        /// The error.
        error: Cow<'a, Error>,
        /// Id of the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<Cow<'a, str>>,
    },
}

impl Event<'_> {
    /// Copy of the event without borrowed data.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::MessageStart { message } => Event::MessageStart {
                message: MessageStart { id: owned(message.id), model: owned(message.model), ..message },
            },
            Self::ContentBlockStart { index, content_block } => {
                Event::ContentBlockStart { index, content_block: content_block.into_owned() }
            }
            Self::ContentBlockDelta { index, delta } => {
                Event::ContentBlockDelta { index, delta: delta.into_owned() }
            }
            Self::ContentBlockStop { index } => Event::ContentBlockStop { index },
            Self::MessageDelta { delta: MessageEnd { stop_reason, stop_sequence }, usage } => {
                let delta = MessageEnd {
                    stop_reason: stop_reason.map(owned),
                    stop_sequence: stop_sequence.map(owned),
                };
                Event::MessageDelta { delta, usage }
            }
            Self::MessageStop => Event::MessageStop,
            Self::Ping => Event::Ping,
            Self::Error { error, request_id } => {
                Event::Error { error: Cow::Owned(error.into_owned()), request_id: request_id.map(owned) }
            }
        }
    }

    /// Name of the event, which is also its `type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Ping => "ping",
            Self::Error { .. } => "error",
        }
    }
}

/// Message without content. Clients fail when one of these members is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageStart<'a> {
    /// `msg_…`.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Always `message`.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// Always `assistant`.
    pub role: Role,
    /// Model, as the client named it.
    #[serde(borrow)]
    pub model: Cow<'a, str>,
    /// Always empty.
    pub content: [(); 0],
    /// Always null.
    pub stop_reason: Option<()>,
    /// Always null.
    pub stop_sequence: Option<()>,
    /// All zero, as Bedrock counts at the end; complete in `message_delta`.
    pub usage: UsageStart,
}

impl<'a> MessageStart<'a> {
    /// Begin of the message `id` of `model`.
    #[must_use]
    pub fn new(id: &'a str, model: &'a str) -> Self {
        Self {
            id: Cow::Borrowed(id),
            kind: MessageKind::Message,
            role: Role::Assistant,
            model: Cow::Borrowed(model),
            content: [],
            stop_reason: None,
            stop_sequence: None,
            usage: UsageStart::default(),
        }
    }
}

/// Counts at the begin of a message. No `cache_creation`: clients that accumulate a stream never correct it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageStart {
    /// Always 0.
    pub input_tokens: u64,
    /// Always 0.
    pub cache_creation_input_tokens: u64,
    /// Always 0.
    pub cache_read_input_tokens: u64,
    /// Always 0.
    pub output_tokens: u64,
}

/// Content block without content. Clients need the empty members, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockStart<'a> {
    /// Text.
    Text {
        /// Always empty.
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    /// Thinking.
    Thinking {
        /// Always empty.
        #[serde(borrow)]
        thinking: Cow<'a, str>,
        /// Always empty.
        #[serde(borrow)]
        signature: Cow<'a, str>,
    },
    /// Complete redacted thinking.
    RedactedThinking {
        /// Opaque data.
        #[serde(borrow)]
        data: Cow<'a, str>,
    },
    /// Tool call.
    ToolUse {
        /// Id of the call.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Name of the tool.
        #[serde(borrow)]
        name: Cow<'a, str>,
        /// Always `{}`.
        input: EmptyObject,
    },
}

impl BlockStart<'_> {
    fn into_owned(self) -> BlockStart<'static> {
        match self {
            Self::Text { text } => BlockStart::Text { text: owned(text) },
            Self::Thinking { thinking, signature } => {
                BlockStart::Thinking { thinking: owned(thinking), signature: owned(signature) }
            }
            Self::RedactedThinking { data } => BlockStart::RedactedThinking { data: owned(data) },
            Self::ToolUse { id, name, input } => {
                BlockStart::ToolUse { id: owned(id), name: owned(name), input }
            }
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyObject {}

/// Addition to a content block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta<'a> {
    /// Addition to text.
    TextDelta {
        /// The addition.
        #[serde(borrow)]
        text: Cow<'a, str>,
    },
    /// Addition to thinking.
    ThinkingDelta {
        /// The addition.
        #[serde(borrow)]
        thinking: Cow<'a, str>,
    },
    /// Signature of thinking, which comes last.
    SignatureDelta {
        /// Signature.
        #[serde(borrow)]
        signature: Cow<'a, str>,
    },
    /// Addition to the arguments of a tool call.
    InputJsonDelta {
        /// Addition to the JSON text.
        #[serde(borrow)]
        partial_json: Cow<'a, str>,
    },
    /// Citation of text.
    CitationsDelta {
        /// The citation.
        citation: TextCitation,
    },
}

impl Delta<'_> {
    fn into_owned(self) -> Delta<'static> {
        match self {
            Self::TextDelta { text } => Delta::TextDelta { text: owned(text) },
            Self::ThinkingDelta { thinking } => Delta::ThinkingDelta { thinking: owned(thinking) },
            Self::SignatureDelta { signature } => Delta::SignatureDelta { signature: owned(signature) },
            Self::InputJsonDelta { partial_json } => {
                Delta::InputJsonDelta { partial_json: owned(partial_json) }
            }
            Self::CitationsDelta { citation } => Delta::CitationsDelta { citation },
        }
    }
}

/// Stop reason of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageEnd<'a> {
    /// Stop reason; an open set.
    #[serde(borrow)]
    pub stop_reason: Option<Cow<'a, str>>,
    /// Stop sequence that was reached.
    #[serde(borrow)]
    pub stop_sequence: Option<Cow<'a, str>>,
}
