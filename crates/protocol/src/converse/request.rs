//! Converse request: the body of `POST /model/{id}/converse-stream`.
//!
//! Borrowed from the client's request wherever it can be. Order of members is fixed, so that equal
//! requests are equal bytes: the prompt cache depends on it. See
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::JsonText;

/// Body of the request. The model is in the path.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// System prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<SystemBlock<'a>>,
    /// The conversation; roles alternate, the user begins.
    pub messages: Vec<Message<'a>>,
    /// Inference configuration: limits and sampling.
    pub inference_config: InferenceConfiguration<'a>,
    /// Tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig<'a>>,
    /// Members of the model's own request that Converse does not have.
    #[serde(skip_serializing_if = "AdditionalRequestFields::is_empty")]
    pub additional_model_request_fields: AdditionalRequestFields<'a>,
    /// Members of the model's own response to return, as JSON pointers.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub additional_model_response_field_paths: &'static [&'static str],
    /// Labels for the invocation log of the AWS account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_metadata: Option<RequestMetadata<'a>>,
    /// Service tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    /// Output format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig<'a>>,
}

/// Role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConversationRole {
    /// The client.
    User,
    /// The model.
    Assistant,
    /// Instructions inside the conversation.
    System,
}

/// One turn.
#[derive(Clone, Debug, Serialize)]
pub struct Message<'a> {
    /// Role.
    pub role: ConversationRole,
    /// Content of the turn.
    pub content: Vec<ContentBlock<'a>>,
}

/// A piece of the system prompt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SystemBlock<'a> {
    /// Text; never blank.
    Text(JsonText<'a>),
    /// End of a prefix to cache.
    CachePoint(CachePoint),
}

/// A piece of a turn.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentBlock<'a> {
    /// Text; never blank.
    Text(JsonText<'a>),
    /// An image.
    Image(Image<'a>),
    /// Document.
    Document(DocumentBlock<'a>),
    /// Search result.
    SearchResult(SearchResult<'a>),
    /// Text with citations.
    CitationsContent(CitationsContent<'a>),
    /// Tool call.
    ToolUse(ToolUse<'a>),
    /// Tool result.
    ToolResult(ToolResult<'a>),
    /// Reasoning.
    ReasoningContent(ReasoningContentBlock<'a>),
    /// End of a prefix to cache.
    CachePoint(CachePoint),
}

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct Image<'a> {
    /// `png`, `jpeg`, `gif` or `webp`.
    pub format: &'static str,
    /// Its bytes.
    pub source: Bytes<'a>,
}

/// Document.
#[derive(Clone, Debug, Serialize)]
pub struct DocumentBlock<'a> {
    /// `pdf` or `txt`; absent for a document in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    /// Names it: `[a-zA-Z0-9 \-()\[\]]{1,200}`, no two spaces in a row, unlike any other of the request.
    pub name: Cow<'a, str>,
    /// Content of the document.
    pub source: DocumentSource<'a>,
    /// Context of the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Cow<'a, str>>,
    /// Citation settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<CitationsConfig>,
}

/// Content of a document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DocumentSource<'a> {
    /// Base64.
    Bytes(Cow<'a, str>),
    /// Text.
    Text(Cow<'a, str>),
    /// Parts that are cited as a whole.
    Content(Vec<TextPart<'a>>),
}

/// A piece of text; never blank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextPart<'a> {
    /// Text.
    pub text: JsonText<'a>,
}

/// Citation settings of a document or a search result.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CitationsConfig {
    /// Whether citations are enabled.
    pub enabled: bool,
}

/// Search result.
#[derive(Clone, Debug, Serialize)]
pub struct SearchResult<'a> {
    /// Location.
    pub source: Cow<'a, str>,
    /// Title.
    pub title: Cow<'a, str>,
    /// Content.
    pub content: Vec<TextPart<'a>>,
    /// Citation settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<CitationsConfig>,
}

/// Text with citations.
#[derive(Clone, Debug, Serialize)]
pub struct CitationsContent<'a> {
    /// Text.
    pub content: [TextPart<'a>; 1],
    /// Citations.
    pub citations: Vec<Citation<'a>>,
}

/// Source of a piece of text.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Citation<'a> {
    /// Title of the document or search result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Cow<'a, str>>,
    /// Of a search result: its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    /// Cited text.
    pub source_content: [TextPart<'a>; 1],
    /// Location.
    pub location: CitationLocation,
}

/// Location.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CitationLocation {
    /// Range in a document, in characters.
    DocumentChar(DocumentRange),
    /// Range in a document, in pages.
    DocumentPage(DocumentRange),
    /// Range in a document, in content blocks.
    DocumentChunk(DocumentRange),
    /// Range in a search result, in content blocks.
    SearchResultLocation(SearchResultRange),
}

/// A place in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DocumentRange {
    /// Index in the request.
    pub document_index: u64,
    /// Start.
    pub start: u64,
    /// End.
    pub end: u64,
}

/// A place in a search result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchResultRange {
    /// Index in the request.
    pub search_result_index: u64,
    /// Start.
    pub start: u64,
    /// End.
    pub end: u64,
}

/// Bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Bytes<'a> {
    /// Base64.
    pub bytes: Cow<'a, str>,
}

/// Tool call.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse<'a> {
    /// Names the call: `[a-zA-Z0-9_.:-]{1,64}`.
    pub tool_use_id: Cow<'a, str>,
    /// Names the tool: `[a-zA-Z0-9_-]{1,64}`.
    pub name: Cow<'a, str>,
    /// The arguments, an object.
    pub input: &'a RawValue,
}

/// Tool result.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult<'a> {
    /// Id of the call.
    pub tool_use_id: Cow<'a, str>,
    /// The result; never empty.
    pub content: Vec<ToolResultBlock<'a>>,
    /// `error` when the tool failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
}

