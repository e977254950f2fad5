//! Background work of quotas: renews the leases of this process and records resets. Neither has to be on time: a lease
//! that is not renewed expires, and a period begins by the clock.

use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::{Period, Quota};
use crate::ids;
use crate::store::AuditEvent;
use crate::tasks::Tasks;

/// Interval of the check whether a period has begun: the reset event is at most this late.
const RESET_CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl Quota {
    /// Runs until shutdown of `tasks`, which begins when the last request has ended.
    pub(crate) async fn run(&self, tasks: &Tasks) {
        let renewals = async {
            let mut interval = tokio::time::interval(self.config.lease / 3);
            loop {
                interval.tick().await;
                self.renew_leases().await;
            }
        };
        // Beside the renewals: with many users it takes longer than a lease.
        let resets = async {
            let mut interval = tokio::time::interval(RESET_CHECK_INTERVAL);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut recorded = None;
            loop {
                interval.tick().await;
                self.record_reset(&mut recorded).await;
            }
        };
        tokio::select! {
            () = renewals => {}
            () = resets => {}
            () = tasks.shutdown_begun() => {}
        }
    }

    /// Renews the leases of this process.
    pub(crate) async fn renew_leases(&self) {
        let lease_ms = i64::try_from(self.config.lease.as_millis()).unwrap_or(i64::MAX);
        let expires_at = self.clock.milliseconds().saturating_add(lease_ms);
        let open: Vec<_> = self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        match self.store.renew(&open, expires_at).await {
            Ok(_) if open.is_empty() => {}
            Ok(_) => {
                if let Some(attempts) = self.renewals.ended() {
                    tracing::info!(attempts, "reservations are renewed again");
                }
            }
            Err(error) if self.renewals.failed() => {
                tracing::warn!(%error, "reservations of open requests cannot be renewed; retrying");
            }
            Err(_) => {}
        }
    }

    /// Records the start of the current period, unless `recorded` is that period. On failure the next call tries again.
    pub async fn record_reset(&self, recorded: &mut Option<Period>) {
        let period = self.period();
        if *recorded == Some(period) {
            return;
        }
        let event = AuditEvent {
            id: ids::event_id(),
            kind: "quota_reset".to_owned(),
            user_id: None,
            team: None,
            actor: Some("scheduler".to_owned()),
            details: json!({"period_start": period.start, "period_end": period.end, "date": period.date.to_string()}),
            at: self.clock.milliseconds(),
        };
        match self.store.record_reset(period.start, &period.date.to_string(), &event).await {
            Ok(is_first) => {
                let _ = self.resets.ended();
                *recorded = Some(period);
                if is_first {
                    tracing::info!(date = %period.date, "quota period began");
                }
            }
            Err(error) if self.resets.failed() => {
                tracing::warn!(%error, "quota reset cannot be recorded; retrying");
            }
            Err(_) => {}
        }
    }
}
