//! Ids of the tool calls of one response.
//!
//! Some models give two calls of a response one id. A client could not send back a result for each of them, so the later
//! call gets an id of its own. The client repeats it in the call and in its result, which is all that Bedrock compares.

use std::borrow::Cow;
use std::collections::HashMap;

/// Stem for a call without an id.
const UNNAMED: &str = "call";
/// Maximum of characters of an id that are kept before a number, so that the new id is valid on Bedrock.
const MAX_STEM_CHARS: usize = 48;

/// The ids of the calls so far.
#[derive(Debug, Default)]
pub(super) struct CallIds {
    /// Each id, with the number behind its next duplicate.
    next_numbers: HashMap<String, u64>,
}

impl CallIds {
    /// The id for the client: the same, unless it is empty or another call has it.
    pub(super) fn unique<'a>(&mut self, id: &'a str) -> Cow<'a, str> {
        if !id.is_empty() && !self.next_numbers.contains_key(id) {
            self.next_numbers.insert(id.to_owned(), 2);
            return Cow::Borrowed(id);
        }
        let stem: String =
            if id.is_empty() { UNNAMED.into() } else { id.chars().take(MAX_STEM_CHARS).collect() };
        loop {
            // Each number is tried once, so that the time for all ids is linear in their number.
            let next = self.next_numbers.entry(stem.clone()).or_insert(1);
            let unique = format!("{stem}_{next}");
            *next += 1;
            if !self.next_numbers.contains_key(&unique) {
                self.next_numbers.insert(unique.clone(), 2);
                return Cow::Owned(unique);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::translate::tool_names::tool_use_id;

    #[test]
    fn later_equal_id_gets_a_number() {
        let mut ids = CallIds::default();
        let unique: Vec<String> =
            ["a", "a", "a_2", "a", "", ""].iter().map(|id| ids.unique(id).into_owned()).collect();
        assert_eq!(unique, ["a", "a_2", "a_2_2", "a_3", "call_1", "call_2"]);
    }

    proptest! {
        #[test]
        fn ids_are_unique_and_stay_valid(ids in proptest::collection::vec("[ab_2]{0,3}|[a-z]{60,64}", 0..40)) {
            let mut known = CallIds::default();
            let unique: Vec<String> = ids.iter().map(|id| known.unique(id).into_owned()).collect();
            prop_assert_eq!(unique.iter().collect::<HashSet<_>>().len(), ids.len());
            for id in unique {
                prop_assert_eq!(tool_use_id(id.as_str().into()), id.as_str(), "no alias in the next request");
            }
        }
    }
}
