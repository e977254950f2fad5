//! Record of one request: facts and counts from its head to its last byte.
//!
//! It holds no content, no permit and no grant: there is no field for them. Money is only in [`Charge`], a copy of what
//! was settled elsewhere. Each part has one writer, which sets it through a `RecordHandle`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use protocol::anthropic::Usage;
use protocol::translate::Outcome;
use tokio::time::Instant;

use super::trace_context::TraceContext;
use super::user_agent::UserAgent;
use crate::ids::RequestId;

/// Head of a request. Written once, when the request arrives.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// Id of the request, also in the header `request-id`.
    pub request_id: RequestId,
    /// Id that the client sent, if it is a valid one.
    pub client_request_id: Option<String>,
    /// Trace and span of the request.
    pub trace: TraceContext,
    /// HTTP method.
    pub method: Method,
    /// Path as the client sent it, without the query.
    pub path: String,
    /// Route (path template); `None` when no route matches.
    pub route: Option<String>,
    /// Client program.
    pub user_agent: UserAgent,
    /// Session id of the client program.
    pub session_id: Option<String>,
    /// Remote address of the connection: the client, or a reverse proxy in front.
    pub peer: Option<SocketAddr>,
    /// When the head arrived.
    pub started_at: Instant,
}

impl RequestHead {
    /// Route, or `other` when none matches. One of a closed list.
    #[must_use]
    pub(crate) fn route_or_other(&self) -> &str {
        self.route.as_deref().unwrap_or("other")
    }
}

/// Everything known of one request.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// Head. Written by the record layer.
    pub(crate) head: Arc<RequestHead>,
    /// Authenticated user. Written by the authentication layer, with the next two.
    pub(crate) user_id: Option<String>,
    /// Team of the user.
    pub(crate) team: Option<String>,
    /// Id of the token (`jti`).
    pub(crate) token_id: Option<String>,
    /// Name of the model, as the client sent it. Written by the handler, with the next two.
    pub(crate) requested_model: Option<String>,
    /// Whether the client requested a stream.
    pub(crate) streamed: Option<bool>,
    /// Client API: `messages`, `chat_completions` or `bedrock`.
    pub(crate) client_api: Option<&'static str>,
    /// Status of the response; `None` when none was sent. Written by the record layer.
    pub status: Option<StatusCode>,
    /// Error that the client was sent, in the response or in the stream. Written where the error is rendered.
    pub(crate) error: Option<ErrorRecord>,
    /// Time the proxy itself took, by [`OverheadPhase`]; `None` for a phase that did not happen.
    pub(crate) phases: [Option<Duration>; OverheadPhase::ALL.len()],
    /// Bytes of the request body. Written by the counting bodies, with the next three.
    pub(crate) request_bytes: u64,
    /// Bytes of the response body.
    pub(crate) response_bytes: u64,
    /// Time that the client was waited for.
    pub(crate) client_waited: Duration,
    /// Whether the response body was sent to its end.
    pub(crate) response_sent: bool,
    /// Bedrock's part. Written by the meter, whole, when metering ends.
    pub upstream: Option<UpstreamRecord>,
    /// Time that AWS was waited for outside of [`UpstreamRecord::waited`].
    pub(crate) upstream_waited: Duration,
    /// Time from the head to the end of the record. Set when the record is exported.
    pub duration: Duration,
}

/// Longest segment of a path that is kept.
const MAX_PATH_SEGMENT_CHARS: usize = 40;
/// Segments of a path that are kept.
const MAX_PATH_SEGMENTS: usize = 12;

/// Error that the client was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorRecord {
    /// Error type in Anthropic's words, e.g. `rate_limit_error`.
    pub(crate) kind: &'static str,
    /// Cause: `client`, `auth`, `quota`, `upstream` or `gateway`.
    pub(crate) class: &'static str,
    /// What `error_type` leaves open: the code of a known error of AWS (`E11`), or the failed check of a token (`revoked`).
    pub(crate) code: Option<&'static str>,
    /// JSON path of the value that is invalid, by [`loggable_path`].
    pub(crate) path: Option<String>,
}

