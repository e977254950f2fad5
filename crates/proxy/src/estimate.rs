//! Estimate of the tokens of a prompt without a tokenizer. Errs high: a client that overestimates its context compacts
//! early, one that underestimates it fails; and a reservation must not be smaller than the usage.
//!
//! Reads each byte of text once and no byte of an image: a body of 200 KB takes some 10 µs.

use std::fmt;

use protocol::anthropic::Request;
use protocol::anthropic::request::{Block, Content, OutputFormat, Source, SourceData, Tool};
use protocol::json::{JsonStr, RawJson};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Tokens of a request beside its content. This and the constants below are chosen high, because an
/// estimate must not be below the usage.
const REQUEST_TOKENS: u64 = 16;
/// Tokens of a message or a block beside its content.
const MESSAGE_TOKENS: u64 = 8;
/// Tokens of the prompt about tools, if there are any.
const TOOLS_PROMPT_TOKENS: u64 = 600;
/// Tokens of a tool beside its own text.
const TOOL_TOKENS: u64 = 24;
/// Tokens of the definition of a tool that Anthropic defines.
const BUILTIN_TOOL_TOKENS: u64 = 1200;
/// Tokens of a page of a document, as text and as an image; the minimum for a document.
const PAGE_TOKENS: u64 = 3000;
/// Minimum size of a page in characters of base64, approximately.
const MIN_PAGE_BYTES: usize = 32_000;
/// Maximum pages of a document: Anthropic rejects longer ones.
/// <https://docs.claude.com/en/docs/build-with-claude/pdf-support>
const MAX_PAGES: usize = 600;

/// Generation of a model's tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Claude up to 4.6.
    Classic,
    /// Newer Claude models, and all other models.
    Dense,
}

impl Tokenizer {
    /// Tokenizer of a foundation-model id.
    #[must_use]
    pub(crate) fn for_model(id: &str) -> Self {
        const NEWER: [&str; 2] = ["fable", "mythos"];
        let Some((_, name)) = id.split_once("anthropic.claude-") else { return Self::Dense };
        let mut numbers = name.split(['-', '.', ':']).filter_map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next(), numbers.next().filter(|minor| *minor < 100).unwrap_or(0));
        let classic = major.is_some_and(|major| (major, minor) <= (4, 6));
        if classic && !NEWER.iter().any(|line| name.starts_with(line)) { Self::Classic } else { Self::Dense }
    }

    /// Minimum ASCII characters per token.
    fn characters_per_token(self) -> u64 {
        match self {
            Self::Classic => 3,
            Self::Dense => 2,
        }
    }

    /// Maximum tokens of an image.
    fn image_tokens(self) -> u64 {
        match self {
            Self::Classic => 1600,
            Self::Dense => 4800,
        }
    }

    fn text(self, text: &str) -> u64 {
        // Other scripts: a token per two bytes, which is more than one per character.
        let other = count(text, |byte| !byte.is_ascii());
        let ascii = text.len() as u64 - other;
        ascii.div_ceil(self.characters_per_token()) + other.div_ceil(2)
    }
}

/// Number of bytes of `text` that match, in chunks whose counts fit a byte, so that the loop is vectorized.
fn count(text: &str, matches: impl Fn(u8) -> bool) -> u64 {
    let chunks = text.as_bytes().chunks(usize::from(u8::MAX));
    chunks.map(|chunk| u64::from(chunk.iter().map(|byte| u8::from(matches(*byte))).sum::<u8>())).sum()
}

/// Estimates the tokens of the prompt of a Messages request.
#[must_use]
pub fn tokens(request: &Request<'_>, tokenizer: Tokenizer) -> u64 {
    let messages = request.messages.iter().flat_map(|messages| messages.iter());
    let messages: u64 =
        messages.map(|message| MESSAGE_TOKENS + content(message.content.as_ref(), tokenizer)).sum();
    let tools = request.tools.iter().flat_map(|tools| tools.iter());
    let tools: u64 = tools.map(|tool| self::tool(tool, tokenizer)).sum();
    let tools_prompt = if tools > 0 { TOOLS_PROMPT_TOKENS } else { 0 };
    let format = request.output_config.as_ref().and_then(|output| output.format.as_ref());
    let formats = format.into_iter().chain(&request.output_format);
    let formats: u64 = formats.map(|format| self::format(format, tokenizer)).sum();
    let system = content(request.system.as_ref(), tokenizer);
    REQUEST_TOKENS + system + messages + tools + tools_prompt + formats + unknown(&request.unknown, tokenizer)
}

