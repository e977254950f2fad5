//! Counters for Prometheus. No label is a request or anything else that a client can make up without end.
//!
//! What one request came to is counted where its line in the access log is written (`api::access_log`); what stands
//! still until somebody asks is looked up when somebody asks (`app`). This room only keeps the numbers and prints them.
//! <https://prometheus.io/docs/practices/naming/>

mod labels;
mod log;
mod process;
mod text;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use labels::Name;
pub use text::{OPEN_METRICS, PLAIN};

use labels::Names;
use process::Process;

/// The most models beyond the catalog's, teams, users and regions that are named; further ones are `other`.
const MOST_NAMES: usize = 200;

/// Seconds: from a refusal to a stream of ten minutes.
const LONG: &[f64] =
    &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Seconds until a first word.
const FIRST: &[f64] = &[0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0];
/// Seconds from token to token.
const STEP: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0];
/// Seconds of our own work: from ten microseconds to a second.
const SHORT: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.5, 1.0,
];

/// Counts of dollars and seconds have decimals.
type Decimal = Counter<f64, AtomicU64>;
/// For what is only there at times.
type NoLabels = Vec<(String, String)>;
type Histograms<S> = Family<S, Histogram, fn() -> Histogram>;

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<labels::Request, Counter>,
    duration: Histograms<labels::RouteStatus>,
    inflight: Family<labels::Route, Gauge>,
    streams: Gauge,
    upstream: Family<labels::Upstream, Counter>,
    upstream_duration: Histograms<labels::ModelRegion>,
    first_token: Histograms<labels::Model>,
    inter_token: Histograms<labels::Model>,
    overhead: Histograms<labels::Phase>,
    tokens: Family<labels::Spending, Counter>,
    cost: Family<labels::Spending, Decimal>,
    savings: Family<labels::Spending, Decimal>,
    unpriced: Family<labels::Model, Counter>,
    estimated: Family<labels::Model, Counter>,
    retries: Family<labels::Reason, Counter>,
    lessons: Family<labels::Lesson, Counter>,
    decisions: Family<labels::Decision, Counter>,
    auth_failures: Family<labels::Reason, Counter>,
    flushes: Histogram,
    standing: Standing,
    process: Process,
    models: Names,
    routes: Names,
    regions: Names,
    teams: Names,
    /// `None` when users are no label.
    users: Option<Names>,
}

/// What is looked up when somebody asks.
#[derive(Debug, Default)]
struct Standing {
    queue_depth: Gauge,
    queue_dropped: Counter,
    spill: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    connections: Family<labels::State, Gauge>,
    db_up: Gauge,
    credentials_expiry: Family<NoLabels, Gauge>,
    prices: Family<labels::Version, Gauge>,
    workers: Gauge,
    tasks: Gauge,
    spans_dropped: Counter,
}

/// What is true when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Requests that are open or not yet stored.
    pub queue_depth: usize,
    /// Usage rows that neither the database nor the journal has.
    pub dropped: u64,
    /// Bytes of the journal that the database has not got.
    pub spill_bytes: u64,
    /// How long the oldest row waits for the database.
    pub oldest: Duration,
    /// Connections to the database that are used and idle.
    pub connections: (u32, u32),
    /// Whether the last call reached the database.
    pub db_up: bool,
    /// When AWS's credentials expire, in seconds since the epoch; `None` for those that do not.
    pub credentials_expiry: Option<i64>,
    /// Spans that were not sent.
    pub spans_dropped: u64,
}

/// What a request came to, for counting.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The template of its path, or `other`.
    pub route: &'a str,
    /// Its method.
    pub method: &'a http::Method,
    /// The HTTP status; 0 when none was sent.
    pub status: u16,
    /// The program that asked, out of a closed list.
    pub client: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// What an answer of Bedrock came to, for counting.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Which model.
    pub model: &'a Name,
    /// Where.
    pub region: &'a Name,
    /// How it was asked: `converse`, `invoke` or `messages`.
    pub api: &'static str,
    /// What became of it, in one word of a closed list.
    pub outcome: &'static str,
}

