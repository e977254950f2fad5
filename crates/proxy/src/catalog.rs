//! Model catalog: resolves the name of a model in a request to a Bedrock id, its capabilities and its prices.
//!
//! Names are compared exactly, never by prefix: `claude-opus-4-8` is not a version of `claude-opus-4`.

pub(crate) mod discovery;
mod inference_profiles;
mod list;
mod names;
mod price_list;
mod pricing;
pub(crate) mod rates;
mod resolution;
mod suggestion;
mod table;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use protocol::apis::UpstreamApi;
use protocol::capabilities::{Capabilities, PromptCache};

use crate::config::{self, ConfigError, ModelConfig, UpstreamPolicy};
pub(crate) use inference_profiles::{InferenceProfiles, ProfileModel};
pub(crate) use list::{ModelInfo, OfferedProfile};
pub(crate) use price_list::PriceRow;
pub(crate) use pricing::Pricing;
pub(crate) use resolution::{ModelResolver, NamedBy};
pub(crate) use table::DiscoveredModel;
use table::ModelTable;

/// Suffix by which Claude Code requests the long context; unknown to Bedrock.
const LONG_CONTEXT_SUFFIX: &str = "[1m]";
/// Maximum length of a `modelId` in Bedrock.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
const MAX_ID_BYTES: usize = 2048;

/// A model name from a request, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedModel {
    /// Name in the request, which the response repeats.
    pub(crate) requested_model: String,
    /// Id or ARN for the URL, not encoded.
    pub(crate) model_id: String,
    /// Foundation-model id, if known.
    pub(crate) foundation_model: Option<String>,
    /// Capabilities of the model.
    pub(crate) capabilities: Capabilities,
    /// Upstream APIs that its row in the table requires.
    pub(crate) route: Option<UpstreamPolicy>,
    /// Whether only the Mantle endpoint serves it.
    pub(crate) mantle: bool,
}

impl ResolvedModel {
    /// Whether the request names an inference profile, or any resource by its ARN.
    #[must_use]
    pub(crate) fn is_profile_requested(&self) -> bool {
        self.requested_model.starts_with("arn:")
            || without_prefix(&self.requested_model) != self.requested_model
    }

    /// Whether this is an application inference profile.
    #[must_use]
    pub(crate) fn is_application_profile(&self) -> bool {
        self.model_id.starts_with("arn:") && self.model_id.contains(":application-inference-profile/")
    }

    /// Upstream APIs that requests may use; `configured` for models without a policy of their own.
    #[must_use]
    pub(crate) fn upstream_policy(&self, configured: UpstreamPolicy) -> UpstreamPolicy {
        if self.mantle {
            UpstreamPolicy::Only(UpstreamApi::Messages)
        } else {
            self.route.unwrap_or(configured)
        }
    }

    /// Whether the Messages API has it: it serves Claude models, and knows no ARNs.
    #[must_use]
    pub(crate) fn has_messages_api(&self) -> bool {
        self.capabilities.claude && (self.mantle || !self.model_id.starts_with("arn:"))
    }

    /// Whether this is an application inference profile whose model is unknown.
    #[must_use]
    pub(crate) fn is_unresolved_profile(&self) -> bool {
        self.foundation_model.is_none() && self.is_application_profile()
    }
}

/// Reason why a model name cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The request names no model, and no default is configured.
    #[error("model: Field required")]
    MissingModel,
    /// The name is malformed.
    #[error("model: {0}")]
    InvalidName(&'static str),
    /// The name is unknown; with the known name that resembles it.
    #[error(
        "model: {name} is unknown; {}use a Claude model name, a Bedrock model id or ARN, or have the operator map it \
         with AWS_BEDROCK_MODEL_MAPPINGS={name}=<Bedrock id>",
        did_you_mean(suggestion.as_deref())
    )]
    UnknownModel {
        /// The name.
        name: String,
        /// A known name.
        suggestion: Option<String>,
    },
    /// The model of an application inference profile is not known and cannot be looked up.
    #[error(
        "the model of this inference profile cannot be looked up, because too many look-ups are running; try again in a \
         few seconds"
    )]
    LookupBusy,
}

