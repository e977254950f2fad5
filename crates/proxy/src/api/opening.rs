//! From a question to Bedrock's first word, retries and repairs included. Nothing was said to the client yet, so a
//! failure here can still be an HTTP error, and a question can still be asked again, or put better.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use protocol::anthropic::{ErrorType, Request};
use protocol::translate::{
    MappedError as Refused, Retry, StreamContext, UnsupportedFeature, detect_unsupported,
};
use tokio::time::Instant;

use super::access_log::Entry;
use super::call::{self, Asked, Call};
use super::detail;
use super::error::ApiError;
use super::live::{self, Codec, Live, Sink};
use super::notice;
use crate::app::App;
use crate::bedrock::{self, Attempts, Failure, Operation, Question, Refusal};
use crate::catalog::Route;
use crate::ids;

/// Tells the client which way its request went.
const ROUTE: &str = "x-bedrock-proxy-route";
/// How often one request may be put better.
const MOST_REPAIRS: usize = 4;

/// What was asked, the call made of it, and what is needed to understand the answer.
#[derive(Debug)]
pub(super) struct Inquiry {
    asked: Asked,
    question: Question,
    opening: StreamContext,
    told: Told,
    entry: Entry,
}

/// What the client is told beside the answer.
#[derive(Clone, Debug)]
pub(super) struct Told {
    route: Route,
    notice: Option<HeaderValue>,
}

/// An answer that has begun.
#[derive(Debug)]
pub(super) struct Opened<S> {
    pub(super) live: Live,
    /// The events of the first word.
    pub(super) sink: S,
    pub(super) told: Told,
}

impl Inquiry {
    pub(super) fn new(asked: Asked, call: Call, entry: Entry, tag_buffer: bool) -> Self {
        let opening = StreamContext {
            message_id: ids::message_id(),
            model: asked.target.requested_model.clone(),
            request_id: entry.request_id().as_str().to_owned(),
            tag_buffer,
            ..StreamContext::default()
        };
        let told = Told { route: call.route, notice: None };
        let question = Question {
            model_id: String::new(),
            operation: Operation::ConverseStream,
            body: bytes::Bytes::new(),
            service_tier: None,
            betas: Vec::new(),
        };
        let mut inquiry = Self { asked, question, opening, told, entry };
        inquiry.put(call);
        inquiry
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Puts the question as `call`.
    fn put(&mut self, call: Call) {
        self.entry.note(|fields| {
            fields.route = Some(call.route.as_str());
            fields.model_upstream = Some(call.model_id.clone());
            fields.notices = call.notices.len();
        });
        detail::route(self.entry.request_id(), &call);
        // Notices name places and reasons, never content.
        for notice in &call.notices {
            tracing::debug!(request_id = %self.entry.request_id(), %notice, "the request was changed");
        }
        self.told = Told { route: call.route, notice: notice::line(&call.notices) };
        self.opening.tool_names = call.names;
        self.question = Question {
            model_id: call.model_id,
            operation: call.operation,
            body: call.body,
            service_tier: call.service_tier,
            betas: call.betas,
        };
    }

    /// Puts the question better if the refusal says how; once for each thing it says.
    fn repair(&mut self, app: &App, refused: &Refused, learned: &mut Vec<UnsupportedFeature>) -> bool {
        let fixable = matches!(refused.error.kind, ErrorType::InvalidRequest | ErrorType::Permission);
        let body = std::str::from_utf8(&self.asked.body).unwrap_or_default();
        let Some(lesson) =
            Some(&refused.aws_message).filter(|_| fixable).and_then(|text| detect_unsupported(text, body))
        else {
            return false;
        };
        if learned.len() == MOST_REPAIRS || learned.contains(&lesson) {
            return false;
        }
        learned.push(lesson.clone());
        let model = &self.asked.target.model_id;
        if app.learned.remember(self.told.route, model, lesson.clone()) {
            app.metrics.unsupported_feature(self.told.route.as_str(), kind(&lesson));
            tracing::info!(
                model,
                route = self.told.route.as_str(),
                ?lesson,
                "learned what this model refuses"
            );
        }
        // A repair that cannot be made leaves the refusal as it is.
        let request = Request::parse(&self.asked.body).map_err(ApiError::from);
        let Ok(call) = request.and_then(|request| call::prepare(app, &self.asked, request)) else {
            return false;
        };
        let before = self.question.clone();
        self.put(call);
        self.question != before
    }
}

/// What kind of thing was learnt, for counting.
fn kind(lesson: &UnsupportedFeature) -> &'static str {
    match lesson {
        UnsupportedFeature::Field(name) if name.contains("-20") => "beta",
        UnsupportedFeature::Field(_) => "member",
        UnsupportedFeature::AllBetas => "betas",
        UnsupportedFeature::OnDemandThroughput => "profile",
        UnsupportedFeature::ToolStreaming => "streaming_tools",
    }
}

