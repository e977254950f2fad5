//! Cost of a request: rates in whole pico-dollars per token, times tokens, rounded once.
//!
//! Not here: the choice of the rates (`pricing`), and the numbers (`models.json`, `config::Prices`).

use std::borrow::Cow;

use protocol::anthropic::Usage;
use serde::{Deserialize, Serialize};

use crate::config::{Factor, LongPrices, ModelConfig, Price, Prices};

/// Date of the built-in prices.
pub(crate) const VERSION: &str = "2026-11-22";

/// Pico-dollars per nano-dollar.
const PICO_PER_NANO: u128 = 1_000;

/// Rates in pico-dollars per token: a dollar per million tokens is 1,000,000. Stored as JSON in the row of the request, so
/// that the cost can be verified after the prices have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rates {
    /// Version of the prices: the date of the built-in ones, or the operator's version.
    pub(crate) version: Cow<'static, str>,
    /// Input token that was not cached.
    pub(crate) input: u64,
    /// Output token.
    pub(crate) output: u64,
    /// Input token read from the cache.
    pub(crate) cache_read: u64,
    /// Input token written to the cache for five minutes.
    pub(crate) cache_write_5m: u64,
    /// Input token written to the cache for an hour.
    pub(crate) cache_write_1h: u64,
    /// Whether all rates are from the table; otherwise they are estimates that err high.
    pub(crate) known: bool,
}

impl Rates {
    /// Cost of `usage` in nano-dollars, rounded half up, at most `i64::MAX`.
    ///
    /// Tokens written to the cache without a lifetime in the response were written for five minutes, the default of the
    /// API.
    #[must_use]
    pub(crate) fn cost(&self, usage: &Usage) -> i64 {
        let (five, hour) = cache_writes(usage);
        let parts = [
            (usage.input_tokens, self.input),
            (usage.output_tokens, self.output),
            (usage.cache_read_input_tokens, self.cache_read),
            (five, self.cache_write_5m),
            (hour, self.cache_write_1h),
        ];
        let pico = parts.iter().fold(0_u128, |sum, &(tokens, rate)| {
            sum.saturating_add(u128::from(tokens).saturating_mul(u128::from(rate)))
        });
        i64::try_from(pico.saturating_add(PICO_PER_NANO / 2) / PICO_PER_NANO).unwrap_or(i64::MAX)
    }

    /// Nano-dollars saved by the tokens of `usage` that were read from the cache.
    #[must_use]
    pub(crate) fn cache_savings(&self, usage: &Usage) -> i64 {
        let difference = u128::from(self.input.saturating_sub(self.cache_read));
        let pico = u128::from(usage.cache_read_input_tokens).saturating_mul(difference);
        i64::try_from(pico / PICO_PER_NANO).unwrap_or(i64::MAX)
    }

    /// These rates times `factor`.
    pub(super) fn scaled_by(&self, factor: Factor) -> Self {
        Self {
            version: self.version.clone(),
            input: scaled(self.input, factor.input),
            output: scaled(self.output, factor.output),
            cache_read: scaled(self.cache_read, factor.input),
            cache_write_5m: scaled(self.cache_write_5m, factor.input),
            cache_write_1h: scaled(self.cache_write_1h, factor.input),
            known: self.known,
        }
    }

    fn max(&self, other: &Self) -> Self {
        Self {
            version: self.version.clone(),
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write_5m: self.cache_write_5m.max(other.cache_write_5m),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            known: false,
        }
    }
}

/// Tokens written to the cache for five minutes, and for an hour.
pub(super) fn cache_writes(usage: &Usage) -> (u64, u64) {
    let hour = usage.cache_creation.ephemeral_1h_input_tokens;
    let rest = usage.cache_creation_input_tokens.saturating_sub(hour);
    (usage.cache_creation.ephemeral_5m_input_tokens.max(rest), hour)
}

