//! Estimate of the tokens of a prompt without a tokenizer. Errs high: a client that overestimates its context compacts
//! early, one that underestimates it fails; and a reservation must not be smaller than the usage.
//!
//! Reads each byte of text once (`text`) and no byte of an image. Documents count by their pages (`pdf`), which some files
//! do not show: then there is a range. Bodies of the Bedrock API are counted in `body`.

mod body;
mod file;
mod pdf;
mod text;

use std::iter::Sum;
use std::ops::Add;

use protocol::anthropic::Request;
use protocol::anthropic::request::{Block, Content, OutputFormat, Source, SourceData, Tool};
use protocol::json::{JsonStr, RawJson};

pub use text::Tokenizer;

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
/// Maximum pages of a document: Anthropic rejects longer ones.
/// <https://docs.claude.com/en/docs/build-with-claude/pdf-support>
const MAX_PAGES: u64 = 600;
/// Maximum tokens of a video: 960 frames of 288 tokens.
/// <https://docs.aws.amazon.com/nova/latest/userguide/modalities-video.html>
const VIDEO_TOKENS: u64 = 276_480;

/// Estimate of the tokens of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptEstimate {
    /// Tokens that are likely at the least.
    pub min_tokens: u64,
    /// Maximum of tokens. More than [`Self::min_tokens`] only for documents and videos whose length cannot be seen.
    pub max_tokens: u64,
}

/// Tokens of a part of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tokens {
    text: u64,
    /// Minimum and maximum of documents and videos.
    files: (u64, u64),
}

impl Tokens {
    const fn text(tokens: u64) -> Self {
        Self { text: tokens, files: (0, 0) }
    }

    /// Tokens of a document or a video, in a range.
    const fn range(min: u64, max: u64) -> Self {
        Self { text: 0, files: (min, max) }
    }

