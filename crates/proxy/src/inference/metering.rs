//! Metering: reserves what a request may cost before it is sent, and settles once.
//!
//! The usage that Bedrock reports is charged. Without a report, an estimate that is not too low is charged and marked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use protocol::anthropic::event_sink::EventSink;
use protocol::anthropic::{Delta, Event, Usage};
use protocol::apis::ClientApi;
use protocol::translate::{Decoder, Outcome, Progress, StreamSummary};
use serde_json::json;
use tokio::time::Instant;

use super::request::{InferenceRequest, UpstreamRequest};
use super::{Inference, InferenceError};
use crate::auth::{Authenticated, Caller};
use crate::bedrock::{UpstreamError, attempt_outcome};
use crate::catalog::{Catalog, Pricing, ResolvedModel};
use crate::clock::Stopwatch;
use crate::ids::RequestId;
use crate::quota::{AdmitError, Grant, LimitStatus, Period, QuotaSubject, TokenEstimate};
use crate::store::UsageRecord;
use crate::telemetry::RecordHandle;
use crate::telemetry::record::{Attempt, Charge, OverheadPhase, UpstreamRecord};

/// Status and outcome of a request whose process was killed, in its usage record.
const KILLED_STATUS: i64 = 500;
const KILLED_OUTCOME: &str = "killed";
/// Bytes of text that make a token, at the least: an estimate of what was delivered is not too low.
const MIN_BYTES_PER_TOKEN: u64 = 2;
/// JSON around the text of a delta, in bytes.
const DELTA_OVERHEAD_BYTES: u64 = 80;

/// The meter of one request: the only owner of its grant. Dropped before it has settled, it charges what the request
/// may have cost by then.
#[derive(Debug)]
pub(super) struct Meter {
    /// `None` once settled.
    grant: Option<Grant>,
    pricing: Pricing,
    /// An inference profile whose model was not known when the request began, with what is needed to price it later.
    unresolved: Option<Box<(Arc<Catalog>, ResolvedModel, String)>>,
    estimate: TokenEstimate,
    state: State,
    upstream: UpstreamRecord,
    record: RecordHandle,
    requested_model: String,
    client_api: ClientApi,
    waited: Stopwatch,
    decoding: Duration,
    idle_timeout: Duration,
    /// Whether the operation streams: one that does not may have written all of its response in silence.
    is_streamed: bool,
    /// Keeps the permit of the request while Bedrock writes.
    _caller: Arc<Authenticated>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was sent, or the last attempt failed.
    Idle,
    /// An attempt has begun and has neither an event nor an error.
    Attempt(Instant),
    /// A whole response has arrived and is too large to be read.
    Unread,
    /// The response has begun.
    Response,
}

/// A sink that counts the bytes of text on their way to another.
struct CountingSink<'a> {
    sink: &'a mut dyn EventSink,
    bytes: &'a mut u64,
}

impl EventSink for CountingSink<'_> {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::ContentBlockDelta { delta, .. } = event {
            *self.bytes += delta_len(delta);
        }
        self.sink.event(event);
    }

    fn raw(&mut self, name: &str, json: &str) {
        if name == "content_block_delta" {
            *self.bytes += (json.len() as u64).saturating_sub(DELTA_OVERHEAD_BYTES);
        }
        self.sink.raw(name, json);
    }
}

fn delta_len(delta: &Delta<'_>) -> u64 {
    let text = match delta {
        Delta::TextDelta { text } => text,
        Delta::ThinkingDelta { thinking } => thinking,
        Delta::InputJsonDelta { partial_json } => partial_json,
        Delta::SignatureDelta { .. } | Delta::CitationsDelta { .. } => return 0,
    };
    text.len() as u64
}

