//! Exporter that counts the spans of failed exports, and logs a failure at most once a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::time::Instant;

/// Pause between two log lines about lost spans, so that an outage of the collector does not fill the log.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct CountingExporter<E> {
    exporter: E,
    lost: Arc<AtomicU64>,
    last_reported_at: Mutex<Option<Instant>>,
}

impl<E: SpanExporter> CountingExporter<E> {
    pub(super) fn new(exporter: E, lost: Arc<AtomicU64>) -> Self {
        Self { exporter, lost, last_reported_at: Mutex::default() }
    }
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        if let Err(error) = &result {
            let lost = self.lost.fetch_add(spans, Ordering::Relaxed) + spans;
            let mut last_reported_at = self.last_reported_at.lock().unwrap_or_else(PoisonError::into_inner);
            if last_reported_at.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
                *last_reported_at = Some(Instant::now());
                tracing::warn!(event = "spans_lost", %error, lost, "export of spans failed; check OTEL_EXPORTER_OTLP_ENDPOINT");
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
