//! Queue of log lines: the non-blocking writer of `tracing-appender`, and a sink that counts what it cannot write. No disk and
//! no pipe delays a request; lines that do not fit are dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::logging::LogWriter;

/// Lines that wait at most: a second or two of a busy proxy, and 32 MiB if each has the longest length.
const MAX_QUEUED_LINES: usize = 2048;

/// Count of dropped lines: the queue was full, or writing failed.
#[derive(Clone, Debug, Default)]
pub(super) struct DroppedLines {
    queue_full: Arc<OnceLock<ErrorCounter>>,
    unwritten: Arc<AtomicUsize>,
}

impl DroppedLines {
    pub(super) fn count(&self) -> usize {
        let queue_full = self.queue_full.get().map_or(0, ErrorCounter::dropped_lines);
        queue_full + self.unwritten.load(Ordering::Relaxed)
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

/// Writer in the thread of the queue, which writes one line at a time.
struct LineWriter<S> {
    sink: S,
    dropped: DroppedLines,
    reported: usize,
}

impl<S: LineSink> Write for LineWriter<S> {
    /// Writes or counts a line, and logs the number of dropped lines once one is written again.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sink.write_line(line).is_err() {
            self.dropped.unwritten.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        let count = self.dropped.count();
        if count > self.reported {
            tracing::warn!(event = "log_lines_lost", lines = count - self.reported, "log lines dropped");
            self.reported = count;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the thread that writes to `sink`, until the guard is dropped.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn start(sink: impl LineSink, dropped: &DroppedLines) -> io::Result<(NonBlocking, WorkerGuard)> {
    // The library panics if the system allows no further thread.
    thread::Builder::new().spawn(|| ())?;
    let writer = LineWriter { sink, dropped: dropped.clone(), reported: 0 };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_QUEUED_LINES);
    let (queue, guard) = builder.thread_name("log").finish(writer);
    let _ = dropped.queue_full.set(queue.error_counter());
    Ok((queue, guard))
}

impl LogWriter for NonBlocking {
    /// Enqueues a line, if it fits.
    fn write_line(&self, line: &[u8]) {
        // It never fails: a line that does not fit is counted.
        let _ = self.clone().write_all(line);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

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

    fn stepped() -> (NonBlocking, WorkerGuard, DroppedLines, Receiver<Vec<u8>>, Sender<io::Result<()>>) {
        let ((started, lines), (result, results)) = (mpsc::channel(), mpsc::channel());
        let dropped = DroppedLines::default();
        let (queue, guard) = start(SteppedSink { started, results }, &dropped).unwrap();
        (queue, guard, dropped, lines, result)
    }

    #[test]
    fn hanging_disk_drops_lines_beyond_the_queue() {
        let (queue, guard, dropped, lines, result) = stepped();
        queue.write_line(b"first");
        assert_eq!(lines.recv().unwrap(), b"first");
        // The first is being written.
        for _ in 0..MAX_QUEUED_LINES + 10 {
            queue.write_line(b"x");
        }
        assert_eq!(dropped.count(), 10);
        for _ in 0..=MAX_QUEUED_LINES {
            result.send(Ok(())).unwrap();
        }
        drop(guard);
        assert_eq!(lines.try_iter().count(), MAX_QUEUED_LINES);
    }

    #[test]
    fn failed_writes_are_counted_and_do_not_end_the_log() {
        let (queue, guard, dropped, lines, result) = stepped();
        for (line, outcome) in [("a", Err(())), ("b", Err(())), ("c", Ok(())), ("d", Ok(()))] {
            queue.write_line(line.as_bytes());
            result.send(outcome.map_err(|()| io::ErrorKind::StorageFull.into())).unwrap();
        }
        drop(guard);
        let written: Vec<_> = lines.iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(written, ["a", "b", "c", "d"]);
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
