//! Table of models: built-in rows (`models.json`), overridden by rows of the operator. Discovery from AWS changes the
//! former, not the latter.
//!
//! As of November 2026. A model without a row works by its Bedrock id or through a mapping.

use std::collections::{HashMap, HashSet};

use protocol::capabilities::Capabilities;

use super::names;
use super::rates::{self, Rates};
use crate::config::ModelConfig;

/// Built-in rows.
const BUILT_IN: &str = include_str!("models.json");

/// A model that AWS offers in the region.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscoveredModel {
    /// Foundation-model id.
    pub(crate) id: String,
    /// Name for people.
    pub(crate) display_name: Option<String>,
    /// Prefixes of its inference profiles.
    pub(crate) prefixes: Vec<String>,
    /// Whether it can be called by its foundation-model id.
    pub(crate) on_demand: bool,
    /// Whether its lifecycle status is `LEGACY`.
    pub(crate) legacy: bool,
    /// Start of life, RFC 3339.
    pub(crate) start_of_life: Option<String>,
    /// End of life, RFC 3339.
    pub(crate) end_of_life: Option<String>,
}

/// Rows by id and by name.
#[derive(Debug, Default)]
pub(super) struct ModelTable {
    models: Vec<ModelConfig>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
    /// Models that AWS offers, by id; `None` before the first discovery.
    discovered: Option<HashMap<String, DiscoveredModel>>,
    /// Highest price of each kind in any row.
    highest: Rates,
}

impl ModelTable {
    /// Table of the built-in rows, overridden by the operator's.
    pub(super) fn new(overrides: &[ModelConfig]) -> Self {
        let built_in: Vec<ModelConfig> = serde_json::from_str(BUILT_IN).unwrap_or_default();
        let mut table = Self::default();
        for model in built_in.into_iter().chain(overrides.iter().cloned()) {
            let at = *table.by_id.entry(model.id.clone()).or_insert(table.models.len());
            table.by_name.extend(model.names.iter().map(|name| (name.clone(), at)));
            match table.models.get_mut(at) {
                Some(row) if model.is_only_prices() => row.prices = model.prices,
                Some(row) => {
                    let prices = row.prices.take();
                    *row = ModelConfig { prices: model.prices.clone().or(prices), ..model };
                }
                None => table.models.push(model),
            }
        }
        table.highest = rates::highest(&table.models);
        table
    }

    /// As [`ModelTable::new`], with the models that AWS offers. Prefixes in the operator's rows are not changed.
    pub(super) fn with_discovered(overrides: &[ModelConfig], discovered: Vec<DiscoveredModel>) -> Self {
        let mut table = Self::new(overrides);
        let pinned: HashSet<_> =
            overrides.iter().filter(|model| !model.prefixes.is_empty()).map(|model| &model.id).collect();
        for model in discovered.iter().filter(|model| !pinned.contains(&model.id)) {
            let at = table.by_id.get(&model.id).copied();
            match at.and_then(|at| table.models.get_mut(at)) {
                Some(row) => row.prefixes.clone_from(&model.prefixes),
                None => table.add(model),
            }
        }
        table.discovered = Some(discovered.into_iter().map(|model| (model.id.clone(), model)).collect());
        table
    }

    /// Adds a row for a model newer than the table; a Claude model gets the names that Anthropic would use.
    fn add(&mut self, model: &DiscoveredModel) {
        let claude = model.id.starts_with("anthropic.claude");
        let at = self.models.len();
        let mut names = if claude { names::anthropic_names(&model.id) } else { Vec::new() };
        names.retain(|name| !self.by_name.contains_key(name));
        self.by_name.extend(names.iter().map(|name| (name.clone(), at)));
        self.by_id.insert(model.id.clone(), at);
        self.models.push(ModelConfig {
            id: model.id.clone(),
            names,
            prefixes: model.prefixes.clone(),
            route: None,
            mantle: false,
            end_of_life: model.end_of_life.as_deref().and_then(|time| time.get(..10)).map(str::to_owned),
            capabilities: if claude { Capabilities::NEWEST_CLAUDE } else { Capabilities::UNKNOWN },
            prices: None,
        });
    }

    /// All rows.
    pub(super) fn rows(&self) -> &[ModelConfig] {
        &self.models
    }

    /// The discovered model with this id.
    pub(super) fn discovered(&self, id: &str) -> Option<&DiscoveredModel> {
        self.discovered.as_ref()?.get(id)
    }

    /// Whether discovery has succeeded.
    pub(super) fn is_discovered(&self) -> bool {
        self.discovered.is_some()
    }

    /// The highest price of each kind that any row has.
    pub(super) fn highest(&self) -> &Rates {
        &self.highest
    }

    /// Row of a foundation-model id.
    pub(super) fn by_id(&self, id: &str) -> Option<&ModelConfig> {
        self.models.get(*self.by_id.get(id)?)
    }

    /// Row with this name.
    pub(super) fn by_name(&self, name: &str) -> Option<&ModelConfig> {
        self.models.get(*self.by_name.get(name)?)
    }
}

#[cfg(test)]
mod tests {
    use protocol::capabilities::PromptCache;

    use super::*;
    use crate::config::parse_models as parse;

    #[test]
    fn built_in_names_are_unique() {
        let rows = parse(BUILT_IN).unwrap();
        assert!(rows.len() >= 86);
        let mut names: Vec<_> = rows.iter().flat_map(|model| &model.names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(rows.iter().all(|model| model.capabilities.claude == model.id.starts_with("anthropic.")));
        assert!(rows.iter().all(|model| model.capabilities.max_output_tokens.is_some()));
    }

    #[test]
    fn operator_rows_override_built_in_rows() {
        let rows = r#"[{"id":"anthropic.claude-opus-5","names":["claude-opus-5","house-model"],"capabilities":{"claude":true,"prompt_cache":"5m"}},{"id":"acme.novel-1"}]"#;
        let table = ModelTable::new(&parse(rows).unwrap());
        let house = table.by_name("house-model").unwrap();
        assert_eq!(
            (house.id.as_str(), house.capabilities.prompt_cache),
            ("anthropic.claude-opus-5", PromptCache::FiveMinutes)
        );
        assert!(table.by_id("acme.novel-1").is_some() && table.by_id("anthropic.claude-opus-4-8").is_some());
        assert!(parse(r#"[{"id":"x","capabilities":{"novel":1}}]"#).unwrap_err().contains("novel"));
    }

    #[test]
    fn operator_row_may_change_only_prices() {
        let id = "anthropic.claude-opus-5";
        let built_in = ModelTable::new(&[]).by_id(id).unwrap().clone();
        let row = format!(r#"[{{"id":"{id}","prices":{{"basis":"bare","input":1.5,"output":"2"}}}}]"#);
        let table = ModelTable::new(&parse(&row).unwrap());
        let priced = table.by_id(id).unwrap();
        assert_eq!(priced.prices.as_ref().unwrap().input.0, 1_500_000);
        assert_eq!((&priced.names, priced.capabilities), (&built_in.names, built_in.capabilities));
        let row = format!(r#"[{{"id":"{id}","prefixes":["us"]}}]"#);
        let table = ModelTable::new(&parse(&row).unwrap());
        assert_eq!(table.by_id(id).unwrap().prices, built_in.prices);
    }
}