/// What an answer cost, for counting.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// The foundation model.
    pub model: &'a str,
    /// Who pays.
    pub team: Option<&'a str>,
    /// Who asked.
    pub user: &'a str,
    /// Tokens by type.
    pub tokens: [(&'static str, i64); 5],
    /// Nano-dollars.
    pub cost: i64,
    /// Nano-dollars that the prompt would have cost more if nothing of it had been read from the cache.
    pub saved: i64,
    /// Whether the price was known.
    pub priced: bool,
    /// Whether the tokens are a guess.
    pub estimated: bool,
}

/// One part of what the gateway itself does for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Finding out who asks.
    Auth,
    /// Reserving what the request may spend.
    Quota,
    /// Making a request for Bedrock of it.
    Translate,
    /// Making events of Bedrock's bytes, all of them together.
    Stream,
    /// The receipt: its price, and its line in the journal.
    Persist,
}

impl Phase {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Auth, Self::Quota, Self::Translate, Self::Stream, Self::Persist];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Translate => "translate",
            Self::Stream => "stream",
            Self::Persist => "persist",
        }
    }
}

/// Counts an open stream for as long as it is there.
#[derive(Debug)]
pub struct OpenStream(Gauge);

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

/// Registers metrics by name, under their prefix.
struct Shelf<'a>(&'a mut Registry);

impl Shelf<'_> {
    fn put<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: &M) {
        self.0.register(name, help, metric.clone());
    }
}

