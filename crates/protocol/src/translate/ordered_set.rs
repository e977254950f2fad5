//! Texts in the order they came, each once.

use std::borrow::Cow;
use std::collections::HashSet;

/// Number of texts up to which comparing each of them is faster than hashing.
const MAX_COMPARED: usize = 16;

/// Ordered set of texts. The time to fill it is linear in the number of texts.
#[derive(Clone, Debug, Default)]
pub(super) struct OrderedSet<'a> {
    texts: Vec<Cow<'a, str>>,
    /// The same texts, once they are too many to compare.
    hashed: HashSet<Cow<'a, str>>,
}

impl<'a> OrderedSet<'a> {
    /// Adds `text` at the end, unless it is there.
    pub(super) fn insert(&mut self, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        if self.contains(&text) {
            return;
        }
        if self.hashed.is_empty() && self.texts.len() >= MAX_COMPARED {
            self.hashed.extend(self.texts.iter().cloned());
        }
        if !self.hashed.is_empty() {
            self.hashed.insert(text.clone());
        }
        self.texts.push(text);
    }

    /// Whether `text` is in the set.
    pub(super) fn contains(&self, text: &str) -> bool {
        if self.hashed.is_empty() {
            self.texts.iter().any(|known| known == text)
        } else {
            self.hashed.contains(text)
        }
    }

    /// Removes the first text that matches.
    pub(super) fn take(&mut self, matches: impl Fn(&str) -> bool) -> Option<Cow<'a, str>> {
        let at = self.texts.iter().position(|text| matches(text))?;
        let text = self.texts.remove(at);
        self.hashed.remove(&text);
        Some(text)
    }

    /// The texts in their order.
    pub(super) fn as_slice(&self) -> &[Cow<'a, str>] {
        &self.texts
    }

    /// Consumes the set and returns the texts in their order.
    pub(super) fn into_texts(self) -> Vec<Cow<'a, str>> {
        self.texts
    }

    /// Whether there are no texts.
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_keep_their_order_and_come_once() {
        let mut set = OrderedSet::default();
        let texts: Vec<String> = (0..3 * MAX_COMPARED).map(|n| format!("text {n}")).collect();
        for text in texts.iter().chain(texts.iter().rev()) {
            set.insert(text.as_str());
        }
        assert_eq!(set.as_slice(), texts);
        assert!(set.contains("text 0") && set.contains("text 40") && !set.contains("text 48"));
        assert_eq!(set.take(|text| text.ends_with("47")).as_deref(), Some("text 47"));
        assert!(set.take(|text| text.ends_with("47")).is_none() && !set.contains("text 47"));
        assert_eq!(set.into_texts(), texts[..47]);
    }
}
