//! Which model hides behind an application inference profile: remembered for an hour, asked once at a time.
//!
//! Asking is not done here (`app`); what an answer changes is what the model is taken to take.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pricing::prefixes_of;
use crate::config::IN_REGION;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_secs(3600);
/// After a failure, how long nothing is asked.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a request may wait for the first answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A question that is older was forgotten by whoever asked it.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The most ARNs that are remembered. Clients choose them, so there has to be a bound.
const MOST: usize = 1000;
/// The most questions at a time, for the same reason.
const MOST_QUESTIONS: usize = 8;

/// The answers so far.
#[derive(Debug, Default)]
pub struct InferenceProfiles(Mutex<HashMap<String, Entry>>);

#[derive(Clone, Debug)]
enum Entry {
    /// `old`: what was known before.
    Asking { since: Instant, done: CancellationToken, old: Option<ProfileModel> },
    /// `None`: there was no answer.
    Answered { behind: Option<ProfileModel>, until: Instant },
}

/// What is behind an inference profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileModel {
    /// The foundation-model id.
    pub foundation_model: String,
    /// Where its requests may go, as far as its models tell: the prefix that AWS's own profile for the same regions
    /// has, or `bare` for one region.
    pub way: Option<&'static str>,
}

impl ProfileModel {
    /// Reads the ARNs of the models that a profile leads to, one for each region; one without a region leads anywhere.
    pub fn from_arns<'a>(arns: impl Iterator<Item = &'a str>) -> Option<Self> {
        let models: Vec<_> = arns.filter_map(|arn| arn.split_once(":foundation-model/")).collect();
        let base = models.first()?.1.to_owned();
        let regions: Vec<_> =
            models.iter().map(|(head, _)| head.split(':').nth(3).unwrap_or_default()).collect();
        Some(Self { foundation_model: base, way: way(&regions) })
    }
}

fn way(regions: &[&str]) -> Option<&'static str> {
    if regions.contains(&"") {
        return Some("global");
    }
    let (first, others) = regions.split_first()?;
    if others.iter().all(|region| region == first) {
        return Some(BARE);
    }
    // The narrowest prefix that all of the regions share; the widest stands first.
    let prefixes = prefixes_of(first).iter().rev();
    prefixes.copied().find(|prefix| others.iter().all(|region| prefixes_of(region).contains(prefix)))
}

/// What to do about an ARN.
#[derive(Debug)]
pub enum Lookup {
    /// Nothing: what is known is all there is for now.
    Cached,
    /// Ask, and [`InferenceProfiles::insert`] the answer; wait for `done` until then.
    Fetch {
        /// Cancelled when the answer is there.
        done: CancellationToken,
        /// How long a request may wait for it.
        until: Instant,
    },
    /// Somebody asks already.
    Pending {
        /// Cancelled when the answer is there.
        done: CancellationToken,
        /// How long a request may wait for it.
        until: Instant,
    },
}

impl InferenceProfiles {
    /// The foundation-model id behind `arn`, if it is known. One that has grown old serves until there is a newer.
    #[must_use]
    pub fn foundation_model(&self, arn: &str) -> Option<String> {
        self.behind(arn).map(|behind| behind.foundation_model)
    }

    /// Where requests to `arn` may go, if it is known: a prefix of profiles, or `bare`.
    #[must_use]
    pub fn way(&self, arn: &str) -> Option<String> {
        self.behind(arn)?.way.map(str::to_owned)
    }

    fn behind(&self, arn: &str) -> Option<ProfileModel> {
        self.with(|entries| match entries.get(arn)? {
            Entry::Answered { behind, .. } => behind.clone(),
            Entry::Asking { old, .. } => old.clone(),
        })
    }

    /// Whether `arn` has to be asked about.
    #[must_use]
    pub fn lookup(&self, arn: &str) -> Lookup {
        let now = Instant::now();
        self.with(|entries| {
            match entries.get(arn) {
                Some(Entry::Answered { until, .. }) if now < *until => return Lookup::Cached,
                Some(Entry::Asking { since, done, .. }) if now < *since + FORGOTTEN => {
                    return Lookup::Pending { done: done.clone(), until: *since + PATIENCE };
                }
                _ => {}
            }
            let asking =
                |entry: &&Entry| matches!(entry, Entry::Asking { since, .. } if now < *since + FORGOTTEN);
            if entries.values().filter(asking).count() >= MOST_QUESTIONS {
                return Lookup::Cached;
            }
            let old = match entries.remove(arn) {
                Some(Entry::Answered { behind, .. }) => behind,
                Some(Entry::Asking { old, .. }) => old,
                None => None,
            };
            make_room(entries);
            let done = CancellationToken::new();
            entries.insert(arn.to_owned(), Entry::Asking { since: now, done: done.clone(), old });
            Lookup::Fetch { done, until: now + PATIENCE }
        })
    }

