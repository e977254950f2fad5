//! Events of ConverseStream.
//!
//! Parsing is lenient where the API may grow: unknown members are ignored (each payload carries a
//! random `p` that hides its length), unknown kinds of event, block and delta become `Unknown`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

use super::request::{DocumentRange, SearchResultRange, ServiceTier};
use crate::json::{JsonStr, RawJson};

/// Stream event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// Begin of the message.
    MessageStart,
    /// A block begins; sent for tool calls, not for text and reasoning.
    ContentBlockStart(ContentBlockStartEvent<'a>),
    /// Further content of a block.
    ContentBlockDelta(ContentBlockDeltaEvent<'a>),
    /// End of a content block.
    ContentBlockStop(ContentBlockStopEvent),
    /// End of the content. Usage follows in `Metadata`.
    MessageStop(MessageStopEvent<'a>),
    /// Usage.
    Metadata(MetadataEvent),
    /// A kind that this version does not know, by its name.
    Unknown(&'a str),
}

impl<'a> Event<'a> {
    /// Parses the payload of an event of type `kind`.
    ///
    /// # Errors
    /// When the payload does not match the event type.
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

/// Begin of a content block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockStartEvent<'a> {
    /// Index of the block; numbers may be skipped.
    pub content_block_index: u32,
    /// Content.
    #[serde(borrow)]
    pub start: ContentBlockStart<'a>,
}

/// How a block begins. A kind that this version does not know leaves all members empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockStart<'a> {
    /// As a call of a tool.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUseStart<'a>>,
}

/// Tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUseStart<'a> {
    /// Id of the call.
    #[serde(borrow)]
    pub tool_use_id: JsonStr<'a>,
    /// Name of the tool.
    #[serde(borrow)]
    pub name: JsonStr<'a>,
}

/// Further content of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockDeltaEvent<'a> {
    /// Index of the block.
    pub content_block_index: u32,
    /// Content.
    #[serde(borrow)]
    pub delta: ContentBlockDelta<'a>,
}

/// Addition to a block. One member is present; none for an unknown type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockDelta<'a> {
    /// Text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<JsonStr<'a>>,
    /// Arguments of a call.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUseDelta<'a>>,
    /// Reasoning.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<ReasoningDelta<'a>>,
    /// Citation.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<Box<CitationsDelta<'a>>>,
}

/// Citation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CitationsDelta<'a> {
    /// Title of the document or search result.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub title: Option<JsonStr<'a>>,
    /// Of a search result: its source.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub source: Option<JsonStr<'a>>,
    /// Cited text.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub source_content: Vec<SourceContent<'a>>,
    /// Location.
    #[serde(borrow, default)]
    pub location: Location<'a>,
}

/// A piece of what is cited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceContent<'a> {
    /// Text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<JsonStr<'a>>,
}

/// Location. One member is present; none for an unknown type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location<'a> {
    /// Range in a document, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_char: Option<DocumentRange>,
    /// Range in a document, in pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_page: Option<DocumentRange>,
    /// Range in a document, in content blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_chunk: Option<DocumentRange>,
    /// Range in a search result, in content blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search_result_location: Option<SearchResultRange>,
    /// On the web.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub web: Option<WebLocation<'a>>,
}

/// A place on the web.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WebLocation<'a> {
    /// URL of the page.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub url: Option<JsonStr<'a>>,
    /// Host name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<JsonStr<'a>>,
}

/// Arguments of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolUseDelta<'a> {
    /// Addition to the JSON text.
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
    /// Signature.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<JsonStr<'a>>,
    /// Base64 of reasoning that is not shown.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub redacted_content: Option<JsonStr<'a>>,
}

/// End of a content block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentBlockStopEvent {
    /// Index of the block.
    pub content_block_index: u32,
}

/// End of the content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageStopEvent<'a> {
    /// Stop reason; an open set.
    #[serde(borrow)]
    pub stop_reason: JsonStr<'a>,
    /// Fields requested with `additionalModelResponseFieldPaths`.
    #[serde(borrow, default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub additional_model_response_fields: Option<AdditionalFields<'a>>,
}

/// Fields of the model that cannot be parsed are ignored: they do not make the response unreadable.
pub(super) fn lenient<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AdditionalFields<'a>>, D::Error> {
    let fields = Option::<RawJson<'a>>::deserialize(deserializer)?;
    Ok(fields.and_then(|fields| fields.read().ok()))
}

/// Members of the model's own response. Where a model has them is not documented.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdditionalFields<'a> {
    /// Stop sequence that was reached.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<JsonStr<'a>>,
    /// The same, in the streamed form.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<AdditionalDelta<'a>>,
    /// Usage.
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

    /// Stop sequence, from either place.
    #[must_use]
    pub fn into_stop_sequence(self) -> Option<Cow<'a, str>> {
        self.stop_sequence.or_else(|| self.delta?.stop_sequence).map(|text| text.0)
    }
}

/// Streamed form of [`AdditionalFields`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdditionalDelta<'a> {
    /// Stop sequence that was reached.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<JsonStr<'a>>,
}

/// Usage, in the format of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdditionalUsage {
    /// Purposes of the output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
}

/// Purposes of output tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// Tokens of thinking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking_tokens: Option<u64>,
}

/// Usage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetadataEvent {
    /// Tokens.
    pub usage: TokenUsage,
    /// Service tier that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

/// Tokens. `input_tokens` excludes the tokens read from or written to the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    /// Input tokens that are not cached.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Tokens read from the cache.
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    /// Tokens written to the cache.
    #[serde(default)]
    pub cache_write_input_tokens: u64,
    /// Tokens written to the cache, by lifetime.
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

/// Payload of an exception frame, or body of an error response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exception {
    /// Message of AWS; both spellings occur.
    #[serde(default, alias = "Message")]
    pub message: Option<String>,
    /// Status of the model's own server, of a `modelStreamErrorException`.
    #[serde(default)]
    pub original_status_code: Option<u16>,
    /// Message of the model's own server.
    #[serde(default)]
    pub original_message: Option<String>,
}

impl Exception {
    /// Parses a payload; one that is not JSON is empty.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        serde_json::from_slice(payload).unwrap_or_default()
    }
}
