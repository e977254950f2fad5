//! What a model costs, as a row of the table writes it: decimals as the price page gives them, read exactly.
//!
//! Not here: which of the prices a request pays. That is `catalog::rates`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::value::RawValue;

use super::parse::{PREFIXES, is_region};

/// The way of a model that is called by its own id, without an inference profile.
pub const BARE: &str = "bare";

/// Digits behind the point of a price, in dollars for a million tokens: what is left are pico-dollars for a token.
const PRICE_DIGITS: u32 = 6;
/// Digits behind the point of a factor.
const FACTOR_DIGITS: u32 = 4;
/// No model costs ten million dollars for a million tokens.
const MOST_DIGITS: usize = 7;

/// The prices of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The day on which an operator looked them up, or any other name for them; it goes into each usage row.
    #[serde(default)]
    pub version: Option<String>,
    /// What they are the prices of: a prefix of inference profiles, or `bare`.
    #[serde(deserialize_with = "way")]
    pub basis: String,
    /// Each token read afresh.
    pub input: Price,
    /// Each token of the answer.
    pub output: Price,
    /// Each token read from the cache; absent: not priced.
    #[serde(default)]
    pub cache_read: Option<Price>,
    /// Each token written to the cache for five minutes; absent: not priced.
    #[serde(default)]
    pub write_5m: Option<Price>,
    /// Each token written to the cache for an hour; absent: not priced.
    #[serde(default)]
    pub write_1h: Option<Price>,
    /// What a whole request pays when its prompt is long.
    #[serde(default)]
    pub long: Option<LongPrices>,
    /// What other prefixes cost, and `bare`, against the basis.
    #[serde(default, deserialize_with = "ways")]
    pub by_prefix: BTreeMap<String, Factor>,
    /// What the bare id costs in a region, against the basis.
    #[serde(default, deserialize_with = "regions")]
    pub by_region: BTreeMap<String, Factor>,
}

/// What a whole request pays when its prompt is long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongPrices {
    /// A prompt with more tokens than this is long; those read from or written to the cache count.
    pub above: u64,
    /// Each token read afresh.
    pub input: Price,
    /// Each token of the answer.
    pub output: Price,
    /// Each token read from the cache; absent: not priced.
    #[serde(default)]
    pub cache_read: Option<Price>,
    /// Each token written to the cache for five minutes; absent: not priced.
    #[serde(default)]
    pub write_5m: Option<Price>,
    /// Each token written to the cache for an hour; absent: not priced.
    #[serde(default)]
    pub write_1h: Option<Price>,
}

/// Pico-dollars for a token: a dollar for a million tokens is 1,000,000. Written in dollars for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price(pub u64);

/// How many times the basis something costs, in ten-thousandths. Written `1.1`, or `1.43/1.4388` when tokens of the
/// prompt and of the answer differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    /// For tokens of the prompt, those read from or written to the cache included.
    pub input: u64,
    /// For tokens of the answer.
    pub output: u64,
}

impl Factor {
    /// As much as the basis.
    pub const ONE: Self = Self { input: 10_000, output: 10_000 };

    /// The larger of both, each for itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The spelling of a number, not what a float would make of it.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        decimal(text, PRICE_DIGITS).map(Self).ok_or_else(|| {
            de::Error::custom(format_args!("{text:.40}: not a price such as 12.5, with at most 6 decimals"))
        })
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        let (input, output) = text.split_once('/').unwrap_or((text, text));
        decimal(input, FACTOR_DIGITS)
            .zip(decimal(output, FACTOR_DIGITS))
            .filter(|(input, output)| *input > 0 && *output > 0)
            .map(|(input, output)| Self { input, output })
            .ok_or_else(|| {
                de::Error::custom(format_args!(
                    "{text:.40}: not a factor such as 1.1 or 1.43/1.4388, with at most 4 decimals"
                ))
            })
    }
}

