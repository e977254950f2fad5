//! The answer to a client that streams: one body that is pulled. No task and no channel stand between Bedrock and the
//! client, so a slow client slows the reading, and a client that leaves closes the connection to Bedrock.
//!
//! Each piece that the connection to Bedrock hands on goes out as one write, however many events it holds. In silence there are pings, until Bedrock has been
//! silent for too long.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use http_body::Frame;
use protocol::translate::End;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::access_log::Entry;
use super::error::ApiError;
use super::live::{Chunk, Live};
use super::opening::{self, Inquiry, Opened};
use super::tongue::{Tongue, Voice};
use crate::app::{Abandonable, App};
use crate::telemetry::metrics::OpenStream;

/// Reads are gathered into one write up to about this size.
const ENOUGH: usize = 16 << 10;
/// How long the end of a finished answer may take before its connection is given up.
const LAST_BYTES: Duration = Duration::from_secs(1);

type Opening = Abandonable<Result<Opened<Voice>, ApiError>>;

/// The response to `inquiry`. Its head waits for Bedrock's first word, but not longer than the grace.
pub(super) async fn respond(app: Arc<App>, inquiry: Inquiry, tongue: Tongue) -> Result<Response, ApiError> {
    let settings = &app.relay;
    let pace = Pace { ping: settings.ping_interval, idle: settings.idle_timeout };
    let grace = settings.max_head_delay;
    let entry = inquiry.entry().clone();
    let cut = Box::pin(app.tasks.aborted());
    let mut told = inquiry.told().clone();
    let drains = app.drains.clone();
    let mut opening = Abandonable::new(&drains, opening::open(app, inquiry, tongue.voice()));
    let relay = match tokio::time::timeout(grace, &mut opening).await {
        Ok(opened) => {
            let opened = opened?;
            told = opened.told;
            Relay::new(State::Live(opened.live), opened.sink, pace, cut, entry)
        }
        Err(_) => {
            let mut voice = tongue.voice();
            voice.ping();
            Relay::new(State::Opening(opening), voice, pace, cut, entry)
        }
    };
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    let mut response = (headers, Body::new(relay)).into_response();
    told.add_to(response.headers_mut());
    Ok(response)
}

#[derive(Clone, Copy)]
struct Pace {
    /// The longest silence towards the client.
    ping: Duration,
    /// The longest silence from Bedrock.
    idle: Duration,
}

struct Relay {
    state: State,
    /// What goes out with the next write.
    out: Voice,
    pace: Pace,
    /// When Bedrock was last heard of.
    heard: Instant,
    /// When the client was last told something.
    said: Instant,
    timer: Pin<Box<Sleep>>,
    /// Resolves when a drain is over and this has to end.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    entry: Entry,
    _open: OpenStream,
}

enum State {
    /// The grace is over and Bedrock has not said a word.
    Opening(Opening),
    Live(Live),
    /// All is said; what is left of Bedrock's bytes is read, so that the connection can be used again.
    Ending(Live),
    Ended,
}

impl Relay {
    fn new(
        state: State,
        out: Voice,
        pace: Pace,
        cut: Pin<Box<WaitForCancellationFutureOwned>>,
        entry: Entry,
    ) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + pace.ping.min(pace.idle)));
        let open = entry.streaming();
        Self { state, out, pace, heard: now, said: now, timer, cut, entry, _open: open }
    }

    /// Takes everything that is there to be read, up to one write's worth.
    fn gather(&mut self, context: &mut Context<'_>) {
        while self.out.len() < ENOUGH {
            match &mut self.state {
                State::Opening(opening) => match Pin::new(opening).poll(context) {
                    Poll::Pending => return,
                    Poll::Ready(opened) => self.opened(opened),
                },
                State::Live(live) => match live.poll_chunk(context) {
                    Poll::Pending => return,
                    Poll::Ready(chunk) => self.take(chunk),
                },
                State::Ending(live) => match live.poll_drained(context) {
                    Poll::Pending => return,
                    Poll::Ready(()) => self.state = State::Ended,
                },
                State::Ended => return,
            }
        }
    }

    fn opened(&mut self, opened: Result<Opened<Voice>, ApiError>) {
        match opened {
            Ok(opened) => {
                self.heard = Instant::now();
                let before = std::mem::replace(&mut self.out, opened.sink);
                self.out.follow(before);
                self.state = State::Live(opened.live);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn take(&mut self, chunk: Chunk) {
        self.heard = Instant::now();
        if let State::Live(live) = &mut self.state
            && live.take(chunk, &mut self.out)
            && let State::Live(live) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.timer.as_mut().reset(self.heard + LAST_BYTES);
            self.state = State::Ending(live);
        }
    }

    /// The one error event of an answer that never began.
    fn fail(&mut self, error: &ApiError) {
        self.out.fail(error, self.entry.request_id());
        self.entry.note(|fields| fields.failed(error));
        self.state = State::Ended;
    }

    /// The server ends before the answer does.
    fn cut_off(&mut self) {
        let error = ApiError::shutting_down();
        match &mut self.state {
            State::Opening(_) => self.fail(&error),
            State::Live(live) => live.finish(End::Failed(error.error().clone()), &mut self.out),
            State::Ending(_) | State::Ended => {}
        }
        self.state = State::Ended;
    }

    /// What silence calls for when the timer has fired: nothing yet, a ping, or the end.
    fn mind_the_silence(&mut self) {
        let now = Instant::now();
        let mut next = self.said + self.pace.ping;
        if let State::Live(live) = &mut self.state {
            let deadline = self.heard + self.pace.idle;
            if now >= deadline {
                live.finish(End::Failed(opening::silent().error().clone()), &mut self.out);
                self.state = State::Ended;
                return;
            }
            next = next.min(deadline);
        }
        if let State::Ending(_) = self.state {
            self.state = State::Ended;
            return;
        }
        if now >= self.said + self.pace.ping {
            self.out.ping();
            next = now + self.pace.ping;
        }
        self.timer.as_mut().reset(next);
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let relay = &mut *self;
        loop {
            relay.gather(context);
            if !relay.out.is_empty() {
                relay.said = Instant::now();
                let bytes = Bytes::from(relay.out.take());
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let State::Ended = relay.state {
                return Poll::Ready(None);
            }
            if relay.cut.as_mut().poll(context).is_ready() {
                relay.cut_off();
            } else {
                ready!(relay.timer.as_mut().poll(context));
                relay.mind_the_silence();
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.out.is_empty() && matches!(self.state, State::Ended)
    }
}
