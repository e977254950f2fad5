//! What Bedrock is asked: the body of `POST /model/{id}/converse-stream`.
//!
//! Borrowed from the client's request wherever it can be. Order of members is fixed, so that equal
//! requests are equal bytes: the prompt cache depends on it. See
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The whole body. The model is in the path.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// What the model is told before the conversation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<SystemBlock<'a>>,
    /// The conversation; roles alternate, the user begins.
    pub messages: Vec<Message<'a>>,
    /// Limits and sampling.
    pub inference_config: InferenceConfig<'a>,
    /// Tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig<'a>>,
    /// Members of the model's own request that Converse has no name for.
    #[serde(skip_serializing_if = "AdditionalRequestFields::is_empty")]
    pub additional_model_request_fields: AdditionalRequestFields<'a>,
    /// Members of the model's own answer to hand back, as JSON pointers.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub additional_model_response_field_paths: &'static [&'static str],
    /// Labels for the invocation log of the AWS account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_metadata: Option<RequestMetadata<'a>>,
    /// Which capacity to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    /// What the answer has to look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The client.
    User,
    /// The model.
    Assistant,
    /// Whoever built the client, in the middle of the conversation.
    System,
}

/// One turn.
#[derive(Clone, Debug, Serialize)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Vec<ContentBlock<'a>>,
}

/// A piece of the system prompt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SystemBlock<'a> {
    /// Text; never blank.
    Text(Cow<'a, str>),
    /// The end of a prefix to cache.
    CachePoint(CachePoint),
}

/// A piece of a turn.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentBlock<'a> {
    /// Text; never blank.
    Text(Cow<'a, str>),
    /// An image.
    Image(Image<'a>),
    /// A document.
    Document(Document<'a>),
    /// What a search found.
    SearchResult(SearchResult<'a>),
    /// Text that says where it comes from.
    CitationsContent(CitationsContent<'a>),
    /// A call that the model made.
    ToolUse(ToolUse<'a>),
    /// What came of a call.
    ToolResult(ToolResult<'a>),
    /// What the model thought.
    ReasoningContent(Reasoning<'a>),
    /// The end of a prefix to cache.
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

/// A document.
#[derive(Clone, Debug, Serialize)]
pub struct Document<'a> {
    /// `pdf` or `txt`; absent for a document in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    /// Names it: `[a-zA-Z0-9 \-()\[\]]{1,200}`, no two spaces in a row, unlike any other of the request.
    pub name: Cow<'a, str>,
    /// What is in it.
    pub source: DocumentSource<'a>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<Cow<'a, str>>,
    /// Whether it may be cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<CitationsConfig>,
}

/// What is in a document.
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
    /// The text.
    pub text: Cow<'a, str>,
}

/// Whether a document or a search result may be cited.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CitationsConfig {
    /// Whether it may.
    pub enabled: bool,
}

/// What a search found.
#[derive(Clone, Debug, Serialize)]
pub struct SearchResult<'a> {
    /// Where.
    pub source: Cow<'a, str>,
    /// What it is called.
    pub title: Cow<'a, str>,
    /// What it says.
    pub content: Vec<TextPart<'a>>,
    /// Whether it may be cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<CitationsConfig>,
}

/// Text that says where it comes from.
#[derive(Clone, Debug, Serialize)]
pub struct CitationsContent<'a> {
    /// The text.
    pub content: [TextPart<'a>; 1],
    /// Where it comes from.
    pub citations: Vec<Citation<'a>>,
}

/// Where a piece of text comes from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Citation<'a> {
    /// What the document or search result is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<Cow<'a, str>>,
    /// Of a search result: where it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Cow<'a, str>>,
    /// What is cited.
    pub source_content: [TextPart<'a>; 1],
    /// Where it stands.
    pub location: Location,
}

/// Where something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Location {
    /// In a document, by characters.
    DocumentChar(DocumentRange),
    /// In a document, by pages.
    DocumentPage(DocumentRange),
    /// In a document, by parts.
    DocumentChunk(DocumentRange),
    /// In a search result, by parts.
    SearchResultLocation(SearchResultRange),
}

/// A place in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DocumentRange {
    /// Which, counted over the request.
    pub document_index: u64,
    /// From here.
    pub start: u64,
    /// To here.
    pub end: u64,
}

/// A place in a search result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SearchResultRange {
    /// Which, counted over the request.
    pub search_result_index: u64,
    /// From here.
    pub start: u64,
    /// To here.
    pub end: u64,
}

/// Bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Bytes<'a> {
    /// Base64.
    pub bytes: Cow<'a, str>,
}

