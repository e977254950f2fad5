//! Price list for people: what a token of each model costs in this region, by inference profile.

use super::pricing::prefixes_of;
use super::rates::Rates;
use super::{Catalog, Pricing};

/// Prices of one id of a model in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PriceRow {
    /// Id that Bedrock is called with: that of the foundation model or of an inference profile.
    pub(crate) model_id: String,
    /// Name of the model in Anthropic's API.
    pub(crate) name: Option<String>,
    /// The prices apply to prompts with more tokens than this; 0 for all.
    pub(crate) prompt_above: u64,
    /// Rates in pico-dollars per token.
    pub(crate) rates: Rates,
}

impl Catalog {
    /// Prices of every id that can be called in `region` and has a price in the table, by id. With `filter`, only of models
    /// whose id or name contains it.
    #[must_use]
    pub(crate) fn price_list(&self, region: &str, filter: Option<&str>) -> Vec<PriceRow> {
        let table = self.models();
        let mut found = Vec::new();
        for row in table.rows().iter().filter(|row| row.prices.is_some()) {
            let names = row.names.iter().map(String::as_str);
            let is_listed = |filter: &str| names.clone().chain([&*row.id]).any(|name| name.contains(filter));
            let callable =
                |prefix: &&String| *prefix == "global" || prefixes_of(region).contains(&prefix.as_str());
            let profiles = row.prefixes.iter().filter(callable).map(|prefix| format!("{prefix}.{}", row.id));
            for model_id in std::iter::once(row.id.clone()).chain(profiles) {
                if filter.is_some_and(|filter| !is_listed(filter) && !model_id.contains(filter)) {
                    continue;
                }
                let Ok(model) = self.resolve(Some(&model_id)) else { continue };
                let prices = self.pricing(&model, region).tiers();
                found.extend(prices.into_iter().map(|(prompt_above, rates)| PriceRow {
                    model_id: model_id.clone(),
                    name: row.names.first().cloned(),
                    prompt_above,
                    rates,
                }));
            }
        }
        found.sort_by(|a, b| (&a.model_id, a.prompt_above).cmp(&(&b.model_id, b.prompt_above)));
        found
    }
}

impl Pricing {
    /// Rates by the prompt tokens above which they apply. None without a price in the table.
    fn tiers(&self) -> Vec<(u64, Rates)> {
        let long = self.long.iter().map(|(above, tier)| (*above, tier));
        let tiers = std::iter::once((0, &self.short)).chain(long);
        if self.known { tiers.map(|(above, tier)| (above, tier.known_only())).collect() } else { Vec::new() }
    }
}
