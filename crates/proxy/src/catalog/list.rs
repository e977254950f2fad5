//! List of models: the operator's names, and the models of the region.

use std::sync::PoisonError;

use protocol::capabilities::Capabilities;

use super::table::ModelTable;
use super::{Catalog, Models, ResolvedModel, names, profile_id};
use crate::clock::Clock;
use crate::config::ModelConfig;

/// Entry of the list of models.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelInfo {
    /// Name in requests.
    pub(crate) id: String,
    /// Display name.
    pub(crate) display_name: String,
    /// Vendor.
    pub(crate) vendor: String,
    /// Id or ARN of requests to Bedrock.
    pub(crate) model_id: String,
    /// Family of a Claude model.
    pub(crate) family: Option<&'static str>,
    /// Release date, such as `2025-09-29`.
    pub(crate) released: Option<String>,
    /// Date after which AWS may stop serving it.
    pub(crate) end_of_life: Option<String>,
    /// Whether its lifecycle status is `LEGACY`.
    pub(crate) legacy: bool,
    /// Capabilities.
    pub(crate) capabilities: Capabilities,
}

impl ModelInfo {
    /// `active`, `deprecated` once its end is known, or `retired` after its end. `today` begins with the date, as in
    /// RFC 3339.
    pub(crate) fn lifecycle(&self, today: &str) -> &'static str {
        match &self.end_of_life {
            Some(day) if is_past(day, today) => "retired",
            Some(_) => "deprecated",
            None if self.legacy => "deprecated",
            None => "active",
        }
    }
}

/// Whether `day` is before `today`, both of which begin with a date as in RFC 3339.
fn is_past(day: &str, today: &str) -> bool {
    day < today.get(..10).unwrap_or(today)
}

/// An inference profile of AWS that the region offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfferedProfile {
    /// Id, such as `us.anthropic.…`.
    pub(crate) id: String,
    /// Foundation-model id.
    pub(crate) foundation_model: String,
    /// Display name.
    pub(crate) display_name: String,
}

impl Catalog {
    /// Inference profiles of the configured geography, and the global ones.
    #[must_use]
    pub(crate) fn offered_profiles(&self) -> Vec<OfferedProfile> {
        let table = self.models();
        let is_offered = |prefix: &&String| {
            table.is_discovered()
                || self.prefix.is_none_or(|configured| configured == prefix.as_str() || *prefix == "global")
        };
        let rows = table.rows().iter().filter(|model| self.offers(&table, model));
        let profiles = rows.flat_map(|model| {
            let display_name =
                model.names.first().map_or_else(|| model.id.clone(), |name| names::display_name(name));
            model.prefixes.iter().filter(is_offered).map(move |prefix| OfferedProfile {
                id: format!("{prefix}.{}", model.id),
                foundation_model: model.id.clone(),
                display_name: format!("{prefix} {display_name}"),
            })
        });
        profiles.collect()
    }

    /// The operator's names, the Claude models of the region, and after a discovery all other models.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<ModelInfo> {
        let table = self.models();
        let configured = table.mapped_names.iter().filter_map(|name| self.describe(name));
        let mut all: Vec<ModelInfo> = configured.collect();
        let default = table.default_model.as_deref().and_then(|name| {
            let model = self.find(name)?.foundation_model?;
            // A Claude model is listed by its name below.
            if table.by_id(&model).is_some_and(|row| !row.names.is_empty()) {
                None
            } else {
                self.describe(name)
            }
        });
        all.extend(default);
        let offered = table.rows().iter().filter(|model| self.offers(&table, model));
        all.extend(offered.filter_map(|model| self.row_info(&table, model)));
        let mut seen = std::collections::HashSet::new();
        all.retain(|listed| seen.insert(listed.id.clone()));
        all
    }

    /// One model by any name that a request may use; `None` if it has neither a row nor a mapping.
    #[must_use]
    pub(crate) fn describe(&self, name: &str) -> Option<ModelInfo> {
        let target = self.find(name)?;
        let table = self.models();
        let model = target.foundation_model.as_deref().and_then(|base| table.by_id(base));
        if model.is_none() && !table.mappings.contains_key(name) {
            return None;
        }
        Some(model_info(&table, name, target))
    }

    /// Date after which AWS may stop serving a model.
    #[must_use]
    pub(crate) fn end_of_life(&self, model: &ResolvedModel) -> Option<String> {
        end_of_life(&self.models(), model.foundation_model.as_deref()?)
    }

    /// When AWS retires a model, as a sentence; `None` without a known date.
    #[must_use]
    pub(crate) fn retirement(&self, model: &ResolvedModel, clock: &Clock) -> Option<String> {
        let (id, day) = (model.foundation_model.as_deref()?, self.end_of_life(model)?);
        let verb = if is_past(&day, &clock.rfc3339()) { "retired" } else { "will retire" };
        Some(format!("AWS {verb} {id} on {day}."))
    }

    /// Logs once that AWS may no longer serve a model.
    pub(crate) fn warn_if_retired(&self, model: &ResolvedModel, clock: &Clock) {
        let (Some(id), Some(day)) = (&model.foundation_model, self.end_of_life(model)) else { return };
        if !is_past(&day, &clock.rfc3339()) {
            return;
        }
        let mut warned = self.warned_retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Rows are few, so the set is bounded.
        if warned.insert(id.clone()) {
            tracing::warn!(
                model = model.requested_model,
                foundation_model = id,
                retires_at = day,
                "model is retired; AWS may reject it at any time"
            );
        }
    }

    /// Whether the region offers a model: AWS lists it, or it has a profile for the configured geography, or needs none.
    fn offers(&self, table: &Models, model: &ModelConfig) -> bool {
        if table.is_discovered() {
            return table.discovered(&model.id).is_some()
                || table.overrides.iter().any(|other| other.id == model.id);
        }
        let has = |prefix: &str| model.prefixes.iter().any(|other| other == prefix);
        match self.prefix {
            None => true,
            Some("us-gov") => has("us-gov") || model.prefixes.is_empty(),
            Some(prefix) => has(prefix) || has("global") || model.prefixes.is_empty(),
        }
    }

    /// Entry of a row: by Anthropic's name for a Claude model, else by an id that can be called.
    fn row_info(&self, table: &ModelTable, model: &ModelConfig) -> Option<ModelInfo> {
        let id = match model.names.first() {
            Some(name) => name.clone(),
            None if model.capabilities.claude => profile_id(model, self.prefix),
            None if table.discovered(&model.id)?.on_demand => model.id.clone(),
            None => profile_id(model, self.prefix),
        };
        let target = self.find(&id)?;
        Some(model_info(table, &id, target))
    }
}

