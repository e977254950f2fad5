//! Settling: a batch of receipts and events in one transaction. A receipt counts once, however often it is written.
//!
//! What is new is known from the unique id of the row; only new rows are added to the counters, the daily sums and the
//! user's `tokens_used_today`, and whatever was reserved under the same id ends in the same instant.

mod aggregates;

use std::collections::{BTreeMap, HashSet};

use sqlx::types::Json;
use sqlx::{QueryBuilder, Row};

use self::aggregates::{Day, Sums};
use super::reservations::MOST_TOKENS;
use super::users::write_event;
use super::{CALM, Event, Result, Store, StoreError, UsageRecord, datetime, validate};

/// Rows of one INSERT: SQLite takes 32,766 values, and a row of `metrics` has 28.
const ROWS: usize = 500;

/// What a single receipt can cost at most: a million dollars.
const MOST_COST: i64 = 1_000_000_000_000_000;

const COLUMNS: &str = "INSERT INTO metrics (receipt_id, request_id, attempt, user_id, team, session_id, model, \
    model_requested, model_upstream, route, status, outcome, stop_reason, input_tokens, output_tokens, \
    cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, charged_tokens, period, total_cost, cost, rates, \
    priced, estimated, request_duration_ms, ttft_ms, created_at) ";

/// The counter of a period starts anew with the first receipt of a later one, and a late receipt of an earlier one
/// leaves it alone. Rows without a period are from before: there the day decides.
const USED_TODAY: &str = " ON CONFLICT (user_id) DO UPDATE SET
    tokens_used_today = CASE WHEN users.used_period = excluded.used_period
        OR (users.used_period IS NULL AND users.last_reset_date >= excluded.last_reset_date)
        THEN COALESCE(users.tokens_used_today, 0) + excluded.tokens_used_today
        ELSE excluded.tokens_used_today END,
    last_reset_date = CASE WHEN users.used_period = excluded.used_period THEN users.last_reset_date
        ELSE excluded.last_reset_date END,
    used_period = excluded.used_period
    WHERE users.used_period <= excluded.used_period OR (users.used_period IS NULL
        AND (users.last_reset_date IS NULL OR users.last_reset_date <= excluded.last_reset_date))";