impl Inference {
    /// Reserves what `upstream` may cost within every limit of the caller.
    ///
    /// # Errors
    /// When a limit does not allow it, or cannot be checked.
    pub(super) async fn admit(
        &self,
        request: &InferenceRequest,
        upstream: &UpstreamRequest,
    ) -> Result<Meter, InferenceError> {
        let caller = &request.caller.caller;
        let subject = quota_subject(caller);
        let is_limited = subject.is_limited();
        let admitted = self.quota.admit(subject, request.id().as_str(), upstream.estimate).await;
        let (scope, decision, reason) = decision(&admitted, is_limited);
        self.metrics.quota_decided(scope, decision, reason);
        let grant = admitted?;
        let model = &request.model;
        let foundation_model = model.foundation_model.as_ref().unwrap_or(&model.model_id);
        Ok(Meter {
            grant: Some(grant),
            pricing: upstream.pricing.clone(),
            unresolved: model.is_unresolved_profile().then(|| {
                Box::new((Arc::clone(&self.catalog), model.clone(), self.bedrock.region().to_owned()))
            }),
            estimate: upstream.estimate,
            state: State::Idle,
            upstream: UpstreamRecord {
                foundation_model: foundation_model.clone(),
                region: upstream.target.region().to_owned(),
                ..UpstreamRecord::default()
            },
            record: request.record.clone(),
            requested_model: model.requested_model.clone(),
            client_api: request.client_api,
            waited: Stopwatch::default(),
            decoding: Duration::ZERO,
            idle_timeout: self.config.idle_timeout,
            is_streamed: upstream.operation.is_streamed(),
            _caller: Arc::clone(&request.caller),
        })
    }
}

/// The user and team that `caller` is charged to.
pub(crate) fn quota_subject(caller: &Caller) -> QuotaSubject {
    QuotaSubject {
        user_id: caller.user_id.clone(),
        team: caller.team.clone(),
        user_limit: caller.user_limit,
        team_limit: caller.team_limit,
        token_limit: caller.jti.clone().zip(caller.token_limit.clone()),
    }
}

/// The decision of an admission, for metrics: whose limit, what, and why.
fn decision(
    admitted: &Result<Grant, AdmitError>,
    is_limited: bool,
) -> (&'static str, &'static str, &'static str) {
    match admitted {
        Ok(grant) => match grant.most_used() {
            Some((status, _)) => (status.scope.as_str(), "allowed", "within_limit"),
            None if is_limited => ("none", "allowed", "database_unavailable"),
            None => ("none", "allowed", "unlimited"),
        },
        Err(AdmitError::LimitExceeded { status, .. }) => (status.scope.as_str(), "denied", "limit"),
        Err(AdmitError::StoreUnavailable(scope)) => (scope.as_str(), "denied", "database_unavailable"),
        Err(AdmitError::StoreBusy | AdmitError::QueueFull) => ("none", "denied", "busy"),
        Err(AdmitError::ShuttingDown) => ("none", "denied", "shutting_down"),
    }
}

impl Meter {
    /// The limit with the largest used part, when the request was admitted.
    pub(super) fn most_used_limit(&self) -> Option<(LimitStatus, Period)> {
        let (status, period) = self.grant.as_ref()?.most_used()?;
        Some((status.clone(), period))
    }

    /// The tokens reserved; `None` without a limit.
    pub(super) fn reserved(&self) -> Option<i64> {
        self.grant.as_ref()?.most_used().map(|_| self.estimate.total())
    }

    pub(super) fn request_id(&self) -> &RequestId {
        self.record.request_id()
    }

    pub(super) fn aws_request_id(&self) -> Option<&str> {
        self.upstream.aws_request_id()
    }

    /// Counts from here on as sent: AWS may bill it.
    pub(super) fn begin_attempt(&mut self, request: &UpstreamRequest) {
        let now = Instant::now();
        self.state = State::Attempt(now);
        let upstream = &mut self.upstream;
        upstream.started_at.get_or_insert(now);
        upstream.upstream_api = Some(request.operation.api());
        upstream.model_id = Some(request.model_id.clone());
        upstream.host = request.target.host().to_owned();
        upstream.notices = request.notices.len();
        self.pricing.clone_from(&request.pricing);
        upstream.attempts.push(Attempt { outcome: "ok", aws_request_id: None });
        self.is_streamed = request.operation.is_streamed();
        if self.reserved().is_none() {
            self.estimate = request.estimate;
        }
        self.write_estimate();
    }

