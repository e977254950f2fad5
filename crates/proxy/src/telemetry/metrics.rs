//! Metrics for Prometheus. No label value is free text of a client.
//!
//! A request is counted once, from its [`RequestRecord`], when the record is complete; gauges are refreshed on each scrape.
//! <https://prometheus.io/docs/practices/naming/>

mod gauges;
mod labels;
mod process;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use gauges::Snapshot;
pub(crate) use labels::LabelValue;

use super::record::{Charge, OverheadPhase, RequestRecord, UpstreamRecord};
use gauges::{DroppedLogLines, Gauges, NoLabels, register};
use labels::{
    AttemptLabels, BoundedLabels, ChargeLabels, ModelLabels, ModelRegionLabels, PhaseLabels,
    QuotaDecisionLabels, ReasonLabels, RequestLabels, RouteLabels, RouteStatusLabels,
    UnsupportedFeatureLabels, VersionLabels,
};
use process::ProcessMetrics;

/// Content type of OpenMetrics.
/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
pub(crate) const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Values of one label at most (models beyond the catalog's, teams, users, regions, routes); further ones are `other`.
/// Prometheus advises to keep the series of a metric in the hundreds.
const MAX_LABEL_VALUES: usize = 200;

/// Buckets in seconds: from a rejection to a stream of ten minutes.
const DURATION_BUCKETS: &[f64] =
    &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Buckets in seconds: dense where models begin to respond, half a second to ten.
const TTFT_BUCKETS: &[f64] =
    &[0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Buckets in seconds: from a thousand tokens a second to one.
const INTER_TOKEN_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0];
/// Buckets in seconds: from ten microseconds, a cached authentication, to a second, a slow database.
const OVERHEAD_BUCKETS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 1.0,
];

/// Counter of dollars or seconds.
type DecimalCounter = Counter<f64, AtomicU64>;
type Histograms<S> = Family<S, Histogram, fn() -> Histogram>;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_duration: Histograms<RouteStatusLabels>,
    requests_in_flight: Family<RouteLabels, Gauge>,
    open_streams: Gauge,
    attempts: Family<AttemptLabels, Counter>,
    upstream_duration: Histograms<ModelRegionLabels>,
    time_to_first_token: Histograms<ModelLabels>,
    inter_token: Histograms<ModelLabels>,
    overhead: Histograms<PhaseLabels>,
    tokens: Family<ChargeLabels, Counter>,
    cost: Family<ChargeLabels, DecimalCounter>,
    cache_savings: Family<ChargeLabels, DecimalCounter>,
    unpriced: Family<ModelLabels, Counter>,
    estimated: Family<ModelLabels, Counter>,
    retries: Family<ReasonLabels, Counter>,
    unsupported_features: Family<UnsupportedFeatureLabels, Counter>,
    quota_decisions: Family<QuotaDecisionLabels, Counter>,
    auth_failures: Family<ReasonLabels, Counter>,
    usage_flush: Histogram,
    usage_quarantined: Counter,
    gauges: Gauges,
    process: ProcessMetrics,
    models: BoundedLabels,
    routes: BoundedLabels,
    regions: BoundedLabels,
    teams: BoundedLabels,
    /// `None` when users are no label.
    users: Option<BoundedLabels>,
}

/// Counts an open stream until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&[], false)
    }
}

