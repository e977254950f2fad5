//! Translation between client APIs and Bedrock: values and bytes in, values and bytes out.
//!
//! This package does no I/O, uses no clock and no randomness, and logs nothing; its dependencies show it.
//!
//! ```
//! use protocol::anthropic::{MessagesEncoder, Request};
//! use protocol::capabilities::Capabilities;
//! use protocol::anthropic::event_sink::Encoder;
//! use protocol::translate::{self, ConverseStream, End, RequestedBetas, StreamContext, TranslationOptions};
//!
//! // A client sends a Messages request …
//! let body = br#"{"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hello"}]}"#;
//! let request = Request::parse(body)?;
//! let (model, options) = (Capabilities::CLASSIC_CLAUDE, TranslationOptions::new(8192));
//! let call = translate::to_converse(request, RequestedBetas::default(), body.len(), &model, &options)?;
//! assert!(call.unsupported.is_empty());
//!
//! // … and Bedrock responds, here with an empty stream.
//! let context = StreamContext { message_id: "msg_1".into(), model: "m".into(), ..StreamContext::default() };
//! let (mut stream, mut encoder) = (ConverseStream::new(context), MessagesEncoder::default());
//! stream.push(b"", &mut encoder);
//! stream.finish(End::Eof, &mut encoder);
//! assert!(encoder.take().starts_with(b"event: error"));
//! # Ok::<(), protocol::anthropic::InvalidRequest>(())
//! ```
//!
//! Reading order: [`apis`] (both sides), [`anthropic`] (with the events that every response is decoded into), [`openai`]
//! and [`converse`] (one wire format each), [`translate`] (the only module that knows several wire formats),
//! [`tag_buffer`] and [`capabilities`] (what it needs for that), `request_body` and [`json`] (how all of them are
//! parsed), [`json_error`] (what clients read when that fails).

pub mod anthropic;
pub mod apis;
pub mod capabilities;
pub mod converse;
pub mod json;
pub mod json_edit;
pub mod json_error;
pub mod openai;
mod partial_json;
mod request_body;
pub mod tag_buffer;
pub mod translate;
