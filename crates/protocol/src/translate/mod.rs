//! The only place that knows more than one language.
//!
//! `request` (with `content`, `tools` and `cache`): what a client asks, into what Converse is asked.
//! `stream`: what Converse answers, into what the client is told; `pipeline` runs it over raw bytes, `unfold`
//! over an answer that comes whole. `invoke` and `events`: the same two ways where Bedrock speaks the client's
//! language already; `chunks` and `sent` read the events of InvokeModel and of the Messages API. `error` and
//! `envelope`: what AWS calls a failure, into what Anthropic calls it; `lesson`: what a
//! refusal teaches. `chat`: what clients of OpenAI's ask and are told, into a Messages request and out of its answer.
//!
//! Nothing is dropped in silence. What a route cannot carry is a [`UnsupportedField`] that names its place in the
//! request; what was left out or changed all the same is a [`Notice`], which says whether that may change the answer.

mod betas;
mod cache;
mod chat;
mod diagnostics;
mod error;
mod fast_path;
mod forward;
mod from_converse;
mod from_invoke;
mod from_messages_api;
mod missing_thinking;
mod passthrough;
mod server_tools;
mod thinking;
mod to_converse;
mod to_invoke;
mod tool_names;
mod unsupported;

pub use betas::RequestedBetas;
pub use chat::{
    ChatCall, ChatFormat, ChatOptions, ChatStream, chat_completion, chat_error, chat_to_messages,
};
pub use diagnostics::{Notice, UnsupportedField, notice_summary, unsupported_error};
pub use error::anthropic_error::parse_error;
pub use error::{Fault, KNOWN_ERRORS, KnownError, MappedError, Retry, known_error, map_error};
pub use from_converse::{
    ConverseStream, End, Outcome, Step, StreamContext, StreamSummary, StreamTranslator, translate_response,
};
pub use from_invoke::InvokeStream;
pub use from_messages_api::MessagesApiStream;
pub use passthrough::{MAX_DOCUMENT_BYTES, ObservedResponse, UsageObserver};
pub use server_tools::ServerTools;
pub use to_converse::{ConverseCall, TranslationOptions, to_converse};
pub use to_invoke::{InvokeCall, InvokeOptions, to_invoke};
pub use tool_names::ToolNames;
pub use unsupported::{UnsupportedFeature, detect_unsupported};
