//! Bedrock's language: the Converse API, its types and its frames.
//!
//! Reading order: `request` (what Bedrock is asked), `frame` (bytes into frames), `event` (a frame into
//! what it says), `response` (an answer that was not streamed). No decisions are made here; those are in [`translate`](crate::translate).
//!
//! See <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>.

pub mod event;
pub mod frame;
pub mod request;
pub mod response;

pub use event::Event;
pub use frame::{Frame, FrameDecoder, FrameError, FrameKind};
pub use request::Request;
pub use response::ConverseResponse;
