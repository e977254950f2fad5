//! What quotas need done beside requests: reservations of this process are kept alive, and resets are written down.
//! Nothing depends on it being on time: a reservation that is not renewed falls back, and a period begins by the
//! clock.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;

use super::{Period, Quota};
use crate::ids;
use crate::store::Event;
use crate::tasks::Tasks;

/// How often it is looked whether a period has begun.
const LOOK: Duration = Duration::from_secs(5);

impl Quota {
    /// Works until `tasks` stop, which is when the last request has ended.
    pub async fn run(&self, tasks: &Tasks) {
        let mut renewal = tokio::time::interval(self.settings.lease / 3);
        let mut look = tokio::time::interval(LOOK);
        let mut written = None;
        loop {
            tokio::select! {
                _ = renewal.tick() => self.renew().await,
                _ = look.tick() => self.record_reset(&mut written).await,
                () = tasks.stopping() => return,
            }
        }
    }

    /// Keeps what this process has reserved for another lease.
    pub async fn renew(&self) {
        let lease = i64::try_from(self.settings.lease.as_millis()).unwrap_or(i64::MAX);
        let until = self.clock.milliseconds().saturating_add(lease);
        let open: Vec<_> = self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        if let Err(error) = self.store.renew(&open, until).await {
            tracing::warn!(%error, "reservations could not be renewed");
        }
    }

    /// Writes down that a period has begun, unless `written` says so; tried again when the database is away.
    pub async fn record_reset(&self, written: &mut Option<Period>) {
        let period = self.period();
        if *written == Some(period) {
            return;
        }
        let event = Event {
            id: ids::event_id(),
            kind: "quota_reset".to_owned(),
            user_id: None,
            team: None,
            actor: Some("scheduler".to_owned()),
            details: json!({"period_start": period.start, "period_end": period.end, "date": period.date.to_string()}),
            at: self.clock.milliseconds(),
        };
        match self.store.record_reset(period.start, &period.date.to_string(), &event).await {
            Ok(first) => {
                *written = Some(period);
                if first {
                    tracing::info!(date = %period.date, "a quota period has begun");
                }
            }
            Err(error) => tracing::warn!(%error, "the reset of quotas could not be written down yet"),
        }
    }
}
