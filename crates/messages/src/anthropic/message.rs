//! A whole answer: the `Message` that a client which does not stream is given.
//!
//! See <https://platform.claude.com/docs/en/api/messages/create>.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// `msg_…`.
    pub id: String,
    /// Always `message`.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// Always `assistant`.
    pub role: Role,
    /// The model, as the client called it.
    pub model: String,
    /// What the model said.
    pub content: Vec<ContentBlock>,
    /// Why it stopped; an open set.
    pub stop_reason: Option<String>,
    /// Which of the stop sequences it stopped at.
    pub stop_sequence: Option<String>,
    /// What it cost.
    pub usage: Usage,
}

/// Always `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The one kind there is.
    #[default]
    Message,
}

/// Always `assistant`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The model.
    #[default]
    Assistant,
}

/// A piece of an answer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought.
    Thinking {
        /// The thought; empty when it is not shown.
        thinking: String,
        /// Proves that the model wrote it; to be sent back unchanged.
        signature: String,
    },
    /// A thought that is not shown.
    RedactedThinking {
        /// Opaque; to be sent back unchanged.
        data: String,
    },
    /// A call of a tool.
    ToolUse {
        /// Names the call.
        id: String,
        /// Names the tool.
        name: String,
        /// The arguments, in the order and spelling of the model.
        input: Box<RawValue>,
    },
}

/// Tokens of a request. `input_tokens` excludes what was read from or written to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read afresh.
    pub input_tokens: u64,
    /// Tokens written to the cache.
    #[serde(default)]
    pub cache_creation_input_tokens: u64,
    /// Tokens read from the cache.
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    /// The tokens written to the cache, by lifetime.
    #[serde(default)]
    pub cache_creation: CacheCreation,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// Tokens written to the cache, by lifetime; the two add up to `cache_creation_input_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    /// Kept for five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// Kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
}
