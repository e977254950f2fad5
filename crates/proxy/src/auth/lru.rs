//! Bounded map that evicts entries that were not used recently.

use std::collections::HashMap;
use std::hash::Hash;

/// Approximate LRU cache in two generations: when the young one is full, the old one is dropped; used entries move to the
/// young one.
#[derive(Debug)]
pub(super) struct LruCache<K, V> {
    max_young: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V: Clone> LruCache<K, V> {
    pub(super) fn new(max_entries: usize) -> Self {
        Self { max_young: (max_entries / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(key.clone(), value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.max_young {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recently_used_entries_survive_eviction() {
        let mut cache = LruCache::new(8);
        for number in 0..1000 {
            cache.insert(number, number);
            assert_eq!(cache.get(&0), Some(0));
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        assert_eq!((cache.get(&999), cache.get(&500)), (Some(999), None));
    }
}