/// A question that leads to a known model, with what separates it from the next sentence.
fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |known| format!("did you mean {known}? Otherwise "))
}

/// The built-in models and the operator's names.
#[derive(Debug)]
pub(crate) struct Catalog {
    prefix: Option<&'static str>,
    models: RwLock<Arc<Models>>,
    /// Foundation models whose end was logged.
    warned_retired: Mutex<HashSet<String>>,
    /// Models of application inference profiles.
    pub(crate) inference_profiles: InferenceProfiles,
}

/// What a reload or a discovery replaces.
#[derive(Debug)]
struct Models {
    default_model: Option<String>,
    mappings: HashMap<String, String>,
    /// Names of the mappings, in the operator's order.
    mapped_names: Vec<String>,
    overrides: Vec<ModelConfig>,
    /// Models that AWS offers; `None` before the first discovery.
    discovered: Option<Vec<DiscoveredModel>>,
    table: ModelTable,
}

impl Models {
    fn new(config: &config::CatalogConfig, discovered: Option<Vec<DiscoveredModel>>) -> Self {
        Self {
            default_model: config.default_model.clone(),
            mappings: config.mappings.iter().cloned().collect(),
            mapped_names: config.mappings.iter().map(|(name, _)| name.clone()).collect(),
            overrides: config.models.clone(),
            table: table(&config.models, discovered.as_ref()),
            discovered,
        }
    }
}

impl Deref for Models {
    type Target = ModelTable;

    fn deref(&self) -> &ModelTable {
        &self.table
    }
}

fn table(overrides: &[ModelConfig], discovered: Option<&Vec<DiscoveredModel>>) -> ModelTable {
    match discovered {
        Some(discovered) => ModelTable::with_discovered(overrides, discovered.clone()),
        None => ModelTable::new(overrides),
    }
}

impl Catalog {
    /// Catalog of the built-in models and those of `config`.
    #[must_use]
    pub(crate) fn new(config: &config::CatalogConfig) -> Self {
        Self {
            prefix: config.prefix,
            models: RwLock::new(Arc::new(Models::new(config, None))),
            warned_retired: Mutex::default(),
            inference_profiles: InferenceProfiles::default(),
        }
    }