impl Metrics {
    /// Creates the metrics. `models` always have a label value of their own; `has_user_label`: whether tokens and
    /// cost are split by user.
    #[must_use]
    pub(crate) fn new(models: &[String], has_user_label: bool) -> Self {
        let mut model_labels = BoundedLabels::new(MAX_LABEL_VALUES);
        for model in models {
            model_labels.reserve(model);
        }
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_duration: Family::new_with_constructor(duration_histogram),
            requests_in_flight: Family::default(),
            open_streams: Gauge::default(),
            attempts: Family::default(),
            upstream_duration: Family::new_with_constructor(duration_histogram),
            time_to_first_token: Family::new_with_constructor(|| {
                Histogram::new(TTFT_BUCKETS.iter().copied())
            }),
            inter_token: Family::new_with_constructor(|| Histogram::new(INTER_TOKEN_BUCKETS.iter().copied())),
            overhead: Family::new_with_constructor(overhead_histogram),
            tokens: Family::default(),
            cost: Family::default(),
            cache_savings: Family::default(),
            unpriced: Family::default(),
            estimated: Family::default(),
            retries: Family::default(),
            unsupported_features: Family::default(),
            quota_decisions: Family::default(),
            auth_failures: Family::default(),
            usage_flush: overhead_histogram(),
            usage_quarantined: Counter::default(),
            gauges: Gauges::default(),
            process: ProcessMetrics::default(),
            models: model_labels,
            routes: BoundedLabels::new(MAX_LABEL_VALUES),
            regions: BoundedLabels::new(MAX_LABEL_VALUES),
            teams: BoundedLabels::new(MAX_LABEL_VALUES),
            users: has_user_label.then(|| BoundedLabels::new(MAX_LABEL_VALUES)),
        };
        metrics.registry = metrics.build_registry();
        metrics
    }

    fn build_registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.process.register(&mut registry);
        let ours = registry.sub_registry_with_prefix("bedrock_proxy");
        self.register_requests(ours);
        self.register_charges(ours);
        self.gauges.register(ours);
        ours.register_collector(Box::new(DroppedLogLines));
        registry
    }

    fn register_requests(&self, registry: &mut Registry) {
        register(registry, "http_requests", "Requests", &self.requests);
        register(
            registry,
            "http_request_duration_seconds",
            "From the head of the request to the last byte of the response",
            &self.request_duration,
        );
        register(registry, "inflight_requests", "Requests in flight", &self.requests_in_flight);
        register(registry, "streams_active", "Open streams", &self.open_streams);
        register(registry, "upstream_requests", "Requests to Bedrock, each attempt", &self.attempts);
        register(
            registry,
            "upstream_duration_seconds",
            "From the first attempt to the end of Bedrock's response",
            &self.upstream_duration,
        );
        register(
            registry,
            "time_to_first_token_seconds",
            "From the head of the request to the first event of the model",
            &self.time_to_first_token,
        );
        register(
            registry,
            "inter_token_seconds",
            "Time between tokens, the mean of each response",
            &self.inter_token,
        );
        register(registry, "overhead_seconds", "Time that the proxy itself takes", &self.overhead);
        register(
            registry,
            "retries",
            "Attempts that were followed by another, by the reason of their failure",
            &self.retries,
        );
        register(
            registry,
            "unsupported_features",
            "Features that Bedrock reported as unsupported by a model",
            &self.unsupported_features,
        );
        register(registry, "quota_decisions", "Requests that were admitted or denied", &self.quota_decisions);
        register(registry, "auth_failures", "Requests without a valid credential", &self.auth_failures);
    }

    fn register_charges(&self, registry: &mut Registry) {
        register(registry, "tokens", "Tokens that Bedrock counted, or an estimate", &self.tokens);
        register(registry, "cost_usd", "Cost of the tokens, in dollars", &self.cost);
        register(
            registry,
            "cache_savings_usd",
            "Additional cost of prompts without the tokens read from the cache, in dollars",
            &self.cache_savings,
        );
        register(
            registry,
            "unpriced_requests",
            "Responses of models whose price is not known",
            &self.unpriced,
        );
        register(registry, "estimated_requests", "Responses whose tokens are an estimate", &self.estimated);
        register(
            registry,
            "usage_flush_seconds",
            "Time that the database took for a batch",
            &self.usage_flush,
        );
        register(
            registry,
            "usage_quarantined",
            "Records, lines and segments of the WAL that were set aside and are not charged",
            &self.usage_quarantined,
        );
    }

    /// Counts a request as in flight, until [`Metrics::record`] counts it as complete.
    pub fn request_started(&self, route: &str) {
        self.requests_in_flight.get_or_create(&RouteLabels { route: self.routes.get(route) }).inc();
    }

    /// Counts a complete request: the request itself, its overhead, its attempts and its charge.
    pub fn record(&self, record: &RequestRecord) {
        let head = &record.head;
        let status = record.status.map_or(0, |status| status.as_u16());
        self.count_request(
            head.route_or_other(),
            &head.method,
            status,
            head.user_agent.name,
            record.duration,
        );
        for (phase, duration) in OverheadPhase::ALL.into_iter().zip(record.phases) {
            if let Some(duration) = duration {
                self.count_overhead(phase, duration);
            }
        }
        let Some(upstream) = &record.upstream else { return };
        self.count_upstream(record, upstream);
        if let Some(charge) = &upstream.charge {
            let (team, user_id) = (record.team.as_deref(), record.user_id.as_deref().unwrap_or_default());
            self.count_charge(&upstream.foundation_model, team, user_id, charge);
        }
    }

    fn count_request(
        &self,
        route: &str,
        method: &http::Method,
        status: u16,
        client: &'static str,
        duration: Duration,
    ) {
        let route = self.routes.get(route);
        self.requests_in_flight.get_or_create(&RouteLabels { route: route.clone() }).dec();
        let labels = RouteStatusLabels { route: route.clone(), status };
        self.request_duration.get_or_create(&labels).observe(duration.as_secs_f64());
        let labels = RequestLabels { route, method: method_label(method), status, client };
        self.requests.get_or_create(&labels).inc();
    }

    fn count_overhead(&self, phase: OverheadPhase, duration: Duration) {
        let labels = PhaseLabels { phase: phase.as_str() };
        self.overhead.get_or_create(&labels).observe(duration.as_secs_f64());
    }

    fn count_upstream(&self, record: &RequestRecord, upstream: &UpstreamRecord) {
        let Some(final_outcome) = upstream.final_outcome() else { return };
        let (model, region) = self.upstream_labels(upstream);
        let api = upstream.upstream_api.unwrap_or("other");
        for attempt in upstream.repeated_attempts() {
            self.retries.get_or_create(&ReasonLabels { reason: attempt.outcome }).inc();
            self.count_attempt(&model, &region, api, attempt.outcome);
        }
        self.count_attempt(&model, &region, api, final_outcome);
        if let (Some(started_at), Some(ended_at)) = (upstream.started_at, upstream.ended_at) {
            let labels = ModelRegionLabels { model: model.clone(), region };
            let duration = ended_at - started_at;
            self.upstream_duration.get_or_create(&labels).observe(duration.as_secs_f64());
        }
        let Some(first_token_at) = upstream.first_token_at else { return };
        let labels = ModelLabels { model };
        let time_to_first_token = first_token_at - record.head.started_at;
        self.time_to_first_token.get_or_create(&labels).observe(time_to_first_token.as_secs_f64());
        let intervals = upstream.finished_output_tokens().unwrap_or(0).saturating_sub(1);
        let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
        if let (Some(ended_at), 1..) = (upstream.ended_at, intervals) {
            let mean = (ended_at - first_token_at) / intervals;
            self.inter_token.get_or_create(&labels).observe(mean.as_secs_f64());
        }
    }

    fn count_attempt(
        &self,
        model: &LabelValue,
        region: &LabelValue,
        api: &'static str,
        outcome: &'static str,
    ) {
        let labels = AttemptLabels { model: model.clone(), region: region.clone(), api, outcome };
        self.attempts.get_or_create(&labels).inc();
    }

    fn count_charge(&self, model: &str, team: Option<&str>, user_id: &str, charge: &Charge) {
        let model = self.models.get(model);
        let team = team.map_or_else(LabelValue::default, |team| self.teams.get(team));
        let user = self.users.as_ref().map(|users| users.get(user_id));
        let mut labels = ChargeLabels { model, team, kind: None, user };
        let usage = &charge.usage;
        let write_1h = usage.cache_creation.ephemeral_1h_input_tokens;
        for (kind, tokens) in [
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_input_tokens),
            ("cache_write_5m", usage.cache_creation_input_tokens.saturating_sub(write_1h)),
            ("cache_write_1h", write_1h),
        ] {
            if tokens > 0 {
                labels.kind = Some(kind);
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        labels.kind = None;
        self.cost.get_or_create(&labels).inc_by(dollars(charge.cost_nano_usd));
        if charge.cache_savings_nano_usd > 0 {
            self.cache_savings.get_or_create(&labels).inc_by(dollars(charge.cache_savings_nano_usd));
        }
        let labels = ModelLabels { model: labels.model };
        if !charge.is_priced {
            self.unpriced.get_or_create(&labels).inc();
        }
        if charge.estimated {
            self.estimated.get_or_create(&labels).inc();
        }
    }

    /// Label values of the model and the Region of `upstream`.
    #[must_use]
    pub(crate) fn upstream_labels(&self, upstream: &UpstreamRecord) -> (LabelValue, LabelValue) {
        (self.model_label(&upstream.foundation_model), self.region_label(&upstream.region))
    }

    /// Label value of a model.
    #[must_use]
    pub(crate) fn model_label(&self, model: &str) -> LabelValue {
        self.models.get(model)
    }

    /// Label value of a Region.
    #[must_use]
    pub(crate) fn region_label(&self, region: &str) -> LabelValue {
        self.regions.get(region)
    }

    /// Counts a stream as open until the result is dropped.
    #[must_use]
    pub(crate) fn stream_opened(&self) -> OpenStream {
        self.open_streams.inc();
        OpenStream(self.open_streams.clone())
    }

    /// Counts a request without a valid credential.
    pub fn auth_failed(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts a quota decision, by the scope of the limit and the reason.
    pub fn quota_decided(&self, scope: &'static str, decision: &'static str, reason: &'static str) {
        self.quota_decisions.get_or_create(&QuotaDecisionLabels { scope, decision, reason }).inc();
    }

    /// Counts a feature that a model was seen not to support through `api`.
    pub fn unsupported_feature(&self, api: &'static str, feature: &'static str) {
        self.unsupported_features.get_or_create(&UnsupportedFeatureLabels { api, feature }).inc();
    }

    /// Counts a batch of usage records that the database took.
    pub fn usage_flushed(&self, duration: Duration) {
        self.usage_flush.observe(duration.as_secs_f64());
    }

    /// Counts records, lines or segments of the WAL that were set aside.
    pub(crate) fn usage_quarantined(&self, count: u64) {
        self.usage_quarantined.inc_by(count);
    }

    /// Shows the versions of the prices in use.
    pub fn set_price_versions(&self, versions: &[String]) {
        for version in versions {
            self.gauges.price_versions.get_or_create(&VersionLabels { version: version.clone() }).set(1);
        }
    }

    /// Refreshes the gauges and the metrics of the process.
    pub fn refresh(&self, snapshot: &Snapshot) {
        self.gauges.set(snapshot);
        self.process.refresh();
    }

    /// Sets the end of the TLS certificate, in seconds since the epoch.
    pub fn set_certificate_expiry(&self, expires_at: u64) {
        let expires_at = i64::try_from(expires_at).unwrap_or(i64::MAX);
        self.gauges.certificate_expires_at.get_or_create(&NoLabels::new()).set(expires_at);
    }

    /// Renders all metrics in OpenMetrics.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS.iter().copied())
}

fn overhead_histogram() -> Histogram {
    Histogram::new(OVERHEAD_BUCKETS.iter().copied())
}

fn dollars(nano_usd: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a graph needs no more digits than a float has
    let nano_usd = nano_usd.max(0) as f64;
    nano_usd / 1e9
}

/// Label value of a method: a standard one, or `other`, as clients can invent methods.
pub(crate) fn method_label(method: &http::Method) -> &'static str {
    const STANDARD: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    STANDARD.into_iter().find(|standard| *standard == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests;
