//! A frame of ConverseStream into what it says.
//!
//! Reading is lenient where the API may grow: unknown members are passed over (each payload carries a
//! random `p` that hides its length), unknown kinds of event, block and delta become `Unknown`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::request::{DocumentRange, SearchResultRange};
use crate::json::{JsonStr, RawJson};

/// One event of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The answer begins.
    MessageStart,
    /// A block begins; sent for tool calls, not for text and reasoning.
    ContentBlockStart(ContentBlockStart<'a>),
    /// A block goes on.
    ContentBlockDelta(ContentBlockDelta<'a>),
    /// A block is complete.
    ContentBlockStop(ContentBlockStop),
    /// The model stopped. Usage follows in `Metadata`.
    MessageStop(MessageStop<'a>),
    /// What it cost.
    Metadata(Metadata),
    /// A kind that this version does not know, by its name.
    Unknown(&'a str),
}

impl<'a> Event<'a> {
    /// Reads the payload of an event of type `kind`.
    ///
    /// # Errors
    /// When the payload is not what the API promises for that kind.
    pub fn parse(kind: &'a str, payload: &'a [u8]) -> serde_json::Result<Self> {
        Ok(match kind {
            "contentBlockDelta" => Self::ContentBlockDelta(serde_json::from_slice(payload)?),
            "contentBlockStart" => Self::ContentBlockStart(serde_json::from_slice(payload)?),
            "contentBlockStop" => Self::ContentBlockStop(serde_json::from_slice(payload)?),
            "messageStart" => Self::MessageStart,
            "messageStop" => Self::MessageStop(serde_json::from_slice(payload)?),
            "metadata" => Self::Metadata(serde_json::from_slice(payload)?),
            other => Self::Unknown(other),
        })
    }

    /// The event's type and payload: what [`parse`](Self::parse) reads.
    ///
    /// # Errors
    /// None that plain data can cause.
    pub fn print(&self) -> serde_json::Result<(&str, Vec<u8>)> {
        Ok(match self {
            Self::MessageStart => ("messageStart", br#"{"role":"assistant"}"#.to_vec()),
            Self::ContentBlockStart(event) => ("contentBlockStart", serde_json::to_vec(event)?),
            Self::ContentBlockDelta(event) => ("contentBlockDelta", serde_json::to_vec(event)?),
            Self::ContentBlockStop(event) => ("contentBlockStop", serde_json::to_vec(event)?),
            Self::MessageStop(event) => ("messageStop", serde_json::to_vec(event)?),
            Self::Metadata(event) => ("metadata", serde_json::to_vec(event)?),
            Self::Unknown(kind) => (kind, b"{}".to_vec()),
        })
    }
}

/// A block begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockStart<'a> {
    /// Which; may skip numbers.
    pub content_block_index: u32,
    /// How.
    #[serde(borrow)]
    pub start: Start<'a>,
}

/// How a block begins. A kind that this version does not know leaves all members empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start<'a> {
    /// As a call of a tool.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUseStart<'a>>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUseStart<'a> {
    /// Names the call.
    #[serde(borrow)]
    pub tool_use_id: JsonStr<'a>,
    /// Names the tool.
    #[serde(borrow)]
    pub name: JsonStr<'a>,
}

/// A block goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockDelta<'a> {
    /// Which.
    pub content_block_index: u32,
    /// How.
    #[serde(borrow)]
    pub delta: Delta<'a>,
}

/// What is added to a block. One member is present; none for a kind that this version does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delta<'a> {
    /// Text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<JsonStr<'a>>,
    /// Arguments of a call.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUseDelta<'a>>,
    /// Reasoning.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<ReasoningDelta<'a>>,
    /// Where text comes from.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<Box<Citation<'a>>>,
}

/// Where text comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Citation<'a> {
    /// What the document or search result is called.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub title: Option<JsonStr<'a>>,
    /// Of a search result: where it was found.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub source: Option<JsonStr<'a>>,
    /// What is cited.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub source_content: Vec<SourceContent<'a>>,
    /// Where it stands.
    #[serde(borrow, default)]
    pub location: Location<'a>,
}

/// A piece of what is cited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceContent<'a> {
    /// The text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<JsonStr<'a>>,
}

