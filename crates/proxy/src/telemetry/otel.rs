//! OpenTelemetry export: spans and metrics of requests for a collector, by OTLP over HTTP. Without an endpoint nothing is
//! exported.
//!
//! Spans are built from the record of a complete request, with its times. Not here: the trace context of a request
//! (`trace_context`) and the metrics for Prometheus (`metrics`).

mod attributes;
mod collector_client;
mod counting_exporter;
mod instruments;
mod spans;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanKind, TraceContextExt};
use opentelemetry::{Context, InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::{ResourceDetector as _, SdkProvidedResourceDetector};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanExporter as _, SpanProcessor,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(crate) use collector_client::send_empty_export;

use crate::config::{CollectorConfig, OtelConfig};
use crate::http_client::{self, HttpClientError};
use crate::tasks::Tasks;
use crate::telemetry::record::RequestRecord;
use crate::telemetry::trace_context::TraceContext;
use collector_client::CollectorClient;
use counting_exporter::CountingExporter;
use instruments::Instruments;
use spans::SpanBuilder;

/// Time for the last spans and metrics at shutdown: short beside the grace that container platforms give.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const SERVICE_NAME: &str = "service.name";
const SERVICE_VERSION: &str = "service.version";

/// Failed setup of the export.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The HTTP client could not be built.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: the HTTP client for the collector cannot be built: {0}")]
    HttpClient(#[from] HttpClientError),
    /// The exporter rejected its settings.
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Build(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Exporter of spans and metrics.
pub struct Otel {
    spans: Option<SpanPipeline>,
    /// Spans of failed exports.
    lost_spans: Arc<AtomicU64>,
    metrics: Option<(SdkMeterProvider, Instruments)>,
    /// Ends all requests to the collector.
    abort: CancellationToken,
}

/// From the record of a request to the queue of the SDK.
struct SpanPipeline {
    sampler: Sampler,
    builder: SpanBuilder,
    processor: Arc<BatchSpanProcessor>,
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otel").field("spans", &self.spans.is_some()).finish_non_exhaustive()
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
        let resource = resource();
        let lost_spans = Arc::default();
        let mut otel =
            Self { spans: None, lost_spans: Arc::clone(&lost_spans), metrics: None, abort: abort.clone() };
        if let Some(collector) = &config.traces {
            let builder = SpanExporter::builder().with_http().with_http_client(client(collector)?);
            let builder = builder.with_endpoint(collector.url.to_string()).with_timeout(collector.timeout);
            let mut exporter = builder.with_headers(headers(collector)).build()?;
            exporter.set_resource(&resource);
            otel.spans = Some(SpanPipeline {
                sampler: config.sampler.clone(),
                builder: SpanBuilder { scope: scope(), use_newest_names: config.newest_names },
                processor: Arc::new(
                    BatchSpanProcessor::builder(CountingExporter::new(exporter, lost_spans)).build(),
                ),
            });
        }
        if let Some(collector) = &config.metrics {
            let builder = MetricExporter::builder().with_http().with_http_client(client(collector)?);
            let builder = builder.with_endpoint(collector.url.to_string()).with_timeout(collector.timeout);
            let exporter = builder.with_headers(headers(collector)).build()?;
            let provider = SdkMeterProvider::builder()
                .with_resource(resource)
                .with_reader(PeriodicReader::builder(exporter).build())
                .build();
            let instruments = Instruments::new(&provider, config.newest_names);
            otel.metrics = Some((provider, instruments));
        }
        Ok(otel)
    }

    /// Whether anything is exported.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.spans.is_some() || self.metrics.is_some()
    }

    /// Exports a record that is complete at `now`; `labels` are its bounded model and Region. Never waits: the SDK drops
    /// spans that do not fit into its queue.
    pub(super) fn export(&self, record: &RequestRecord, labels: Option<(&str, &str)>, now: SystemTime) {
        if let Some((_, instruments)) = &self.metrics {
            instruments.record(record, labels.map(|(model, _)| model));
        }
        let Some(pipeline) = &self.spans else { return };
        if is_sampled(&pipeline.sampler, &record.head.trace) {
            for span in pipeline.builder.build(record, labels, now) {
                pipeline.processor.on_end(span);
            }
        }
    }

    /// Number of spans whose export failed.
    #[must_use]
    pub fn lost_spans(&self) -> u64 {
        self.lost_spans.load(Ordering::Relaxed)
    }

    /// Exports the last metrics and the last spans, within `FINAL_FLUSH_TIMEOUT`; then aborts all requests to the
    /// collector.
    pub(crate) async fn shut_down(&self) {
        let processor = self.spans.as_ref().map(|pipeline| Arc::clone(&pipeline.processor));
        let spans = blocking(move || processor.map(|it| it.shutdown_with_timeout(FINAL_FLUSH_TIMEOUT)));
        let provider = self.metrics.as_ref().map(|(provider, _)| provider.clone());
        let metrics = blocking(move || provider.map(|it| it.shutdown_with_timeout(FINAL_FLUSH_TIMEOUT)));
        let both = async { tokio::join!(spans, metrics) };
        let _ = tokio::time::timeout(FINAL_FLUSH_TIMEOUT, both).await;
        self.abort.cancel();
    }
}

/// Runs `shutdown`, which waits for the SDK's own thread, on a thread that is never joined.
async fn blocking<T: Send + 'static>(shutdown: impl FnOnce() -> T + Send + 'static) {
    let (tx, rx) = oneshot::channel();
    std::thread::spawn(move || tx.send(shutdown()).is_ok());
    let _ = rx.await;
}

