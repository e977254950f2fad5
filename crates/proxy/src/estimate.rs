//! Estimate of the tokens of a prompt without a tokenizer. Errs high: a client that overestimates its context compacts
//! early, one that underestimates it fails; and a reservation must not be smaller than the usage.
//!
//! Reads each byte of text once and no byte of an image: a body of 200 KB takes some 10 µs.

use protocol::anthropic::Request;
use protocol::anthropic::request::{Block, Content, OutputFormat, Source, SourceData, Tool};
use protocol::json::{JsonStr, RawJson};
use serde_json::Value;

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
    pub fn for_model(id: &str) -> Self {
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

/// Estimates the tokens of the prompt of a Bedrock Runtime body in any format; returns the maximum output tokens as well,
/// if the body has a field for them. All text counts; base64 counts as an image or as pages.
#[must_use]
pub fn body_tokens(body: &[u8], tokenizer: Tokenizer) -> (u64, Option<u64>) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return (REQUEST_TOKENS + body.len() as u64 / 2, None);
    };
    let fields =
        ["/inferenceConfig/maxTokens", "/max_tokens", "/max_gen_len", "/inferenceConfig/max_new_tokens"];
    let max_output = fields.iter().find_map(|pointer| body.pointer(pointer)?.as_u64());
    (REQUEST_TOKENS + TOOLS_PROMPT_TOKENS + json_tokens(&body, tokenizer), max_output)
}

fn json_tokens(value: &Value, tokenizer: Tokenizer) -> u64 {
    match value {
        Value::String(text) => tokenizer.text(text),
        Value::Array(values) => {
            values.iter().map(|value| MESSAGE_TOKENS + json_tokens(value, tokenizer)).sum()
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("bytes" | "data", Value::String(base64)) => {
                    tokenizer.image_tokens().max(pages(base64) * PAGE_TOKENS)
                }
                _ => tokenizer.text(name) + json_tokens(value, tokenizer),
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
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

/// All fields of a block, whatever its type; images and documents count by size.
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
    fn other_scripts_have_more_tokens_per_character() {
        assert_eq!(Tokenizer::Classic.text("漢字"), 3);
        assert_eq!(Tokenizer::Dense.text("abcd"), 2);
        assert_eq!(estimate(&json!({}), Tokenizer::Dense), REQUEST_TOKENS);
    }
}
