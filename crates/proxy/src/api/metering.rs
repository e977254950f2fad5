//! What a request came to: the receipt of its grant, made of what is known when the answer ends.
//!
//! What Bedrock says counts. When it did not come to say it, what was delivered is guessed high, and the receipt says
//! that it is a guess.

use http::HeaderMap;
use protocol::anthropic::{Request, Usage};
use protocol::translate::{Outcome, StreamSummary};
use serde_json::json;
use tokio::time::Instant;

use super::access_log::{Entry, Fields};
use super::error::ApiError;
use super::limits;
use crate::app::App;
use crate::auth::Caller;
use crate::catalog::{Pricing, ResolvedModel};
use crate::estimate::{self, Tokenizer};
use crate::quota::{AdmitError, Grant, QuotaSubject, TokenEstimate};
use crate::store::UsageRecord;
use crate::telemetry::metrics::{Metrics, Spent};
use crate::telemetry::record::OverheadPhase;
use crate::telemetry::user_agent;

/// Letters that make a token, at the least.
const LETTERS: u64 = 2;

/// A grant, and what is needed to price it.
#[derive(Debug)]
pub struct Meter {
    grant: Grant,
    tariff: Pricing,
    /// The foundation model, where it is known; else what was asked for.
    model: String,
    session_id: Option<String>,
}

/// What an answer was charged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Charged {
    /// The tokens.
    pub usage: Usage,
    /// What they cost, in nano-dollars.
    pub cost: i64,
    /// Whether the tokens are a guess.
    pub estimated: bool,
}

impl Meter {
    /// A meter for an answer of `model` at `tariff`.
    #[must_use]
    pub fn new(grant: Grant, tariff: Pricing, model: String, session_id: Option<String>) -> Self {
        Self { grant, tariff, model, session_id }
    }

    /// Settles the grant with what `fields` say. `duration_ms` and `ttft_ms` are milliseconds since the request came.
    pub(super) fn settle(
        self,
        fields: &Fields,
        metrics: &Metrics,
        duration_ms: u64,
        ttft_ms: Option<u64>,
    ) -> Charged {
        let Self { grant, tariff, model, session_id } = self;
        let mut settled = Charged::default();
        let (need, cache_read_percent) = (grant.estimate(), grant.cache_read_percent());
        grant.settle(|receipt| {
            let (usage, estimated) = spent(fields, need);
            let rates = tariff.rates(&usage);
            let charged = charged(&usage, cache_read_percent);
            receipt.attempt = i64::from(fields.retries) + 1;
            receipt.session_id = session_id;
            receipt.model = model;
            receipt.model_requested.clone_from(&fields.model_requested);
            receipt.model_upstream.clone_from(&fields.model_upstream);
            receipt.route = fields.route.map(str::to_owned);
            receipt.status = fields.status.map_or(200, |status| i64::from(status.as_u16()));
            fields.outcome().clone_into(&mut receipt.outcome);
            receipt.stop_reason = fields.summary.as_ref().and_then(|summary| summary.stop_reason.clone());
            receipt.input_tokens = tokens(usage.input_tokens);
            receipt.output_tokens = tokens(usage.output_tokens);
            receipt.cache_read_tokens = tokens(usage.cache_read_input_tokens);
            receipt.cache_write_tokens = tokens(usage.cache_creation_input_tokens);
            receipt.cache_write_1h_tokens = tokens(usage.cache_creation.ephemeral_1h_input_tokens);
            receipt.charged_tokens = charged;
            receipt.cost = rates.cost(&usage);
            receipt.priced = rates.known;
            receipt.rates = json!(rates);
            receipt.estimated = estimated;
            receipt.duration_ms = tokens(duration_ms);
            receipt.ttft_ms = ttft_ms.map(tokens);
            count(metrics, receipt, rates.cache_savings(&usage));
            settled = Charged { usage, cost: receipt.cost, estimated };
        });
        settled
    }
}

/// What a request may need: its prompt, guessed high, and all the tokens its answer may have.
pub(super) fn need(app: &App, request: &Request<'_>, target: &ResolvedModel) -> TokenEstimate {
    let tokenizer = Tokenizer::for_model(target.foundation_model.as_deref().unwrap_or(&target.model_id));
    let wanted = request.max_tokens.unwrap_or(app.relay.options.default_max_tokens);
    let most = target.capabilities.max_output_tokens.unwrap_or(u64::MAX);
    TokenEstimate {
        input_tokens: tokens(estimate::tokens(request, tokenizer)),
        output_tokens: tokens(wanted.min(most)),
    }
}