/// A JSON path as it may be logged. Members of the APIs are lower-case words or camel case; another name, which may be
/// content, is replaced.
#[must_use]
pub(crate) fn loggable_path(path: &str) -> String {
    let is_plain = |segment: &str| {
        let is_index = segment.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = segment.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        !segment.is_empty() && segment.len() <= MAX_PATH_SEGMENT_CHARS && (is_index || is_name)
    };
    let segments = path.split('.').take(MAX_PATH_SEGMENTS);
    segments.map(|segment| if is_plain(segment) { segment } else { "*" }).collect::<Vec<_>>().join(".")
}

/// Bedrock's part of a request: attempts, timings, usage, charge and outcome.
///
/// Calls that invoke no model (CountTokens, the control plane) fill in only what applies to them; without `started_at`
/// they are logged, but neither counted nor exported as a span.
#[derive(Clone, Debug, Default)]
pub struct UpstreamRecord {
    /// Upstream API: `converse`, `invoke` or `messages`.
    pub upstream_api: Option<&'static str>,
    /// Model id sent to AWS.
    pub model_id: Option<String>,
    /// Foundation model, or the model id where that is not known. A label of metrics.
    pub foundation_model: String,
    /// Region the request was sent to. A label of metrics.
    pub region: String,
    /// Host the request was sent to.
    pub host: String,
    /// Every attempt, in order, the last included.
    pub attempts: Vec<Attempt>,
    /// Sends after a backoff; a send with refreshed credentials or as a fallback is none.
    pub retries: u32,
    /// Whether the last attempt failed before its first event, so that no response followed.
    pub gave_up: bool,
    /// When the first attempt was sent.
    pub started_at: Option<Instant>,
    /// When the first event arrived.
    pub first_token_at: Option<Instant>,
    /// When the response ended, after a first event.
    pub ended_at: Option<Instant>,
    /// Error that interrupted the response after its first event.
    pub interrupted_by: Option<&'static str>,
    /// Whether the client left before the response ended.
    pub detached: bool,
    /// Notices about the request and the response.
    pub notices: usize,
    /// Usage that Bedrock reported.
    pub usage: Option<Usage>,
    /// Stop reason in Anthropic's words.
    pub stop_reason: Option<String>,
    /// How the response ended; `None` without a first event.
    pub outcome: Option<Outcome>,
    /// What was charged, once settled.
    pub charge: Option<Charge>,
    /// Time that AWS was waited for.
    pub waited: Duration,
    /// Bytes of text that were delivered.
    pub delivered_bytes: u64,
}

/// One send to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Outcome of an attempt that failed before its first event, out of a closed list, e.g. `throttled`. Read for every
    /// attempt but the last, and for the last when the proxy gave up.
    pub outcome: &'static str,
    /// `x-amzn-requestid` of the response.
    pub aws_request_id: Option<String>,
}

/// Copy of what was charged for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Tokens that were charged.
    pub usage: Usage,
    /// Cost in nano-dollars.
    pub cost_nano_usd: i64,
    /// Nano-dollars that the prompt would have cost more without the tokens read from the cache.
    pub cache_savings_nano_usd: i64,
    /// Whether the price of the model is known.
    pub is_priced: bool,
    /// Whether the tokens are an estimate.
    pub estimated: bool,
}

/// Part of the time that the proxy itself takes for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverheadPhase {
    /// Authentication.
    Auth,
    /// Reservation of what the request may use.
    Quota,
    /// Translation of the request.
    Translate,
    /// Translation of the response, all chunks together.
    Stream,
    /// Settling: the price, and the entry in the WAL.
    Persist,
}

impl OverheadPhase {
    /// All phases, in the order of their discriminants.
    pub(crate) const ALL: [Self; 5] = [Self::Auth, Self::Quota, Self::Translate, Self::Stream, Self::Persist];

    /// Name of the phase, as a label.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Translate => "translate",
            Self::Stream => "stream",
            Self::Persist => "persist",
        }
    }
}

impl RequestRecord {
    /// Creates the record of a request of which only the head is known.
    #[must_use]
    pub fn new(head: Arc<RequestHead>) -> Self {
        Self {
            head,
            user_id: None,
            team: None,
            token_id: None,
            requested_model: None,
            streamed: None,
            client_api: None,
            status: None,
            error: None,
            phases: [None; OverheadPhase::ALL.len()],
            request_bytes: 0,
            response_bytes: 0,
            client_waited: Duration::ZERO,
            response_sent: false,
            upstream: None,
            upstream_waited: Duration::ZERO,
            duration: Duration::ZERO,
        }
    }

