//! Answers over HTTP/2 that their client does not take.
//!
//! A client that grants no window blocks its stream and nothing else: no write waits, so [`super::write_timeout`] sees
//! nothing, and a body that is not asked for more cannot look at a clock. Somebody else has to.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// The answers of one connection that wait for their client, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Stalls(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl Stalls {
    /// `body`, watched until it is over.
    pub(super) fn watch(&self, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.since.insert(number, Instant::now());
        drop(waiting);
        Body::new(Watched { body, number, stalls: self.clone() })
    }

    /// Resolves when an answer has waited for its client for `patience`.
    pub(super) async fn outlast(&self, patience: Duration) {
        loop {
            tokio::time::sleep(patience / 4).await;
            if self.lock().since.values().any(|since| since.elapsed() >= patience) {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that says when it waits to be asked for more. It is asked only when its client has room.
struct Watched {
    body: Body,
    number: u64,
    stalls: Stalls,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let mut waiting = self.stalls.lock();
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            waiting.since.insert(self.number, Instant::now());
        } else {
            waiting.since.remove(&self.number);
        }
        drop(waiting);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stalls.lock().since.remove(&self.number);
    }
}
