//! Token estimates and the prompt cache.
//!
//! Estimates are deterministic (a quarter of the characters), not a tokenizer's. The cache follows the AWS page
//! "Prompt caching for faster model inference": prefixes up to each cache point, a minimum length per model, a look
//! back of about twenty blocks, and a time to live that every hit renews.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::log::BilledUsage;
use crate::models::Model;

/// Tokens assumed for an image: about the most that Anthropic names.
/// <https://platform.claude.com/docs/en/build-with-claude/vision>
const IMAGE_TOKENS: u64 = 1_600;
/// Tokens assumed for a document: the most that Anthropic names for a page.
/// <https://platform.claude.com/docs/en/build-with-claude/pdf-support>
const DOCUMENT_TOKENS: u64 = 3_000;
/// Number of blocks before a cache point that are searched for a cached prefix.
/// <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>
const LOOKBACK_BLOCKS: usize = 20;
/// Maximum number of cached prefixes, which bounds the memory of a long run.
const MAX_CACHED_PREFIXES: usize = 8_192;

/// Estimated tokens of a block of Converse or of an Anthropic body.
pub(crate) fn estimate(block: &Value) -> u64 {
    let member = |names: [&str; 2]| names.iter().any(|name| block.get(name).is_some());
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "image" || member(["image", "video"]) {
        return IMAGE_TOKENS;
    }
    if kind == "document" || block.get("document").is_some() {
        return DOCUMENT_TOKENS;
    }
    characters(block).div_ceil(4)
}

fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(items) => items.iter().map(nested_characters).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() as u64 / 2 + characters(value)).sum()
        }
        _ => 4,
    }
}

/// Characters of a nested block, such as an image of a tool result; it counts as much as a top-level block.
fn nested_characters(block: &Value) -> u64 {
    if block.is_object() { estimate(block) * 4 } else { characters(block) }
}

/// Time to live of a cached prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    FiveMinutes,
    OneHour,
}

impl Ttl {
    /// Parses `ttl`, which may be absent.
    pub(crate) fn parse(ttl: Option<&Value>) -> Self {
        if ttl.and_then(Value::as_str) == Some("1h") { Self::OneHour } else { Self::FiveMinutes }
    }

    fn duration(self) -> Duration {
        match self {
            Self::FiveMinutes => Duration::from_secs(300),
            Self::OneHour => Duration::from_secs(3600),
        }
    }
}

/// A prompt as the cache sees it: blocks in order (tools, system, messages) and cache points.
#[derive(Debug)]
pub(crate) struct CacheablePrompt {
    hasher: Option<Sha256>,
    tokens: u64,
    /// Hash and length in tokens of the prefix that ends with each block.
    prefixes: Vec<([u8; 32], u64)>,
    /// Number of blocks before each cache point, and its time to live.
    cache_points: Vec<(usize, Ttl)>,
}

impl CacheablePrompt {
    /// Without cache points, nothing is hashed.
    pub(crate) fn new(model: &Model, has_cache_points: bool) -> Self {
        let hasher = has_cache_points.then(|| Sha256::new_with_prefix(model.id));
        Self { hasher, tokens: 0, prefixes: Vec::new(), cache_points: Vec::new() }
    }

    /// Adds a block; `role` (`tool`, `system`, `user`, …) is part of the hash.
    pub(crate) fn block(&mut self, role: &str, block: &Value) {
        self.tokens += estimate(block);
        if let Some(hasher) = &mut self.hasher {
            hasher.update(role);
            hasher.update(block.to_string());
            self.prefixes.push((hasher.clone().finalize().into(), self.tokens));
        }
    }

    /// Adds the fixed cost of a message.
    pub(crate) fn message(&mut self) {
        self.tokens += 3;
    }

    pub(crate) fn cache_point(&mut self, ttl: Ttl) {
        self.cache_points.push((self.prefixes.len(), ttl));
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.tokens.max(1)
    }
}

/// Usage, with the cache writes of one hour.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MeteredUsage {
    pub(crate) usage: BilledUsage,
    pub(crate) cache_write_1h_tokens: u64,
}

