//! A whole answer: the `Message` that a client which does not stream is given.
//!
//! See <https://platform.claude.com/docs/en/api/messages/create>.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
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
        /// Where it comes from; absent when the model did not cite.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Citation>,
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

/// Where a piece of text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Citation {
    /// A document, by characters.
    CharLocation {
        /// What is cited.
        cited_text: String,
        /// Which document, counted over the request.
        document_index: u64,
        /// What it is called.
        document_title: Option<String>,
        /// From here.
        start_char_index: u64,
        /// To here.
        end_char_index: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// A document, by pages.
    PageLocation {
        /// What is cited.
        cited_text: String,
        /// Which document, counted over the request.
        document_index: u64,
        /// What it is called.
        document_title: Option<String>,
        /// From here.
        start_page_number: u64,
        /// To here.
        end_page_number: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// A document, by parts.
    ContentBlockLocation {
        /// What is cited.
        cited_text: String,
        /// Which document, counted over the request.
        document_index: u64,
        /// What it is called.
        document_title: Option<String>,
        /// From here.
        start_block_index: u64,
        /// To here.
        end_block_index: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// A search result, by parts.
    SearchResultLocation {
        /// What is cited.
        cited_text: String,
        /// Which search result, counted over the request.
        search_result_index: u64,
        /// Where it was found.
        source: String,
        /// What it is called.
        title: Option<String>,
        /// From here.
        start_block_index: u64,
        /// To here.
        end_block_index: u64,
    },
    /// The web.
    WebSearchResultLocation {
        /// What is cited.
        cited_text: String,
        /// Always empty: Bedrock has none.
        encrypted_index: String,
        /// What the page is called.
        title: Option<String>,
        /// Its address.
        url: String,
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
    /// What the tokens of the answer were for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
    /// Which capacity was used.
    #[serde(default, deserialize_with = "known_tier", skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

/// What the tokens of an answer were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// How many were thought.
    #[serde(default)]
    pub thinking_tokens: u64,
}

/// Which capacity was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// What everybody has.
    Standard,
    /// Served first.
    Priority,
    /// Served some time.
    Batch,
    /// Served when there is room; Bedrock's own.
    Flex,
    /// Set aside; Bedrock's own.
    Reserved,
}

impl ServiceTier {
    /// The tier that Bedrock calls `name`.
    #[must_use]
    pub fn of_bedrock(name: &str) -> Option<Self> {
        match name {
            "default" => Some(Self::Standard),
            "priority" => Some(Self::Priority),
            "flex" => Some(Self::Flex),
            "reserved" => Some(Self::Reserved),
            _ => None,
        }
    }
}

/// A tier without a name in this version is no reason to lose the rest of the usage.
fn known_tier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServiceTier>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tier {
        Known(ServiceTier),
        Other(IgnoredAny),
    }

    Ok(match Option::<Tier>::deserialize(deserializer)? {
        Some(Tier::Known(tier)) => Some(tier),
        Some(Tier::Other(_)) | None => None,
    })
}

/// Tokens written to the cache, by lifetime; the two add up to `cache_creation_input_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    /// Kept for five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// Kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
}
