//! OpenTelemetry export: spans and metrics of requests for a collector, by OTLP over HTTP. Without an endpoint nothing is
//! exported.
//!
//! Spans are built from the record of a complete request, with its times. Not here: the trace context of a request
//! (`trace_context`) and the metrics for Prometheus (`metrics`).

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
use std::time::SystemTime;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use request_span::{RequestSpan, UpstreamSpan};

use crate::config::{CollectorConfig, OtelConfig, SamplerConfig};
use crate::http_client::{self, HttpClientError};
use crate::tasks::Tasks;
use crate::telemetry::record::RequestRecord;
use crate::telemetry::trace_context::TraceContext;
use collector_client::CollectorClient;
use instruments::Instruments;
use span_batcher::{FINAL_FLUSH_TIMEOUT, SPAN_QUEUE_CAPACITY, SpanBatcher};
use spans::SpanBuilder;

/// Failed setup of the export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExporterError {
    /// The HTTP client could not be built.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: the HTTP client for the collector cannot be built: {0}")]
    HttpClient(#[from] HttpClientError),
    /// The exporter rejected its settings.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Build(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Exporter of spans and metrics.
pub(crate) struct Otel {
    span_queue: Option<mpsc::Sender<SpanData>>,
    /// Taken by `start`.
    batcher: Mutex<Option<SpanBatcher>>,
    dropped_spans: Arc<AtomicU64>,
    span_builder: SpanBuilder,
    sampler: SamplerConfig,
    metrics: Option<(SdkMeterProvider, Instruments)>,
    /// Cancelled when the batcher has ended.
    batcher_finished: CancellationToken,
    /// Ends all requests to the collector.
    abort: CancellationToken,
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otel").field("spans", &self.span_queue.is_some()).finish_non_exhaustive()
    }
}

impl Otel {
    /// Builds the exporters that `config` selects. Their requests are sent by `tasks`.
    ///
    /// # Errors
    /// When an exporter or its HTTP client cannot be built. A collector that is unavailable is no error here.
    pub(crate) fn open(
        config: &OtelConfig,
        ca_bundle: Option<&Path>,
        tasks: &Tasks,
    ) -> Result<Self, ExporterError> {
        let abort = CancellationToken::new();
        let client = |collector: &CollectorConfig| -> Result<CollectorClient, HttpClientError> {
            let client = http_client::new(collector.url.scheme_str() == Some("https"), ca_bundle)?;
            Ok(CollectorClient::new(client, collector.timeout, tasks, abort.clone()))
        };
        let resource = resource(config);
        let dropped_spans = Arc::new(AtomicU64::new(0));
        let mut otel = Self {
            span_queue: None,
            batcher: Mutex::default(),
            dropped_spans: Arc::clone(&dropped_spans),
            span_builder: SpanBuilder { scope: scope(), use_newest_names: config.newest_names },
            sampler: config.sampler,
            metrics: None,
            batcher_finished: CancellationToken::new(),
            abort: abort.clone(),
        };
        if let Some(collector) = &config.traces {
            let builder = SpanExporter::builder().with_http().with_http_client(client(collector)?);
            let builder = builder.with_endpoint(collector.url.to_string()).with_timeout(collector.timeout);
            let mut exporter = builder.with_headers(headers(collector)).build()?;
            exporter.set_resource(&resource);
            let (tx, queue) = mpsc::channel(SPAN_QUEUE_CAPACITY);
            otel.span_queue = Some(tx);
            otel.batcher = Mutex::new(Some(SpanBatcher {
                queue,
                exporter,
                dropped: dropped_spans,
                export_timeout: collector.timeout,
                last_reported_at: None,
                _finished: otel.batcher_finished.clone().drop_guard(),
            }));
        }
        if let Some(collector) = &config.metrics {
            let builder = MetricExporter::builder().with_http().with_http_client(client(collector)?);
            let builder = builder.with_endpoint(collector.url.to_string()).with_timeout(collector.timeout);
            let exporter = builder.with_headers(headers(collector)).build()?;
            let reader = PeriodicReader::builder(exporter).with_interval(config.interval).build();
            let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
            let instruments = Instruments::new(&provider, config.newest_names);
            otel.metrics = Some((provider, instruments));
        }
        Ok(otel)
    }

    /// Starts to export spans, until `tasks` stop.
    pub(crate) fn start(&self, tasks: &Tasks) {
        let batcher = self.batcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(batcher) = batcher {
            tasks.spawn(batcher.run(tasks.clone()));
        }
    }