/// Estimates the tokens of the prompt of a Bedrock Runtime body in any format. All text counts; base64 counts as an image
/// or as pages. Time is linear in the body, and no memory is needed beside it: a body of small values would be a tree of
/// many times its size.
#[must_use]
pub(crate) fn body_tokens(body: &[u8], tokenizer: Tokenizer) -> u64 {
    let mut json = serde_json::Deserializer::from_slice(body);
    let counted = BodyValue { tokenizer, name: None }.deserialize(&mut json);
    match counted.and_then(|tokens| json.end().map(|()| tokens)) {
        Ok(tokens) => REQUEST_TOKENS + TOOLS_PROMPT_TOKENS + tokens,
        Err(_) => REQUEST_TOKENS + body.len() as u64 / 2,
    }
}

/// Counts the tokens of a value while it is parsed, and keeps nothing of it.
struct BodyValue {
    tokenizer: Tokenizer,
    /// Name of the member that has the value.
    name: Option<BodyName>,
}

/// Counts the tokens of the name of a member.
struct BodyNameSeed(Tokenizer);

struct BodyName {
    tokens: u64,
    /// Whether a string of this name is base64.
    holds_base64: bool,
}

impl BodyValue {
    /// Tokens of a value that has `tokens`, with its name.
    fn named(&self, tokens: u64) -> u64 {
        self.name.as_ref().map_or(0, |name| name.tokens) + tokens
    }
}

