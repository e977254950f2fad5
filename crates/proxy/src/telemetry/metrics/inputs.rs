//! Inputs of request paths that do not write a `RequestRecord` yet; they go with the last of them.

use std::time::Duration;

use protocol::anthropic::{CacheCreation, Usage};

use super::labels::{LabelValue, ModelLabels, ModelRegionLabels, ReasonLabels};
use super::{Charge, Metrics, OverheadPhase};

/// Complete request.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Route, or `other`.
    pub route: &'a str,
    /// HTTP method.
    pub method: &'a http::Method,
    /// HTTP status; 0 when none was sent.
    pub status: u16,
    /// Client program, out of a closed list.
    pub client: &'static str,
    /// Duration of the request.
    pub took: Duration,
}

/// Attempt.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Model.
    pub model: &'a LabelValue,
    /// Region.
    pub region: &'a LabelValue,
    /// Upstream API: `converse`, `invoke` or `messages`.
    pub api: &'static str,
    /// Outcome, out of a closed list.
    pub outcome: &'static str,
}

/// Charge.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// Foundation model.
    pub model: &'a str,
    /// Team.
    pub team: Option<&'a str>,
    /// User.
    pub user: &'a str,
    /// Tokens by type: input, output, cache read, cache writes for 5 minutes and for an hour.
    pub tokens: [(&'static str, i64); 5],
    /// Cost in nano-dollars.
    pub cost: i64,
    /// Cache savings in nano-dollars.
    pub saved: i64,
    /// Whether the price is known.
    pub priced: bool,
    /// Whether the tokens are an estimate.
    pub estimated: bool,
}

impl Metrics {
    /// Counts a complete request.
    pub fn request(&self, counted: &Counted<'_>) {
        let Counted { route, method, status, client, took } = *counted;
        self.count_request(route, method, status, client, took);
    }

    /// Counts an attempt.
    pub fn asked(&self, answered: &Answered<'_>) {
        let Answered { model, region, api, outcome } = *answered;
        self.count_attempt(model, region, api, outcome);
    }

    /// Counts the duration of a response.
    pub fn answered(&self, model: &LabelValue, region: &LabelValue, took: Duration) {
        let labels = ModelRegionLabels { model: model.clone(), region: region.clone() };
        self.upstream_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts the time to the first token.
    pub fn first_token(&self, model: &LabelValue, took: Duration) {
        self.time_to_first_token
            .get_or_create(&ModelLabels { model: model.clone() })
            .observe(took.as_secs_f64());
    }

    /// Counts the mean time between tokens.
    pub fn inter_token(&self, model: &LabelValue, apart: Duration) {
        self.inter_token.get_or_create(&ModelLabels { model: model.clone() }).observe(apart.as_secs_f64());
    }

    /// Counts time of the proxy itself.
    pub fn overhead(&self, phase: OverheadPhase, took: Duration) {
        self.count_overhead(phase, took);
    }

    /// Counts a retry.
    pub fn retried(&self, reason: &'static str) {
        self.retries.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a charge.
    pub fn spent(&self, spent: &Spent<'_>) {
        let [input, output, cache_read, write_5m, write_1h] =
            spent.tokens.map(|(_, tokens)| u64::try_from(tokens).unwrap_or(0));
        let usage = Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_input_tokens: cache_read,
            cache_creation_input_tokens: write_5m + write_1h,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: write_5m,
                ephemeral_1h_input_tokens: write_1h,
            },
            ..Usage::default()
        };
        let charge = Charge {
            usage,
            cost_nano_usd: spent.cost,
            cache_savings_nano_usd: spent.saved,
            is_priced: spent.priced,
            estimated: spent.estimated,
        };
        self.count_charge(spent.model, spent.team, spent.user, &charge);
    }
}
