//! The request in flight: sent until its first event, then the bytes of its response, the decoder that they feed, and the
//! meter that settles it.
//!
//! It is settled once. If it is dropped before its end, a detached read continues it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use protocol::anthropic::event_sink::{EventSink, FirstEvents};
use protocol::anthropic::{Error, ErrorType, Event};
use protocol::translate::{Decoder, End, MappedError, Progress};

use super::detach::DetachedReads;
use super::error::{InferenceError, log_service_error};
use super::metering::Meter;
use super::request::ResponseHead;
use crate::ids::RequestId;

/// Maximum of bytes that are read of a response without a client: 128,000 tokens in frames of their own are some 50 MB.
const MAX_DETACHED_BYTES: usize = 128 << 20;

/// What comes next from Bedrock.
#[derive(Debug)]
pub(super) enum UpstreamChunk {
    /// Bytes, as they come off the connection.
    Bytes(Bytes),
    /// The end.
    End(End),
}

/// A request in flight: it is sent, then its response is read.
pub(super) struct UpstreamStream {
    /// `None` once it could not be sent, and while this is dropped.
    state: Option<State>,
    detached: DetachedReads,
}

/// What is in flight.
enum State {
    /// The request, until the first event. The task that polls this value runs it; after a drop, a task of its own.
    Sending(Pin<Box<dyn Future<Output = Sent> + Send>>),
    /// The response.
    Reading(Box<Reading>),
}

/// The head and the beginning of a response, or why there is none.
pub(super) type Sent = Result<(ResponseHead, Box<Reading>), InferenceError>;

/// A response in flight.
#[derive(Debug)]
pub(super) struct Reading {
    body: Incoming,
    decoder: Decoder,
    /// The events that had arrived when the response began.
    first_events: FirstEvents,
    meter: Meter,
    failure: Option<MappedError>,
    is_settled: bool,
}

/// A sink for a response that has no client.
struct Discard;

impl EventSink for Discard {
    fn event(&mut self, _: &Event<'_>) {}

    fn raw(&mut self, _: &str, _: &str) {}
}

/// The next bytes of `body`, the response to the request `id`.
pub(super) fn poll_chunk(
    body: &mut Incoming,
    id: &RequestId,
    context: &mut Context<'_>,
) -> Poll<UpstreamChunk> {
    loop {
        let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(context));
        match frame {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Poll::Ready(UpstreamChunk::Bytes(bytes));
                }
            }
            Some(Err(error)) => {
                tracing::debug!(request_id = %id, %error, "connection to Bedrock broke");
                let error = Error::new(
                    ErrorType::Api,
                    "the connection to Bedrock broke in the middle of the response",
                );
                return Poll::Ready(UpstreamChunk::End(End::Failed(error)));
            }
            None => return Poll::Ready(UpstreamChunk::End(End::Eof)),
        }
    }
}

impl UpstreamStream {
    /// The request that `sending` sends.
    pub(super) fn new(
        detached: &DetachedReads,
        sending: impl Future<Output = Sent> + Send + 'static,
    ) -> Self {
        Self { state: Some(State::Sending(Box::pin(sending))), detached: detached.clone() }
    }

