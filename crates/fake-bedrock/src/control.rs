//! Control plane: lists of models and inference profiles.
//!
//! After the API reference pages "ListFoundationModels", "ListInferenceProfiles" and their singular forms.

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use crate::Config;
use crate::error::AwsError;
use crate::models::{self, Model, prefix_covers_region};
use crate::routes::query_parameter;

/// Account id of every ARN.
pub(crate) const ACCOUNT_ID: &str = "123456789012";
/// Page size when the request names none.
const DEFAULT_PAGE_SIZE: usize = 100;

fn partition(region: &str) -> &'static str {
    if region.starts_with("us-gov-") { "aws-us-gov" } else { "aws" }
}

fn model_arn(region: &str, id: &str) -> String {
    model_arn_in(partition(region), region, id)
}

fn model_arn_in(partition: &str, region: &str, id: &str) -> String {
    format!("arn:{partition}:bedrock:{region}::foundation-model/{id}")
}

fn invalid_parameter(value: &str, member: &str, constraint: &str) -> AwsError {
    AwsError::validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    ))
}

/// Query parameter that must be one of `values`.
fn enum_parameter(
    parts: &Parts,
    name: &str,
    member: &str,
    values: &[&str],
) -> Result<Option<String>, AwsError> {
    match query_parameter(parts, name) {
        Some(value) if !values.contains(&value.as_str()) => {
            let constraint = format!("Member must satisfy enum value set: [{}]", values.join(", "));
            Err(invalid_parameter(&value, member, &constraint))
        }
        value => Ok(value),
    }
}

fn summary(model: &Model, region: &str) -> Value {
    let provider = match model.id.split('.').next().unwrap_or_default() {
        "amazon" => "Amazon",
        "anthropic" => "Anthropic",
        "deepseek" => "DeepSeek",
        "google" => "Google",
        "meta" => "Meta",
        "minimax" => "MiniMax",
        "mistral" => "Mistral AI",
        "moonshotai" => "Moonshot AI",
        "nvidia" => "NVIDIA",
        "openai" => "OpenAI",
        "qwen" => "Qwen",
        "writer" => "Writer",
        "xai" => "xAI",
        "zai" => "Z.AI",
        other => other,
    };
    let input = if model.has("images") { json!(["TEXT", "IMAGE"]) } else { json!(["TEXT"]) };
    // Models without on-demand throughput have this type.
    let types = if model.has("on_demand") { json!(["ON_DEMAND"]) } else { json!(["INFERENCE_PROFILE"]) };
    let lifecycle = if model.is_claude() && model.generation < 40 { "LEGACY" } else { "ACTIVE" };
    json!({
        "modelArn": model_arn(region, model.id),
        "modelId": model.id,
        "modelName": title(model.alias()),
        "providerName": provider,
        "inputModalities": input,
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": true,
        "customizationsSupported": [],
        "inferenceTypesSupported": types,
        "modelLifecycle": {"status": lifecycle},
    })
}

