//! Cache of the models of application inference profiles, with a single request per profile at a time.
//!
//! The requests to AWS are made elsewhere; their results decide the capabilities of the model.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pricing::{InferenceScope, prefixes_of};

/// How long a result is used before it is requested again: profiles rarely change.
const PROFILE_TTL: Duration = Duration::from_secs(3600);
/// Pause after a failure, so that missing permissions do not cause a request to AWS for each of ours.
const FAILURE_TTL: Duration = Duration::from_secs(60);
/// How long a request waits for the first result: the control plane usually responds within a second.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Age after which a pending request is taken for lost: a look-up takes some seconds at most.
const PENDING_TTL: Duration = Duration::from_secs(60);
/// Maximum number of cached ARNs. Clients choose them, so the cache needs a bound.
const MAX_PROFILES: usize = 1000;
/// Maximum number of pending requests, for the same reason.
const MAX_PENDING: usize = 8;

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct InferenceProfiles(Mutex<HashMap<String, Entry>>);

#[derive(Clone, Debug)]
enum Entry {
    /// A request is pending; `old` is the result before.
    Pending { since: Instant, done: CancellationToken, old: Option<ProfileModel> },
    /// The last result; `None` after a failure.
    Cached { model: Option<ProfileModel>, until: Instant },
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

/// State of an ARN in the cache.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// There is a result, or none to be had now.
    Cached,
    /// The caller has to request the model, and to [`InferenceProfiles::insert`] the result.
    Fetch {
        /// Cancelled when the result is inserted.
        done: CancellationToken,
        /// Deadline for waiting for it.
        until: Instant,
    },
    /// Another request is pending.
    Pending {
        /// Cancelled when the result is inserted.
        done: CancellationToken,
        /// Deadline for waiting for it.
        until: Instant,
    },
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
        self.with(|entries| match entries.get(arn)? {
            Entry::Cached { model, .. } => model.clone(),
            Entry::Pending { old, .. } => old.clone(),
        })
    }

    /// Looks up `arn`, and registers a pending request if the caller has to make one.
    #[must_use]
    pub(crate) fn lookup(&self, arn: &str) -> Lookup {
        let now = Instant::now();
        self.with(|entries| {
            match entries.get(arn) {
                Some(Entry::Cached { until, .. }) if now < *until => return Lookup::Cached,
                Some(Entry::Pending { since, done, .. }) if now < *since + PENDING_TTL => {
                    return Lookup::Pending { done: done.clone(), until: *since + LOOKUP_TIMEOUT };
                }
                _ => {}
            }
            let is_pending =
                |entry: &&Entry| matches!(entry, Entry::Pending { since, .. } if now < *since + PENDING_TTL);
            if entries.values().filter(is_pending).count() >= MAX_PENDING {
                return Lookup::Cached;
            }
            let old = match entries.remove(arn) {
                Some(Entry::Cached { model, .. }) => model,
                Some(Entry::Pending { old, .. }) => old,
                None => None,
            };
            make_room(entries);
            let done = CancellationToken::new();
            entries.insert(arn.to_owned(), Entry::Pending { since: now, done: done.clone(), old });
            Lookup::Fetch { done, until: now + LOOKUP_TIMEOUT }
        })
    }

    /// Inserts the result of a request for `arn`; after a failure (`None`) the old result is kept.
    pub(crate) fn insert(&self, arn: &str, model: Option<ProfileModel>) {
        let until = Instant::now() + if model.is_some() { PROFILE_TTL } else { FAILURE_TTL };
        let model = model.or_else(|| self.model(arn));
        let previous = self.with(|entries| {
            if !entries.contains_key(arn) {
                make_room(entries);
            }
            entries.insert(arn.to_owned(), Entry::Cached { model, until })
        });
        if let Some(Entry::Pending { done, .. }) = previous {
            done.cancel();
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Evicts the entry that expires first.
fn make_room(entries: &mut HashMap<String, Entry>) {
    if entries.len() < MAX_PROFILES {
        return;
    }
    let end = |entry: &Entry| match entry {
        Entry::Pending { since, .. } => *since + PENDING_TTL,
        Entry::Cached { until, .. } => *until,
    };
    let first = entries.iter().min_by_key(|(_, entry)| end(entry)).map(|(arn, _)| arn.clone());
    first.map(|arn| entries.remove(&arn));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn profile_is_fetched_once_per_hour() {
        let profiles = InferenceProfiles::default();
        let Lookup::Fetch { done, .. } = profiles.lookup("arn") else { panic!("the first lookup fetches") };
        assert!(matches!(profiles.lookup("arn"), Lookup::Pending { .. }));
        let model = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x";
        profiles.insert("arn", ProfileModel::from_arns([model].into_iter()));
        assert!(done.is_cancelled() && matches!(profiles.lookup("arn"), Lookup::Cached));
        assert_eq!(profiles.foundation_model("arn").as_deref(), Some("anthropic.claude-x"));
        tokio::time::advance(PROFILE_TTL).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
        assert!(
            profiles.foundation_model("arn").is_some(),
            "an expired result is used until there is a new one"
        );
        profiles.insert("arn", None);
        assert!(profiles.foundation_model("arn").is_some(), "and after a failure");
        tokio::time::advance(FAILURE_TTL).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
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

    #[tokio::test(start_paused = true)]
    async fn failed_and_lost_requests_are_repeated_later() {
        let profiles = InferenceProfiles::default();
        let _ = profiles.lookup("arn");
        profiles.insert("arn", None);
        assert!(matches!(profiles.lookup("arn"), Lookup::Cached));
        tokio::time::advance(FAILURE_TTL).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
        tokio::time::advance(PENDING_TTL).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn cache_and_pending_requests_are_bounded() {
        let profiles = InferenceProfiles::default();
        let pending =
            (0..MAX_PROFILES).filter(|n| matches!(profiles.lookup(&n.to_string()), Lookup::Fetch { .. }));
        assert_eq!(pending.count(), MAX_PENDING);
        for n in 0..2 * MAX_PROFILES {
            let arn = format!("arn{n}");
            let _ = profiles.lookup(&arn);
            profiles.insert(&arn, None);
        }
        assert!(profiles.with(|entries| entries.len()) <= MAX_PROFILES);
    }
}
