//! OpenTelemetry: what a request came to, as spans and metrics for a collector, by OTLP over HTTP. Nothing is done
//! without an endpoint.
//!
//! Spans are made when a request is over, of what its line in the log knows, with the times as they were; nothing is
//! traced on the way. Not here: which trace a request belongs to (`trace`), and what Prometheus asks for (`metrics`).

mod attributes;
mod collector_client;
mod instruments;
mod request_span;
mod span_batcher;
mod spans;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use request_span::{Call, Told};

use crate::config::{self, Collector, Sampler};
use crate::http_client::{self, HttpClientError};
use crate::tasks::Tasks;
use crate::telemetry::trace_context::Trace;
use collector_client::Sender;
use instruments::Measures;
use span_batcher::{LAST_SENDING, QUEUE, Worker};
use spans::Frame;

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum NoCollector {
    /// There is no way to it.
    #[error("the collector of OTEL_EXPORTER_OTLP_ENDPOINT cannot be reached: {0}")]
    Transport(#[from] HttpClientError),
    /// The exporter takes none of these settings.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What is told to collectors.
pub struct Otel {
    spans: Option<mpsc::Sender<SpanData>>,
    /// Until it is started.
    worker: Mutex<Option<Worker>>,
    dropped: Arc<AtomicU64>,
    frame: Frame,
    sampler: Sampler,
    metrics: Option<(SdkMeterProvider, Measures)>,
    /// Cancelled when the worker has sent its last.
    sent: CancellationToken,
    /// Ends what is under way.
    given_up: CancellationToken,
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otel").field("spans", &self.spans.is_some()).finish_non_exhaustive()
    }
}

impl Otel {
    /// Prepares what `config` asks for. Sending is done by `tasks`.
    ///
    /// # Errors
    /// When there is no way to a collector at all; whether one is there shows later.
    pub fn open(config: &config::Otel, ca_bundle: Option<&Path>, tasks: &Tasks) -> Result<Self, NoCollector> {
        let given_up = CancellationToken::new();
        let sender = |to: &Collector| -> Result<Sender, HttpClientError> {
            let client = http_client::new(to.url.scheme_str() == Some("https"), ca_bundle)?;
            Ok(Sender::new(client, to.timeout, tasks, given_up.clone()))
        };
        let resource = resource(config);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut otel = Self {
            spans: None,
            worker: Mutex::default(),
            dropped: Arc::clone(&dropped),
            frame: Frame { scope: scope(), newest: config.newest_names },
            sampler: config.sampler,
            metrics: None,
            sent: CancellationToken::new(),
            given_up: given_up.clone(),
        };
        if let Some(to) = &config.traces {
            let builder = SpanExporter::builder().with_http().with_http_client(sender(to)?);
            let builder = builder.with_endpoint(to.url.to_string()).with_timeout(to.timeout);
            let mut exporter = builder.with_headers(headers(to)).build()?;
            exporter.set_resource(&resource);
            let (spans, queue) = mpsc::channel(QUEUE);
            otel.spans = Some(spans);
            otel.worker = Mutex::new(Some(Worker {
                queue,
                exporter,
                dropped,
                patience: to.timeout,
                complained: None,
                _sent: otel.sent.clone().drop_guard(),
            }));
        }
        if let Some(to) = &config.metrics {
            let builder = MetricExporter::builder().with_http().with_http_client(sender(to)?);
            let builder = builder.with_endpoint(to.url.to_string()).with_timeout(to.timeout);
            let exporter = builder.with_headers(headers(to)).build()?;
            let reader = PeriodicReader::builder(exporter).with_interval(config.interval).build();
            let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
            let measures = Measures::new(&provider, config.newest_names);
            otel.metrics = Some((provider, measures));
        }
        Ok(otel)
    }

    /// Begins to send, until `tasks` stop.
    pub fn start(&self, tasks: &Tasks) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            tasks.spawn(worker.run(tasks.clone()));
        }
    }

    /// Whether anything is told at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.spans.is_some() || self.metrics.is_some()
    }

    /// Tells of a request that is over. Never waits: what does not fit into the queue is dropped and counted.
    pub fn tell(&self, told: &Told<'_>) {
        if let Some((_, measures)) = &self.metrics {
            measures.record(told);
        }
        let Some(queue) = self.spans.as_ref().filter(|_| self.sampler.records(told.trace)) else { return };
        for span in self.frame.spans(told) {
            if queue.try_send(span).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many spans no collector took.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends the last metrics and waits for the last spans, within a short time; then ends whatever is still under way.
    pub async fn finish(&self) {
        // A worker that was never started has nothing to send.
        drop(self.worker.lock().unwrap_or_else(PoisonError::into_inner).take());
        let spans = async {
            if self.spans.is_some() {
                self.sent.cancelled().await;
            }
        };
        let metrics = async {
            let Some((provider, _)) = &self.metrics else { return };
            let (provider, (said, heard)) = (provider.clone(), oneshot::channel());
            // It waits for the thread that sends, so it waits on a thread of its own, which nobody has to wait for.
            std::thread::spawn(move || said.send(provider.shutdown_with_timeout(LAST_SENDING).is_ok()));
            let _ = heard.await;
        };
        let both = async { tokio::join!(spans, metrics) };
        let _ = tokio::time::timeout(LAST_SENDING, both).await;
        self.given_up.cancel();
    }
}

impl Sampler {
    /// Whether `trace` is recorded. The same part of all traces is chosen wherever this rule is used.
    /// <https://opentelemetry.io/docs/specs/otel/trace/sdk/#traceidratiobased>
    fn records(self, trace: &Trace) -> bool {
        match &trace.parent {
            Some(parent) if self.parent_based => parent.sampled,
            _ => self.ratio >= 1.0 || drawn(trace) < self.ratio,
        }
    }
}

/// A number in `0.0..1.0` that is the same for all parts of a trace.
fn drawn(trace: &Trace) -> f64 {
    // 53 bits are what an f64 holds exactly.
    let bits = u128::from_be_bytes(trace.id.0) & ((1 << 53) - 1);
    #[allow(clippy::cast_precision_loss)]
    let drawn = bits as f64 / (1_u64 << 53) as f64;
    drawn
}

fn headers(to: &Collector) -> HashMap<String, String> {
    to.headers.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(attributes::SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Who tells. The environment is not asked: all of it was read by `config`.
fn resource(config: &config::Otel) -> Resource {
    let own = [
        KeyValue::new("service.name", config.service_name.clone()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("telemetry.sdk.language", "rust"),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
    ];
    let said = config.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty().with_attributes(own).with_attributes(said).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace_context::{Parent, SpanId, TraceId};

    #[tokio::test]
    async fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
        let lookup = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://127.0.0.1:9/v1/traces".to_owned())
        };
        let config = config::Config::load(lookup).unwrap();
        // Never started, so that nobody empties the queue.
        let otel = Otel::open(&config.otel, None, &Tasks::default()).unwrap();
        let (trace, now) = (trace(7, None), std::time::SystemTime::UNIX_EPOCH);
        let told = Told {
            trace: &trace,
            request_id: "req_1",
            method: "GET",
            route: None,
            status: Some(200),
            client: "curl",
            team: None,
            error: None,
            time: (now, now),
            call: None,
        };
        for _ in 0..QUEUE + 3 {
            otel.tell(&told);
        }
        assert_eq!(otel.dropped(), 3);
        otel.finish().await;
    }

    fn trace(id: u128, sampled: Option<bool>) -> Trace {
        let parent = sampled.map(|sampled| Parent { span: SpanId([1; 8]), sampled, state: Arc::default() });
        Trace { id: TraceId(id.to_be_bytes()), span: SpanId([2; 8]), parent }
    }

    #[test]
    fn whoever_named_the_trace_decides_unless_the_sampler_does_not_ask() {
        let based = Sampler { parent_based: true, ratio: 0.0 };
        assert!(based.records(&trace(7, Some(true))));
        assert!(!based.records(&trace(7, Some(false))) && !based.records(&trace(7, None)));
        let always = Sampler { parent_based: false, ratio: 1.0 };
        assert!(always.records(&trace(7, Some(false))));
        assert!(!Sampler { parent_based: false, ratio: 0.0 }.records(&trace(7, Some(true))));
    }

    #[test]
    fn a_ratio_takes_about_its_part_and_the_same_traces_every_time() {
        let sampler = Sampler { parent_based: true, ratio: 0.25 };
        let spread = |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let taken = (1..=4000).filter(|number| sampler.records(&trace(spread(*number), None))).count();
        assert!((900..1100).contains(&taken), "{taken}");
        assert!(!Sampler { ratio: 0.0, ..sampler }.records(&trace(1 << 60, None)));
    }
}
