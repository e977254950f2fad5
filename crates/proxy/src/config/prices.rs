//! Prices of a model, as a row of the model table contains them: the decimals of the AWS price page, parsed exactly.
//!
//! `catalog` decides which of the prices applies to a request.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::value::RawValue;

use super::parse::{PREFIXES, is_region};

/// The scope of a model id without an inference profile: in-Region inference.
pub(crate) const IN_REGION: &str = "bare";

/// Decimals of a price in dollars per million tokens; the smallest step is one pico-dollar per token.
const PRICE_DIGITS: u32 = 6;
/// Decimals of a factor: the price page needs four (`1.4388`).
const FACTOR_DIGITS: u32 = 4;
/// Digits before the decimal point: keeps the product within `u64`, and no model costs ten million dollars per million
/// tokens.
const MAX_INTEGER_DIGITS: usize = 7;

/// The prices of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prices {
    /// Version of the prices, such as the day of the look-up; stored in each usage record.
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// Whose prices they are: a prefix of inference profiles, or `bare` for in-Region inference.
    #[serde(deserialize_with = "scope")]
    pub(crate) basis: String,
    /// Per input token that is not cached.
    pub(crate) input: Price,
    /// Per output token.
    pub(crate) output: Price,
    /// Per token read from the cache; absent: unknown.
    #[serde(default)]
    pub(crate) cache_read: Option<Price>,
    /// Per token written to the five-minute cache; absent: unknown.
    #[serde(default)]
    pub(crate) write_5m: Option<Price>,
    /// Per token written to the one-hour cache; absent: unknown.
    #[serde(default)]
    pub(crate) write_1h: Option<Price>,
    /// Prices of a request with a long prompt.
    #[serde(default)]
    pub(crate) long: Option<LongPrices>,
    /// Factors of other prefixes, and of `bare`, relative to the basis.
    #[serde(default, deserialize_with = "scopes")]
    pub(crate) by_prefix: BTreeMap<String, Factor>,
    /// Factors of in-Region inference by region, relative to the basis.
    #[serde(default, deserialize_with = "regions")]
    pub(crate) by_region: BTreeMap<String, Factor>,
}

/// Prices of a request with a long prompt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LongPrices {
    /// A prompt with more tokens than this is long, cached tokens included.
    pub(crate) above: u64,
    /// Per input token that is not cached.
    pub(crate) input: Price,
    /// Per output token.
    pub(crate) output: Price,
    /// Per token read from the cache; absent: unknown.
    #[serde(default)]
    pub(crate) cache_read: Option<Price>,
    /// Per token written to the five-minute cache; absent: unknown.
    #[serde(default)]
    pub(crate) write_5m: Option<Price>,
    /// Per token written to the one-hour cache; absent: unknown.
    #[serde(default)]
    pub(crate) write_1h: Option<Price>,
}

/// Pico-dollars per token. Serialized in dollars per million tokens: 1 dollar per million tokens is 1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Price(pub(crate) u64);

/// A multiplier of the basis, in ten-thousandths. Serialized as `1.1`, or as `1.43/1.4388` when input and output tokens
/// differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Factor {
    /// For input tokens, cached ones included.
    pub(crate) input: u64,
    /// For output tokens.
    pub(crate) output: u64,
}

impl Factor {
    /// The multiplier 1.
    pub(crate) const ONE: Self = Self { input: 10_000, output: 10_000 };

    /// The larger multiplier of both, for input and output separately.
    #[must_use]
    pub(crate) fn max(self, other: Self) -> Self {
        Self { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The digits as written; a float would round them.
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

/// `text` times ten to the power of `digits`, when it is a plain decimal with at most `digits` decimals.
fn decimal(text: &str, digits: u32) -> Option<u64> {
    let (integer, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let missing = digits.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    if !is_digits(integer) || !is_digits(fraction) || integer.len() > MAX_INTEGER_DIGITS {
        return None;
    }
    let fraction = fraction.parse::<u64>().ok()? * 10_u64.pow(missing);
    Some(integer.parse::<u64>().ok()? * 10_u64.pow(digits) + fraction)
}

fn is_scope(name: &str) -> bool {
    name == IN_REGION || PREFIXES.contains(&name)
}

fn scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if is_scope(&name) { Ok(name) } else { Err(unknown_scope(&name)) }
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Factor>, D::Error> {
    let factors = BTreeMap::<String, Factor>::deserialize(deserializer)?;
    match factors.keys().find(|name| !is_scope(name)) {
        Some(name) => Err(unknown_scope(name)),
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

fn unknown_scope<E: de::Error>(name: &str) -> E {
    E::custom(format_args!(
        "{name:.40}: not a prefix of inference profiles; use {IN_REGION} or one of {}",
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
    fn price_is_parsed_exactly() {
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
    fn invalid_price_is_rejected() {
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
    fn factor_may_differ_for_input_and_output() {
        let factor = |json: &str| serde_json::from_str::<Factor>(json).ok();
        assert_eq!(factor("\"1.1\""), Some(Factor { input: 11_000, output: 11_000 }));
        assert_eq!(factor("\"1.43/1.4388\""), Some(Factor { input: 14_300, output: 14_388 }));
        assert_eq!(factor("1"), Some(Factor::ONE));
        for json in ["0", "\"1/0\"", "\"1/2/3\"", "\"1.12345\"", "-1"] {
            assert_eq!(factor(json), None, "{json}");
        }
    }

    #[test]
    fn invalid_row_error_names_the_field() {
        let error = |json: &str| serde_json::from_str::<Prices>(json).unwrap_err().to_string();
        for (json, expected) in [
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
            assert!(error(json).contains(expected), "{json}: {}", error(json));
        }
    }
}