    /// Whether anything is exported.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.span_queue.is_some() || self.metrics.is_some()
    }

    /// Exports a record that is complete at `now`; `labels` are its bounded model and Region.
    pub(super) fn export(&self, record: &RequestRecord, labels: Option<(&str, &str)>, now: SystemTime) {
        self.export_span(&RequestSpan::from_record(record, labels, now));
    }

    /// Exports a complete request. Never waits: spans that do not fit into the queue are dropped and counted.
    pub(crate) fn export_span(&self, request: &RequestSpan<'_>) {
        if let Some((_, instruments)) = &self.metrics {
            instruments.record(request);
        }
        let Some(queue) = self.span_queue.as_ref().filter(|_| self.sampler.is_sampled(request.trace)) else {
            return;
        };
        for span in self.span_builder.build(request) {
            if queue.try_send(span).is_err() {
                self.dropped_spans.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Number of spans that were not exported.
    #[must_use]
    pub(crate) fn dropped_spans(&self) -> u64 {
        self.dropped_spans.load(Ordering::Relaxed)
    }

    /// Exports the last metrics and waits for the last spans, within `FINAL_FLUSH_TIMEOUT`; then aborts all requests to
    /// the collector.
    pub(crate) async fn shut_down(&self) {
        // A batcher that was never started has nothing to export.
        drop(self.batcher.lock().unwrap_or_else(PoisonError::into_inner).take());
        let spans = async {
            if self.span_queue.is_some() {
                self.batcher_finished.cancelled().await;
            }
        };
        let metrics = async {
            let Some((provider, _)) = &self.metrics else { return };
            let (provider, (tx, rx)) = (provider.clone(), oneshot::channel());
            // It blocks until the SDK's own thread is done, so it runs on a thread that is never joined.
            std::thread::spawn(move || tx.send(provider.shutdown_with_timeout(FINAL_FLUSH_TIMEOUT).is_ok()));
            let _ = rx.await;
        };
        let both = async { tokio::join!(spans, metrics) };
        let _ = tokio::time::timeout(FINAL_FLUSH_TIMEOUT, both).await;
        self.abort.cancel();
    }
}

impl SamplerConfig {
    /// Whether `trace` is exported. Every process with this rule chooses the same traces.
    /// <https://opentelemetry.io/docs/specs/otel/trace/sdk/#traceidratiobased>
    fn is_sampled(self, trace: &TraceContext) -> bool {
        match &trace.parent {
            Some(parent) if self.parent_based => parent.sampled,
            _ => self.ratio >= 1.0 || trace_fraction(trace) < self.ratio,
        }
    }
}

/// Number in `0.0..1.0` derived from the trace id, so equal for all spans of a trace.
fn trace_fraction(trace: &TraceContext) -> f64 {
    // 53 bits are what an f64 holds exactly.
    let bits = u128::from_be_bytes(trace.trace_id.0) & ((1 << 53) - 1);
    #[allow(clippy::cast_precision_loss)]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}

fn headers(collector: &CollectorConfig) -> HashMap<String, String> {
    collector.headers.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(attributes::SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Resource of all spans and metrics. `config` has read the environment, so the SDK does not.
fn resource(config: &OtelConfig) -> Resource {
    let ours = [
        KeyValue::new("service.name", config.service_name.clone()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("telemetry.sdk.language", "rust"),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
    ];
    let configured = config.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty().with_attributes(ours).with_attributes(configured).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::trace_context::{ParentSpan, SpanId, TraceId};

    #[tokio::test]
    async fn spans_beyond_the_queue_are_dropped_and_counted() {
        let lookup = |name: &str| {
            (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| "http://127.0.0.1:9/v1/traces".to_owned())
        };
        let config = crate::config::Config::load(lookup).unwrap();
        // Never started, so that the queue stays full.
        let otel = Otel::open(&config.otel, None, &Tasks::default()).unwrap();
        let (trace, now) = (trace(7, None), SystemTime::UNIX_EPOCH);
        let request = RequestSpan {
            trace: &trace,
            request_id: "req_1",
            method: "GET",
            route: None,
            status: Some(200),
            client: "curl",
            team: None,
            error: None,
            started_at: now,
            ended_at: now,
            upstream: None,
        };
        for _ in 0..SPAN_QUEUE_CAPACITY + 3 {
            otel.export_span(&request);
        }
        assert_eq!(otel.dropped_spans(), 3);
        otel.shut_down().await;
    }

    fn trace(id: u128, sampled: Option<bool>) -> TraceContext {
        let parent =
            sampled.map(|sampled| ParentSpan { span_id: SpanId([1; 8]), sampled, state: Arc::default() });
        TraceContext { trace_id: TraceId(id.to_be_bytes()), span_id: SpanId([2; 8]), parent }
    }

    #[test]
    fn parent_decides_unless_the_sampler_ignores_it() {
        let based = SamplerConfig { parent_based: true, ratio: 0.0 };
        assert!(based.is_sampled(&trace(7, Some(true))));
        assert!(!based.is_sampled(&trace(7, Some(false))) && !based.is_sampled(&trace(7, None)));
        let always = SamplerConfig { parent_based: false, ratio: 1.0 };
        assert!(always.is_sampled(&trace(7, Some(false))));
        assert!(!SamplerConfig { parent_based: false, ratio: 0.0 }.is_sampled(&trace(7, Some(true))));
    }

    #[test]
    fn ratio_samples_its_share_of_the_traces() {
        let sampler = SamplerConfig { parent_based: true, ratio: 0.25 };
        let spread = |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let sampled = (1..=4000).filter(|number| sampler.is_sampled(&trace(spread(*number), None))).count();
        assert!((900..1100).contains(&sampled), "{sampled}");
        assert!(!SamplerConfig { ratio: 0.0, ..sampler }.is_sampled(&trace(1 << 60, None)));
    }
}
