//! How many tokens a prompt may come to, guessed when nobody counts it, and before it is sent. Errs high: a client that
//! believes it has less room than it has compacts early; one that believes the opposite fails; and what is reserved
//! for a request must not be less than what it costs.
//!
//! Looks at each byte of text once and at no byte of a picture: a body of 200 KB takes some 10 µs.

use protocol::anthropic::Request;
use protocol::anthropic::request::{Block, Content, OutputFormat, Source, SourceData, Tool};
use protocol::json::{JsonStr, RawJson};
use serde_json::Value;

/// What a request is taken to cost by itself.
const REQUEST: u64 = 16;
/// What a message or a block costs beside its content.
const MESSAGE: u64 = 8;
/// What having tools costs: the model is told how to call them.
const TOOLS: u64 = 600;
/// What a tool costs beside its own text.
const TOOL: u64 = 24;
/// What a tool that the model knows by heart costs.
const KNOWN_TOOL: u64 = 1200;
/// A page of a document, as text and as a picture; no document costs less.
const PAGE: u64 = 3000;
/// A page takes at least about this many characters of base64.
const PAGE_BYTES: usize = 32_000;
/// Longer documents are refused.
const MOST_PAGES: usize = 600;

/// How a model's tokenizer cuts text, and what it makes of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Claude up to 4.6.
    Classic,
    /// Newer Claude models, and whatever is not known.
    Dense,
}

impl Tokenizer {
    /// The tokenizer of a foundation-model id.
    #[must_use]
    pub fn for_model(id: &str) -> Self {
        const NEWER: [&str; 2] = ["fable", "mythos"];
        let Some((_, name)) = id.split_once("anthropic.claude-") else { return Self::Dense };
        let mut numbers = name.split(['-', '.', ':']).filter_map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next(), numbers.next().filter(|minor| *minor < 100).unwrap_or(0));
        let classic = major.is_some_and(|major| (major, minor) <= (4, 6));
        if classic && !NEWER.iter().any(|line| name.starts_with(line)) { Self::Classic } else { Self::Dense }
    }

    /// Letters of ASCII that make a token, at the least.
    fn letters(self) -> u64 {
        match self {
            Self::Classic => 3,
            Self::Dense => 2,
        }
    }

    /// The largest image.
    fn image(self) -> u64 {
        match self {
            Self::Classic => 1600,
            Self::Dense => 4800,
        }
    }

    fn text(self, text: &str) -> u64 {
        // Other scripts: a token for every two bytes, which is more than one for each letter.
        let other = count(text, |byte| !byte.is_ascii());
        let ascii = text.len() as u64 - other;
        ascii.div_ceil(self.letters()) + other.div_ceil(2)
    }
}

/// How many bytes of `text` are `wanted`; in pieces whose counts fit a byte, so that many are looked at at once.
fn count(text: &str, wanted: impl Fn(u8) -> bool) -> u64 {
    let pieces = text.as_bytes().chunks(usize::from(u8::MAX));
    pieces.map(|piece| u64::from(piece.iter().map(|byte| u8::from(wanted(*byte))).sum::<u8>())).sum()
}

/// The tokens of the prompt of a Messages request.
#[must_use]
pub fn tokens(request: &Request<'_>, tokenizer: Tokenizer) -> u64 {
    let messages = request.messages.iter().flat_map(|messages| messages.iter());
    let messages: u64 = messages.map(|message| MESSAGE + content(message.content.as_ref(), tokenizer)).sum();
    let tools = request.tools.iter().flat_map(|tools| tools.iter());
    let tools: u64 = tools.map(|tool| self::tool(tool, tokenizer)).sum();
    let having_tools = if tools > 0 { TOOLS } else { 0 };
    let format = request.output_config.as_ref().and_then(|output| output.format.as_ref());
    let formats = format.into_iter().chain(&request.output_format);
    let formats: u64 = formats.map(|format| self::format(format, tokenizer)).sum();
    let system = content(request.system.as_ref(), tokenizer);
    REQUEST + system + messages + tools + having_tools + formats + unknown(&request.unknown, tokenizer)
}

/// The tokens of a prompt in any language of Bedrock's, and how many the answer may have, when it says so. All text
/// counts; what stands in base64 is taken for a picture or for pages.
#[must_use]
pub fn body_tokens(body: &[u8], tokenizer: Tokenizer) -> (u64, Option<u64>) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return (REQUEST + body.len() as u64 / 2, None);
    };
    let wanted =
        ["/inferenceConfig/maxTokens", "/max_tokens", "/max_gen_len", "/inferenceConfig/max_new_tokens"];
    let wanted = wanted.iter().find_map(|place| body.pointer(place)?.as_u64());
    (REQUEST + TOOLS + all(&body, tokenizer), wanted)
}

