//! Log lines about an outage: one when it begins and one when it has ended, however many requests it affects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time without a failure after which an outage has ended, for work of many requests at once: some may still succeed while
/// others time out.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// Counts the failures of one kind of work, so that it is logged once for each outage.
#[derive(Debug)]
pub(crate) struct OutageLog {
    /// Failures since the outage began; 0 without an outage.
    failures: AtomicU64,
    last_failed_at: Mutex<Option<Instant>>,
    quiet_time: Duration,
}

impl OutageLog {
    /// For requests that fail side by side.
    pub(crate) const fn concurrent() -> Self {
        Self::new(QUIET_TIME)
    }

    /// For one task that repeats its work: the first success ends the outage.
    pub(crate) const fn serial() -> Self {
        Self::new(Duration::ZERO)
    }

    const fn new(quiet_time: Duration) -> Self {
        Self { failures: AtomicU64::new(0), last_failed_at: Mutex::new(None), quiet_time }
    }

    /// Counts a failure. Returns whether it begins an outage.
    pub(crate) fn failed(&self) -> bool {
        let mut last_failed_at = self.last_failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        *last_failed_at = Some(Instant::now());
        self.failures.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Called after a success. The number of failures of an outage that this success ends.
    pub(crate) fn ended(&self) -> Option<u64> {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut last_failed_at = self.last_failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if last_failed_at.is_none_or(|at| at.elapsed() < self.quiet_time) {
            return None;
        }
        *last_failed_at = None;
        Some(self.failures.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outage_begins_once_and_ends_once() {
        let outage = OutageLog::concurrent();
        assert_eq!(outage.ended(), None);
        assert!(outage.failed());
        // Requests that succeed beside others that fail do not end it.
        for _ in 0..99 {
            tokio::time::advance(Duration::from_millis(100)).await;
            assert!(!outage.failed());
            assert_eq!(outage.ended(), None);
        }
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!((outage.ended(), outage.ended()), (Some(100), None));
        assert!(outage.failed(), "the next outage is logged again");
    }

    #[tokio::test(start_paused = true)]
    async fn first_success_of_a_task_ends_its_outage() {
        let outage = OutageLog::serial();
        assert!(outage.failed() && !outage.failed());
        assert_eq!((outage.ended(), outage.ended()), (Some(2), None));
    }
}
