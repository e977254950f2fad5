//! Metrics of the conventions for generative AI and for HTTP servers. Their attributes come from bounded lists, as the
//! labels for Prometheus do.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use protocol::anthropic::Usage;
use tokio::time::Instant;

use super::attributes::{self, newest};
use super::spans::{method, prompt_tokens};
use crate::telemetry::record::{RequestRecord, UpstreamRecord};

/// Buckets that the conventions advise.
/// <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>
const TOKEN_BUCKETS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const DURATION_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// Instruments that requests are recorded with.
#[derive(Debug)]
pub(super) struct Instruments {
    server_duration: Histogram<f64>,
    duration: Histogram<f64>,
    time_to_first_chunk: Histogram<f64>,
    token_usage: TokenUsage,
}

#[derive(Debug)]
enum TokenUsage {
    /// One histogram for both types.
    Stable(Histogram<u64>),
    /// A counter for each type.
    Newest(Box<[Counter<u64>; 4]>),
}

impl Instruments {
    pub(super) fn new(provider: &impl MeterProvider, is_newest: bool) -> Self {
        let meter = provider.meter(attributes::SCOPE);
        let (duration, time_to_first_chunk) = if is_newest {
            (newest::DURATION, newest::TIME_TO_FIRST_CHUNK)
        } else {
            (attributes::DURATION, attributes::TIME_TO_FIRST_CHUNK)
        };
        Self {
            server_duration: duration_histogram(&meter, attributes::SERVER_DURATION),
            duration: duration_histogram(&meter, duration),
            time_to_first_chunk: duration_histogram(&meter, time_to_first_chunk),
            token_usage: if is_newest { TokenUsage::newest(&meter) } else { TokenUsage::stable(&meter) },
        }
    }

    /// Records a complete request; `model` is its bounded model.
    pub(super) fn record(&self, record: &RequestRecord, model: Option<&str>) {
        let mut attributes = vec![KeyValue::new(attributes::METHOD, method(&record.head.method))];
        attributes.extend(record.head.route.clone().map(|route| KeyValue::new(attributes::ROUTE, route)));
        let status = record.status.map(|status| i64::from(status.as_u16()));
        attributes.extend(status.map(|status| KeyValue::new(attributes::STATUS, status)));
        observe(&self.server_duration, record.duration, &attributes);
        if let Some((upstream, model)) = record.upstream.as_ref().zip(model) {
            self.record_upstream(upstream, model);
        }
    }

    fn record_upstream(&self, upstream: &UpstreamRecord, model: &str) {
        let Some(started_at) = upstream.started_at else { return };
        let mut attributes = vec![
            KeyValue::new(attributes::OPERATION, attributes::CHAT),
            KeyValue::new(attributes::PROVIDER, attributes::BEDROCK),
            // Clients can invent model names, so the requested one is an attribute of spans only.
            KeyValue::new(attributes::REQUEST_MODEL, model.to_owned()),
            KeyValue::new(attributes::RESPONSE_MODEL, model.to_owned()),
            KeyValue::new(attributes::SERVER, upstream.host.clone()),
        ];
        self.token_usage.record(&upstream.usage.unwrap_or_default(), &attributes);
        if let Some(duration) = upstream.time_to_first_token() {
            observe(&self.time_to_first_chunk, duration, &attributes);
        }
        attributes.extend(upstream.final_error().map(|error| KeyValue::new(attributes::ERROR, error)));
        let duration = upstream.ended_at.unwrap_or_else(Instant::now).saturating_duration_since(started_at);
        observe(&self.duration, duration, &attributes);
    }
}

impl TokenUsage {
    fn stable(meter: &Meter) -> Self {
        let histogram = meter.u64_histogram(attributes::TOKEN_USAGE).with_unit("{token}");
        Self::Stable(histogram.with_boundaries(TOKEN_BUCKETS.to_vec()).build())
    }

    fn newest(meter: &Meter) -> Self {
        let names = [newest::INPUT, newest::OUTPUT, newest::CACHE_READ, newest::CACHE_WRITE];
        Self::Newest(Box::new(names.map(|name| meter.u64_counter(name).with_unit("{token}").build())))
    }

    /// Records zero tokens where Bedrock reported no usage, so that every request counts.
    fn record(&self, usage: &Usage, attributes: &[KeyValue]) {
        match self {
            Self::Stable(histogram) => {
                for (kind, count) in [("input", prompt_tokens(usage)), ("output", usage.output_tokens)] {
                    let mut attributes = attributes.to_vec();
                    attributes.push(KeyValue::new(attributes::TOKEN_TYPE, kind));
                    histogram.record(count, &attributes);
                }
            }
            Self::Newest(counters) => {
                let counts = [
                    prompt_tokens(usage),
                    usage.output_tokens,
                    usage.cache_read_input_tokens,
                    usage.cache_creation_input_tokens,
                ];
                for (counter, count) in counters.iter().zip(counts) {
                    counter.add(count, attributes);
                }
            }
        }
    }
}

fn duration_histogram(meter: &Meter, name: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_boundaries(DURATION_BUCKETS.to_vec()).build()
}

fn observe(histogram: &Histogram<f64>, duration: Duration, attributes: &[KeyValue]) {
    histogram.record(duration.as_secs_f64(), attributes);
}
