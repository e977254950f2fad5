//! A bound on how often something is written down, so that whoever is refused cannot fill the database.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many at once, and one more for each `EVERY`.
const BURST: u32 = 20;
const EVERY: Duration = Duration::from_secs(3);

/// Lets through what is within the bound, and counts the rest.
#[derive(Debug, Default)]
pub struct RateLimiter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many were let through lately.
    level: u32,
    since: Option<Instant>,
    /// How many were not let through since the last one that was.
    left_out: u64,
}

impl RateLimiter {
    /// Whether one more may pass; if so, how many were left out before it.
    pub fn try_acquire(&self) -> Option<u64> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.since.get_or_insert(now);
        let drained = now.duration_since(since).as_secs() / EVERY.as_secs();
        if drained > 0 {
            state.level = state.level.saturating_sub(u32::try_from(drained).unwrap_or(u32::MAX));
            state.since = Some(now);
        }
        if state.level >= BURST {
            state.left_out += 1;
            return None;
        }
        state.level += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_now_and_then() {
        let bound = RateLimiter::default();
        assert_eq!((0..100).filter(|_| bound.try_acquire().is_some()).count(), 20);
        tokio::time::advance(EVERY).await;
        assert_eq!(bound.try_acquire(), Some(80));
        assert_eq!(bound.try_acquire(), None);
        tokio::time::advance(EVERY * 1000).await;
        assert_eq!((0..100).filter(|_| bound.try_acquire().is_some()).count(), 20);
    }
}
