//! Converse response: the document of `POST /model/{id}/converse`, for requests that a model cannot stream.
//!
//! Parsing is as lenient as for [events](super::event). See
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>.

use serde::{Deserialize, Serialize};

use super::event::{
    AdditionalFields, CitationsDelta, ContentBlockDelta, ContentBlockDeltaEvent, ContentBlockStart,
    ContentBlockStartEvent, ContentBlockStopEvent, Event, MessageStopEvent, MetadataEvent, ReasoningDelta,
    SourceContent, TokenUsage, ToolUseDelta, ToolUseStart, lenient,
};
use super::request::ServiceTier;
use crate::json::{JsonStr, RawJson};

/// Response that is not streamed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConverseResponse<'a> {
    /// Content of the model.
    #[serde(borrow)]
    pub output: Output<'a>,
    /// Stop reason; an open set.
    #[serde(borrow)]
    pub stop_reason: JsonStr<'a>,
    /// Usage.
    pub usage: TokenUsage,
    /// Fields requested with `additionalModelResponseFieldPaths`.
    #[serde(borrow, default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub additional_model_response_fields: Option<AdditionalFields<'a>>,
    /// Service tier that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

/// Content of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output<'a> {
    /// Its turn.
    #[serde(borrow, default)]
    pub message: Message<'a>,
}

/// A turn of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// Its pieces.
    #[serde(borrow, default)]
    pub content: Vec<Block<'a>>,
}

/// A piece of a turn. One member is present; none for a kind that this version does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block<'a> {
    /// Text.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub text: Option<JsonStr<'a>>,
    /// Tool call.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub tool_use: Option<ToolUse<'a>>,
    /// Reasoning.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<Reasoning<'a>>,
    /// Text with citations.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub citations_content: Option<CitationsContent<'a>>,
}

/// Tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse<'a> {
    /// Id of the call.
    #[serde(borrow)]
    pub tool_use_id: JsonStr<'a>,
    /// Name of the tool.
    #[serde(borrow)]
    pub name: JsonStr<'a>,
    /// The arguments.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub input: Option<RawJson<'a>>,
}

/// Reasoning. One member is present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reasoning<'a> {
    /// Reasoning that is shown.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reasoning_text: Option<ReasoningText<'a>>,
    /// Base64 of reasoning that is not shown.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub redacted_content: Option<JsonStr<'a>>,
}

/// Reasoning that is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReasoningText<'a> {
    /// Text.
    #[serde(borrow, default)]
    pub text: JsonStr<'a>,
    /// Signature.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<JsonStr<'a>>,
}

/// Text with citations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CitationsContent<'a> {
    /// Text.
    #[serde(borrow, default)]
    pub content: Vec<SourceContent<'a>>,
    /// Citations.
    #[serde(borrow, default)]
    pub citations: Vec<CitationsDelta<'a>>,
}

impl<'a> ConverseResponse<'a> {
    /// Events of a stream with the same content.
    pub fn into_events(self, out: &mut impl FnMut(Event<'a>)) {
        out(Event::MessageStart);
        for (index, block) in (0_u32..).zip(self.output.message.content) {
            block.into_events(index, out);
        }
        out(Event::MessageStop(MessageStopEvent {
            stop_reason: self.stop_reason,
            additional_model_response_fields: self.additional_model_response_fields,
        }));
        out(Event::Metadata(MetadataEvent { usage: self.usage, service_tier: self.service_tier }));
    }
}

impl<'a> Block<'a> {
    fn into_events(self, content_block_index: u32, out: &mut impl FnMut(Event<'a>)) {
        let Self { text, tool_use, reasoning_content, citations_content } = self;
        let mut deltas = Vec::new();
        if let Some(text) = text {
            deltas.push(ContentBlockDelta { text: Some(text), ..ContentBlockDelta::default() });
        } else if let Some(ToolUse { tool_use_id, name, input }) = tool_use {
            let start = ContentBlockStart { tool_use: Some(ToolUseStart { tool_use_id, name }) };
            out(Event::ContentBlockStart(ContentBlockStartEvent { content_block_index, start }));
            // A stream has no arguments for a call without any.
            let input = input.filter(|input| !matches!(input.get(), RawJson::EMPTY_OBJECT | "null"));
            let tool_use = input.map(|input| ToolUseDelta { input: input.get().into() });
            deltas.extend(tool_use.map(|tool_use| ContentBlockDelta {
                tool_use: Some(tool_use),
                ..ContentBlockDelta::default()
            }));
        } else if let Some(reasoning) = reasoning_content {
            deltas.extend(reasoning.into_deltas());
        } else if let Some(CitationsContent { content, citations }) = citations_content {
            let texts = content.into_iter().filter_map(|piece| piece.text);
            deltas.extend(
                texts.map(|text| ContentBlockDelta { text: Some(text), ..ContentBlockDelta::default() }),
            );
            let citations = citations.into_iter().map(Box::new);
            deltas.extend(citations.map(|citation| ContentBlockDelta {
                citation: Some(citation),
                ..ContentBlockDelta::default()
            }));
        } else {
            // Of a kind that this version does not know; a delta without a kind marks it.
            deltas.push(ContentBlockDelta::default());
        }
        for delta in deltas {
            out(Event::ContentBlockDelta(ContentBlockDeltaEvent { content_block_index, delta }));
        }
        out(Event::ContentBlockStop(ContentBlockStopEvent { content_block_index }));
    }
}

impl<'a> Reasoning<'a> {
    fn into_deltas(self) -> impl Iterator<Item = ContentBlockDelta<'a>> {
        let (text, signature) = self.reasoning_text.map(|shown| (shown.text, shown.signature)).unzip();
        let members = [
            ReasoningDelta { text, ..ReasoningDelta::default() },
            ReasoningDelta { signature: signature.flatten(), ..ReasoningDelta::default() },
            ReasoningDelta { redacted_content: self.redacted_content, ..ReasoningDelta::default() },
        ];
        let deltas = members.into_iter().filter(|delta| *delta != ReasoningDelta::default());
        deltas.map(|reasoning| ContentBlockDelta {
            reasoning_content: Some(reasoning),
            ..ContentBlockDelta::default()
        })
    }
}
