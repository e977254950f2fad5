//! A body with an observer of its frames and of its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The next frame of a body, as far as there is one.
pub(crate) type PolledFrame = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Observer of a body. It is dropped just before the body.
pub(crate) trait BodyObserver: Send + Unpin + 'static {
    /// The body is about to be polled.
    fn before_poll(&mut self) {}

    /// The body was polled.
    fn after_poll(&mut self, polled: &PolledFrame, body: &Body);

    /// Whether the body has ended was checked, which hyper also does through a shared reference, instead of a poll.
    fn end_checked(&self, _is_end: bool) {}
}

/// `body`, observed by `observer`.
pub(crate) fn observed(body: Body, observer: impl BodyObserver) -> Body {
    Body::new(ObservedBody { observer, body })
}

struct ObservedBody<O> {
    /// Dropped before the body: what it counted is in the record when the body settles.
    observer: O,
    body: Body,
}

impl<O: BodyObserver> http_body::Body for ObservedBody<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> PolledFrame {
        let Self { observer, body } = &mut *self;
        observer.before_poll();
        let polled = Pin::new(&mut *body).poll_frame(context);
        observer.after_poll(&polled, body);
        polled
    }

    fn is_end_stream(&self) -> bool {
        let is_end = self.body.is_end_stream();
        self.observer.end_checked(is_end);
        is_end
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