fn end_of_life(table: &ModelTable, id: &str) -> Option<String> {
    let row = table.by_id(id).and_then(|row| row.end_of_life.clone());
    row.or_else(|| table.discovered(id)?.end_of_life.as_ref()?.get(..10).map(str::to_owned))
}

fn model_info(table: &ModelTable, name: &str, target: ResolvedModel) -> ModelInfo {
    let base = target.foundation_model.as_deref().unwrap_or_default();
    let (row, discovered) = (table.by_id(base), table.discovered(base));
    let day = |time: &String| time.get(..10).map(str::to_owned);
    let row_name = row.and_then(|row| row.names.first()).map(|name| names::display_name(name));
    let other_name = || {
        discovered.and_then(|model| model.display_name.clone()).unwrap_or_else(|| names::display_name(name))
    };
    ModelInfo {
        id: name.to_owned(),
        display_name: row_name.unwrap_or_else(other_name),
        vendor: base.split_once('.').map_or("bedrock", |(vendor, _)| vendor).to_owned(),
        family: names::family(base, &target.capabilities),
        released: names::date(base).or_else(|| discovered?.start_of_life.as_ref().and_then(day)),
        end_of_life: end_of_life(table, base),
        legacy: discovered.is_some_and(|model| model.legacy),
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
    fn list_has_mappings_and_regional_claude_models() {
        let nova = "amazon.nova-pro-v1:0";
        let ids = ids(&catalog(Some("us"), &[("house", nova), ("claude-sonnet-4-5", nova)], None));
        assert_eq!(ids[..2], ["house", "claude-sonnet-4-5"]);
        assert_eq!(
            ids.iter().filter(|id| *id == "claude-sonnet-4-5").count(),
            1,
            "a mapping replaces the model"
        );
        assert!(ids.contains(&"claude-opus-5-5".to_owned()));
        assert!(ids[2..].iter().all(|id| id.starts_with("claude-")), "{ids:?}");
    }

    #[test]
    fn models_of_other_regions_are_not_listed() {
        let gov = ids(&catalog(Some("us-gov"), &[], None));
        assert!(gov.contains(&"claude-opus-5".to_owned()) && !gov.contains(&"claude-opus-4-7".to_owned()));
        let asia = ids(&catalog(Some("apac"), &[], None));
        assert!(
            !asia.contains(&"claude-opus-4-1".to_owned()) && asia.contains(&"claude-opus-4-6".to_owned())
        );
    }

    #[test]
    fn discovery_removes_and_adds_models() {
        let catalog = catalog(Some("us"), &[], Some("anthropic.claude-3-5-sonnet-20241022-v2:0"));
        let discovered = |id: &str, prefixes: &[&str], on_demand| DiscoveredModel {
            id: id.to_owned(),
            display_name: Some("Display".to_owned()),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            on_demand,
            ..DiscoveredModel::default()
        };
        catalog.set_discovered(vec![
            discovered("anthropic.claude-sonnet-4-5-20250929-v1:0", &["us"], false),
            discovered("anthropic.claude-opus-9", &["us"], false),
            discovered("amazon.nova-pro-v1:0", &["us"], true),
            discovered("acme.novel-v1:0", &["us"], false),
        ]);
        let ids = ids(&catalog);
        let all = ["claude-sonnet-4-5", "amazon.nova-pro-v1:0", "claude-opus-9", "us.acme.novel-v1:0"];
        assert_eq!(ids, all);
        assert_eq!(catalog.describe("us.acme.novel-v1:0").unwrap().display_name, "Display");
    }

    #[test]
    fn model_is_described_by_any_of_its_names() {
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
