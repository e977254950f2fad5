//! The answer of InvokeModelWithResponseStream: Anthropic's own events, in frames of AWS's. Each `chunk` holds the
//! base64 of one event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::forward::{Passer, Sink};
use super::from_converse::{End, Opening, Summary};
use super::{Failure, Step, error, fast_path};
use crate::converse::event::Exception;
use crate::converse::{FrameDecoder, FrameKind};
use crate::json::Text;

/// Passes on the events of one answer.
#[derive(Debug)]
pub struct ChunkPipeline {
    frames: FrameDecoder,
    /// The JSON of the current event.
    json: Vec<u8>,
    events: Passer,
}

/// The payload of a chunk.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Text<'a>,
}

impl ChunkPipeline {
    /// Begins an answer.
    #[must_use]
    pub fn new(opening: Opening) -> Self {
        Self { frames: FrameDecoder::default(), json: Vec::new(), events: Passer::new(opening) }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Step {
        self.frames.feed(bytes);
        while !self.events.is_over() {
            let decoded = match self.frames.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => match frame.kind {
                    FrameKind::Event("chunk") => decode(frame.payload, &mut self.json),
                    FrameKind::Event(_) | FrameKind::Other(_) => continue,
                    FrameKind::Exception(kind) => Err(error(400, kind, &Exception::parse(frame.payload))),
                    FrameKind::Error { code, message } => {
                        let said = Exception { message: Some(message.to_owned()), ..Exception::default() };
                        Err(error(500, code, &said))
                    }
                },
                Err(error) => Err(Failure::unreadable(error.to_string())),
            };
            self.events.take(decoded.map(|()| &*self.json), sink);
        }
        if self.events.is_over() { Step::Ended } else { Step::More }
    }

    /// Whether anything has been said to the client.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.events.is_started()
    }

    /// What went wrong, if anything.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.events.failure()
    }

    /// Ends the answer: says what has to be said last, and what it came to.
    pub fn finish(self, end: End, sink: &mut impl Sink) -> Summary {
        let truncated = self.frames.finish().err().map(|error| Failure::unreadable(error.to_string()));
        self.events.finish(truncated, end, sink)
    }
}

/// The event inside of a chunk, into `json`.
fn decode(payload: &[u8], json: &mut Vec<u8>) -> Result<(), Failure> {
    json.clear();
    if fast_path::chunk(payload).is_some_and(|encoded| STANDARD.decode_vec(encoded, json).is_ok()) {
        return Ok(());
    }
    let unreadable = |what: String| Failure::unreadable(format!("a chunk: {what}"));
    let chunk: Chunk<'_> = serde_json::from_slice(payload).map_err(|error| unreadable(error.to_string()))?;
    json.clear();
    STANDARD.decode_vec(chunk.bytes.as_bytes(), json).map_err(|error| unreadable(error.to_string()))
}
