//! One line per request, written when the last part of it is gone: answered, failed or cancelled.
//!
//! A line says who, what, how long and how much, and never a word of content.

mod line;
mod watched;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use protocol::anthropic::Usage;
use protocol::translate::{Outcome, StreamSummary};
use tokio::time::Instant;

use super::context::CallersId;
use super::course::Course;
use super::error::ApiError;
use super::health;
use super::metering::{Charged, Meter};
use super::traced;
use crate::app::App;
use crate::auth::{Caller, ConcurrencyPermit};
use crate::ids::RequestId;
use crate::telemetry::metrics::{Counted, OpenStream};
use crate::telemetry::record::OverheadPhase;
use crate::telemetry::trace_context::TraceContext;
use crate::telemetry::user_agent::{self, UserAgent};
pub(super) use watched::Waited;
use watched::{Received, Sent};

/// The line of one request. Clones write to the same line; when the last is dropped it is logged.
#[derive(Clone, Debug)]
pub struct Entry(Arc<Line>);

#[derive(Debug)]
struct Line {
    request_id: RequestId,
    callers_id: Option<CallersId>,
    trace: TraceContext,
    method: Method,
    path: String,
    /// The template of the path, if there is such a route.
    matched: Option<MatchedPath>,
    client: UserAgent,
    session_id: Option<String>,
    /// Where the connection comes from; a proxy in front, if there is one.
    peer: Option<SocketAddr>,
    started: Instant,
    fields: Mutex<Fields>,
    app: Arc<App>,
}

/// What becomes known on the way.
#[derive(Debug, Default)]
pub struct Fields {
    /// The status that was sent.
    pub status: Option<StatusCode>,
    /// Who asks.
    pub caller: Option<Arc<Caller>>,
    /// Their place among their own requests, given up with the line.
    pub turn: Option<ConcurrencyPermit>,
    /// What the client called the model.
    pub model_requested: Option<String>,
    /// The way the request took.
    pub route: Option<&'static str>,
    /// The id sent to Bedrock.
    pub model_upstream: Option<String>,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// When the model's first word arrived.
    pub first_word: Option<Instant>,
    /// Whether Bedrock was asked.
    pub asked: bool,
    /// Whether the client left before the answer was over.
    pub abandoned: bool,
    /// Letters that were delivered, as far as that was counted.
    pub said: u64,
    /// What the answer is to be charged to, until that is done.
    pub meter: Option<Meter>,
    /// How the translation ended.
    pub summary: Option<StreamSummary>,
    /// `x-amzn-requestid`.
    pub aws_request_id: Option<String>,
    /// How many things were changed in the request, as its notices say.
    pub notices: usize,
    /// How often Bedrock was asked again.
    pub retries: u32,
    /// The kind of error that was sent.
    pub error: Option<&'static str>,
    /// How it went, for counting.
    pub(super) course: Course,
    /// Whose fault that is: `client`, `auth`, `quota`, `upstream` or `gateway`.
    pub error_class: Option<&'static str>,
    /// What the answer was charged.
    pub charged: Option<Charged>,
    /// How long Bedrock was waited for.
    pub upstream: Duration,
    /// How long the client was waited for: to send its body, and to take the answer.
    pub client: Duration,
    /// Bytes of the body that arrived.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were taken.
    pub bytes_out: u64,
    /// Whether the response was sent to its end.
    pub(super) sent: bool,
}

impl Entry {
    /// A line about `request`.
    pub(super) fn new(request_id: RequestId, request: &Request, app: Arc<App>) -> Self {
        let line = Line {
            request_id,
            callers_id: request.extensions().get().cloned(),
            trace: request
                .extensions()
                .get()
                .cloned()
                .unwrap_or_else(|| TraceContext::from_headers(request.headers())),
            method: request.method().clone(),
            path: request.uri().path().chars().take(200).collect(),
            matched: request.extensions().get::<MatchedPath>().cloned(),
            client: UserAgent::from_headers(request.headers()),
            session_id: user_agent::session_id(request.headers()),
            peer: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
            started: Instant::now(),
            fields: Mutex::default(),
            app,
        };
        line.app.metrics.request_started(line.template());
        Self(Arc::new(line))
    }