    /// Replaces the models discovered from AWS.
    pub(crate) fn set_discovered(&self, discovered: Vec<DiscoveredModel>) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let discovered = Some(discovered);
        *models = Arc::new(Models {
            default_model: models.default_model.clone(),
            mappings: models.mappings.clone(),
            mapped_names: models.mapped_names.clone(),
            overrides: models.overrides.clone(),
            table: table(&models.overrides, discovered.as_ref()),
            discovered,
        });
    }

    /// Replaces the default model, the mappings and the operator's rows, for requests from now on. Models that were
    /// discovered stay. Returns whether the rows are others than before.
    pub(crate) fn reload(&self, config: &config::CatalogConfig) -> bool {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let has_changed = models.overrides != config.models;
        *models = Arc::new(Models::new(config, models.discovered.clone()));
        has_changed
    }

    /// Foundation models with a row in the table.
    #[must_use]
    pub(crate) fn foundation_models(&self) -> Vec<String> {
        self.models().rows().iter().map(|model| model.id.clone()).collect()
    }

    /// Versions of all prices: the built-in one, and the operator's.
    #[must_use]
    pub(crate) fn price_versions(&self) -> Vec<String> {
        let table = self.models();
        let prices = table.rows().iter().filter_map(|model| model.prices.as_ref());
        let versions =
            prices.map(|prices| prices.version.clone().unwrap_or_else(|| rates::VERSION.to_owned()));
        versions.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the operator names the resource `arn`, as a mapping or as the default model.
    #[must_use]
    pub(crate) fn is_named_by_operator(&self, arn: &str) -> bool {
        let is_model = |model: &ModelConfig| model.id == arn;
        let models = self.models();
        models.default_model.as_deref() == Some(arn)
            || models.mappings.values().any(|id| id == arn)
            || models.overrides.iter().any(is_model)
    }

    /// Maximum output tokens of `model`, for reservations. Of an unknown model: as many as any model of the table writes.
    #[must_use]
    pub(crate) fn max_output_tokens(&self, model: &ResolvedModel) -> Option<u64> {
        let max = model.capabilities.max_output_tokens;
        if model.foundation_model.is_some() {
            return max;
        }
        self.models().rows().iter().map(|row| row.capabilities.max_output_tokens).fold(max, Option::max)
    }

    fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Resolves a name: by the operator's mapping, then as a Bedrock id, then by the built-in names, then as a new Claude
    /// model with the inference profile that it would have.
    ///
    /// # Errors
    /// When no model is named, or the name is malformed or unknown.
    pub(crate) fn resolve(&self, requested: Option<&str>) -> Result<ResolvedModel, ResolveError> {
        let models = self.models();
        let requested = requested.or(models.default_model.as_deref()).ok_or(ResolveError::MissingModel)?;
        check_name(requested)?;
        self.find(requested).ok_or_else(|| ResolveError::UnknownModel {
            name: requested.to_owned(),
            suggestion: self.suggestion_for(requested),
        })
    }

    /// The model that a request names `requested`, if there is one. A suggestion is searched in the list of models, so the
    /// list must not ask for one.
    fn find(&self, requested: &str) -> Option<ResolvedModel> {
        check_name(requested).ok()?;
        let name = requested.strip_suffix(LONG_CONTEXT_SUFFIX).unwrap_or(requested);
        let models = self.models();
        let mapped = models.mappings.get(requested).or_else(|| models.mappings.get(name));
        if let Some(id) = mapped {
            // A mapping may point to a built-in name.
            let by_name = if is_bedrock_id(id) { None } else { self.by_name(requested, id) };
            return Some(by_name.unwrap_or_else(|| self.by_id(requested, name, id)));
        }
        if is_bedrock_id(name) {
            return Some(self.by_id(requested, name, name));
        }
        self.by_name(requested, name)
    }

    /// The model with the name `name`, or a new Claude model of this name.
    fn by_name(&self, requested: &str, name: &str) -> Option<ResolvedModel> {
        if let Some(model) = self.models().by_name(name) {
            let base = Some(model.id.clone());
            return Some(resolved_model(requested, profile_id(model, self.prefix), base, Some(model)));
        }
        name.starts_with("claude-").then(|| {
            let prefix = self.prefix.map(|prefix| format!("{prefix}.")).unwrap_or_default();
            let base = format!("anthropic.{name}");
            resolved_model(requested, format!("{prefix}{base}"), Some(base), None)
        })
    }

    /// The inference profile of foundation model `id`, if there is one.
    #[must_use]
    pub(crate) fn inference_profile_for(&self, id: &str) -> Option<String> {
        if id.starts_with("arn:") || without_prefix(id) != id {
            return None;
        }
        let profile = match self.models().by_id(id) {
            Some(model) => profile_id(model, self.prefix),
            None => format!("{}.{id}", self.prefix?),
        };
        (profile != id).then_some(profile)
    }

    /// An id that is sent unchanged. Capabilities are those of the foundation model in it; for an ARN without one, those of
    /// the name that is mapped to it, or of the model that AWS reports for it.
    fn by_id(&self, requested: &str, name: &str, id: &str) -> ResolvedModel {
        let table = self.models();
        let mapped_from = || table.by_name(name).map(|model| model.id.clone());
        let base = foundation_model_in(id)
            .map(str::to_owned)
            .or_else(mapped_from)
            .or_else(|| self.inference_profiles.foundation_model(id));
        let model = base.as_deref().and_then(|base| table.by_id(base)).or_else(|| table.by_name(name));
        resolved_model(requested, id.to_owned(), base, model)
    }
}