impl Told {
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(ROUTE, HeaderValue::from_static(self.route.as_str()));
        if let Some(notice) = &self.notice {
            headers.insert(notice::HEADER, notice.clone());
        }
    }
}

/// Why an attempt did not get to a first word.
enum NotBegun {
    /// AWS refused; its log line is still to be written.
    Refused {
        meaning: Refused,
        /// Whether retries are behind it: they are when it refused before the stream began.
        retried: bool,
    },
    /// Everything else; retries are behind it.
    Failed(ApiError),
}

/// Asks until there is a first word, and returns the answer with the events of that word.
pub(super) async fn open<S: Sink>(
    app: Arc<App>,
    mut inquiry: Inquiry,
    mut sink: S,
) -> Result<Opened<S>, ApiError> {
    let mut attempts = Attempts::of(inquiry.entry.request_id());
    let mut learned = Vec::new();
    let opened = loop {
        let begun = begin(&app, &inquiry, &mut attempts, &mut sink);
        let error = match tokio::time::timeout(app.relay.idle_timeout, begun).await {
            Ok(Ok(live)) => break Ok(live),
            Ok(Err(NotBegun::Refused { meaning, retried })) => {
                sink.forget();
                let may_retry = !retried && meaning.retry == Retry::AfterPause;
                if inquiry.repair(&app, &meaning, &mut learned)
                    || (may_retry && again(&inquiry.entry, &mut attempts).await)
                {
                    continue;
                }
                live::log(&inquiry.entry, &meaning);
                let target = &inquiry.asked.target;
                let typed = target.requested_model == target.model_id;
                ApiError::from(if typed { meaning.blame_client() } else { meaning })
            }
            Ok(Err(NotBegun::Failed(error))) => error,
            Err(_) => {
                attempts.failed("timeout");
                silent()
            }
        };
        break Err(error);
    };
    inquiry.entry.note(|fields| {
        fields.retries = attempts.retries();
        fields.course.tried(&attempts, opened.is_err());
    });
    opened.map(|live| Opened { live, sink, told: inquiry.told })
}

/// Waits before Bedrock is asked once more; `false` when it was asked often enough.
async fn again(entry: &Entry, attempts: &mut Attempts) -> bool {
    let _waiting = entry.waiting();
    attempts.again().await
}

/// Bedrock has been silent for too long.
pub(super) fn silent() -> ApiError {
    ApiError::new(ErrorType::Timeout, "Bedrock did not answer in time")
}

async fn begin<S: Sink>(
    app: &App,
    inquiry: &Inquiry,
    attempts: &mut Attempts,
    sink: &mut S,
) -> Result<Live, NotBegun> {
    let entry = &inquiry.entry;
    entry.note(|fields| {
        fields.asked = true;
        fields.course.asked();
    });
    let waiting = entry.waiting();
    let answer = app.bedrock.stream(&inquiry.question, attempts).await;
    drop(waiting);
    let answer = answer.map_err(|failure| failed(entry, failure))?;
    entry.note(|fields| fields.aws_request_id = answer.request_id);
    let codec = Codec::new(inquiry.question.operation, inquiry.opening.clone());
    let mut live = Live::new(answer.body, codec, entry.clone(), app.drains.clone());
    loop {
        let chunk = live.chunk().await;
        let ended = live.take(chunk, sink);
        if live.is_started() {
            entry.note(|fields| fields.first_word = Some(Instant::now()));
            return Ok(live);
        }
        if ended {
            let Some(refused) = live.failure() else {
                attempts.failed("broken");
                return Err(NotBegun::Failed(ApiError::gateway("Bedrock ended its answer before it began")));
            };
            attempts.failed(bedrock::outcome(refused.error.kind));
            return Err(NotBegun::Refused { meaning: refused.clone(), retried: false });
        }
    }
}

fn failed(entry: &Entry, failure: Failure) -> NotBegun {
    if let Failure::Refused(refusal) = failure {
        let Refusal { meaning, request_id, .. } = *refusal;
        entry.note(|fields| fields.aws_request_id = request_id);
        return NotBegun::Refused { meaning, retried: true };
    }
    tracing::error!(request_id = %entry.request_id(), %failure, "no answer from Bedrock");
    NotBegun::Failed(failure.into())
}