    /// The estimate for a model with this context window: of longer documents it reads nothing.
    fn within(self, context_tokens: Option<u64>) -> PromptEstimate {
        let Self { text, files: (min, max) } = self;
        let context = context_tokens.unwrap_or(u64::MAX);
        PromptEstimate { min_tokens: text + min.min(context), max_tokens: text + max.min(context) }
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let files = (self.files.0 + other.files.0, self.files.1 + other.files.1);
        Self { text: self.text + other.text, files }
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// Estimates the tokens of the prompt of a Messages request, for a model with this context window.
#[must_use]
pub fn tokens(request: &Request<'_>, tokenizer: Tokenizer, context_tokens: Option<u64>) -> PromptEstimate {
    let messages = request.messages.iter().flat_map(|messages| messages.iter());
    let message = |content| Tokens::text(MESSAGE_TOKENS) + self::content(content, tokenizer);
    let messages: Tokens = messages.map(|part| message(part.content.as_ref())).sum();
    let tools = request.tools.iter().flat_map(|tools| tools.iter());
    let tools: u64 = tools.map(|tool| self::tool(tool, tokenizer)).sum();
    let tools_prompt = if tools > 0 { TOOLS_PROMPT_TOKENS } else { 0 };
    let format = request.output_config.as_ref().and_then(|output| output.format.as_ref());
    let formats = format.into_iter().chain(&request.output_format);
    let formats: u64 = formats.map(|format| self::format(format, tokenizer)).sum();
    let unknown = unknown(&request.unknown, tokenizer);
    let rest = Tokens::text(REQUEST_TOKENS + tools + tools_prompt + formats + unknown);
    (rest + messages + content(request.system.as_ref(), tokenizer)).within(context_tokens)
}

/// Estimates the tokens of the prompt of a Bedrock Runtime body in any format, for a model with this context window. Time is
/// linear in the body, and no memory is needed beside it.
#[must_use]
pub(crate) fn body_tokens(body: &[u8], tokenizer: Tokenizer, context_tokens: Option<u64>) -> PromptEstimate {
    body::tokens(body, tokenizer).within(context_tokens)
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
fn content(content: Option<&Content<'_>>, tokenizer: Tokenizer) -> Tokens {
    match content {
        None => Tokens::default(),
        Some(Content::Text(text)) => Tokens::text(tokenizer.text(text)),
        Some(Content::Blocks(blocks)) => blocks.iter().map(|block| self::block(block, tokenizer)).sum(),
        Some(Content::Object(members)) => {
            let members: u64 = members.iter().map(|(name, value)| member(name, value, tokenizer)).sum();
            Tokens::text(MESSAGE_TOKENS + members)
        }
    }
}

/// Tokens of all fields of a block of any type. An image has a fixed number, a document one for each page.
fn block(block: &Block<'_>, tokenizer: Tokenizer) -> Tokens {
    let kind = block.kind.as_deref();
    let source = match (&block.source, kind) {
        (_, Some("image")) => Tokens::text(tokenizer.image_tokens()),
        (Some(Source::Data(data)), Some("document")) => document(data, tokenizer),
        // Data of other block types counts as text, regardless of its media type.
        (Some(Source::Data(data)), _) => {
            Tokens::text(text(data.data.as_ref(), tokenizer)) + content(data.content.as_ref(), tokenizer)
        }
        (Some(Source::Name(name)), _) => Tokens::text(tokenizer.text(name)),
        (None, Some("document")) => file::UNKNOWN,
        (None, _) => Tokens::default(),
    };
    let prose = block.text.as_ref().map_or(0, |prose| tokenizer.text(&prose.text()));
    let texts = [
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
    let rest = MESSAGE_TOKENS + prose + texts + json + result + unknown(&block.unknown, tokenizer);
    source + content(block.content.as_ref(), tokenizer) + Tokens::text(rest)
}

fn document(data: &SourceData<'_>, tokenizer: Tokenizer) -> Tokens {
    // The layout of a text document in Bedrock is not documented; a page is the minimum.
    let page = Tokens::text(PAGE_TOKENS);
    match (&data.data, &data.content) {
        (Some(text), _) if data.media_type.as_deref() == Some("text/plain") => {
            page + Tokens::text(tokenizer.text(text))
        }
        (Some(base64), _) => file::tokens(base64, Some("pdf"), tokenizer),
        (None, Some(parts)) => page + content(Some(parts), tokenizer),
        (None, None) => file::UNKNOWN,
    }
}

fn text(text: Option<&JsonStr<'_>>, tokenizer: Tokenizer) -> u64 {
    text.map_or(0, |text| tokenizer.text(text))
}

fn raw(json: Option<RawJson<'_>>, tokenizer: Tokenizer) -> u64 {
    json.map_or(0, |json| tokenizer.json(json.get()))
}

fn unknown(members: &[(JsonStr<'_>, RawJson<'_>)], tokenizer: Tokenizer) -> u64 {
    members.iter().map(|(name, value)| member(name, *value, tokenizer)).sum()
}

fn member(name: &str, value: RawJson<'_>, tokenizer: Tokenizer) -> u64 {
    tokenizer.text(name) + tokenizer.json(value.get())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    const CONTEXT: u64 = 200_000;

    fn range(request: &Value, tokenizer: Tokenizer) -> PromptEstimate {
        tokens(&Request::parse(request.to_string().as_bytes()).unwrap(), tokenizer, Some(CONTEXT))
    }

    fn estimate(request: &Value, tokenizer: Tokenizer) -> u64 {
        let PromptEstimate { min_tokens, max_tokens } = range(request, tokenizer);
        assert_eq!(min_tokens, max_tokens);
        max_tokens
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
        let words = "one ".repeat(100);
        assert!((100..200).contains(&with("system", json!(words))));
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
        assert!(blocks(json!({"type": "novel", "source": {"type": "base64", "data": words}})) > 100);
        assert!(blocks(json!({"type": "web_search_tool_result", "content": {"words": words}})) > 100);
        assert!(blocks(json!({"type": "search_result", "source": words, "content": []})) > 100);
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
    fn document(source: Value) -> PromptEstimate {
        let block = json!({"type": "document", "source": source});
        range(&json!({"messages": [{"role": "user", "content": [block]}]}), Tokenizer::Dense)
    }

    #[test]
    fn documents_count_by_pages_within_the_context() {
        let pdf = |file: String| {
            document(
                json!({"type": "base64", "media_type": "application/pdf", "data": STANDARD.encode(file)}),
            )
        };
        let pages = |count: usize| format!("%PDF-1.4{}", "<</Type/Page/Parent 1 0 R>>".repeat(count));
        for (count, expected) in [(1, PAGE_TOKENS), (20, 20 * PAGE_TOKENS), (600, CONTEXT), (5_000, CONTEXT)]
        {
            let PromptEstimate { min_tokens, max_tokens } = pdf(pages(count));
            assert_eq!(min_tokens, max_tokens, "{count}");
            assert!((expected..expected + 100).contains(&max_tokens), "{count}: {max_tokens}");
        }
        let compressed = pdf(pages(1) + "<</Type/ObjStm>>");
        assert!(
            compressed.min_tokens < PAGE_TOKENS + 100 && compressed.max_tokens >= CONTEXT,
            "{compressed:?}"
        );
        let unknown = document(json!({"type": "url", "url": "x"}));
        assert!(unknown.min_tokens >= PAGE_TOKENS && unknown.max_tokens >= CONTEXT, "{unknown:?}");
        let text =
            document(json!({"type": "text", "media_type": "text/plain", "data": "12345 ".repeat(2_000)}));
        assert!(text.min_tokens == text.max_tokens && text.max_tokens > 10_000 + PAGE_TOKENS, "{text:?}");
        let parts = json!([{"type": "text", "text": "12345 ".repeat(2_000)}]);
        assert!(document(json!({"type": "content", "content": parts})).min_tokens > 10_000);
    }

    #[test]
    fn images_are_not_counted_as_text() {
        let data = "A".repeat(320_000);
        let source = json!({"type": "base64", "media_type": "image/png", "data": data});
        let request = json!({"messages": [{"content": [{"type": "image", "source": source}]}]});
        assert!((4_800..5_000).contains(&estimate(&request, Tokenizer::Dense)));
    }
}