    /// Sends until there is a first event.
    pub(super) fn poll_start(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, InferenceError>> {
        // Taken out, so that a future that panics is not polled again by the drop.
        let sending = self.state.take_if(|state| matches!(state, State::Sending(_)));
        let Some(State::Sending(mut sending)) = sending else { return Poll::Pending };
        match sending.as_mut().poll(context) {
            Poll::Ready(sent) => Poll::Ready(sent.map(|(head, reading)| {
                self.state = Some(State::Reading(reading));
                head
            })),
            Poll::Pending => {
                self.state = Some(State::Sending(sending));
                Poll::Pending
            }
        }
    }

    /// Sends until there is a first event.
    pub(super) async fn start(&mut self) -> Result<ResponseHead, InferenceError> {
        poll_fn(|context| self.poll_start(context)).await
    }

    fn reading(&self) -> Option<&Reading> {
        match &self.state {
            Some(State::Reading(reading)) => Some(reading),
            Some(State::Sending(_)) | None => None,
        }
    }

    fn reading_mut(&mut self) -> Option<&mut Reading> {
        match &mut self.state {
            Some(State::Reading(reading)) => Some(reading),
            Some(State::Sending(_)) | None => None,
        }
    }

    /// Writes the events into `sink` that had arrived when the response began.
    pub(super) fn replay_first_events(&mut self, sink: &mut dyn EventSink) {
        if let Some(reading) = self.reading_mut() {
            std::mem::take(&mut reading.first_events).replay(sink);
        }
    }

    /// The next bytes.
    pub(super) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<UpstreamChunk> {
        match self.reading_mut() {
            Some(reading) => reading.poll_chunk(context),
            None => Poll::Ready(UpstreamChunk::End(End::Cancelled)),
        }
    }

    /// The next bytes.
    pub(super) async fn chunk(&mut self) -> UpstreamChunk {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    /// Decodes `chunk` into `sink`, and settles when that ends the response. Returns whether it has ended.
    pub(super) fn push(&mut self, chunk: &UpstreamChunk, sink: &mut dyn EventSink) -> bool {
        self.reading_mut().is_none_or(|reading| reading.push(chunk, sink))
    }

    /// Writes the last events into `sink`, and settles. Does nothing the second time.
    pub(super) fn finish(&mut self, end: End, sink: &mut dyn EventSink) {
        if let Some(reading) = self.reading_mut() {
            reading.finish(end, sink);
        }
    }

    /// Decodes `bytes`, which go to the client unchanged, for their usage.
    pub(super) fn observe(&mut self, bytes: &Bytes) -> bool {
        self.push(&UpstreamChunk::Bytes(bytes.clone()), &mut Discard)
    }

    /// Ends a response whose bytes go to the client unchanged.
    pub(super) fn end_unchanged(&mut self, end: End) {
        self.finish(end, &mut Discard);
    }

    /// Whether the response has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.reading().is_none_or(|reading| reading.is_settled)
    }

    /// Whether its bytes go to the client unchanged.
    pub(super) fn is_passthrough(&self) -> bool {
        self.reading().is_some_and(|reading| reading.decoder.is_passthrough())
    }

    /// AWS's error that ended the response.
    pub(super) fn failure(&self) -> Option<&MappedError> {
        self.reading()?.failure.as_ref()
    }

    /// Reads what is left after the last event, so that the connection can be used again.
    pub(super) fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let UpstreamChunk::Bytes(_) = std::task::ready!(self.poll_chunk(context)) {}
        Poll::Ready(())
    }

    /// Reads what is left after the last event.
    pub(super) async fn drain(&mut self) {
        poll_fn(|context| self.poll_drain(context)).await;
    }

    /// Whether all bytes of Bedrock are read.
    pub(super) fn is_end_stream(&self) -> bool {
        self.reading().is_none_or(|reading| reading.body.is_end_stream())
    }

    /// How many bytes are left, as far as Bedrock has declared it.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.reading().map_or_else(|| SizeHint::with_exact(0), |reading| reading.body.size_hint())
    }
}

impl std::fmt::Debug for UpstreamStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamStream").finish_non_exhaustive()
    }
}

