//! Settling: a batch of usage records and events in one transaction. A record counts once, however often it is written.
//!
//! New records are known by their unique id; only they are added to the counters, the daily sums and the user's
//! `tokens_used_today`. The reservation with the same id is deleted in the same transaction.

mod aggregates;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::types::Json;
use sqlx::{QueryBuilder, Row};

use self::aggregates::{Aggregates, CounterKey, CounterSums, DailySums, DayKey, UsedToday};
use super::circuit::AccessKind;
use super::reservations::MAX_TOKENS;
use super::users::{MAX_PROFILE, write_event};
use super::{AuditEvent, BACKGROUND_TIMEOUT, Result, Store, StoreError, UsageRecord, datetime, validate};
use crate::config::NewUserConfig;

/// Maximum rows of one statement: a prepared INSERT of so many rows of `metrics`, each with 30 values, takes about 160 KB.
const MAX_ROWS: usize = 64;

/// Maximum cost of one record in nano-dollars: a million dollars. More is an error of the caller.
const MAX_COST: i64 = 1_000_000_000_000_000;

const INSERT_RECORDS: &str = "INSERT INTO metrics (receipt_id, request_id, attempt, user_id, team, session_id, model, \
    model_requested, model_upstream, route, client_api, client, status, outcome, stop_reason, input_tokens, output_tokens, \
    cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, charged_tokens, period, total_cost, cost, rates, \
    priced, estimated, request_duration_ms, ttft_ms, created_at) ";

/// The counter restarts with the first record of a later period, and a late record of an earlier period does not change
/// it. Rows without a period are from an earlier program: there the day decides.
const ON_CONFLICT_USED_TODAY: &str = " ON CONFLICT (user_id) DO UPDATE SET
    tokens_used_today = CASE WHEN users.used_period = excluded.used_period
        OR (users.used_period IS NULL AND users.last_reset_date >= excluded.last_reset_date)
        THEN COALESCE(users.tokens_used_today, 0) + excluded.tokens_used_today
        ELSE excluded.tokens_used_today END,
    last_reset_date = CASE WHEN users.used_period = excluded.used_period THEN users.last_reset_date
        ELSE excluded.last_reset_date END,
    used_period = excluded.used_period
    WHERE users.used_period <= excluded.used_period OR (users.used_period IS NULL
        AND (users.last_reset_date IS NULL OR users.last_reset_date <= excluded.last_reset_date))";

/// A request is admitted with an erased name for seconds, until its caller is looked up again; clocks may differ.
const ERASED_EARLIER_MS: i64 = 3_600_000;

/// Scope (`user`, `team`, or `hash` for the digest of an erased user), old name, new name.
type NewName = (String, String, String);

const NEW_NAMES: &str =
    "SELECT CAST('user' AS VARCHAR(4)), user_id, renamed_to FROM users WHERE renamed_to IS NOT NULL
    UNION ALL SELECT CAST('team' AS VARCHAR(4)), team, renamed_to FROM teams WHERE renamed_to IS NOT NULL
    UNION ALL SELECT CAST('hash' AS VARCHAR(4)), digest, pseudonym FROM erased_names WHERE erased_at > $1";

