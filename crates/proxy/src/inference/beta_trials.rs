//! Search for the beta that made Bedrock reject a request without naming it.
//!
//! `invalid beta flag` is about one of the betas. Those that Bedrock is not known to accept are left out one at a time,
//! then together: what is accepted then shows which one it was, and only that one is left out of later requests.

use std::collections::VecDeque;

use protocol::apis::UpstreamApi;
use protocol::translate::{UnsupportedFeature, suspect_betas};

/// Maximum number of betas that are left out one at a time, so that a request stays within its fallbacks.
const MAX_SINGLE_TRIALS: usize = 4;

/// The trials of one request.
#[derive(Debug, Default)]
pub(super) struct BetaTrials {
    trials: Vec<(UpstreamApi, Trial)>,
}

/// The trial of an upstream API.
#[derive(Debug)]
struct Trial {
    left_out: Vec<String>,
    /// What is left out next.
    next: VecDeque<Vec<String>>,
}

impl Trial {
    fn new(body: &[u8]) -> Self {
        let suspects = suspect_betas(body);
        let mut next = VecDeque::new();
        if suspects.len() <= MAX_SINGLE_TRIALS {
            next.extend(suspects.iter().map(|name| vec![name.clone()]));
        }
        if suspects.len() > 1 {
            next.push_back(suspects);
        }
        Self { left_out: Vec::new(), next }
    }
}

impl BetaTrials {
    /// Betas that requests to `api` go without for now.
    pub(super) fn left_out(&self, api: UpstreamApi) -> &[String] {
        let trial = self.trials.iter().find(|(of, _)| *of == api);
        trial.map_or(&[], |(_, trial)| &trial.left_out)
    }

    /// Chooses what is left out next, after `api` has rejected `body`; `false` when no suspect remains.
    pub(super) fn advance(&mut self, api: UpstreamApi, body: &[u8]) -> bool {
        let at = self.trials.iter().position(|(of, _)| *of == api).unwrap_or_else(|| {
            self.trials.push((api, Trial::new(body)));
            self.trials.len() - 1
        });
        let Some((_, trial)) = self.trials.get_mut(at) else { return false };
        trial.left_out = trial.next.pop_front().unwrap_or_default();
        !trial.left_out.is_empty()
    }

    /// What is known to be unsupported, now that `api` has accepted the request.
    pub(super) fn found(&self, api: UpstreamApi) -> Vec<UnsupportedFeature> {
        let left_out = self.left_out(api);
        // Of two betas, each was left out alone before.
        let feature = match left_out.len() {
            0..=2 => UnsupportedFeature::Beta,
            _ => UnsupportedFeature::UnprovenBeta,
        };
        left_out.iter().cloned().map(feature).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: UpstreamApi = UpstreamApi::InvokeModel;

    fn sets(names: &[&str]) -> Vec<Vec<String>> {
        let body = serde_json::json!({"anthropic_beta": names}).to_string();
        let mut trials = BetaTrials::default();
        let mut sets = Vec::new();
        while trials.advance(API, body.as_bytes()) {
            sets.push(trials.left_out(API).to_vec());
            assert!(trials.left_out(UpstreamApi::Converse).is_empty());
        }
        assert!(trials.left_out(API).is_empty());
        sets
    }

    #[test]
    fn suspects_are_left_out_alone_then_together() {
        assert!(sets(&["effort-2025-11-24"]).is_empty());
        assert_eq!(sets(&["a"]), [["a"]]);
        assert_eq!(sets(&["a", "effort-2025-11-24", "b"]), [vec!["a"], vec!["b"], vec!["a", "b"]]);
        assert_eq!(sets(&["a", "b", "c", "d"]).len(), 5);
        assert_eq!(sets(&["a", "b", "c", "d", "e"]), [["a", "b", "c", "d", "e"]]);
    }

    #[test]
    fn betas_of_larger_sets_are_unproven() {
        let body = br#"{"anthropic_beta":["a","b","c"]}"#;
        let mut trials = BetaTrials::default();
        assert!(trials.found(API).is_empty());
        trials.advance(API, body);
        assert_eq!(trials.found(API), [UnsupportedFeature::Beta("a".to_owned())]);
        for _ in 0..3 {
            trials.advance(API, body);
        }
        assert_eq!(trials.found(API)[2], UnsupportedFeature::UnprovenBeta("c".to_owned()));
    }
}
