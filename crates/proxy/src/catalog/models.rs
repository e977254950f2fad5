//! The models this version knows: one table, data and not code, and a file of the operator's that goes over it.
//!
//! State of November 2026. A model that is missing here still works by its Bedrock id or through a mapping.

use std::collections::HashMap;

use crate::config::Model;

/// The table that comes with the program.
const BUILT_IN: &str = include_str!("models.json");

/// All rows, by id and by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    models: Vec<Model>,
    by_id: HashMap<String, usize>,
    by_name: HashMap<String, usize>,
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
                Some(known) => *known = model,
                None => table.models.push(model),
            }
        }
        table
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
    use messages::capability::PromptCache;

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
}
