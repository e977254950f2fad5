//! Features that models were seen not to support: betas, fields of a request, tool streaming, on-demand throughput.
//!
//! AWS's documentation is behind its models and ahead of its regions; a 400 is neither. An entry is kept for a day, then
//! the feature is sent again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use protocol::apis::UpstreamApi;
use protocol::translate::UnsupportedFeature;

use crate::clock::Clock;

/// AWS adds features to models within days, not minutes.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Entries kept; the oldest are evicted first. Models times features in use are some hundred.
const MAX_ENTRIES: usize = 1000;

/// A bounded cache of unsupported features, by upstream API and model.
#[derive(Debug)]
pub(crate) struct UnsupportedFeatures {
    clock: Clock,
    entries: Mutex<HashMap<(UpstreamApi, String, UnsupportedFeature), SystemTime>>,
}

impl UnsupportedFeatures {
    /// An empty cache.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    /// Records that `model_id` does not support `feature` by `api`. Returns whether that was new.
    pub(super) fn insert(&self, api: UpstreamApi, model_id: &str, feature: UnsupportedFeature) -> bool {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            let oldest = entries.iter().min_by_key(|(_, seen_at)| **seen_at).map(|(key, _)| key.clone());
            oldest.map(|key| entries.remove(&key));
        }
        let previous = entries.insert((api, model_id.to_owned(), feature), now);
        previous.is_none_or(|seen_at| is_expired(seen_at, now))
    }

    /// What `model_id` does not support by `api`.
    pub(super) fn get(&self, api: UpstreamApi, model_id: &str) -> Vec<UnsupportedFeature> {
        let now = self.clock.now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.is_empty() {
            return Vec::new();
        }
        entries.retain(|_, seen_at| !is_expired(*seen_at, now));
        let found = entries.keys().filter(|(of, model, _)| *of == api && model == model_id);
        found.map(|(_, _, feature)| feature.clone()).collect()
    }
}

fn is_expired(seen_at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(seen_at).is_ok_and(|age| age > TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_expire_after_a_day_and_concern_one_model() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let features = UnsupportedFeatures::new(clock.clone());
        let feature = UnsupportedFeature::Field("temperature".to_owned());
        assert!(features.insert(UpstreamApi::InvokeModel, "m", feature.clone()));
        assert!(!features.insert(UpstreamApi::InvokeModel, "m", feature.clone()), "not new");
        assert_eq!(features.get(UpstreamApi::InvokeModel, "m"), std::slice::from_ref(&feature));
        assert!(features.get(UpstreamApi::InvokeModel, "other").is_empty());
        assert!(features.get(UpstreamApi::Converse, "m").is_empty());
        clock.advance(TTL + Duration::from_secs(1));
        assert!(features.get(UpstreamApi::InvokeModel, "m").is_empty());
        assert!(features.insert(UpstreamApi::InvokeModel, "m", feature), "new again");
    }

    #[test]
    fn number_of_entries_is_bounded() {
        let features = UnsupportedFeatures::new(Clock::manual(SystemTime::UNIX_EPOCH));
        for n in 0..2 * MAX_ENTRIES {
            features.insert(UpstreamApi::Converse, &n.to_string(), UnsupportedFeature::AllBetas);
        }
        assert_eq!(features.entries.lock().unwrap().len(), MAX_ENTRIES);
    }
}
