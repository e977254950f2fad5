//! The models a client can be shown: what the operator has named, and what the region offers.

use protocol::capabilities::Capabilities;

use super::table::Table;
use super::{Catalog, ResolvedModel, names, profile_id};
use crate::config::ModelConfig;

/// A model as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// What to call it in a request.
    pub id: String,
    /// What people call it.
    pub display_name: String,
    /// Who made it.
    pub vendor: String,
    /// The id or ARN that a request would go to.
    pub model_id: String,
    /// The family of a Claude model.
    pub family: Option<&'static str>,
    /// The day it came out, `2025-09-29`.
    pub released: Option<String>,
    /// The day after which AWS may stop serving it.
    pub end_of_life: Option<String>,
    /// Whether AWS has announced its end.
    pub legacy: bool,
    /// What it takes.
    pub capabilities: Capabilities,
}

/// An inference profile that the region offers, as far as the catalog knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedProfile {
    /// `us.anthropic.…`
    pub id: String,
    /// The foundation-model id behind it.
    pub foundation_model: String,
    /// What people call it.
    pub display_name: String,
}

impl Catalog {
    /// The inference profiles of this part of the world, and the global ones.
    #[must_use]
    pub fn offered_profiles(&self) -> Vec<OfferedProfile> {
        let table = self.table();
        let here = |prefix: &&String| {
            table.is_discovered()
                || self.prefix.is_none_or(|own| own == prefix.as_str() || *prefix == "global")
        };
        let rows = table.rows().iter().filter(|model| self.offers(&table, model));
        let profiles = rows.flat_map(|model| {
            let called = model.names.first().map_or_else(|| model.id.clone(), |name| names::display(name));
            model.prefixes.iter().filter(here).map(move |prefix| OfferedProfile {
                id: format!("{prefix}.{}", model.id),
                foundation_model: model.id.clone(),
                display_name: format!("{prefix} {called}"),
            })
        });
        profiles.collect()
    }

    /// The operator's names, the Claude models that the region offers, and, if AWS was asked, all others.
    #[must_use]
    pub fn list(&self) -> Vec<ModelInfo> {
        let table = self.table();
        let configured = self.mapped.iter().filter_map(|name| self.describe(name));
        let mut all: Vec<ModelInfo> = configured.collect();
        let default = self.default_model.as_deref().and_then(|name| {
            let base = self.resolve(Some(name)).ok()?.foundation_model?;
            // A Claude model goes by its name below.
            if table.by_id(&base).is_some_and(|model| !model.names.is_empty()) {
                None
            } else {
                self.describe(name)
            }
        });
        all.extend(default);
        let offered = table.rows().iter().filter(|model| self.offers(&table, model));
        all.extend(offered.filter_map(|model| self.row(&table, model)));
        let mut seen = std::collections::HashSet::new();
        all.retain(|listed| seen.insert(listed.id.clone()));
        all
    }

    /// One model by any name that a request may use, unless nothing is known of it.
    #[must_use]
    pub fn describe(&self, name: &str) -> Option<ModelInfo> {
        let target = self.resolve(Some(name)).ok()?;
        let table = self.table();
        let model = target.foundation_model.as_deref().and_then(|base| table.by_id(base));
        if model.is_none() && !self.mappings.contains_key(name) {
            return None;
        }
        Some(listed(&table, name, target))
    }

    /// Whether a model can be called here: AWS says so, or it has a profile for this part of the world, or needs
    /// none.
    fn offers(&self, table: &Table, model: &Model) -> bool {
        if table.is_discovered() {
            return table.found(&model.id).is_some() || self.overrides.iter().any(|own| own.id == model.id);
        }
        let has = |prefix: &str| model.prefixes.iter().any(|known| known == prefix);
        match self.prefix {
            None => true,
            Some("us-gov") => has("us-gov") || model.prefixes.is_empty(),
            Some(prefix) => has(prefix) || has("global") || model.prefixes.is_empty(),
        }
    }

    /// A row under the name that leads to it: Anthropic's for a Claude model, else an id that can be called.
    fn row(&self, table: &Table, model: &Model) -> Option<ModelInfo> {
        let id = match model.names.first() {
            Some(name) => name.clone(),
            None if model.capabilities.claude => profile_id(model, self.prefix),
            None if table.found(&model.id)?.on_demand => model.id.clone(),
            None => profile_id(model, self.prefix),
        };
        let target = self.resolve(Some(&id)).ok()?;
        Some(listed(table, &id, target))
    }
}

