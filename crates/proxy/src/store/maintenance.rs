//! Reset of the daily counters, and deletion of expired rows, in parts that leave the database to requests.

use time::PrimitiveDateTime;
use tokio::time::Instant;

use super::circuit::AccessKind;
use super::pace::Pace;
use super::pools::Pools;
use super::users::write_event;
use super::{AuditEvent, BACKGROUND_TIMEOUT, Result, Store, datetime, validate};

/// Maximum rows deleted by one call: more than an hour of a busy proxy adds. The next call goes on.
const MAX_ROWS_PER_RUN: u64 = 500_000;

const DAY_MS: i64 = 86_400_000;

/// Age after its expiry at which a reservation is deleted: it cannot be renewed any more.
const RESERVATION_RETENTION_MS: i64 = DAY_MS / 24;

/// Age at which counters of a period, and expired tokens, are deleted: longer than the longest usual period, a month,
/// so that a report of the last one still finds them.
const COUNTER_RETENTION_MS: i64 = 60 * DAY_MS;

/// Statements that delete rows with a time.
struct TimedRows {
    /// Ids and times of the oldest rows from $1 to before $2.
    find: &'static str,
    delete_sqlite: &'static str,
    delete_postgres: &'static str,
}

macro_rules! timed_rows {
    ($table:literal, $id:literal) => {
        TimedRows {
            // Rows of an earlier program have no such id. The condition is that of an index.
            find: concat!(
                "SELECT CAST(id AS BIGINT), created_at FROM ",
                $table,
                " WHERE created_at >= $1 AND created_at < $2 AND ",
                $id,
                " IS NOT NULL
                 ORDER BY created_at LIMIT $3"
            ),
            delete_sqlite: concat!(
                "DELETE FROM ",
                $table,
                " WHERE id IN (SELECT value FROM json_each($1)) AND ",
                $id,
                " IS NOT NULL"
            ),
            delete_postgres: concat!("DELETE FROM ", $table, " WHERE id = ANY($1) AND ", $id, " IS NOT NULL"),
        }
    };
}

const USAGE: TimedRows = timed_rows!("metrics", "receipt_id");
const EVENTS: TimedRows = timed_rows!("events", "event_id");

/// Statements that delete rows with an expiry: whether there are any, and their deletion.
type ExpiringRows = (&'static str, &'static str);

const RESERVATIONS: ExpiringRows = (
    "SELECT EXISTS (SELECT 1 FROM reservations WHERE expires_at < $1)",
    "DELETE FROM reservations WHERE id IN (SELECT id FROM reservations WHERE expires_at < $1 LIMIT $2)",
);
const COUNTERS: ExpiringRows = (
    "SELECT EXISTS (SELECT 1 FROM counters WHERE period < $1)",
    "DELETE FROM counters WHERE (scope, name, period) IN
     (SELECT scope, name, period FROM counters WHERE period < $1 LIMIT $2)",
);
const TOKENS: ExpiringRows = (
    "SELECT EXISTS (SELECT 1 FROM tokens WHERE expires_at < $1)",
    "DELETE FROM tokens WHERE jti IN (SELECT jti FROM tokens WHERE expires_at < $1 LIMIT $2)",
);

/// Users with names after $3 and up to $4.
macro_rules! in_range {
    () => {
        "user_id > $3 AND (CAST($4 AS VARCHAR(255)) IS NULL OR user_id <= $4)"
    };
}

