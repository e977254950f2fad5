//! Tokens of the prompt in a body of the Bedrock API: of Converse, or of a model that has the same blocks.
//!
//! Counts while the body is parsed, and keeps nothing of it: a body of small values would be a tree of many times its
//! size. Data below an image, a document or a video counts as that. Everything else counts as text, independent of
//! the names of its members.

use std::fmt;

use protocol::json::{JsonStr, RawJson};
use protocol::json_edit::members;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{MESSAGE_TOKENS, REQUEST_TOKENS, TOOLS_PROMPT_TOKENS, Tokenizer, Tokens, VIDEO_TOKENS, file};

/// Members that hold JSON which the model reads as text.
const JSON_MEMBERS: [&str; 4] = ["input", "json", "inputSchema", "additionalModelRequestFields"];
/// Longest decimal notation of a number that is not whole.
const FRACTION_TOKENS: u64 = 24;

/// Tokens of the prompt in `body`. A body that is no JSON counts by its length.
pub(super) fn tokens(body: &[u8], tokenizer: Tokenizer) -> Tokens {
    let mut json = serde_json::Deserializer::from_slice(body);
    let counted = Value(tokenizer).deserialize(&mut json);
    match counted.and_then(|tokens| json.end().map(|()| tokens)) {
        Ok(tokens) => Tokens::text(REQUEST_TOKENS) + tokens,
        Err(_) => Tokens::text(REQUEST_TOKENS + body.len() as u64),
    }
}