    /// Writes what the attempt may cost, for the next process, should this one be killed.
    fn write_estimate(&mut self) {
        let Some(grant) = &mut self.grant else { return };
        let usage = worst_case(self.estimate, None);
        let (rates, charged_tokens) =
            (self.pricing.rates(&usage), charged_tokens(&usage, grant.cache_read_percent()));
        let (upstream, head) = (&self.upstream, self.record.head());
        grant.begin(|record| {
            record.attempt = i64::from(upstream.retries) + 1;
            record.session_id.clone_from(&head.session_id);
            record.model.clone_from(&upstream.foundation_model);
            record.model_requested = Some(self.requested_model.clone());
            record.model_upstream.clone_from(&upstream.model_id);
            record.route = upstream.upstream_api.map(str::to_owned);
            record.client_api = Some(self.client_api.as_str().to_owned());
            record.client = Some(head.user_agent.name.to_owned());
            record.status = KILLED_STATUS;
            KILLED_OUTCOME.clone_into(&mut record.outcome);
            record.input_tokens = tokens(usage.input_tokens);
            record.output_tokens = tokens(usage.output_tokens);
            record.charged_tokens = charged_tokens;
            record.cost = rates.cost(&usage);
            record.priced = rates.known;
            record.rates = json!(rates);
            record.estimated = true;
        });
    }

    /// The attempt has failed before its first event: AWS does not bill it, unless it sent more than can be read.
    pub(super) fn end_attempt(&mut self, error: &UpstreamError) {
        self.state = if error.is_too_large() { State::Unread } else { State::Idle };
        if let Some(grant) = self.grant.as_mut().filter(|_| self.state == State::Idle) {
            grant.end();
        }
        if let Some(attempt) = self.upstream.attempts.last_mut() {
            attempt.outcome = error.outcome();
            if let Some(id) = error.request_id() {
                attempt.aws_request_id = Some(id.to_owned());
            }
        }
    }

    /// Waits before a retry.
    pub(super) async fn retry_after(&mut self, delay: Duration) {
        self.upstream.retries += 1;
        self.wait(tokio::time::sleep(delay)).await;
    }