impl Metrics {
    /// Nothing counted yet. `models` are always named; `users` says whether tokens and dollars are told by user, too.
    #[must_use]
    pub fn new(models: &[String], users: bool) -> Self {
        let mut named = Names::new(MOST_NAMES);
        for model in models {
            named.reserve(model);
        }
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(LONG.iter().copied())),
            inflight: Family::default(),
            streams: Gauge::default(),
            upstream: Family::default(),
            upstream_duration: Family::new_with_constructor(|| Histogram::new(LONG.iter().copied())),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST.iter().copied())),
            inter_token: Family::new_with_constructor(|| Histogram::new(STEP.iter().copied())),
            overhead: Family::new_with_constructor(|| Histogram::new(SHORT.iter().copied())),
            tokens: Family::default(),
            cost: Family::default(),
            savings: Family::default(),
            unpriced: Family::default(),
            estimated: Family::default(),
            retries: Family::default(),
            lessons: Family::default(),
            decisions: Family::default(),
            auth_failures: Family::default(),
            flushes: Histogram::new(SHORT.iter().copied()),
            standing: Standing::default(),
            process: Process::default(),
            models: named,
            routes: Names::new(MOST_NAMES),
            regions: Names::new(MOST_NAMES),
            teams: Names::new(MOST_NAMES),
            users: users.then(|| Names::new(MOST_NAMES)),
        };
        metrics.registry = metrics.registered();
        metrics
    }

    fn registered(&self) -> Registry {
        let mut registry = Registry::default();
        self.process.register(&mut registry);
        let shelf = &mut Shelf(registry.sub_registry_with_prefix("bedrock_proxy"));
        self.register_requests(shelf);
        self.register_spending(shelf);
        self.standing.register(shelf);
        shelf.0.register_collector(Box::new(log::Lost));
        registry
    }

    fn register_requests(&self, shelf: &mut Shelf<'_>) {
        shelf.put("http_requests", "Requests", &self.requests);
        shelf.put(
            "http_request_duration_seconds",
            "From the request to the last byte of the answer",
            &self.duration,
        );
        shelf.put("inflight_requests", "Requests that are being answered", &self.inflight);
        shelf.put("streams_active", "Streams that are open", &self.streams);
        shelf.put("upstream_requests", "Questions to Bedrock, each attempt", &self.upstream);
        shelf.put(
            "upstream_duration_seconds",
            "From the first question to the end of Bedrock's answer",
            &self.upstream_duration,
        );
        shelf.put(
            "time_to_first_token_seconds",
            "From the request to the model's first word",
            &self.first_token,
        );
        shelf.put("inter_token_seconds", "From token to token, the mean of each answer", &self.inter_token);
        shelf.put("overhead_seconds", "What the gateway itself takes", &self.overhead);
        shelf.put("retries", "Questions that were put again, by what went wrong before", &self.retries);
        shelf.put("lessons", "What models were seen to refuse", &self.lessons);
        shelf.put("quota_decisions", "Requests that were let through or not", &self.decisions);
        shelf.put("auth_failures", "Requests without a credential that is accepted", &self.auth_failures);
    }

    fn register_spending(&self, shelf: &mut Shelf<'_>) {
        shelf.put("tokens", "Tokens that Bedrock counted, or a guess", &self.tokens);
        shelf.put("cost_usd", "What they cost, in dollars", &self.cost);
        shelf.put(
            "cache_savings_usd",
            "What prompts would have cost more without what was read from the cache, in dollars",
            &self.savings,
        );
        shelf.put("unpriced_requests", "Answers of models whose price is not known", &self.unpriced);
        shelf.put("estimated_requests", "Answers whose tokens are a guess", &self.estimated);
        shelf.put("usage_flush_seconds", "How long the database took for a batch", &self.flushes);
    }

    /// Counts a request that has come in; [`Metrics::request`] counts it out.
    pub fn begun(&self, route: &str) {
        self.inflight.get_or_create(&labels::Route { route: self.routes.get(route) }).inc();
    }

    /// Counts a request that is over.
    pub fn request(&self, counted: &Counted<'_>) {
        let route = self.routes.get(counted.route);
        let (status, client) = (counted.status, counted.client);
        self.inflight.get_or_create(&labels::Route { route: route.clone() }).dec();
        let labels = labels::RouteStatus { route: route.clone(), status };
        self.duration.get_or_create(&labels).observe(counted.took.as_secs_f64());
        let method = method(counted.method);
        self.requests.get_or_create(&labels::Request { route, method, status, client }).inc();
    }

    /// Counts a stream for as long as what this returns is kept.
    #[must_use]
    pub fn stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream(self.streams.clone())
    }

    /// What a model is called in labels.
    #[must_use]
    pub fn model(&self, model: &str) -> Name {
        self.models.get(model)
    }

    /// What a region is called in labels.
    #[must_use]
    pub fn region(&self, region: &str) -> Name {
        self.regions.get(region)
    }

    /// Counts one question to Bedrock.
    pub fn asked(&self, answered: &Answered<'_>) {
        let Answered { model, region, api, outcome } = *answered;
        let labels = labels::Upstream { model: model.clone(), region: region.clone(), api, outcome };
        self.upstream.get_or_create(&labels).inc();
    }

    /// Counts how long an answer took, all of it.
    pub fn answered(&self, model: &Name, region: &Name, took: Duration) {
        let labels = labels::ModelRegion { model: model.clone(), region: region.clone() };
        self.upstream_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts how long the client waited for the first word.
    pub fn first_token(&self, model: &Name, took: Duration) {
        self.first_token.get_or_create(&labels::Model { model: model.clone() }).observe(took.as_secs_f64());
    }

    /// Counts how far the tokens of an answer were apart.
    pub fn inter_token(&self, model: &Name, apart: Duration) {
        self.inter_token.get_or_create(&labels::Model { model: model.clone() }).observe(apart.as_secs_f64());
    }

    /// Counts what the gateway itself took.
    pub fn overhead(&self, phase: Phase, took: Duration) {
        self.overhead.get_or_create(&labels::Phase { phase: phase.as_str() }).observe(took.as_secs_f64());
    }

    /// Counts a question that was put again after `reason`.
    pub fn retried(&self, reason: &'static str) {
        self.retries.get_or_create(&labels::Reason { reason }).inc();
    }

    /// Counts a credential that was not accepted.
    pub fn refused(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&labels::Reason { reason }).inc();
    }

    /// Counts what was decided about a request, by whose limit and why.
    pub fn decided(&self, scope: &'static str, decision: &'static str, reason: &'static str) {
        self.decisions.get_or_create(&labels::Decision { scope, decision, reason }).inc();
    }

    /// Counts something that was learnt about `api`.
    pub fn lesson(&self, api: &'static str, lesson: &'static str) {
        self.lessons.get_or_create(&labels::Lesson { api, lesson }).inc();
    }

    /// Counts a batch that the database took.
    pub fn flushed(&self, took: Duration) {
        self.flushes.observe(took.as_secs_f64());
    }

    /// Counts what an answer cost.
    pub fn spent(&self, spent: &Spent<'_>) {
        let model = self.models.get(spent.model);
        let team = spent.team.map_or_else(Name::default, |team| self.teams.get(team));
        let user = self.users.as_ref().map(|users| users.get(spent.user));
        let mut labels = labels::Spending { model, team, kind: None, user };
        for (kind, tokens) in spent.tokens {
            if let Ok(tokens @ 1..) = u64::try_from(tokens) {
                labels.kind = Some(kind);
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        labels.kind = None;
        self.cost.get_or_create(&labels).inc_by(dollars(spent.cost));
        if spent.saved > 0 {
            self.savings.get_or_create(&labels).inc_by(dollars(spent.saved));
        }
        let labels = labels::Model { model: labels.model };
        if !spent.priced {
            self.unpriced.get_or_create(&labels).inc();
        }
        if spent.estimated {
            self.estimated.get_or_create(&labels).inc();
        }
    }

    /// Which prices are in use.
    pub fn prices(&self, versions: &[String]) {
        for version in versions {
            self.standing.prices.get_or_create(&labels::Version { version: version.clone() }).set(1);
        }
    }

    /// Takes down what is true now, and looks at the process.
    pub fn look(&self, now: &Snapshot) {
        self.standing.set(now);
        self.process.look();
    }

    /// Everything, in the text format of OpenMetrics, or in Prometheus's older one.
    #[must_use]
    pub fn render(&self, open_metrics: bool) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        if open_metrics { text } else { text::plain(&text) }
    }
}