    /// Adds `duration` to a phase.
    pub fn add_phase(&mut self, phase: OverheadPhase, duration: Duration) {
        if let Some(sum) = self.phases.get_mut(phase as usize) {
            *sum = Some(sum.unwrap_or_default() + duration);
        }
    }

    /// `finished`, `failed` or `cancelled`: as the upstream response ended, else by whether the response was sent.
    #[must_use]
    pub(crate) fn outcome(&self) -> &'static str {
        let upstream = self.upstream.as_ref();
        match upstream.and_then(|upstream| upstream.outcome) {
            _ if self.error.is_some() => "failed",
            _ if upstream.is_some_and(|upstream| upstream.detached) => "cancelled",
            Some(Outcome::Failed) => "failed",
            Some(Outcome::Cancelled) => "cancelled",
            Some(Outcome::Finished) => "finished",
            None if self.response_sent => "finished",
            None => "cancelled",
        }
    }

    /// Time that AWS was waited for; `None` when nothing was sent to AWS.
    #[must_use]
    pub(crate) fn upstream_time(&self) -> Option<Duration> {
        let upstream = self.upstream.as_ref();
        let waited = self.upstream_waited + upstream.map_or(Duration::ZERO, |upstream| upstream.waited);
        let is_sent = upstream.is_some_and(|upstream| upstream.started_at.is_some());
        (is_sent || waited > Duration::ZERO).then_some(waited)
    }

    /// Time that neither AWS nor the client took.
    #[must_use]
    pub(crate) fn overhead(&self) -> Duration {
        let waited_for_aws = self.upstream_time().unwrap_or_default();
        self.duration.saturating_sub(waited_for_aws).saturating_sub(self.client_waited)
    }
}

impl UpstreamRecord {
    /// Attempts that were followed by another.
    #[must_use]
    pub(crate) fn repeated_attempts(&self) -> &[Attempt] {
        self.attempts.split_last().map_or(&[], |(_, repeated)| repeated)
    }

