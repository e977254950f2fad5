//! OpenAI's language: the chat-completions API, its types and its text.
//!
//! Reading order: `request` (what a client asks), `chunk` (what it is told, piece by piece), `completion` (the same,
//! whole), `error`. No decisions are made here; those are in [`translate`](crate::translate).
//!
//! See <https://platform.openai.com/docs/api-reference/chat>.

mod chunk;
mod completion;
mod error;
pub mod request;

pub use chunk::{ChunkWriter, DONE, PING};
pub use completion::{
    Choice, Completion, CompletionHead, CompletionTokens, FunctionCall, Message, PromptTokens, ToolCall,
    Usage,
};
pub use error::Error;
pub use request::Request;
