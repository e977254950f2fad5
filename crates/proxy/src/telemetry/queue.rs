//! Non-blocking log writer: a bounded queue and a thread that writes, so that no disk and no pipe delays a request. Lines
//! that do not fit are dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use super::logging::LogWriter;

/// Lines that wait at most: some seconds of a busy proxy.
const MAX_QUEUED_LINES: usize = 8192;
/// Bytes that wait at most: lines can be long, and memory is not.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Time for the last lines at exit: short beside the grace that container platforms give.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts to enqueue the end mark into a full queue, within [`FINAL_FLUSH_TIMEOUT`].
const END_ATTEMPTS: u32 = 100;

/// Count of dropped lines: the queue was full, or writing failed.
#[derive(Clone, Debug, Default)]
pub(super) struct DroppedLines(Arc<AtomicU64>);

impl DroppedLines {
    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Destination of lines.
pub(super) trait LineSink: Send + 'static {
    /// Writes a whole line. A line that cannot be written is dropped; the next one is attempted again.
    ///
    /// # Errors
    /// When the line was not written.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Flushes after each line.
impl LineSink for io::Stdout {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = self.lock();
        out.write_all(line)?;
        out.flush()
    }
}

/// Writer into the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    jobs: SyncSender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    dropped: DroppedLines,
}

#[derive(Debug)]
enum Job {
    Line(Vec<u8>),
    End,
}

/// Guard of the writing thread. When it is dropped, the queued lines are written, within [`FINAL_FLUSH_TIMEOUT`].
#[derive(Debug)]
pub(super) struct WorkerGuard {
    jobs: SyncSender<Job>,
    ended: Receiver<()>,
}

impl LineQueue {
    /// Starts the thread that writes to `sink`. After a drop, `report` makes the line with the number of dropped lines.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        sink: impl LineSink,
        dropped: DroppedLines,
        report: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<(Self, WorkerGuard)> {
        let (tx, jobs) = mpsc::sync_channel(MAX_QUEUED_LINES);
        let (end, ended) = mpsc::channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let queue =
            Self { jobs: tx.clone(), queued_bytes: Arc::clone(&queued_bytes), dropped: dropped.clone() };
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            run(&jobs, sink, &queued_bytes, &dropped, report);
            let _ = end.send(());
        })?;
        Ok((queue, WorkerGuard { jobs: tx, ended }))
    }
}

impl LogWriter for LineQueue {
    /// Enqueues a line, if it fits.
    fn write_line(&self, line: &[u8]) {
        let queued = self.queued_bytes.fetch_add(line.len(), Ordering::Relaxed);
        let fits = queued + line.len() <= MAX_QUEUED_BYTES;
        if !fits || self.jobs.try_send(Job::Line(line.to_vec())).is_err() {
            self.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.add_one();
        }
    }
}

/// Writes lines until the end mark.
fn run(
    jobs: &Receiver<Job>,
    mut sink: impl LineSink,
    queued_bytes: &AtomicUsize,
    dropped: &DroppedLines,
    report: impl Fn(u64) -> Vec<u8>,
) {
    let mut reported = 0;
    while let Ok(Job::Line(line)) = jobs.recv() {
        queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        if sink.write_line(&line).is_err() {
            dropped.add_one();
            continue;
        }
        let count = dropped.count();
        if count > reported && sink.write_line(&report(count - reported)).is_ok() {
            reported = count;
        }
    }
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        // Lines queued before the end mark are written first.
        for _ in 0..END_ATTEMPTS {
            match self.jobs.try_send(Job::End) {
                Ok(()) => {
                    let _ = self.ended.recv_timeout(FINAL_FLUSH_TIMEOUT);
                    return;
                }
                Err(TrySendError::Full(_)) => thread::sleep(FINAL_FLUSH_TIMEOUT / END_ATTEMPTS),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Sink that reports each line it begins to write, and waits for the result of the write.
    struct SteppedSink {
        started: Sender<Vec<u8>>,
        results: Receiver<io::Result<()>>,
    }

    impl LineSink for SteppedSink {
        fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
            self.started.send(line.to_vec()).unwrap();
            self.results.recv().unwrap()
        }
    }

    fn stepped() -> (LineQueue, WorkerGuard, DroppedLines, Receiver<Vec<u8>>, Sender<io::Result<()>>) {
        let ((started, lines), (result, results)) = (mpsc::channel(), mpsc::channel());
        let dropped = DroppedLines::default();
        let report = |lines: u64| format!("dropped {lines}").into_bytes();
        let (queue, guard) =
            LineQueue::start(SteppedSink { started, results }, dropped.clone(), report).unwrap();
        (queue, guard, dropped, lines, result)
    }

    #[test]
    fn hanging_disk_drops_lines_beyond_the_queue() {
        let (queue, _guard, dropped, lines, result) = stepped();
        let long = vec![b'x'; 16 << 10];
        queue.write_line(&long);
        assert_eq!(lines.recv().unwrap().len(), long.len());
        // The first is being written; the queue is bounded by bytes and by lines.
        for _ in 0..1000 {
            queue.write_line(&long);
        }
        assert_eq!(dropped.count(), 1000 - (MAX_QUEUED_BYTES / long.len()) as u64);
        for _ in 0..=MAX_QUEUED_BYTES / long.len() {
            result.send(Ok(())).unwrap();
        }
        // The second line written is the count of dropped lines.
        assert_eq!(lines.recv().unwrap(), format!("dropped {}", dropped.count()).into_bytes());
        let (queue, _guard, dropped, _lines, _result) = stepped();
        for _ in 0..MAX_QUEUED_LINES + 10 {
            queue.write_line(b"x");
        }
        assert!((9..=10).contains(&dropped.count()), "{}", dropped.count());
    }

    #[test]
    fn failed_writes_are_counted_and_reported_on_recovery() {
        let (queue, guard, dropped, lines, result) = stepped();
        for (line, outcome) in [("a", Err(())), ("b", Err(())), ("c", Ok(())), ("d", Ok(()))] {
            queue.write_line(line.as_bytes());
            result.send(outcome.map_err(|()| io::ErrorKind::StorageFull.into())).unwrap();
        }
        result.send(Ok(())).unwrap();
        drop(guard);
        let written: Vec<_> = lines.iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(written, ["a", "b", "c", "dropped 2", "d"]);
        assert_eq!(dropped.count(), 2);
    }

    #[test]
    fn queued_lines_are_written_before_exit() {
        let (queue, guard, _, lines, result) = stepped();
        for number in 0..100 {
            queue.write_line(format!("{number}").as_bytes());
            result.send(Ok(())).unwrap();
        }
        drop(guard);
        assert_eq!(lines.try_iter().count(), 100);
        queue.write_line(b"too late");
        assert!(lines.try_recv().is_err());
    }
}
