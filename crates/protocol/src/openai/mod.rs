//! OpenAI's chat completions API: types and wire format.
//!
//! Reading order: `request`, `chunk` (streamed responses), `completion` (documents),
//! `error`. Decisions are made in [`translate`](crate::translate).
//!
//! See <https://platform.openai.com/docs/api-reference/chat>.

mod chunk;
mod completion;
mod error;
pub mod request;

pub use chunk::{ChunkWriter, DONE, PING};
pub use completion::{
    Choice, Completion, CompletionHead, CompletionMessage, CompletionTokens, CompletionUsage, FunctionCall,
    PromptTokens, ToolCall,
};
pub use error::Error;
pub use request::Request;
