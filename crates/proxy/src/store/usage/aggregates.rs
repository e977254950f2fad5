//! What the new receipts of a batch add up to.

use std::collections::{BTreeMap, HashSet};

use time::Date;

use crate::store::{Result, UsageRecord, datetime};

/// Day, user, team, model, route; empty for none.
pub(super) type Key<'a> = (Date, &'a str, &'a str, &'a str, &'a str);

/// Scope, name, period.
type Counter<'a> = (&'static str, &'a str, i64);

pub(super) const DAILY: &str = "INSERT INTO usage_daily (day, user_id, team, model, route, requests, failed, \
    estimated, unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, charged_tokens, cost) ";

pub(super) const DAILY_AGAIN: &str = " ON CONFLICT (day, user_id, team, model, route) DO UPDATE SET
    requests = usage_daily.requests + excluded.requests,
    failed = usage_daily.failed + excluded.failed,
    estimated = usage_daily.estimated + excluded.estimated,
    unpriced = usage_daily.unpriced + excluded.unpriced,
    input_tokens = usage_daily.input_tokens + excluded.input_tokens,
    output_tokens = usage_daily.output_tokens + excluded.output_tokens,
    cache_read_tokens = usage_daily.cache_read_tokens + excluded.cache_read_tokens,
    cache_write_tokens = usage_daily.cache_write_tokens + excluded.cache_write_tokens,
    charged_tokens = usage_daily.charged_tokens + excluded.charged_tokens,
    cost = usage_daily.cost + excluded.cost";

/// The outcome of a request that failed after its status was sent.
const FAILED: &str = "failed";

/// The sums, each in the order of its keys.
#[derive(Default)]
pub(super) struct Sums<'a> {
    pub(super) counters: BTreeMap<Counter<'a>, i64>,
    pub(super) days: BTreeMap<Key<'a>, Day>,
    pub(super) users: BTreeMap<&'a str, Used>,
}

/// The sums of one day.
#[derive(Default)]
pub(super) struct Day([i64; 10]);

impl Day {
    /// In the order of [`DAILY`].
    pub(super) fn columns(&self) -> [i64; 10] {
        self.0
    }

    fn add(&mut self, receipt: &UsageRecord) {
        let added = [
            1,
            i64::from(receipt.status >= 400 || receipt.outcome == FAILED),
            i64::from(receipt.estimated),
            i64::from(!receipt.priced),
            receipt.input_tokens,
            receipt.output_tokens,
            receipt.cache_read_tokens,
            receipt.cache_write_tokens,
            receipt.charged_tokens,
            receipt.cost,
        ];
        for (sum, added) in self.0.iter_mut().zip(added) {
            *sum = sum.saturating_add(added);
        }
    }
}

/// What a user spent in the last period of the batch.
pub(super) struct Used {
    pub(super) period: i64,
    pub(super) day: Date,
    pub(super) tokens: i64,
}

impl<'a> Sums<'a> {
    /// Adds up the receipts whose ids are `fresh`, each once.
    pub(super) fn of(receipts: &'a [UsageRecord], mut fresh: HashSet<String>) -> Result<Self> {
        let mut sums = Self::default();
        for receipt in receipts {
            if fresh.remove(&receipt.id) {
                sums.add(receipt)?;
            }
        }
        Ok(sums)
    }

    fn add(&mut self, receipt: &'a UsageRecord) -> Result<()> {
        let (user_id, period, tokens) = (receipt.user_id.as_str(), receipt.period, receipt.charged_tokens);
        let team = receipt.team.as_deref().filter(|team| !team.is_empty());
        let scopes = [Some(("user", user_id)), team.map(|team| ("team", team))];
        for (scope, name) in scopes.into_iter().flatten() {
            let used = self.counters.entry((scope, name, period)).or_default();
            *used = used.saturating_add(tokens);
        }
        let route = receipt.route.as_deref().unwrap_or_default();
        let key =
            (datetime::day(receipt.at)?, user_id, team.unwrap_or_default(), receipt.model.as_str(), route);
        self.days.entry(key).or_default().add(receipt);
        let day = datetime::day(period)?;
        let used = self.users.entry(user_id).or_insert(Used { period, day, tokens: 0 });
        // Only the last period is of today.
        if period > used.period {
            *used = Used { period, day, tokens: 0 };
        }
        if period == used.period {
            used.tokens = used.tokens.saturating_add(tokens);
        }
        Ok(())
    }
}

/// The entries of `map` in parts of at most `rows`.
pub(super) fn parts<K, V>(map: &BTreeMap<K, V>, rows: usize) -> Vec<Vec<(&K, &V)>> {
    let mut parts: Vec<Vec<(&K, &V)>> = Vec::new();
    for entry in map {
        match parts.last_mut() {
            Some(part) if part.len() < rows => part.push(entry),
            _ => parts.push(vec![entry]),
        }
    }
    parts
}
