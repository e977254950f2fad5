//! Sums over the new usage records of a batch.

use std::collections::{BTreeMap, HashSet};

use time::Date;

use crate::store::{Result, UsageRecord, datetime};

/// Day, user, team, model, route; empty texts for none.
pub(super) type DayKey<'a> = (Date, &'a str, &'a str, &'a str, &'a str);

/// Scope, name, period.
pub(super) type CounterKey<'a> = (&'static str, &'a str, i64);

pub(super) const INSERT_DAYS: &str = insert_days!();
pub(super) const ON_CONFLICT_DAYS: &str = add_days!();
pub(super) const ON_CONFLICT_COUNTERS: &str = add_counters!();

/// Outcome of a request that failed after its status was sent.
const OUTCOME_FAILED: &str = "failed";

/// Sums, each in the order of its keys.
#[derive(Default)]
pub(super) struct Aggregates<'a> {
    pub(super) counters: BTreeMap<CounterKey<'a>, CounterSums>,
    pub(super) days: BTreeMap<DayKey<'a>, DailySums>,
    pub(super) users: BTreeMap<&'a str, UsedToday>,
}

/// Sums of one user or team in one period.
#[derive(Default)]
pub(super) struct CounterSums {
    pub(super) tokens: i64,
    /// In nano-dollars.
    pub(super) cost: i64,
}

/// Sums of one day.
#[derive(Default)]
pub(super) struct DailySums([i64; 10]);

impl DailySums {
    /// Values in the order of [`INSERT_DAYS`].
    pub(super) fn columns(&self) -> [i64; 10] {
        self.0
    }

    fn add(&mut self, record: &UsageRecord) {
        let added = [
            1,
            i64::from(record.status >= 400 || record.outcome == OUTCOME_FAILED),
            i64::from(record.estimated),
            i64::from(!record.priced),
            record.input_tokens,
            record.output_tokens,
            record.cache_read_tokens,
            record.cache_write_tokens,
            record.charged_tokens,
            record.cost,
        ];
        for (sum, added) in self.0.iter_mut().zip(added) {
            *sum = sum.saturating_add(added);
        }
    }
}

/// Tokens of a user in the last period of the batch.
pub(super) struct UsedToday {
    pub(super) period: i64,
    pub(super) day: Date,
    pub(super) tokens: i64,
}

impl<'a> Aggregates<'a> {
    /// Adds up the records whose ids are in `new_ids`, each once.
    pub(super) fn new(records: &'a [UsageRecord], mut new_ids: HashSet<String>) -> Result<Self> {
        let mut aggregates = Self::default();
        for record in records {
            if new_ids.remove(&record.id) {
                aggregates.add(record)?;
            }
        }
        Ok(aggregates)
    }

    fn add(&mut self, record: &'a UsageRecord) -> Result<()> {
        let (user_id, period, tokens) = (record.user_id.as_str(), record.period, record.charged_tokens);
        let team = record.team.as_deref().filter(|team| !team.is_empty());
        let token = record.jti.as_deref().map(|jti| ("jti", jti));
        let scopes = [Some(("user", user_id)), team.map(|team| ("team", team)), token];
        for (scope, name) in scopes.into_iter().flatten() {
            let sums = self.counters.entry((scope, name, period)).or_default();
            sums.tokens = sums.tokens.saturating_add(tokens);
            sums.cost = sums.cost.saturating_add(record.cost);
        }
        let route = record.route.as_deref().unwrap_or_default();
        let key =
            (datetime::day(record.at)?, user_id, team.unwrap_or_default(), record.model.as_str(), route);
        self.days.entry(key).or_default().add(record);
        let day = datetime::day(period)?;
        let used = self.users.entry(user_id).or_insert(UsedToday { period, day, tokens: 0 });
        // Only the last period counts as today.
        if period > used.period {
            *used = UsedToday { period, day, tokens: 0 };
        }
        if period == used.period {
            used.tokens = used.tokens.saturating_add(tokens);
        }
        Ok(())
    }
}
