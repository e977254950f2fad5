//! Deletion of old rows: a task of its own, so that the writer never waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Shared;
use crate::config;
use crate::store::Store;
use crate::tasks::Tasks;

/// Interval of the deletion: retention is in days, so an hour is exact enough.
const RETENTION_INTERVAL: Duration = Duration::from_secs(3600);

/// Deletes rows that are older than their retention.
#[derive(Debug)]
pub(super) struct Retention {
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) config: config::UsageConfig,
}

impl Retention {
    /// Runs until `tasks` shut down.
    pub(super) async fn run(self, tasks: Tasks) {
        let mut interval = tokio::time::interval(RETENTION_INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let run = async {
            loop {
                interval.tick().await;
                self.prune().await;
            }
        };
        tokio::select! {
            () = tasks.shutdown_begun() => {}
            () = run => {}
        }
    }

    async fn prune(&self) {
        let now = self.shared.clock.milliseconds();
        let before = |days: u32| now - i64::from(days) * 86_400_000;
        let (usage, events) = (before(self.config.usage_days), before(self.config.event_days));
        match self.store.prune(Some(usage), Some(events), now).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows deleted"),
            Err(error) => tracing::warn!(%error, "deletion of old rows failed"),
        }
    }
}
