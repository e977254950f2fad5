//! A whole answer: the `Message` that a client which does not stream is given.
//!
//! See <https://platform.claude.com/docs/en/api/messages/create>.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

/// Always `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The one kind there is.
    #[default]
    Message,
}

/// Always `assistant`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The model.
    #[default]
    Assistant,
}

/// Where a piece of text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Citation {
    /// A document, by characters.
    CharLocation {
        /// What is cited.
        cited_text: String,
        /// Which document, counted over the request.
        document_index: u64,
        /// What it is called.
        document_title: Option<String>,
        /// From here.
        start_char_index: u64,
        /// To here.
        end_char_index: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// A document, by pages.
    PageLocation {
        /// What is cited.
        cited_text: String,
        /// Which document, counted over the request.
        document_index: u64,
        /// What it is called.
        document_title: Option<String>,
        /// From here.
        start_page_number: u64,
        /// To here.
        end_page_number: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// A document, by parts.
    ContentBlockLocation {
        /// What is cited.
        cited_text: String,
        /// Which document, counted over the request.
        document_index: u64,
        /// What it is called.
        document_title: Option<String>,
        /// From here.
        start_block_index: u64,
        /// To here.
        end_block_index: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// A search result, by parts.
    SearchResultLocation {
        /// What is cited.
        cited_text: String,
        /// Which search result, counted over the request.
        search_result_index: u64,
        /// Where it was found.
        source: String,
        /// What it is called.
        title: Option<String>,
        /// From here.
        start_block_index: u64,
        /// To here.
        end_block_index: u64,
    },
    /// The web.
    WebSearchResultLocation {
        /// What is cited.
        cited_text: String,
        /// Always empty: Bedrock has none.
        encrypted_index: String,
        /// What the page is called.
        title: Option<String>,
        /// Its address.
        url: String,
    },
}

/// Tokens of a request. `input_tokens` excludes what was read from or written to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read afresh.
    pub input_tokens: u64,
    /// Tokens written to the cache.
    #[serde(default)]
    pub cache_creation_input_tokens: u64,
    /// Tokens read from the cache.
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    /// The tokens written to the cache, by lifetime.
    #[serde(default)]
    pub cache_creation: CacheCreation,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// What the tokens of the answer were for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
    /// Which capacity was used.
    #[serde(default, deserialize_with = "known_tier", skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

/// Token counts of one event: each is cumulative, in any of several events, and the last value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PartialUsage {
    /// Tokens read anew.
    #[serde(default)]
    pub input_tokens: Option<u64>,
    /// Tokens written to the cache.
    #[serde(default)]
    pub cache_creation_input_tokens: Option<u64>,
    /// Tokens read from the cache.
    #[serde(default)]
    pub cache_read_input_tokens: Option<u64>,
    /// Tokens written to the cache, by lifetime.
    #[serde(default)]
    pub cache_creation: Option<CacheCreation>,
    /// Output tokens.
    #[serde(default)]
    pub output_tokens: Option<u64>,
    /// Purposes of the output tokens.
    #[serde(default)]
    pub output_tokens_details: Option<PartialOutputTokensDetails>,
}

/// Purposes of output tokens, as far as one event has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PartialOutputTokensDetails {
    /// Tokens of thinking.
    #[serde(default)]
    pub thinking_tokens: Option<u64>,
}

impl Usage {
    /// Replaces the counts that `newer` has. Its details of output tokens are not counts and stay out.
    pub fn update(&mut self, newer: &PartialUsage) {
        let set = |count: &mut u64, value: Option<u64>| *count = value.unwrap_or(*count);
        set(&mut self.input_tokens, newer.input_tokens);
        set(&mut self.output_tokens, newer.output_tokens);
        set(&mut self.cache_read_input_tokens, newer.cache_read_input_tokens);
        set(&mut self.cache_creation_input_tokens, newer.cache_creation_input_tokens);
        match newer.cache_creation {
            Some(split) => self.cache_creation = split,
            // Without a split the lifetime is five minutes: the default.
            None => {
                let for_an_hour = self.cache_creation.ephemeral_1h_input_tokens;
                let written = self.cache_creation_input_tokens;
                self.cache_creation.ephemeral_5m_input_tokens = written.saturating_sub(for_an_hour);
            }
        }
    }
}

/// What the tokens of an answer were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// How many were thought.
    #[serde(default)]
    pub thinking_tokens: u64,
}

/// Which capacity was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// What everybody has.
    Standard,
    /// Served first.
    Priority,
    /// Served some time.
    Batch,
    /// Served when there is room; Bedrock's own.
    Flex,
    /// Set aside; Bedrock's own.
    Reserved,
}

impl ServiceTier {
    /// The tier that Bedrock calls `name`.
    #[must_use]
    pub fn from_bedrock(name: &str) -> Option<Self> {
        match name {
            "default" => Some(Self::Standard),
            "priority" => Some(Self::Priority),
            "flex" => Some(Self::Flex),
            "reserved" => Some(Self::Reserved),
            _ => None,
        }
    }
}

/// A tier without a name in this version is no reason to lose the rest of the usage.
fn known_tier<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServiceTier>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tier {
        Known(ServiceTier),
        Other(IgnoredAny),
    }

    Ok(match Option::<Tier>::deserialize(deserializer)? {
        Some(Tier::Known(tier)) => Some(tier),
        Some(Tier::Other(_)) | None => None,
    })
}

/// Tokens written to the cache, by lifetime; the two add up to `cache_creation_input_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheCreation {
    /// Kept for five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// Kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
}
