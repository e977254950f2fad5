//! Resources of the process, from `/proc` on Linux, read on each scrape. On other systems all values are 0.
//!
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Ticks of a second in `/proc`: `USER_HZ`, which is 100 on all architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics with the names that all Prometheus client libraries use.
#[derive(Debug, Default)]
pub(super) struct ProcessMetrics {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start: Gauge<f64, AtomicU64>,
}

impl ProcessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("process_cpu_seconds", "Processor time, in seconds", self.cpu.clone());
        registry.register("process_resident_memory_bytes", "Memory in use, in bytes", self.resident.clone());
        registry.register(
            "process_virtual_memory_bytes",
            "Address space, in bytes",
            self.virtual_memory.clone(),
        );
        registry.register("process_open_fds", "File descriptors in use", self.open_fds.clone());
        registry.register("process_max_fds", "Limit of open file descriptors", self.max_fds.clone());
        registry.register("process_threads", "Threads of the operating system", self.threads.clone());
        registry.register(
            "process_start_time_seconds",
            "When the process started, in seconds since the epoch",
            self.start.clone(),
        );
    }

    /// Reads the current values.
    pub(super) fn refresh(&self) {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let status = read("/proc/self/status");
        self.resident.set(kilobytes(&status, "VmRSS:"));
        self.virtual_memory.set(kilobytes(&status, "VmSize:"));
        // Reading the directory holds one of them open.
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_fds.set(i64::try_from(open.saturating_sub(1)).unwrap_or(i64::MAX));
        self.max_fds.set(number(&read("/proc/self/limits"), "Max open files"));
        let stat = read("/proc/self/stat");
        // The second field is the program name, which can contain spaces and parentheses; the others follow it.
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_ascii_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or_default();
        self.cpu.inner().store(((field(14) + field(15)) / TICKS_PER_SECOND).to_bits(), Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // a count of threads
        self.threads.set(field(20) as i64);
        #[allow(clippy::cast_precision_loss)] // seconds
        let boot = number(&read("/proc/stat"), "btime") as f64;
        self.start.set(boot + field(22) / TICKS_PER_SECOND);
    }
}

/// First number after `name`; 0 without one.
fn number(text: &str, name: &str) -> i64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let value = rest.and_then(|rest| rest.split_ascii_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Number of kilobytes after `name`, in bytes.
fn kilobytes(text: &str, name: &str) -> i64 {
    number(text, name).saturating_mul(1024)
}