impl Standing {
    fn register(&self, shelf: &mut Shelf<'_>) {
        shelf.put(
            "usage_queue_depth",
            "Requests that are open or whose usage is not yet stored",
            &self.queue_depth,
        );
        shelf.put(
            "usage_queue_dropped",
            "Usage rows that neither the database nor the journal took; they stand in the log",
            &self.queue_dropped,
        );
        shelf.put("usage_spill_bytes", "The journal, as far as the database has not got it", &self.spill);
        shelf.put("usage_oldest_seconds", "How long the oldest row waits for the database", &self.oldest);
        shelf.put("db_pool_connections", "Connections to the database", &self.connections);
        shelf.put("db_up", "Whether the last call reached the database", &self.db_up);
        shelf.put(
            "aws_credentials_expiry_timestamp_seconds",
            "When the AWS credentials expire, in seconds since the epoch",
            &self.credentials_expiry,
        );
        shelf.put("price_table_info", "Prices in use, by their version", &self.prices);
        shelf.put("tokio_workers", "Threads that run tasks", &self.workers);
        shelf.put("tokio_alive_tasks", "Tasks that are alive", &self.tasks);
        shelf.put("otel_spans_dropped", "Spans that were not sent to the collector", &self.spans_dropped);
        let build: Family<labels::Build, Gauge> = Family::default();
        let commit = option_env!("BEDROCK_PROXY_COMMIT").unwrap_or("unknown");
        build.get_or_create(&labels::Build { version: env!("CARGO_PKG_VERSION"), commit }).set(1);
        shelf.put("build_info", "This program", &build);
    }

    fn set(&self, now: &Snapshot) {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let store =
            |counter: &Counter, to: u64| counter.inner().store(to, std::sync::atomic::Ordering::Relaxed);
        self.queue_depth.set(whole(now.queue_depth as u64));
        store(&self.queue_dropped, now.dropped);
        store(&self.spans_dropped, now.spans_dropped);
        self.spill.set(whole(now.spill_bytes));
        self.oldest.set(now.oldest.as_secs_f64());
        for (state, number) in [("used", now.connections.0), ("idle", now.connections.1)] {
            self.connections.get_or_create(&labels::State { state }).set(number.into());
        }
        self.db_up.set(now.db_up.into());
        match now.credentials_expiry {
            Some(at) => {
                self.credentials_expiry.get_or_create(&NoLabels::new()).set(at);
            }
            None => self.credentials_expiry.clear(),
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let runtime = runtime.metrics();
            self.workers.set(whole(runtime.num_workers() as u64));
            self.tasks.set(whole(runtime.num_alive_tasks() as u64));
        }
    }
}

fn dollars(nano: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a graph needs no more digits than a float has
    let nano = nano.max(0) as f64;
    nano / 1e9
}

/// The method, if it is one that everybody knows: clients can make others up.
pub(crate) fn method(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests;
