//! Between epoch milliseconds, which the other rooms know, and the TIMESTAMP and DATE columns.

use time::{Date, OffsetDateTime, PrimitiveDateTime};

use super::StoreError;

const NANOS: i128 = 1_000_000;

/// The TIMESTAMP of an instant, in UTC.
pub(super) fn timestamp(at: i64) -> Result<PrimitiveDateTime, StoreError> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * NANOS)
        .map_err(|_| StoreError::Refused(format!("{at} is no time")))?;
    Ok(PrimitiveDateTime::new(moment.date(), moment.time()))
}

/// The instant of a TIMESTAMP.
pub(super) fn millis(timestamp: PrimitiveDateTime) -> i64 {
    i64::try_from(timestamp.assume_utc().unix_timestamp_nanos() / NANOS).unwrap_or(i64::MAX)
}

/// A day as `2026-11-22`.
pub(super) fn text(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
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
}
