//! Streams of InvokeModelWithResponseStream: events of the Messages API in AWS's frames. Each `chunk` holds the
//! base64 of one event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::error::frame_error;
use super::forward::EventForwarder;
use super::from_converse::{End, StreamContext, StreamSummary};
use super::{MappedError, Step, fast_path};
use crate::anthropic::event_sink::EventSink;
use crate::converse::{FrameDecoder, FrameKind};
use crate::json::JsonStr;

/// Decoder of the events of one response.
#[derive(Debug)]
pub struct InvokeStream {
    frames: FrameDecoder,
    /// The JSON of the current event.
    json: Vec<u8>,
    events: EventForwarder,
}

/// The payload of a chunk.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: JsonStr<'a>,
}

impl InvokeStream {
    /// New stream.
    #[must_use]
    pub fn new(context: StreamContext) -> Self {
        Self { frames: FrameDecoder::default(), json: Vec::new(), events: EventForwarder::new(context) }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8], sink: &mut (impl EventSink + ?Sized)) -> Step {
        self.frames.feed(bytes);
        while !self.events.is_over() {
            let decoded = match self.frames.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => match frame.kind {
                    FrameKind::Event("chunk") => decode_chunk(frame.payload, &mut self.json),
                    FrameKind::Event(_) | FrameKind::Other(_) => continue,
                    FrameKind::Exception(_) | FrameKind::Error { .. } => {
                        frame_error(&frame).map_or(Ok(()), Err)
                    }
                },
                Err(error) => Err(error.into()),
            };
            self.events.take(decoded.map(|()| &*self.json), sink);
        }
        if self.events.is_over() { Step::Ended } else { Step::More }
    }

    /// Whether the first event was written.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.events.is_started()
    }

    /// Error of the stream, if any.
    #[must_use]
    pub fn failure(&self) -> Option<&MappedError> {
        self.events.failure()
    }

    /// Ends the stream: writes the last events, and returns the summary.
    pub fn finish(self, end: End, sink: &mut (impl EventSink + ?Sized)) -> StreamSummary {
        let truncated = self.frames.finish().err().map(MappedError::from);
        self.events.finish(truncated, end, sink)
    }
}

/// The event inside of a chunk, into `json`.
#[inline]
pub(super) fn decode_chunk(payload: &[u8], json: &mut Vec<u8>) -> Result<(), MappedError> {
    json.clear();
    if fast_path::chunk_bytes(payload).is_some_and(|encoded| STANDARD.decode_vec(encoded, json).is_ok()) {
        return Ok(());
    }
    let unreadable = |what: String| MappedError::unreadable(format!("a chunk: {what}"));
    let chunk: Chunk<'_> = serde_json::from_slice(payload).map_err(|error| unreadable(error.to_string()))?;
    json.clear();
    STANDARD.decode_vec(chunk.bytes.as_bytes(), json).map_err(|error| unreadable(error.to_string()))
}