/// A rate times a factor in ten-thousandths, rounded half up.
fn scaled(rate: u64, factor: u64) -> u64 {
    let product = u128::from(rate) * u128::from(factor);
    u64::try_from((product + 5_000) / 10_000).unwrap_or(u64::MAX)
}

/// Rates of one pricing tier of a model, and which of them are not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) rates: Rates,
    pub(super) estimated: Estimated,
}

/// Rates that are estimated because the table does not have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Estimated {
    pub(super) cache_read: bool,
    pub(super) write_5m: bool,
    pub(super) write_1h: bool,
}

impl Tier {
    /// Rates of a request with a short prompt.
    pub(super) fn short(prices: &Prices) -> Self {
        let Prices { input, output, cache_read, write_5m, write_1h, .. } = prices;
        Self::new(version(prices), *input, *output, [*cache_read, *write_5m, *write_1h])
    }

    /// Rates of a request with a long prompt.
    pub(super) fn long(prices: &Prices, long: &LongPrices) -> Self {
        let LongPrices { input, output, cache_read, write_5m, write_1h, .. } = long;
        Self::new(version(prices), *input, *output, [*cache_read, *write_5m, *write_1h])
    }

    /// The rates, with 0 for those that are estimated.
    pub(super) fn known_only(&self) -> Rates {
        let Estimated { cache_read, write_5m, write_1h } = self.estimated;
        let known = |rate: u64, is_estimated: bool| if is_estimated { 0 } else { rate };
        Rates {
            cache_read: known(self.rates.cache_read, cache_read),
            cache_write_5m: known(self.rates.cache_write_5m, write_5m),
            cache_write_1h: known(self.rates.cache_write_1h, write_1h),
            ..self.rates.clone()
        }
    }

    /// Estimates for missing prices err high: a cached token costs no more than another, and no row of the table has
    /// cache writes above 1.25 and 2 times the input.
    fn new(version: Cow<'static, str>, input: Price, output: Price, cache: [Option<Price>; 3]) -> Self {
        let [read, five, hour] = cache;
        let rates = Rates {
            version,
            input: input.0,
            output: output.0,
            cache_read: read.unwrap_or(input).0,
            cache_write_5m: five.map_or(scaled(input.0, 12_500), |price| price.0),
            cache_write_1h: hour.map_or(input.0.saturating_mul(2), |price| price.0),
            known: true,
        };
        let estimated =
            Estimated { cache_read: read.is_none(), write_5m: five.is_none(), write_1h: hour.is_none() };
        Self { rates, estimated }
    }
}

fn version(prices: &Prices) -> Cow<'static, str> {
    prices.version.clone().map_or(Cow::Borrowed(VERSION), Cow::Owned)
}

/// Highest rate of each kind in `models`, over both tiers and all scopes: the rates of a model without a price.
pub(super) fn highest(models: &[ModelConfig]) -> Rates {
    let start = Rates { version: Cow::Borrowed(VERSION), ..Rates::default() };
    models.iter().filter_map(|model| model.prices.as_ref()).fold(start, |highest, prices| {
        let factors = prices.by_prefix.values().chain(prices.by_region.values());
        let factor = factors.fold(Factor::ONE, |max, factor| max.max(*factor));
        let long = prices.long.as_ref().map(|long| Tier::long(prices, long));
        let tiers = [Some(Tier::short(prices)), long];
        tiers
            .iter()
            .flatten()
            .fold(highest, |highest, tier| highest.max(&tier.known_only().scaled_by(factor)))
    })
}

#[cfg(test)]
mod tests {
    use protocol::anthropic::CacheCreation;

    use super::*;

    fn rates(input: u64, output: u64) -> Rates {
        Rates { input, output, cache_read: 1, cache_write_5m: 10, cache_write_1h: 100, ..Rates::default() }
    }

    fn tokens(input: u64, output: u64) -> Usage {
        Usage { input_tokens: input, output_tokens: output, ..Usage::default() }
    }

