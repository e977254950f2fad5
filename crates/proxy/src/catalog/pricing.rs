//! Rates of a request: by model, inference scope (in-Region, geographic or global), prompt length and service tier.
//!
//! Errs high: a price that is not in the table is replaced by the highest that it could be, and the rates are marked as
//! unknown.

use protocol::anthropic::{ServiceTier, Usage};

use super::rates::{Estimated, Rates, Tier, cache_writes};
use super::{Catalog, ResolvedModel, id_in, without_prefix};
use crate::config::{Factor, IN_REGION, PREFIXES, Prices};

/// Prefix of global inference profiles.
const GLOBAL: &str = "global";

/// Multiplier of the priority tier, whose prices are not in the table: those that AWS publishes are below twice the
/// standard tier. <https://aws.amazon.com/bedrock/pricing/>
const PRIORITY_TIER: Factor = Factor { input: 20_000, output: 20_000 };
/// Minimum multiplier of a scope that a model's row does not have: no Claude model has a higher premium.
const UNKNOWN_SCOPE: Factor = Factor { input: 12_000, output: 12_000 };

/// Where Bedrock may process the requests of a model id.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/cross-region-inference.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InferenceScope {
    /// One Region: a foundation-model id.
    InRegion,
    /// Regions of a geography: an inference profile with this prefix.
    Geographic(&'static str),
    /// Any Region: an inference profile with the prefix `global`.
    Global,
}

impl InferenceScope {
    /// Scope of a profile prefix.
    pub(super) fn from_prefix(prefix: &str) -> Option<Self> {
        match PREFIXES.iter().find(|other| **other == prefix)? {
            &GLOBAL => Some(Self::Global),
            prefix => Some(Self::Geographic(prefix)),
        }
    }

    /// Key in the prices of a model.
    fn key(self) -> &'static str {
        match self {
            Self::InRegion => IN_REGION,
            Self::Geographic(prefix) => prefix,
            Self::Global => GLOBAL,
        }
    }
}

/// Price list of a resolved model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pricing {
    pub(super) short: Tier,
    /// Rates of prompts with more tokens than the number.
    pub(super) long: Option<(u64, Tier)>,
    /// Whether the price of the model and scope is in the table.
    pub(super) known: bool,
}

impl Pricing {
    /// Rates of a request with `usage`. The rates of a long prompt apply to all its tokens. Flex, batch and reserved
    /// capacity, whose prices are not in the table and not higher, have the standard rates.
    #[must_use]
    pub(crate) fn rates(&self, usage: &Usage) -> Rates {
        let prompt = usage
            .input_tokens
            .saturating_add(usage.cache_creation_input_tokens)
            .saturating_add(usage.cache_read_input_tokens);
        let tier = match &self.long {
            Some((above, long)) if prompt > *above => long,
            _ => &self.short,
        };
        let standard = matches!(usage.service_tier, None | Some(ServiceTier::Standard));
        let multiplier =
            if usage.service_tier == Some(ServiceTier::Priority) { PRIORITY_TIER } else { Factor::ONE };
        let known = self.known && standard && !tier.estimated.affects(usage);
        Rates { known, ..tier.rates.scaled_by(multiplier) }
    }

    fn from_row(prices: &Prices, multiplier: Factor, known: bool) -> Self {
        let scaled = |tier: Tier| Tier { rates: tier.rates.scaled_by(multiplier), ..tier };
        Self {
            short: scaled(Tier::short(prices)),
            long: prices.long.as_ref().map(|long| (long.above, scaled(Tier::long(prices, long)))),
            known,
        }
    }
}

impl Estimated {
    /// Whether `usage` has tokens whose rate is estimated.
    fn affects(self, usage: &Usage) -> bool {
        let (five, hour) = cache_writes(usage);
        (self.cache_read && usage.cache_read_input_tokens > 0)
            || (self.write_5m && five > 0)
            || (self.write_1h && hour > 0)
    }
}

impl Catalog {
    /// The foundation model of an inference profile that was looked up since `model` was resolved, and its price list.
    #[must_use]
    pub(crate) fn pricing_since(&self, model: &ResolvedModel, region: &str) -> Option<(String, Pricing)> {
        if !model.is_unresolved_profile() {
            return None;
        }
        let found = self.inference_profiles.foundation_model(&model.model_id)?;
        let resolved = ResolvedModel { foundation_model: Some(found.clone()), ..model.clone() };
        Some((found, self.pricing(&resolved, region)))
    }

