//! What models were seen to refuse: betas, members of a request, a whole route, an id.
//!
//! AWS's documentation is behind its models and ahead of its regions; the 400 of a moment ago is neither. A fact
//! is kept for a day and asked again after that. Not here: what to do about it (`http::call`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use protocol::translate::UnsupportedFeature;

use crate::catalog::Route;
use crate::clock::Clock;

/// How long a fact is believed.
const BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);
/// The most facts that are kept; the oldest go first.
const MOST: usize = 1000;

/// Facts about models.
#[derive(Debug)]
pub struct Learned {
    clock: Clock,
    facts: Mutex<HashMap<(Route, String, UnsupportedFeature), SystemTime>>,
}

impl Learned {
    /// Nothing yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, facts: Mutex::default() }
    }

    /// Remembers that `model_id` taught `lesson` on `route`. Returns whether that was new.
    pub fn remember(&self, route: Route, model_id: &str, lesson: UnsupportedFeature) -> bool {
        let now = self.clock.now();
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.len() >= MOST {
            let oldest = facts.iter().min_by_key(|(_, learned)| **learned).map(|(fact, _)| fact.clone());
            oldest.map(|fact| facts.remove(&fact));
        }
        let known = facts.insert((route, model_id.to_owned(), lesson), now);
        known.is_none_or(|learned| is_stale(learned, now))
    }

    /// What is known of `model_id` on `route`.
    #[must_use]
    pub fn about(&self, route: Route, model_id: &str) -> Vec<UnsupportedFeature> {
        let now = self.clock.now();
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if facts.is_empty() {
            return Vec::new();
        }
        facts.retain(|_, learned| !is_stale(*learned, now));
        let about = facts.keys().filter(|(of, model, _)| *of == route && model == model_id);
        about.map(|(_, _, lesson)| lesson.clone()).collect()
    }
}

fn is_stale(learned: SystemTime, now: SystemTime) -> bool {
    now.duration_since(learned).is_ok_and(|age| age > BELIEVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_believed_for_a_day_and_about_its_model_only() {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let learned = Learned::new(clock.clone());
        let lesson = UnsupportedFeature::Field("temperature".to_owned());
        assert!(learned.remember(Route::Invoke, "m", lesson.clone()));
        assert!(!learned.remember(Route::Invoke, "m", lesson.clone()), "the second time is nothing new");
        assert_eq!(learned.about(Route::Invoke, "m"), std::slice::from_ref(&lesson));
        assert!(
            learned.about(Route::Invoke, "other").is_empty()
                && learned.about(Route::Converse, "m").is_empty()
        );
        clock.advance(BELIEVED + Duration::from_secs(1));
        assert!(learned.about(Route::Invoke, "m").is_empty());
        assert!(learned.remember(Route::Invoke, "m", lesson), "and can be learnt anew");
    }

    #[test]
    fn the_number_of_facts_is_bounded() {
        let learned = Learned::new(Clock::manual(SystemTime::UNIX_EPOCH));
        for n in 0..2 * MOST {
            learned.remember(Route::Converse, &n.to_string(), UnsupportedFeature::AllBetas);
        }
        assert_eq!(learned.facts.lock().unwrap().len(), MOST);
    }
}