    /// Outcome of the last attempt, out of a closed list: `ok`, or the reason why not. `None` when nothing was sent.
    #[must_use]
    pub(crate) fn final_outcome(&self) -> Option<&'static str> {
        self.started_at?;
        Some(match self.outcome {
            _ if self.gave_up => self.attempts.last().map_or("broken", |attempt| attempt.outcome),
            Some(Outcome::Finished) => "ok",
            Some(Outcome::Failed) => self.interrupted_by.unwrap_or("broken"),
            Some(Outcome::Cancelled) | None => "cancelled",
        })
    }

    /// Final outcome that is an error.
    #[must_use]
    pub(crate) fn final_error(&self) -> Option<&'static str> {
        self.final_outcome().filter(|outcome| *outcome != "ok")
    }

    /// Time from the first attempt to the first event.
    #[must_use]
    pub(crate) fn time_to_first_token(&self) -> Option<Duration> {
        Some(self.first_token_at?.saturating_duration_since(self.started_at?))
    }

    /// `x-amzn-requestid` of the latest attempt that has one.
    #[must_use]
    pub(crate) fn aws_request_id(&self) -> Option<&str> {
        self.attempts.iter().rev().find_map(|attempt| attempt.aws_request_id.as_deref())
    }

    /// Output tokens of a response that finished.
    #[must_use]
    pub(crate) fn finished_output_tokens(&self) -> Option<u64> {
        let usage = self.usage.filter(|_| self.outcome == Some(Outcome::Finished))?;
        Some(usage.output_tokens)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::HeaderMap;

    use super::*;

    /// Record of a `POST /v1/messages` that has just arrived.
    pub(crate) fn record() -> RequestRecord {
        RequestRecord::new(Arc::new(RequestHead {
            request_id: RequestId::generate(),
            client_request_id: None,
            trace: TraceContext::from_headers(&HeaderMap::new()),
            method: Method::POST,
            path: "/v1/messages".to_owned(),
            route: Some("/v1/messages".to_owned()),
            user_agent: UserAgent { name: "curl", version: None },
            session_id: None,
            peer: None,
            started_at: Instant::now(),
        }))
    }

    /// Upstream record of model `m` in `us-east-1` by Converse, with these outcomes of attempts.
    pub(crate) fn upstream(attempts: &[&'static str]) -> UpstreamRecord {
        let attempt = |outcome: &&'static str| Attempt { outcome, aws_request_id: None };
        UpstreamRecord {
            upstream_api: Some("converse"),
            foundation_model: "m".to_owned(),
            region: "us-east-1".to_owned(),
            attempts: attempts.iter().map(attempt).collect(),
            started_at: Some(Instant::now()),
            outcome: Some(Outcome::Finished),
            usage: Some(Usage { output_tokens: 101, ..Usage::default() }),
            ..UpstreamRecord::default()
        }
    }

    #[test]
    fn outcome_is_decided_by_error_then_client_then_upstream() {
        let mut record = record();
        assert_eq!(record.outcome(), "cancelled", "no response was sent");
        record.response_sent = true;
        assert_eq!(record.outcome(), "finished");
        for (outcome, expected) in
            [(Outcome::Finished, "finished"), (Outcome::Failed, "failed"), (Outcome::Cancelled, "cancelled")]
        {
            record.upstream = Some(UpstreamRecord { outcome: Some(outcome), ..upstream(&["ok"]) });
            assert_eq!(record.outcome(), expected);
        }
        record.upstream = Some(UpstreamRecord { detached: true, ..upstream(&["ok"]) });
        assert_eq!(record.outcome(), "cancelled");
        record.error = Some(ErrorRecord { kind: "api_error", class: "upstream", code: None, path: None });
        assert_eq!(record.outcome(), "failed");
    }

    #[test]
    fn logged_path_has_no_names_of_the_client() {
        for (path, logged) in [
            ("messages.1.content.0.source", "messages.1.content.0.source"),
            ("inferenceConfig.maxTokens", "inferenceConfig.maxTokens"),
            ("tools.0.input_schema.my key.x-1", "tools.0.input_schema.*.*"),
            ("eyJhbGciOiJIUzI1NiJ9", "*"),
        ] {
            assert_eq!(loggable_path(path), logged);
        }
        assert!(loggable_path(&"a.".repeat(1000)).len() < 50);
    }

    #[test]
    fn final_outcome_is_that_of_the_last_attempt() {
        let finished = upstream(&["throttled", "ok"]);
        assert_eq!(finished.final_outcome(), Some("ok"));
        assert_eq!(finished.repeated_attempts().len(), 1);
        let denied = UpstreamRecord { gave_up: true, outcome: None, ..upstream(&["validation", "access"]) };
        assert_eq!(denied.final_outcome(), Some("access"));
        let interrupted = UpstreamRecord { outcome: Some(Outcome::Failed), ..upstream(&["ok"]) };
        assert_eq!(interrupted.final_outcome(), Some("broken"));
        let timeout = UpstreamRecord { interrupted_by: Some("timeout"), ..interrupted };
        assert_eq!(timeout.final_outcome(), Some("timeout"));
        let waiting = UpstreamRecord { outcome: None, ..upstream(&["throttled"]) };
        assert_eq!(waiting.final_outcome(), Some("cancelled"));
        assert_eq!(UpstreamRecord::default().final_outcome(), None);
        assert!(UpstreamRecord::default().repeated_attempts().is_empty());
    }

    #[test]
    fn overhead_excludes_waiting_for_aws_and_client() {
        let mut record = record();
        assert_eq!((record.upstream_time(), record.overhead()), (None, Duration::ZERO));
        record.duration = Duration::from_millis(100);
        record.client_waited = Duration::from_millis(30);
        record.upstream_waited = Duration::from_millis(30);
        record.upstream = Some(UpstreamRecord { waited: Duration::from_millis(5), ..upstream(&["ok"]) });
        assert_eq!(record.upstream_time(), Some(Duration::from_millis(35)));
        assert_eq!(record.overhead(), Duration::from_millis(35));
        record.duration = Duration::from_millis(1);
        assert_eq!(record.overhead(), Duration::ZERO);
    }

    #[test]
    fn aws_request_id_is_the_latest() {
        let mut upstream = upstream(&["throttled", "validation", "unreachable"]);
        assert_eq!(upstream.aws_request_id(), None);
        upstream.attempts[0].aws_request_id = Some("a".to_owned());
        upstream.attempts[1].aws_request_id = Some("b".to_owned());
        assert_eq!(upstream.aws_request_id(), Some("b"));
    }
}
