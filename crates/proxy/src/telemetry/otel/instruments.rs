//! The metrics of the conventions for generative AI and for HTTP servers. Their attributes come from bounded lists, as
//! the labels for Prometheus do.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};

use super::attributes::{self as names, newest};
use super::request_span::{Call, Told, prompt};

/// The boundaries that the conventions advise.
const TOKENS: [f64; 14] = [
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
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// What is measured.
#[derive(Debug)]
pub(super) struct Measures {
    server: Histogram<f64>,
    duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
    tokens: Tokens,
}

#[derive(Debug)]
enum Tokens {
    /// One histogram for both types.
    Usual(Histogram<u64>),
    /// A counter for each type.
    Newest(Box<[Counter<u64>; 4]>),
}

impl Measures {
    pub(super) fn new(provider: &impl MeterProvider, is_newest: bool) -> Self {
        let meter = provider.meter(names::SCOPE);
        let (duration, first_chunk) = if is_newest {
            (newest::DURATION, newest::TIME_TO_FIRST_CHUNK)
        } else {
            (names::DURATION, names::TIME_TO_FIRST_CHUNK)
        };
        Self {
            server: seconds(&meter, names::SERVER_DURATION),
            duration: seconds(&meter, duration),
            first_chunk: seconds(&meter, first_chunk),
            tokens: if is_newest { Tokens::newest(&meter) } else { Tokens::usual(&meter) },
        }
    }

    pub(super) fn record(&self, told: &Told<'_>) {
        let took = told.time.1.duration_since(told.time.0).unwrap_or_default();
        let mut attributes = vec![KeyValue::new(names::METHOD, told.method)];
        attributes.extend(told.route.map(|route| KeyValue::new(names::ROUTE, route.to_owned())));
        attributes.extend(told.status.map(|status| KeyValue::new(names::STATUS, i64::from(status))));
        record(&self.server, took, &attributes);
        if let Some(call) = &told.call {
            self.call(call);
        }
    }

    fn call(&self, call: &Call<'_>) {
        let mut attributes = vec![
            KeyValue::new(names::OPERATION, names::CHAT),
            KeyValue::new(names::PROVIDER, names::BEDROCK),
            // What clients call models is theirs to make up; it stands in spans only.
            KeyValue::new(names::REQUEST_MODEL, call.model.to_owned()),
            KeyValue::new(names::RESPONSE_MODEL, call.model.to_owned()),
            KeyValue::new(names::SERVER, call.host.to_owned()),
        ];
        self.tokens.record(call, &attributes);
        if let Some(took) = call.first_chunk {
            record(&self.first_chunk, took, &attributes);
        }
        attributes.extend(call.failure().map(|failure| KeyValue::new(names::ERROR, failure)));
        record(&self.duration, call.took(), &attributes);
    }
}

impl Tokens {
    fn usual(meter: &Meter) -> Self {
        let histogram = meter.u64_histogram(names::TOKEN_USAGE).with_unit("{token}");
        Self::Usual(histogram.with_boundaries(TOKENS.to_vec()).build())
    }

    fn newest(meter: &Meter) -> Self {
        let names = [newest::INPUT, newest::OUTPUT, newest::CACHE_READ, newest::CACHE_WRITE];
        Self::Newest(Box::new(names.map(|name| meter.u64_counter(name).with_unit("{token}").build())))
    }

    /// Nothing counted is counted as nothing, not left out.
    fn record(&self, call: &Call<'_>, attributes: &[KeyValue]) {
        let usage = call.usage.unwrap_or_default();
        match self {
            Self::Usual(histogram) => {
                for (kind, count) in [("input", prompt(&usage)), ("output", usage.output_tokens)] {
                    let mut attributes = attributes.to_vec();
                    attributes.push(KeyValue::new(names::TOKEN_TYPE, kind));
                    histogram.record(count, &attributes);
                }
            }
            Self::Newest(counters) => {
                let counts = [
                    prompt(&usage),
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

fn seconds(meter: &Meter, name: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_unit("s").with_boundaries(SECONDS.to_vec()).build()
}

fn record(histogram: &Histogram<f64>, took: Duration, attributes: &[KeyValue]) {
    histogram.record(took.as_secs_f64(), attributes);
}
