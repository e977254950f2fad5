//! A streaming response: one body that is polled. No task and no channel stand between Bedrock and the client, so a slow
//! client slows the reading.
//!
//! Each chunk from Bedrock goes out as one write, however many events it holds. A body without events is kept alive
//! by pings until the idle timeout.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use protocol::anthropic::event_sink::{ClientFormat, Encoder};
use protocol::translate::End;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::request::{ResponseHead, UpstreamRequest};
use super::stream::{UpstreamChunk, UpstreamStream};
use super::{Inference, InferenceError};
use crate::auth::Authenticated;
use crate::telemetry::RecordHandle;
use crate::telemetry::metrics::OpenStream;

/// Events are gathered into one write up to about this size: a TLS record.
const WRITE_BUFFER_BYTES: usize = 16 << 10;
/// Time limit for the end of a finished response, before its connection is given up: the client has all events already.
const TRAILER_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than any process runs: some 30 years.
const NO_LIMIT: Duration = Duration::from_secs(1_000_000_000);

/// How long a request may wait for its first event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// Longest time until the head of the response is sent without an event.
    head_delay: Duration,
    /// Longest time until the first event.
    first_event: Instant,
}

impl Inference {
    /// The deadlines of a request that is about to be sent. The Bedrock API's head is AWS's own, so it is waited for.
    pub(super) fn deadline(&self, upstream: &UpstreamRequest) -> Deadline {
        let is_passthrough = upstream.upstream_api.is_none();
        let idle = self.config.idle_timeout;
        let limit = if is_passthrough && !upstream.operation.is_streamed() {
            self.config.request_timeout
        } else {
            idle
        };
        let head_delay = if is_passthrough { limit } else { self.config.max_head_delay.min(limit) };
        let now = Instant::now();
        // A limit beyond the clock's range is none.
        let first_event = now.checked_add(limit).unwrap_or(now + NO_LIMIT);
        Deadline { head_delay, first_event }
    }

    /// A streaming body. Its head waits for the first event, but not longer than the head delay.
    ///
    /// # Errors
    /// What sending fails with, or a timeout.
    pub(super) async fn streaming_body(
        &self,
        mut stream: UpstreamStream,
        head: &mut ResponseHead,
        format: Arc<dyn ClientFormat>,
        deadline: Deadline,
        record: RecordHandle,
        caller: Arc<Authenticated>,
    ) -> Result<StreamingBody, InferenceError> {
        let started = tokio::time::timeout(deadline.head_delay, stream.start()).await;
        let output = |is_passthrough: bool| {
            if is_passthrough {
                Output::Unchanged(VecDeque::new())
            } else {
                Output::Encoded(format.encoder())
            }
        };
        let (state, output) = match started {
            Ok(started) => {
                head.set(started?);
                let mut output = output(stream.is_passthrough());
                if let Output::Encoded(encoder) = &mut output {
                    stream.replay_first_events(encoder.as_mut());
                }
                (State::Streaming(stream), output)
            }
            Err(_) if Instant::now() >= deadline.first_event => return Err(InferenceError::idle_timeout()),
            Err(_) => {
                let mut encoder = format.encoder();
                encoder.ping();
                (State::AwaitingFirstEvent(stream, deadline.first_event), Output::Encoded(encoder))
            }
        };
        let now = Instant::now();
        let (ping, idle) = (self.config.ping_interval, self.config.idle_timeout);
        Ok(StreamingBody {
            state,
            output,
            timers: Timers {
                ping,
                idle,
                last_read_at: now,
                last_write_at: now,
                timer: Box::pin(tokio::time::sleep_until(now + ping.min(idle))),
            },
            aborted: Box::pin(self.tasks.aborted()),
            record,
            _gauge: self.metrics.stream_opened(),
            _caller: caller,
        })
    }
}

/// The body of a streaming response.
#[derive(Debug)]
pub(crate) struct StreamingBody {
    state: State,
    output: Output,
    timers: Timers,
    /// Resolves when the grace of a shutdown is over.
    aborted: Pin<Box<WaitForCancellationFutureOwned>>,
    record: RecordHandle,
    _gauge: OpenStream,
    /// Keeps the permit of the request while the client reads.
    _caller: Arc<Authenticated>,
}

#[derive(Debug)]
enum State {
    /// The head is sent and no event has arrived; until when one must.
    AwaitingFirstEvent(UpstreamStream, Instant),
    Streaming(UpstreamStream),
    /// All events are written; the rest of Bedrock's bytes is read, so that the connection can be used again.
    Draining(UpstreamStream),
    Done,
}

/// What goes out with the next write.
#[derive(Debug)]
enum Output {
    /// Events in the client's format.
    Encoded(Box<dyn Encoder>),
    /// AWS's own bytes.
    Unchanged(VecDeque<Bytes>),
}

