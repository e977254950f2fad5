//! How many tokens a prompt may come to, guessed from its JSON when nobody counts it. Errs high: a client that believes
//! it has less room than it has compacts early; one that believes the opposite fails.

use serde_json::Value;

/// What a request is taken to cost by itself.
const REQUEST: u64 = 16;
/// What a message costs beside its content.
const MESSAGE: u64 = 8;
/// What having tools costs: the model is told how to call them.
const TOOLS: u64 = 600;
/// What a tool costs beside its own text.
const TOOL: u64 = 24;
/// What a tool that the model knows by heart costs.
const KNOWN_TOOL: u64 = 1200;
/// A page of a document, as text and as a picture.
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
    pub fn of(id: &str) -> Self {
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
        let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
        // Other scripts: a token for every two bytes, which is more than one for each letter.
        let other = text.len() as u64 - ascii;
        ascii.div_ceil(self.letters()) + other.div_ceil(2)
    }
}

/// The tokens of a Messages request.
#[must_use]
pub fn tokens(request: &Value, tokenizer: Tokenizer) -> u64 {
    let list = |key: &str| request.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let messages: u64 =
        list("messages").iter().map(|message| MESSAGE + content(message.get("content"), tokenizer)).sum();
    let tools: u64 = list("tools").iter().map(|tool| self::tool(tool, tokenizer)).sum();
    let having_tools = if tools > 0 { TOOLS } else { 0 };
    REQUEST + content(request.get("system"), tokenizer) + messages + tools + having_tools
}

fn tool(tool: &Value, tokenizer: Tokenizer) -> u64 {
    let custom = tool.get("type").and_then(Value::as_str).is_none_or(|kind| kind == "custom");
    TOOL + if custom { 0 } else { KNOWN_TOOL } + tokenizer.text(&tool.to_string())
}

/// Text, or blocks.
fn content(content: Option<&Value>, tokenizer: Tokenizer) -> u64 {
    match content {
        None | Some(Value::Null) => 0,
        Some(Value::String(text)) => tokenizer.text(text),
        Some(Value::Array(blocks)) => blocks.iter().map(|block| self::block(block, tokenizer)).sum(),
        Some(other) => block(other, tokenizer),
    }
}

fn block(block: &Value, tokenizer: Tokenizer) -> u64 {
    let data = block.pointer("/source/data").and_then(Value::as_str);
    match block.get("type").and_then(Value::as_str) {
        Some("text") => content(block.get("text"), tokenizer),
        Some("image") => tokenizer.image(),
        Some("document") => {
            let around = content(block.get("title"), tokenizer) + content(block.get("context"), tokenizer);
            let text = block.pointer("/source/media_type").is_some_and(|kind| kind == "text/plain");
            around
                + match data {
                    Some(data) if text => tokenizer.text(data),
                    Some(data) => pages(data) * PAGE,
                    None => {
                        block.pointer("/source/content").map_or(PAGE, |inner| content(Some(inner), tokenizer))
                    }
                }
        }
        Some("tool_result") => TOOL + content(block.get("content"), tokenizer),
        // Calls, thoughts, and what is not known: all of it is taken for text.
        _ => MESSAGE + tokenizer.text(&block.to_string()),
    }
}

/// A guess: nobody opens the document for this.
fn pages(base64: &str) -> u64 {
    base64.len().div_ceil(PAGE_BYTES).clamp(1, MOST_PAGES) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_tokenizer_follows_the_generation() {
        for id in [
            "anthropic.claude-3-haiku-20240307-v1:0",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "anthropic.claude-opus-4-6-v1",
            "anthropic.claude-haiku-4-5-20251001-v1:0",
        ] {
            assert_eq!(Tokenizer::of(id), Tokenizer::Classic, "{id}");
        }
        for id in [
            "anthropic.claude-opus-4-7",
            "anthropic.claude-fable-5",
            "anthropic.claude-mythos-preview",
            "amazon.nova-pro-v1:0",
            "arn:x",
        ] {
            assert_eq!(Tokenizer::of(id), Tokenizer::Dense, "{id}");
        }
    }

    #[test]
    fn everything_that_costs_is_counted() {
        let base = json!({"messages": [{"role": "user", "content": "Hello"}]});
        let count = |value: &Value| tokens(value, Tokenizer::Classic);
        let few = count(&base);
        assert!((2..40).contains(&few), "{few}");
        let with = |key: &str, value: Value| {
            let mut request = base.clone();
            request[key] = value;
            count(&request) - few
        };
        let blocks = |block: Value| with("messages", json!([{"role": "user", "content": [block]}]));
        assert_eq!(with("system", json!("abc".repeat(100))), 100);
        assert!(with("tools", json!([{"name": "a", "input_schema": {"type": "object"}}])) > TOOLS);
        assert!(with("tools", json!([{"type": "bash_20250124", "name": "bash"}])) > TOOLS + KNOWN_TOOL);
        assert!(blocks(json!({"type": "image", "source": {"type": "url", "url": "x"}})) > 1500);
        assert!(tokens(&json!({"messages": [{"content": [{"type": "image"}]}]}), Tokenizer::Dense) > 4800);
        let data = "A".repeat(10 * PAGE_BYTES);
        let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}});
        assert!(blocks(pdf) > 9 * PAGE);
        let nested = json!({"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "abc".repeat(100)}]});
        assert!(blocks(nested) > 100);
        assert!(
            blocks(json!({"type": "tool_use", "id": "x", "name": "y", "input": {"text": "abc".repeat(100)}}))
                > 100
        );
        assert!(blocks(json!({"type": "novel", "text": "abc".repeat(100)})) > 100);
    }

    #[test]
    fn other_scripts_cost_more_for_each_letter() {
        assert_eq!(Tokenizer::Classic.text("漢字"), 3);
        assert_eq!(Tokenizer::Dense.text("abcd"), 2);
        assert_eq!(tokens(&json!([]), Tokenizer::Dense), REQUEST);
    }
}
