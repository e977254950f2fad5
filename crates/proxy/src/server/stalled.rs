//! HTTP/2 streams whose client grants no flow-control window.
//!
//! Such a client blocks its stream only: no socket write is pending, so [`super::write_timeout`] does not fire, and the
//! body is not polled, so it cannot check a timer itself. The connection checks all of its streams instead.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use tokio::time::Instant;

use crate::api::observed_body::{BodyObserver, PolledFrame, observed};

/// The responses of one connection that wait for window, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct StallDetector(Arc<Mutex<Streams>>);

#[derive(Debug, Default)]
struct Streams {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl StallDetector {
    /// Tracks `body` until it ends.
    pub(super) fn track(&self, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        let mut streams = self.lock();
        let number = streams.next;
        streams.next += 1;
        streams.since.insert(number, Instant::now());
        drop(streams);
        observed(body, PollObserver { number, stalls: self.clone() })
    }

    /// Resolves when a response has waited for window for `timeout`.
    pub(super) async fn expired(&self, timeout: Duration) {
        loop {
            tokio::time::sleep(timeout / 4).await;
            if self.lock().since.values().any(|since| since.elapsed() >= timeout) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Observer that records when a body was last polled. hyper polls it only while the stream has window.
struct PollObserver {
    number: u64,
    stalls: StallDetector,
}

impl BodyObserver for PollObserver {
    fn after_poll(&mut self, polled: &PolledFrame, _: &Body) {
        let mut streams = self.stalls.lock();
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            streams.since.insert(self.number, Instant::now());
        } else {
            streams.since.remove(&self.number);
        }
    }
}

impl Drop for PollObserver {
    fn drop(&mut self) {
        self.stalls.lock().since.remove(&self.number);
    }
}
