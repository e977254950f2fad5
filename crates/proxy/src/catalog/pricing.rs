//! Which rates a request pays: the model, the way to it (a prefix of inference profiles, or the bare id in a region),
//! how long the prompt is, and the service tier.
//!
//! Errs high: what is not in the table costs the most that it could, and the rates say that they are a guess.

use protocol::anthropic::{ServiceTier, Usage};

use super::rates::{Guessed, Rates, Tier, cache_writes};
use super::{Catalog, ResolvedModel, id_in, without_prefix};
use crate::config::{BARE, Factor, Prices};

/// Against the standard tier, no price of the priority tier is in the table. What AWS takes where it has one is less
/// than twice as much.
const PRIORITY: Factor = Factor { input: 20_000, output: 20_000 };
/// A way that a model's row does not have costs at least this much: no Claude model has a higher premium anywhere.
const ELSEWHERE: Factor = Factor { input: 12_000, output: 12_000 };

/// What a request to a model costs, before it is known how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    short: Tier,
    /// From more than so many tokens of the prompt on.
    long: Option<(u64, Tier)>,
    /// For a model without a price.
    known: bool,
}

impl Pricing {
    /// The rates for a request that came to `usage`. A long prompt makes all of its tokens dearer. Flex, batch and
    /// reserved capacity, whose prices are not in the table and not higher, pay what everybody pays.
    #[must_use]
    pub fn rates(&self, usage: &Usage) -> Rates {
        let prompt = usage
            .input_tokens
            .saturating_add(usage.cache_creation_input_tokens)
            .saturating_add(usage.cache_read_input_tokens);
        let step = match &self.long {
            Some((above, long)) if prompt > *above => long,
            _ => &self.short,
        };
        let standard = matches!(usage.service_tier, None | Some(ServiceTier::Standard));
        let factor = if usage.service_tier == Some(ServiceTier::Priority) { PRIORITY } else { Factor::ONE };
        let known = self.known && standard && !step.guessed.concerns(usage);
        Rates { known, ..step.rates.times(factor) }
    }

    fn of_row(prices: &Prices, factor: Factor, known: bool) -> Self {
        let times = |step: Tier| Tier { rates: step.rates.times(factor), ..step };
        Self {
            short: times(Tier::short(prices)),
            long: prices.long.as_ref().map(|long| (long.above, times(Tier::long(prices, long)))),
            known,
        }
    }
}

impl Guessed {
    /// Whether `usage` has tokens whose rate is a guess.
    fn concerns(self, usage: &Usage) -> bool {
        let (five, hour) = cache_writes(usage);
        (self.cache_read && usage.cache_read_input_tokens > 0)
            || (self.write_5m && five > 0)
            || (self.write_1h && hour > 0)
    }
}

impl Catalog {
    /// What requests to `target` cost when Bedrock is called in `region`. A model without a price costs the most that
    /// any model does.
    #[must_use]
    pub fn pricing(&self, target: &ResolvedModel, region: &str) -> Pricing {
        let table = self.table();
        let row = target.foundation_model.as_deref().and_then(|base| table.by_id(base));
        let Some(prices) = row.and_then(|model| model.prices.as_ref()) else {
            let step = Tier { rates: table.highest().clone(), guessed: Guessed::default() };
            return Pricing { short: step, long: None, known: false };
        };
        let id = &target.model_id;
        let region = region_in(id).unwrap_or(region);
        let way = if target.mantle {
            // That endpoint takes what the profile of this part of the world does.
            Some(prefixes_of(region).first().copied().unwrap_or_default().to_owned())
        } else {
            way_in(id).map(str::to_owned).or_else(|| self.inference_profiles.way(id))
        };
        match way.as_deref().and_then(|way| factor(prices, way, region)) {
            Some(factor) => Pricing::of_row(prices, factor, true),
            None if way.is_some() => Pricing::of_row(prices, most(prices, region), false),
            // An ARN whose way is not known: one of those that start in its region.
            None => {
                let ways = [BARE, "global"].into_iter().chain(prefixes_of(region).iter().copied());
                let dearest = ways.filter_map(|way| factor(prices, way, region)).reduce(Factor::max);
                Pricing::of_row(prices, dearest.unwrap_or_else(|| most(prices, region)), false)
            }
        }
    }
}

/// What a way costs against the basis of the row, if the row says it.
fn factor(prices: &Prices, way: &str, region: &str) -> Option<Factor> {
    let by_way =
        || (prices.basis == way).then_some(Factor::ONE).or_else(|| prices.by_prefix.get(way).copied());
    if way != BARE {
        return by_way();
    }
    if let Some(factor) = prices.by_region.get(region) {
        return Some(*factor);
    }
    // A row that has prices of single regions has the American one as its basis.
    let told_by_region = prices.by_region.keys().any(|region| !is_government(region));
    let here = !is_government(region) && (!told_by_region || region.starts_with("us-"));
    if here { by_way() } else { None }
}

/// The most that a way without a price may cost: the highest factor of the row, leaving out those of the government's
/// regions unless `region` is one.
fn most(prices: &Prices, region: &str) -> Factor {
    let counts = |name: &str| is_government(region) || !is_government(name);
    let factors = prices.by_prefix.iter().chain(&prices.by_region);
    factors.filter(|(name, _)| counts(name)).fold(ELSEWHERE, |most, (_, factor)| most.max(*factor))
}

/// `us-gov` as a region's beginning or as a prefix.
fn is_government(name: &str) -> bool {
    name.starts_with("us-gov")
}

/// The region that an ARN names.
fn region_in(id: &str) -> Option<&str> {
    id.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

/// The prefix in an id or in the ARN of a profile of AWS's own, or `bare`; other ARNs do not say.
fn way_in(id: &str) -> Option<&str> {
    let inner = id_in(id)?;
    let bare = without_prefix(inner);
    if bare.len() == inner.len() { Some(BARE) } else { inner.get(..inner.len() - bare.len() - 1) }
}

/// The prefixes of profiles that can be called in a region.
pub(super) fn prefixes_of(region: &str) -> &'static [&'static str] {
    const STARTS: [(&str, &[&str]); 7] = [
        ("us-gov-", &["us-gov"]),
        ("us-", &["us"]),
        ("ca-", &["us", "ca"]),
        ("eu-", &["eu"]),
        ("ap-northeast-", &["apac", "jp"]),
        ("ap-southeast-", &["apac", "au"]),
        ("ap-south-", &["apac", "in"]),
    ];
    STARTS.iter().find(|(start, _)| region.starts_with(start)).map_or(&[], |(_, prefixes)| prefixes)
}

#[cfg(test)]
mod tests;
