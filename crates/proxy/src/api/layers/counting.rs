//! Observers that count the bytes of bodies, and the time that the client was waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use axum::body::Body;

use crate::api::observed_body::{BodyObserver, PolledFrame};
use crate::clock::Stopwatch;
use crate::telemetry::RecordHandle;

/// Counts a request body. Waiting for it is waiting for the client.
pub(super) struct RequestCounter {
    record: RecordHandle,
    bytes: u64,
    waited: Stopwatch,
}

impl RequestCounter {
    pub(super) fn new(record: RecordHandle) -> Self {
        Self { record, bytes: 0, waited: Stopwatch::default() }
    }
}

impl BodyObserver for RequestCounter {
    fn after_poll(&mut self, polled: &PolledFrame, _: &Body) {
        if polled.is_pending() {
            self.waited.start();
        } else {
            self.waited.stop();
            self.bytes += length(polled);
        }
    }
}

impl Drop for RequestCounter {
    fn drop(&mut self) {
        let (bytes, waited) = (self.bytes, self.waited.take());
        self.record.add_request_body(bytes, waited);
    }
}

/// Counts a response body. Between two frames the client is waited for.
pub(super) struct ResponseCounter {
    record: RecordHandle,
    bytes: u64,
    waited: Stopwatch,
    is_sent: AtomicBool,
}

impl ResponseCounter {
    pub(super) fn new(record: RecordHandle) -> Self {
        Self { record, bytes: 0, waited: Stopwatch::default(), is_sent: AtomicBool::new(false) }
    }
}

impl BodyObserver for ResponseCounter {
    fn before_poll(&mut self) {
        self.waited.stop();
    }

    fn after_poll(&mut self, polled: &PolledFrame, _: &Body) {
        self.bytes += length(polled);
        match polled {
            Poll::Ready(Some(_)) => self.waited.start(),
            Poll::Ready(None) => self.is_sent.store(true, Ordering::Relaxed),
            Poll::Pending => {}
        }
    }

    fn end_checked(&self, is_end: bool) {
        if is_end {
            self.is_sent.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for ResponseCounter {
    fn drop(&mut self) {
        let (bytes, waited) = (self.bytes, self.waited.take());
        self.record.add_response_body(bytes, waited, self.is_sent.load(Ordering::Relaxed));
    }
}

fn length(polled: &PolledFrame) -> u64 {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, |bytes| bytes.len() as u64),
        Poll::Ready(_) | Poll::Pending => 0,
    }
}
