//! Bedrock's answer in flight: its bytes, the translation they feed, and the one place where it is settled.
//!
//! An answer is settled exactly once, whatever ends it: its own end, a failure, or the client going away.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use protocol::anthropic::{Delta, Error, ErrorType, Event, MessageAccumulator};
use protocol::event_sink::EventSink;
use protocol::translate::{
    self, ConverseStream, End, Fault, InvokeStream, MappedError, MessagesApiStream, Outcome, Step,
    StreamContext, StreamSummary,
};
use tokio::time::Instant;

use super::access_log::{Entry, Waited};
use super::error::ApiError;
use crate::app::Drains;
use crate::bedrock::{self, Operation};
use crate::telemetry::record::OverheadPhase;

/// Where events go: into bytes for the client (`tongue`), or into one message.
pub(super) trait Sink: EventSink + Send + 'static {
    /// Forgets what it took.
    fn forget(&mut self);
}

impl Sink for MessageAccumulator {
    fn forget(&mut self) {
        *self = Self::default();
    }
}

/// The bytes of an answer into events, by the language of its route.
#[derive(Debug)]
pub(super) enum Codec {
    /// Frames of Converse, translated.
    Converse(Box<ConverseStream>),
    /// Events of Anthropic's in frames, passed on.
    Invoke(Box<InvokeStream>),
    /// Server-sent events of Anthropic's, passed on.
    Messages(Box<MessagesApiStream>),
    /// A whole answer of Converse, told as if it had been streamed once it is there.
    InOnePiece(Box<StreamContext>, Vec<u8>),
}

/// The largest answer in one piece, in bytes.
const LARGEST_PIECE: usize = 32 << 20;

impl Codec {
    pub(super) fn new(operation: Operation, opening: StreamContext) -> Self {
        match operation {
            Operation::InvokeStream => Self::Invoke(Box::new(InvokeStream::new(opening))),
            Operation::Messages | Operation::MantleMessages => {
                Self::Messages(Box::new(MessagesApiStream::new(opening)))
            }
            operation if operation.streams() => Self::Converse(Box::new(ConverseStream::new(opening))),
            _ => Self::InOnePiece(Box::new(opening), Vec::new()),
        }
    }

    fn push(&mut self, bytes: &[u8], sink: &mut impl EventSink) -> Step {
        match self {
            Self::Converse(pipeline) => pipeline.push(bytes, sink),
            Self::Invoke(pipeline) => pipeline.push(bytes, sink),
            Self::Messages(pipeline) => pipeline.push(bytes, sink),
            Self::InOnePiece(_, all) => {
                all.extend_from_slice(bytes);
                if all.len() > LARGEST_PIECE { Step::Ended } else { Step::More }
            }
        }
    }

    fn finish(self, end: End, sink: &mut impl Sink) -> StreamSummary {
        match self {
            Self::Converse(pipeline) => pipeline.finish(end, sink),
            Self::Invoke(pipeline) => pipeline.finish(end, sink),
            Self::Messages(pipeline) => pipeline.finish(end, sink),
            Self::InOnePiece(opening, all) => match end {
                End::Eof => translate::translate_response(&all, *opening, sink),
                end => ConverseStream::new(*opening).finish(end, sink),
            },
        }
    }

    fn is_started(&self) -> bool {
        match self {
            Self::Converse(pipeline) => pipeline.is_started(),
            Self::Invoke(pipeline) => pipeline.is_started(),
            Self::Messages(pipeline) => pipeline.is_started(),
            Self::InOnePiece(..) => false,
        }
    }

    fn failure(&self) -> Option<&MappedError> {
        match self {
            Self::Converse(pipeline) => pipeline.failure(),
            Self::Invoke(pipeline) => pipeline.failure(),
            Self::Messages(pipeline) => pipeline.failure(),
            Self::InOnePiece(..) => None,
        }
    }
}

