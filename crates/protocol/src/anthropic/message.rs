//! Parts of a message: usage, citations.
//!
//! See <https://platform.claude.com/docs/en/api/messages/create>.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

/// Always `message`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The only value.
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

/// Source of a piece of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TextCitation {
    /// Document, by characters.
    CharLocation {
        /// Cited text.
        cited_text: String,
        /// Index of the document in the request.
        document_index: u64,
        /// Title.
        document_title: Option<String>,
        /// Start.
        start_char_index: u64,
        /// End.
        end_char_index: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// Document, by pages.
    PageLocation {
        /// Cited text.
        cited_text: String,
        /// Index of the document in the request.
        document_index: u64,
        /// Title.
        document_title: Option<String>,
        /// Start.
        start_page_number: u64,
        /// End.
        end_page_number: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// Document, by content blocks.
    ContentBlockLocation {
        /// Cited text.
        cited_text: String,
        /// Index of the document in the request.
        document_index: u64,
        /// Title.
        document_title: Option<String>,
        /// Start.
        start_block_index: u64,
        /// End.
        end_block_index: u64,
        /// Always null: Bedrock keeps no files.
        file_id: Option<String>,
    },
    /// Search result, by content blocks.
    SearchResultLocation {
        /// Cited text.
        cited_text: String,
        /// Index of the search result in the request.
        search_result_index: u64,
        /// Source of the search result.
        source: String,
        /// Title.
        title: Option<String>,
        /// Start.
        start_block_index: u64,
        /// End.
        end_block_index: u64,
    },
    /// Web page.
    WebSearchResultLocation {
        /// Cited text.
        cited_text: String,
        /// Always empty: Bedrock has none.
        encrypted_index: String,
        /// Title of the page.
        title: Option<String>,
        /// URL of the page.
        url: String,
    },
}

/// Tokens of a request. `input_tokens` excludes the tokens read from or written to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens that are not cached.
    pub input_tokens: u64,
    /// Tokens written to the cache.
    #[serde(default)]
    pub cache_creation_input_tokens: u64,
    /// Tokens read from the cache.
    #[serde(default)]
    pub cache_read_input_tokens: u64,
    /// Tokens written to the cache, by lifetime.
    #[serde(default)]
    pub cache_creation: CacheCreation,
    /// Output tokens.
    pub output_tokens: u64,
    /// Purposes of the output tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_details: Option<OutputTokensDetails>,
    /// Service tier that was used.
    #[serde(default, deserialize_with = "known_tier", skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

/// Token counts of one event: each is cumulative, in any of several events, and the last value counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PartialUsage {
    /// Input tokens that are not cached.
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
    /// All tokens, cached ones included.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.output_tokens)
            .saturating_add(self.cache_read_input_tokens)
            .saturating_add(self.cache_creation_input_tokens)
    }

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

/// Purposes of output tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTokensDetails {
    /// Tokens of thinking.
    #[serde(default)]
    pub thinking_tokens: u64,
}

/// Service tier that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// The default.
    Standard,
    /// Served before others.
    Priority,
    /// Served asynchronously.
    Batch,
    /// Served with spare capacity; Bedrock only.
    Flex,
    /// Reserved capacity; Bedrock only.
    Reserved,
}

impl ServiceTier {
    /// Tier with this name in Bedrock.
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

/// An unknown tier does not make the rest of the usage unreadable.
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
    /// Tokens kept for five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// Tokens kept for an hour.
    pub ephemeral_1h_input_tokens: u64,
}
