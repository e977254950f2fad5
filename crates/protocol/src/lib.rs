//! Anthropic Messages to Bedrock and back: values and bytes in, values and bytes out.
//!
//! This package does no I/O, reads no clock, rolls no dice and logs nothing; what it depends on says so.
//!
//! ```
//! use protocol::anthropic::{Request, sse};
//! use protocol::capabilities::Capabilities;
//! use protocol::translate::{self, RequestedBetas, End, StreamContext, TranslationOptions, ConverseStream};
//!
//! // A client asks …
//! let body = br#"{"model":"m","max_tokens":64,"messages":[{"role":"user","content":"Hello"}]}"#;
//! let request = Request::parse(body)?;
//! let call = translate::to_converse(request, RequestedBetas::default(), body.len(), &Capabilities::CLASSIC_CLAUDE, &TranslationOptions::new(8192))?;
//! assert!(call.unsupported.is_empty());
//!
//! // … and Bedrock answers, here with nothing at all.
//! let opening = StreamContext { message_id: "msg_1".into(), model: "m".into(), names: call.names, ..StreamContext::default() };
//! let mut out = Vec::new();
//! let mut pipeline = ConverseStream::new(opening);
//! pipeline.push(b"", &mut |event| sse::write(event, &mut out));
//! pipeline.finish(End::Eof, &mut |event| sse::write(event, &mut out));
//! assert!(out.starts_with(b"event: error"));
//! # Ok::<(), protocol::anthropic::InvalidRequest>(())
//! ```
//!
//! Reading order: [`anthropic`] (the client's language), [`converse`] (Bedrock's language), [`openai`] (other clients'
//! language), [`translate`] (the only place that knows more than one), [`tag_buffer`] and [`capabilities`] (what it needs for that), [`json`] (how
//! both are read).

pub mod anthropic;
pub mod apis;
pub mod capabilities;
pub mod converse;
pub mod event_sink;
pub mod json;
pub mod json_edit;
pub mod openai;
mod partial_json;
pub mod tag_buffer;
pub mod translate;