/// A piece of a result.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolResultBlock<'a> {
    /// Text; never blank.
    Text(JsonText<'a>),
    /// An image.
    Image(Image<'a>),
    /// Document.
    Document(DocumentBlock<'a>),
    /// Search result.
    SearchResult(SearchResult<'a>),
}

/// Reasoning.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ReasoningContentBlock<'a> {
    /// Reasoning that is shown.
    ReasoningText {
        /// Text of the reasoning.
        text: Cow<'a, str>,
        /// Signature of the model.
        signature: Cow<'a, str>,
    },
    /// Not shown: base64 of the opaque text.
    RedactedContent(Cow<'a, str>),
}

/// End of a prefix to cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CachePoint {
    /// Always `default`.
    pub r#type: &'static str,
    /// `5m` or `1h`; absent means five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<&'static str>,
}

/// Inference configuration: limits and sampling.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceConfiguration<'a> {
    /// Maximum of output tokens. Sent wherever the model takes it: Bedrock reserves the model's maximum
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Temperature, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Stop sequences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<Cow<'a, str>>,
}

/// Tools.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolConfig<'a> {
    /// Tools that may be called.
    pub tools: Vec<Tool<'a>>,
    /// Tool choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice<'a>>,
}

/// A tool, or the end of a prefix of tools to cache.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Tool<'a> {
    /// Tool.
    ToolSpec(ToolSpec<'a>),
    /// End of a prefix to cache.
    CachePoint(CachePoint),
}

/// Tool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec<'a> {
    /// Name of the tool: `[a-zA-Z0-9_-]{1,64}`.
    pub name: Cow<'a, str>,
    /// Description; never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    /// The schema of its arguments.
    pub input_schema: InputSchema<'a>,
    /// Whether the arguments must match the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// The schema of a tool's arguments.
#[derive(Clone, Debug, Serialize)]
pub struct InputSchema<'a> {
    /// JSON Schema, as the client wrote it.
    pub json: &'a RawValue,
}

/// Tool choice.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolChoice<'a> {
    /// The model decides.
    Auto {},
    /// Some tool.
    Any {},
    /// This tool.
    Tool {
        /// Name.
        name: Cow<'a, str>,
    },
}

/// Members of the model's own request that Converse does not have.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdditionalRequestFields<'a> {
    /// How a Claude model may think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Cow<'a, RawValue>>,
    /// Number of tokens to sample from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// The same for Amazon's models.
    #[serde(rename = "inferenceConfig", skip_serializing_if = "Option::is_none")]
    pub inference_config: Option<MoreInferenceConfig>,
    /// At most one call at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ParallelToolUse>,
    /// A Claude model's effort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<Effort<'a>>,
    /// Anthropic-defined client tools, as the client wrote them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Box<RawValue>>,
    /// Betas that are required.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anthropic_beta: Vec<Cow<'a, str>>,
    /// Another model's effort.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningControl>,
}

impl AdditionalRequestFields<'_> {
    fn is_empty(&self) -> bool {
        self.thinking.is_none()
            && self.top_k.is_none()
            && self.inference_config.is_none()
            && self.tool_choice.is_none()
            && self.output_config.is_none()
            && self.tools.is_empty()
            && self.anthropic_beta.is_empty()
            && self.reasoning.is_none()
    }
}

/// Inference configuration of Amazon's models beside that of Converse.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoreInferenceConfig {
    /// Number of tokens to sample from.
    pub top_k: u64,
}

/// Reasoning effort of models other than Claude: each family has a member of its own.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum ReasoningControl {
    /// Amazon's.
    #[serde(rename = "reasoningConfig", rename_all = "camelCase")]
    Config {
        /// `enabled`.
        r#type: &'static str,
        /// `low`, `medium` or `high`.
        max_reasoning_effort: &'static str,
    },
    /// DeepSeek's.
    #[serde(rename = "reasoning_config")]
    ConfigText(&'static str),
    /// Effort of OpenAI's open models.
    #[serde(rename = "reasoning_effort")]
    Effort(&'static str),
    /// OpenAI's.
    #[serde(rename = "reasoning")]
    Object {
        /// `none`, `low` … `max`.
        effort: &'static str,
    },
}

/// At most one call at a time. `type` only when `toolConfig.toolChoice` is absent: Bedrock refuses both.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ParallelToolUse {
    /// `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<&'static str>,
    /// Whether parallel tool calls are disabled.
    pub disable_parallel_tool_use: bool,
}

/// Effort.
#[derive(Clone, Debug, Serialize)]
pub struct Effort<'a> {
    /// `low` … `max`.
    pub effort: Cow<'a, str>,
}

/// Output format.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConfig<'a> {
    /// Text format.
    pub text_format: TextFormat<'a>,
    /// `low` … `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Cow<'a, str>>,
}

/// Text format.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TextFormat<'a> {
    /// `json_schema`.
    pub r#type: &'static str,
    /// JSON Schema.
    pub structure: TextStructure<'a>,
}

/// The schema of the text.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TextStructure<'a> {
    /// JSON that obeys a schema.
    JsonSchema {
        /// The schema's own text: a string, not an object.
        schema: &'a str,
    },
}

/// Labels for the invocation log of the AWS account.
#[derive(Clone, Debug, Serialize)]
pub struct RequestMetadata<'a> {
    /// An opaque name of the user: `[a-zA-Z0-9\s:_@$#=/+,-.]{0,256}`.
    pub user_id: Cow<'a, str>,
}

/// Service tier, requested or used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceTier {
    /// `default`, `priority`, `flex` or `reserved`; an open set.
    pub r#type: Cow<'static, str>,
}
