//! OpenAI's chat completions, into a Messages request and back.
//!
//! `request` (with `conversation`, `tools`, `thinking` and `cache`) makes the body of a Messages request, which from there
//! goes the one way that all requests go. `stream` tells the events of its answer in chunks, `completion` the message it
//! folds to, `error` what went wrong. Nothing here knows Bedrock.

mod cache;
mod completion;
mod conversation;
mod error;
mod request;
mod stream;
mod thinking;
mod tools;

pub use completion::chat_completion;
pub use error::chat_error;
pub use request::{ChatCall, ChatOptions, chat_to_messages};
pub use stream::ChatStream;

use serde::Deserialize;

use crate::openai::{CompletionTokens, PromptTokens, Usage};

/// Counts of an answer in Anthropic's words: in any of several events, the last value of each is true.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Counts {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    thinking_tokens: Option<u64>,
}

impl Counts {
    /// Takes what `newer` says.
    fn update(&mut self, newer: Self) {
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens =
            newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens_details = newer.output_tokens_details.or(self.output_tokens_details);
    }

    /// The same in OpenAI's words, where the question's tokens are all of them.
    fn usage(&self) -> Usage {
        let read = self.cache_read_input_tokens.unwrap_or_default();
        let written = self.cache_creation_input_tokens.unwrap_or_default();
        let prompt_tokens =
            self.input_tokens.unwrap_or_default().saturating_add(read).saturating_add(written);
        let completion_tokens = self.output_tokens.unwrap_or_default();
        let thought = self.output_tokens_details.and_then(|details| details.thinking_tokens);
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: PromptTokens { cached_tokens: read, cache_write_tokens: written },
            completion_tokens_details: CompletionTokens { reasoning_tokens: thought.unwrap_or_default() },
        }
    }
}

/// Why the model stopped, in OpenAI's words. `functions`: calls are told as `function_call`.
fn finish_reason(stop_reason: Option<&str>, functions: bool) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") if functions => "function_call",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        // `end_turn`, `stop_sequence`, and whatever comes to be said beside them: it stopped.
        _ => "stop",
    }
}