impl Reading {
    /// The response in `body`, with the `first_events` that were decoded. One that has ended already is settled here.
    pub(super) fn new(body: Incoming, decoder: Decoder, first_events: FirstEvents, meter: Meter) -> Self {
        let mut reading = Self { body, decoder, first_events, meter, failure: None, is_settled: false };
        if reading.decoder.has_ended() {
            reading.finish(End::Eof, &mut Discard);
        }
        reading
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<UpstreamChunk> {
        let polled = poll_chunk(&mut self.body, self.meter.request_id(), context);
        self.meter.waits_for_upstream(polled.is_pending());
        polled
    }

    fn push(&mut self, chunk: &UpstreamChunk, sink: &mut dyn EventSink) -> bool {
        if self.is_settled {
            return true;
        }
        let end = match chunk {
            UpstreamChunk::Bytes(bytes) => {
                let progress = self.meter.decode(&mut self.decoder, bytes, sink);
                // Settled before the last bytes of a passthrough go out, as its end is not among the bytes.
                let is_last = self.decoder.is_passthrough() && self.body.is_end_stream();
                if progress != Progress::Ended && !self.decoder.has_ended() && !is_last {
                    return false;
                }
                End::Eof
            }
            UpstreamChunk::End(end) => end.clone(),
        };
        self.finish(end, sink);
        true
    }

    fn finish(&mut self, end: End, sink: &mut dyn EventSink) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        self.failure = self.decoder.failure().cloned();
        if let Some(failure) = &self.failure {
            log_service_error(self.meter.request_id(), self.meter.aws_request_id(), failure);
        }
        let error = match (&self.failure, &end) {
            (Some(failure), _) => {
                let request_id = self.meter.aws_request_id().map(str::to_owned);
                Some(InferenceError::from_mapped(failure.clone(), request_id))
            }
            // Without an error of AWS, the fault lies between AWS and the proxy.
            (None, End::Failed(error)) if error.kind == ErrorType::Api => {
                Some(InferenceError::BadGateway(error.message.to_string()))
            }
            (None, End::Failed(error)) => Some(InferenceError::Invalid(error.clone())),
            (None, End::Eof | End::Cancelled) => None,
        };
        if let Some(summary) = self.decoder.finish(end, sink) {
            if self.decoder.failure().is_some_and(MappedError::is_too_large) {
                self.meter.set_unread();
            }
            self.meter.finish(summary, error.as_ref());
        }
    }

    /// Reads a response that has no client to its end, unless it is longer than any that a model writes.
    async fn read_to_end(mut self: Box<Self>) {
        if self.is_settled {
            return;
        }
        self.meter.detach();
        let mut read = 0;
        while read <= MAX_DETACHED_BYTES {
            let chunk = poll_fn(|context| self.poll_chunk(context)).await;
            if self.push(&chunk, &mut Discard) {
                return;
            }
            if let UpstreamChunk::Bytes(bytes) = &chunk {
                read += bytes.len();
            }
        }
        tracing::warn!(request_id = %self.meter.request_id(), "a response does not end; its cost is estimated");
    }
}

/// Bedrock goes on and bills all of it, so what is on its way is read to its end.
impl Drop for UpstreamStream {
    fn drop(&mut self) {
        match self.state.take() {
            // In one task: sending and reading share a permit and a time limit.
            Some(State::Sending(sending)) => self.detached.spawn(async move {
                if let Ok((_, reading)) = sending.await {
                    reading.read_to_end().await;
                }
            }),
            Some(State::Reading(reading)) if !reading.is_settled => {
                self.detached.spawn(reading.read_to_end());
            }
            Some(State::Reading(_)) | None => {}
        }
    }
}

/// A detached read that cannot go on is settled as far as it came.
impl Drop for Reading {
    fn drop(&mut self) {
        self.finish(End::Cancelled, &mut Discard);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Config;
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn panicked_future_is_not_resumed() {
        let (config, tasks) = (Config::load(|_| None).unwrap().inference, Tasks::default());
        let panics = poll_fn(|_| -> Poll<Sent> { panic!("as a test") });
        let mut stream = UpstreamStream::new(&DetachedReads::new(&config, &tasks), panics);
        let result = std::panic::AssertUnwindSafe(stream.start()).catch_unwind().await;
        assert!(result.is_err());
        drop(stream);
        assert_eq!(tasks.len(), 0, "nothing goes on");
    }

    #[tokio::test]
    async fn dropped_request_is_sent_by_one_task() {
        let mut config = Config::load(|_| None).unwrap().inference;
        config.max_detached_reads = 1;
        let detached = DetachedReads::new(&config, &Tasks::default());
        let (sent, done) = oneshot::channel();
        drop(UpstreamStream::new(&detached, async {
            let _ = sent.send(());
            Err(InferenceError::Busy)
        }));
        assert_eq!(done.await, Ok(()), "the request is sent on");
    }
}
