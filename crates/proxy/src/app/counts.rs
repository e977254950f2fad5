//! Prompts that were counted a moment ago, and models that do not count. Clients count the same parts again and again.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many counts a generation holds; two are kept.
const MOST: usize = 2048;
/// How many models are remembered that do not count.
const MOST_MODELS: usize = 256;
/// How long that is believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// A bounded memory of counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Seeded by chance, so that nobody can choose two prompts that look the same.
    hasher: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    young: HashMap<Key, u64>,
    old: HashMap<Key, u64>,
    refusing: HashMap<String, Instant>,
}

/// What stands for a model and a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64, usize);

impl Counts {
    /// The key of what is asked of `model`.
    #[must_use]
    pub fn key(&self, model: &str, body: &[u8]) -> Key {
        Key(self.hasher.hash_one((model, body)), body.len())
    }

    /// The count, if it is remembered.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<u64> {
        self.with(|inner| inner.young.get(&key).or_else(|| inner.old.get(&key)).copied())
    }

    /// Remembers a count.
    pub fn put(&self, key: Key, tokens: u64) {
        self.with(|inner| {
            if inner.young.len() >= MOST {
                inner.old = std::mem::take(&mut inner.young);
            }
            inner.young.insert(key, tokens);
        });
    }

    /// Remembers that AWS does not count for `model`.
    pub fn refuse(&self, model: &str) {
        self.with(|inner| {
            if inner.refusing.len() >= MOST_MODELS {
                inner.refusing.clear();
            }
            inner.refusing.insert(model.to_owned(), Instant::now() + BELIEVED);
        });
    }

    /// Whether AWS was seen not to count for `model`.
    #[must_use]
    pub fn is_refused(&self, model: &str) -> bool {
        self.with(|inner| inner.refusing.get(model).is_some_and(|until| Instant::now() < *until))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_remembered_for_a_while_and_never_without_end() {
        let counts = Counts::default();
        let key = counts.key("m", b"prompt");
        counts.put(key, 7);
        assert_eq!((counts.get(key), counts.get(counts.key("n", b"prompt"))), (Some(7), None));
        for n in 0..10 * MOST {
            counts.put(counts.key("m", &n.to_le_bytes()), 1);
        }
        assert_eq!(counts.get(key), None);
        assert!(counts.with(|inner| inner.young.len() + inner.old.len()) <= 2 * MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_does_not_count_is_asked_again_after_an_hour() {
        let counts = Counts::default();
        counts.refuse("m");
        assert!(counts.is_refused("m") && !counts.is_refused("n"));
        tokio::time::advance(BELIEVED).await;
        assert!(!counts.is_refused("m"));
    }
}
