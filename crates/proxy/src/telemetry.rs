//! Telemetry: log lines, metrics, spans, and the record of each request that all three are made from.
//!
//! A log line is formatted in the thread that logs (`logging`), made safe (`scrub`), and written by a thread of its own
//! (`queue`) to stdout or to files (`rolling_file`). No failure here reaches a request; dropped lines are counted.

mod access_log;
mod logging;
pub(crate) mod metrics;
pub(crate) mod otel;
mod queue;
pub(crate) mod record;
mod record_handle;
mod rolling_file;
mod scrub;
pub(crate) mod trace_context;
pub(crate) mod user_agent;

use std::io;
use std::path::Path;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

pub use self::logging::{LogLayer, LogWriter};
use self::queue::{DroppedLines, LineSink};
pub(crate) use self::record_handle::{RecordHandle, TelemetrySinks};
use self::rolling_file::RollingFile;
use crate::clock::Clock;
use crate::config::LogConfig;

/// Dropped lines of each log writer of this process.
static DROPPED: OnceLock<Vec<DroppedLines>> = OnceLock::new();

/// The filter of the log of this process.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Time for the last lines at exit: short beside the grace that container platforms give.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Guard of the log. When it is dropped, queued lines are written, within [`FINAL_FLUSH_TIMEOUT`].
#[derive(Debug, Default)]
pub(crate) struct LogGuard {
    dropped: Vec<DroppedLines>,
    workers: Vec<WorkerGuard>,
}

/// Number of log lines that this process dropped, because they came too fast or could not be written.
#[must_use]
pub(crate) fn dropped_log_lines() -> u64 {
    DROPPED.get().into_iter().flatten().map(|dropped| dropped.count() as u64).sum()
}

/// Installs the log that `log` configures, with the time of `clock`, until the guard is dropped.
///
/// # Errors
/// When the log file cannot be opened, with what to do; or when a log is installed already.
pub(crate) fn install(log: &LogConfig, clock: &Clock) -> Result<LogGuard, String> {
    let mut guard = LogGuard::default();
    let mut writers: Vec<Box<dyn LogWriter>> = Vec::new();
    if let Some(path) = &log.file {
        let file = RollingFile::open(path, clock.clone(), log.retention)
            .map_err(|error| open_error(path, &error))?;
        writers.push(Box::new(guard.start_queue(file)?));
    }
    if log.stdout {
        writers.push(Box::new(guard.start_queue(io::stdout())?));
    }
    let layer = LogLayer::new(log.json, clock.clone(), &log.secrets, writers);
    install_layer(&log.filter, layer.map_err(|error| error.to_string())?)?;
    let _ = DROPPED.set(guard.dropped.clone());
    log_panics();
    Ok(guard)
}

impl LogGuard {
    fn start_queue(&mut self, sink: impl LineSink) -> Result<NonBlocking, String> {
        let dropped = DroppedLines::default();
        let (queue, worker) = queue::start(sink, &dropped)
            .map_err(|error| format!("the log thread cannot be started: {error}"))?;
        self.dropped.push(dropped);
        self.workers.push(worker);
        Ok(queue)
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (workers, (flushed, rx)) = (std::mem::take(&mut self.workers), mpsc::channel());
        // The library's guard prints to stdout when its queue stays full, which waits for ever if nothing reads stdout.
        let thread = thread::Builder::new().spawn(move || {
            drop(workers);
            flushed.send(())
        });
        if thread.is_ok() {
            let _ = rx.recv_timeout(FINAL_FLUSH_TIMEOUT);
        }
    }
}

fn open_error(path: &Path, error: &io::Error) -> String {
    format!(
        "LOG_FILE_PATH={}: the log file cannot be written ({error}); set it to a file in a folder that this process may \
         write to, or set LOG_OUTPUT=stdout",
        path.display()
    )
}

/// Installs a log of warnings on stderr, as text, so that stdout holds only the output of the command.
///
/// # Errors
/// When a log is installed already.
#[cfg(feature = "demo")]
pub(crate) fn install_quiet() -> Result<(), String> {
    struct Stderr;
    impl LogWriter for Stderr {
        fn write_line(&self, line: &[u8]) {
            // It fails when stderr is closed, and then there is no place for the error either.
            let _ = io::Write::write_all(&mut io::stderr(), line);
        }
    }
    let layer = LogLayer::new(false, Clock::machine(), &[], vec![Box::new(Stderr)]);
    install_layer("warn,sqlx=error", layer.map_err(|error| error.to_string())?)
}

fn install_layer(filter: &str, layer: LogLayer) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    let (filter, handle) = reload::Layer::new(filter);
    let _ = FILTER.set(handle);
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|error| error.to_string())
}

/// Replaces the filter of the log, if this process has a log.
///
/// # Errors
/// When `filter` is invalid.
pub(crate) fn set_filter(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    FILTER.get().map_or(Ok(()), |handle| handle.reload(filter)).map_err(|error| error.to_string())
}

/// Logs panics as lines. A message that was formatted at run time can hold content, so only literals are logged.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let reason = panic.payload().downcast_ref::<&'static str>().copied();
        tracing::error!(event = "panic", place, reason, "panic in a request or a background task");
    }));
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, take_hook};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn panic_line_holds_no_formatted_message() {
        #[derive(Clone, Default)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);
        impl LogWriter for Buffer {
            fn write_line(&self, line: &[u8]) {
                self.0.lock().unwrap().extend_from_slice(line);
            }
        }
        let buffer = Buffer::default();
        let layer = LogLayer::new(true, Clock::machine(), &[], vec![Box::new(buffer.clone())]).unwrap();
        let text = tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let prompt = "canary";
            log_panics();
            catch_unwind(|| panic!("of a literal")).unwrap_err();
            catch_unwind(|| panic!("{prompt}\n")).unwrap_err();
            let _ = take_hook();
            String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
        });
        assert_eq!(
            text.lines().filter(|line| line.contains(r#""event":"panic","place":"#)).count(),
            2,
            "{text}"
        );
        assert!(text.contains(r#""reason":"of a literal""#) && !text.contains("canary"), "{text}");
    }
}
