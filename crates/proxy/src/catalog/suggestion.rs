//! Did you mean: the known model whose name resembles an unknown one most.

use super::{Catalog, is_bedrock_id, profile_id};

/// Longest name that is compared, in bytes: no model has a longer one, and comparing takes the product of two lengths.
const MAX_NAME_BYTES: usize = 100;
/// Maximum edit distance of a suggestion, for long names.
const MAX_DISTANCE: usize = 4;

impl Catalog {
    /// The known model whose name resembles `name`, if there is one.
    #[must_use]
    pub(crate) fn suggestion_for(&self, name: &str) -> Option<String> {
        // Other gateways name the vendor first: `anthropic/claude-sonnet-4.5`.
        let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        if name.len() > MAX_NAME_BYTES {
            return None;
        }
        let limit = (name.len() / 5).clamp(1, MAX_DISTANCE);
        let words = sorted_words(&name);
        let distance = |known: &str| {
            let by_words = strsim::damerau_levenshtein(&words, &sorted_words(known));
            strsim::damerau_levenshtein(&name, known).min(by_words)
        };
        let near = self.known_names(is_bedrock_id(&name)).into_iter().filter_map(|known| {
            let distance = distance(&known);
            (distance <= limit).then_some((distance, known))
        });
        // Of several that are as near, the first that is listed.
        near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
    }

    /// Whether the operator or the table of models gave `requested` its meaning.
    #[must_use]
    pub(crate) fn is_configured(&self, requested: &str) -> bool {
        let name = requested.strip_suffix(super::LONG_CONTEXT_SUFFIX).unwrap_or(requested);
        let models = self.models();
        models.mappings.contains_key(requested)
            || models.mappings.contains_key(name)
            || models.by_name(name).is_some()
    }

    /// Names that requests may use: those of the list first.
    fn known_names(&self, are_ids: bool) -> Vec<String> {
        let table = self.models();
        if are_ids {
            let ids = table.rows().iter().flat_map(|row| [profile_id(row, self.prefix), row.id.clone()]);
            return ids.collect();
        }
        let listed = self.list().into_iter().map(|model| model.id);
        listed.chain(table.rows().iter().flat_map(|row| row.names.clone())).collect()
    }
}

/// The words of a name in one order: people remember `claude-4.5-sonnet`.
fn sorted_words(name: &str) -> String {
    let mut words: Vec<&str> =
        name.split(['-', '.', '_', ' ', ':']).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn suggestion(name: &str) -> Option<String> {
        let catalog = Catalog::new(&config::CatalogConfig {
            default_model: None,
            mappings: vec![("house-model".to_owned(), "amazon.nova-pro-v1:0".to_owned())],
            prefix: Some("us"),
            models: Vec::new(),
        });
        catalog.suggestion_for(name)
    }

    #[test]
    fn typing_errors_lead_to_the_model() {
        for (name, expected) in [
            ("claude-sonet-4-5", "claude-sonnet-4-5"),
            ("claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("Claude-Sonnet-4-5", "claude-sonnet-4-5"),
            ("claude-4.5-sonnet", "claude-sonnet-4-5"),
            ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("clade-haiku-4-5", "claude-haiku-4-5"),
            ("claude-opus-4-5-20251110", "claude-opus-4-5-20251101"),
            ("houze-model", "house-model"),
            ("us.anthropic.claude-sonet-4-5-20250929-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ("amazon.nova-pro-v2:0", "amazon.nova-pro-v1:0"),
        ] {
            assert_eq!(suggestion(name).as_deref(), Some(expected), "{name}");
        }
        assert!(suggestion("claude-sonnet-9").unwrap().starts_with("claude-sonnet-"));
    }

    #[test]
    fn other_names_lead_nowhere() {
        for name in ["gpt-4o", "o3", "x", "llama", "", "deepseek-chat", &"claude-".repeat(1_000)] {
            assert_eq!(suggestion(name), None, "{name:.20}");
        }
    }
}
