//! Conversions between epoch milliseconds, which the other rooms use, and TIMESTAMP and DATE columns.

use serde::{Serialize as _, Serializer};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime};

use super::StoreError;

const NANOS_PER_MILLI: i128 = 1_000_000;

/// TIMESTAMP in UTC of an instant in epoch milliseconds.
pub(super) fn timestamp(at: i64) -> Result<PrimitiveDateTime, StoreError> {
    let instant = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * NANOS_PER_MILLI)
        .map_err(|_| StoreError::Invalid(format!("{at} is not a valid time")))?;
    Ok(PrimitiveDateTime::new(instant.date(), instant.time()))
}

/// Epoch milliseconds of a TIMESTAMP.
pub(super) fn millis(timestamp: PrimitiveDateTime) -> i64 {
    i64::try_from(timestamp.assume_utc().unix_timestamp_nanos() / NANOS_PER_MILLI).unwrap_or(i64::MAX)
}

/// Day in UTC of an instant in epoch milliseconds.
pub(super) fn day(at: i64) -> Result<Date, StoreError> {
    timestamp(at).map(PrimitiveDateTime::date)
}

/// Formats a day as `2026-11-22`.
pub(super) fn format_date(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

/// Parses a day such as `2026-11-22`.
pub(super) fn parse_date(text: &str) -> Result<Date, StoreError> {
    let invalid =
        || StoreError::Invalid(format!("{text:?} is not a date; use YYYY-MM-DD, such as 2026-11-22"));
    // jiff accepts more formats than this one.
    let has_format = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let day: jiff::civil::Date = text.parse().ok().filter(|_| has_format).ok_or_else(invalid)?;
    let number = |number: i8| u8::try_from(number).map_err(|_| invalid());
    let month = Month::try_from(number(day.month())?).map_err(|_| invalid())?;
    Date::from_calendar_date(i32::from(day.year()), month, number(day.day())?).map_err(|_| invalid())
}

/// Formats epoch milliseconds in RFC 3339.
pub(crate) fn rfc3339(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Serializes epoch milliseconds in RFC 3339.
pub(super) fn serialize<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

/// As [`serialize`], for an instant that may be absent.
pub(super) fn serialize_option<S: Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(rfc3339).serialize(serializer)
}

/// As [`serialize`]; `null` for 0 and `i64::MAX`, which stand for an unknown instant.
pub(super) fn serialize_known<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let is_known = ![0, i64::MAX].contains(at);
    is_known.then(|| rfc3339(*at)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_in_rfc3339() {
        assert_eq!(rfc3339(1_795_348_800_000), "2026-11-22T12:00:00Z");
    }

    #[test]
    fn timestamps_round_trip() {
        for at in [0, 1_795_348_800_123, 951_782_400_000] {
            assert_eq!(millis(timestamp(at).unwrap()), at);
        }
        assert!(timestamp(i64::MAX).is_err());
    }

    #[test]
    fn dates_are_utc_in_one_format() {
        assert_eq!(format_date(day(1_795_348_799_999).unwrap()), "2026-11-22");
        assert_eq!(format_date(parse_date("2028-02-29").unwrap()), "2028-02-29");
        for invalid in ["2026-02-29", "20261122", "2026-11-22T00:00", "x", "+02026-11-2"] {
            assert!(parse_date(invalid).is_err(), "{invalid}");
        }
    }
}
