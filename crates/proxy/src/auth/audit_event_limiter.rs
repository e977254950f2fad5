//! Token bucket for audit events, so that rejected requests cannot fill the database.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Events that pass at once: a client with a wrong token is visible, a flood is not stored.
const BURST_EVENTS: u32 = 20;
/// Time after which one more event passes: at most 28,800 a day.
const REFILL_INTERVAL: Duration = Duration::from_secs(3);

/// Limits a rate, and counts what exceeds it.
#[derive(Debug, Default)]
pub(crate) struct AuditEventLimiter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Events in the bucket.
    level: u32,
    drained_at: Option<Instant>,
    /// Events suppressed since the last one that passed.
    suppressed: u64,
}

impl AuditEventLimiter {
    /// Number of events suppressed before this one; `None` when this one is suppressed as well.
    pub(crate) fn try_acquire(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let drained_at = *state.drained_at.get_or_insert(now);
        let drained = now.duration_since(drained_at).as_secs() / REFILL_INTERVAL.as_secs();
        if drained > 0 {
            state.level = state.level.saturating_sub(u32::try_from(drained).unwrap_or(u32::MAX));
            state.drained_at = Some(now);
        }
        if state.level >= BURST_EVENTS {
            state.suppressed += 1;
            return None;
        }
        state.level += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_passes_then_one_per_interval() {
        let limiter = AuditEventLimiter::default();
        assert_eq!((0..100).filter(|_| limiter.try_acquire().is_some()).count(), 20);
        tokio::time::advance(REFILL_INTERVAL).await;
        assert_eq!(limiter.try_acquire(), Some(80));
        assert_eq!(limiter.try_acquire(), None);
        tokio::time::advance(REFILL_INTERVAL * 1000).await;
        assert_eq!((0..100).filter(|_| limiter.try_acquire().is_some()).count(), 20);
    }
}
