//! Spans on their way to the collector: a bounded queue, and batches behind it. A collector that is away or hangs costs
//! spans, which are counted, and never a request.

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

/// How many spans wait at most.
pub(super) const QUEUE: usize = 2048;
/// The most spans in one message.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How often it is said that spans are lost.
const QUIET: Duration = Duration::from_secs(60);
/// How long the last spans and metrics may take when the server ends.
pub(super) const LAST_SENDING: Duration = Duration::from_secs(2);

pub(super) struct Worker {
    pub(super) queue: mpsc::Receiver<SpanData>,
    pub(super) exporter: SpanExporter,
    pub(super) dropped: Arc<AtomicU64>,
    /// How long one message may take, with all its retries.
    pub(super) patience: Duration,
    pub(super) complained: Option<Instant>,
    /// Tells that this is over.
    pub(super) _sent: DropGuard,
}

impl Worker {
    /// Sends what comes, until `tasks` stop; then what is left, within [`LAST_SENDING`].
    pub(super) async fn run(mut self, tasks: Tasks) {
        loop {
            tokio::select! {
                biased;
                () = tasks.stopping() => break,
                first = self.queue.recv() => {
                    let Some(first) = first else { return };
                    let batch = self.gather(first, &tasks).await;
                    self.send(batch, &tasks).await;
                }
            }
        }
        let until = Instant::now() + LAST_SENDING;
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            let number = batch.len();
            if number == 0 {
                return;
            }
            let result = timeout_at(until, self.exporter.export(batch)).await;
            self.done(number, result.unwrap_or_else(|_| Err(late())));
        }
    }

    async fn gather(&mut self, first: SpanData, tasks: &Tasks) -> Vec<SpanData> {
        let mut batch = vec![first];
        let until = Instant::now() + LINGER;
        while batch.len() < BATCH {
            tokio::select! {
                () = tasks.stopping() => break,
                span = timeout_at(until, self.queue.recv()) => match span {
                    Ok(Some(span)) => batch.push(span),
                    Ok(None) | Err(_) => break,
                },
            }
        }
        batch
    }

    /// Sends a batch; when the server ends meanwhile, the time for that is short.
    async fn send(&mut self, batch: Vec<SpanData>, tasks: &Tasks) {
        let number = batch.len();
        let ending = async {
            tasks.stopping().await;
            tokio::time::sleep(LAST_SENDING).await;
        };
        let result = tokio::select! {
            result = tokio::time::timeout(self.patience, self.exporter.export(batch)) => {
                result.unwrap_or_else(|_| Err(late()))
            }
            () = ending => Err(late()),
        };
        self.done(number, result);
    }

    fn done(&mut self, number: usize, result: Result<(), OTelSdkError>) {
        let Err(error) = result else { return };
        let lost = self.dropped.fetch_add(number as u64, Ordering::Relaxed) + number as u64;
        let now = Instant::now();
        if self.complained.is_none_or(|at| now - at >= QUIET) {
            self.complained = Some(now);
            tracing::warn!(event = "spans_lost", %error, lost, "the collector took no spans; see OTEL_EXPORTER_OTLP_ENDPOINT");
        }
    }
}

fn late() -> OTelSdkError {
    OTelSdkError::InternalFailure("no answer in time".to_owned())
}
