//! What the process takes of the machine, as Linux tells it in `/proc`; read when somebody asks. Elsewhere all is 0.
//!
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Ticks of the kernel's clock in a second, for everybody who reads `/proc`.
const TICKS: f64 = 100.0;

/// The metrics, by the names that every Prometheus client library gives them.
#[derive(Debug, Default)]
pub(super) struct Process {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    descriptors: Gauge,
    most_descriptors: Gauge,
    threads: Gauge,
    start: Gauge<f64, AtomicU64>,
}

impl Process {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("process_cpu_seconds", "Processor time, in seconds", self.cpu.clone());
        registry.register("process_resident_memory_bytes", "Memory in use, in bytes", self.resident.clone());
        registry.register(
            "process_virtual_memory_bytes",
            "Address space, in bytes",
            self.virtual_memory.clone(),
        );
        registry.register("process_open_fds", "File descriptors in use", self.descriptors.clone());
        registry.register("process_max_fds", "File descriptors at most", self.most_descriptors.clone());
        registry.register("process_threads", "Threads of the operating system", self.threads.clone());
        registry.register(
            "process_start_time_seconds",
            "When the process was started, in seconds since the epoch",
            self.start.clone(),
        );
    }

    /// Looks anew.
    pub(super) fn look(&self) {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let status = read("/proc/self/status");
        self.resident.set(kilobytes(&status, "VmRSS:"));
        self.virtual_memory.set(kilobytes(&status, "VmSize:"));
        // The look itself holds one of them open.
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.descriptors.set(i64::try_from(open.saturating_sub(1)).unwrap_or(i64::MAX));
        self.most_descriptors.set(number(&read("/proc/self/limits"), "Max open files"));
        let stat = read("/proc/self/stat");
        // The second field is the name of the program, which may hold anything; the others are behind it.
        let fields: Vec<f64> = stat
            .rsplit_once(')')
            .map(|(_, rest)| {
                rest.split_ascii_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect()
            })
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or_default();
        self.cpu.inner().store(((field(14) + field(15)) / TICKS).to_bits(), Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation)] // a count of threads
        self.threads.set(field(20) as i64);
        #[allow(clippy::cast_precision_loss)] // seconds
        let boot = number(&read("/proc/stat"), "btime") as f64;
        self.start.set(boot + field(22) / TICKS);
    }
}

/// The first number behind `name`; 0 without one.
fn number(text: &str, name: &str) -> i64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let word = rest.and_then(|rest| rest.split_ascii_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn kilobytes(text: &str, name: &str) -> i64 {
    number(text, name).saturating_mul(1024)
}
