//! Bedrock's Converse API: types and frames.
//!
//! Reading order: `request`, `frame` (bytes into frames), `event` (frames into
//! events), `response` (documents). Decisions are made in [`translate`](crate::translate).
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