/// Where something stands. One member is present; none for a kind that this version does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location<'a> {
    /// In a document, by characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_char: Option<DocumentRange>,
    /// In a document, by pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_page: Option<DocumentRange>,
    /// In a document, by parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_chunk: Option<DocumentRange>,
    /// In a search result, by parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_result_location: Option<SearchResultRange>,
    /// On the web.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebLocation<'a>>,
}

/// A place on the web.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebLocation<'a> {
    /// Its address.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub url: Option<JsonStr<'a>>,
    /// The name of its host.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<JsonStr<'a>>,
}

/// Arguments of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolUseDelta<'a> {
    /// More of the JSON text.
    #[serde(borrow)]
    pub input: JsonStr<'a>,
}

/// Reasoning. One member is present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReasoningDelta<'a> {
    /// More of the text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<JsonStr<'a>>,
    /// The signature.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<JsonStr<'a>>,
    /// Base64 of reasoning that is not shown.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub redacted_content: Option<JsonStr<'a>>,
}

/// A block is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockStop {
    /// Which.
    pub content_block_index: u32,
}

/// The model stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageStop<'a> {
    /// Why; an open set.
    #[serde(borrow)]
    pub stop_reason: JsonStr<'a>,
    /// What was asked for with `additionalModelResponseFieldPaths`.
    #[serde(borrow, default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub additional_model_response_fields: Option<AdditionalFields<'a>>,
}

/// What a model says in its own words is no reason to lose its answer when it is not as expected.
pub(super) fn lenient<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AdditionalFields<'a>>, D::Error> {
    let fields = Option::<RawJson<'a>>::deserialize(deserializer)?;
    Ok(fields.and_then(|fields| fields.read().ok()))
}

/// Members of the model's own answer. Which of the places a model uses is not documented.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdditionalFields<'a> {
    /// The stop sequence it stopped at.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<JsonStr<'a>>,
    /// The same, in the streamed form.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<AdditionalDelta<'a>>,
    /// What it cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<AdditionalUsage>,
    /// A part of what it cost, without the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
}

impl<'a> AdditionalFields<'a> {
    /// How many tokens were thought, wherever it stands.
    #[must_use]
    pub fn thinking_tokens(&self) -> Option<u64> {
        let inside = self.usage.and_then(|usage| usage.output_tokens_details);
        inside.or(self.output_tokens_details)?.thinking_tokens
    }

    /// The stop sequence, wherever it stands.
    #[must_use]
    pub fn into_stop_sequence(self) -> Option<Cow<'a, str>> {
        self.stop_sequence.or_else(|| self.delta?.stop_sequence).map(|text| text.0)
    }
}

/// The streamed form of [`AdditionalFields`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdditionalDelta<'a> {
    /// The stop sequence it stopped at.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<JsonStr<'a>>,
}

/// What an answer cost, in the model's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalUsage {
    /// What the tokens of the answer were for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
}

/// What the tokens of an answer were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// How many were thought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_tokens: Option<u64>,
}

/// What it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Tokens.
    pub usage: TokenUsage,
    /// Which capacity was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

/// Which capacity was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTier {
    /// `default`, `priority`, …; an open set.
    pub r#type: String,
}

/// Tokens. `input_tokens` excludes what was read from or written to the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    /// Tokens read afresh.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    /// Tokens written to the cache.
    #[serde(default)]
    pub cache_write_input_tokens: u64,
    /// The tokens written to the cache, by lifetime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_details: Vec<CacheDetail>,
}

/// Tokens written to the cache for one lifetime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheDetail {
    /// `5m` or `1h`.
    pub ttl: String,
    /// How many.
    pub input_tokens: u64,
}

/// The payload of an exception frame, or the body of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exception {
    /// What AWS says; both spellings occur.
    #[serde(default, alias = "Message")]
    pub message: Option<String>,
    /// What the model's own server answered, of a `modelStreamErrorException`.
    #[serde(default)]
    pub original_status_code: Option<u16>,
    /// What the model's own server said.
    #[serde(default)]
    pub original_message: Option<String>,
}

impl Exception {
    /// Reads a payload; one that is not JSON says nothing.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).unwrap_or_default()
    }
}