impl MeteredUsage {
    /// Parses a Converse `usage`, as fixtures contain it.
    pub(crate) fn from_converse(usage: &Value) -> Option<Self> {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        let hours = usage.get("cacheDetails").and_then(Value::as_array).into_iter().flatten();
        let cache_write_tokens = count("cacheWriteInputTokens").unwrap_or(0);
        let cache_write_1h_tokens: u64 =
            hours.filter(|d| d["ttl"] == "1h").filter_map(|d| d["inputTokens"].as_u64()).sum();
        Some(Self {
            usage: BilledUsage {
                input_tokens: count("inputTokens")?,
                output_tokens: count("outputTokens")?,
                cache_read_tokens: count("cacheReadInputTokens").unwrap_or(0),
                cache_write_tokens,
            },
            cache_write_1h_tokens: cache_write_1h_tokens.min(cache_write_tokens),
        })
    }

    /// Converse `usage`, after the API reference page "TokenUsage".
    pub(crate) fn to_converse(self) -> Value {
        let BilledUsage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens } = self.usage;
        let mut usage = json!({
            "inputTokens": input_tokens,
            "outputTokens": output_tokens,
            "totalTokens": self.usage.total(),
            "cacheReadInputTokens": cache_read_tokens,
            "cacheWriteInputTokens": cache_write_tokens,
        });
        let split =
            [("1h", self.cache_write_1h_tokens), ("5m", cache_write_tokens - self.cache_write_1h_tokens)];
        let details: Vec<Value> = split
            .iter()
            .filter(|(_, tokens)| *tokens > 0)
            .map(|(ttl, tokens)| json!({"ttl": ttl, "inputTokens": tokens}))
            .collect();
        if !details.is_empty() {
            usage["cacheDetails"] = details.into();
        }
        usage
    }

    /// `usage` of an Anthropic message.
    pub(crate) fn to_anthropic(self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.usage.input_tokens,
            "cache_creation_input_tokens": self.usage.cache_write_tokens,
            "cache_read_input_tokens": self.usage.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.usage.cache_write_tokens - self.cache_write_1h_tokens,
                "ephemeral_1h_input_tokens": self.cache_write_1h_tokens,
            },
            "output_tokens": output_tokens,
            "service_tier": "standard",
        })
    }
}

/// Cached prefixes. Bounded; evicts the oldest.
#[derive(Debug, Default)]
pub(crate) struct CachedPrefixes {
    inner: Mutex<Prefixes>,
}

#[derive(Debug, Default)]
struct Prefixes {
    entries: HashMap<[u8; 32], (Instant, Ttl)>,
    order: VecDeque<[u8; 32]>,
}

impl CachedPrefixes {
    /// Splits the prompt into cache reads, cache writes and other tokens, and caches its prefixes.
    pub(crate) fn meter(&self, model: &Model, cacheable: &CacheablePrompt, now: Instant) -> MeteredUsage {
        let total = cacheable.tokens();
        let mut metered = MeteredUsage::default();
        let mut prefixes = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut read_tokens = 0;
        for &(blocks, _) in cacheable.cache_points.iter().rev() {
            let first = blocks.saturating_sub(LOOKBACK_BLOCKS);
            let hit = cacheable.prefixes[first..blocks]
                .iter()
                .rev()
                .find(|(hash, _)| prefixes.contains_live(hash, now));
            if let Some((hash, tokens)) = hit {
                read_tokens = *tokens;
                prefixes.renew(hash, now);
                break;
            }
        }
        let mut cached_tokens = read_tokens;
        for &(blocks, ttl) in &cacheable.cache_points {
            let Some((hash, tokens)) = blocks.checked_sub(1).and_then(|last| cacheable.prefixes.get(last))
            else {
                continue;
            };
            if *tokens < model.min_cache_tokens {
                continue;
            }
            prefixes.insert(*hash, ttl, now);
            let written = tokens.saturating_sub(cached_tokens);
            metered.usage.cache_write_tokens += written;
            if ttl == Ttl::OneHour {
                metered.cache_write_1h_tokens += written;
            }
            cached_tokens = cached_tokens.max(*tokens);
        }
        metered.usage.cache_read_tokens = read_tokens;
        metered.usage.input_tokens = total.saturating_sub(cached_tokens).max(1);
        metered
    }
}

