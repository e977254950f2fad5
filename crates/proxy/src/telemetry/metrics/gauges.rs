//! Gauges: values that are read on each scrape.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use super::labels::{BuildLabels, StateLabels, VersionLabels};
use crate::telemetry::dropped_log_lines;

/// Label set of a metric that can be absent.
pub(super) type NoLabels = Vec<(String, String)>;

/// Metrics that are refreshed on each scrape.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    usage_queue_depth: Gauge,
    usage_dropped: Counter,
    wal_bytes: Gauge,
    oldest_usage_age: Gauge<f64, AtomicU64>,
    db_connections: Family<StateLabels, Gauge>,
    db_up: Gauge,
    credentials_expire_at: Family<NoLabels, Gauge>,
    pub(super) certificate_expires_at: Family<NoLabels, Gauge>,
    pub(super) price_versions: Family<VersionLabels, Gauge>,
    workers: Gauge,
    tasks: Gauge,
    spans_dropped: Counter,
}

/// Values of the gauges at the time of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Requests that are open or whose usage is not yet stored.
    pub usage_queue_depth: usize,
    /// Usage records that neither the database nor the WAL took.
    pub usage_dropped: u64,
    /// Bytes of the WAL that are not yet in the database.
    pub wal_bytes: u64,
    /// Time that the oldest usage record has waited for the database.
    pub oldest_usage_age: Duration,
    /// Connections to the database, in use and idle.
    pub db_connections: (u32, u32),
    /// Whether the last call reached the database.
    pub db_up: bool,
    /// When the AWS credentials expire, in seconds since the epoch; `None` for those that do not.
    pub credentials_expire_at: Option<i64>,
    /// Spans that were not sent.
    pub spans_dropped: u64,
}

/// Registers a metric with its help text.
pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(name, help, metric.clone());
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        register(
            registry,
            "usage_queue_depth",
            "Requests that are open or whose usage is not yet stored",
            &self.usage_queue_depth,
        );
        register(
            registry,
            "usage_queue_dropped",
            "Usage records that neither the database nor the WAL took; they are in the log",
            &self.usage_dropped,
        );
        register(
            registry,
            "usage_spill_bytes",
            "Bytes of the WAL that are not yet in the database",
            &self.wal_bytes,
        );
        register(
            registry,
            "usage_oldest_seconds",
            "Time that the oldest usage record has waited for the database",
            &self.oldest_usage_age,
        );
        register(registry, "db_pool_connections", "Connections to the database", &self.db_connections);
        register(registry, "db_up", "Whether the last call reached the database", &self.db_up);
        register(
            registry,
            "aws_credentials_expiry_timestamp_seconds",
            "When the AWS credentials expire, in seconds since the epoch",
            &self.credentials_expire_at,
        );
        register(
            registry,
            "tls_certificate_expiry_timestamp_seconds",
            "When the TLS certificate of the listener expires, in seconds since the epoch",
            &self.certificate_expires_at,
        );
        register(registry, "price_table_info", "Prices in use, by their version", &self.price_versions);
        register(registry, "tokio_workers", "Worker threads of the runtime", &self.workers);
        register(registry, "tokio_alive_tasks", "Tasks of the runtime that are alive", &self.tasks);
        register(
            registry,
            "otel_spans_dropped",
            "Spans that were not sent to the collector",
            &self.spans_dropped,
        );
        let build: Family<BuildLabels, Gauge> = Family::default();
        let commit = option_env!("BEDROCK_PROXY_COMMIT").unwrap_or("unknown");
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION"), commit }).set(1);
        register(registry, "build_info", "Version and commit of this program", &build);
    }

    pub(super) fn set(&self, snapshot: &Snapshot) {
        let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let store = |counter: &Counter, total: u64| counter.inner().store(total, Ordering::Relaxed);
        self.usage_queue_depth.set(integer(snapshot.usage_queue_depth as u64));
        store(&self.usage_dropped, snapshot.usage_dropped);
        store(&self.spans_dropped, snapshot.spans_dropped);
        self.wal_bytes.set(integer(snapshot.wal_bytes));
        self.oldest_usage_age.set(snapshot.oldest_usage_age.as_secs_f64());
        let (used, idle) = snapshot.db_connections;
        for (state, number) in [("used", used), ("idle", idle)] {
            self.db_connections.get_or_create(&StateLabels { state }).set(number.into());
        }
        self.db_up.set(snapshot.db_up.into());
        match snapshot.credentials_expire_at {
            Some(at) => {
                self.credentials_expire_at.get_or_create(&NoLabels::new()).set(at);
            }
            None => self.credentials_expire_at.clear(),
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let runtime = runtime.metrics();
            self.workers.set(integer(runtime.num_workers() as u64));
            self.tasks.set(integer(runtime.num_alive_tasks() as u64));
        }
    }
}

/// Counter of the log lines that this process dropped, read on each scrape.
#[derive(Debug)]
pub(super) struct DroppedLogLines;

impl Collector for DroppedLogLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new(dropped_log_lines());
        let help = "Log lines that came too fast or could not be written";
        let encoder = encoder.encode_descriptor("log_lines_dropped", help, None, counter.metric_type())?;
        counter.encode(encoder)
    }
}
