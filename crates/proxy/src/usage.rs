//! Usage records and audit events on their way to the database: a line in the write-ahead log (WAL), a slot in a bounded
//! queue, and batches. A request reserves its slot before it is sent, so that its record never finds the queue full.
//!
//! The WAL is for durability, the queue for speed. When the database is unavailable or slow, the queue is discarded,
//! because its records are in the WAL, and the WAL is replayed later. The database recognizes records by their ids, so
//! that a record written twice counts once.
//!
//! What is at AWS stands in a file of its own, with an estimate, so that the next process charges it after a kill.
//!
//! Not here: admission (`quota`), and statements (`store`).

mod open_requests;
mod retention;
mod wal;
mod writer;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::config;
use crate::store::{AuditEvent, OutageLog, Store, UsageRecord};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use open_requests::{OpenRequests, Slot};
use retention::Retention;
use wal::{SegmentId, UnreadableLine, Wal};
pub(crate) use writer::BATCH_WINDOW;
use writer::UsageWriter;

/// How long a request waits for a slot of the queue. A full queue means that the database stores less than is used, or
/// that as many requests are open.
const SLOT_TIMEOUT: Duration = Duration::from_secs(5);

/// Recorder of usage records and audit events.
#[derive(Debug)]
pub struct UsageRecorder {
    queue: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
    /// Both `None` once they are started.
    writer: Mutex<Option<UsageWriter>>,
    retention: Mutex<Option<Retention>>,
}

/// State that both ends of the queue share.
#[derive(Debug)]
struct Shared {
    wal: Wal,
    /// Requests that AWS has.
    open: OpenRequests,
    /// Whether the WAL has records that are not in the queue.
    needs_replay: AtomicBool,
    /// Number of records that are neither in the database nor in the WAL.
    lost: AtomicU64,
    /// Records that could not be written to the WAL.
    unlogged: OutageLog,
    /// Open requests that could not be written to their file.
    not_begun: OutageLog,
    failed_replays: OutageLog,
    /// Instant before which all records are in the database, epoch milliseconds.
    stored_until: AtomicI64,
    clock: Clock,
}

/// Records that are not in the database yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backlog {
    /// Slots of the queue in use, by open requests and by records.
    pub(crate) depth: usize,
    /// Number of records that are neither in the database nor in the WAL.
    pub(crate) lost: u64,
    /// Size of the WAL in bytes.
    pub(crate) bytes: u64,
    /// Age of the oldest record.
    pub(crate) oldest: Duration,
}

/// One line of the WAL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WalEntry {
    #[serde(rename = "receipt")]
    Usage(Box<UsageRecord>),
    Event(AuditEvent),
}

/// A queued entry, and the segment of the WAL that holds it; `None` when it could not be written.
#[derive(Debug)]
struct Queued {
    entry: WalEntry,
    segment: Option<SegmentId>,
}

/// Why no slot is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The queue stayed full.
    Full,
    /// The server is shutting down.
    ShuttingDown,
}

/// A reserved slot of the queue for one usage record.
#[derive(Debug)]
pub struct QueuePermit {
    permit: mpsc::OwnedPermit<Queued>,
    shared: Arc<Shared>,
    /// The estimate of the request while AWS has it.
    slot: Option<Slot>,
}

impl UsageRecorder {
    /// Opens the WAL in `folder`. Records are queued until [`UsageRecorder::start`].
    ///
    /// # Errors
    /// When the folder cannot be written to or another process uses it.
    pub fn open(
        folder: &Path,
        config: &config::UsageConfig,
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (queue, receiver) = mpsc::channel(config.queue);
        let wal = Wal::open(folder)?;
        let (open, interrupted) = OpenRequests::open(folder)?;
        let shared = Arc::new(Shared {
            wal,
            open,
            // Records of the process before are replayed first.
            needs_replay: AtomicBool::new(true),
            lost: AtomicU64::new(0),
            unlogged: OutageLog::concurrent(),
            not_begun: OutageLog::concurrent(),
            failed_replays: OutageLog::serial(),
            stored_until: AtomicI64::new(clock.milliseconds()),
            clock,
        });
        shared.charge_interrupted(interrupted, &metrics);
        let retention =
            Retention { store: store.clone(), shared: Arc::clone(&shared), config: config.clone() };
        let writer = UsageWriter::new(store, receiver, Arc::clone(&shared), config.clone(), metrics);
        Ok(Self { queue, shared, writer: Mutex::new(Some(writer)), retention: Mutex::new(Some(retention)) })
    }

    /// Starts writing to the database, until `tasks` shut down and the queue is empty, and beside it the deletion of old
    /// rows.
    pub fn start(&self, tasks: &Tasks) {
        let retention = self.retention.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(retention) = retention {
            tasks.spawn(retention.run(tasks.clone()));
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            tasks.spawn(writer.run(tasks.clone()));
        }
    }