fn listed(table: &Table, name: &str, target: ResolvedModel) -> ModelInfo {
    let base = target.foundation_model.as_deref().unwrap_or_default();
    let (row, found) = (table.by_id(base), table.found(base));
    let day = |time: &String| time.get(..10).map(str::to_owned);
    let called = row.and_then(|row| row.names.first()).map(|name| names::display(name));
    let said = || found.and_then(|found| found.display_name.clone()).unwrap_or_else(|| names::display(name));
    ModelInfo {
        id: name.to_owned(),
        display_name: called.unwrap_or_else(said),
        vendor: base.split_once('.').map_or("bedrock", |(vendor, _)| vendor).to_owned(),
        family: names::family(base, &target.capabilities),
        released: names::date(base).or_else(|| found?.start_of_life.as_ref().and_then(day)),
        end_of_life: row
            .and_then(|row| row.end_of_life.clone())
            .or_else(|| found?.end_of_life.as_ref().and_then(day)),
        legacy: found.is_some_and(|found| found.legacy),
        capabilities: target.capabilities,
        model_id: target.model_id,
    }
}

#[cfg(test)]
mod tests {
    use super::super::DiscoveredModel;
    use super::*;
    use crate::config;

    fn catalog(prefix: Option<&'static str>, mappings: &[(&str, &str)], default: Option<&str>) -> Catalog {
        Catalog::new(&config::CatalogConfig {
            default_model: default.map(str::to_owned),
            mappings: mappings.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect(),
            prefix,
            models: Vec::new(),
        })
    }

    fn ids(catalog: &Catalog) -> Vec<String> {
        catalog.list().into_iter().map(|listed| listed.id).collect()
    }

    #[test]
    fn claude_models_of_the_region_and_the_operators_names_are_listed() {
        let nova = "amazon.nova-pro-v1:0";
        let ids = ids(&catalog(Some("us"), &[("house", nova), ("claude-sonnet-4-5", nova)], None));
        assert_eq!(ids[..2], ["house", "claude-sonnet-4-5"]);
        assert_eq!(
            ids.iter().filter(|id| *id == "claude-sonnet-4-5").count(),
            1,
            "a mapping hides the model"
        );
        assert!(ids.contains(&"claude-opus-5-5".to_owned()));
        assert!(ids[2..].iter().all(|id| id.starts_with("claude-")), "{ids:?}");
    }

    #[test]
    fn what_the_region_does_not_offer_is_not_listed() {
        let gov = ids(&catalog(Some("us-gov"), &[], None));
        assert!(gov.contains(&"claude-opus-5".to_owned()) && !gov.contains(&"claude-opus-4-7".to_owned()));
        let asia = ids(&catalog(Some("apac"), &[], None));
        assert!(
            !asia.contains(&"claude-opus-4-1".to_owned()) && asia.contains(&"claude-opus-4-6".to_owned())
        );
    }

    #[test]
    fn what_aws_offers_narrows_and_extends_the_list() {
        let catalog = catalog(Some("us"), &[], Some("anthropic.claude-3-5-sonnet-20241022-v2:0"));
        let found = |id: &str, prefixes: &[&str], on_demand| DiscoveredModel {
            id: id.to_owned(),
            display_name: Some("Said".to_owned()),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            on_demand,
            ..DiscoveredModel::default()
        };
        catalog.set_discovered(vec![
            found("anthropic.claude-sonnet-4-5-20250929-v1:0", &["us"], false),
            found("anthropic.claude-opus-9", &["us"], false),
            found("amazon.nova-pro-v1:0", &["us"], true),
            found("acme.novel-v1:0", &["us"], false),
        ]);
        let ids = ids(&catalog);
        let all = ["claude-sonnet-4-5", "amazon.nova-pro-v1:0", "claude-opus-9", "us.acme.novel-v1:0"];
        assert_eq!(ids, all);
        assert_eq!(catalog.describe("us.acme.novel-v1:0").unwrap().display_name, "Said");
    }

    #[test]
    fn a_model_goes_by_every_name_of_it_and_nothing_is_made_up() {
        let catalog = catalog(Some("us"), &[], Some("amazon.nova-pro-v1:0"));
        assert_eq!(catalog.list()[0].id, "amazon.nova-pro-v1:0", "the default is configured");
        for name in [
            "claude-sonnet-4-5",
            "claude-sonnet-4-5-20250929",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ] {
            let listed = catalog.describe(name).unwrap();
            assert_eq!((listed.id.as_str(), listed.display_name.as_str()), (name, "Claude Sonnet 4.5"));
            assert_eq!((listed.family, listed.released.as_deref()), (Some("sonnet"), Some("2025-09-29")));
            assert_eq!(listed.vendor, "anthropic");
        }
        for name in ["claude-opus-99", "gpt-4", "acme.model", ""] {
            assert_eq!(catalog.describe(name), None, "{name}");
        }
    }
}