    /// Waits for AWS, and counts how long.
    pub(super) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.waited.start();
        let output = future.await;
        self.waited.stop();
        output
    }

    /// Counts the time until AWS sends more.
    pub(super) fn waits_for_upstream(&mut self, is_pending: bool) {
        if is_pending {
            self.waited.start();
        } else {
            self.waited.stop();
        }
    }

    pub(super) fn set_aws_request_id(&mut self, id: Option<String>) {
        if let Some(attempt) = self.upstream.attempts.last_mut() {
            attempt.aws_request_id = id;
        }
    }

    /// The first event has arrived, or, for the Bedrock API, the head.
    pub(super) fn begin_response(&mut self, has_event: bool) {
        self.state = State::Response;
        self.upstream.first_token_at = has_event.then(Instant::now);
    }

    /// Decodes `bytes` into `sink`; counts the time and the bytes delivered.
    pub(super) fn decode(
        &mut self,
        decoder: &mut Decoder,
        bytes: &[u8],
        sink: &mut dyn EventSink,
    ) -> Progress {
        let begun = Instant::now();
        let mut sink = CountingSink { sink, bytes: &mut self.upstream.delivered_bytes };
        let progress = decoder.push(bytes, &mut sink);
        if let Decoder::Passthrough(observer) = decoder {
            self.upstream.delivered_bytes = observer.output_bytes();
        }
        self.decoding += begun.elapsed();
        progress
    }

    /// The client has left.
    pub(super) fn detach(&mut self) {
        self.upstream.detached = true;
    }

    /// Settles a response that has begun: `error` is what the client was sent inside it.
    pub(super) fn finish(&mut self, summary: StreamSummary, error: Option<&InferenceError>) {
        let is_unread = matches!(self.state, State::Unread) && summary.stop_reason.is_none();
        let (usage, is_estimate) = if is_unread {
            (worst_case(self.estimate, summary.usage), true)
        } else {
            charged_usage(&summary, self.upstream.delivered_bytes, self.estimate)
        };
        self.upstream.ended_at = Some(Instant::now());
        self.upstream.outcome = Some(summary.outcome);
        self.upstream.usage = summary.usage;
        self.upstream.stop_reason = summary.stop_reason;
        self.upstream.notices += summary.notices.len();
        if let Some(error) = error {
            self.upstream.interrupted_by = Some(attempt_outcome(error.to_error().kind));
            self.record.set_error(error.to_record());
        }
        self.record.add_phase(OverheadPhase::Stream, self.decoding);
        self.settle(usage, is_estimate, None);
    }

    /// Records that a part of the response was not read, because it is too large.
    pub(super) fn set_unread(&mut self) {
        self.state = State::Unread;
    }

    /// Settles a request whose last attempt failed: nothing is charged that AWS does not bill.
    pub(super) fn give_up(mut self, error: &InferenceError) {
        self.upstream.gave_up = true;
        self.record.set_error(error.to_record());
        let status = Some(error.status(self.client_api));
        match self.state {
            State::Unread => self.settle(worst_case(self.estimate, None), true, status),
            _ => self.settle(Usage::default(), false, status),
        }
    }

    /// Settles. Does nothing the second time. `error_status` is the status of an error that is about to be sent.
    fn settle(&mut self, usage: Usage, is_estimate: bool, error_status: Option<u16>) {
        let Some(grant) = self.grant.take() else { return };
        self.upstream.waited += self.waited.take();
        let begun = Instant::now();
        if let Some((catalog, model, region)) = self.unresolved.as_deref()
            && let Some((foundation_model, pricing)) = catalog.pricing_since(model, region)
        {
            // The look-up has ended while the request ran.
            (self.upstream.foundation_model, self.pricing) = (foundation_model, pricing);
        }
        let rates = self.pricing.rates(&usage);
        let cost_nano_usd = rates.cost(&usage);
        let charge = Charge {
            usage,
            cost_nano_usd,
            cache_savings_nano_usd: rates.cache_savings(&usage),
            // A request without tokens costs nothing at any price: a misspelt model is no model without a price.
            is_priced: rates.known || cost_nano_usd == 0,
            estimated: is_estimate,
        };
        self.upstream.charge = Some(charge);
        let upstream = std::mem::take(&mut self.upstream);
        let started_at = self.record.head().started_at;
        let elapsed = |at: Instant| tokens(milliseconds(at.saturating_duration_since(started_at)));
        let attempt = i64::from(upstream.retries) + 1;
        let filled = UsageRecord {
            attempt,
            session_id: self.record.head().session_id.clone(),
            model: upstream.foundation_model.clone(),
            model_requested: Some(std::mem::take(&mut self.requested_model)),
            model_upstream: upstream.model_id.clone(),
            route: upstream.upstream_api.map(str::to_owned),
            client_api: Some(self.client_api.as_str().to_owned()),
            client: Some(self.record.head().user_agent.name.to_owned()),
            stop_reason: upstream.stop_reason.clone(),
            input_tokens: tokens(usage.input_tokens),
            output_tokens: tokens(usage.output_tokens),
            cache_read_tokens: tokens(usage.cache_read_input_tokens),
            cache_write_tokens: tokens(usage.cache_creation_input_tokens),
            cache_write_1h_tokens: tokens(usage.cache_creation.ephemeral_1h_input_tokens),
            cost: charge.cost_nano_usd,
            priced: charge.is_priced,
            rates: json!(rates),
            estimated: is_estimate,
            duration_ms: elapsed(begun),
            ttft_ms: upstream.first_token_at.map(elapsed),
            ..UsageRecord::default()
        };
        // Last, so that the record's outcome counts what Bedrock's part came to.
        self.record.set_upstream(upstream);
        let (status, outcome) = self.record.status_and_outcome();
        let status = status.or(error_status).unwrap_or(200);
        let charged_tokens = charged_tokens(&usage, grant.cache_read_percent());
        grant.settle(|record| {
            let UsageRecord { id, request_id, user_id, team, jti, period, at, .. } = std::mem::take(record);
            let (status, outcome) = (i64::from(status), outcome.to_owned());
            let owner = UsageRecord { id, request_id, user_id, team, jti, period, at, ..filled };
            *record = UsageRecord { charged_tokens, status, outcome, ..owner };
        });
        self.record.add_phase(OverheadPhase::Persist, begun.elapsed());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        match self.state {
            State::Idle | State::Unread | State::Response => self.settle(Usage::default(), false, None),
            // Sent, and no event came in time: a stream that has not begun has cost its prompt.
            State::Attempt(began) if self.is_streamed && began.elapsed() >= self.idle_timeout => {
                self.upstream.gave_up = true;
                self.set_outcome("timeout");
                self.settle(prompt_usage(self.estimate), true, None);
            }
            // Sent and given up: what Bedrock goes on to write is not known.
            State::Attempt(_) => self.settle(worst_case(self.estimate, None), true, None),
        }
    }
}

