//! The client's language: Anthropic's Messages API, its types and its text.
//!
//! Reading order: `request` (what a client asks), `event` (what it is told, piece by piece),
//! `message` (the same, whole), `fold` (from one to the other), `sse` (the bytes of an event),
//! `error`. No decisions are made here; those are in [`translate`](crate::translate).
//!
//! See <https://platform.claude.com/docs/en/api/messages>.

mod accumulate;
mod error;
mod event;
mod format;
mod message;
pub mod request;
pub mod sse;
mod validate;
mod version;

pub use accumulate::{MAX_MESSAGE_BYTES, MessageAccumulator};
pub use error::{Error, ErrorType, InvalidRequest};
pub use event::{BlockStart, Delta, EmptyObject, Event, MessageEnd, MessageStart, UsageStart};
pub use format::{MessagesEncoder, MessagesFormat};
pub use message::{
    CacheCreation, Citation, OutputTokensDetails, PartialOutputTokensDetails, PartialUsage, ServiceTier,
    Usage,
};
pub use request::Request;
pub use validate::StreamValidator;
pub use version::check_version;
