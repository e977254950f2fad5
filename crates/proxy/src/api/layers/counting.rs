//! Bodies that count their bytes, and the time that the client was waited for.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::clock::Stopwatch;
use crate::telemetry::RecordHandle;

/// A request body. Waiting for it is waiting for the client.
pub(super) struct CountedRequestBody {
    body: Body,
    record: RecordHandle,
    bytes: u64,
    waited: Stopwatch,
}

impl CountedRequestBody {
    pub(super) fn new(body: Body, record: RecordHandle) -> Self {
        Self { body, record, bytes: 0, waited: Stopwatch::default() }
    }
}

impl http_body::Body for CountedRequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => self.waited.start(),
            Poll::Ready(frame) => {
                self.waited.stop();
                self.bytes += length(frame.as_ref());
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for CountedRequestBody {
    fn drop(&mut self) {
        let (bytes, waited) = (self.bytes, self.waited.take());
        self.record.add_request_body(bytes, waited);
    }
}

/// A response body. Between two frames the client is waited for.
pub(super) struct CountedResponseBody {
    body: Body,
    record: RecordHandle,
    bytes: u64,
    waited: Stopwatch,
    /// Atomic, as hyper also checks the end through a shared reference.
    is_sent: AtomicBool,
}

impl CountedResponseBody {
    pub(super) fn new(body: Body, record: RecordHandle) -> Self {
        Self { body, record, bytes: 0, waited: Stopwatch::default(), is_sent: AtomicBool::new(false) }
    }
}

impl http_body::Body for CountedResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waited.stop();
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        self.bytes += length(frame.as_ref());
        match frame {
            Some(_) => self.waited.start(),
            None => self.is_sent.store(true, Ordering::Relaxed),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let end = self.body.is_end_stream();
        if end {
            self.is_sent.store(true, Ordering::Relaxed);
        }
        end
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for CountedResponseBody {
    fn drop(&mut self) {
        let (bytes, waited) = (self.bytes, self.waited.take());
        self.record.add_response_body(bytes, waited, self.is_sent.load(Ordering::Relaxed));
    }
}

fn length(frame: Option<&Result<Frame<Bytes>, axum::Error>>) -> u64 {
    let data = frame.and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
    data.map_or(0, |bytes| bytes.len() as u64)
}
