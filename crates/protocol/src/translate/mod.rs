//! Translation between wire formats.
//!
//! | upstream API | request | response |
//! |---|---|---|
//! | Converse | `to_converse` | `from_converse`, streamed and not |
//! | InvokeModel | `to_invoke`: the client's body, edited | `from_invoke` and `forward`: events, unchanged |
//! | Messages | `to_invoke` | `from_messages_api` and `forward` |
//!
//! `normalize` makes a Messages request valid for each of them, before one is chosen.
//!
//! `decoder` has one decoder for the responses of each operation.
//!
//! `chat` translates chat completions into Messages requests, and the events of their responses into chunks. `error` maps
//! AWS's errors, `unsupported` detects in them what a model does not support. `passthrough` observes responses of the
//! Bedrock Runtime API, `s3_locations` finds what Bedrock would read from S3 for their requests.
//!
//! Nothing is dropped silently. A field that an upstream API cannot carry is an [`UnsupportedField`] with its JSON path;
//! another change of the request is a [`Notice`], with a flag for changes that may change the response.

mod betas;
mod cache;
mod cache_only;
mod call_ids;
mod chat;
mod decoder;
mod diagnostics;
mod error;
mod fast_path;
mod forward;
mod from_converse;
mod from_invoke;
mod from_messages_api;
mod missing_thinking;
mod normalize;
mod ordered_set;
mod passthrough;
mod s3_locations;
mod safeguards;
mod server_tools;
mod thinking;
mod to_converse;
mod to_invoke;
mod tool_names;
mod unsupported;

pub use betas::{RequestedBetas, suspect_betas};
pub use cache_only::{check_cache_only, is_cache_only};
pub use chat::{
    ChatCall, ChatFormat, ChatOptions, ChatPaths, ChatStream, chat_completion, chat_error, chat_to_messages,
};
pub use decoder::{Decoder, Progress};
pub use diagnostics::{Notice, UnsupportedField, notice_summary, unsupported_error};
pub use error::anthropic_error::parse_error;
pub use error::{Fault, KNOWN_ERRORS, KnownError, MappedError, Retry, known_error, map_error};
pub use from_converse::{
    ConverseStream, End, Outcome, Step, StreamContext, StreamSummary, StreamTranslator, translate_response,
};
pub use from_invoke::InvokeStream;
pub use from_messages_api::{MessagesApiStream, translate_message};
pub use normalize::{Normalized, normalize, normalize_without_schemas};
pub use passthrough::{MAX_DOCUMENT_BYTES, ObservedResponse, UsageObserver};
pub use s3_locations::find_s3_location;
pub use safeguards::requests_check;
pub use to_converse::{ConverseCall, TranslationOptions, to_converse};
pub use to_invoke::{InvokeCall, InvokeOptions, to_invoke};
pub use tool_names::ToolNames;
pub use unsupported::{UnsupportedFeature, detect_unsupported, has_field};
