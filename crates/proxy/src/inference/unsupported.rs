//! Features that models were seen not to support: betas, fields of a request, tool streaming, on-demand throughput.
//!
//! AWS's documentation lacks new models and lists features that some regions lack, so only a 400 shows what a model
//! supports. Errors of AWS repeat text of the client, so one caller's error concerns this caller alone: a feature is left
//! out of all requests when two callers have received the error. An entry is kept for a day, then the feature is sent again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use protocol::apis::UpstreamApi;
use protocol::translate::UnsupportedFeature;

use crate::clock::Clock;

/// AWS adds features to models within days, not minutes.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries kept. Models times features in use are some hundred.
const MAX_ENTRIES: usize = 1000;

/// A bounded cache of unsupported features, by upstream API and model.
#[derive(Debug)]
pub(crate) struct UnsupportedFeatures {
    clock: Clock,
    /// The last time that the error was met.
    entries: Mutex<HashMap<Key, SystemTime>>,
}

type Key = (UpstreamApi, String, UnsupportedFeature, Met);

/// Who met the error of a feature.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Met {
    /// This caller.
    Caller(String),
    /// Two callers: it is believed for all.
    TwoCallers,
}

impl Met {
    /// Whether it changes requests of `caller`.
    fn concerns(&self, caller: &str) -> bool {
        match self {
            Self::TwoCallers => true,
            Self::Caller(name) => name == caller,
        }
    }
}

impl UnsupportedFeatures {
    /// An empty cache.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    /// Records that a request of `caller` was rejected because `model_id` does not support `feature` by `api`. Returns
    /// whether that was new for the caller.
    pub(super) fn insert(
        &self,
        api: UpstreamApi,
        model_id: &str,
        feature: &UnsupportedFeature,
        caller: &str,
    ) -> bool {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, seen_at| !is_expired(*seen_at, now));
        let key = |met: Met| (api, model_id.to_owned(), feature.clone(), met);
        let is_met_by_other = entries.keys().any(|(of, model, known, met)| {
            (*of, model.as_str(), known) == (api, model_id, feature)
                && matches!(met, Met::Caller(other) if other != caller)
        });
        if is_met_by_other && feature.is_same_for_all_callers() {
            insert(&mut entries, key(Met::TwoCallers), now);
        }
        insert(&mut entries, key(Met::Caller(caller.to_owned())), now)
    }

    /// What requests of `caller` to `model_id` by `api` should do without.
    pub(super) fn get(&self, api: UpstreamApi, model_id: &str, caller: &str) -> Vec<UnsupportedFeature> {
        let now = self.clock.now();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for ((of, model, feature, met), seen_at) in entries.iter() {
            let is_valid =
                *of == api && model == model_id && met.concerns(caller) && !is_expired(*seen_at, now);
            if is_valid && !found.contains(feature) {
                found.push(feature.clone());
            }
        }
        found
    }

    /// Fingerprints of the schemas that requests of `caller` to `model_id` should do without. The grammar is the
    /// model's, so the upstream API makes no difference.
    pub(super) fn schemas(&self, model_id: &str, caller: &str) -> Vec<u64> {
        let now = self.clock.now();
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = |((_, model, feature, met), seen_at): (&Key, &SystemTime)| match feature {
            UnsupportedFeature::Schema(fingerprint)
                if model == model_id && met.concerns(caller) && !is_expired(*seen_at, now) =>
            {
                Some(*fingerprint)
            }
            _ => None,
        };
        entries.iter().filter_map(schema).collect()
    }
}

/// Inserts an entry, if there is room after the oldest entry of a single caller. Returns whether it is new.
fn insert(entries: &mut HashMap<Key, SystemTime>, key: Key, now: SystemTime) -> bool {
    if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
        // Entries that two callers met are removed last: invented fields of one caller cannot displace them.
        let age = |(key, seen_at): &(&Key, &SystemTime)| (key.3 == Met::TwoCallers, **seen_at);
        let oldest = entries.iter().min_by_key(age).map(|(key, _)| key.clone());
        oldest.map(|key| entries.remove(&key));
    }
    entries.insert(key, now).is_none()
}

fn is_expired(seen_at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(seen_at).is_ok_and(|age| age > TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: UpstreamApi = UpstreamApi::InvokeModel;

    fn temperature() -> UnsupportedFeature {
        UnsupportedFeature::Field("temperature".to_owned())
    }

    #[test]
    fn features_expire_after_a_day_and_concern_one_model() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let features = UnsupportedFeatures::new(clock.clone());
        assert!(features.insert(API, "m", &temperature(), "ana"));
        assert!(!features.insert(API, "m", &temperature(), "ana"), "not new");
        assert_eq!(features.get(API, "m", "ana"), [temperature()]);
        assert!(features.get(API, "other", "ana").is_empty());
        assert!(features.get(UpstreamApi::Converse, "m", "ana").is_empty());
        clock.advance(TTL + Duration::from_secs(1));
        assert!(features.get(API, "m", "ana").is_empty());
        assert!(features.insert(API, "m", &temperature(), "ana"), "new again");
    }

    #[test]
    fn feature_concerns_all_after_two_callers_met_it() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let features = UnsupportedFeatures::new(clock.clone());
        for _ in 0..3 {
            features.insert(API, "m", &temperature(), "ana");
        }
        assert!(features.get(API, "m", "ben").is_empty(), "one caller, however often");
        clock.advance(TTL / 2);
        features.insert(API, "m", &temperature(), "ben");
        for caller in ["ana", "ben", "eve"] {
            assert_eq!(features.get(API, "m", caller), [temperature()], "{caller}");
        }
        clock.advance(TTL / 2 + Duration::from_secs(1));
        assert_eq!(features.get(API, "m", "eve"), [temperature()], "half a day after the second");
        clock.advance(TTL / 2);
        assert!(features.get(API, "m", "eve").is_empty());
        features.insert(API, "m", &temperature(), "eve");
        assert!(features.get(API, "m", "ben").is_empty(), "what ana met is forgotten");
    }

    #[test]
    fn unnamed_betas_concern_their_callers_only() {
        let features = UnsupportedFeatures::new(Clock::manual(SystemTime::UNIX_EPOCH));
        for caller in ["ana", "ben", "eve"] {
            features.insert(API, "m", &UnsupportedFeature::AllBetas, caller);
        }
        assert_eq!(features.get(API, "m", "ana"), [UnsupportedFeature::AllBetas]);
        assert!(features.get(API, "m", "tom").is_empty());
    }

    #[test]
    fn number_of_entries_is_bounded() {
        let features = UnsupportedFeatures::new(Clock::manual(SystemTime::UNIX_EPOCH));
        for caller in ["ana", "ben"] {
            features.insert(API, "m", &temperature(), caller);
        }
        for n in 0..2 * MAX_ENTRIES {
            features.insert(API, "m", &UnsupportedFeature::Field(n.to_string()), "ana");
        }
        assert_eq!(features.entries.lock().unwrap().len(), MAX_ENTRIES);
        assert_eq!(features.get(API, "m", "eve"), [temperature()], "what two callers met stays");
    }
}