    #[test]
    fn cost_is_rounded_once_half_up() {
        assert_eq!(rates(499, 0).cost(&tokens(1, 0)), 0);
        assert_eq!(rates(500, 0).cost(&tokens(1, 0)), 1);
        assert_eq!(rates(250, 250).cost(&tokens(1, 1)), 1, "the sum is rounded, not each part");
        assert_eq!(rates(3_000_000, 15_000_000).cost(&tokens(1_000_000, 1_000_000)), 18_000_000_000);
        assert_eq!(Rates::default().cost(&tokens(9, 9)), 0);
    }

    #[test]
    fn cost_saturates_at_the_maximum() {
        let rates = Rates { input: u64::MAX, output: u64::MAX, ..Rates::default() };
        assert_eq!(rates.cost(&tokens(u64::MAX, u64::MAX)), i64::MAX);
    }

    #[test]
    fn cache_writes_are_priced_by_lifetime() {
        let usage = |total, five, hour| Usage {
            cache_creation_input_tokens: total,
            cache_creation: CacheCreation {
                ephemeral_5m_input_tokens: five,
                ephemeral_1h_input_tokens: hour,
            },
            ..Usage::default()
        };
        assert_eq!(rates(0, 0).cost(&usage(3_000, 1_000, 2_000)), 10 + 200);
        assert_eq!(
            rates(0, 0).cost(&usage(3_000, 0, 2_000)),
            10 + 200,
            "writes without a lifetime are for five minutes"
        );
        assert_eq!(rates(0, 0).cost(&usage(3_000, 0, 0)), 30);
        assert_eq!(rates(0, 0).cost(&usage(0, 1_000, 2_000)), 210, "a split without a total counts too");
    }

    /// Ten million requests of a few tokens each: the sum differs from the exact one by at most half a nano-dollar each, and
    /// equals the sum by another algorithm.
    #[test]
    fn ten_million_small_costs_add_up_exactly() {
        let rates = Rates {
            cache_read: 10_999,
            cache_write_5m: 137_501,
            cache_write_1h: 220_003,
            ..rates(110_001, 550_499)
        };
        let (mut sum, mut expected, mut exact, mut seed) = (0_i128, 0_i128, 0_i128, 1_u64);
        for _ in 0..10_000_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let part = |at: u32| (seed >> at) & 3;
            let (five, hour) = (part(40), part(44));
            let usage = Usage {
                cache_read_input_tokens: part(36),
                cache_creation_input_tokens: five + hour,
                cache_creation: CacheCreation {
                    ephemeral_5m_input_tokens: five,
                    ephemeral_1h_input_tokens: hour,
                },
                ..tokens(part(48), part(52))
            };
            sum += i128::from(rates.cost(&usage));
            let pico = i128::from(usage.input_tokens) * 110_001
                + i128::from(usage.output_tokens) * 550_499
                + i128::from(usage.cache_read_input_tokens) * 10_999
                + i128::from(five) * 137_501
                + i128::from(hour) * 220_003;
            exact += pico;
            let (nano, rest) = (pico.div_euclid(1_000), pico.rem_euclid(1_000));
            expected += if rest >= 500 { nano + 1 } else { nano };
        }
        assert_eq!(sum, expected);
        assert!((sum * 1_000 - exact).abs() <= 500 * 10_000_000, "at most half a nano-dollar for each");
    }

    #[test]
    fn rates_round_trip_as_json() {
        let rates = Rates { version: VERSION.into(), known: true, ..rates(3_000_000, 15_000_000) };
        let json = serde_json::to_string(&rates).unwrap();
        let written = r#"{"version":"2026-11-22","input":3000000,"output":15000000,"cache_read":1,"cache_write_5m":10,"cache_write_1h":100,"known":true}"#;
        assert_eq!(json, written);
        assert_eq!(serde_json::from_str::<Rates>(&json).unwrap(), rates);
    }
}