/// An answer in flight. Dropped before its end, it is settled as cancelled.
#[derive(Debug)]
pub(super) struct Live {
    /// `None` once it was handed on to be drained.
    body: Option<Incoming>,
    /// `None` once settled.
    codec: Option<Codec>,
    failure: Option<MappedError>,
    /// Whether anything was said before the end.
    spoke: bool,
    /// Characters that were said, JSON and all.
    said: u64,
    /// What translating took so far.
    took: Duration,
    /// For Bedrock.
    waited: Waited,
    entry: Entry,
    /// Where to go when the client leaves; `None` once it has left.
    drains: Option<Drains>,
}

/// Counts the letters that go by.
struct Counted<'a, S> {
    sink: &'a mut S,
    said: &'a mut u64,
}

impl<S: Sink> EventSink for Counted<'_, S> {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::ContentBlockDelta { delta, .. } = event {
            *self.said += letters(delta);
        }
        self.sink.event(event);
    }

    fn raw(&mut self, name: &str, json: &str) {
        if name == "content_block_delta" {
            *self.said += (json.len() as u64).saturating_sub(ENVELOPE);
        }
        self.sink.raw(name, json);
    }
}

/// What is around the text of a delta, in bytes of JSON.
const ENVELOPE: u64 = 80;

fn letters(delta: &Delta<'_>) -> u64 {
    let text = match delta {
        Delta::TextDelta { text } => text,
        Delta::ThinkingDelta { thinking } => thinking,
        Delta::InputJsonDelta { partial_json } => partial_json,
        Delta::SignatureDelta { .. } | Delta::CitationsDelta { .. } => return 0,
    };
    text.len() as u64
}

/// For an answer that nobody hears.
struct Nobody;

impl EventSink for Nobody {
    fn event(&mut self, _: &Event<'_>) {}

    fn raw(&mut self, _: &str, _: &str) {}
}

impl Sink for Nobody {
    fn forget(&mut self) {}
}

/// What comes next from Bedrock.
#[derive(Debug)]
pub(super) enum Chunk {
    Bytes(Bytes),
    End(End),
}

impl Live {
    pub(super) fn new(body: Incoming, codec: Codec, entry: Entry, drains: Drains) -> Self {
        let drains = Some(drains);
        Self {
            body: Some(body),
            codec: Some(codec),
            failure: None,
            spoke: false,
            said: 0,
            took: Duration::ZERO,
            waited: Waited::default(),
            entry,
            drains,
        }
    }