impl Output {
    fn len(&self) -> usize {
        match self {
            Self::Encoded(encoder) => encoder.len(),
            Self::Unchanged(chunks) => chunks.iter().map(Bytes::len).sum(),
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        match self {
            Self::Encoded(encoder) if encoder.is_empty() => None,
            Self::Encoded(encoder) => Some(Bytes::from(encoder.take())),
            Self::Unchanged(chunks) => chunks.pop_front(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Encoded(encoder) => encoder.is_empty(),
            Self::Unchanged(chunks) => chunks.is_empty(),
        }
    }
}

#[derive(Debug)]
struct Timers {
    /// Longest time without a byte to the client.
    ping: Duration,
    /// Longest time without a byte from Bedrock.
    idle: Duration,
    last_read_at: Instant,
    last_write_at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl StreamingBody {
    /// Takes all bytes that are there, up to one write.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<(), io::Error> {
        while self.output.len() < WRITE_BUFFER_BYTES {
            match &mut self.state {
                State::AwaitingFirstEvent(stream, _) => match stream.poll_start(context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Ok(_)) => self.on_started(),
                    Poll::Ready(Err(error)) => self.fail(&error),
                },
                State::Streaming(stream) => match stream.poll_chunk(context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(chunk) => self.on_chunk(&chunk)?,
                },
                State::Draining(stream) => match stream.poll_drain(context) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(()) => self.state = State::Done,
                },
                State::Done => return Ok(()),
            }
        }
        Ok(())
    }

    fn on_started(&mut self) {
        if let State::AwaitingFirstEvent(mut stream, _) = std::mem::replace(&mut self.state, State::Done) {
            self.timers.last_read_at = Instant::now();
            if let Output::Encoded(encoder) = &mut self.output {
                stream.replay_first_events(encoder.as_mut());
            }
            self.state = State::Streaming(stream);
        }
    }

    fn on_chunk(&mut self, chunk: &UpstreamChunk) -> Result<(), io::Error> {
        self.timers.last_read_at = Instant::now();
        let State::Streaming(stream) = &mut self.state else { return Ok(()) };
        let has_ended = match &mut self.output {
            Output::Encoded(encoder) => stream.push(chunk, encoder.as_mut()),
            Output::Unchanged(chunks) => match chunk {
                UpstreamChunk::Bytes(bytes) => {
                    let has_ended = stream.observe(bytes);
                    chunks.push_back(bytes.clone());
                    has_ended
                }
                UpstreamChunk::End(end) => {
                    stream.end_unchanged(end.clone());
                    if let End::Failed(error) = end {
                        self.state = State::Done;
                        return Err(io::Error::other(error.message.to_string()));
                    }
                    true
                }
            },
        };
        if has_ended && let State::Streaming(stream) = std::mem::replace(&mut self.state, State::Done) {
            self.timers.timer.as_mut().reset(self.timers.last_read_at + TRAILER_TIMEOUT);
            self.state = State::Draining(stream);
        }
        Ok(())
    }

    /// Ends a response that never began: one error event.
    fn fail(&mut self, error: &InferenceError) {
        if let Output::Encoded(encoder) = &mut self.output {
            let request_id = self.record.request_id();
            encoder.error(&error.to_event(request_id), request_id.as_str());
        }
        self.record.set_error(error.to_record());
        self.state = State::Done;
    }

    /// Ends a response in the middle. A client of the Bedrock API gets a broken connection, as from AWS.
    fn interrupt(&mut self, error: &InferenceError) -> Result<(), io::Error> {
        match &mut self.state {
            State::AwaitingFirstEvent(..) => self.fail(error),
            State::Streaming(stream) => match &mut self.output {
                Output::Encoded(encoder) => stream.finish(End::Failed(error.to_error()), encoder.as_mut()),
                Output::Unchanged(_) => {
                    stream.end_unchanged(End::Failed(error.to_error()));
                    self.state = State::Done;
                    return Err(io::Error::other(error.to_error().message));
                }
            },
            State::Draining(_) | State::Done => {}
        }
        self.state = State::Done;
        Ok(())
    }

    /// The timer has fired: nothing is due yet, or a ping, or the end.
    fn on_timer(&mut self) -> Result<(), io::Error> {
        let now = Instant::now();
        let deadline = match &self.state {
            State::Streaming(_) => self.timers.last_read_at + self.timers.idle,
            State::AwaitingFirstEvent(_, first_event) => *first_event,
            State::Draining(_) => {
                self.state = State::Done;
                return Ok(());
            }
            State::Done => return Ok(()),
        };
        if now >= deadline {
            return self.interrupt(&InferenceError::idle_timeout());
        }
        let mut next = deadline;
        if let Output::Encoded(encoder) = &mut self.output {
            let mut ping_at = self.timers.last_write_at + self.timers.ping;
            if now >= ping_at {
                encoder.ping();
                ping_at = now + self.timers.ping;
            }
            next = next.min(ping_at);
        }
        self.timers.timer.as_mut().reset(next);
        Ok(())
    }

    fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        loop {
            if let Err(error) = self.fill(context) {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(bytes) = self.output.take() {
                self.timers.last_write_at = Instant::now();
                return Poll::Ready(Some(Ok(bytes)));
            }
            if let State::Done = self.state {
                return Poll::Ready(None);
            }
            let interrupted = if self.aborted.as_mut().poll(context).is_ready() {
                self.interrupt(&InferenceError::ShuttingDown)
            } else {
                ready!(self.timers.timer.as_mut().poll(context));
                self.on_timer()
            };
            if let Err(error) = interrupted {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl http_body::Body for StreamingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.get_mut().poll_bytes(context).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        let is_read = match &self.state {
            // Nothing follows the last byte that AWS declared.
            State::Draining(stream) => matches!(self.output, Output::Unchanged(_)) && stream.is_end_stream(),
            State::Done => true,
            State::AwaitingFirstEvent(..) | State::Streaming(_) => false,
        };
        is_read && self.output.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.state, &self.output) {
            (State::Streaming(stream) | State::Draining(stream), Output::Unchanged(chunks)) => {
                let queued: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                stream
                    .size_hint()
                    .exact()
                    .map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + queued))
            }
            _ => SizeHint::default(),
        }
    }
}
