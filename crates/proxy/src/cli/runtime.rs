//! The runtime and its threads. The system may allow a process no more threads, at its start or while it runs.

use std::convert::Infallible;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Runtime};

/// Threads for blocking work that are kept for as long as the process runs: name look-ups, files, and a server thread in
/// place of one that works on a large body. If there is none and the system allows no more, tokio panics; work that finds
/// all of them busy waits.
const SPARE_THREADS: usize = 2;
/// Pause between uses of the spare threads: tokio ends a thread that was idle for 10 seconds.
const USE_INTERVAL: Duration = Duration::from_secs(4);
/// Duration of a use: longer than it takes to start the other ones, so that each has a thread of its own.
const USE_DURATION: Duration = Duration::from_millis(10);

/// Builds the runtime.
///
/// # Errors
/// When the system does not allow its threads.
pub(super) fn build() -> Result<Runtime, String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    // Tokio panics, or never starts, when it gets some of its threads.
    check_threads(workers + SPARE_THREADS)?;
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    runtime.map_err(|error| error.to_string())
}

/// Checks that the system allows `count` more threads.
fn check_threads(count: usize) -> Result<(), String> {
    let (mut ends, mut threads) = (Vec::new(), Vec::new());
    let mut checked = Ok(());
    while threads.len() < count && checked.is_ok() {
        // Each thread waits until its sender is dropped.
        let (end, ended) = mpsc::channel::<Infallible>();
        ends.push(end);
        match std::thread::Builder::new().spawn(move || ended.recv().is_err()) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                checked = Err(format!(
                    "the system allows {} of the {count} threads that are needed ({error}); raise pids.max of the \
                     container, or TasksMax or LimitNPROC of the service",
                    threads.len()
                ));
            }
        }
    }
    drop(ends);
    for thread in threads {
        let _ = thread.join();
    }
    checked
}

/// Uses the spare threads again and again, so that they never end.
pub(super) async fn keep_spare_threads() -> Infallible {
    loop {
        let uses =
            (0..SPARE_THREADS).map(|_| tokio::task::spawn_blocking(|| std::thread::sleep(USE_DURATION)));
        join_all(uses).await;
        tokio::time::sleep(USE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_threads_pass_the_check() {
        assert_eq!(check_threads(16), Ok(()));
    }
}
