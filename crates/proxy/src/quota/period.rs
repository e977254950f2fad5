//! Quota periods: the time between two occurrences of a cron expression.
//!
//! A period is computed from the clock and never stored as "the current one", so that a missed reset has no effect on
//! limits.

use std::sync::{Mutex, PoisonError};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::Schedule;

/// Milliseconds of a day in UTC, the period without a cron expression.
const DAY_MS: i64 = 86_400_000;

/// Time between two resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First instant, epoch milliseconds.
    pub start: i64,
    /// First instant after the period, epoch milliseconds.
    pub end: i64,
    /// Calendar day of the start, in the time zone of the schedule.
    pub(crate) date: Date,
}

impl Period {
    /// Milliseconds from `now` to the reset.
    #[must_use]
    pub(crate) fn remaining(&self, now: i64) -> i64 {
        self.end.saturating_sub(now).max(0)
    }
}

/// Computes the period of an instant.
#[derive(Debug)]
pub(crate) struct Periods {
    schedule: Schedule,
    /// Last result: nearly every call is about the same period.
    last: Mutex<Option<Period>>,
}

impl Periods {
    /// Periods by `schedule`.
    #[must_use]
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self { schedule, last: Mutex::new(None) }
    }

    /// The period that holds `now` (epoch milliseconds).
    #[must_use]
    pub(crate) fn at(&self, now: i64) -> Period {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some(period) if (period.start..period.end).contains(&now) => period,
            _ => *last.insert(period(&self.schedule, now)),
        }
    }
}

fn period(schedule: &Schedule, now: i64) -> Period {
    let instant = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX).to_zoned(schedule.zone.clone());
    let millis = |occurrence: Option<Zoned>| occurrence.map(|at| at.timestamp().as_millisecond());
    let cron = schedule.cron.as_ref();
    let start = millis(cron.and_then(|cron| cron.find_previous_occurrence(&instant, true).ok()));
    let end = millis(cron.and_then(|cron| cron.find_next_occurrence(&instant, false).ok()));
    let start = start.unwrap_or(now - now.rem_euclid(DAY_MS));
    let end = end.unwrap_or(start.saturating_add(DAY_MS));
    Period { start, end, date: date(start, &schedule.zone) }
}

fn date(start: i64, zone: &TimeZone) -> Date {
    Timestamp::from_millisecond(start).unwrap_or(Timestamp::MIN).to_zoned(zone.clone()).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn periods(cron: &str, zone: &str) -> Periods {
        Periods::new(Schedule::parse(cron, zone).unwrap())
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn bounds(periods: &Periods, now: &str) -> (String, String, String) {
        let period = periods.at(ms(now));
        let text = |at: i64| Timestamp::from_millisecond(at).unwrap().to_string();
        (text(period.start), text(period.end), period.date.to_string())
    }

    #[test]
    fn midnight_belongs_to_the_new_day() {
        let (explicit, default) = (periods("0 0 * * *", "UTC"), Periods::new(Schedule::daily()));
        for (now, start, end) in [
            ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("2026-11-22T23:59:59.999Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
            ("2028-02-29T12:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            ("2026-12-31T12:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            let expected = (start.into(), end.into(), start[..10].into());
            assert_eq!(bounds(&explicit, now), expected, "{now}");
            assert_eq!(bounds(&default, now), expected, "{now}");
        }
    }

    #[test]
    fn earlier_clock_returns_the_earlier_period() {
        let daily = periods("0 0 * * *", "UTC");
        let first = daily.at(ms("2026-11-22T23:30:00Z"));
        let next = daily.at(ms("2026-11-23T00:30:00Z"));
        assert_eq!(first.end, next.start);
        assert_eq!(daily.at(ms("2026-11-22T23:30:00Z")), first);
    }

    #[test]
    fn daylight_saving_changes_the_length_of_a_day() {
        let madrid = periods("0 0 * * *", "Europe/Madrid");
        let hours = |now: &str| {
            let period = madrid.at(ms(now));
            (period.end - period.start) / 3_600_000
        };
        assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
        assert_eq!(hours("2026-11-22T12:00:00Z"), 24);
        assert_eq!(bounds(&madrid, "2026-11-22T23:30:00Z").2, "2026-11-23");
    }

    #[test]
    fn weekly_and_monthly_periods_work() {
        let monday = periods("0 0 * * MON", "UTC");
        assert_eq!(bounds(&monday, "2026-11-22T10:00:00Z").0, "2026-11-16T00:00:00Z");
        let month = periods("30 6 1 * *", "UTC");
        assert_eq!(bounds(&month, "2026-11-22T10:00:00Z").1, "2026-12-01T06:30:00Z");
    }
}
