//! The response in flight: its bytes, the decoder that they feed, and the meter that settles it.
//!
//! It is settled once. If it is dropped before its end, a detached read continues it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;
use protocol::anthropic::event_sink::EventSink;
use protocol::anthropic::{Error, ErrorType, Event};
use protocol::translate::{Decoder, End, MappedError, Progress};

use super::detach::DetachedReads;
use super::error::{InferenceError, log_service_error};
use super::metering::Meter;
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

/// A response in flight.
#[derive(Debug)]
pub(super) struct UpstreamStream {
    /// `None` only while it is dropped.
    reading: Option<Box<Reading>>,
    detached: DetachedReads,
}

#[derive(Debug)]
struct Reading {
    body: Incoming,
    decoder: Decoder,
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
    /// The response in `body`. One that has ended already is settled here.
    pub(super) fn new(body: Incoming, decoder: Decoder, meter: Meter, detached: DetachedReads) -> Self {
        let mut reading = Reading { body, decoder, meter, failure: None, is_settled: false };
        if reading.decoder.has_ended() {
            reading.finish(End::Eof, &mut Discard);
        }
        Self { reading: Some(Box::new(reading)), detached }
    }

    /// Reads a response that has lost its client to its end, in a task that is detached already.
    pub(super) async fn read_on(mut self) {
        if let Some(reading) = self.reading.take_if(|reading| !reading.is_settled) {
            reading.read_to_end().await;
        }
    }

    /// The next bytes.
    pub(super) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<UpstreamChunk> {
        match &mut self.reading {
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
        self.reading.as_mut().is_none_or(|reading| reading.push(chunk, sink))
    }

    /// Writes the last events into `sink`, and settles. Does nothing the second time.
    pub(super) fn finish(&mut self, end: End, sink: &mut dyn EventSink) {
        if let Some(reading) = &mut self.reading {
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

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.reading.as_ref().is_none_or(|reading| reading.is_settled)
    }

    /// Whether its bytes go to the client unchanged.
    pub(super) fn is_passthrough(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| reading.decoder.is_passthrough())
    }

    /// AWS's error that ended it.
    pub(super) fn failure(&self) -> Option<&MappedError> {
        self.reading.as_ref()?.failure.as_ref()
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
        self.reading.as_ref().is_none_or(|reading| reading.body.is_end_stream())
    }

    /// How many bytes are left, as far as Bedrock has declared it.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.reading.as_ref().map_or_else(|| SizeHint::with_exact(0), |reading| reading.body.size_hint())
    }
}

impl Reading {
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
            // Without an error of AWS, the fault lies between AWS and the gateway.
            (None, End::Failed(error)) if error.kind == ErrorType::Api => {
                Some(InferenceError::BadGateway(error.message.to_string()))
            }
            (None, End::Failed(error)) => Some(InferenceError::Invalid(error.clone())),
            (None, End::Eof | End::Cancelled) => None,
        };
        if let Some(summary) = self.decoder.finish(end, sink) {
            self.meter.finish(summary, error.as_ref());
        }
    }

    /// Reads a response that has no client to its end, unless it is longer than any that a model writes.
    async fn read_to_end(mut self: Box<Self>) {
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
        if let Some(reading) = self.reading.take_if(|reading| !reading.is_settled) {
            self.detached.spawn(reading.read_to_end());
        }
    }
}

/// A detached read that cannot go on is settled as far as it came.
impl Drop for Reading {
    fn drop(&mut self) {
        self.finish(End::Cancelled, &mut Discard);
    }
}