/// A call that the model made.
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

/// What came of a call.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult<'a> {
    /// Names the call.
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
    Text(Cow<'a, str>),
    /// An image.
    Image(Image<'a>),
    /// A document.
    Document(Document<'a>),
    /// What a search found.
    SearchResult(SearchResult<'a>),
}

/// What the model thought.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reasoning<'a> {
    /// Shown.
    ReasoningText {
        /// The thought.
        text: Cow<'a, str>,
        /// Proves that the model wrote it.
        signature: Cow<'a, str>,
    },
    /// Not shown: base64 of the opaque text.
    RedactedContent(Cow<'a, str>),
}

/// The end of a prefix to cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CachePoint {
    /// Always `default`.
    pub r#type: &'static str,
    /// `5m` or `1h`; absent means five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<&'static str>,
}

/// Limits and sampling.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceConfig<'a> {
    /// The most tokens to answer with. Sent wherever the model takes it: Bedrock reserves the model's maximum
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Randomness, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Texts that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<Cow<'a, str>>,
}

/// Tools.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolConfig<'a> {
    /// What may be called.
    pub tools: Vec<Tool<'a>>,
    /// What has to be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice<'a>>,
}

/// A tool, or the end of a prefix of tools to cache.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Tool<'a> {
    /// A tool.
    ToolSpec(ToolSpec<'a>),
    /// The end of a prefix to cache.
    CachePoint(CachePoint),
}

/// A tool.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec<'a> {
    /// What the model calls it by: `[a-zA-Z0-9_-]{1,64}`.
    pub name: Cow<'a, str>,
    /// What it is for; never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    /// The schema of its arguments.
    pub input_schema: InputSchema<'a>,
    /// Whether the arguments must obey it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// The schema of a tool's arguments.
#[derive(Clone, Debug, Serialize)]
pub struct InputSchema<'a> {
    /// JSON Schema, as the client wrote it.
    pub json: &'a RawValue,
}

/// What has to be called.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolChoice<'a> {
    /// Whatever the model likes.
    Auto {},
    /// Some tool.
    Any {},
    /// This tool.
    Tool {
        /// Its name.
        name: Cow<'a, str>,
    },
}

/// Members of the model's own request that Converse has no name for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdditionalRequestFields<'a> {
    /// How a Claude model may think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Cow<'a, RawValue>>,
    /// Sample from this many tokens only.
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
    /// Tools that a Claude model knows by their type, as the client wrote them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Box<RawValue>>,
    /// What has to be switched on.
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

/// What Amazon's models take beside the limits of Converse.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoreInferenceConfig {
    /// Sample from this many tokens only.
    pub top_k: u64,
}

/// How models other than Claude are told how hard to think: each family has a member of its own.
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
    /// That of OpenAI's open models.
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
    /// Whether calls have to come one at a time.
    pub disable_parallel_tool_use: bool,
}

/// Effort.
#[derive(Clone, Debug, Serialize)]
pub struct Effort<'a> {
    /// `low` … `max`.
    pub effort: Cow<'a, str>,
}

/// What the answer has to look like.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConfig<'a> {
    /// The form of the text.
    pub text_format: TextFormat<'a>,
    /// `low` … `max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<Cow<'a, str>>,
}

/// The form of the text.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TextFormat<'a> {
    /// `json_schema`.
    pub r#type: &'static str,
    /// The schema.
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

/// Which capacity to use.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServiceTier {
    /// `default`, `priority`, `flex` or `reserved`.
    pub r#type: &'static str,
}
