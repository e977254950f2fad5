//! Between epoch milliseconds, which the other rooms know, and the TIMESTAMP and DATE columns.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime};

use super::StoreError;

const NANOS: i128 = 1_000_000;

/// The TIMESTAMP of an instant, in UTC.
pub(super) fn timestamp(at: i64) -> Result<PrimitiveDateTime, StoreError> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * NANOS)
        .map_err(|_| StoreError::Invalid(format!("{at} is no time")))?;
    Ok(PrimitiveDateTime::new(moment.date(), moment.time()))
}

/// The instant of a TIMESTAMP.
pub(super) fn millis(timestamp: PrimitiveDateTime) -> i64 {
    i64::try_from(timestamp.assume_utc().unix_timestamp_nanos() / NANOS).unwrap_or(i64::MAX)
}

/// The day in UTC of an instant.
pub(super) fn day(at: i64) -> Result<Date, StoreError> {
    timestamp(at).map(PrimitiveDateTime::date)
}

/// A day as `2026-11-22`.
pub(super) fn text(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

/// The day that `2026-11-22` names.
pub(super) fn date(text: &str) -> Result<Date, StoreError> {
    let wrong = || StoreError::Invalid(format!("{text:?} is no day; write it as 2026-11-22"));
    // jiff reads more than this one shape.
    let plain = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day: jiff::civil::Date = text.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    let number = |number: i8| u8::try_from(number).map_err(|_| wrong());
    let month = Month::try_from(number(day.month())?).map_err(|_| wrong())?;
    Date::from_calendar_date(i32::from(day.year()), month, number(day.day())?).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_way_there_and_back() {
        for at in [0, 1_795_348_800_123, 951_782_400_000] {
            assert_eq!(millis(timestamp(at).unwrap()), at);
        }
        assert!(timestamp(i64::MAX).is_err());
    }

    #[test]
    fn days_are_those_of_utc_and_have_one_spelling() {
        assert_eq!(text(day(1_795_348_799_999).unwrap()), "2026-11-22");
        assert_eq!(text(date("2028-02-29").unwrap()), "2028-02-29");
        for wrong in ["2026-02-29", "20261122", "2026-11-22T00:00", "x", "+02026-11-2"] {
            assert!(date(wrong).is_err(), "{wrong}");
        }
    }
}
