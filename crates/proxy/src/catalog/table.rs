//! The models this version knows: one table, data and not code, and a file of the operator's that goes over it. What
//! AWS says it offers goes over the former, not over the latter.
//!
//! State of November 2026. A model that is missing here still works by its Bedrock id or through a mapping.

use std::collections::{HashMap, HashSet};

use protocol::capabilities::Capabilities;

use super::names;
use super::rates::{self, Rates};
use crate::config::ModelConfig;

/// The table that comes with the program.
const BUILT_IN: &str = include_str!("models.json");

/// A model that AWS says it offers in the region.
#[derive(Clone, Debug, Default)]
pub struct DiscoveredModel {
    /// The foundation-model id.
    pub id: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// The prefixes of the inference profiles that lead to it.
    pub prefixes: Vec<String>,
    /// Whether it can be called by its bare id.
    pub on_demand: bool,
    /// Whether AWS has announced its end.
    pub legacy: bool,
    /// Since when it can be called, RFC 3339.
    pub start_of_life: Option<String>,
    /// Until when, RFC 3339.
    pub end_of_life: Option<String>,
}

/// All rows, by id and by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    models: Vec<Model>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
    /// What AWS offers, by id, once it was asked.
    found: Option<HashMap<String, DiscoveredModel>>,
    /// The highest price of each kind that any row has.
    highest: Rates,
}

impl Table {
    /// The built-in rows, with the operator's over them.
    pub(super) fn new(overrides: &[Model]) -> Self {
        let built_in: Vec<Model> = serde_json::from_str(BUILT_IN).unwrap_or_default();
        let mut table = Self::default();
        for model in built_in.into_iter().chain(overrides.iter().cloned()) {
            let at = *table.by_id.entry(model.id.clone()).or_insert(table.models.len());
            table.by_name.extend(model.names.iter().map(|name| (name.clone(), at)));
            match table.models.get_mut(at) {
                Some(known) if model.is_only_prices() => known.prices = model.prices,
                Some(known) => {
                    let prices = known.prices.take();
                    *known = Model { prices: model.prices.clone().or(prices), ..model };
                }
                None => table.models.push(model),
            }
        }
        table.highest = rates::highest(&table.models);
        table
    }

    /// The same, with what AWS offers. The operator's rows say themselves by which profiles to call a model.
    pub(super) fn discovered(overrides: &[Model], found: Vec<DiscoveredModel>) -> Self {
        let mut table = Self::new(overrides);
        let pinned: HashSet<_> =
            overrides.iter().filter(|model| !model.prefixes.is_empty()).map(|model| &model.id).collect();
        for found in found.iter().filter(|found| !pinned.contains(&found.id)) {
            let at = table.by_id.get(&found.id).copied();
            match at.and_then(|at| table.models.get_mut(at)) {
                Some(model) => model.prefixes.clone_from(&found.prefixes),
                None => table.add(found),
            }
        }
        table.found = Some(found.into_iter().map(|found| (found.id.clone(), found)).collect());
        table
    }

    /// A model newer than the table: a Claude model is called as Anthropic would call it.
    fn add(&mut self, found: &DiscoveredModel) {
        let claude = found.id.starts_with("anthropic.claude");
        let at = self.models.len();
        let mut names = if claude { names::names(&found.id) } else { Vec::new() };
        names.retain(|name| !self.by_name.contains_key(name));
        self.by_name.extend(names.iter().map(|name| (name.clone(), at)));
        self.by_id.insert(found.id.clone(), at);
        self.models.push(Model {
            id: found.id.clone(),
            names,
            prefixes: found.prefixes.clone(),
            route: None,
            mantle: false,
            end_of_life: found.end_of_life.as_deref().and_then(|until| until.get(..10)).map(str::to_owned),
            capabilities: if claude { Capabilities::NEWEST_CLAUDE } else { Capabilities::UNKNOWN },
            prices: None,
        });
    }

    /// All rows.
    pub(super) fn rows(&self) -> &[Model] {
        &self.models
    }

    /// What AWS said about a model, if it was asked and offers it.
    pub(super) fn found(&self, id: &str) -> Option<&DiscoveredModel> {
        self.found.as_ref()?.get(id)
    }

    /// Whether AWS was asked what it offers.
    pub(super) fn is_discovered(&self) -> bool {
        self.found.is_some()
    }

    /// The highest price of each kind that any row has.
    pub(super) fn highest(&self) -> &Rates {
        &self.highest
    }

    /// The row of a foundation-model id.
    pub(super) fn by_id(&self, id: &str) -> Option<&Model> {
        self.models.get(*self.by_id.get(id)?)
    }

    /// The row that a name of Anthropic's means.
    pub(super) fn by_name(&self, name: &str) -> Option<&Model> {
        self.models.get(*self.by_name.get(name)?)
    }
}

#[cfg(test)]
mod tests {
    use protocol::capabilities::PromptCache;

    use super::*;
    use crate::config::parse_models as parse;

    #[test]
    fn the_built_in_table_is_complete_and_no_name_means_two_models() {
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
    fn rows_of_the_operator_go_over_the_built_in_ones() {
        let rows = r#"[{"id":"anthropic.claude-opus-5","names":["claude-opus-5","house-model"],"capabilities":{"claude":true,"prompt_cache":"5m"}},{"id":"acme.novel-1"}]"#;
        let table = Table::new(&parse(rows).unwrap());
        let house = table.by_name("house-model").unwrap();
        assert_eq!(
            (house.id.as_str(), house.capabilities.prompt_cache),
            ("anthropic.claude-opus-5", PromptCache::FiveMinutes)
        );
        assert!(table.by_id("acme.novel-1").is_some() && table.by_id("anthropic.claude-opus-4-8").is_some());
        assert!(parse(r#"[{"id":"x","capabilities":{"novel":1}}]"#).unwrap_err().contains("novel"));
    }

    #[test]
    fn a_row_of_the_operator_may_change_the_prices_alone_or_leave_them_alone() {
        let id = "anthropic.claude-opus-5";
        let built_in = Table::new(&[]).by_id(id).unwrap().clone();
        let row = format!(r#"[{{"id":"{id}","prices":{{"basis":"bare","input":1.5,"output":"2"}}}}]"#);
        let table = Table::new(&parse(&row).unwrap());
        let priced = table.by_id(id).unwrap();
        assert_eq!(priced.prices.as_ref().unwrap().input.0, 1_500_000);
        assert_eq!((&priced.names, priced.capabilities), (&built_in.names, built_in.capabilities));
        let row = format!(r#"[{{"id":"{id}","prefixes":["us"]}}]"#);
        let table = Table::new(&parse(&row).unwrap());
        assert_eq!(table.by_id(id).unwrap().prices, built_in.prices);
    }
}
