//! Where usage goes on its way to the database, and how long it stays there.

use super::env::Reader;

/// The ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// `LEDGER_QUEUE`: how many requests may be open or not yet stored; further ones wait.
    pub queue: usize,
    /// `USAGE_RETENTION_DAYS`: how long single usage rows are kept; the daily sums stay.
    pub usage_days: u32,
    /// `EVENTS_RETENTION_DAYS`: how long events are kept.
    pub event_days: u32,
}

pub(super) fn ledger(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Ledger {
    Ledger {
        queue: reader.number("LEDGER_QUEUE", 1000, 10..=1_000_000),
        usage_days: reader.number("USAGE_RETENTION_DAYS", 396, 1..=36_500),
        event_days: reader.number("EVENTS_RETENTION_DAYS", 365, 1..=36_500),
    }
}