/// Title of an alias: `claude-opus-4-5` becomes `Claude Opus 4.5`.
fn title(alias: &str) -> String {
    let mut text = String::new();
    for word in alias.split('-') {
        let number = word.starts_with(|c: char| c.is_ascii_digit());
        let after_number = text.ends_with(|c: char| c.is_ascii_digit());
        if !text.is_empty() {
            text.push(if number && after_number { '.' } else { ' ' });
        }
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

/// Whether the region offers the model, on demand or through an inference profile.
fn is_available(model: &Model, region: &str) -> bool {
    model.has("on_demand") || profiles_of(model, region).next().is_some()
}

fn profiles_of<'a>(model: &'a Model, region: &'a str) -> impl Iterator<Item = &'a str> {
    model.prefixes.split(' ').filter(move |prefix| !prefix.is_empty() && prefix_covers_region(prefix, region))
}

/// ListFoundationModels, with filters and without pages.
///
/// # Errors
/// A `ValidationException` for an invalid filter.
pub(crate) fn foundation_models(config: &Config, parts: &Parts) -> Result<Value, AwsError> {
    let provider = query_parameter(parts, "byProvider").map(|name| name.to_ascii_lowercase());
    let customization = enum_parameter(
        parts,
        "byCustomizationType",
        "byCustomizationType",
        &["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"],
    )?;
    let output =
        enum_parameter(parts, "byOutputModality", "byOutputModality", &["TEXT", "IMAGE", "EMBEDDING"])?;
    let inference =
        enum_parameter(parts, "byInferenceType", "byInferenceType", &["ON_DEMAND", "PROVISIONED"])?;
    let contains = |summary: &Value, member: &str, expected: &Option<String>| {
        expected.as_ref().is_none_or(|expected| {
            summary[member].as_array().is_some_and(|all| all.iter().any(|value| value == expected.as_str()))
        })
    };
    let summaries: Vec<Value> = models::all()
        .iter()
        .filter(|model| is_available(model, &config.region))
        .map(|model| summary(model, &config.region))
        .filter(|summary| {
            let name = summary["providerName"].as_str().unwrap_or_default().to_ascii_lowercase();
            provider.as_ref().is_none_or(|expected| *expected == name)
                && contains(summary, "customizationsSupported", &customization)
                && contains(summary, "outputModalities", &output)
                && contains(summary, "inferenceTypesSupported", &inference)
        })
        .collect();
    Ok(json!({"modelSummaries": summaries}))
}

/// GetFoundationModel, by id or by ARN.
///
/// # Errors
/// A 404 when the model does not exist.
pub(crate) fn foundation_model(config: &Config, identifier: &str) -> Result<Value, AwsError> {
    let id = identifier.rsplit_once("foundation-model/").map_or(identifier, |(_, id)| id);
    let model = models::all().iter().find(|model| model.id == id && is_available(model, &config.region));
    let model = model
        .ok_or_else(|| not_found("Could not resolve the foundation model from the model identifier."))?;
    Ok(json!({"modelDetails": summary(model, &config.region)}))
}

fn not_found(text: &str) -> AwsError {
    AwsError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", text)
}

/// Regions that a profile routes to.
fn regions(prefix: &str, region: &str) -> Vec<String> {
    let regions: &[&str] = match prefix {
        "us" => &["us-east-1", "us-east-2", "us-west-2"],
        "us-gov" => &["us-gov-east-1", "us-gov-west-1"],
        "eu" => &["eu-central-1", "eu-north-1", "eu-west-1", "eu-west-3"],
        "apac" => &["ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2"],
        "au" => &["ap-southeast-2", "ap-southeast-4"],
        "jp" => &["ap-northeast-1", "ap-northeast-3"],
        "in" => &["ap-south-1", "ap-south-2"],
        // The global profile lists the source region and a model ARN without a region.
        "global" => &[""],
        _ => &[],
    };
    let mut regions: Vec<String> = regions.iter().map(|&region| region.to_owned()).collect();
    if !regions.iter().any(|listed| listed == region) {
        regions.insert(0, region.to_owned());
    }
    regions
}

/// A system-defined inference profile.
fn system_profile(model: &Model, prefix: &str, config: &Config) -> Value {
    let region = &config.region;
    let id = format!("{prefix}.{}", model.id);
    let arn = |target: &String| model_arn_in(partition(region), target, model.id);
    let models: Vec<Value> = regions(prefix, region).iter().map(|r| json!({"modelArn": arn(r)})).collect();
    let geography = match prefix {
        "global" => "Global".to_owned(),
        "us-gov" => "US-GOV".to_owned(),
        other => other.to_ascii_uppercase(),
    };
    // Names must not contain dots.
    let name = title(model.alias()).replace('.', " ");
    json!({
        "inferenceProfileName": format!("{geography} {name}"),
        "description": format!("Routes requests to {name} in {geography} regions"),
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "inferenceProfileArn":
            format!("arn:{}:bedrock:{region}:{ACCOUNT_ID}:inference-profile/{id}", partition(region)),
        "models": models,
        "inferenceProfileId": id,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    })
}

/// An application inference profile with the models of its source; `None` when the source does not exist.
fn application_profile(arn: &str, target: &str, config: &Config) -> Option<Value> {
    let (model, _) = models::find(target, &config.region).ok()?;
    let profile_id = target.rsplit('/').next().unwrap_or(target);
    let models = match profile_id.strip_suffix(model.id).and_then(|prefix| prefix.strip_suffix('.')) {
        Some(prefix) => system_profile(model, prefix, config)["models"].clone(),
        None => json!([{"modelArn": model_arn(&config.region, model.id)}]),
    };
    let id = arn.rsplit('/').next().unwrap_or(arn);
    Some(json!({
        "inferenceProfileName": format!("profile {id}"),
        "createdAt": "2026-06-01T00:00:00Z",
        "updatedAt": "2026-06-01T00:00:00Z",
        "inferenceProfileArn": arn,
        "models": models,
        "inferenceProfileId": id,
        "status": "ACTIVE",
        "type": "APPLICATION",
    }))
}

fn all_profiles(config: &Config) -> Vec<Value> {
    let system = models::all().iter().flat_map(|model| {
        profiles_of(model, &config.region).map(|prefix| system_profile(model, prefix, config))
    });
    let application = config
        .application_profiles
        .iter()
        .filter_map(|(arn, target)| application_profile(arn, target, config));
    system.chain(application).collect()
}

/// ListInferenceProfiles, one page at a time.
///
/// # Errors
/// A `ValidationException` for an invalid parameter.
pub(crate) fn inference_profiles(config: &Config, parts: &Parts) -> Result<Value, AwsError> {
    let kind = enum_parameter(parts, "type", "typeEquals", &["SYSTEM_DEFINED", "APPLICATION"])?;
    let size = match query_parameter(parts, "maxResults") {
        None => DEFAULT_PAGE_SIZE,
        Some(text) => text.parse().ok().filter(|size| (1..=1000).contains(size)).ok_or_else(|| {
            invalid_parameter(&text, "maxResults", "Member must have value between 1 and 1000, inclusive")
        })?,
    };
    let start = match query_parameter(parts, "nextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page")
            .and_then(|offset| offset.parse::<usize>().ok())
            .ok_or_else(|| AwsError::validation("The pagination token is invalid."))?,
    };
    let mut profiles = all_profiles(config);
    profiles.retain(|profile| kind.as_ref().is_none_or(|kind| profile["type"] == kind.as_str()));
    let end = start.saturating_add(size);
    let more = profiles.len() > end;
    let page: Vec<Value> = profiles.into_iter().skip(start).take(size).collect();
    let mut response = json!({"inferenceProfileSummaries": page});
    if more {
        response["nextToken"] = format!("page{end}").into();
    }
    Ok(response)
}

/// GetInferenceProfile, by id or by ARN.
///
/// # Errors
/// A 404 when the profile does not exist.
pub(crate) fn inference_profile(config: &Config, identifier: &str) -> Result<Value, AwsError> {
    let has_identifier = |profile: &Value| {
        profile["inferenceProfileArn"] == identifier || profile["inferenceProfileId"] == identifier
    };
    all_profiles(config).into_iter().find(has_identifier).ok_or_else(|| {
        not_found("The inference profile you provided does not exist. Check the identifier and try again.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> Parts {
        http::Request::get(path).body(()).unwrap().into_parts().0
    }

    fn ids(response: &Value) -> Vec<&str> {
        let profiles = response["inferenceProfileSummaries"].as_array().unwrap();
        profiles.iter().map(|profile| profile["inferenceProfileId"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_have_no_gap_and_no_overlap() {
        let config = Config::default();
        let all = inference_profiles(&config, &parts("/inference-profiles?maxResults=1000")).unwrap();
        let mut collected: Vec<String> = Vec::new();
        let mut path = "/inference-profiles?maxResults=7".to_owned();
        loop {
            let page = inference_profiles(&config, &parts(&path)).unwrap();
            collected.extend(ids(&page).iter().map(|&id| id.to_owned()));
            let Some(token) = page["nextToken"].as_str() else { break };
            path = format!("/inference-profiles?maxResults=7&nextToken={token}");
        }
        assert_eq!(collected, ids(&all));
        assert!(collected.len() > 30);
        assert!(inference_profiles(&config, &parts("/inference-profiles?maxResults=0")).is_err());
        assert!(inference_profiles(&config, &parts("/inference-profiles?nextToken=x")).is_err());
    }

    #[test]
    fn region_lists_only_its_own_profiles() {
        let config = Config { region: "ap-southeast-2".into(), ..Config::default() };
        let listed =
            inference_profiles(&config, &parts("/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED"));
        let listed = listed.unwrap();
        assert!(ids(&listed).contains(&"au.anthropic.claude-sonnet-5"));
        assert!(!ids(&listed).iter().any(|id| id.starts_with("us.") || id.starts_with("eu.")));
    }

    #[test]
    fn application_profile_lists_its_models() {
        let config = Config::default();
        let (arn, _) = config.application_profiles.first_key_value().unwrap();
        let profile = inference_profile(&config, arn).unwrap();
        assert_eq!(profile["type"], "APPLICATION");
        let model = profile["models"][0]["modelArn"].as_str().unwrap();
        assert!(model.ends_with("foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0"));
        let application =
            inference_profiles(&config, &parts("/inference-profiles?type=APPLICATION")).unwrap();
        assert_eq!(ids(&application), ["abc123"]);
        assert_eq!(inference_profile(&config, "us.unknown").unwrap_err().status, 404);
    }

    #[test]
    fn foundation_models_are_filtered() {
        let config = Config::default();
        let all = |path: &str| {
            let response = foundation_models(&config, &parts(path)).unwrap();
            response["modelSummaries"].as_array().unwrap().clone()
        };
        let claude = all("/foundation-models?byProvider=anthropic");
        assert!(claude.iter().all(|model| model["providerName"] == "Anthropic"));
        assert!(claude.iter().any(|model| model["modelName"] == "Claude Opus 4.5"));
        assert!(all("/foundation-models?byOutputModality=EMBEDDING").is_empty());
        assert!(all("/foundation-models?byInferenceType=ON_DEMAND").len() < all("/foundation-models").len());
        assert!(foundation_models(&config, &parts("/foundation-models?byInferenceType=x")).is_err());
        assert!(foundation_model(&config, "anthropic.claude-opus-5").is_ok());
        assert_eq!(foundation_model(&config, "anthropic.claude-9").unwrap_err().status, 404);
    }
}