/// Whether `trace` is exported. Every process with this sampler chooses the same traces.
fn is_sampled(sampler: &Sampler, trace: &TraceContext) -> bool {
    let parent = trace.parent.clone().map(|parent| Context::new().with_remote_span_context(parent));
    let result = sampler.should_sample(parent.as_ref(), trace.trace_id, "", &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

fn headers(collector: &CollectorConfig) -> HashMap<String, String> {
    collector.headers.iter().map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect()
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(attributes::SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Resource of all spans and metrics: the SDK's, which has the attributes of the environment, with our name and version
/// where the environment sets none.
fn resource() -> Resource {
    // The builder reads OTEL_RESOURCE_ATTRIBUTES last; by the specification, OTEL_SERVICE_NAME takes precedence.
    let name = SdkProvidedResourceDetector.detect().get(&Key::from_static_str(SERVICE_NAME));
    let name = name.filter(|name| !name.as_str().starts_with("unknown_service"));
    let version = Resource::builder().build().get(&Key::from_static_str(SERVICE_VERSION));
    Resource::builder()
        .with_attribute(KeyValue::new(SERVICE_NAME, name.unwrap_or_else(|| "bedrock-proxy".into())))
        .with_attribute(KeyValue::new(
            SERVICE_VERSION,
            version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").into()),
        ))
        .build()
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    fn trace(id: u128, sampled: Option<bool>) -> TraceContext {
        let trace_id = TraceId::from(id);
        let parent = sampled.map(|sampled| {
            let flags = TraceFlags::NOT_SAMPLED.with_sampled(sampled);
            SpanContext::new(trace_id, SpanId::from(1), flags, true, TraceState::NONE)
        });
        TraceContext { trace_id, span_id: SpanId::from(2), parent }
    }

    fn parent_based(ratio: f64) -> Sampler {
        Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)))
    }

    #[test]
    fn parent_decides_unless_the_sampler_ignores_it() {
        let based = parent_based(0.0);
        assert!(is_sampled(&based, &trace(7, Some(true))));
        assert!(!is_sampled(&based, &trace(7, Some(false))) && !is_sampled(&based, &trace(7, None)));
        assert!(is_sampled(&Sampler::TraceIdRatioBased(1.0), &trace(7, Some(false))));
        assert!(!is_sampled(&Sampler::TraceIdRatioBased(0.0), &trace(7, Some(true))));
    }

    #[test]
    fn ratio_samples_its_share_of_the_traces() {
        let sampler = parent_based(0.25);
        let spread = |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let sampled = (1..=4000).filter(|number| is_sampled(&sampler, &trace(spread(*number), None))).count();
        assert!((900..1100).contains(&sampled), "{sampled}");
        assert!(!is_sampled(&parent_based(0.0), &trace(1 << 60, None)));
    }

    #[test]
    fn resource_names_the_service() {
        let resource = resource();
        let value = |name| resource.get(&Key::from_static_str(name)).map(|value| value.to_string());
        assert_eq!(value("service.name").as_deref(), Some("bedrock-proxy"));
        assert_eq!(value("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}