    /// The next bytes, as they come off the connection.
    pub(super) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Chunk> {
        loop {
            let Some(body) = &mut self.body else { return Poll::Ready(Chunk::End(End::Cancelled)) };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
                self.waited.begin();
                return Poll::Pending;
            };
            self.waited.end();
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Chunk::Bytes(bytes));
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(request_id = %self.entry.request_id(), %error, "the connection to Bedrock broke");
                    let error = Error::new(
                        ErrorType::Api,
                        "the connection to Bedrock broke in the middle of the answer",
                    );
                    return Poll::Ready(Chunk::End(End::Failed(error)));
                }
                None => return Poll::Ready(Chunk::End(End::Eof)),
            }
        }
    }

    /// The next bytes.
    pub(super) async fn chunk(&mut self) -> Chunk {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    /// Translates `chunk`; settles the answer when that ends it. Returns whether it has ended.
    pub(super) fn take(&mut self, chunk: Chunk, sink: &mut impl Sink) -> bool {
        let Some(codec) = &mut self.codec else {
            return true;
        };
        let end = match chunk {
            Chunk::Bytes(bytes) => {
                let begun = Instant::now();
                let step = codec.push(&bytes, &mut Counted { sink, said: &mut self.said });
                self.took += begun.elapsed();
                match step {
                    Step::More => return false,
                    Step::Ended => End::Eof,
                }
            }
            Chunk::End(end) => end,
        };
        self.finish(end, sink);
        true
    }

    /// Says what has to be said last, and settles. Does nothing the second time.
    pub(super) fn finish(&mut self, end: End, sink: &mut impl Sink) {
        let Some(codec) = self.codec.take() else {
            return;
        };
        let waited = self.waited.take();
        self.entry.note(|fields| fields.upstream += waited);
        self.failure = codec.failure().cloned();
        self.spoke = codec.is_started();
        if let (Some(failure), true) = (&self.failure, self.spoke) {
            log(&self.entry, failure);
        }
        let error = match (&self.failure, &end) {
            (Some(failure), _) => Some(ApiError::from(failure.clone())),
            // What is wrong without AWS saying so is between it and the gateway.
            (None, End::Failed(error)) if error.kind == ErrorType::Api => {
                Some(ApiError::gateway(error.message.clone()))
            }
            (None, End::Failed(error)) => Some(ApiError::from(error.clone())),
            (None, End::Eof | End::Cancelled) => None,
        };
        let broke = error.as_ref().map(|error| error.error().kind);
        let summary = codec.finish(end, sink);
        // An answer in one piece begins and ends at once.
        self.spoke |= summary.outcome == Outcome::Finished;
        // An attempt that came to no word cost nothing, and another may follow.
        if self.spoke {
            self.entry.note(|fields| {
                fields.summary = Some(summary);
                fields.said = self.said;
                fields.course.took(OverheadPhase::Stream, self.took);
                fields.course.ended_at = Some(Instant::now());
                fields.course.broke = broke.map(bedrock::outcome);
                if let Some(error) = &error {
                    fields.failed(error);
                }
            });
            self.entry.settle();
        }
    }

    /// What AWS or the wire said went wrong, once ended.
    pub(super) fn failure(&self) -> Option<&MappedError> {
        self.failure.as_ref()
    }

    /// Whether the answer itself has begun.
    pub(super) fn is_started(&self) -> bool {
        self.codec.as_ref().map_or(self.spoke, Codec::is_started)
    }

    /// Reads an answer that nobody hears to its end.
    async fn drain(mut self) {
        loop {
            let chunk = self.chunk().await;
            if self.take(chunk, &mut Nobody) {
                return;
            }
        }
    }

    /// Reads what is left after the last event, so that the connection can be used again.
    pub(super) fn poll_drained(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Chunk::Bytes(_) = ready!(self.poll_chunk(context)) {}
        Poll::Ready(())
    }

    /// Reads what is left after the last event.
    pub(super) async fn drained(&mut self) {
        poll_fn(|context| self.poll_drained(context)).await;
    }
}

/// The client has left. Bedrock goes on and bills all of it, so what is on its way is read to its end; when that
/// cannot be, the answer is settled as far as it came.
impl Drop for Live {
    fn drop(&mut self) {
        if let (Some(drains), Some(_)) = (self.drains.take(), &self.codec) {
            self.entry.note(|fields| fields.abandoned = true);
            let abandoned = Self {
                body: self.body.take(),
                codec: self.codec.take(),
                failure: None,
                spoke: self.spoke,
                said: self.said,
                took: self.took,
                waited: std::mem::take(&mut self.waited),
                entry: self.entry.clone(),
                drains: None,
            };
            return drains.take(abandoned.drain());
        }
        self.finish(End::Cancelled, &mut Nobody);
    }
}

/// AWS's own words, for the operator, and what to do about them.
pub(super) fn log(entry: &Entry, failure: &MappedError) {
    let text: String = failure.aws_message.chars().take(1000).collect();
    let aws_request_id = entry.aws_request_id();
    let request_id = entry.request_id();
    let (code, row, advice) = (failure.code.as_str(), failure.known_error.code, failure.known_error.advice);
    if matches!(failure.fault, Fault::Operator | Fault::Gateway) {
        tracing::error!(%request_id, aws_request_id, code, text, row, advice, "Bedrock failed");
    } else {
        tracing::warn!(%request_id, aws_request_id, code, text, row, advice, "Bedrock failed");
    }
}