    /// Writes down what has become known.
    pub fn note(&self, write: impl FnOnce(&mut Fields)) {
        write(&mut self.0.fields.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds what a phase took.
    pub(super) fn took(&self, phase: OverheadPhase, took: Duration) {
        self.note(|fields| fields.course.took(phase, took));
    }

    /// Counts a stream for as long as what this returns is kept.
    pub(super) fn streaming(&self) -> OpenStream {
        self.0.app.metrics.stream_opened()
    }

    /// Charges the answer, if it is to be charged and was not yet. Called as soon as it is known what it came to,
    /// so that a client that has seen its end is never ahead of the books.
    pub fn settle(&self) {
        self.note(|fields| settle(fields, &self.0.app, self.0.started));
    }

    /// Writes down how long Bedrock was waited for, when what this returns is dropped.
    #[must_use]
    pub(super) fn waiting(&self) -> Waiting<'_> {
        let mut waited = Waited::default();
        waited.begin();
        Waiting(self, waited)
    }

    /// `x-amzn-requestid`, once known.
    #[must_use]
    pub fn aws_request_id(&self) -> Option<String> {
        self.0.fields.lock().unwrap_or_else(PoisonError::into_inner).aws_request_id.clone()
    }

    /// The program that asks.
    #[must_use]
    pub fn client(&self) -> &UserAgent {
        &self.0.client
    }

    /// The template of the path, as `/v1/models/{id}`: one of a closed list, or `other`.
    #[must_use]
    pub fn template(&self) -> &str {
        self.0.template()
    }

    /// What the answer took, once Bedrock has said it.
    #[must_use]
    pub(super) fn usage(&self) -> Option<Usage> {
        let fields = self.0.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.summary.as_ref().and_then(|summary| summary.usage)
    }

    /// The request this is about.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }
}

/// Somebody waits for Bedrock.
pub(super) struct Waiting<'a>(&'a Entry, Waited);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waited = self.1.take();
        self.0.note(|fields| fields.upstream += waited);
    }
}

impl Fields {
    /// Writes down what the client is told instead of an answer.
    pub(super) fn failed(&mut self, error: &ApiError) {
        self.error = Some(error.error().kind.as_str());
        self.error_class = Some(error.class());
    }

    /// Finished, failed or cancelled: what the stream said, or else what became of the response.
    pub(super) fn outcome(&self) -> &'static str {
        match self.summary.as_ref().map(|summary| &summary.outcome) {
            _ if self.error.is_some() => "failed",
            _ if self.abandoned => "cancelled",
            Some(Outcome::Failed) => "failed",
            Some(Outcome::Cancelled) => "cancelled",
            Some(Outcome::Finished) => "finished",
            None if self.sent => "finished",
            None => "cancelled",
        }
    }
}

fn settle(fields: &mut Fields, app: &App, started: Instant) {
    if let Some(meter) = fields.meter.take() {
        let first_word = fields.first_word.map(|at| line::milliseconds(at - started));
        let begun = Instant::now();
        let took = line::milliseconds(started.elapsed());
        fields.charged = Some(meter.settle(fields, &app.metrics, took, first_word));
        fields.course.took(OverheadPhase::Persist, begun.elapsed());
    }
}

impl Line {
    fn template(&self) -> &str {
        self.matched.as_ref().map_or("other", MatchedPath::as_str)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let fields = &mut std::mem::take(self.fields.get_mut().unwrap_or_else(PoisonError::into_inner));
        settle(fields, &self.app, self.started);
        let metrics = &self.app.metrics;
        metrics.request(&Counted {
            route: self.matched.as_ref().map_or("other", MatchedPath::as_str),
            method: &self.method,
            status: fields.status.map_or(0, |status| status.as_u16()),
            client: self.client.name,
            took: self.started.elapsed(),
        });
        let first = fields.first_word.map(|at| (at, at - self.started));
        fields.course.count(metrics, fields.route, fields.summary.as_ref(), first);
        if self.path == "/metrics" && fields.error.is_none() {
            return;
        }
        let head = traced::Head {
            trace: &self.trace,
            request_id: self.request_id.as_str(),
            method: &self.method,
            route: self.matched.as_ref().map(MatchedPath::as_str),
            client: self.client.name,
            session: self.session_id.as_deref(),
            started: self.started,
        };
        traced::tell(&self.app, &head, fields);
        line::log(self, fields);
    }
}

/// The layer: opens the line, and keeps it open until the response body is gone. Health checks and scrapes get none.
pub async fn layer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let request_id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::draw);
    if health::is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let entry = Entry::new(request_id, &request, app);
    request.extensions_mut().insert(entry.clone());
    let request = request.map(|body| Body::new(Received::new(body, entry.clone())));
    let mut response = next.run(request).await;
    let error = response.extensions_mut().remove::<ApiError>();
    entry.note(|fields| {
        fields.status = Some(response.status());
        if let Some(error) = &error {
            fields.failed(error);
        }
    });
    // Here, so that the words of an error are among the bytes that were sent.
    let response = error.map_or(response, |error| error.render(entry.request_id()));
    response.map(|body| Body::new(Sent::new(body, entry)))
}
