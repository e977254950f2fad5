//! Which model hides behind an application inference profile: remembered for an hour, asked once at a time.
//!
//! Asking is not done here (`app`); what an answer changes is what the model is taken to take.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

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
pub struct Profiles(Mutex<HashMap<String, Entry>>);

#[derive(Clone, Debug)]
enum Entry {
    /// `old`: what was known before.
    Asking { since: Instant, done: CancellationToken, old: Option<String> },
    /// `None`: there was no answer.
    Answered { base: Option<String>, until: Instant },
}

/// What to do about an ARN.
#[derive(Debug)]
pub enum Lookup {
    /// Nothing: what is known is all there is for now.
    Settled,
    /// Ask, and [`Profiles::learn`] the answer; wait for `done` until then.
    Ask {
        /// Cancelled when the answer is there.
        done: CancellationToken,
        /// How long a request may wait for it.
        until: Instant,
    },
    /// Somebody asks already.
    Wait {
        /// Cancelled when the answer is there.
        done: CancellationToken,
        /// How long a request may wait for it.
        until: Instant,
    },
}

impl Profiles {
    /// The foundation-model id behind `arn`, if it is known. One that has grown old serves until there is a newer.
    #[must_use]
    pub fn base(&self, arn: &str) -> Option<String> {
        self.with(|entries| match entries.get(arn)? {
            Entry::Answered { base, .. } => base.clone(),
            Entry::Asking { old, .. } => old.clone(),
        })
    }

    /// Whether `arn` has to be asked about.
    #[must_use]
    pub fn look(&self, arn: &str) -> Lookup {
        let now = Instant::now();
        self.with(|entries| {
            match entries.get(arn) {
                Some(Entry::Answered { until, .. }) if now < *until => return Lookup::Settled,
                Some(Entry::Asking { since, done, .. }) if now < *since + FORGOTTEN => {
                    return Lookup::Wait { done: done.clone(), until: *since + PATIENCE };
                }
                _ => {}
            }
            let asking =
                |entry: &&Entry| matches!(entry, Entry::Asking { since, .. } if now < *since + FORGOTTEN);
            if entries.values().filter(asking).count() >= MOST_QUESTIONS {
                return Lookup::Settled;
            }
            let old = match entries.remove(arn) {
                Some(Entry::Answered { base, .. }) => base,
                Some(Entry::Asking { old, .. }) => old,
                None => None,
            };
            make_room(entries);
            let done = CancellationToken::new();
            entries.insert(arn.to_owned(), Entry::Asking { since: now, done: done.clone(), old });
            Lookup::Ask { done, until: now + PATIENCE }
        })
    }

    /// Takes the answer about `arn`; `None` when there is none, and then an old one stays.
    pub fn learn(&self, arn: &str, base: Option<String>) {
        let until = Instant::now() + if base.is_some() { BELIEVED } else { PAUSE };
        let base = base.or_else(|| self.base(arn));
        let before = self.with(|entries| {
            if !entries.contains_key(arn) {
                make_room(entries);
            }
            entries.insert(arn.to_owned(), Entry::Answered { base, until })
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
        let profiles = Profiles::default();
        let Lookup::Ask { done, .. } = profiles.look("arn") else { panic!("the first one asks") };
        assert!(matches!(profiles.look("arn"), Lookup::Wait { .. }));
        profiles.learn("arn", Some("anthropic.claude-x".to_owned()));
        assert!(done.is_cancelled() && matches!(profiles.look("arn"), Lookup::Settled));
        assert_eq!(profiles.base("arn").as_deref(), Some("anthropic.claude-x"));
        tokio::time::advance(BELIEVED).await;
        assert!(matches!(profiles.look("arn"), Lookup::Ask { .. }));
        assert!(profiles.base("arn").is_some(), "the old answer serves until there is a new one");
        profiles.learn("arn", None);
        assert!(profiles.base("arn").is_some(), "and after that if there is none");
        tokio::time::advance(PAUSE).await;
        assert!(matches!(profiles.look("arn"), Lookup::Ask { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_left_alone_for_a_minute_and_a_lost_question_is_asked_again() {
        let profiles = Profiles::default();
        let _ = profiles.look("arn");
        profiles.learn("arn", None);
        assert!(matches!(profiles.look("arn"), Lookup::Settled));
        tokio::time::advance(PAUSE).await;
        assert!(matches!(profiles.look("arn"), Lookup::Ask { .. }));
        tokio::time::advance(FORGOTTEN).await;
        assert!(matches!(profiles.look("arn"), Lookup::Ask { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn neither_answers_nor_questions_grow_without_end() {
        let profiles = Profiles::default();
        let questions = (0..MOST).filter(|n| matches!(profiles.look(&n.to_string()), Lookup::Ask { .. }));
        assert_eq!(questions.count(), MOST_QUESTIONS);
        for n in 0..2 * MOST {
            let arn = format!("arn{n}");
            let _ = profiles.look(&arn);
            profiles.learn(&arn, None);
        }
        assert!(profiles.with(|entries| entries.len()) <= MOST);
    }
}
