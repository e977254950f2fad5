//! Chat completions API → Messages API, and back.
//!
//! `request` (with `conversation`, `tools` and `cache`) makes a Messages request, which is then handled like every other.
//! `stream` writes the events of its response as chunks, `completion` writes its message as a completion, `error` maps
//! errors. Nothing here depends on Bedrock.

mod cache;
mod completion;
mod conversation;
mod data_url;
mod error;
mod members;
mod paths;
mod reasoning;
mod request;
mod stream;
mod tools;

pub use completion::chat_completion;
pub use error::chat_error;
pub use paths::ChatPaths;
pub use request::{ChatCall, ChatOptions, chat_to_messages};
pub use stream::ChatStream;

use crate::anthropic::event_sink::{ClientFormat, Encoder};
use crate::anthropic::{self, OutputTokensDetails, PartialUsage};
use crate::openai::{CompletionHead, CompletionTokens, CompletionUsage, PromptTokens};

/// Response format of the chat completions API: chunks, or one completion.
#[derive(Clone, Debug)]
pub struct ChatFormat {
    head: CompletionHead,
    paths: ChatPaths,
}

impl ChatFormat {
    /// Format of the response that begins with `head`, to a request with these `paths`.
    #[must_use]
    pub fn new(head: CompletionHead, paths: ChatPaths) -> Self {
        Self { head, paths }
    }
}

impl ClientFormat for ChatFormat {
    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(ChatStream::new(self.head.clone()))
    }

    fn document(&self, message: Vec<u8>) -> Result<Vec<u8>, anthropic::Error> {
        chat_completion(&message, &self.head)
    }

    fn locate(&self, path: &str) -> Option<String> {
        self.paths.locate(path)
    }

    fn upstream_error(&self, error: anthropic::Error) -> anthropic::Error {
        error::without_upstream_path(error, &self.paths)
    }
}

/// Replaces the counts that `newer` has, with the details of output tokens.
fn update_usage(usage: &mut anthropic::Usage, newer: &PartialUsage) {
    usage.update(newer);
    if let Some(details) = newer.output_tokens_details {
        let thinking_tokens = details.thinking_tokens.unwrap_or_default();
        usage.output_tokens_details = Some(OutputTokensDetails { thinking_tokens });
    }
}

/// Usage in OpenAI's terms, where the tokens of the prompt include those of the cache.
fn openai_usage(usage: &anthropic::Usage) -> CompletionUsage {
    let (read, written) = (usage.cache_read_input_tokens, usage.cache_creation_input_tokens);
    let prompt_tokens = usage.input_tokens.saturating_add(read).saturating_add(written);
    let completion_tokens = usage.output_tokens;
    let thinking_tokens = usage.output_tokens_details.map(|details| details.thinking_tokens);
    CompletionUsage {
        prompt_tokens,
        completion_tokens,
        total_tokens: prompt_tokens.saturating_add(completion_tokens),
        prompt_tokens_details: PromptTokens { cached_tokens: read, cache_write_tokens: written },
        completion_tokens_details: CompletionTokens { reasoning_tokens: thinking_tokens.unwrap_or_default() },
    }
}

/// Finish reason of the chat completions API. `functions`: calls are written as `function_call`.
fn finish_reason(stop_reason: Option<&str>, functions: bool) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") if functions => "function_call",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        // `end_turn`, `stop_sequence`, and reasons that this version does not know.
        _ => "stop",
    }
}
