//! Names to models, with what AWS says about inference profiles that are opaque.

use std::sync::Arc;

use super::App;
use crate::catalog::{Lookup, ProfileModel, ResolveError, ResolvedModel};

impl App {
    /// Where `requested` leads for a caller whose own inference profile is `profile`. The profile takes the place of
    /// the model that it serves, never of another one, nor of a profile that the request names itself.
    ///
    /// # Errors
    /// As [`crate::catalog::Catalog::resolve`].
    pub async fn resolve_for(
        self: &Arc<Self>,
        requested: Option<&str>,
        profile: Option<&str>,
    ) -> Result<ResolvedModel, ResolveError> {
        let target = self.resolve(requested).await?;
        let Some(profile) = profile.filter(|_| !target.is_profile_requested()) else { return Ok(target) };
        match self.resolve(Some(profile)).await {
            Ok(own) if own.foundation_model.is_some() && own.foundation_model == target.foundation_model => {
                Ok(ResolvedModel { model_id: own.model_id, ..target })
            }
            Ok(_) => Ok(target),
            Err(error) => {
                tracing::warn!(profile, %error, "a caller's default inference profile leads nowhere; it is not used");
                Ok(target)
            }
        }
    }

    /// Where `requested` leads. The first request for an application inference profile asks AWS what is behind it
    /// and waits a moment for the answer; without one the profile is taken for what the catalog assumes.
    ///
    /// # Errors
    /// As [`crate::catalog::Catalog::resolve`].
    pub async fn resolve(self: &Arc<Self>, requested: Option<&str>) -> Result<ResolvedModel, ResolveError> {
        let target = self.catalog.resolve(requested)?;
        if !self.control.resolve_profiles || !target.is_application_profile() {
            return Ok(target);
        }
        if !target.is_unresolved_profile()
            && self.catalog.inference_profiles.foundation_model(&target.model_id).is_none()
        {
            // The operator's mapping says what it is.
            return Ok(target);
        }
        let (done, until) = match self.catalog.inference_profiles.lookup(&target.model_id) {
            Lookup::Cached => return Ok(target),
            Lookup::Pending { done, until } => (done, until),
            Lookup::Fetch { done, until } => {
                self.tasks.spawn(ask(Arc::clone(self), target.model_id.clone()));
                (done, until)
            }
        };
        if !target.is_unresolved_profile() {
            // Something is known, and an old answer is as good as ever until the new one is there.
            return Ok(target);
        }
        let _ = tokio::time::timeout_at(until, done.cancelled()).await;
        self.catalog.resolve(requested)
    }
}

async fn ask(app: Arc<App>, arn: String) {
    let answer = tokio::select! {
        answer = app.bedrock.inference_profile(&arn) => answer,
        () = app.tasks.stopping() => return,
    };
    let behind = match answer {
        Ok(profile) => ProfileModel::from_arns(profile.arns()),
        Err(failure) => {
            tracing::warn!(%failure, arn, "what is behind this inference profile could not be learnt; it is taken for a \
                Claude model unless AWS_BEDROCK_MODEL_MAPPINGS gives it a model's name");
            None
        }
    };
    tracing::debug!(arn, ?behind, "an inference profile was looked up");
    app.catalog.inference_profiles.insert(&arn, behind);
}
