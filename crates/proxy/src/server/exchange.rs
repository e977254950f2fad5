//! How far the HTTP/1.1 request of a connection has come: what the end of the client's bytes means depends on it.
//!
//! A client may close its side of the connection behind its request and wait for the response (`nc -N`). A client that
//! leaves sends the same packet. Only the time tells them apart: the first one closes its side in the same moment in which
//! it ends its request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use axum::body::Body;

use crate::api::observed_body::{BodyObserver, PolledFrame, observed};

/// State of the request. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Exchange(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Number of requests that have been received.
    received: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// There is no request.
    #[default]
    Idle,
    /// Its body has not ended.
    Receiving,
    /// All of it has just arrived.
    Received,
    /// Its client waits for the response.
    Waiting,
    /// Its response has begun.
    Responding,
}

impl Exchange {
    /// Begins a request with `body`.
    pub(super) fn begin(&self, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            self.lock().receive();
            return body;
        }
        self.lock().phase = Phase::Receiving;
        observed(body, RequestObserver(self.clone()))
    }

    /// Begins the response with `body`, which ends the request when it is dropped.
    pub(super) fn respond(&self, body: Body) -> Body {
        if http_body::Body::is_end_stream(&body) {
            self.lock().phase = Phase::Idle;
            return body;
        }
        self.lock().phase = Phase::Responding;
        observed(body, ResponseObserver(self.clone()))
    }

    /// The number of the request that has just arrived, until [`Exchange::wait`].
    pub(super) fn just_received(&self) -> Option<u64> {
        let state = self.lock();
        (state.phase == Phase::Received).then_some(state.received)
    }

    /// From here on, the client waits for the response to request `number`.
    pub(super) fn wait(&self, number: u64) {
        let mut state = self.lock();
        if state.phase == Phase::Received && state.received == number {
            state.phase = Phase::Waiting;
        }
    }

    /// Whether a client that closes its side of the connection now has left.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.lock().phase, Phase::Waiting | Phase::Responding)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn receive(&mut self) {
        self.phase = Phase::Received;
        self.received += 1;
    }
}

/// Observer of the body of a request.
struct RequestObserver(Exchange);

impl BodyObserver for RequestObserver {
    fn after_poll(&mut self, polled: &PolledFrame, body: &Body) {
        if matches!(polled, Poll::Ready(None)) || (polled.is_ready() && http_body::Body::is_end_stream(body))
        {
            let mut state = self.0.lock();
            if state.phase == Phase::Receiving {
                state.receive();
            }
        }
    }
}

/// Observer of the body of a response.
struct ResponseObserver(Exchange);

impl BodyObserver for ResponseObserver {
    fn after_poll(&mut self, _: &PolledFrame, _: &Body) {}
}

impl Drop for ResponseObserver {
    fn drop(&mut self) {
        self.0.lock().phase = Phase::Idle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn late_end_of_client_bytes_abandons_the_request() {
        let exchange = Exchange::default();
        assert!(!exchange.is_abandoned(), "no request");
        let mut body = exchange.begin(Body::from("x"));
        assert_eq!((exchange.is_abandoned(), exchange.just_received()), (false, None));
        http_body_util::BodyExt::frame(&mut body).await;
        assert_eq!((exchange.is_abandoned(), exchange.just_received()), (false, Some(1)), "half-closed");
        exchange.wait(0);
        assert!(!exchange.is_abandoned(), "another request");
        exchange.wait(1);
        assert_eq!((exchange.is_abandoned(), exchange.just_received()), (true, None), "it has given up");
        let response = exchange.respond(Body::from("x"));
        assert!(exchange.is_abandoned(), "while it responds");
        drop(response);
        assert!(!exchange.is_abandoned(), "between two requests");
        let _ = exchange.begin(Body::empty());
        assert_eq!(exchange.just_received(), Some(2));
    }
}