fn resolved_model(
    requested: &str,
    model_id: String,
    base: Option<String>,
    model: Option<&ModelConfig>,
) -> ResolvedModel {
    let capabilities = match model {
        Some(model) => model.capabilities,
        // A Claude model newer than the table, or an ARN without a model: most of them are Claude.
        None if base.as_deref().unwrap_or(&model_id).contains("anthropic.claude") => {
            Capabilities::NEWEST_CLAUDE
        }
        None if base.is_none() => {
            Capabilities { prompt_cache: PromptCache::FiveMinutes, ..Capabilities::CLASSIC_CLAUDE }
        }
        None => Capabilities::UNKNOWN,
    };
    ResolvedModel {
        requested_model: requested.to_owned(),
        model_id,
        foundation_model: base,
        capabilities,
        route: model.and_then(|model| model.route),
        mantle: model.is_some_and(|model| model.mantle),
    }
}

/// Foundation-model id in `id`; most kinds of ARN contain none.
fn foundation_model_in(id: &str) -> Option<&str> {
    id_in(id).map(without_prefix)
}

/// Id of a foundation model or of AWS's own inference profile: `id` itself, or the one in an ARN.
fn id_in(id: &str) -> Option<&str> {
    if !id.starts_with("arn:") {
        return Some(id);
    }
    let (kind, inner) = id.splitn(6, ':').nth(5)?.split_once('/')?;
    ["foundation-model", "inference-profile"].contains(&kind).then_some(inner)
}

/// Id by which `model` is called: with the preferred prefix if it is offered, else `global`, else the first.
fn profile_id(model: &ModelConfig, preferred: Option<&str>) -> String {
    let offered = |prefix: &str| model.prefixes.iter().find(|other| *other == prefix);
    let prefix = preferred.and_then(|preferred| {
        offered(preferred).or_else(|| offered("global")).or_else(|| model.prefixes.first())
    });
    prefix.map_or_else(|| model.id.clone(), |prefix| format!("{prefix}.{}", model.id))
}

/// The error of a default model that is neither a known name nor an id of Bedrock.
#[must_use]
pub(crate) fn default_model_error(config: &config::CatalogConfig) -> Option<ConfigError> {
    config.default_model.as_ref()?;
    let reason = match Catalog::new(config).resolve(None).err()? {
        ResolveError::UnknownModel { suggestion: Some(suggestion), .. } => {
            format!("no such model; did you mean {suggestion}?")
        }
        _ => "no such model; use a name such as claude-sonnet-4-6, an id of Bedrock or an ARN".to_owned(),
    };
    let variable = "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL".to_owned();
    Some(ConfigError { variable, value: config.default_model.clone(), reason })
}

/// Rejects names that no model can have.
fn check_name(name: &str) -> Result<(), ResolveError> {
    if name.is_empty() {
        return Err(ResolveError::InvalidName("String should have at least 1 character"));
    }
    if name.len() > MAX_ID_BYTES {
        return Err(ResolveError::InvalidName("String should have at most 2048 characters"));
    }
    if name.contains("..")
        || name.chars().any(|character| character.is_control() || character.is_whitespace())
    {
        return Err(ResolveError::InvalidName(
            "spaces, control characters and `..` are not allowed in a model name",
        ));
    }
    Ok(())
}

/// Whether `name` is a Bedrock id: an ARN, or `vendor.model` with or without a profile prefix.
fn is_bedrock_id(name: &str) -> bool {
    if name.starts_with("arn:") {
        return true;
    }
    let Some((vendor, model)) = without_prefix(name).split_once('.') else {
        return false;
    };
    vendor.len() > 1
        && vendor.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && model.starts_with(|character: char| character.is_ascii_lowercase())
}

