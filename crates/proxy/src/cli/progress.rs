//! Progress of long work on stderr, on a terminal only.

use std::io::{IsTerminal as _, Write, stderr};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, interval};

/// Time after which progress is shown, and interval between two updates.
const INTERVAL: Duration = Duration::from_secs(1);
/// Returns to the start of the line and clears it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// What this process is doing. A process runs one command.
static STATE: State =
    State { label: Mutex::new("working"), done: AtomicUsize::new(0), total: AtomicUsize::new(0) };

struct State {
    label: Mutex<&'static str>,
    done: AtomicUsize,
    /// 0 if it is not known.
    total: AtomicUsize,
}

/// Begins work of `total` parts, or 0 if their number is not known.
pub(super) fn begin(label: &'static str, total: usize) {
    if let Ok(mut current) = STATE.label.lock() {
        *current = label;
    }
    STATE.done.store(0, Ordering::Relaxed);
    STATE.total.store(total, Ordering::Relaxed);
}

/// Counts parts that are done.
pub(super) fn advance(parts: usize) {
    STATE.done.fetch_add(parts, Ordering::Relaxed);
}

/// One line about the work.
fn describe(elapsed: Duration) -> String {
    let label = STATE.label.lock().map_or("working", |label| *label);
    let (done, total) = (STATE.done.load(Ordering::Relaxed), STATE.total.load(Ordering::Relaxed));
    let seconds = elapsed.as_secs();
    match (done, total) {
        (0, 0) => format!("{label} ({seconds} s)"),
        (done, 0) => format!("{label}: {done} ({seconds} s)"),
        (done, total) => format!("{label}: {done} of {total} ({seconds} s)"),
    }
}

/// Runs `work`; if it takes more than a second, shows its progress on stderr, if that is a terminal.
pub(super) async fn show<T>(work: impl Future<Output = T>) -> T {
    if stderr().is_terminal() { show_on(&mut stderr(), work).await } else { work.await }
}

async fn show_on<T>(output: &mut (impl Write + ?Sized), work: impl Future<Output = T>) -> T {
    let (begun, mut ticks) = (Instant::now(), interval(INTERVAL));
    ticks.tick().await;
    let mut work = pin!(work);
    let mut is_shown = false;
    loop {
        tokio::select! {
            biased;
            result = &mut work => {
                if is_shown {
                    let _ = write!(output, "{CLEAR_LINE}").and_then(|()| output.flush());
                }
                return result;
            }
            _ = ticks.tick() => {
                is_shown = true;
                let _ = write!(output, "{CLEAR_LINE}{}", describe(begun.elapsed())).and_then(|()| output.flush());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_is_shown_after_a_second() {
        let mut output = Vec::new();
        begin("importing", 5);
        show_on(&mut output, tokio::time::sleep(Duration::from_millis(900))).await;
        assert!(output.is_empty());
        let work = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            advance(3);
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        show_on(&mut output, work).await;
        let text = String::from_utf8(output).unwrap();
        let expected =
            format!("{CLEAR_LINE}importing: 0 of 5 (1 s){CLEAR_LINE}importing: 3 of 5 (2 s){CLEAR_LINE}");
        assert_eq!(text, expected);
    }
}