impl Meter {
    fn set_outcome(&mut self, outcome: &'static str) {
        if let Some(attempt) = self.upstream.attempts.last_mut() {
            attempt.outcome = outcome;
        }
    }
}

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tokens that count towards limits: input, cache writes, output, and a percentage of cache reads.
fn charged_tokens(usage: &Usage, cache_read_percent: u32) -> i64 {
    let read = (u128::from(usage.cache_read_input_tokens) * u128::from(cache_read_percent)).div_ceil(100);
    let full = [usage.input_tokens, usage.cache_creation_input_tokens, usage.output_tokens];
    let sum = full.iter().map(|tokens| u128::from(*tokens)).sum::<u128>() + read;
    i64::try_from(sum).unwrap_or(i64::MAX)
}

/// The usage to charge for a response that has begun, and whether it is an estimate.
fn charged_usage(summary: &StreamSummary, delivered_bytes: u64, estimate: TokenEstimate) -> (Usage, bool) {
    match (summary.usage, summary.outcome) {
        (Some(usage), Outcome::Finished) => (usage, false),
        // The stop reason comes with the final usage.
        (Some(usage), _) if summary.stop_reason.is_some() => (usage, false),
        (usage, Outcome::Cancelled) => (worst_case(estimate, usage), true),
        (usage, Outcome::Finished | Outcome::Failed) => {
            (delivered_estimate(delivered_bytes, estimate, usage), true)
        }
    }
}

/// The most that the request may have cost: Bedrock may have written all that it was allowed to.
fn worst_case(estimate: TokenEstimate, known: Option<Usage>) -> Usage {
    let output_tokens = u64::try_from(estimate.output_tokens).unwrap_or(0);
    Usage { output_tokens, ..known.unwrap_or_else(|| prompt_usage(estimate)) }
}

/// What was delivered before Bedrock failed.
fn delivered_estimate(bytes: u64, estimate: TokenEstimate, known: Option<Usage>) -> Usage {
    let usage = known.unwrap_or_else(|| prompt_usage(estimate));
    let most = u64::try_from(estimate.output_tokens).unwrap_or(0);
    Usage { output_tokens: usage.output_tokens.max(bytes.div_ceil(MIN_BYTES_PER_TOKEN).min(most)), ..usage }
}

fn prompt_usage(estimate: TokenEstimate) -> Usage {
    Usage { input_tokens: u64::try_from(estimate.input_tokens).unwrap_or(0), ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESTIMATE: TokenEstimate =
        TokenEstimate { input_tokens: 1000, min_input_tokens: 1000, output_tokens: 500 };

    fn charged(
        outcome: Outcome,
        usage: Option<Usage>,
        stop_reason: Option<&str>,
        delivered_bytes: u64,
    ) -> (u64, u64, bool) {
        let stop_reason = stop_reason.map(str::to_owned);
        let summary = StreamSummary { outcome, usage, stop_reason, notices: Vec::new() };
        let (usage, is_estimate) = charged_usage(&summary, delivered_bytes, ESTIMATE);
        (usage.input_tokens, usage.output_tokens, is_estimate)
    }

    #[test]
    fn reported_usage_is_charged_for_every_outcome() {
        let usage = Some(Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() });
        for outcome in [Outcome::Finished, Outcome::Failed, Outcome::Cancelled] {
            assert_eq!(charged(outcome, usage, Some("end_turn"), 7), (10, 20, false));
        }
    }

    #[test]
    fn cancelled_response_is_charged_its_worst_case() {
        let begun = Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() });
        assert_eq!(charged(Outcome::Cancelled, None, None, 7), (1000, 500, true));
        assert_eq!(charged(Outcome::Cancelled, begun, None, 7), (10, 500, true));
    }

    #[test]
    fn percentage_of_cache_reads_counts_towards_limits() {
        let usage = Usage {
            input_tokens: 1,
            cache_creation_input_tokens: 10,
            cache_read_input_tokens: 1001,
            output_tokens: 100,
            ..Usage::default()
        };
        assert_eq!(charged_tokens(&usage, 0), 111);
        assert_eq!(charged_tokens(&usage, 10), 111 + 101);
        let huge = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
        assert_eq!(charged_tokens(&huge, 0), i64::MAX);
    }

    #[test]
    fn interrupted_response_is_charged_what_was_delivered() {
        let begun = Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() });
        assert_eq!(charged(Outcome::Failed, begun, None, 7), (10, 4, true));
        assert_eq!(charged(Outcome::Failed, None, None, 0), (1000, 0, true));
        assert_eq!(charged(Outcome::Finished, None, Some("end_turn"), 8), (1000, 4, true));
    }
}