impl Store {
    /// Writes usage records and events, all of them or none. Returns the number of new records. A user without a row
    /// gets one as `new_users` says, with its event; without provisioning the row is disabled.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when one of them can never be written: the caller has to find out which.
    /// [`StoreError::Unavailable`] when the database is: the whole batch may be written again.
    pub async fn write_batch(
        &self,
        records: &[UsageRecord],
        events: &[AuditEvent],
        new_users: &NewUserConfig,
    ) -> Result<usize> {
        for record in records {
            check_record(record)?;
        }
        for event in events {
            validate::event(event)?;
        }
        let oldest = records.iter().map(|record| record.at).min().unwrap_or(i64::MAX);
        // Boxed: it is by far the largest future of the store, and callers hold it in theirs.
        let work = Box::pin(async {
            Ok(transaction!(self, |tx| {
                let new_names = self.resolve_erased(tx.new_names(oldest).await?, records);
                let records = with_new_names(records, &new_names);
                let records = records.as_ref();
                // Rows of every table are locked in the order of their keys, so that replicas cannot deadlock.
                let users: BTreeMap<&str, &UsageRecord> =
                    records.iter().rev().map(|record| (record.user_id.as_str(), record)).collect();
                let inserted = tx.insert_missing_users(&users, new_users).await?;
                let inserted: Vec<_> = inserted.iter().filter_map(|user| users.get(user.as_str())).collect();
                if new_users.provision {
                    let teams =
                        inserted.iter().filter_map(|record| Some((record.team.as_deref()?, record.at)));
                    tx.insert_missing_teams(&teams.collect(), new_users.team_limit).await?;
                }
                for record in inserted {
                    let team = record.team.as_deref();
                    let event = AuditEvent::user_provisioned(&record.user_id, team, new_users, record.at);
                    write_event!(tx, &event);
                }
                let new_ids = tx.insert_records(records).await?;
                let count = new_ids.len();
                let aggregates = Aggregates::new(records, new_ids)?;
                tx.add_to_counters(&aggregates.counters).await?;
                tx.add_to_days(&aggregates.days).await?;
                tx.add_to_used_today(&aggregates.users).await?;
                tx.delete_reservations(records).await?;
                for event in events {
                    write_event!(tx, event);
                }
                count
            }))
        });
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, work).await
    }

    /// Adds the pseudonyms of users in `records` whose names were erased.
    fn resolve_erased(&self, mut new_names: Vec<NewName>, records: &[UsageRecord]) -> Vec<NewName> {
        if !new_names.iter().any(|(scope, ..)| scope == "hash") {
            return new_names;
        }
        let users: HashSet<&str> = records.iter().map(|record| record.user_id.as_str()).collect();
        for user in users {
            let digests = self.name_digests(user);
            let found =
                new_names.iter().find(|(scope, digest, _)| scope == "hash" && digests.contains(digest));
            if let Some((_, _, pseudonym)) = found {
                new_names.push(("user".to_owned(), user.to_owned(), pseudonym.clone()));
            }
        }
        new_names
    }
}

/// Statements of a batch. Both drivers execute the same texts.
trait BatchStatements {
    /// Scope, old name and new name of every renamed user and team, and digest and pseudonym of the names that were erased
    /// when records from `oldest` on may still have been open.
    async fn new_names(&mut self, oldest: i64) -> Result<Vec<NewName>>;

    /// Inserts a row for each user without one, and returns the names of these users.
    async fn insert_missing_users(
        &mut self,
        users: &BTreeMap<&str, &UsageRecord>,
        new_users: &NewUserConfig,
    ) -> Result<Vec<String>>;

    /// Inserts a row for each team without one, as of the given instant.
    async fn insert_missing_teams(&mut self, teams: &BTreeMap<&str, i64>, limit: Option<i64>) -> Result<()>;

    /// Inserts the records that are not stored yet, and returns their ids.
    async fn insert_records(&mut self, records: &[UsageRecord]) -> Result<HashSet<String>>;