/// A value that is text, with images and documents in it.
#[derive(Clone, Copy)]
struct Value(Tokenizer);

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Tokens;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tokens, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tokens, E> {
        Ok(Tokens::text(self.0.text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens::default();
        while let Some(value) = values.next_element_seed(self)? {
            tokens = tokens + value + Tokens::text(MESSAGE_TOKENS);
        }
        Ok(tokens)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens::default();
        while let Some(name) = members.next_key::<JsonStr<'de>>()? {
            let value = match &*name {
                "image" => medium(members.next_value()?, self.0, Tokens::text(self.0.image_tokens())),
                "video" | "audio" => medium(members.next_value()?, self.0, Tokens::range(0, VIDEO_TOKENS)),
                "document" => document(members.next_value()?, self.0),
                "url" => url(members.next_value()?, self.0),
                // The provider adds a system prompt of its own when there are tools.
                "tools" => members.next_value_seed(self)? + Tokens::text(TOOLS_PROMPT_TOKENS),
                name if JSON_MEMBERS.contains(&name) => json(members.next_value()?, self.0),
                _ => members.next_value_seed(self)?,
            };
            tokens = tokens + value + Tokens::text(self.0.text(&name));
        }
        Ok(tokens)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tokens, E> {
        Ok(Tokens::text(1))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Tokens, E> {
        Ok(Tokens::text(1))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Tokens, E> {
        Ok(Tokens::text(1) + Tokens::text(digits(number.unsigned_abs())))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Tokens, E> {
        Ok(Tokens::text(digits(number)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Tokens, E> {
        Ok(Tokens::text(FRACTION_TOKENS))
    }
}

fn digits(number: u64) -> u64 {
    1 + u64::from(number.checked_ilog10().unwrap_or(0))
}

fn json(value: RawJson<'_>, tokenizer: Tokenizer) -> Tokens {
    Tokens::text(tokenizer.json(value.get()))
}

/// An image, a video or audio, which counts `tokens` if it has a source. Everything else in it is text.
fn medium(value: RawJson<'_>, tokenizer: Tokenizer, tokens: Tokens) -> Tokens {
    if !value.is_object() {
        return json(value, tokenizer);
    }
    let member = |name: &str, value| match name {
        "source" => tokens,
        _ => json(value, tokenizer),
    };
    members(value).into_iter().map(|part| member(&part.key, part.value)).sum()
}

/// A document. Everything but its file is text.
fn document(value: RawJson<'_>, tokenizer: Tokenizer) -> Tokens {
    if !value.is_object() {
        return json(value, tokenizer);
    }
    let parts = members(value);
    let format = parts.iter().find(|part| &*part.key == "format");
    let format: Option<JsonStr<'_>> = format.and_then(|format| format.value.read().ok());
    let source = |name: &str, value: RawJson<'_>| match name {
        "bytes" => match value.read::<JsonStr<'_>>() {
            Ok(base64) => file::tokens(&base64, format.as_deref(), tokenizer),
            Err(_) => json(value, tokenizer),
        },
        "s3Location" => file::UNKNOWN,
        _ => json(value, tokenizer),
    };
    let member = |name: &str, value| match name {
        "source" => members(value).into_iter().map(|part| source(&part.key, part.value)).sum(),
        _ => json(value, tokenizer),
    };
    parts.iter().map(|part| member(&part.key, part.value)).sum()
}

/// The value of `url`: an image, as in OpenAI's API, which some models have, or text.
fn url(value: RawJson<'_>, tokenizer: Tokenizer) -> Tokens {
    match value.get().starts_with("\"data:image/") {
        true => Tokens::text(tokenizer.image_tokens()),
        false => json(value, tokenizer),
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::super::{MAX_PAGES, PAGE_TOKENS};
    use super::*;

    const CONTEXT: u64 = 1_000_000;

    fn estimate(body: &Value) -> (u64, u64) {
        let tokens = tokens(body.to_string().as_bytes(), Tokenizer::Classic);
        let estimate = tokens.within(Some(CONTEXT));
        (estimate.min_tokens, estimate.max_tokens)
    }

    fn content(block: &Value) -> Value {
        json!({"messages": [{"role": "user", "content": [block]}]})
    }

    #[test]
    fn base64_counts_by_what_it_is_below() {
        let noise = STANDARD.encode([7, 99, 180, 211, 33, 250].repeat(2_000));
        let image = |name: &str| content(&json!({name: {"format": "png", "source": {"bytes": noise}}}));
        assert!(estimate(&image("image")).1 < 2_500);
        let (min, max) = estimate(&image("video"));
        assert!(min < 1_000 && (VIDEO_TOKENS..VIDEO_TOKENS + 1_000).contains(&max), "{min} {max}");
        // Text by any other name is text.
        for text in [
            json!({"text": noise}),
            json!({"bytes": noise}),
            json!({"data": noise}),
            json!({"toolUse": {"input": {"bytes": noise}}}),
            json!({"toolUse": {"input": {"image": {"source": {"bytes": noise}}}}}),
            json!({"toolResult": {"content": [{"json": {"document": {"source": {"bytes": noise}}}}]}}),
            json!({"image": {"name": noise}}),
            json!({"document": {"context": noise}}),
            json!({"document": {"source": {"text": noise}}}),
            json!({"document": {"source": {"content": [{"text": noise}]}}}),
            json!({"document": noise}),
        ] {
            assert!(estimate(&content(&text)).0 as usize > noise.len() / 2, "{text:.60}");
        }
    }

    #[test]
    fn documents_count_by_their_format() {
        let document = |format: &str, bytes: &[u8]| {
            let source = json!({"bytes": STANDARD.encode(bytes)});
            estimate(&content(&json!({"document": {"source": source, "name": "x", "format": format}})))
        };
        let text = "1!2@3#4$5%".repeat(1_000);
        for format in ["txt", "md", "csv", "html"] {
            assert!(document(format, text.as_bytes()).0 >= 10_000, "{format}");
        }
        let pdf = format!("%PDF-1.4{}", "<</Type/Page>>".repeat(20));
        let (min, max) = document("pdf", pdf.as_bytes());
        assert!(min == max && (20 * PAGE_TOKENS..21 * PAGE_TOKENS).contains(&max), "{max}");
        for (format, bytes) in [("docx", "PK"), ("xlsx", "PK"), ("pdf", "x"), ("novel", "x")] {
            let (min, max) = document(format, bytes.as_bytes());
            assert!(min < 2 * PAGE_TOKENS && max >= CONTEXT, "{format} {min} {max}");
        }
        let s3 = json!({"document": {"format": "txt", "source": {"s3Location": {"uri": "s3://a/b"}}}});
        assert!(estimate(&content(&s3)).1 >= CONTEXT.min(MAX_PAGES * PAGE_TOKENS));
    }

    #[test]
    fn body_counts_names_and_values() {
        let base = REQUEST_TOKENS;
        let text = |text: &str| Tokenizer::Classic.text(text);
        for (body, tokens) in [
            (json!({}), 0),
            (json!({"name": "text"}), text("name") + text("text")),
            (
                json!({"name": ["text", 1, -17, true, null]}),
                text("name") + text("text") + 5 * MESSAGE_TOKENS + 6,
            ),
            (json!({"a": 1.5}), 1 + FRACTION_TOKENS),
            (json!({"toolConfig": {"tools": []}}), text("toolConfig") + text("tools") + TOOLS_PROMPT_TOKENS),
            (json!({"url": "data:image/png;base64,AAAA"}), text("url") + 1_600),
        ] {
            assert_eq!(estimate(&body), (base + tokens, base + tokens), "{body:.80}");
        }
    }

    #[test]
    fn invalid_body_is_counted_by_its_length() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for body in ["", "{", "{} {}", r#"{"a":"\ud800"}"#, "[1e999]", deep.as_str()] {
            let expected = REQUEST_TOKENS + body.len() as u64;
            assert_eq!(tokens(body.as_bytes(), Tokenizer::Dense), Tokens::text(expected), "{body}");
        }
    }

    /// A tree of these values would take 32 bytes a value beside the 10 MB of the body, or 80 for a member.
    #[test]
    fn millions_of_small_values_are_counted() {
        const VALUES: usize = 5_000_000;
        let body = format!("[0{}]", ",0".repeat(VALUES - 1));
        let expected = REQUEST_TOKENS + VALUES as u64 * (MESSAGE_TOKENS + 1);
        assert_eq!(tokens(body.as_bytes(), Tokenizer::Dense), Tokens::text(expected));
    }
}
