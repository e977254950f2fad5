//! Pace of maintenance: small parts, each followed by a pause at least three times as long as the part took, so that requests
//! and usage records get three quarters of the database's time and most of the disk's.

use std::time::Duration;

use tokio::time::Instant;

/// Rows of the first part.
const FIRST_ROWS: u32 = 100;

/// Bounds of the rows of a part. It holds the lock of SQLite for some milliseconds.
const MIN_ROWS: u32 = 50;
const MAX_ROWS: u32 = 500;

/// Time that a part should take: short beside a request. Parts grow and shrink towards it.
const PART_DURATION: Duration = Duration::from_millis(4);

/// Length of a pause in durations of the part before it.
const PAUSE_FACTOR: u32 = 3;

/// Pause for each row: at most 2,000 rows a second, so that the disk is not busy with them. An hour's run of
/// half a million rows takes four minutes.
const PAUSE_PER_ROW: Duration = Duration::from_micros(500);

/// Longest pause, after a part that waited for the lock of another process.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Size of the next part, and the rows that are left to one run.
#[derive(Debug)]
pub(super) struct Pace {
    rows: u32,
    left: u64,
}

impl Pace {
    /// A pace of at most `max_rows` rows in total.
    pub(super) fn new(max_rows: u64) -> Self {
        Self { rows: FIRST_ROWS, left: max_rows }
    }

    /// Maximum rows of the next part; 0 when the run should end.
    pub(super) fn next_rows(&self) -> i64 {
        i64::from(self.rows).min(i64::try_from(self.left).unwrap_or(i64::MAX))
    }

    /// Pauses after a part of `rows` rows that began at `started`.
    pub(super) async fn pause(&mut self, started: Instant, rows: u64) {
        let duration = started.elapsed();
        self.left = self.left.saturating_sub(rows);
        if duration > PART_DURATION {
            self.rows = (self.rows / 2).max(MIN_ROWS);
        } else if duration < PART_DURATION / 2 {
            self.rows = (self.rows * 2).min(MAX_ROWS);
        }
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let pause = (duration * PAUSE_FACTOR).max(PAUSE_PER_ROW.saturating_mul(rows));
        tokio::time::sleep(pause.min(MAX_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pause_is_three_times_the_part() {
        let mut pace = Pace::new(1000);
        let started = Instant::now();
        tokio::time::advance(Duration::from_millis(30)).await;
        pace.pause(started, 100).await;
        assert_eq!(started.elapsed(), Duration::from_millis(120));
        assert_eq!(pace.next_rows(), 50);
        let started = Instant::now();
        pace.pause(started, 500).await;
        assert_eq!(started.elapsed(), Duration::from_millis(250), "at most 2,000 rows a second");
    }

    #[tokio::test(start_paused = true)]
    async fn run_ends_at_its_bound() {
        let mut pace = Pace::new(1000);
        let mut total = 0;
        while pace.next_rows() > 0 {
            let rows = pace.next_rows().unsigned_abs();
            assert!(rows <= u64::from(MAX_ROWS));
            total += rows;
            pace.pause(Instant::now(), rows).await;
        }
        assert_eq!(total, 1000);
    }
}
