//! What Bedrock is asked: the body of `POST /model/{id}/converse-stream`.
//!
//! Borrowed from the client's request wherever it can be. Order of members is fixed, so that equal
//! requests are equal bytes: the prompt cache depends on it. See
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

use std::borrow::Cow;

use serde::Serialize;
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
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The client.
    User,
    /// The model.
    Assistant,
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
    /// The most tokens to answer with. Always sent: Bedrock reserves the model's maximum otherwise.
    pub max_tokens: u64,
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

/// Members of the model's own request (Claude's) that Converse has no name for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdditionalRequestFields<'a> {
    /// How the model may think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<&'a RawValue>,
    /// Sample from this many tokens only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    /// At most one call at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ParallelToolUse>,
    /// Effort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig<'a>>,
}

impl AdditionalRequestFields<'_> {
    fn is_empty(&self) -> bool {
        self.thinking.is_none()
            && self.top_k.is_none()
            && self.tool_choice.is_none()
            && self.output_config.is_none()
    }
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
pub struct OutputConfig<'a> {
    /// `low` … `max`.
    pub effort: Cow<'a, str>,
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
    /// `default`, `priority` or `flex`.
    pub r#type: &'static str,
}