fn all(value: &Value, tokenizer: Tokenizer) -> u64 {
    match value {
        Value::String(text) => tokenizer.text(text),
        Value::Array(values) => values.iter().map(|value| MESSAGE + all(value, tokenizer)).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("bytes" | "data", Value::String(base64)) => tokenizer.image().max(pages(base64) * PAGE),
                _ => tokenizer.text(name) + all(value, tokenizer),
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// The model is told what its answer has to look like.
fn format(format: &OutputFormat<'_>, tokenizer: Tokenizer) -> u64 {
    TOOL + raw(format.schema, tokenizer) + unknown(&format.unknown, tokenizer)
}

fn tool(tool: &Tool<'_>, tokenizer: Tokenizer) -> u64 {
    let custom = tool.kind.as_deref().is_none_or(|kind| kind == "custom");
    let words = text(tool.name.as_ref(), tokenizer) + text(tool.description.as_ref(), tokenizer);
    let rest = raw(tool.input_schema, tokenizer) + unknown(&tool.unknown, tokenizer);
    TOOL + if custom { 0 } else { KNOWN_TOOL } + words + rest
}

/// Text, or blocks.
fn content(content: Option<&Content<'_>>, tokenizer: Tokenizer) -> u64 {
    match content {
        None => 0,
        Some(Content::Text(text)) => tokenizer.text(text),
        Some(Content::Blocks(blocks)) => blocks.iter().map(|block| self::block(block, tokenizer)).sum(),
        Some(Content::Object(members)) => {
            MESSAGE + members.iter().map(|(name, value)| member(name, value, tokenizer)).sum::<u64>()
        }
    }
}

/// All that a block may hold, whatever it calls itself; of a picture and of a document only that it is there.
fn block(block: &Block<'_>, tokenizer: Tokenizer) -> u64 {
    let kind = block.kind.as_deref();
    let source = match (&block.source, kind) {
        (_, Some("image")) => tokenizer.image(),
        // How Bedrock lays out a document of text is not known; a page is the least.
        (Some(Source::Data(data)), Some("document")) => source(data, tokenizer).max(PAGE),
        (Some(Source::Data(data)), _) => source(data, tokenizer),
        (Some(Source::Name(name)), _) => tokenizer.text(name),
        (None, Some("document")) => PAGE,
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
    let result = if kind == Some("tool_result") { TOOL } else { 0 };
    let inside = content(block.content.as_ref(), tokenizer);
    MESSAGE + source + texts + json + result + inside + unknown(&block.unknown, tokenizer)
}

fn source(data: &SourceData<'_>, tokenizer: Tokenizer) -> u64 {
    let plain = data.media_type.as_deref() == Some("text/plain");
    let bytes = match &data.data {
        Some(text) if plain => tokenizer.text(text),
        Some(base64) => pages(base64) * PAGE,
        None if data.content.is_none() => PAGE,
        None => 0,
    };
    bytes + content(data.content.as_ref(), tokenizer)
}

fn text(text: Option<&JsonStr<'_>>, tokenizer: Tokenizer) -> u64 {
    text.map_or(0, |text| tokenizer.text(text))
}

/// JSON is taken for text with a token for each comma: lists of numbers have few letters for their tokens.
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

/// A guess: nobody opens the document for this.
fn pages(base64: &str) -> u64 {
    base64.len().div_ceil(PAGE_BYTES).clamp(1, MOST_PAGES) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_tokenizer_follows_the_generation() {
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

    fn guess(request: &Value, tokenizer: Tokenizer) -> u64 {
        tokens(&Request::parse(request.to_string().as_bytes()).unwrap(), tokenizer)
    }

    #[test]
    fn everything_that_costs_is_counted() {
        let base = json!({"messages": [{"role": "user", "content": "Hello"}]});
        let few = guess(&base, Tokenizer::Classic);
        assert!((2..40).contains(&few), "{few}");
        let with = |key: &str, value: Value| {
            let mut request = base.clone();
            request[key] = value;
            guess(&request, Tokenizer::Classic) - few
        };
        let blocks = |block: Value| with("messages", json!([{"role": "user", "content": [block]}]));
        let words = "abc".repeat(100);
        assert_eq!(with("system", json!(words)), 100);
        assert!(with("tools", json!([{"name": "a", "input_schema": {"type": "object"}}])) > TOOLS);
        assert!(with("tools", json!([{"type": "bash_20250124", "name": "bash"}])) > TOOLS + KNOWN_TOOL);
        assert!(with("output_config", json!({"format": {"schema": {"title": words}}})) > 100);
        assert!(with("mcp_servers", json!([words])) > 100);
        assert!(blocks(json!({"type": "image", "source": {"type": "url", "url": "x"}})) > 1500);
        assert!(guess(&json!({"messages": [{"content": [{"type": "image"}]}]}), Tokenizer::Dense) > 4800);
        let nested =
            json!({"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": words}]});
        assert!(blocks(nested) > 100);
        assert!(blocks(json!({"type": "tool_use", "id": "x", "name": "y", "input": {"text": words}})) > 100);
        assert!(blocks(json!({"type": "novel", "words": words})) > 100);
        assert!(blocks(json!({"type": "web_search_tool_result", "content": {"words": words}})) > 100);
        assert!(blocks(json!({"type": "search_result", "source": words, "content": []})) > 100);
    }

    #[test]
    fn the_bytes_of_pictures_and_documents_are_not_taken_for_text() {
        let block = |kind: &str, media_type: &str, data: &str| {
            let source = json!({"type": "base64", "media_type": media_type, "data": data});
            let block = json!({"type": kind, "source": source});
            guess(&json!({"messages": [{"content": [block]}]}), Tokenizer::Dense)
        };
        let data = "A".repeat(10 * PAGE_BYTES);
        assert!((4_800..5_000).contains(&block("image", "image/png", &data)));
        assert!((10 * PAGE..11 * PAGE).contains(&block("document", "application/pdf", &data)));
        assert!(block("document", "text/plain", &data) > 10 * PAGE_BYTES as u64 / 2);
    }

    #[test]
    fn other_scripts_cost_more_for_each_letter() {
        assert_eq!(Tokenizer::Classic.text("漢字"), 3);
        assert_eq!(Tokenizer::Dense.text("abcd"), 2);
        assert_eq!(guess(&json!({}), Tokenizer::Dense), REQUEST);
    }
}