/// Admits a request and opens its meter. Returns what the answer is to say about limits.
///
/// # Errors
/// When a limit is in the way.
pub(super) async fn admit(
    app: &App,
    entry: &Entry,
    caller: &Caller,
    need: TokenEstimate,
    target: &ResolvedModel,
    headers: &HeaderMap,
) -> Result<HeaderMap, ApiError> {
    let payer = QuotaSubject {
        user_id: caller.user_id.clone(),
        team: caller.team.clone(),
        user_limit: caller.user_limit,
        team_limit: caller.team_limit,
    };
    let limited = payer.user_limit.is_some() || payer.team_limit.is_some();
    let begun = Instant::now();
    let admitted = app.quota.admit(payer, entry.request_id().as_str(), need).await;
    entry.took(OverheadPhase::Quota, begun.elapsed());
    let (scope, decision, reason) = decision(&admitted, limited);
    app.metrics.quota_decided(scope, decision, reason);
    let grant = admitted?;
    let mut limits = HeaderMap::new();
    limits::announce(&grant, &mut limits);
    let tariff = app.catalog.pricing(target, app.bedrock.region());
    let model = target.foundation_model.clone().unwrap_or_else(|| target.model_id.clone());
    let session = user_agent::session_id(headers);
    let region = app.metrics.region_label(app.bedrock.region_of(&target.model_id));
    let labels = (app.metrics.model_label(&model), region);
    entry.note(|fields| {
        fields.course.model = Some(labels);
        fields.meter = Some(Meter::new(grant, tariff, model, session));
    });
    Ok(limits)
}

/// What was decided, for counting: by whose limit, what, and why.
fn decision(
    admitted: &Result<Grant, AdmitError>,
    limited: bool,
) -> (&'static str, &'static str, &'static str) {
    match admitted {
        Ok(grant) => match grant.most_used() {
            Some((standing, _)) => (standing.scope.as_str(), "allowed", "within_limit"),
            None if limited => ("none", "allowed", "database_unavailable"),
            None => ("none", "allowed", "unlimited"),
        },
        Err(AdmitError::LimitExceeded { status, .. }) => (status.scope.as_str(), "denied", "limit"),
        Err(AdmitError::StoreUnavailable(scope)) => (scope.as_str(), "denied", "database_unavailable"),
        Err(AdmitError::StoreBusy) => ("none", "denied", "busy"),
        Err(AdmitError::ShuttingDown) => ("none", "denied", "shutting_down"),
    }
}

/// What a body in one of Bedrock's own languages may need; as [`need`], if it is Anthropic's inside.
pub(super) fn need_of_body(app: &App, body: &[u8], target: &ResolvedModel) -> TokenEstimate {
    if target.capabilities.claude
        && let Ok(request) = Request::parse(body)
        && request.messages.is_some()
        && request.max_tokens.is_some()
    {
        return need(app, &request, target);
    }
    let tokenizer = Tokenizer::for_model(target.foundation_model.as_deref().unwrap_or(&target.model_id));
    let (input, wanted) = estimate::body_tokens(body, tokenizer);
    let most = target.capabilities.max_output_tokens.unwrap_or(app.relay.options.default_max_tokens);
    TokenEstimate { input_tokens: tokens(input), output_tokens: tokens(wanted.unwrap_or(most).min(most)) }
}

fn count(metrics: &Metrics, receipt: &UsageRecord, saved: i64) {
    let UsageRecord { cache_write_tokens, cache_write_1h_tokens, .. } = *receipt;
    metrics.spent(&Spent {
        model: &receipt.model,
        team: receipt.team.as_deref(),
        user: &receipt.user_id,
        tokens: [
            ("input", receipt.input_tokens),
            ("output", receipt.output_tokens),
            ("cache_read", receipt.cache_read_tokens),
            ("cache_write_5m", cache_write_tokens.saturating_sub(cache_write_1h_tokens)),
            ("cache_write_1h", cache_write_1h_tokens),
        ],
        cost: receipt.cost,
        saved,
        priced: receipt.priced,
        estimated: receipt.estimated,
    });
}

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What counts against limits: input, cache writes, output, and a part of what was read from the cache.
fn charged(usage: &Usage, cache_read_percent: u32) -> i64 {
    let read = (u128::from(usage.cache_read_input_tokens) * u128::from(cache_read_percent)).div_ceil(100);
    let whole = [usage.input_tokens, usage.cache_creation_input_tokens, usage.output_tokens];
    let sum = whole.iter().map(|part| u128::from(*part)).sum::<u128>() + read;
    i64::try_from(sum).unwrap_or(i64::MAX)
}