impl Prefixes {
    fn contains_live(&self, hash: &[u8; 32], now: Instant) -> bool {
        self.entries
            .get(hash)
            .is_some_and(|(used_at, ttl)| now.saturating_duration_since(*used_at) < ttl.duration())
    }

    fn renew(&mut self, hash: &[u8; 32], now: Instant) {
        if let Some((used_at, _)) = self.entries.get_mut(hash) {
            *used_at = now;
        }
    }

    fn insert(&mut self, hash: [u8; 32], ttl: Ttl, now: Instant) {
        if self.entries.insert(hash, (now, ttl)).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > MAX_CACHED_PREFIXES {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::find;

    fn model() -> &'static Model {
        find("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us-east-1").unwrap().0
    }

    fn long(n: usize) -> Value {
        json!({"text": "x".repeat(8000), "n": n})
    }

    fn request(blocks: usize, ttl: Ttl) -> CacheablePrompt {
        let mut cacheable = CacheablePrompt::new(model(), true);
        for n in 0..blocks {
            cacheable.block("user", &long(n));
        }
        cacheable.cache_point(ttl);
        cacheable.block("user", &json!({"text": "tail"}));
        cacheable
    }

    #[test]
    fn prefix_is_written_once_then_read() {
        let cache = CachedPrefixes::default();
        let now = Instant::now();
        let first = cache.meter(model(), &request(2, Ttl::FiveMinutes), now).usage;
        assert!(first.cache_write_tokens > 3000);
        assert_eq!(first.cache_read_tokens, 0);
        let second = cache.meter(model(), &request(2, Ttl::FiveMinutes), now).usage;
        assert_eq!(second.cache_read_tokens, first.cache_write_tokens);
        assert_eq!(second.cache_write_tokens, 0);
        assert_eq!(second.input_tokens, first.input_tokens);
    }

    #[test]
    fn growing_conversation_reads_its_cached_prefix() {
        let cache = CachedPrefixes::default();
        let now = Instant::now();
        let first = cache.meter(model(), &request(2, Ttl::OneHour), now);
        assert_eq!(first.cache_write_1h_tokens, first.usage.cache_write_tokens);
        let grown = cache.meter(model(), &request(5, Ttl::FiveMinutes), now);
        assert_eq!(grown.usage.cache_read_tokens, first.usage.cache_write_tokens);
        assert!(grown.usage.cache_write_tokens > 0);
        assert_eq!(grown.cache_write_1h_tokens, 0);
    }

    #[test]
    fn usage_survives_encoding_and_parsing() {
        let usage =
            BilledUsage { input_tokens: 1, output_tokens: 2, cache_read_tokens: 3, cache_write_tokens: 4 };
        let written = MeteredUsage { usage, cache_write_1h_tokens: 3 }.to_converse();
        assert_eq!(written["totalTokens"], 10);
        let read_tokens = MeteredUsage::from_converse(&written).unwrap();
        assert_eq!((read_tokens.usage, read_tokens.cache_write_1h_tokens), (usage, 3));
        assert!(MeteredUsage::from_converse(&json!({})).is_none());
    }

    #[test]
    fn short_prefixes_are_not_cached_and_prefixes_expire() {
        let cache = CachedPrefixes::default();
        let now = Instant::now();
        let mut short = CacheablePrompt::new(model(), true);
        short.block("user", &json!({"text": "short"}));
        short.cache_point(Ttl::FiveMinutes);
        for _ in 0..2 {
            let usage = cache.meter(model(), &short, now).usage;
            assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (0, 0));
        }
        cache.meter(model(), &request(2, Ttl::FiveMinutes), now);
        let later = now + Duration::from_secs(301);
        assert_eq!(cache.meter(model(), &request(2, Ttl::FiveMinutes), later).usage.cache_read_tokens, 0);
    }
}
