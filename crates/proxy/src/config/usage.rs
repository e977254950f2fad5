//! Usage records: queue and retention.

use super::SharedNewUsers;
use super::env::EnvReader;

/// Queue and retention of usage records and audit events.
#[derive(Clone, Debug)]
pub struct UsageConfig {
    /// Requests that may be open or not yet stored; further requests wait.
    pub queue: usize,
    /// `USAGE_RETENTION_DAYS`: retention of usage records; daily aggregates stay.
    pub(crate) usage_days: u32,
    /// `EVENTS_RETENTION_DAYS`: retention of audit events.
    pub(crate) event_days: u32,
    /// What a user without a row gets when its usage is stored.
    pub(crate) new_users: SharedNewUsers,
}

/// Bounds the memory of records that are not stored yet.
const QUEUE_CAPACITY: usize = 1000;

pub(super) fn usage(env: &mut EnvReader<'_>, new_users: SharedNewUsers) -> UsageConfig {
    UsageConfig {
        new_users,
        queue: QUEUE_CAPACITY,
        // 13 months, so that a month can be compared with the same month of the last year.
        usage_days: env.number("USAGE_RETENTION_DAYS"),
        // One year of audit events.
        event_days: env.number("EVENTS_RETENTION_DAYS"),
    }
}