    /// Adds to the counters of users and teams by period.
    async fn add_to_counters(&mut self, counters: &BTreeMap<CounterKey<'_>, CounterSums>) -> Result<()>;

    /// Adds to the daily sums.
    async fn add_to_days(&mut self, days: &BTreeMap<DayKey<'_>, DailySums>) -> Result<()>;

    /// Adds to `tokens_used_today` of the users.
    async fn add_to_used_today(&mut self, users: &BTreeMap<&str, UsedToday>) -> Result<()>;

    /// Deletes the reservations that the records settle.
    async fn delete_reservations(&mut self, records: &[UsageRecord]) -> Result<()>;
}

macro_rules! batch_statements {
    ($connection:ty) => {
        impl BatchStatements for $connection {
            async fn new_names(&mut self, oldest: i64) -> Result<Vec<NewName>> {
                let after = oldest.saturating_sub(ERASED_EARLIER_MS);
                Ok(sqlx::query_as(NEW_NAMES).bind(after).fetch_all(&mut *self).await?)
            }

            async fn insert_missing_users(
                &mut self,
                users: &BTreeMap<&str, &UsageRecord>,
                new_users: &NewUserConfig,
            ) -> Result<Vec<String>> {
                let mut inserted = Vec::new();
                let users: Vec<_> = users.iter().collect();
                for rows in chunks(&users) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO users (user_id, team, daily_token_limit, disabled, used_period) ",
                    );
                    query.push_values(rows.iter().copied(), |mut row, (user_id, record)| {
                        row.push_bind(*user_id)
                            .push_bind(&record.team)
                            .push_bind(new_users.user_limit)
                            .push_bind(!new_users.provision)
                            .push_bind(0_i64);
                    });
                    query.push(" ON CONFLICT (user_id) DO NOTHING RETURNING user_id");
                    for row in query.build().fetch_all(&mut *self).await? {
                        inserted.push(row.try_get(0)?);
                    }
                }
                Ok(inserted)
            }

            async fn insert_missing_teams(
                &mut self,
                teams: &BTreeMap<&str, i64>,
                limit: Option<i64>,
            ) -> Result<()> {
                for (team, at) in teams {
                    let now = datetime::timestamp(*at)?;
                    let query =
                        "INSERT INTO teams (team, daily_token_limit, disabled, created_at, updated_at)
                         VALUES ($1, $2, FALSE, $3, $3) ON CONFLICT (team) DO NOTHING";
                    sqlx::query(query).bind(*team).bind(limit).bind(now).execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn insert_records(&mut self, records: &[UsageRecord]) -> Result<HashSet<String>> {
                let mut new_ids = HashSet::new();
                for records in chunks(records) {
                    let times = records.iter().map(|record| datetime::timestamp(record.at));
                    let times = times.collect::<Result<Vec<_>>>()?;
                    let mut query = QueryBuilder::new(INSERT_RECORDS);
                    query.push_values(records.iter().zip(times), |mut row, (record, created_at)| {
                        row.push_bind(&record.id)
                            .push_bind(&record.request_id)
                            .push_bind(record.attempt)
                            .push_bind(&record.user_id)
                            .push_bind(&record.team)
                            .push_bind(&record.session_id)
                            .push_bind(&record.model)
                            .push_bind(&record.model_requested)
                            .push_bind(&record.model_upstream)
                            .push_bind(&record.route)
                            .push_bind(&record.client_api)
                            .push_bind(&record.client)
                            .push_bind(record.status)
                            .push_bind(&record.outcome)
                            .push_bind(&record.stop_reason)
                            .push_bind(record.input_tokens)
                            .push_bind(record.output_tokens)
                            .push_bind(record.cache_read_tokens)
                            .push_bind(record.cache_write_tokens)
                            .push_bind(record.cache_write_1h_tokens)
                            .push_bind(record.charged_tokens)
                            .push_bind(record.period)
                            .push("CAST(")
                            .push_bind_unseparated(dollars(record.cost))
                            .push_unseparated(" AS NUMERIC(20, 9))")
                            .push_bind(record.cost)
                            .push_bind(Json(&record.rates))
                            .push_bind(record.priced)
                            .push_bind(record.estimated)
                            .push_bind(record.duration_ms)
                            .push_bind(record.ttft_ms)
                            .push_bind(created_at);
                    });
                    query.push(" ON CONFLICT (receipt_id) DO NOTHING RETURNING receipt_id");
                    for row in query.build().fetch_all(&mut *self).await? {
                        new_ids.insert(row.try_get::<String, _>(0)?);
                    }
                }
                Ok(new_ids)
            }

            async fn add_to_counters(
                &mut self,
                counters: &BTreeMap<CounterKey<'_>, CounterSums>,
            ) -> Result<()> {
                let counters: Vec<_> = counters.iter().collect();
                for rows in chunks(&counters) {
                    let mut query =
                        QueryBuilder::new("INSERT INTO counters (scope, name, period, used, cost) ");
                    query.push_values(rows.iter().copied(), |mut row, ((scope, name, period), sums)| {
                        row.push_bind(*scope).push_bind(*name).push_bind(*period);
                        row.push_bind(sums.tokens).push_bind(sums.cost);
                    });
                    query.push(aggregates::ON_CONFLICT_COUNTERS);
                    query.build().execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn add_to_days(&mut self, days: &BTreeMap<DayKey<'_>, DailySums>) -> Result<()> {
                let days: Vec<_> = days.iter().collect();
                for rows in chunks(&days) {
                    let mut query = QueryBuilder::new(aggregates::INSERT_DAYS);
                    query.push_values(rows.iter().copied(), |mut row, (key, sums)| {
                        let (day, user_id, team, model, route) = *key;
                        row.push_bind(day)
                            .push_bind(user_id)
                            .push_bind(team)
                            .push_bind(model)
                            .push_bind(route);
                        for sum in sums.columns() {
                            row.push_bind(sum);
                        }
                    });
                    query.push(aggregates::ON_CONFLICT_DAYS);
                    query.build().execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn add_to_used_today(&mut self, users: &BTreeMap<&str, UsedToday>) -> Result<()> {
                let users: Vec<_> = users.iter().collect();
                for rows in chunks(&users) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO users (user_id, tokens_used_today, last_reset_date, used_period) ",
                    );
                    query.push_values(rows.iter().copied(), |mut row, (user_id, used)| {
                        row.push_bind(*user_id)
                            .push_bind(used.tokens)
                            .push_bind(used.day)
                            .push_bind(used.period);
                    });
                    query.push(ON_CONFLICT_USED_TODAY);
                    query.build().execute(&mut *self).await?;
                }
                Ok(())
            }

            async fn delete_reservations(&mut self, records: &[UsageRecord]) -> Result<()> {
                for records in chunks(records) {
                    let mut query = QueryBuilder::new("DELETE FROM reservations WHERE id IN (");
                    let mut ids = query.separated(", ");
                    for record in records {
                        ids.push_bind(&record.id);
                    }
                    query.push(")");
                    query.build().execute(&mut *self).await?;
                }
                Ok(())
            }
        }
    };
}

batch_statements!(SqliteConnection);
batch_statements!(PgConnection);

/// Records of requests that began before their user or team was renamed, with the new name.
fn with_new_names<'a>(records: &'a [UsageRecord], new_names: &[NewName]) -> Cow<'a, [UsageRecord]> {
    let new_name = |scope: &str, name: &str| {
        let found = new_names.iter().find(|(of, old, _)| of == scope && old == name);
        found.map(|(_, _, new)| new.clone())
    };
    let is_old = |record: &UsageRecord| {
        let team = record.team.as_deref().and_then(|team| new_name("team", team));
        team.is_some() || new_name("user", &record.user_id).is_some()
    };
    if new_names.is_empty() || !records.iter().any(is_old) {
        return Cow::Borrowed(records);
    }
    let renamed = |record: &UsageRecord| {
        let mut record = record.clone();
        record.user_id = new_name("user", &record.user_id).unwrap_or(record.user_id);
        record.team = record.team.map(|team| new_name("team", &team).unwrap_or(team));
        record
    };
    Cow::Owned(records.iter().map(renamed).collect())
}

/// Splits rows into chunks whose lengths are powers of two, so that a few statements, each prepared once, write batches
/// of every length.
fn chunks<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = MAX_ROWS.min(1 << rows.len().checked_ilog2()?);
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        Some(chunk)
    })
}

