//! The far end of the queue: batches into the database, the journal when there is more than the queue holds.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::wal::Reading;
use super::{Queued, Shared, WalEntry};
use crate::config;
use crate::store::{Event, Store, StoreError, UsageRecord};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// The most records in one transaction.
const BATCH: usize = 500;
/// How long the first record of a batch waits for others. Its reservation stands as long.
const LINGER: Duration = Duration::from_millis(25);
/// How long to leave a database alone that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// How often old rows are deleted.
const RETENTION: Duration = Duration::from_secs(3600);

/// Takes what is recorded to the database.
#[derive(Debug)]
pub(super) struct Worker {
    store: Store,
    queue: mpsc::Receiver<Queued>,
    shared: Arc<Shared>,
    config: config::Ledger,
    metrics: Arc<Metrics>,
}

impl Worker {
    pub(super) fn new(
        store: Store,
        queue: mpsc::Receiver<Queued>,
        shared: Arc<Shared>,
        config: config::Ledger,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { store, queue, shared, config, metrics }
    }

    /// Works until `tasks` stop and the queue is empty.
    pub(super) async fn run(mut self, tasks: Tasks) {
        let mut retention = tokio::time::interval(RETENTION);
        loop {
            if self.shared.behind.load(Ordering::Acquire) && !self.catch_up().await {
                tokio::select! {
                    () = self.let_go(PAUSE) => {}
                    () = tasks.stopping() => {}
                }
                if tasks.is_stopping() {
                    return self.let_go(Duration::ZERO).await;
                }
                continue;
            }
            tokio::select! {
                biased;
                some = self.queue.recv() => match some {
                    Some(first) => self.batch(first, &tasks).await,
                    None => return,
                },
                () = tasks.stopping() => return,
                _ = retention.tick() => self.prune().await,
            }
        }
    }

    /// Stores what is queued, after waiting a moment for more of it.
    async fn batch(&mut self, first: Queued, tasks: &Tasks) {
        tokio::select! {
            () = tokio::time::sleep(LINGER) => {}
            () = tasks.stopping() => {}
        }
        // What is recorded from here on may wait for the next batch.
        let taken = self.shared.clock.milliseconds();
        let mut filed = vec![first];
        while filed.len() < BATCH
            && let Ok(next) = self.queue.try_recv()
        {
            filed.push(next);
        }
        let places: Vec<_> = filed.iter().filter_map(|filed| filed.at).collect();
        let records: Vec<_> = filed.iter().map(|filed| &filed.record).collect();
        match self.write(&records).await {
            Ok(()) => {
                self.shared.journal.stored(places);
                if filed.len() < BATCH {
                    self.shared.stored_until.store(taken, Ordering::Relaxed);
                }
            }
            Err(reason) => {
                tracing::error!(
                    reason,
                    "the database is away; usage is kept in the journal until it is back"
                );
                self.shared.behind.store(true, Ordering::Release);
                for filed in filed.iter().filter(|filed| filed.at.is_none()) {
                    self.shared.lose(&filed.record);
                }
            }
        }
    }

    /// Keeps the queue empty for a while: what stood in it stands in the journal.
    async fn let_go(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(Some(filed)) = tokio::time::timeout_at(until, self.queue.recv()).await {
            if filed.at.is_none() {
                self.shared.lose(&filed.record);
            }
        }
    }

    /// Reads what the journal holds into the database. Returns whether all of it is there.
    async fn catch_up(&mut self) -> bool {
        if self.store.ping().await.is_err() {
            return false;
        }
        // Before the rotation: what is recorded after it is either in the queue or sets the mark again.
        self.shared.behind.store(false, Ordering::Release);
        let older = match self.shared.journal.rotate() {
            Ok(older) => older,
            Err(error) => {
                tracing::error!(%error, "the journal cannot be rotated");
                self.shared.behind.store(true, Ordering::Release);
                return false;
            }
        };
        let read = self.shared.clock.milliseconds();
        for path in older {
            if let Err(reason) = self.replay(&path).await {
                tracing::error!(reason, path = %path.display(), "the journal cannot be stored yet");
                self.shared.behind.store(true, Ordering::Release);
                return false;
            }
        }
        self.shared.stored_until.store(read, Ordering::Relaxed);
        true
    }

    async fn replay(&mut self, path: &Path) -> Result<(), String> {
        let mut reading = Reading::open(path).map_err(|error| error.to_string())?;
        let mut total = 0;
        loop {
            let records = reading.some(BATCH).map_err(|error| error.to_string())?;
            if records.is_empty() {
                break;
            }
            self.write(&records.iter().collect::<Vec<_>>()).await?;
            total += records.len();
            // The queue must not fill up meanwhile.
            self.pass_on().await;
        }
        if total > 0 {
            tracing::info!(records = total, "the journal is stored");
        }
        fs::remove_file(path).map_err(|error| error.to_string())
    }

    /// Lets go of the queue while the journal is read: it will be read once more.
    async fn pass_on(&mut self) {
        if self.queue.capacity() == 0 {
            self.shared.behind.store(true, Ordering::Release);
            self.let_go(Duration::ZERO).await;
        }
    }

    /// Stores `records`; those that the database will never take are set aside.
    ///
    /// # Errors
    /// When the database is away.
    async fn write(&self, records: &[&WalEntry]) -> Result<(), String> {
        let (receipts, events) = split(records);
        let begun = Instant::now();
        match self.store.write_batch(&receipts, &events).await {
            Ok(_) => {
                self.metrics.usage_flushed(begun.elapsed());
                Ok(())
            }
            Err(StoreError::Unavailable(reason) | StoreError::Schema(reason)) => Err(reason),
            Err(error) => match records {
                [] => Ok(()),
                [alone] => self.set_aside(alone, &error),
                // One of them is the bad one.
                several => {
                    let (left, right) = several.split_at(several.len() / 2);
                    Box::pin(self.write(left)).await?;
                    Box::pin(self.write(right)).await
                }
            },
        }
    }

    fn set_aside(&self, record: &WalEntry, error: &StoreError) -> Result<(), String> {
        let reason = error.to_string();
        tracing::error!(reason, "the database refuses a record; it is kept in quarantine.jsonl");
        self.shared.journal.quarantine(record, &reason).map_err(|error| error.to_string())
    }

    async fn prune(&self) {
        let now = self.shared.clock.milliseconds();
        let before = |days: u32| now - i64::from(days) * 86_400_000;
        let (usage, events) = (before(self.config.usage_days), before(self.config.event_days));
        match self.store.prune(Some(usage), Some(events), now).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows are deleted"),
            Err(error) => tracing::warn!(%error, "old rows could not be deleted"),
        }
    }
}

fn split(records: &[&WalEntry]) -> (Vec<UsageRecord>, Vec<Event>) {
    let (mut receipts, mut events) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            WalEntry::Usage(receipt) => receipts.push((**receipt).clone()),
            WalEntry::Event(event) => events.push(event.clone()),
        }
    }
    (receipts, events)
}
