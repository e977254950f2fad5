//! Model names to models, with what AWS reports about application inference profiles.

use std::sync::Arc;

use super::{Catalog, Lookup, ProfileModel, ResolveError, ResolvedModel};
use crate::bedrock::Bedrock;
use crate::tasks::Tasks;

/// Resolves model names. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ModelResolver {
    catalog: Arc<Catalog>,
    bedrock: Arc<Bedrock>,
    tasks: Tasks,
    /// `AWS_BEDROCK_RESOLVE_PROFILES`.
    looks_up_profiles: bool,
}

impl ModelResolver {
    /// A resolver over `catalog`, which looks profiles up at AWS if `looks_up_profiles`.
    #[must_use]
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        bedrock: Arc<Bedrock>,
        tasks: Tasks,
        looks_up_profiles: bool,
    ) -> Self {
        Self { catalog, bedrock, tasks, looks_up_profiles }
    }

    /// The model that a caller with the inference profile `profile` means by `requested`. The profile replaces the
    /// model that it serves, never another one, nor a profile that the request names itself.
    ///
    /// # Errors
    /// As [`Catalog::resolve`].
    pub(crate) async fn resolve_for(
        &self,
        requested: Option<&str>,
        profile: Option<&str>,
    ) -> Result<ResolvedModel, ResolveError> {
        let model = self.resolve(requested).await?;
        let Some(profile) = profile.filter(|_| !model.is_profile_requested()) else { return Ok(model) };
        match self.resolve(Some(profile)).await {
            Ok(own) if own.foundation_model.is_some() && own.foundation_model == model.foundation_model => {
                Ok(ResolvedModel { model_id: own.model_id, ..model })
            }
            Ok(_) => Ok(model),
            Err(error) => {
                tracing::warn!(profile, %error, "default inference profile of a caller is invalid and not used");
                Ok(model)
            }
        }
    }

    /// The model that `requested` names. The first request for an application inference profile looks its model up
    /// and waits a moment; without a response the catalog's assumption counts.
    ///
    /// # Errors
    /// As [`Catalog::resolve`].
    pub(crate) async fn resolve(&self, requested: Option<&str>) -> Result<ResolvedModel, ResolveError> {
        let model = self.catalog.resolve(requested)?;
        let profiles = &self.catalog.inference_profiles;
        if !self.looks_up_profiles || !model.is_application_profile() {
            return Ok(model);
        }
        if !model.is_unresolved_profile() && profiles.foundation_model(&model.model_id).is_none() {
            // The operator's mapping names its model.
            return Ok(model);
        }
        let (done, until) = match profiles.lookup(&model.model_id) {
            Lookup::Cached => return Ok(model),
            Lookup::Pending { done, until } => (done, until),
            Lookup::Fetch { done, until } => {
                self.tasks.spawn(fetch(self.clone(), model.model_id.clone()));
                (done, until)
            }
        };
        if !model.is_unresolved_profile() {
            // An old entry is as good as ever until the new one is there.
            return Ok(model);
        }
        let _ = tokio::time::timeout_at(until, done.cancelled()).await;
        self.catalog.resolve(requested)
    }
}

async fn fetch(resolver: ModelResolver, arn: String) {
    let response = tokio::select! {
        response = resolver.bedrock.inference_profile(&arn) => response,
        () = resolver.tasks.shutdown_begun() => return,
    };
    let model = match response {
        Ok(profile) => ProfileModel::from_arns(profile.arns()),
        Err(error) => {
            tracing::warn!(%error, arn, "model of an inference profile cannot be looked up; it is taken for a Claude \
                model unless AWS_BEDROCK_MODEL_MAPPINGS names its model");
            None
        }
    };
    tracing::debug!(arn, ?model, "inference profile looked up");
    resolver.catalog.inference_profiles.insert(&arn, model);
}
