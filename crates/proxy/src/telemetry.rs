//! Log lines: how they look, and where they go. What is said in them is for every room to decide.
//!
//! A line is made where it is said (`lines`), without anything that could pass for another line (`escape`) or for a
//! credential (`net`), and is written by a thread of its own (`queue`) to stdout or to files (`files`). Nothing that goes
//! wrong with them reaches a request; lines that are lost are counted.

mod access_log;
mod escape;
mod logging;
pub mod metrics;
pub mod otel;
mod queue;
pub mod record;
mod record_handle;
mod rolling_file;
mod scrub;
pub mod trace_context;
pub mod user_agent;

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::logging::Maker;
pub use self::logging::{Lines, Output};
use self::queue::{Lost, Queue, Sink, Writing};
pub use self::record_handle::{RecordHandle, TelemetrySinks};
use self::rolling_file::Files;
use crate::clock::Clock;
use crate::config::Log;

/// What was lost by each of the outputs of this process.
static LOST: OnceLock<Vec<Lost>> = OnceLock::new();

/// Keeps the log going. Dropped, it writes what waits, for two seconds at most.
#[derive(Debug, Default)]
pub struct Logs {
    lost: Vec<Lost>,
    writing: Vec<Writing>,
}

/// How many lines this process has lost, because they came too fast or could not be written.
#[must_use]
pub fn dropped_log_lines() -> u64 {
    LOST.get().into_iter().flatten().map(Lost::count).sum()
}

/// Logs as the configuration says, by `clock`, for the life of what is returned.
///
/// # Errors
/// When the file cannot be opened, with what to do; or when logging was set up before.
pub fn install(log: &Log, clock: &Clock) -> Result<Logs, String> {
    let mut logs = Logs::default();
    let mut outputs: Vec<Box<dyn Output>> = Vec::new();
    if let Some(path) = &log.file {
        let files =
            Files::open(path, clock.clone(), log.retention).map_err(|error| cannot_open(path, &error))?;
        outputs.push(Box::new(logs.queue(files, log, clock)?));
    }
    if log.stdout {
        outputs.push(Box::new(logs.queue(io::stdout(), log, clock)?));
    }
    let lines =
        Lines::new(log.json, clock.clone(), &log.secrets, outputs).map_err(|error| error.to_string())?;
    start(&log.filter, lines)?;
    let _ = LOST.set(logs.lost.clone());
    report_panics();
    Ok(logs)
}

impl Logs {
    fn queue(&mut self, sink: impl Sink, log: &Log, clock: &Clock) -> Result<Queue, String> {
        let maker = Maker::new(log.json, clock.clone(), &[]).map_err(|error| error.to_string())?;
        let lost = Lost::default();
        let queue = Queue::to(sink, lost.clone(), move |lines| maker.lost(lines));
        let (queue, writing) =
            queue.map_err(|error| format!("there can be no thread for the log: {error}"))?;
        self.lost.push(lost);
        self.writing.push(writing);
        Ok(queue)
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    format!(
        "LOG_FILE_PATH={}: no log file can be written there ({error}); name a file in a folder of this process's own, or \
         set LOG_OUTPUT=stdout",
        path.display()
    )
}

/// Logs warnings to stderr as text, so that stdout stays readable.
///
/// # Errors
/// When logging was set up before.
pub fn install_quiet() -> Result<(), String> {
    struct Stderr;
    impl Output for Stderr {
        fn put(&self, line: &[u8]) {
            // Whoever closed it does not want to read it.
            let _ = io::stderr().write_all(line);
        }
    }
    let lines = Lines::new(false, Clock::machine(), &[], vec![Box::new(Stderr)]);
    start("warn", lines.map_err(|error| error.to_string())?)
}

fn start(filter: &str, lines: Lines) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|error| error.to_string())
}

/// A panic is a line like any other. What was put into its message at run time may be content, and is left out.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let reason = panic.payload().downcast_ref::<&'static str>().copied();
        tracing::error!(event = "panic", place, reason, "a request or a task ended in a bug of this program");
    }));
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, take_hook};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_is_one_line_and_what_was_formatted_into_it_is_left_out() {
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl Output for Kept {
            fn put(&self, line: &[u8]) {
                self.0.lock().unwrap().extend_from_slice(line);
            }
        }
        let kept = Kept::default();
        let lines = Lines::new(true, Clock::machine(), &[], vec![Box::new(kept.clone())]).unwrap();
        let text = tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let prompt = "canary";
            report_panics();
            catch_unwind(|| panic!("of a literal")).unwrap_err();
            catch_unwind(|| panic!("{prompt}\n")).unwrap_err();
            let _ = take_hook();
            String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
        });
        assert_eq!(
            text.lines().filter(|line| line.contains(r#""event":"panic","place":"#)).count(),
            2,
            "{text}"
        );
        assert!(text.contains(r#""reason":"of a literal""#) && !text.contains("canary"), "{text}");
    }
}
