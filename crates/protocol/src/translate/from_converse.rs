//! Streams of ConverseStream: frames → events → events of the Messages API.

mod citations;
mod response;
mod stream;

pub use response::translate_response;
pub(super) use stream::converse_usage;
pub use stream::{End, Outcome, StreamContext, StreamSummary, StreamTranslator};

use super::MappedError;
use super::error::frame_error;
use crate::anthropic::event_sink::EventSink;
use crate::converse::{self, FrameDecoder, FrameKind};

/// Whether more bytes are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// They are.
    More,
    /// The response has ended or failed: call [`ConverseStream::finish`].
    Ended,
}

/// Decoder of the frames of one response.
#[derive(Debug)]
pub struct ConverseStream {
    frames: FrameDecoder,
    translator: StreamTranslator,
    failure: Option<MappedError>,
}

impl ConverseStream {
    /// New stream.
    #[must_use]
    pub fn new(context: StreamContext) -> Self {
        Self { frames: FrameDecoder::default(), translator: StreamTranslator::new(context), failure: None }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8], sink: &mut (impl EventSink + ?Sized)) -> Step {
        self.frames.feed(bytes);
        while self.failure.is_none() {
            let frame = match self.frames.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => frame,
                Err(error) => {
                    self.failure = Some(error.into());
                    break;
                }
            };
            match frame.kind {
                FrameKind::Event(kind) => match converse::Event::parse(kind, frame.payload) {
                    Ok(event) => self.translator.push(event, sink),
                    Err(error) => {
                        self.failure = Some(MappedError::unreadable(format!("a `{kind}` event: {error}")));
                    }
                },
                FrameKind::Other(kind) => self.translator.push(converse::Event::Unknown(kind), sink),
                FrameKind::Exception(_) | FrameKind::Error { .. } => self.failure = frame_error(&frame),
            }
        }
        if self.translator.is_complete() || self.failure().is_some() { Step::Ended } else { Step::More }
    }

    /// Whether the first event was written.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.translator.is_started()
    }

    /// Error of the stream, if any: AWS's, of the frames, or of the response itself.
    #[must_use]
    pub fn failure(&self) -> Option<&MappedError> {
        self.failure.as_ref().or(self.translator.failure())
    }

    /// Ends the stream: writes the last events, and returns the summary.
    pub fn finish(self, end: End, sink: &mut (impl EventSink + ?Sized)) -> StreamSummary {
        let end = match (self.failure, end) {
            (Some(failure), End::Eof | End::Failed(_)) => End::Failed(failure.error),
            (None, End::Eof) => match self.frames.finish() {
                Ok(()) => End::Eof,
                Err(error) => End::Failed(MappedError::from(error).error),
            },
            (_, end) => end,
        };
        self.translator.finish(end, sink)
    }
}