/// Strips the prefix of an inference profile.
fn without_prefix(id: &str) -> &str {
    match id.split_once('.') {
        Some((prefix, rest)) if config::PREFIXES.contains(&prefix) => rest,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(prefix: Option<&'static str>, mappings: &[(&str, &str)], default: Option<&str>) -> Catalog {
        Catalog::new(&config::CatalogConfig {
            default_model: default.map(str::to_owned),
            mappings: mappings.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect(),
            prefix,
            models: Vec::new(),
        })
    }

    fn id(name: &str, prefix: Option<&'static str>) -> String {
        catalog(prefix, &[], None).resolve(Some(name)).unwrap().model_id
    }

    #[test]
    fn unknown_default_models_are_errors() {
        let reason = |name: &str| {
            let config = config::CatalogConfig {
                default_model: Some(name.to_owned()),
                mappings: vec![("house-model".to_owned(), "amazon.nova-pro-v1:0".to_owned())],
                prefix: Some("us"),
                models: Vec::new(),
            };
            default_model_error(&config).map(|error| error.to_string())
        };
        for (name, expected) in [
            ("gpt-5", "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL=\"gpt-5\": no such model; use a name such as"),
            ("claud-sonnet-4-6", "did you mean claude-sonnet-4-6?"),
            ("a b", "no such model"),
        ] {
            let error = reason(name).unwrap_or_default();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6";
        for name in ["claude-sonnet-4-6", "claude-sonnet-9", "house-model", "new.model-v1:0", arn] {
            assert_eq!(reason(name), None, "{name}");
        }
    }

    #[test]
    fn anthropic_names_resolve_to_regional_profiles() {
        for name in ["claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5[1m]"] {
            assert_eq!(id(name, Some("us")), "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
        }
        assert_eq!(
            id("claude-3-5-sonnet-latest", Some("eu")),
            "eu.anthropic.claude-3-5-sonnet-20241022-v2:0"
        );
        assert_eq!(id("claude-opus-4-1-20250805", Some("us")), "us.anthropic.claude-opus-4-1-20250805-v1:0");
        assert_eq!(id("claude-opus-4-6", Some("eu")), "eu.anthropic.claude-opus-4-6-v1");
        assert_eq!(id("claude-3-haiku-20240307", Some("us")), "us.anthropic.claude-3-haiku-20240307-v1:0");
    }

    #[test]
    fn unavailable_prefix_falls_back_to_global_or_first() {
        assert_eq!(id("claude-sonnet-4-5", Some("apac")), "global.anthropic.claude-sonnet-4-5-20250929-v1:0");
        assert_eq!(id("claude-opus-4-1", Some("apac")), "us.anthropic.claude-opus-4-1-20250805-v1:0");
        assert_eq!(id("claude-opus-4-1", None), "anthropic.claude-opus-4-1-20250805-v1:0");
    }

    #[test]
    fn bedrock_ids_and_arns_stay_unchanged() {
        let ids = [
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
            "jp.anthropic.claude-opus-9",
            "us-gov.anthropic.claude-opus-5",
            "amazon.nova-pro-v1:0",
            "ai21.jamba-1-5-large-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
        ];
        for name in ids {
            assert_eq!(id(name, Some("eu")), name);
        }
    }

    #[test]
    fn mapping_takes_precedence_and_stays_unchanged() {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        let mappings = [("claude-sonnet-4-5", arn), ("gpt-4", "amazon.nova-pro-v1:0")];
        let catalog = catalog(Some("us"), &mappings, Some("gpt-4"));
        let sonnet = catalog.resolve(Some("claude-sonnet-4-5[1m]")).unwrap();
        assert_eq!(
            (sonnet.model_id.as_str(), sonnet.requested_model.as_str()),
            (arn, "claude-sonnet-4-5[1m]")
        );
        let built_in = id("claude-sonnet-4-5", None);
        let built_in = catalog.resolve(Some(&built_in)).unwrap();
        assert_eq!(
            sonnet.capabilities, built_in.capabilities,
            "an ARN has the capabilities of the name mapped to it"
        );
        let nova = catalog.resolve(None).unwrap();
        assert_eq!((nova.model_id.as_str(), nova.capabilities.claude), ("amazon.nova-pro-v1:0", false));
    }

    #[test]
    fn mapping_may_point_to_an_anthropic_name() {
        let mappings =
            [("fast", "claude-haiku-4-5"), ("next", "claude-epic-9"), ("own", "my-provisioned-model")];
        let catalog = catalog(Some("us"), &mappings, None);
        let id = |name| catalog.resolve(Some(name)).unwrap().model_id;
        assert_eq!(id("fast"), "us.anthropic.claude-haiku-4-5-20251001-v1:0");
        assert_eq!(id("next"), "us.anthropic.claude-epic-9");
        assert_eq!(id("own"), "my-provisioned-model");
    }

    #[test]
    fn mapped_name_overrides_the_model_aws_reports() {
        let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
        let catalog = catalog(Some("us"), &[("claude-haiku-4-5", arn), ("house", arn)], None);
        assert!(catalog.resolve(Some("house")).unwrap().is_unresolved_profile());
        let model = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0";
        catalog.inference_profiles.insert(arn, ProfileModel::from_arns([model].into_iter()));
        let house = catalog.resolve(Some("house")).unwrap();
        assert_eq!(
            (house.model_id.as_str(), house.foundation_model.as_deref()),
            (arn, Some("amazon.nova-pro-v1:0"))
        );
        assert!(!house.capabilities.claude && !house.is_unresolved_profile());
        let haiku = catalog.resolve(Some("claude-haiku-4-5")).unwrap();
        assert_eq!(haiku.foundation_model.as_deref(), Some("anthropic.claude-haiku-4-5-20251001-v1:0"));
        assert!(haiku.capabilities.claude);
    }

    #[test]
    fn discovery_updates_prefixes_and_adds_models() {
        let catalog = catalog(Some("apac"), &[], None);
        let discovered = |id: &str, prefixes: &[&str]| DiscoveredModel {
            id: id.to_owned(),
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            ..DiscoveredModel::default()
        };
        catalog.set_discovered(vec![
            discovered("anthropic.claude-sonnet-4-5-20250929-v1:0", &["au"]),
            discovered("anthropic.claude-opus-9-20270301-v1:0", &["apac", "global"]),
        ]);
        let id = |name: &str| catalog.resolve(Some(name)).unwrap().model_id;
        assert_eq!(id("claude-sonnet-4-5"), "au.anthropic.claude-sonnet-4-5-20250929-v1:0");
        assert_eq!(id("claude-opus-9"), "apac.anthropic.claude-opus-9-20270301-v1:0");
        assert_eq!(id("claude-opus-9-20270301"), id("claude-opus-9"));
        assert_eq!(id("claude-opus-4-6"), "global.anthropic.claude-opus-4-6-v1", "other rows are unchanged");
    }

    #[test]
    fn new_claude_model_gets_a_regional_profile() {
        let model = catalog(Some("eu"), &[], None).resolve(Some("claude-opus-9")).unwrap();
        assert_eq!(model.model_id, "eu.anthropic.claude-opus-9");
        assert_eq!(model.capabilities, Capabilities::NEWEST_CLAUDE);
        assert_eq!(id("claude-opus-4-80", Some("us")), "us.anthropic.claude-opus-4-80");
    }

    #[test]
    fn unknown_model_is_rejected_with_advice() {
        let catalog = catalog(Some("us"), &[], None);
        assert_eq!(catalog.resolve(None), Err(ResolveError::MissingModel));
        for name in ["gpt-4o", "gpt-5.4", "claude", "Claude-3", "o1.5-mini"] {
            let error = catalog.resolve(Some(name)).unwrap_err();
            assert!(error.to_string().contains("AWS_BEDROCK_MODEL_MAPPINGS"), "{name}: {error}");
        }
        for name in ["", "a b", "../x", "anthropic.claude/../x", "a\nb", &"x".repeat(65_536)] {
            assert!(matches!(catalog.resolve(Some(name)), Err(ResolveError::InvalidName(_))), "{name:.20}");
        }
    }
}
