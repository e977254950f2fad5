//! Batches of spans for the collector, behind a bounded queue. A collector that is unavailable or busy costs spans, which
//! are counted, and never delays a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;

use crate::tasks::Tasks;

/// Spans that wait at most. Default of the SDK's batch processor (`OTEL_BSP_MAX_QUEUE_SIZE`).
pub(super) const SPAN_QUEUE_CAPACITY: usize = 2048;
/// Spans of one export at most. Default of the SDK's batch processor (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
const MAX_BATCH_SPANS: usize = 512;
/// Time that the first span of a batch waits for more: short, so that traces can be followed while they happen.
const BATCH_WINDOW: Duration = Duration::from_secs(1);
/// Pause between two log lines about dropped spans, so that an outage of the collector does not fill the log.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Time for the last spans and metrics at shutdown: short beside the grace that container platforms give.
pub(super) const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct SpanBatcher {
    pub(super) queue: mpsc::Receiver<SpanData>,
    pub(super) exporter: SpanExporter,
    pub(super) dropped: Arc<AtomicU64>,
    /// Timeout of one export, its retries included.
    pub(super) export_timeout: Duration,
    pub(super) last_reported_at: Option<Instant>,
    /// Cancels a token when the batcher has ended.
    pub(super) _finished: DropGuard,
}

impl SpanBatcher {
    /// Exports spans until `tasks` stop; then those that are left, within [`FINAL_FLUSH_TIMEOUT`].
    pub(super) async fn run(mut self, tasks: Tasks) {
        loop {
            tokio::select! {
                biased;
                () = tasks.shutdown_begun() => break,
                first = self.queue.recv() => {
                    let Some(first) = first else { return };
                    let batch = self.collect_batch(first, &tasks).await;
                    self.export(batch, &tasks).await;
                }
            }
        }
        let deadline = Instant::now() + FINAL_FLUSH_TIMEOUT;
        loop {
            let mut batch = Vec::new();
            while batch.len() < MAX_BATCH_SPANS
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            let spans = batch.len();
            if spans == 0 {
                return;
            }
            let result = timeout_at(deadline, self.exporter.export(batch)).await;
            self.count_failed(spans, result.unwrap_or_else(|_| Err(timeout_error())));
        }
    }

    async fn collect_batch(&mut self, first: SpanData, tasks: &Tasks) -> Vec<SpanData> {
        let mut batch = vec![first];
        let deadline = Instant::now() + BATCH_WINDOW;
        while batch.len() < MAX_BATCH_SPANS {
            tokio::select! {
                () = tasks.shutdown_begun() => break,
                span = timeout_at(deadline, self.queue.recv()) => match span {
                    Ok(Some(span)) => batch.push(span),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        batch
    }

    /// Exports a batch; a shutdown in the meantime shortens the timeout.
    async fn export(&mut self, batch: Vec<SpanData>, tasks: &Tasks) {
        let spans = batch.len();
        let shutdown = async {
            tasks.shutdown_begun().await;
            tokio::time::sleep(FINAL_FLUSH_TIMEOUT).await;
        };
        let result = tokio::select! {
            result = tokio::time::timeout(self.export_timeout, self.exporter.export(batch)) => {
                result.unwrap_or_else(|_| Err(timeout_error()))
            }
            () = shutdown => Err(timeout_error()),
        };
        self.count_failed(spans, result);
    }

    fn count_failed(&mut self, spans: usize, result: Result<(), OTelSdkError>) {
        let Err(error) = result else { return };
        let lost = self.dropped.fetch_add(spans as u64, Ordering::Relaxed) + spans as u64;
        let now = Instant::now();
        if self.last_reported_at.is_none_or(|at| now - at >= REPORT_INTERVAL) {
            self.last_reported_at = Some(now);
            tracing::warn!(event = "spans_lost", %error, lost, "export of spans failed; check OTEL_EXPORTER_OTLP_ENDPOINT");
        }
    }
}

fn timeout_error() -> OTelSdkError {
    OTelSdkError::InternalFailure("no response in time".to_owned())
}