    /// Records that are not in the database yet.
    #[must_use]
    pub(crate) fn backlog(&self) -> Backlog {
        let shared = &*self.shared;
        let bytes = shared.wal.pending_bytes();
        let age_ms = shared.clock.milliseconds().saturating_sub(shared.stored_until.load(Ordering::Relaxed));
        let age_ms = if bytes == 0 { 0 } else { u64::try_from(age_ms).unwrap_or(0) };
        Backlog {
            depth: self.queue.max_capacity() - self.queue.capacity(),
            lost: shared.lost.load(Ordering::Relaxed),
            bytes,
            oldest: Duration::from_millis(age_ms),
        }
    }

    /// Reserves a slot for a usage record. Waits while the queue is full, for at most [`SLOT_TIMEOUT`].
    ///
    /// # Errors
    /// When the queue stays full, or after shutdown.
    pub async fn reserve_slot(&self) -> Result<QueuePermit, SlotError> {
        let permit = timeout(SLOT_TIMEOUT, self.queue.clone().reserve_owned()).await;
        let permit = permit.map_err(|_| SlotError::Full)?.map_err(|_| SlotError::ShuttingDown)?;
        Ok(QueuePermit { permit, shared: Arc::clone(&self.shared), slot: None })
    }

    /// Records an audit event.
    pub(crate) fn record_event(&self, event: AuditEvent) {
        let queued = self.shared.append(WalEntry::Event(event));
        if self.queue.try_send(queued).is_err() {
            self.shared.needs_replay.store(true, Ordering::Release);
        }
    }
}

impl QueuePermit {
    /// Writes what the request may cost, before it is sent to AWS: the next process charges that if this one is killed.
    /// Never waits and never fails.
    pub fn begin(&mut self, mut record: UsageRecord) {
        record.clamp();
        self.end();
        match self.shared.open.begin(&record) {
            Ok(slot) => {
                self.slot = Some(slot);
                if let Some(requests) = self.shared.not_begun.ended() {
                    tracing::info!(requests, "open requests are written again; these were not");
                }
            }
            Err(error) if self.shared.not_begun.failed() => {
                tracing::warn!(%error, "open requests cannot be written; after a kill they are not charged");
            }
            Err(_) => {}
        }
    }

    /// Records that AWS bills nothing for the request so far.
    pub fn end(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.shared.open.end(slot);
        }
    }

    /// Appends the record to the WAL and queues it. Never waits and never fails.
    pub fn settle(mut self, record: UsageRecord) {
        let queued = self.shared.append(WalEntry::Usage(Box::new(record)));
        // A record that is only in memory may be lost: then the estimate counts.
        if queued.segment.is_some() {
            self.end();
        }
        let _ = self.permit.send(queued);
    }
}

impl Shared {
    /// Appends an entry to the WAL, in the form for the queue.
    fn append(&self, entry: WalEntry) -> Queued {
        if !self.needs_replay.load(Ordering::Acquire) && self.wal.is_stored() {
            self.stored_until.store(self.clock.milliseconds(), Ordering::Relaxed);
        }
        let segment = self.wal.append(&entry);
        match &segment {
            Ok(_) => {
                if let Some(records) = self.unlogged.ended() {
                    tracing::info!(records, "WAL is writable again; these records were only in memory");
                }
            }
            Err(error) if self.unlogged.failed() => {
                tracing::error!(%error, "WAL cannot be written; new usage records are only in memory");
            }
            Err(_) => {}
        }
        Queued { segment: segment.ok(), entry }
    }

    /// Appends to the WAL what AWS had when the previous process was killed.
    fn charge_interrupted(&self, interrupted: Vec<Result<UsageRecord, UnreadableLine>>, metrics: &Metrics) {
        if interrupted.is_empty() {
            return;
        }
        tracing::warn!(
            event = "requests_interrupted",
            requests = interrupted.len(),
            "the previous process was killed with open requests; they are charged by estimates"
        );
        let written = interrupted.into_iter().try_for_each(|record| match record {
            Ok(record) => self.wal.append(&WalEntry::Usage(Box::new(record))).map(drop),
            Err(line) => {
                metrics.usage_quarantined(1);
                tracing::error!(reason = line.reason, "open request not readable; it is in quarantine.jsonl");
                self.wal.quarantine_line(&line)
            }
        });
        if let Err(error) = written.and_then(|()| self.open.clear_all()) {
            tracing::error!(%error, "WAL write failed; the next process charges these requests");
        }
    }

    /// Writes an entry that is neither in the database nor in the WAL to the log, the last place for it.
    fn report_lost(&self, entry: &WalEntry) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let record = serde_json::to_string(entry).unwrap_or_default();
        tracing::error!(record, "usage record lost: database unavailable and WAL not writable");
    }
}