    /// Takes the answer about `arn`; `None` when there is none, and then an old one stays.
    pub fn insert(&self, arn: &str, behind: Option<ProfileModel>) {
        let until = Instant::now() + if behind.is_some() { BELIEVED } else { PAUSE };
        let behind = behind.or_else(|| self.behind(arn));
        let before = self.with(|entries| {
            if !entries.contains_key(arn) {
                make_room(entries);
            }
            entries.insert(arn.to_owned(), Entry::Answered { behind, until })
        });
        if let Some(Entry::Asking { done, .. }) = before {
            done.cancel();
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Forgets what ends first.
fn make_room(entries: &mut HashMap<String, Entry>) {
    if entries.len() < MOST {
        return;
    }
    let end = |entry: &Entry| match entry {
        Entry::Asking { since, .. } => *since + FORGOTTEN,
        Entry::Answered { until, .. } => *until,
    };
    let first = entries.iter().min_by_key(|(_, entry)| end(entry)).map(|(arn, _)| arn.clone());
    first.map(|arn| entries.remove(&arn));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_arn_is_asked_about_once_and_again_after_an_hour() {
        let profiles = InferenceProfiles::default();
        let Lookup::Fetch { done, .. } = profiles.lookup("arn") else { panic!("the first one asks") };
        assert!(matches!(profiles.lookup("arn"), Lookup::Pending { .. }));
        let model = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x";
        profiles.insert("arn", ProfileModel::from_arns([model].into_iter()));
        assert!(done.is_cancelled() && matches!(profiles.lookup("arn"), Lookup::Cached));
        assert_eq!(profiles.foundation_model("arn").as_deref(), Some("anthropic.claude-x"));
        tokio::time::advance(BELIEVED).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
        assert!(profiles.foundation_model("arn").is_some(), "the old answer serves until there is a new one");
        profiles.insert("arn", None);
        assert!(profiles.foundation_model("arn").is_some(), "and after that if there is none");
        tokio::time::advance(PAUSE).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
    }

    #[test]
    fn the_regions_of_its_models_tell_where_a_profile_goes() {
        let way = |regions: &[&str]| {
            let arns: Vec<_> = regions
                .iter()
                .map(|region| format!("arn:aws:bedrock:{region}::foundation-model/amazon.nova-pro-v1:0"))
                .collect();
            ProfileModel::from_arns(arns.iter().map(String::as_str)).and_then(|behind| behind.way)
        };
        for (regions, expected) in [
            (&["us-east-1"][..], Some("bare")),
            (&["us-east-1", "us-east-2", "us-west-2"], Some("us")),
            (&["ca-central-1", "us-east-1"], Some("us")),
            (&["us-gov-west-1", "us-gov-east-1"], Some("us-gov")),
            (&["eu-west-1", "eu-north-1"], Some("eu")),
            (&["ap-northeast-1", "ap-northeast-3"], Some("jp")),
            (&["ap-southeast-2", "ap-southeast-4"], Some("au")),
            (&["ap-northeast-1", "ap-southeast-2"], Some("apac")),
            (&["us-east-1", ""], Some("global")),
            (&["us-east-1", "eu-west-1"], None),
            (&[], None),
        ] {
            assert_eq!(way(regions), expected, "{regions:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_left_alone_for_a_minute_and_a_lost_question_is_asked_again() {
        let profiles = InferenceProfiles::default();
        let _ = profiles.lookup("arn");
        profiles.insert("arn", None);
        assert!(matches!(profiles.lookup("arn"), Lookup::Cached));
        tokio::time::advance(PAUSE).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
        tokio::time::advance(FORGOTTEN).await;
        assert!(matches!(profiles.lookup("arn"), Lookup::Fetch { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn neither_answers_nor_questions_grow_without_end() {
        let profiles = InferenceProfiles::default();
        let questions = (0..MOST).filter(|n| matches!(profiles.lookup(&n.to_string()), Lookup::Fetch { .. }));
        assert_eq!(questions.count(), MOST_QUESTIONS);
        for n in 0..2 * MOST {
            let arn = format!("arn{n}");
            let _ = profiles.lookup(&arn);
            profiles.insert(&arn, None);
        }
        assert!(profiles.with(|entries| entries.len()) <= MOST);
    }
}