/// Formats nano-dollars as dollars with nine decimals.
pub(crate) fn dollars(nanos: i64) -> String {
    const NANOS_PER_DOLLAR: u64 = 1_000_000_000;
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!("{sign}{}.{:09}", nanos / NANOS_PER_DOLLAR, nanos % NANOS_PER_DOLLAR)
}

impl UsageRecord {
    /// Truncates texts and clamps numbers to what the databases store: a request is charged, whatever the client, the
    /// model and AWS wrote. Ids, users and teams are checked where they come from.
    pub(crate) fn clamp(&mut self) {
        let texts = [
            (Some(&mut self.request_id), validate::MAX_NAME),
            (self.session_id.as_mut(), validate::MAX_NAME),
            (Some(&mut self.model), validate::MAX_NAME),
            (self.model_requested.as_mut(), validate::MAX_NAME),
            (self.model_upstream.as_mut(), MAX_PROFILE),
            (self.route.as_mut(), validate::MAX_WORD),
            (self.client_api.as_mut(), validate::MAX_WORD),
            (self.client.as_mut(), validate::MAX_WORD),
            (Some(&mut self.outcome), validate::MAX_WORD),
            (self.stop_reason.as_mut(), validate::MAX_NAME),
        ];
        for (text, max) in texts {
            if let Some(text) = text {
                validate::truncate(text, max);
            }
        }
        let tokens = [
            &mut self.input_tokens,
            &mut self.output_tokens,
            &mut self.cache_read_tokens,
            &mut self.cache_write_tokens,
            &mut self.cache_write_1h_tokens,
            &mut self.charged_tokens,
        ];
        for tokens in tokens {
            *tokens = (*tokens).clamp(0, MAX_TOKENS);
        }
        self.cost = self.cost.clamp(0, MAX_COST);
    }
}

