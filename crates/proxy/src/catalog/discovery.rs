//! Lists the models that AWS offers, at start and every hour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Catalog, DiscoveredModel};
use crate::bedrock::{Bedrock, FoundationModel, InferenceProfile, UpstreamError};
use crate::config::PREFIXES;
use crate::tasks::Tasks;

/// AWS adds models a few times a month.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// Pause after a failure: an operator repairs permissions within minutes.
const RETRY_INTERVAL: Duration = Duration::from_secs(300);

/// Lists the models until requests end.
pub(crate) async fn run(catalog: Arc<Catalog>, bedrock: Arc<Bedrock>, tasks: Tasks) {
    loop {
        let discovered = tokio::select! {
            discovered = discover(&catalog, &bedrock) => discovered,
            () = tasks.shutdown_begun() => return,
        };
        let pause = match discovered {
            Ok(models) => {
                tracing::info!(models, "models listed");
                REFRESH_INTERVAL
            }
            Err(error) => {
                tracing::warn!(%error, "models cannot be listed; the last list counts");
                RETRY_INTERVAL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tasks.shutdown_begun() => return,
        }
    }
}

async fn discover(catalog: &Catalog, bedrock: &Bedrock) -> Result<usize, UpstreamError> {
    let (models, profiles) = tokio::try_join!(bedrock.foundation_models(), bedrock.inference_profiles())?;
    let found = offered(models, &profiles);
    let count = found.len();
    if count > 0 {
        catalog.set_discovered(found);
    }
    Ok(count)
}

/// The text models that can be called without provisioned throughput.
fn offered(models: Vec<FoundationModel>, profiles: &[InferenceProfile]) -> Vec<DiscoveredModel> {
    let mut prefixes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for profile in profiles {
        let split = profile.inference_profile_id.split_once('.');
        if let Some((prefix, id)) = split.filter(|(prefix, _)| PREFIXES.contains(prefix)) {
            prefixes.entry(id).or_default().push(prefix.to_owned());
        }
    }
    let has = |list: &[String], word: &str| list.iter().any(|item| item == word);
    let models = models.into_iter().filter(|model| has(&model.output_modalities, "TEXT"));
    let found = models.map(|model| DiscoveredModel {
        prefixes: prefixes.get(model.model_id.as_str()).cloned().unwrap_or_default(),
        on_demand: has(&model.inference_types_supported, "ON_DEMAND"),
        legacy: model.model_lifecycle.status.as_deref() == Some("LEGACY"),
        id: model.model_id,
        display_name: model.model_name,
        start_of_life: model.model_lifecycle.start_of_life_time,
        end_of_life: model.model_lifecycle.end_of_life_time,
    });
    found.filter(|found| found.on_demand || !found.prefixes.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_callable_text_models_are_offered() {
        let models = r#"[
            {"modelId":"anthropic.claude-x","outputModalities":["TEXT"],"inferenceTypesSupported":["INFERENCE_PROFILE"]},
            {"modelId":"amazon.nova-x","outputModalities":["TEXT"],"inferenceTypesSupported":["ON_DEMAND"],
             "modelLifecycle":{"status":"LEGACY","endOfLifeTime":"2027-01-01T00:00:00Z"}},
            {"modelId":"amazon.nova-x:48k","outputModalities":["TEXT"],"inferenceTypesSupported":["PROVISIONED"]},
            {"modelId":"acme.paint","outputModalities":["IMAGE"],"inferenceTypesSupported":["ON_DEMAND"]}]"#;
        let profiles = r#"[{"inferenceProfileId":"us.anthropic.claude-x"},{"inferenceProfileId":"global.anthropic.claude-x"},
            {"inferenceProfileId":"mars.anthropic.claude-x"},{"inferenceProfileId":"nothing"}]"#;
        let profiles: Vec<InferenceProfile> = serde_json::from_str(profiles).unwrap();
        let found = offered(serde_json::from_str(models).unwrap(), &profiles);
        let ids: Vec<_> = found.iter().map(|found| found.id.as_str()).collect();
        assert_eq!(ids, ["anthropic.claude-x", "amazon.nova-x"]);
        assert_eq!(found[0].prefixes, ["us", "global"]);
        assert!(found[1].legacy && found[1].end_of_life.is_some());
    }
}