    /// Price list of `model` for requests to `region`. A model without a price has the highest rates of the table.
    #[must_use]
    pub(crate) fn pricing(&self, model: &ResolvedModel, region: &str) -> Pricing {
        self.pricing_as(model, &model.model_id, region)
    }

    /// As [`Catalog::pricing`], for a request that is sent with another id of the same model, such as its inference profile.
    #[must_use]
    pub(crate) fn pricing_as(&self, model: &ResolvedModel, id: &str, region: &str) -> Pricing {
        let table = self.models();
        let row = model.foundation_model.as_deref().and_then(|id| table.by_id(id));
        let Some(prices) = row.and_then(|row| row.prices.as_ref()) else {
            let tier = Tier { rates: table.highest().clone(), estimated: Estimated::default() };
            return Pricing { short: tier, long: None, known: false };
        };
        let region = region_in(id).unwrap_or(region);
        let scope = if model.mantle {
            // Mantle has the prices of the geography's inference profile.
            Some(InferenceScope::Geographic(prefixes_of(region).first().copied().unwrap_or_default()))
        } else {
            scope_in(id).or_else(|| self.inference_profiles.scope(id))
        };
        match scope.and_then(|scope| multiplier(prices, scope, region)) {
            Some(multiplier) => Pricing::from_row(prices, multiplier, true),
            None if scope.is_some() => Pricing::from_row(prices, max_multiplier(prices, region), false),
            // An ARN whose scope is not known: the highest of those that start in its region.
            None => {
                let geographic = prefixes_of(region).iter().copied().map(InferenceScope::Geographic);
                let scopes = [InferenceScope::InRegion, InferenceScope::Global].into_iter().chain(geographic);
                let highest =
                    scopes.filter_map(|scope| multiplier(prices, scope, region)).reduce(Factor::max);
                Pricing::from_row(prices, highest.unwrap_or_else(|| max_multiplier(prices, region)), false)
            }
        }
    }
}

/// Price of a scope relative to the basis of the row, if the row has it.
fn multiplier(prices: &Prices, scope: InferenceScope, region: &str) -> Option<Factor> {
    let by_scope = || {
        let is_basis = prices.basis == scope.key();
        is_basis.then_some(Factor::ONE).or_else(|| prices.by_prefix.get(scope.key()).copied())
    };
    if scope != InferenceScope::InRegion {
        return by_scope();
    }
    if let Some(factor) = prices.by_region.get(region) {
        return Some(*factor);
    }
    // The basis of a row with prices of single regions is the price in the United States.
    let has_regions = prices.by_region.keys().any(|region| !is_government(region));
    let applies = !is_government(region) && (!has_regions || region.starts_with("us-"));
    if applies { by_scope() } else { None }
}

/// Maximum price of a scope that the row does not have: the highest of the row, without government regions unless
/// `region` is one.
fn max_multiplier(prices: &Prices, region: &str) -> Factor {
    let applies = |name: &str| is_government(region) || !is_government(name);
    let factors = prices.by_prefix.iter().chain(&prices.by_region);
    factors.filter(|(name, _)| applies(name)).fold(UNKNOWN_SCOPE, |max, (_, factor)| max.max(*factor))
}

/// Whether `name` is a region or prefix of AWS GovCloud.
fn is_government(name: &str) -> bool {
    name.starts_with("us-gov")
}

/// Region in an ARN.
fn region_in(id: &str) -> Option<&str> {
    id.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// Scope of an id, or of the ARN of a foundation model or of AWS's own inference profile; other ARNs have none.
fn scope_in(id: &str) -> Option<InferenceScope> {
    let inner = id_in(id)?;
    let without_prefix = without_prefix(inner);
    if without_prefix.len() == inner.len() {
        return Some(InferenceScope::InRegion);
    }
    InferenceScope::from_prefix(inner.get(..inner.len() - without_prefix.len() - 1)?)
}

/// Prefixes of the inference profiles that can be called in a region, the widest first.
pub(super) fn prefixes_of(region: &str) -> &'static [&'static str] {
    const BY_REGION: [(&str, &[&str]); 7] = [
        ("us-gov-", &["us-gov"]),
        ("us-", &["us"]),
        ("ca-", &["us", "ca"]),
        ("eu-", &["eu"]),
        ("ap-northeast-", &["apac", "jp"]),
        ("ap-southeast-", &["apac", "au"]),
        ("ap-south-", &["apac", "in"]),
    ];
    BY_REGION.iter().find(|(start, _)| region.starts_with(start)).map_or(&[], |(_, prefixes)| prefixes)
}

#[cfg(test)]
mod tests;
