//! Receiver of the queue: writes batches to the database, and replays the WAL when it has more than the queue.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wal::{Chunk, SegmentReader, UnreadableLine};
use super::{Queued, Shared, WalEntry};
use crate::config;
use crate::store::{AuditEvent, Store, StoreError, UsageRecord};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Maximum records in one transaction, which holds locks on the rows of their users.
const MAX_BATCH_RECORDS: usize = 500;
/// How long the first record of a batch waits for others. Short, because its reservation counts until then.
pub(crate) const BATCH_WINDOW: Duration = Duration::from_millis(25);
/// Pause between attempts to reach an unavailable database, as short as a restart of the server.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Maximum records in memory that are neither in the WAL nor in the database: some 10 MB.
const MAX_UNLOGGED: usize = 10_000;

/// Why a segment cannot be replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The database is unavailable.
    #[error("{0}")]
    Store(String),
}

/// Whether reading may succeed a moment later: the process or the system lacks file descriptors or memory.
fn is_transient(error: &io::Error) -> bool {
    /// `ENFILE` and `EMFILE` of Linux.
    const NO_DESCRIPTORS: [i32; 2] = [23, 24];
    let is_busy = matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory);
    is_busy || error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code))
}

/// Writer of recorded entries to the database.
#[derive(Debug)]
pub(super) struct UsageWriter {
    store: Store,
    queue: mpsc::Receiver<Queued>,
    shared: Arc<Shared>,
    config: config::UsageConfig,
    metrics: Arc<Metrics>,
    /// Entries that could not be written to the WAL, nor to the database, oldest first.
    unlogged: VecDeque<WalEntry>,
}

impl UsageWriter {
    pub(super) fn new(
        store: Store,
        queue: mpsc::Receiver<Queued>,
        shared: Arc<Shared>,
        config: config::UsageConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { store, queue, shared, config, metrics, unlogged: VecDeque::new() }
    }

    /// Runs until `tasks` shut down and the queue is empty.
    pub(super) async fn run(mut self, tasks: Tasks) {
        self.write_until_shutdown(&tasks).await;
        self.log_unlogged();
        for entry in &self.unlogged {
            self.shared.report_lost(entry);
        }
    }

    async fn write_until_shutdown(&mut self, tasks: &Tasks) {
        loop {
            if self.shared.needs_replay.load(Ordering::Acquire) {
                // A replay that had to discard the queue is repeated at once.
                if self.replay_wal().await {
                    continue;
                }
                tokio::select! {
                    () = self.discard_queued(RETRY_DELAY) => {}
                    () = tasks.shutdown_begun() => {}
                }
                self.log_unlogged();
                if tasks.is_shutdown() {
                    return self.discard_queued(Duration::ZERO).await;
                }
                continue;
            }
            tokio::select! {
                biased;
                queued = self.queue.recv() => match queued {
                    Some(first) => self.write_batch(first, tasks).await,
                    None => return,
                },
                () = tasks.shutdown_begun() => return,
            }
        }
    }

