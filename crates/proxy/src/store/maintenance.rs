//! What is done now and then: the daily reset is written down, and what nobody needs any longer goes.

use time::PrimitiveDateTime;

use super::users::write_event;
use super::{CALM, Event, Result, Store, datetime, validate};

/// Rows that one statement removes: more would keep others waiting.
const ROWS: i64 = 5_000;

const DAY: i64 = 86_400_000;

impl Store {
    /// Writes down that a quota period began: `tokens_used_today` of all who spent in none since is 0, and
    /// `last_reset_date` is `date`. Of all replicas that say so, one is told that it was first, and its event is kept.
    ///
    /// No quota depends on this, as admission counts by period; but for the first one of a database that was adopted.
    ///
    /// # Errors
    /// When the database is away, or `date` is no day.
    pub async fn record_reset(&self, period: i64, date: &str, event: &Event) -> Result<bool> {
        const SQLITE: &str = "UPDATE users SET tokens_used_today = 0, last_reset_date = $2, used_period = $1
             WHERE used_period < $1
                OR (used_period IS NULL AND (last_reset_date IS NULL OR last_reset_date < $2))";
        // Locked in the order of the names, as a batch of receipts does it.
        const POSTGRES: &str = "WITH due AS (SELECT user_id FROM users WHERE used_period < $1
                OR (used_period IS NULL AND (last_reset_date IS NULL OR last_reset_date < $2))
                ORDER BY user_id FOR NO KEY UPDATE)
             UPDATE users SET tokens_used_today = 0, last_reset_date = $2, used_period = $1
             FROM due WHERE users.user_id = due.user_id";
        // Rows that were adopted: what they spent today counts today.
        const ADOPTED: &str = "INSERT INTO counters (scope, name, period, used)
             SELECT 'user', user_id, $1, tokens_used_today FROM users
             WHERE used_period IS NULL AND tokens_used_today > 0
             UNION ALL SELECT 'team', team, $1, CAST(SUM(tokens_used_today) AS BIGINT) FROM users
             WHERE used_period IS NULL AND tokens_used_today > 0 AND team IS NOT NULL GROUP BY team
             ORDER BY 1, 2 ON CONFLICT (scope, name, period) DO NOTHING";
        const COUNTED: &str =
            "UPDATE users SET used_period = $1 WHERE used_period IS NULL AND tokens_used_today > 0";
        let date = datetime::date(date)?;
        validate::event(event)?;
        let reset = self.locking(SQLITE, POSTGRES);
        self.within(CALM, async {
            Ok(writing!(self, |tx| {
                let noted =
                    sqlx::query("INSERT INTO resets (period) VALUES ($1) ON CONFLICT (period) DO NOTHING");
                let first = noted.bind(period).execute(&mut *tx).await?.rows_affected() > 0;
                if first {
                    sqlx::query(reset).bind(period).bind(date).execute(&mut *tx).await?;
                    sqlx::query(ADOPTED).bind(period).execute(&mut *tx).await?;
                    sqlx::query(COUNTED).bind(period).execute(&mut *tx).await?;
                    write_event!(tx, event);
                }
                first
            }))
        })
        .await
    }

    /// Removes rows of usage and events from before these times, if given, and what has long ended: reservations,
    /// counters, tokens. Sums by day stay, and so do rows that were adopted: whoever wrote them did not agree to lose
    /// them. Tells how many rows went.
    ///
    /// # Errors
    /// When the database is away; what was removed until then stays removed.
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
        // An hour after its end a reservation is not renewed any more.
        const RESERVATIONS: &str = "DELETE FROM reservations WHERE id IN
             (SELECT id FROM reservations WHERE expires_at < $1 LIMIT $2)";
        const COUNTERS: &str = "DELETE FROM counters WHERE (scope, name, period) IN
             (SELECT scope, name, period FROM counters WHERE period < $1 LIMIT $2)";
        const TOKENS: &str =
            "DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens WHERE expires_at < $1 LIMIT $2)";
        let mut gone = 0;
        for (text, before) in [(USAGE, usage_before), (EVENTS, events_before)] {
            if let Some(before) = before {
                gone += self.prune_by_time(text, datetime::timestamp(before)?).await?;
            }
        }
        let ages = [(RESERVATIONS, DAY / 24), (COUNTERS, 60 * DAY), (TOKENS, 60 * DAY)];
        for (text, age) in ages {
            gone += self.prune_by_number(text, now - age).await?;
        }
        Ok(gone)
    }

    async fn prune_by_time(&self, text: &'static str, before: PrimitiveDateTime) -> Result<u64> {
        let mut gone = 0;
        loop {
            let part = self.within(CALM, async {
                Ok(writing!(self, |tx| {
                    sqlx::query(text).bind(before).bind(ROWS).execute(&mut *tx).await?.rows_affected()
                }))
            });
            match part.await? {
                0 => return Ok(gone),
                part => gone += part,
            }
        }
    }

    async fn prune_by_number(&self, text: &'static str, before: i64) -> Result<u64> {
        let mut gone = 0;
        loop {
            let part = self.within(CALM, async {
                Ok(writing!(self, |tx| {
                    sqlx::query(text).bind(before).bind(ROWS).execute(&mut *tx).await?.rows_affected()
                }))
            });
            match part.await? {
                0 => return Ok(gone),
                part => gone += part,
            }
        }
    }
}
