//! A cache of token counts, and of models that do not count. Clients count the same parts again and again.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Counts of one generation; two are kept. A session of a client counts some dozens.
const MAX_COUNTS: usize = 2048;
/// Models kept that do not count; more than AWS has.
const MAX_MODELS: usize = 256;
/// Models learn to count within weeks, credentials get permissions within minutes.
const UNSUPPORTED_TTL: Duration = Duration::from_secs(3600);

/// A bounded cache of token counts.
#[derive(Debug, Default)]
pub(super) struct TokenCountCache {
    /// Seeded at random, so that no client can construct two prompts with one key.
    hasher: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    young: HashMap<Key, u64>,
    old: HashMap<Key, u64>,
    unsupported: HashMap<String, Instant>,
}

/// The key of a model and a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64, usize);

impl TokenCountCache {
    /// The key of `body` for `model`.
    pub(super) fn key(&self, model: &str, body: &[u8]) -> Key {
        Key(self.hasher.hash_one((model, body)), body.len())
    }

    /// The count, if it is cached.
    pub(super) fn get(&self, key: Key) -> Option<u64> {
        self.with(|inner| inner.young.get(&key).or_else(|| inner.old.get(&key)).copied())
    }

    /// Caches a count.
    pub(super) fn insert(&self, key: Key, tokens: u64) {
        self.with(|inner| {
            if inner.young.len() >= MAX_COUNTS {
                inner.old = std::mem::take(&mut inner.young);
            }
            inner.young.insert(key, tokens);
        });
    }

    /// Records that AWS does not count for `model`.
    pub(super) fn mark_unsupported(&self, model: &str) {
        self.with(|inner| {
            if inner.unsupported.len() >= MAX_MODELS {
                inner.unsupported.clear();
            }
            inner.unsupported.insert(model.to_owned(), Instant::now() + UNSUPPORTED_TTL);
        });
    }

    /// Whether AWS was seen not to count for `model`.
    pub(super) fn is_unsupported(&self, model: &str) -> bool {
        self.with(|inner| inner.unsupported.get(model).is_some_and(|until| Instant::now() < *until))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_is_bounded() {
        let counts = TokenCountCache::default();
        let key = counts.key("m", b"prompt");
        counts.insert(key, 7);
        assert_eq!((counts.get(key), counts.get(counts.key("n", b"prompt"))), (Some(7), None));
        for n in 0..10 * MAX_COUNTS {
            counts.insert(counts.key("m", &n.to_le_bytes()), 1);
        }
        assert_eq!(counts.get(key), None);
        assert!(counts.with(|inner| inner.young.len() + inner.old.len()) <= 2 * MAX_COUNTS);
    }

    #[tokio::test(start_paused = true)]
    async fn counting_is_tried_again_after_an_hour() {
        let counts = TokenCountCache::default();
        counts.mark_unsupported("m");
        assert!(counts.is_unsupported("m") && !counts.is_unsupported("n"));
        tokio::time::advance(UNSUPPORTED_TTL).await;
        assert!(!counts.is_unsupported("m"));
    }
}
