//! Model names to models, with what AWS reports about application inference profiles.

use std::sync::Arc;
use std::time::Duration;

use super::{Catalog, ProfileModel, ResolveError, ResolvedModel};
use crate::bedrock::Bedrock;
use crate::single_flight::{FlightError, FlightLimits, SingleFlight};
use crate::tasks::Tasks;

/// How long a request waits for the first result: the control plane usually responds within a second.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);
/// Bounds of the look-ups. Users choose the names, so each user has a small part of all.
const LOOKUP_LIMITS: FlightLimits = FlightLimits {
    timeout: Duration::from_secs(10),
    max_attempts: 32,
    max_attempts_per_owner: 2,
    max_waiters: 1000,
};

/// Resolves model names. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ModelResolver {
    catalog: Arc<Catalog>,
    bedrock: Arc<Bedrock>,
    lookups: Arc<SingleFlight<String, (), LookupError>>,
}

/// Who names a model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NamedBy<'a> {
    /// The user, whose look-ups are bounded; `None` for the operator, and without authentication.
    pub(crate) user_id: Option<&'a str>,
    /// The default inference profile of the user.
    pub(crate) profile: Option<&'a str>,
}

/// Why the model of an inference profile could not be looked up.
#[derive(Clone, Copy, Debug)]
enum LookupError {
    /// AWS throttles look-ups, or too many wait: the profile may well exist.
    Busy,
    /// AWS has no model for it, does not allow the look-up, or does not respond.
    Failed,
}

impl From<FlightError> for LookupError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::TimedOut => Self::Failed,
            FlightError::Busy | FlightError::Aborted => Self::Busy,
        }
    }
}

impl ModelResolver {
    /// A resolver over `catalog`, which looks profiles up at AWS. `tasks` are those that end after the last request.
    #[must_use]
    pub(crate) fn new(catalog: Arc<Catalog>, bedrock: Arc<Bedrock>, tasks: &Tasks) -> Self {
        let lookups = Arc::new(SingleFlight::new("inference_profile", LOOKUP_LIMITS, tasks));
        Self { catalog, bedrock, lookups }
    }

    /// The model that a user with a default inference profile means by `requested`. The profile replaces the
    /// model that it serves, never another one, nor a profile that the request names itself.
    ///
    /// # Errors
    /// As [`ModelResolver::resolve`].
    pub(crate) async fn resolve_for(
        &self,
        requested: Option<&str>,
        by: NamedBy<'_>,
    ) -> Result<ResolvedModel, ResolveError> {
        let model = self.resolve(requested, by).await?;
        let Some(profile) = by.profile.filter(|_| !model.is_profile_requested()) else { return Ok(model) };
        match self.resolve(Some(profile), by).await {
            Ok(own) if own.foundation_model.is_some() && own.foundation_model == model.foundation_model => {
                Ok(ResolvedModel { model_id: own.model_id, ..model })
            }
            Ok(_) => Ok(model),
            // The price may be another one.
            Err(error @ ResolveError::LookupBusy) => Err(error),
            Err(error) => {
                tracing::warn!(profile, %error, "default inference profile of a caller is invalid and not used");
                Ok(model)
            }
        }
    }

    /// The model that `requested` names, for a request that costs nothing: a profile is looked up only if the operator or
    /// the user's row names it.
    ///
    /// # Errors
    /// As [`ModelResolver::resolve`].
    pub(crate) async fn resolve_free(
        &self,
        requested: Option<&str>,
        by: NamedBy<'_>,
    ) -> Result<ResolvedModel, ResolveError> {
        let model = self.catalog.resolve(requested)?;
        let id = model.model_id.as_str();
        if self.catalog.is_named_by_operator(id) || by.profile == Some(id) {
            return self.resolve(requested, by).await;
        }
        Ok(model)
    }

    /// The model that `requested` names. The first request for an application inference profile looks its model up
    /// and waits a moment. If AWS has none, or does not respond, the catalog's assumption counts.
    ///
    /// # Errors
    /// As [`Catalog::resolve`]; when too many other profiles are being looked up.
    pub(crate) async fn resolve(
        &self,
        requested: Option<&str>,
        by: NamedBy<'_>,
    ) -> Result<ResolvedModel, ResolveError> {
        let model = self.catalog.resolve(requested)?;
        let arn = &model.model_id;
        let profiles = &self.catalog.inference_profiles;
        if !model.is_application_profile() || profiles.is_fresh(arn) {
            return Ok(model);
        }
        if !model.is_unresolved_profile() && profiles.foundation_model(arn).is_none() {
            // The operator's mapping names its model.
            return Ok(model);
        }
        if self.bedrock.is_foreign_account(arn) {
            return Ok(model);
        }
        let attempt = || fetch(self.clone(), arn.clone());
        if !model.is_unresolved_profile() {
            // An old entry is as good as ever until the new one is there.
            self.lookups.start(arn, attempt);
            return Ok(model);
        }
        let lookup = self.lookups.run(arn.clone(), by.user_id, attempt);
        match tokio::time::timeout(LOOKUP_WAIT, lookup).await {
            Ok(Ok(()) | Err(LookupError::Failed)) => {}
            // The wait is over for later requests, too, until there is a result.
            Err(_) if self.lookups.is_in_flight(arn) => profiles.insert(arn, None),
            Ok(Err(LookupError::Busy)) | Err(_) => return Err(ResolveError::LookupBusy),
        }
        self.catalog.resolve(requested)
    }
}

async fn fetch(resolver: ModelResolver, arn: String) -> Result<(), LookupError> {
    let profiles = &resolver.catalog.inference_profiles;
    let error = match resolver.bedrock.inference_profile(&arn).await {
        Ok(profile) => {
            let model = ProfileModel::from_arns(profile.arns());
            tracing::debug!(arn, ?model, "inference profile looked up");
            profiles.insert(&arn, model);
            return Ok(());
        }
        Err(error) => error,
    };
    if error.is_overload() {
        tracing::warn!(%error, arn, "AWS throttles look-ups of inference profiles");
        return Err(LookupError::Busy);
    }
    tracing::warn!(%error, arn, "model look-up of an inference profile failed; it is treated as a Claude model. \
        AWS_BEDROCK_MODEL_MAPPINGS can set its model");
    profiles.insert(&arn, None);
    Err(LookupError::Failed)
}