/// What the answer took, and whether that is a guess.
fn spent(fields: &Fields, need: TokenEstimate) -> (Usage, bool) {
    let Some(summary) = &fields.summary else {
        // Refused before it began, or not even asked: that costs nothing. Asked and abandoned: nobody knows.
        let unknown = fields.asked && fields.error.is_none();
        return if unknown { (most(need, None), true) } else { (Usage::default(), false) };
    };
    let StreamSummary { outcome, usage, stop_reason, .. } = summary;
    match (usage, outcome) {
        (Some(usage), Outcome::Finished) => (*usage, false),
        // The stop reason comes with the last word about usage.
        (Some(usage), _) if stop_reason.is_some() => (*usage, false),
        (usage, Outcome::Cancelled) => (most(need, *usage), true),
        (usage, Outcome::Finished | Outcome::Failed) => (delivered(fields.said, need, *usage), true),
    }
}

/// The most that was allowed: whoever leaves early is charged by what Bedrock may have gone on to write.
fn most(need: TokenEstimate, known: Option<Usage>) -> Usage {
    let output_tokens = u64::try_from(need.output_tokens).unwrap_or(0);
    Usage { output_tokens, ..known.unwrap_or_else(|| prompt(need)) }
}

/// What was delivered before Bedrock failed.
fn delivered(said: u64, need: TokenEstimate, known: Option<Usage>) -> Usage {
    let usage = known.unwrap_or_else(|| prompt(need));
    let most = u64::try_from(need.output_tokens).unwrap_or(0);
    Usage { output_tokens: usage.output_tokens.max(said.div_ceil(LETTERS).min(most)), ..usage }
}

fn prompt(need: TokenEstimate) -> Usage {
    Usage { input_tokens: u64::try_from(need.input_tokens).unwrap_or(0), ..Usage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: TokenEstimate = TokenEstimate { input_tokens: 1000, output_tokens: 500 };

    fn after(
        outcome: Outcome,
        usage: Option<Usage>,
        stop_reason: Option<&str>,
        said: u64,
    ) -> (u64, u64, bool) {
        let stop_reason = stop_reason.map(str::to_owned);
        let summary = StreamSummary { outcome, usage, stop_reason, notices: Vec::new() };
        let fields = Fields { summary: Some(summary), said, asked: true, ..Fields::default() };
        let (usage, estimated) = spent(&fields, NEED);
        (usage.input_tokens, usage.output_tokens, estimated)
    }

    #[test]
    fn what_bedrock_said_counts_whatever_became_of_the_client() {
        let usage = Some(Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() });
        for outcome in [Outcome::Finished, Outcome::Failed, Outcome::Cancelled] {
            assert_eq!(after(outcome, usage, Some("end_turn"), 7), (10, 20, false));
        }
    }

    #[test]
    fn who_leaves_before_the_cost_is_known_is_charged_the_most_it_can_have_been() {
        let begun = Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() });
        assert_eq!(after(Outcome::Cancelled, None, None, 7), (1000, 500, true));
        assert_eq!(after(Outcome::Cancelled, begun, None, 7), (10, 500, true));
        let silent = Fields { asked: true, ..Fields::default() };
        assert!(spent(&silent, NEED).1);
    }

    #[test]
    fn an_answer_that_bedrock_broke_off_costs_at_least_what_was_delivered() {
        let begun = Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() });
        assert_eq!(after(Outcome::Failed, begun, None, 7), (10, 4, true));
        assert_eq!(after(Outcome::Failed, None, None, 0), (1000, 0, true));
        assert_eq!(after(Outcome::Finished, None, Some("end_turn"), 8), (1000, 4, true));
    }

    #[test]
    fn what_was_refused_costs_nothing() {
        let refused = Fields { asked: true, error: Some("rate_limit_error"), ..Fields::default() };
        for fields in [refused, Fields::default()] {
            assert_eq!(spent(&fields, NEED), (Usage::default(), false));
        }
    }

    #[test]
    fn a_part_of_what_was_read_from_the_cache_counts() {
        let usage = Usage {
            input_tokens: 1,
            cache_creation_input_tokens: 10,
            cache_read_input_tokens: 1001,
            output_tokens: 100,
            ..Usage::default()
        };
        assert_eq!(charged(&usage, 0), 111);
        assert_eq!(charged(&usage, 10), 111 + 101);
        let huge = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
        assert_eq!(charged(&huge, 0), i64::MAX);
    }
}
