//! Anthropic's Messages API: types and wire format.
//!
//! Reading order: `request`, `event` (stream events), `event_sink` (consumers of events), `message` (usage,
//! citations), `accumulate` (events into a message), `sse` (events as bytes), `format`, `error`. Decisions are made in [`translate`](crate::translate).
//!
//! See <https://platform.claude.com/docs/en/api/messages>.

mod accumulate;
mod error;
mod event;
pub mod event_sink;
mod format;
mod message;
pub mod request;
pub mod sse;
#[cfg(feature = "test-support")]
mod validate;
mod version;

pub use crate::request_body::InvalidRequest;
pub use accumulate::{MAX_MESSAGE_BYTES, MessageAccumulator};
pub use error::{Error, ErrorType};
pub use event::{BlockStart, Delta, EmptyObject, Event, MessageEnd, MessageStart, UsageStart};
pub use format::{MessagesEncoder, MessagesFormat};
pub use message::{
    CacheCreation, OutputTokensDetails, PartialOutputTokensDetails, PartialUsage, ServiceTier, TextCitation,
    Usage,
};
pub use request::Request;
#[cfg(feature = "test-support")]
pub use validate::StreamValidator;
pub use version::check_version;
