//! Cache of the models of application inference profiles, which decide capabilities and prices.
//!
//! `resolution` looks them up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::pricing::{InferenceScope, prefixes_of};

/// How long a result is used before it is requested again: profiles rarely change.
const PROFILE_TTL: Duration = Duration::from_secs(3600);
/// Pause after a failure, so that missing permissions do not cause a request to AWS for each of ours.
const FAILURE_TTL: Duration = Duration::from_secs(60);
/// Maximum number of cached ARNs. Clients choose them, so the cache needs a bound.
const MAX_PROFILES: usize = 1000;
/// The cache.
#[derive(Debug, Default)]
pub(crate) struct InferenceProfiles(Mutex<HashMap<String, Entry>>);

/// The last result; `None` after failures only.
#[derive(Clone, Debug)]
struct Entry {
    model: Option<ProfileModel>,
    until: Instant,
}

/// Model of an inference profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileModel {
    /// Foundation-model id.
    pub(crate) foundation_model: String,
    /// Inference scope, as far as the regions of its models show it.
    pub(crate) scope: Option<InferenceScope>,
}

impl ProfileModel {
    /// Parses the ARNs of the models of a profile, one for each region; an ARN without a region is global.
    pub(crate) fn from_arns<'a>(arns: impl Iterator<Item = &'a str>) -> Option<Self> {
        let models: Vec<_> = arns.filter_map(|arn| arn.split_once(":foundation-model/")).collect();
        let base = models.first()?.1.to_owned();
        let regions: Vec<_> =
            models.iter().map(|(head, _)| head.split(':').nth(3).unwrap_or_default()).collect();
        Some(Self { foundation_model: base, scope: scope(&regions) })
    }
}

fn scope(regions: &[&str]) -> Option<InferenceScope> {
    if regions.contains(&"") {
        return Some(InferenceScope::Global);
    }
    let (first, others) = regions.split_first()?;
    if others.iter().all(|region| region == first) {
        return Some(InferenceScope::InRegion);
    }
    // The narrowest prefix that all of the regions share; the widest stands first.
    let prefixes = prefixes_of(first).iter().rev();
    let shared =
        prefixes.copied().find(|prefix| others.iter().all(|region| prefixes_of(region).contains(prefix)));
    shared.map(InferenceScope::Geographic)
}

impl InferenceProfiles {
    /// Foundation-model id of `arn`, if known. An expired result is used until there is a new one.
    #[must_use]
    pub(crate) fn foundation_model(&self, arn: &str) -> Option<String> {
        self.model(arn).map(|model| model.foundation_model)
    }

    /// Inference scope of `arn`, if known.
    #[must_use]
    pub(crate) fn scope(&self, arn: &str) -> Option<InferenceScope> {
        self.model(arn)?.scope
    }

    fn model(&self, arn: &str) -> Option<ProfileModel> {
        self.with(|entries| entries.get(arn)?.model.clone())
    }

    /// Whether the last result for `arn` is recent enough, so that no look-up is needed.
    #[must_use]
    pub(crate) fn is_fresh(&self, arn: &str) -> bool {
        self.with(|entries| entries.get(arn).is_some_and(|entry| Instant::now() < entry.until))
    }

    /// Inserts the result of a look-up of `arn`; after a failure (`None`) the old result is kept.
    pub(crate) fn insert(&self, arn: &str, model: Option<ProfileModel>) {
        let until = Instant::now() + if model.is_some() { PROFILE_TTL } else { FAILURE_TTL };
        self.with(|entries| {
            if !entries.contains_key(arn) {
                make_room(entries);
            }
            let model = model.or_else(|| entries.get(arn)?.model.clone());
            entries.insert(arn.to_owned(), Entry { model, until });
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Evicts a failed entry, else the one that expires first: names that users make up push no profile out.
fn make_room(entries: &mut HashMap<String, Entry>) {
    if entries.len() < MAX_PROFILES {
        return;
    }
    let first = entries.iter().min_by_key(|(_, entry)| (entry.model.is_some(), entry.until));
    let first = first.map(|(arn, _)| arn.clone());
    first.map(|arn| entries.remove(&arn));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claude() -> Option<ProfileModel> {
        let model = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x";
        ProfileModel::from_arns([model].into_iter())
    }

    #[tokio::test(start_paused = true)]
    async fn old_profile_is_used_until_replaced() {
        let profiles = InferenceProfiles::default();
        assert!(!profiles.is_fresh("arn") && profiles.foundation_model("arn").is_none());
        profiles.insert("arn", claude());
        assert!(profiles.is_fresh("arn"));
        assert_eq!(profiles.foundation_model("arn").as_deref(), Some("anthropic.claude-x"));
        tokio::time::advance(PROFILE_TTL).await;
        assert!(!profiles.is_fresh("arn") && profiles.foundation_model("arn").is_some());
        profiles.insert("arn", None);
        assert!(
            profiles.is_fresh("arn") && profiles.foundation_model("arn").is_some(),
            "and after a failure"
        );
        tokio::time::advance(FAILURE_TTL).await;
        assert!(!profiles.is_fresh("arn"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_push_no_known_profile_out() {
        let profiles = InferenceProfiles::default();
        profiles.insert("known", claude());
        tokio::time::advance(PROFILE_TTL - FAILURE_TTL / 2).await;
        for n in 0..2 * MAX_PROFILES {
            profiles.insert(&format!("arn{n}"), None);
        }
        assert!(profiles.is_fresh("known"), "although it expires first");
        assert_eq!(profiles.with(|entries| entries.len()), MAX_PROFILES);
    }

    #[test]
    fn regions_of_models_decide_the_scope() {
        let scope = |regions: &[&str]| {
            let arns: Vec<_> = regions
                .iter()
                .map(|region| format!("arn:aws:bedrock:{region}::foundation-model/amazon.nova-pro-v1:0"))
                .collect();
            ProfileModel::from_arns(arns.iter().map(String::as_str)).and_then(|model| model.scope)
        };
        for (regions, expected) in [
            (&["us-east-1"][..], Some(InferenceScope::InRegion)),
            (&["us-east-1", "us-east-2", "us-west-2"], Some(InferenceScope::Geographic("us"))),
            (&["ca-central-1", "us-east-1"], Some(InferenceScope::Geographic("us"))),
            (&["us-gov-west-1", "us-gov-east-1"], Some(InferenceScope::Geographic("us-gov"))),
            (&["eu-west-1", "eu-north-1"], Some(InferenceScope::Geographic("eu"))),
            (&["ap-northeast-1", "ap-northeast-3"], Some(InferenceScope::Geographic("jp"))),
            (&["ap-southeast-2", "ap-southeast-4"], Some(InferenceScope::Geographic("au"))),
            (&["ap-northeast-1", "ap-southeast-2"], Some(InferenceScope::Geographic("apac"))),
            (&["us-east-1", ""], Some(InferenceScope::Global)),
            (&["us-east-1", "eu-west-1"], None),
            (&[], None),
        ] {
            assert_eq!(scope(regions), expected, "{regions:?}");
        }
    }
}
