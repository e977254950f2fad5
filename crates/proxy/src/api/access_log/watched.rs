//! The bodies of a request and of its response, watched on their way: how many bytes went by, and how much of the time
//! was the client's.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::Entry;

/// A stopwatch that runs while somebody else is awaited.
#[derive(Debug, Default)]
pub(in crate::api) struct Waited {
    since: Option<Instant>,
    all: Duration,
}

impl Waited {
    /// Starts, unless it runs.
    pub(in crate::api) fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Stops, if it runs.
    pub(in crate::api) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.all += since.elapsed();
        }
    }

    /// Stops, and begins anew at nothing. Returns how long it ran.
    pub(in crate::api) fn take(&mut self) -> Duration {
        self.end();
        std::mem::take(&mut self.all)
    }
}

/// A request body. Whoever waits for it waits for the client.
pub(super) struct Received {
    body: Body,
    entry: Entry,
    bytes: u64,
    waited: Waited,
}

impl Received {
    pub(super) fn new(body: Body, entry: Entry) -> Self {
        Self { body, entry, bytes: 0, waited: Waited::default() }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Pending => self.waited.begin(),
            Poll::Ready(frame) => {
                self.waited.end();
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

impl Drop for Received {
    fn drop(&mut self) {
        let (bytes, waited) = (self.bytes, self.waited.take());
        self.entry.note(|fields| {
            fields.bytes_in += bytes;
            fields.client += waited;
        });
    }
}

/// A response body. It tells the line when it was sent to its end; between two frames the client is awaited.
pub(super) struct Sent {
    body: Body,
    entry: Entry,
    bytes: u64,
    waited: Waited,
}

impl Sent {
    pub(super) fn new(body: Body, entry: Entry) -> Self {
        Self { body, entry, bytes: 0, waited: Waited::default() }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waited.end();
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        self.bytes += length(frame.as_ref());
        match frame {
            Some(_) => self.waited.begin(),
            None => self.entry.note(|fields| fields.sent = true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let end = self.body.is_end_stream();
        if end {
            self.entry.note(|fields| fields.sent = true);
        }
        end
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let (bytes, waited) = (self.bytes, self.waited.take());
        self.entry.note(|fields| {
            fields.bytes_out += bytes;
            fields.client += waited;
        });
    }
}

fn length(frame: Option<&Result<Frame<Bytes>, axum::Error>>) -> u64 {
    let data = frame.and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
    data.map_or(0, |bytes| bytes.len() as u64)
}