impl Store {
    /// Records the start of a quota period: sets `tokens_used_today` to 0 for all users without usage in it, and
    /// `last_reset_date` to `date`. Returns true to the first replica that does so, whose event is written.
    ///
    /// No quota depends on this, because admission counts by period; except for the first period of a database that an
    /// earlier program used.
    ///
    /// # Errors
    /// When the database is unavailable, or `date` is invalid. What is done stays done, and the next call goes on.
    pub async fn record_reset(&self, period: i64, date: &str, event: &AuditEvent) -> Result<bool> {
        const RECORDED: &str = "SELECT EXISTS (SELECT 1 FROM resets WHERE period = $1)";
        let day = datetime::parse_date(date)?;
        validate::event(event)?;
        let recorded = self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            Ok(read!(self, |pool| sqlx::query_scalar(RECORDED).bind(period).fetch_one(pool).await?))
        });
        if recorded.await? {
            return Ok(false);
        }
        let (mut pace, mut last) = (Pace::new(u64::MAX), String::new());
        loop {
            let started = Instant::now();
            let (rows, end) = self.reset_part(period, day, &last, pace.next_rows()).await?;
            let Some(end) = end else { break };
            last = end;
            pace.pause(started, rows).await;
        }
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                let inserted =
                    sqlx::query("INSERT INTO resets (period) VALUES ($1) ON CONFLICT (period) DO NOTHING");
                let is_first = inserted.bind(period).execute(&mut *tx).await?.rows_affected() > 0;
                if is_first {
                    write_event!(tx, event);
                }
                is_first
            }))
        })
        .await
    }

    /// Resets the counters of up to `max` users with names after `last`. Returns how many rows changed, and the last name;
    /// `None` when there are no more.
    async fn reset_part(
        &self,
        period: i64,
        day: time::Date,
        last: &str,
        max: i64,
    ) -> Result<(u64, Option<String>)> {
        const END: &str = "SELECT user_id FROM users WHERE user_id > $1 ORDER BY user_id LIMIT 1 OFFSET $2";
        const SQLITE: &str = concat!(
            "UPDATE users SET tokens_used_today = 0, last_reset_date = $2, used_period = $1
             WHERE (used_period < $1
                OR (used_period IS NULL AND (last_reset_date IS NULL OR last_reset_date < $2))) AND ",
            in_range!()
        );
        // Locked in the order of the names, as a batch of usage records does it.
        const POSTGRES: &str = concat!(
            "WITH due AS (SELECT user_id FROM users WHERE (used_period < $1
                OR (used_period IS NULL AND (last_reset_date IS NULL OR last_reset_date < $2))) AND ",
            in_range!(),
            " ORDER BY user_id FOR NO KEY UPDATE)
             UPDATE users SET tokens_used_today = 0, last_reset_date = $2, used_period = $1
             FROM due WHERE users.user_id = due.user_id"
        );
        // Rows of an earlier program: what they used today counts today.
        const ADOPTED: &str = concat!(
            "INSERT INTO counters (scope, name, period, used)
             SELECT 'user', user_id, $1, tokens_used_today FROM users
             WHERE used_period IS NULL AND tokens_used_today > 0 AND last_reset_date >= $2 AND ",
            in_range!(),
            " UNION ALL SELECT 'team', team, $1, CAST(SUM(tokens_used_today) AS BIGINT) FROM users
             WHERE used_period IS NULL AND tokens_used_today > 0 AND last_reset_date >= $2
                AND team IS NOT NULL AND ",
            in_range!(),
            " GROUP BY team ORDER BY 1, 2
             ON CONFLICT (scope, name, period) DO UPDATE SET used = counters.used + excluded.used"
        );
        const COUNTED: &str = concat!(
            "UPDATE users SET used_period = $1
             WHERE used_period IS NULL AND tokens_used_today > 0 AND last_reset_date >= $2 AND ",
            in_range!()
        );
        let end: Option<String> = self
            .with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
                Ok(read!(self, |pool| {
                    sqlx::query_scalar(END).bind(last).bind(max - 1).fetch_optional(pool).await?
                }))
            })
            .await?;
        let statements = [self.query_for_driver(SQLITE, POSTGRES), ADOPTED, COUNTED];
        let rows = self
            .with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
                Ok(transaction!(self, |tx| {
                    let mut rows = 0;
                    for statement in statements {
                        let query = sqlx::query(statement).bind(period).bind(day).bind(last).bind(&end);
                        rows += query.execute(&mut *tx).await?.rows_affected();
                    }
                    rows
                }))
            })
            .await?;
        Ok((rows, end))
    }

    /// Deletes usage rows and events from before these times, if given, and expired reservations, counters and tokens, at
    /// most [`MAX_ROWS_PER_RUN`]. Daily sums are kept, and so are rows of an earlier program, which promised no deletion.
    /// Returns the number of deleted rows.
    ///
    /// # Errors
    /// When the database is unavailable; rows deleted before that stay deleted.
    pub async fn prune(
        &self,
        usage_before: Option<i64>,
        events_before: Option<i64>,
        now: i64,
    ) -> Result<u64> {
        let mut pace = Pace::new(MAX_ROWS_PER_RUN);
        let mut deleted = 0;
        // First those that requests look through.
        let ages = [
            (RESERVATIONS, RESERVATION_RETENTION_MS),
            (COUNTERS, COUNTER_RETENTION_MS),
            (TOKENS, COUNTER_RETENTION_MS),
        ];
        for (statements, age) in ages {
            deleted += self.prune_expiring(statements, now - age, &mut pace).await?;
        }
        for (statements, before) in [(USAGE, usage_before), (EVENTS, events_before)] {
            if let Some(before) = before {
                deleted += self.prune_timed(&statements, datetime::timestamp(before)?, &mut pace).await?;
            }
        }
        Ok(deleted)
    }

    async fn prune_timed(
        &self,
        statements: &TimedRows,
        before: PrimitiveDateTime,
        pace: &mut Pace,
    ) -> Result<u64> {
        let mut deleted = 0;
        // Each part begins a second before the one before ended, and does not look through what that deleted. SQLite
        // compares times as texts, and one without a fraction is less than the same with one.
        let mut from = datetime::timestamp(0)?;
        while pace.next_rows() > 0 {
            let started = Instant::now();
            let found: Vec<(i64, PrimitiveDateTime)> = self
                .with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
                    Ok(read!(self, |pool| {
                        let query = sqlx::query_as(statements.find).bind(from).bind(before);
                        query.bind(pace.next_rows()).fetch_all(pool).await?
                    }))
                })
                .await?;
            let Some((_, last)) = found.last() else { break };
            from = last.saturating_sub(time::Duration::SECOND);
            let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
            let rows = self.delete_by_id(statements, &ids).await?;
            deleted += rows;
            // Rows that another replica has deleted count as well: the run ends.
            pace.pause(started, rows.max(1)).await;
        }
        Ok(deleted)
    }

    async fn delete_by_id(&self, statements: &TimedRows, ids: &[i64]) -> Result<u64> {
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            Ok(match self.pools()? {
                Pools::Sqlite { write } => {
                    let mut connection = write.lock().await?;
                    let query = sqlx::query(statements.delete_sqlite).bind(sqlx::types::Json(ids));
                    let rows = query.execute(&mut *connection).await?.rows_affected();
                    connection.finish();
                    rows
                }
                Pools::Postgres { main_pool, .. } => {
                    let query = sqlx::query(statements.delete_postgres).bind(ids);
                    query.execute(main_pool).await?.rows_affected()
                }
            })
        })
        .await
    }

    async fn prune_expiring(
        &self,
        (exists, delete): ExpiringRows,
        before: i64,
        pace: &mut Pace,
    ) -> Result<u64> {
        let mut deleted = 0;
        while pace.next_rows() > 0 {
            let started = Instant::now();
            // Looking needs no lock.
            let found = self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
                Ok(read!(self, |pool| sqlx::query_scalar(exists).bind(before).fetch_one(pool).await?))
            });
            if !found.await? {
                break;
            }
            let max = pace.next_rows();
            let rows = self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
                Ok(transaction!(self, |tx| {
                    let query = sqlx::query(delete).bind(before).bind(max);
                    query.execute(&mut *tx).await?.rows_affected()
                }))
            });
            let rows = rows.await?;
            deleted += rows;
            pace.pause(started, rows.max(1)).await;
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DatabaseUrl};
    use crate::tasks::Tasks;
    use sqlx::{AssertSqlSafe, Connection as _, Row as _};

    #[tokio::test]
    async fn old_rows_are_found_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().display().to_string();
        let config = Config::load(|name| (name == "DATA_DIR").then(|| data.clone())).unwrap();
        let store = Store::open(&config.database, &Tasks::default()).await.unwrap();
        store.close().await;
        let DatabaseUrl::Sqlite(path) = &config.database.url else { panic!("SQLite is the default") };
        let mut connection = sqlx::SqliteConnection::connect(&path.display().to_string()).await.unwrap();
        for (statement, index) in [
            (USAGE.find, "idx_metrics_retention"),
            (EVENTS.find, "idx_events_retention"),
            (COUNTERS.0, "idx_counters_period"),
            (TOKENS.0, "idx_tokens_expires_at"),
        ] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            assert!(plan.iter().any(|step| step.contains(index)), "{statement}: {plan:?}");
            assert!(plan.iter().all(|step| !step.contains("TEMP B-TREE")), "{statement}: {plan:?}");
        }
    }
}
