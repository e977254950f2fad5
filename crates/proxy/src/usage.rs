//! What was spent and what was done, on its way to the database: a line in the journal, a place in a bounded queue,
//! and batches behind it. A request takes its place before it spends, so that nothing spent can find the queue full.
//!
//! The journal makes it safe, the queue makes it quick. When the database is away or slow, what is queued is let go,
//! since it stands in the journal, and is read from there when the database is back. It knows what it has got by the
//! ids of the records, so that reading twice counts once.
//!
//! Not here: what a request may spend (`quota`), and the statements (`store`).

mod wal;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config;
use crate::store::{Event, Store, UsageRecord};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use wal::{SegmentId, Wal};
use writer::Worker;

/// The way to the database for everything that is only added to.
#[derive(Debug)]
pub struct UsageRecorder {
    queue: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
    /// Until it is started.
    worker: Mutex<Option<Worker>>,
}

/// What the two ends of the queue share.
#[derive(Debug)]
struct Shared {
    journal: Wal,
    /// Whether something stands in the journal that is not in the queue.
    behind: AtomicBool,
    /// Records that are neither in the database nor in the journal.
    lost: AtomicU64,
    /// Everything that was recorded before is in the database; epoch milliseconds.
    stored_until: AtomicI64,
    clock: Clock,
}

/// What the database has not got yet.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Places of the queue that are taken: by requests that are open, and by records.
    pub depth: usize,
    /// Records that neither the database nor the journal has.
    pub lost: u64,
    /// Bytes of the journal.
    pub bytes: u64,
    /// How long the oldest record waits.
    pub oldest: Duration,
}

/// One thing to be remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WalEntry {
    #[serde(rename = "receipt")]
    Usage(Box<UsageRecord>),
    Event(Event),
}

/// A record, and where it stands in the journal; nowhere, when that failed.
#[derive(Debug)]
struct Queued {
    record: WalEntry,
    at: Option<SegmentId>,
}

/// A place in the queue, kept for one receipt.
#[derive(Debug)]
pub struct QueuePermit {
    permit: mpsc::OwnedPermit<Queued>,
    shared: Arc<Shared>,
}

impl UsageRecorder {
    /// Opens the journal in `folder`. Records wait until [`UsageRecorder::start`].
    ///
    /// # Errors
    /// When the folder cannot be written to or another process uses it.
    pub fn open(
        folder: &Path,
        config: &config::Ledger,
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (queue, receiver) = mpsc::channel(config.queue);
        let shared = Arc::new(Shared {
            journal: Wal::open(folder)?,
            // Whatever the process before left is read first.
            behind: AtomicBool::new(true),
            lost: AtomicU64::new(0),
            stored_until: AtomicI64::new(clock.milliseconds()),
            clock,
        });
        let worker = Worker::new(store, receiver, Arc::clone(&shared), config.clone(), metrics);
        Ok(Self { queue, shared, worker: Mutex::new(Some(worker)) })
    }

    /// Begins to store what is recorded, until `tasks` stop and nothing is left.
    pub fn start(&self, tasks: &Tasks) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            tasks.spawn(worker.run(tasks.clone()));
        }
    }

    /// What the database has not got yet.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let shared = &*self.shared;
        let bytes = shared.journal.waiting();
        let waits = shared.clock.milliseconds().saturating_sub(shared.stored_until.load(Ordering::Relaxed));
        let waits = if bytes == 0 { 0 } else { u64::try_from(waits).unwrap_or(0) };
        Backlog {
            depth: self.queue.max_capacity() - self.queue.capacity(),
            lost: shared.lost.load(Ordering::Relaxed),
            bytes,
            oldest: Duration::from_millis(waits),
        }
    }

    /// A place for a receipt. Waits while the queue is full.
    pub async fn reserve_slot(&self) -> Option<QueuePermit> {
        let permit = self.queue.clone().reserve_owned().await.ok()?;
        Some(QueuePermit { permit, shared: Arc::clone(&self.shared) })
    }

    /// Remembers that something happened.
    pub fn record_event(&self, event: Event) {
        let filed = self.shared.file(WalEntry::Event(event));
        if self.queue.try_send(filed).is_err() {
            self.shared.behind.store(true, Ordering::Release);
        }
    }
}

impl QueuePermit {
    /// Writes the receipt down and hands it on. Never waits and never fails.
    pub fn settle(self, receipt: UsageRecord) {
        let filed = self.shared.file(WalEntry::Usage(Box::new(receipt)));
        let _ = self.permit.send(filed);
    }
}

impl Shared {
    fn file(&self, record: WalEntry) -> Queued {
        if !self.behind.load(Ordering::Acquire) && self.journal.is_stored() {
            self.stored_until.store(self.clock.milliseconds(), Ordering::Relaxed);
        }
        let at = self.journal.append(&record);
        if let Err(error) = &at {
            tracing::error!(%error, "the journal cannot be written; a killed process would lose this record");
        }
        Queued { at: at.ok(), record }
    }

    /// A record that neither the database nor the journal has: the log is the last place for it.
    fn lose(&self, record: &WalEntry) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let record = serde_json::to_string(record).unwrap_or_default();
        tracing::error!(
            record,
            "a usage row is lost: the database is away and the journal cannot be written"
        );
    }
}