impl Store {
    /// Writes receipts and events, all of them or none; tells how many receipts were new. A user without a row
    /// gets one, in the team of the receipt and with the column's default limit.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when one of them can never be written: whoever holds the batch has to find which.
    /// [`StoreError::Unavailable`] when the database is: the whole batch may be written again.
    pub async fn write_batch(&self, receipts: &[UsageRecord], events: &[Event]) -> Result<usize> {
        for receipt in receipts {
            check(receipt)?;
        }
        for event in events {
            validate::event(event)?;
        }
        // Every table's rows are taken in the order of their keys, so that replicas wait for each other in one order.
        let users: BTreeMap<&str, &UsageRecord> =
            receipts.iter().rev().map(|receipt| (receipt.user_id.as_str(), receipt)).collect();
        // In a box, as it is by far the largest of the store's futures, and callers hold it in theirs.
        let work = Box::pin(async {
            Ok(writing!(self, |tx| {
                for rows in aggregates::parts(&users, ROWS) {
                    let mut query = QueryBuilder::new("INSERT INTO users (user_id, team, used_period) ");
                    query.push_values(rows, |mut row, (user_id, receipt)| {
                        row.push_bind(*user_id).push_bind(&receipt.team).push_bind(0_i64);
                    });
                    query.push(" ON CONFLICT (user_id) DO NOTHING");
                    query.build().persistent(false).execute(&mut *tx).await?;
                }
                let mut fresh = HashSet::new();
                for receipts in receipts.chunks(ROWS) {
                    let mut query = QueryBuilder::new(COLUMNS);
                    let mut wrong = Ok(());
                    query.push_values(receipts, |mut row, receipt| {
                        row.push_bind(&receipt.id)
                            .push_bind(&receipt.request_id)
                            .push_bind(receipt.attempt)
                            .push_bind(&receipt.user_id)
                            .push_bind(&receipt.team)
                            .push_bind(&receipt.session_id)
                            .push_bind(&receipt.model)
                            .push_bind(&receipt.model_requested)
                            .push_bind(&receipt.model_upstream)
                            .push_bind(&receipt.route)
                            .push_bind(receipt.status)
                            .push_bind(&receipt.outcome)
                            .push_bind(&receipt.stop_reason)
                            .push_bind(receipt.input_tokens)
                            .push_bind(receipt.output_tokens)
                            .push_bind(receipt.cache_read_tokens)
                            .push_bind(receipt.cache_write_tokens)
                            .push_bind(receipt.cache_write_1h_tokens)
                            .push_bind(receipt.charged_tokens)
                            .push_bind(receipt.period)
                            .push("CAST(")
                            .push_bind_unseparated(dollars(receipt.cost))
                            .push_unseparated(" AS NUMERIC(20, 9))")
                            .push_bind(receipt.cost)
                            .push_bind(Json(&receipt.rates))
                            .push_bind(receipt.priced)
                            .push_bind(receipt.estimated)
                            .push_bind(receipt.duration_ms)
                            .push_bind(receipt.ttft_ms);
                        match datetime::timestamp(receipt.at) {
                            Ok(at) => drop(row.push_bind(at)),
                            Err(error) => wrong = Err(error),
                        }
                    });
                    wrong?;
                    query.push(" ON CONFLICT (receipt_id) DO NOTHING RETURNING receipt_id");
                    for row in query.build().persistent(false).fetch_all(&mut *tx).await? {
                        fresh.insert(row.try_get::<String, _>(0)?);
                    }
                }
                let count = fresh.len();
                let sums = Sums::of(receipts, fresh)?;
                for rows in aggregates::parts(&sums.counters, ROWS) {
                    let mut query = QueryBuilder::new("INSERT INTO counters (scope, name, period, used) ");
                    query.push_values(rows, |mut row, ((scope, name, period), used)| {
                        row.push_bind(*scope).push_bind(*name).push_bind(*period).push_bind(*used);
                    });
                    query.push(
                        " ON CONFLICT (scope, name, period) DO UPDATE SET used = counters.used + excluded.used",
                    );
                    query.build().persistent(false).execute(&mut *tx).await?;
                }
                for rows in aggregates::parts(&sums.days, ROWS) {
                    let mut query = QueryBuilder::new(aggregates::DAILY);
                    query.push_values(rows, |mut row, (key, day): (&aggregates::Key<'_>, &Day)| {
                        row.push_bind(key.0)
                            .push_bind(key.1)
                            .push_bind(key.2)
                            .push_bind(key.3)
                            .push_bind(key.4);
                        for sum in day.columns() {
                            row.push_bind(sum);
                        }
                    });
                    query.push(aggregates::DAILY_AGAIN);
                    query.build().persistent(false).execute(&mut *tx).await?;
                }
                for rows in aggregates::parts(&sums.users, ROWS) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO users (user_id, tokens_used_today, last_reset_date, used_period) ",
                    );
                    query.push_values(rows, |mut row, (user_id, used)| {
                        row.push_bind(*user_id)
                            .push_bind(used.tokens)
                            .push_bind(used.day)
                            .push_bind(used.period);
                    });
                    query.push(USED_TODAY);
                    query.build().persistent(false).execute(&mut *tx).await?;
                }
                for receipts in receipts.chunks(ROWS) {
                    let mut query = QueryBuilder::new("DELETE FROM reservations WHERE id IN (");
                    let mut ids = query.separated(", ");
                    for receipt in receipts {
                        ids.push_bind(&receipt.id);
                    }
                    query.push(")");
                    query.build().persistent(false).execute(&mut *tx).await?;
                }
                for event in events {
                    write_event!(tx, event);
                }
                count
            }))
        });
        self.within(CALM, work).await
    }
}

/// Nano-dollars as a decimal number of dollars, exactly.
fn dollars(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// Refuses what one of the databases could not hold, or what would make sums meaningless.
fn check(receipt: &UsageRecord) -> Result<()> {
    validate::key("the receipt's id", &receipt.id)?;
    validate::text("the request's id", &receipt.request_id, validate::NAME)?;
    validate::key("the user", &receipt.user_id)?;
    validate::maybe("the team", receipt.team.as_deref(), validate::NAME)?;
    validate::maybe("the session", receipt.session_id.as_deref(), validate::NAME)?;
    validate::text("the model", &receipt.model, validate::NAME)?;
    validate::maybe("the requested model", receipt.model_requested.as_deref(), validate::NAME)?;
    validate::maybe("the model upstream", receipt.model_upstream.as_deref(), 2048)?;
    validate::maybe("the route", receipt.route.as_deref(), validate::WORD)?;
    validate::text("the outcome", &receipt.outcome, validate::WORD)?;
    validate::maybe("the stop reason", receipt.stop_reason.as_deref(), validate::NAME)?;
    validate::json("the rates", &receipt.rates)?;
    datetime::timestamp(receipt.at)?;
    datetime::timestamp(receipt.period)?;
    let tokens = [
        receipt.input_tokens,
        receipt.output_tokens,
        receipt.cache_read_tokens,
        receipt.cache_write_tokens,
        receipt.cache_write_1h_tokens,
        receipt.charged_tokens,
    ];
    if tokens.iter().any(|tokens| !(0..=MOST_TOKENS).contains(tokens)) {
        return Err(StoreError::Invalid("a number of tokens is negative or absurd".to_owned()));
    }
    if !(0..=MOST_COST).contains(&receipt.cost) {
        return Err(StoreError::Invalid("the cost is negative or absurd".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::dollars;

    #[test]
    fn nano_dollars_are_written_to_the_last_digit() {
        assert_eq!(dollars(0), "0.000000000");
        assert_eq!(dollars(9), "0.000000009");
        assert_eq!(dollars(12_345_678_901), "12.345678901");
    }
}
