//! From the threads that log to the one that writes: a bounded queue, so that no disk and no pipe can hold up a request.
//! What does not fit is counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use super::logging::Output;

/// How many lines may wait.
const MOST_LINES: usize = 8192;
/// How many bytes they may have together.
const MOST_BYTES: usize = 8 << 20;
/// How long the last lines may take when the process ends.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How often a full queue is tried then.
const TRIES: u32 = 100;

/// Lines that were lost: the queue was full, or they could not be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Arc<AtomicU64>);

impl Lost {
    pub(super) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that lines are written to.
pub(super) trait Sink: Send + 'static {
    /// Writes whole lines. A line that cannot be written is lost; the next one is tried again.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn line(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Everything that is written is let go of after each line.
impl Sink for io::Stdout {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let mut out = self.lock();
        out.write_all(line)?;
        out.flush()
    }
}

/// The end of a queue where lines come in. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    lines: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    lost: Lost,
}

#[derive(Debug)]
enum Job {
    Line(Vec<u8>),
    End,
}

/// The thread that writes. Dropped, it writes what waits and ends, unless that takes too long.
#[derive(Debug)]
pub(super) struct Writing {
    lines: SyncSender<Job>,
    ended: Receiver<()>,
}

impl Queue {
    /// A queue to `sink`. Once lines can be written again, `tell` makes a line of how many were lost.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn to(
        sink: impl Sink,
        lost: Lost,
        tell: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<(Self, Writing)> {
        let (lines, jobs) = mpsc::sync_channel(MOST_LINES);
        let (end, ended) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let queue = Self { lines: lines.clone(), waiting: Arc::clone(&waiting), lost: lost.clone() };
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            write(&jobs, sink, &waiting, &lost, tell);
            let _ = end.send(());
        })?;
        Ok((queue, Writing { lines, ended }))
    }
}

impl Output for Queue {
    /// Takes a line, if there is room.
    fn put(&self, line: &[u8]) {
        let before = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let fits = before + line.len() <= MOST_BYTES;
        if !fits || self.lines.try_send(Job::Line(line.to_vec())).is_err() {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.lost.one();
        }
    }
}

fn write(
    jobs: &Receiver<Job>,
    mut sink: impl Sink,
    waiting: &AtomicUsize,
    lost: &Lost,
    tell: impl Fn(u64) -> Vec<u8>,
) {
    let mut told = 0;
    while let Ok(Job::Line(line)) = jobs.recv() {
        waiting.fetch_sub(line.len(), Ordering::Relaxed);
        if sink.line(&line).is_err() {
            lost.one();
            continue;
        }
        let count = lost.count();
        if count > told && sink.line(&tell(count - told)).is_ok() {
            told = count;
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Lines before this one are written first.
        for _ in 0..TRIES {
            match self.lines.try_send(Job::End) {
                Ok(()) => {
                    let _ = self.ended.recv_timeout(LAST_LINES);
                    return;
                }
                Err(TrySendError::Full(_)) => thread::sleep(LAST_LINES / TRIES),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Writes when it may, and says what it has begun to write.
    struct Gate {
        begun: Sender<Vec<u8>>,
        may: Receiver<io::Result<()>>,
    }

    impl Sink for Gate {
        fn line(&mut self, line: &[u8]) -> io::Result<()> {
            self.begun.send(line.to_vec()).unwrap();
            self.may.recv().unwrap()
        }
    }

    fn gate() -> (Queue, Writing, Lost, Receiver<Vec<u8>>, Sender<io::Result<()>>) {
        let ((begun, lines), (go, may)) = (mpsc::channel(), mpsc::channel());
        let lost = Lost::default();
        let tell = |lines: u64| format!("lost {lines}").into_bytes();
        let (queue, writing) = Queue::to(Gate { begun, may }, lost.clone(), tell).unwrap();
        (queue, writing, lost, lines, go)
    }

    #[test]
    fn nobody_waits_for_a_disk_that_hangs_and_what_does_not_fit_is_counted() {
        let (queue, _writing, lost, lines, go) = gate();
        let long = vec![b'x'; 16 << 10];
        queue.put(&long);
        assert_eq!(lines.recv().unwrap().len(), long.len());
        // The first is being written; so many wait at the most, by their length and by their number.
        for _ in 0..1000 {
            queue.put(&long);
        }
        assert_eq!(lost.count(), 1000 - (MOST_BYTES / long.len()) as u64);
        for _ in 0..=MOST_BYTES / long.len() {
            go.send(Ok(())).unwrap();
        }
        // The second thing written is how many were lost.
        assert_eq!(lines.recv().unwrap(), format!("lost {}", lost.count()).into_bytes());
        let (queue, _writing, lost, _lines, _go) = gate();
        for _ in 0..MOST_LINES + 10 {
            queue.put(b"x");
        }
        assert!((9..=10).contains(&lost.count()), "{}", lost.count());
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once_it_can() {
        let (queue, writing, lost, lines, go) = gate();
        for (line, fate) in [("a", Err(())), ("b", Err(())), ("c", Ok(())), ("d", Ok(()))] {
            queue.put(line.as_bytes());
            go.send(fate.map_err(|()| io::ErrorKind::StorageFull.into())).unwrap();
        }
        go.send(Ok(())).unwrap();
        drop(writing);
        let written: Vec<_> = lines.iter().map(|line| String::from_utf8(line).unwrap()).collect();
        assert_eq!(written, ["a", "b", "c", "lost 2", "d"]);
        assert_eq!(lost.count(), 2);
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let (queue, writing, _, lines, go) = gate();
        for number in 0..100 {
            queue.put(format!("{number}").as_bytes());
            go.send(Ok(())).unwrap();
        }
        drop(writing);
        assert_eq!(lines.try_iter().count(), 100);
        queue.put(b"too late");
        assert!(lines.try_recv().is_err());
    }
}
