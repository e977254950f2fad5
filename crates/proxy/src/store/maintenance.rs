//! Reset of the daily counters, and deletion of expired rows.

use time::PrimitiveDateTime;

use super::users::write_event;
use super::{BACKGROUND_TIMEOUT, Event, Result, Store, datetime, validate};

/// Maximum rows deleted by one statement, so that the lock of SQLite is held for milliseconds only.
const ROWS_PER_DELETE: i64 = 5_000;

const DAY_MS: i64 = 86_400_000;

/// Age after its expiry at which a reservation is deleted: it cannot be renewed any more.
const RESERVATION_RETENTION_MS: i64 = DAY_MS / 24;

/// Age at which counters of a period, and expired tokens, are deleted: longer than the longest usual period, a month,
/// so that a report of the last one still finds them.
const COUNTER_RETENTION_MS: i64 = 60 * DAY_MS;

impl Store {
    /// Records the start of a quota period: sets `tokens_used_today` to 0 for all users without usage in it, and
    /// `last_reset_date` to `date`. Returns true to the first replica that does so, whose event is written.
    ///
    /// No quota depends on this, because admission counts by period; except for the first period of a database that an
    /// earlier program used.
    ///
    /// # Errors
    /// When the database is unavailable, or `date` is invalid.
    pub async fn record_reset(&self, period: i64, date: &str, event: &Event) -> Result<bool> {
        const SQLITE: &str = "UPDATE users SET tokens_used_today = 0, last_reset_date = $2, used_period = $1
             WHERE used_period < $1
                OR (used_period IS NULL AND (last_reset_date IS NULL OR last_reset_date < $2))";
        // Locked in the order of the names, as a batch of usage records does it.
        const POSTGRES: &str = "WITH due AS (SELECT user_id FROM users WHERE used_period < $1
                OR (used_period IS NULL AND (last_reset_date IS NULL OR last_reset_date < $2))
                ORDER BY user_id FOR NO KEY UPDATE)
             UPDATE users SET tokens_used_today = 0, last_reset_date = $2, used_period = $1
             FROM due WHERE users.user_id = due.user_id";
        // Rows of an earlier program: what they used today counts today.
        const ADOPTED: &str = "INSERT INTO counters (scope, name, period, used)
             SELECT 'user', user_id, $1, tokens_used_today FROM users
             WHERE used_period IS NULL AND tokens_used_today > 0
             UNION ALL SELECT 'team', team, $1, CAST(SUM(tokens_used_today) AS BIGINT) FROM users
             WHERE used_period IS NULL AND tokens_used_today > 0 AND team IS NOT NULL GROUP BY team
             ORDER BY 1, 2 ON CONFLICT (scope, name, period) DO NOTHING";
        const COUNTED: &str =
            "UPDATE users SET used_period = $1 WHERE used_period IS NULL AND tokens_used_today > 0";
        let date = datetime::parse_date(date)?;
        validate::event(event)?;
        let reset = self.query_for_driver(SQLITE, POSTGRES);
        self.with_deadline(BACKGROUND_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                let inserted =
                    sqlx::query("INSERT INTO resets (period) VALUES ($1) ON CONFLICT (period) DO NOTHING");
                let is_first = inserted.bind(period).execute(&mut *tx).await?.rows_affected() > 0;
                if is_first {
                    sqlx::query(reset).bind(period).bind(date).execute(&mut *tx).await?;
                    sqlx::query(ADOPTED).bind(period).execute(&mut *tx).await?;
                    sqlx::query(COUNTED).bind(period).execute(&mut *tx).await?;
                    write_event!(tx, event);
                }
                is_first
            }))
        })
        .await
    }

    /// Deletes usage rows and events from before these times, if given, and expired reservations, counters and tokens.
    /// Daily sums are kept, and so are rows of an earlier program, which promised no deletion. Returns the number of
    /// deleted rows.
    ///
    /// # Errors
    /// When the database is unavailable; rows deleted before that stay deleted.
    pub async fn prune(
        &self,
        usage_before: Option<i64>,
        events_before: Option<i64>,
        now: i64,
    ) -> Result<u64> {
        const USAGE: &str = "DELETE FROM metrics WHERE id IN
             (SELECT id FROM metrics WHERE created_at < $1 AND receipt_id IS NOT NULL LIMIT $2)";
        const EVENTS: &str = "DELETE FROM events WHERE id IN
             (SELECT id FROM events WHERE created_at < $1 AND event_id IS NOT NULL LIMIT $2)";
        const RESERVATIONS: &str = "DELETE FROM reservations WHERE id IN
             (SELECT id FROM reservations WHERE expires_at < $1 LIMIT $2)";
        const COUNTERS: &str = "DELETE FROM counters WHERE (scope, name, period) IN
             (SELECT scope, name, period FROM counters WHERE period < $1 LIMIT $2)";
        const TOKENS: &str =
            "DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens WHERE expires_at < $1 LIMIT $2)";
        let mut deleted = 0;
        for (statement, before) in [(USAGE, usage_before), (EVENTS, events_before)] {
            if let Some(before) = before {
                deleted += self.prune_by_time(statement, datetime::timestamp(before)?).await?;
            }
        }
        let ages = [
            (RESERVATIONS, RESERVATION_RETENTION_MS),
            (COUNTERS, COUNTER_RETENTION_MS),
            (TOKENS, COUNTER_RETENTION_MS),
        ];
        for (statement, age) in ages {
            deleted += self.prune_by_number(statement, now - age).await?;
        }
        Ok(deleted)
    }

    async fn prune_by_time(&self, statement: &'static str, before: PrimitiveDateTime) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let rows = self.with_deadline(BACKGROUND_TIMEOUT, async {
                Ok(transaction!(self, |tx| {
                    sqlx::query(statement)
                        .bind(before)
                        .bind(ROWS_PER_DELETE)
                        .execute(&mut *tx)
                        .await?
                        .rows_affected()
                }))
            });
            match rows.await? {
                0 => return Ok(deleted),
                rows => deleted += rows,
            }
        }
    }

    async fn prune_by_number(&self, statement: &'static str, before: i64) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let rows = self.with_deadline(BACKGROUND_TIMEOUT, async {
                Ok(transaction!(self, |tx| {
                    sqlx::query(statement)
                        .bind(before)
                        .bind(ROWS_PER_DELETE)
                        .execute(&mut *tx)
                        .await?
                        .rows_affected()
                }))
            });
            match rows.await? {
                0 => return Ok(deleted),
                rows => deleted += rows,
            }
        }
    }
}
