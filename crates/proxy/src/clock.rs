//! The wall clock. Only this file reads the system clock, so that tests can set the time.
//!
//! Durations (pings, timeouts, backoff) use `tokio::time` instead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

/// The wall clock. Cheap to clone; clones of a manual clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Machine,
    Manual(Arc<Mutex<SystemTime>>),
}

impl Clock {
    /// The system clock.
    #[must_use]
    pub fn machine() -> Self {
        Self(Source::Machine)
    }

    /// A clock that stays at `now` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(now: SystemTime) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(now))))
    }

    /// The current time.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // this is the one place the ban points to
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Source::Machine => SystemTime::now(),
            Source::Manual(now) => *now.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// The current time in epoch milliseconds; 0 before 1970.
    #[must_use]
    pub fn milliseconds(&self) -> i64 {
        let since = self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// The current time as RFC 3339 in UTC with whole seconds, as `2026-11-22T12:00:00Z`.
    #[must_use]
    pub fn rfc3339(&self) -> String {
        let seconds = self.now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
    }

    /// Moves a manual clock forward; no effect on the system clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            *now.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

/// A stopwatch of the monotonic clock, for time spent waiting.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    started_at: Option<Instant>,
    total: Duration,
}

impl Stopwatch {
    /// Starts, unless it runs.
    pub(crate) fn start(&mut self) {
        self.started_at.get_or_insert_with(Instant::now);
    }

    /// Stops, if it runs.
    pub(crate) fn stop(&mut self) {
        if let Some(started_at) = self.started_at.take() {
            self.total += started_at.elapsed();
        }
    }

    /// Stops and resets. Returns how long it ran.
    pub(crate) fn take(&mut self) -> Duration {
        self.stop();
        std::mem::take(&mut self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_by_advance() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800));
        assert_eq!(clock.rfc3339(), "2026-11-22T12:00:00Z");
        let clone = clock.clone();
        clone.advance(Duration::from_secs(61));
        assert_eq!(clock.rfc3339(), "2026-11-22T12:01:01Z");
    }
}