impl<'de> DeserializeSeed<'de> for BodyValue {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BodyValue {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        Ok(if self.name.as_ref().is_some_and(|name| name.holds_base64) {
            self.tokenizer.image_tokens().max(pages(text) * PAGE_TOKENS)
        } else {
            self.named(self.tokenizer.text(text))
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<u64, A::Error> {
        let mut tokens = 0;
        while let Some(value) =
            values.next_element_seed(BodyValue { tokenizer: self.tokenizer, name: None })?
        {
            tokens += MESSAGE_TOKENS + value;
        }
        Ok(self.named(tokens))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<u64, A::Error> {
        let mut tokens = 0;
        while let Some(name) = members.next_key_seed(BodyNameSeed(self.tokenizer))? {
            tokens += members.next_value_seed(BodyValue { tokenizer: self.tokenizer, name: Some(name) })?;
        }
        Ok(self.named(tokens))
    }

    fn visit_unit<E: de::Error>(self) -> Result<u64, E> {
        Ok(self.named(1))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<u64, E> {
        Ok(self.named(1))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<u64, E> {
        Ok(self.named(1))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<u64, E> {
        Ok(self.named(1))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<u64, E> {
        Ok(self.named(1))
    }
}

impl<'de> DeserializeSeed<'de> for BodyNameSeed {
    type Value = BodyName;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<BodyName, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for BodyNameSeed {
    type Value = BodyName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<BodyName, E> {
        Ok(BodyName { tokens: self.0.text(name), holds_base64: matches!(name, "bytes" | "data") })
    }
}

/// Schema of the response, which is part of the prompt.
fn format(format: &OutputFormat<'_>, tokenizer: Tokenizer) -> u64 {
    TOOL_TOKENS + raw(format.schema, tokenizer) + unknown(&format.unknown, tokenizer)
}

fn tool(tool: &Tool<'_>, tokenizer: Tokenizer) -> u64 {
    let custom = tool.kind.as_deref().is_none_or(|kind| kind == "custom");
    let words = text(tool.name.as_ref(), tokenizer) + text(tool.description.as_ref(), tokenizer);
    let rest = raw(tool.input_schema, tokenizer) + unknown(&tool.unknown, tokenizer);
    TOOL_TOKENS + if custom { 0 } else { BUILTIN_TOOL_TOKENS } + words + rest
}

/// Text or blocks.
fn content(content: Option<&Content<'_>>, tokenizer: Tokenizer) -> u64 {
    match content {
        None => 0,
        Some(Content::Text(text)) => tokenizer.text(text),
        Some(Content::Blocks(blocks)) => blocks.iter().map(|block| self::block(block, tokenizer)).sum(),
        Some(Content::Object(members)) => {
            MESSAGE_TOKENS + members.iter().map(|(name, value)| member(name, value, tokenizer)).sum::<u64>()
        }
    }
}

/// All fields of a block of any type; images and documents count by size.
fn block(block: &Block<'_>, tokenizer: Tokenizer) -> u64 {
    let kind = block.kind.as_deref();
    let source = match (&block.source, kind) {
        (_, Some("image")) => tokenizer.image_tokens(),
        // The layout of a text document in Bedrock is not documented; a page is the minimum.
        (Some(Source::Data(data)), Some("document")) => source(data, tokenizer).max(PAGE_TOKENS),
        (Some(Source::Data(data)), _) => source(data, tokenizer),
        (Some(Source::Name(name)), _) => tokenizer.text(name),
        (None, Some("document")) => PAGE_TOKENS,
        (None, _) => 0,
    };
    let texts = [
        &block.text,
        &block.thinking,
        &block.signature,
        &block.data,
        &block.title,
        &block.context,
        &block.id,
        &block.name,
        &block.tool_use_id,
    ];
    let texts: u64 = texts.into_iter().map(|text| self::text(text.as_ref(), tokenizer)).sum();
    let json = raw(block.input, tokenizer) + raw(block.citations, tokenizer);
    let result = if kind == Some("tool_result") { TOOL_TOKENS } else { 0 };
    let inside = content(block.content.as_ref(), tokenizer);
    MESSAGE_TOKENS + source + texts + json + result + inside + unknown(&block.unknown, tokenizer)
}

fn source(data: &SourceData<'_>, tokenizer: Tokenizer) -> u64 {
    let plain = data.media_type.as_deref() == Some("text/plain");
    let bytes = match &data.data {
        Some(text) if plain => tokenizer.text(text),
        Some(base64) => pages(base64) * PAGE_TOKENS,
        None if data.content.is_none() => PAGE_TOKENS,
        None => 0,
    };
    bytes + content(data.content.as_ref(), tokenizer)
}

fn text(text: Option<&JsonStr<'_>>, tokenizer: Tokenizer) -> u64 {
    text.map_or(0, |text| tokenizer.text(text))
}

/// JSON counts as text plus a token per comma: lists of numbers have few characters per token.
fn raw(json: Option<RawJson<'_>>, tokenizer: Tokenizer) -> u64 {
    json.map_or(0, |json| {
        let text = json.get();
        tokenizer.text(text) + count(text, |byte| byte == b',')
    })
}

fn unknown(members: &[(JsonStr<'_>, RawJson<'_>)], tokenizer: Tokenizer) -> u64 {
    members.iter().map(|(name, value)| member(name, *value, tokenizer)).sum()
}

fn member(name: &str, value: RawJson<'_>, tokenizer: Tokenizer) -> u64 {
    tokenizer.text(name) + raw(Some(value), tokenizer)
}

/// Estimates the pages of a document by its size, without opening it.
fn pages(base64: &str) -> u64 {
    base64.len().div_ceil(MIN_PAGE_BYTES).clamp(1, MAX_PAGES) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn tokenizer_follows_the_model_generation() {
        for id in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "anthropic.claude-opus-4-6-v1",
            "anthropic.claude-haiku-4-5-20251001-v1:0",
        ] {
            assert_eq!(Tokenizer::for_model(id), Tokenizer::Classic, "{id}");
        }
        for id in [
            "anthropic.claude-opus-4-7",
            "anthropic.claude-fable-5",
            "anthropic.claude-mythos-preview",
            "amazon.nova-pro-v1:0",
            "arn:x",
        ] {
            assert_eq!(Tokenizer::for_model(id), Tokenizer::Dense, "{id}");
        }
    }

    fn estimate(request: &Value, tokenizer: Tokenizer) -> u64 {
        tokens(&Request::parse(request.to_string().as_bytes()).unwrap(), tokenizer)
    }

    #[test]
    fn all_parts_of_a_request_are_counted() {
        let base = json!({"messages": [{"role": "user", "content": "Hello"}]});
        let few = estimate(&base, Tokenizer::Classic);
        assert!((2..40).contains(&few), "{few}");
        let with = |key: &str, value: Value| {
            let mut request = base.clone();
            request[key] = value;
            estimate(&request, Tokenizer::Classic) - few
        };
        let blocks = |block: Value| with("messages", json!([{"role": "user", "content": [block]}]));
        let words = "abc".repeat(100);
        assert_eq!(with("system", json!(words)), 100);
        assert!(
            with("tools", json!([{"name": "a", "input_schema": {"type": "object"}}])) > TOOLS_PROMPT_TOKENS
        );
        assert!(
            with("tools", json!([{"type": "bash_20250124", "name": "bash"}]))
                > TOOLS_PROMPT_TOKENS + BUILTIN_TOOL_TOKENS
        );
        assert!(with("output_config", json!({"format": {"schema": {"title": words}}})) > 100);
        assert!(with("mcp_servers", json!([words])) > 100);
        assert!(blocks(json!({"type": "image", "source": {"type": "url", "url": "x"}})) > 1500);
        assert!(estimate(&json!({"messages": [{"content": [{"type": "image"}]}]}), Tokenizer::Dense) > 4800);
        let nested =
            json!({"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": words}]});
        assert!(blocks(nested) > 100);
        assert!(blocks(json!({"type": "tool_use", "id": "x", "name": "y", "input": {"text": words}})) > 100);
        assert!(blocks(json!({"type": "novel", "words": words})) > 100);
        assert!(blocks(json!({"type": "web_search_tool_result", "content": {"words": words}})) > 100);
        assert!(blocks(json!({"type": "search_result", "source": words, "content": []})) > 100);
    }

    #[test]
    fn base64_is_not_counted_as_text() {
        let block = |kind: &str, media_type: &str, data: &str| {
            let source = json!({"type": "base64", "media_type": media_type, "data": data});
            let block = json!({"type": kind, "source": source});
            estimate(&json!({"messages": [{"content": [block]}]}), Tokenizer::Dense)
        };
        let data = "A".repeat(10 * MIN_PAGE_BYTES);
        assert!((4_800..5_000).contains(&block("image", "image/png", &data)));
        assert!((10 * PAGE_TOKENS..11 * PAGE_TOKENS).contains(&block("document", "application/pdf", &data)));
        assert!(block("document", "text/plain", &data) > 10 * MIN_PAGE_BYTES as u64 / 2);
    }

    #[test]
    fn body_counts_text_names_images_and_pages() {
        let (tokenizer, base) = (Tokenizer::Dense, REQUEST_TOKENS + TOOLS_PROMPT_TOKENS);
        let pdf = "A".repeat(10 * MIN_PAGE_BYTES);
        for (body, tokens) in [
            (json!({}), 0),
            (json!({"name": "text"}), 2 + 2),
            (json!({"name": ["text", 1, 1.5, -1, true, null]}), 2 + 6 * MESSAGE_TOKENS + 2 + 5),
            (json!({"name": {"text": {}}}), 2 + 2),
            (json!({"bytes": "AAAA"}), 4800),
            (json!({"data": pdf}), 10 * PAGE_TOKENS),
            (json!({"data": {"text": "\"\n漢"}}), 2 + 2 + 1 + 2),
        ] {
            assert_eq!(body_tokens(body.to_string().as_bytes(), tokenizer), base + tokens, "{body:.80}");
        }
    }

    #[test]
    fn invalid_body_is_counted_by_its_length() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for body in ["", "{", "{} {}", r#"{"a":"\ud800"}"#, "[1e999]", deep.as_str()] {
            let expected = REQUEST_TOKENS + body.len() as u64 / 2;
            assert_eq!(body_tokens(body.as_bytes(), Tokenizer::Dense), expected, "{body}");
        }
    }

    /// A tree of these values would take 32 bytes a value beside the 10 MB of the body, or 80 for a member.
    #[test]
    fn millions_of_small_values_are_counted() {
        const VALUES: usize = 5_000_000;
        let body = format!("[0{}]", ",0".repeat(VALUES - 1));
        let expected = REQUEST_TOKENS + TOOLS_PROMPT_TOKENS + VALUES as u64 * (MESSAGE_TOKENS + 1);
        assert_eq!(body_tokens(body.as_bytes(), Tokenizer::Dense), expected);
    }

    #[test]
    fn other_scripts_have_more_tokens_per_character() {
        assert_eq!(Tokenizer::Classic.text("漢字"), 3);
        assert_eq!(Tokenizer::Dense.text("abcd"), 2);
        assert_eq!(estimate(&json!({}), Tokenizer::Dense), REQUEST_TOKENS);
    }
}