/// `text` times ten to the power of `digits`, if it is a plain decimal with no more than that behind the point.
fn decimal(text: &str, digits: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fine = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let missing = digits.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    if !fine(whole) || !fine(fraction) || whole.len() > MOST_DIGITS {
        return None;
    }
    let fraction = fraction.parse::<u64>().ok()? * 10_u64.pow(missing);
    Some(whole.parse::<u64>().ok()? * 10_u64.pow(digits) + fraction)
}

fn is_way(name: &str) -> bool {
    name == BARE || PREFIXES.contains(&name)
}

fn way<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_way(&name) { Ok(name) } else { Err(unknown_way(&name)) }
}

fn ways<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Factor>, D::Error> {
    let factors = BTreeMap::<String, Factor>::deserialize(deserializer)?;
    match factors.keys().find(|name| !is_way(name)) {
        Some(name) => Err(unknown_way(name)),
        None => Ok(factors),
    }
}

fn regions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Factor>, D::Error> {
    let factors = BTreeMap::<String, Factor>::deserialize(deserializer)?;
    match factors.keys().find(|name| !is_region(name)) {
        Some(name) => Err(de::Error::custom(format_args!("{name:.40}: not an AWS region"))),
        None => Ok(factors),
    }
}

fn unknown_way<E: de::Error>(name: &str) -> E {
    E::custom(format_args!(
        "{name:.40}: not a prefix of inference profiles; use {BARE} or one of {}",
        PREFIXES.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(json: &str) -> Result<u64, String> {
        serde_json::from_str::<Price>(json).map(|price| price.0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_price_is_read_to_its_last_digit() {
        for (json, pico) in [
            ("\"1\"", 1_000_000),
            ("0.00875", 8_750),
            ("\"0.000001\"", 1),
            ("137.5", 137_500_000),
            ("0", 0),
            ("\"9999999.999999\"", 9_999_999_999_999),
        ] {
            assert_eq!(price(json), Ok(pico), "{json}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for json in [
            "-1",
            "\"-1\"",
            "1e3",
            "\"\"",
            "\".\"",
            "\"1.\"",
            "\".5\"",
            "0.0000001",
            "12345678",
            "null",
            "\"1,5\"",
            "\"+1\"",
            "[1]",
        ] {
            let error = price(json).unwrap_err();
            assert!(error.contains("not a price"), "{json}: {error}");
        }
    }

    #[test]
    fn a_factor_may_differ_for_prompt_and_answer() {
        let factor = |json: &str| serde_json::from_str::<Factor>(json).ok();
        assert_eq!(factor("\"1.1\""), Some(Factor { input: 11_000, output: 11_000 }));
        assert_eq!(factor("\"1.43/1.4388\""), Some(Factor { input: 14_300, output: 14_388 }));
        assert_eq!(factor("1"), Some(Factor::ONE));
        for json in ["0", "\"1/0\"", "\"1/2/3\"", "\"1.12345\"", "-1"] {
            assert_eq!(factor(json), None, "{json}");
        }
    }

    #[test]
    fn a_row_with_a_mistake_is_refused_and_the_mistake_named() {
        let refusal = |json: &str| serde_json::from_str::<Prices>(json).unwrap_err().to_string();
        for (json, named) in [
            (r#"{"basis":"bare","input":"1"}"#, "output"),
            (r#"{"basis":"moon","input":"1","output":"2"}"#, "moon"),
            (r#"{"basis":"bare","input":"1","output":"x"}"#, "x: not a price"),
            (r#"{"basis":"bare","input":"1","output":"2","inpt":"3"}"#, "inpt"),
            (r#"{"basis":"bare","input":"1","output":"2","by_prefix":{"usa":"1.1"}}"#, "usa"),
            (r#"{"basis":"bare","input":"1","output":"2","by_region":{"frankfurt":"1.1"}}"#, "frankfurt"),
            (
                r#"{"basis":"bare","input":"1","output":"2","long":{"above":-1,"input":"1","output":"2"}}"#,
                "-1",
            ),
        ] {
            assert!(refusal(json).contains(named), "{json}: {}", refusal(json));
        }
    }
}
