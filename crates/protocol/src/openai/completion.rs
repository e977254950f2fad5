//! A whole answer: the `chat.completion` that a client which does not stream is given.
//!
//! See <https://platform.openai.com/docs/api-reference/chat/object>.

use serde::Serialize;

/// What is known of an answer before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionHead {
    /// `chatcmpl-…`, drawn by the caller.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// The model, as the client called it.
    pub model: String,
    /// Whether a stream is to say what it cost.
    pub include_usage: bool,
    /// Whether calls are told as `function_call`: the client offered `functions`.
    pub functions: bool,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completion<'a> {
    /// Names the answer.
    pub id: &'a str,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// Seconds since the epoch.
    pub created: i64,
    /// The model, as the client called it.
    pub model: &'a str,
    /// The one answer.
    pub choices: [Choice; 1],
    /// What it cost.
    pub usage: Usage,
}

/// An answer of possibly several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// What the model said.
    pub message: Message,
    /// Always null.
    pub logprobs: Option<()>,
    /// Why it stopped.
    pub finish_reason: &'static str,
}

/// What the model said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Message {
    /// Always `assistant`.
    pub role: &'static str,
    /// The text; null when there is none.
    pub content: Option<String>,
    /// Always null: what Claude says when it refuses is text.
    pub refusal: Option<()>,
    /// What it thought, as far as it is shown. Not OpenAI's own, but what clients of other providers read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// What it calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// What it calls, for clients that offered `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolCall {
    /// Names the call.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: FunctionCall,
}

/// What is called, and with what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FunctionCall {
    /// The tool.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
}

/// Tokens of a request. Unlike Anthropic's, `prompt_tokens` includes what was read from and written to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// All tokens of the question.
    pub prompt_tokens: u64,
    /// All tokens of the answer, thinking included.
    pub completion_tokens: u64,
    /// The two together.
    pub total_tokens: u64,
    /// Which of the question's came from where.
    pub prompt_tokens_details: PromptTokens,
    /// Which of the answer's were for what.
    pub completion_tokens_details: CompletionTokens,
}

/// Tokens of the question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromptTokens {
    /// Read from the cache.
    pub cached_tokens: u64,
    /// Written to it. Not OpenAI's own: writing costs nothing there.
    pub cache_write_tokens: u64,
}

/// Tokens of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CompletionTokens {
    /// Thought.
    pub reasoning_tokens: u64,
}