/// Rejects values that one of the databases could not store, or that would make sums meaningless.
fn check_record(record: &UsageRecord) -> Result<()> {
    validate::key("the record's id", &record.id)?;
    validate::text("the request's id", &record.request_id, validate::MAX_NAME)?;
    validate::key("the user", &record.user_id)?;
    validate::optional("the team", record.team.as_deref(), validate::MAX_NAME)?;
    validate::optional("the token's id", record.jti.as_deref(), validate::MAX_NAME)?;
    validate::optional("the session", record.session_id.as_deref(), validate::MAX_NAME)?;
    validate::text("the model", &record.model, validate::MAX_NAME)?;
    validate::optional("the requested model", record.model_requested.as_deref(), validate::MAX_NAME)?;
    validate::optional("the model upstream", record.model_upstream.as_deref(), MAX_PROFILE)?;
    validate::optional("the route", record.route.as_deref(), validate::MAX_WORD)?;
    validate::optional("the client API", record.client_api.as_deref(), validate::MAX_WORD)?;
    validate::optional("the client", record.client.as_deref(), validate::MAX_WORD)?;
    validate::text("the outcome", &record.outcome, validate::MAX_WORD)?;
    validate::optional("the stop reason", record.stop_reason.as_deref(), validate::MAX_NAME)?;
    validate::json("the rates", &record.rates)?;
    datetime::timestamp(record.at)?;
    datetime::timestamp(record.period)?;
    let tokens = [
        record.input_tokens,
        record.output_tokens,
        record.cache_read_tokens,
        record.cache_write_tokens,
        record.cache_write_1h_tokens,
        record.charged_tokens,
    ];
    if tokens.iter().any(|tokens| !(0..=MAX_TOKENS).contains(tokens)) {
        return Err(StoreError::Invalid("a number of tokens is negative or too large".to_owned()));
    }
    if !(0..=MAX_COST).contains(&record.cost) {
        return Err(StoreError::Invalid("the cost is negative or too large".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clamped_record_can_be_stored() {
        let long = "\u{e9}\0".repeat(3000);
        let text = || Some(long.clone());
        let mut record = UsageRecord {
            id: "r".to_owned(),
            request_id: long.clone(),
            user_id: "ana".to_owned(),
            session_id: text(),
            model: long.clone(),
            model_requested: text(),
            model_upstream: text(),
            route: text(),
            client_api: text(),
            client: text(),
            outcome: long.clone(),
            stop_reason: text(),
            input_tokens: i64::MAX,
            output_tokens: 2_000_000_000_000,
            cache_read_tokens: -1,
            cache_write_tokens: i64::MIN,
            cache_write_1h_tokens: i64::MAX,
            charged_tokens: i64::MAX,
            cost: i64::MAX,
            ..UsageRecord::default()
        };
        assert!(check_record(&record).is_err());
        record.clamp();
        check_record(&record).unwrap();
        assert_eq!(record.model, "\u{e9}".repeat(255));
        assert_eq!((record.charged_tokens, record.cache_read_tokens), (MAX_TOKENS, 0));
        let clamped = record.clone();
        record.clamp();
        assert_eq!(record, clamped);
    }

    #[test]
    fn rows_of_every_number_have_few_chunk_lengths() {
        for number in 0..=500 {
            let rows: Vec<usize> = (0..number).collect();
            assert!(
                chunks(&rows).all(|chunk| chunk.len().is_power_of_two() && chunk.len() <= MAX_ROWS),
                "{number}"
            );
            assert_eq!(chunks(&rows).collect::<Vec<_>>().concat(), rows);
        }
    }

    #[test]
    fn dollars_have_nine_decimals() {
        assert_eq!(dollars(0), "0.000000000");
        assert_eq!(dollars(9), "0.000000009");
        assert_eq!(dollars(12_345_678_901), "12.345678901");
        assert_eq!(dollars(-12_000_000_001), "-12.000000001");
        assert_eq!(dollars(i64::MAX), "9223372036.854775807");
    }
}