    /// Writes the queued entries, after [`BATCH_WINDOW`].
    async fn write_batch(&mut self, first: Queued, tasks: &Tasks) {
        tokio::select! {
            () = tokio::time::sleep(BATCH_WINDOW) => {}
            () = tasks.shutdown_begun() => {}
        }
        // Entries recorded after this instant may be in the next batch.
        let batched_at = self.shared.clock.milliseconds();
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH_RECORDS
            && let Ok(next) = self.queue.try_recv()
        {
            batch.push(next);
        }
        let segments: Vec<_> = batch.iter().filter_map(|queued| queued.segment).collect();
        let entries: Vec<_> = batch.iter().map(|queued| &queued.entry).collect();
        match self.store_entries(&entries).await {
            Ok(()) => {
                self.shared.wal.mark_stored(segments);
                if batch.len() < MAX_BATCH_RECORDS {
                    self.shared.stored_until.store(batched_at, Ordering::Relaxed);
                }
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "database write failed; usage records are kept in the WAL until it succeeds"
                );
                self.shared.needs_replay.store(true, Ordering::Release);
                batch.into_iter().for_each(|queued| self.discard(queued));
            }
        }
    }

    /// Discards an entry that is in the WAL, and keeps one that is not.
    fn discard(&mut self, queued: Queued) {
        if queued.segment.is_some() {
            return;
        }
        if self.unlogged.len() >= MAX_UNLOGGED
            && let Some(oldest) = self.unlogged.pop_front()
        {
            self.shared.report_lost(&oldest);
        }
        self.unlogged.push_back(queued.entry);
    }

    /// Writes the kept entries to the WAL, as far as it takes them: then a replay stores them.
    fn log_unlogged(&mut self) {
        while let Some(entry) = self.unlogged.front()
            && self.shared.wal.append(entry).is_ok()
        {
            self.unlogged.pop_front();
        }
    }

    /// Writes the kept entries to the database.
    async fn store_unlogged(&mut self) -> Result<(), String> {
        while !self.unlogged.is_empty() {
            let count = self.unlogged.len().min(MAX_BATCH_RECORDS);
            let entries: Vec<_> = self.unlogged.iter().take(count).collect();
            self.store_entries(&entries).await?;
            self.unlogged.drain(..count);
        }
        Ok(())
    }

    /// Discards queued entries for a while: they are in the WAL.
    async fn discard_queued(&mut self, duration: Duration) {
        let deadline = Instant::now() + duration;
        while let Ok(Some(queued)) = tokio::time::timeout_at(deadline, self.queue.recv()).await {
            self.discard(queued);
        }
    }

    /// Writes all entries of the WAL to the database. Returns whether it succeeded.
    async fn replay_wal(&mut self) -> bool {
        if self.store.ping().await.is_err() {
            return false;
        }
        // Before the rotation: later entries are either in the queue or set this again.
        self.shared.needs_replay.store(false, Ordering::Release);
        match self.replay_segments().await {
            Ok(rotated_at) => {
                let _ = self.shared.failed_replays.ended();
                self.shared.stored_until.store(rotated_at, Ordering::Relaxed);
                true
            }
            Err(reason) => {
                if self.shared.failed_replays.failed() {
                    tracing::error!(reason, "WAL replay failed; retrying");
                }
                self.shared.needs_replay.store(true, Ordering::Release);
                false
            }
        }
    }

    /// Replays every segment but a new one. Returns the instant of the rotation.
    async fn replay_segments(&mut self) -> Result<i64, String> {
        // The older ones first: while the database stores none of them, no further segment begins.
        let wal_error = |error: io::Error| format!("WAL folder: {error}");
        for path in self.shared.wal.older().map_err(wal_error)? {
            self.replay_segment(&path).await?;
        }
        let rotated_at = self.shared.clock.milliseconds();
        match self.shared.wal.rotate() {
            Ok(rotated) => {
                for path in rotated {
                    self.replay_segment(&path).await?;
                }
            }
            Err(error) => {
                // The disk is full or read-only. What the open segment has is stored all the same.
                tracing::warn!(%error, "WAL segment not rotated; its records are stored without");
                let stored = self.store_segment(&self.shared.wal.newest()).await;
                stored.map_err(|error| error.to_string())?;
            }
        }
        self.store_unlogged().await?;
        Ok(rotated_at)
    }

    /// Replays one segment. One that cannot be read is set aside, so that it does not hold up the others.
    ///
    /// # Errors
    /// When the database is unavailable, or the process lacks file descriptors or memory: the replay is repeated.
    async fn replay_segment(&mut self, path: &Path) -> Result<(), String> {
        let wal = &Arc::clone(&self.shared).wal;
        let ended = match self.store_segment(path).await {
            Ok(0) => wal.remove(path),
            Ok(records) => {
                tracing::info!(records, "WAL replayed");
                wal.remove(path)
            }
            Err(ReplayError::Store(reason)) => return Err(reason),
            Err(ReplayError::Read(error)) if is_transient(&error) => {
                return Err(format!("{}: {error}", path.display()));
            }
            Err(ReplayError::Read(error)) => {
                self.metrics.usage_quarantined(1);
                tracing::error!(%error, path = %path.display(), "WAL segment not readable; it is set aside");
                wal.set_aside(path).map(drop)
            }
        };
        if let Err(error) = ended {
            tracing::error!(%error, path = %path.display(), "WAL segment cannot be moved; it is replayed again");
        }
        Ok(())
    }

    /// Writes the entries of one segment to the database. Returns the number of usage records.
    async fn store_segment(&mut self, path: &Path) -> Result<usize, ReplayError> {
        let mut reader = SegmentReader::open(path)?;
        let mut total = 0;
        while let Some(Chunk { entries, unreadable }) = reader.next_chunk(MAX_BATCH_RECORDS)? {
            let entries_stored = self.store_entries(&entries.iter().collect::<Vec<_>>()).await;
            entries_stored.map_err(ReplayError::Store)?;
            for line in unreadable {
                self.quarantine_line(&line);
            }
            total += entries.iter().filter(|entry| matches!(entry, WalEntry::Usage(_))).count();
            self.make_room().await;
        }
        Ok(total)
    }

    /// Discards the queue if it is full during a replay, which is repeated then.
    async fn make_room(&mut self) {
        if self.queue.capacity() == 0 {
            self.shared.needs_replay.store(true, Ordering::Release);
            self.discard_queued(Duration::ZERO).await;
        }
    }

    /// Writes `entries` to the database; those that it rejects as invalid are quarantined.
    ///
    /// # Errors
    /// When the database is unavailable.
    async fn store_entries(&self, entries: &[&WalEntry]) -> Result<(), String> {
        let (records, events) = split(entries);
        let started = Instant::now();
        match self.store.write_batch(&records, &events, &self.config.new_users.get()).await {
            Ok(_) => {
                self.metrics.usage_flushed(started.elapsed());
                Ok(())
            }
            Err(StoreError::Unavailable(reason) | StoreError::Schema(reason)) => Err(reason),
            Err(error) => match entries {
                [] => Ok(()),
                [entry] => {
                    self.quarantine(entry, &error);
                    Ok(())
                }
                // One of them is invalid: bisect.
                several => {
                    let (left, right) = several.split_at(several.len() / 2);
                    Box::pin(self.store_entries(left)).await?;
                    Box::pin(self.store_entries(right)).await
                }
            },
        }
    }

    fn quarantine(&self, entry: &WalEntry, error: &StoreError) {
        let reason = error.to_string();
        self.metrics.usage_quarantined(1);
        match self.shared.wal.quarantine(entry, &reason) {
            Ok(()) => tracing::error!(reason, "database rejected a record; it is in quarantine.jsonl"),
            Err(error) => {
                tracing::error!(%error, reason, "database rejected a record; quarantine.jsonl not writable");
                self.shared.report_lost(entry);
            }
        }
    }

    fn quarantine_line(&self, line: &UnreadableLine) {
        self.metrics.usage_quarantined(1);
        let (reason, bytes) = (&line.reason, line.bytes.len());
        match self.shared.wal.quarantine_line(line) {
            Ok(()) => tracing::error!(reason, bytes, "WAL line not readable; it is in quarantine.jsonl"),
            Err(error) => {
                tracing::error!(%error, reason, bytes, "WAL line lost; quarantine.jsonl not writable");
            }
        }
    }
}

fn split(entries: &[&WalEntry]) -> (Vec<UsageRecord>, Vec<AuditEvent>) {
    let (mut records, mut events) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            WalEntry::Usage(record) => {
                let mut record = UsageRecord::clone(record);
                record.clamp();
                records.push(record);
            }
            WalEntry::Event(event) => events.push(event.clone()),
        }
    }
    (records, events)
}
