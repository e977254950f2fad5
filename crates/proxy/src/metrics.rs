//! Counters for Prometheus. No label is a user, a request or anything else that a client can make up without end.
//!
//! What one request came to is counted where its line in the access log is written (`http::access_log`); this room only
//! keeps the numbers and prints them. <https://prometheus.io/docs/practices/naming/>

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// The most models that are named; further ones are `other`.
const MOST_MODELS: usize = 200;
/// Seconds: from a short answer in one piece to a stream of an hour.
const BUCKETS: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    first_token: Family<RouteLabels, Histogram, fn() -> Histogram>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabels, Counter<f64, std::sync::atomic::AtomicU64>>,
    unpriced: Family<ModelLabels, Counter>,
    estimated: Family<ModelLabels, Counter>,
    retries: Counter,
    lessons: Family<LessonLabels, Counter>,
    models: Mutex<HashSet<String>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    r#type: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LessonLabels {
    route: String,
    lesson: String,
}

/// What a request came to, for counting.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The route to Bedrock; `none` for requests that took none.
    pub route: &'a str,
    /// The HTTP status; 0 when none was sent.
    pub status: u16,
    /// `finished`, `failed` or `cancelled`.
    pub outcome: &'a str,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How long the first token took, in seconds.
    pub first_token: Option<f64>,
    /// How often Bedrock was asked again.
    pub retries: u32,
}

/// What an answer cost, for counting.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// The foundation model.
    pub model: &'a str,
    /// Tokens by type.
    pub tokens: [(&'a str, i64); 5],
    /// Nano-dollars.
    pub cost: i64,
    /// Whether the price was known.
    pub priced: bool,
    /// Whether the tokens are a guess.
    pub estimated: bool,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bedrock_proxy");
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(histogram),
            first_token: Family::new_with_constructor(histogram),
            tokens: Family::default(),
            cost: Family::default(),
            unpriced: Family::default(),
            estimated: Family::default(),
            retries: Counter::default(),
            lessons: Family::default(),
            models: Mutex::default(),
            registry: Registry::default(),
        };
        registry.register("http_requests", "Requests, by the route to Bedrock", metrics.requests.clone());
        let seconds = || Unit::Seconds;
        registry.register_with_unit(
            "http_request_duration",
            "From the request to the last byte",
            seconds(),
            metrics.duration.clone(),
        );
        registry.register_with_unit(
            "time_to_first_token",
            "From the request to the model's first word",
            seconds(),
            metrics.first_token.clone(),
        );
        registry.register("tokens", "Tokens that Bedrock counted, or a guess", metrics.tokens.clone());
        registry.register("cost_usd", "What they cost, in dollars", metrics.cost.clone());
        registry.register(
            "unpriced_requests",
            "Answers of models whose price is not known",
            metrics.unpriced.clone(),
        );
        registry.register(
            "estimated_requests",
            "Answers whose tokens are a guess",
            metrics.estimated.clone(),
        );
        registry.register("retries", "How often Bedrock was asked again", metrics.retries.clone());
        registry.register("lessons", "What models were seen to refuse", metrics.lessons.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts a request that is over.
    pub fn request(&self, counted: &Counted<'_>) {
        let route = || counted.route.to_owned();
        let labels =
            RequestLabels { route: route(), status: counted.status, outcome: counted.outcome.to_owned() };
        self.requests.get_or_create(&labels).inc();
        self.duration.get_or_create(&RouteLabels { route: route() }).observe(counted.seconds);
        if let Some(seconds) = counted.first_token {
            self.first_token.get_or_create(&RouteLabels { route: route() }).observe(seconds);
        }
        self.retries.inc_by(counted.retries.into());
    }

    /// Counts what an answer cost.
    pub fn spent(&self, spent: &Spent<'_>) {
        let model = self.known(spent.model);
        for (kind, tokens) in spent.tokens {
            if let Ok(tokens @ 1..) = u64::try_from(tokens) {
                let labels = TokenLabels { model: model.clone(), r#type: kind.to_owned() };
                self.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        #[allow(clippy::cast_precision_loss)] // a graph needs no more digits than a float has
        let dollars = spent.cost.max(0) as f64 / 1e9;
        let labels = ModelLabels { model };
        self.cost.get_or_create(&labels).inc_by(dollars);
        if !spent.priced {
            self.unpriced.get_or_create(&labels).inc();
        }
        if spent.estimated {
            self.estimated.get_or_create(&labels).inc();
        }
    }

    /// Counts something that was learnt on `route`.
    pub fn lesson(&self, route: &str, lesson: &str) {
        let labels = LessonLabels { route: route.to_owned(), lesson: lesson.to_owned() };
        self.lessons.get_or_create(&labels).inc();
    }

    /// Everything, in the text format of OpenMetrics.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    /// The name of a model, as long as there are not too many of them.
    fn known(&self, model: &str) -> String {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.contains(model) || (models.len() < MOST_MODELS && models.insert(model.to_owned())) {
            model.to_owned()
        } else {
            "other".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_by_their_names() {
        let metrics = Metrics::default();
        let counted = Counted {
            route: "converse",
            status: 200,
            outcome: "finished",
            seconds: 0.3,
            first_token: Some(0.2),
            retries: 2,
        };
        metrics.request(&counted);
        let tokens =
            [("input", 10), ("output", 20), ("cache_read", 0), ("cache_write_5m", 0), ("cache_write_1h", 0)];
        metrics.spent(&Spent { model: "m", tokens, cost: 1_500_000_000, priced: false, estimated: true });
        metrics.lesson("invoke", "beta");
        let text = metrics.render();
        for line in [
            r#"bedrock_proxy_http_requests_total{route="converse",status="200",outcome="finished"} 1"#,
            r#"bedrock_proxy_http_request_duration_seconds_bucket{le="0.5",route="converse"} 1"#,
            r#"bedrock_proxy_tokens_total{model="m",type="output"} 20"#,
            r#"bedrock_proxy_cost_usd_total{model="m"} 1.5"#,
            r#"bedrock_proxy_unpriced_requests_total{model="m"} 1"#,
            r#"bedrock_proxy_estimated_requests_total{model="m"} 1"#,
            "bedrock_proxy_retries_total 2",
            r#"bedrock_proxy_lessons_total{route="invoke",lesson="beta"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("cache_read"));
    }

    #[test]
    fn made_up_models_do_not_grow_the_list_without_end() {
        let metrics = Metrics::default();
        let tokens = [("input", 1); 5];
        for number in 0..2 * MOST_MODELS {
            let model = format!("m{number}");
            metrics.spent(&Spent { model: &model, tokens, cost: 1, priced: true, estimated: false });
        }
        let named =
            metrics.render().lines().filter(|line| line.starts_with("bedrock_proxy_cost_usd_total")).count();
        assert_eq!(named, MOST_MODELS + 1);
    }
}
