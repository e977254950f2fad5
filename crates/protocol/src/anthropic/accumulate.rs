//! Events as the model's own server wrote them, and the whole they make.
//!
//! For answers that are already in the client's language: they are passed on as they are, blocks and members
//! without a name in this version included. What is collected here is JSON text, not types.

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{Error, ErrorType};
use crate::json::{JsonStr, RawJson};
use crate::json_edit::members;
use crate::partial_json::complete_partial_json;

/// An object as ordered members of JSON text.
#[derive(Clone, Debug, Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    fn read(json: &str) -> Self {
        let Ok(object) = serde_json::from_str::<RawJson<'_>>(json) else { return Self::default() };
        let member =
            |member: crate::json_edit::Member<'_>| (member.key.to_string(), member.value.raw().to_owned());
        Self(members(object).into_iter().map(member).collect())
    }

    fn set(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.get())
    }

    fn text(&self, key: &str) -> String {
        self.get(key).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Collects raw events into a whole answer.
#[derive(Debug, Default)]
pub struct MessageAccumulator {
    message: Option<Members>,
    blocks: Vec<Block>,
    complete: bool,
    failure: Option<Error>,
}

/// A block, and what its deltas add up to.
#[derive(Debug, Default)]
struct Block {
    index: Option<u64>,
    members: Members,
    text: String,
    thinking: String,
    signature: Option<String>,
    json: String,
    citations: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    message: Option<RawJson<'a>>,
    #[serde(borrow, default)]
    content_block: Option<RawJson<'a>>,
    #[serde(borrow, default)]
    delta: Option<RawJson<'a>>,
    #[serde(borrow, default)]
    usage: Option<RawJson<'a>>,
    #[serde(default)]
    error: Option<Error>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    thinking: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    signature: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    citation: Option<RawJson<'a>>,
}

impl MessageAccumulator {
    /// Takes the next event. What is not JSON or of an unknown kind adds nothing.
    pub fn push(&mut self, kind: &str, json: &str) {
        let Ok(event) = serde_json::from_str::<Event<'_>>(json) else { return };
        match kind {
            "message_start" => self.message = event.message.map(|message| Members::read(message.get())),
            "content_block_start" => {
                let members = event.content_block.map(|block| Members::read(block.get())).unwrap_or_default();
                self.blocks.push(Block { index: event.index, members, ..Block::default() });
            }
            "content_block_delta" => {
                // By its number and not by its place: numbers may skip.
                let block = self.blocks.iter_mut().rev().find(|block| block.index == event.index);
                if let (Some(block), Some(delta)) = (block, event.delta) {
                    block.add(delta);
                }
            }
            "message_delta" => self.end(&event, json),
            "message_stop" => self.complete = true,
            "error" => self.failure = event.error,
            _ => {}
        }
    }

    /// Members of the end go over those of the beginning; usage goes over usage, count by count.
    fn end(&mut self, event: &Event<'_>, json: &str) {
        let Some(message) = &mut self.message else { return };
        // Some of what is said last stands beside the delta (`context_management`).
        for (key, value) in Members::read(json).0 {
            if !matches!(key.as_str(), "type" | "delta" | "usage") {
                message.set(&key, value);
            }
        }
        for member in event.delta.map(members).unwrap_or_default() {
            message.set(&member.key, member.value.raw().to_owned());
        }
        if let Some(usage) = event.usage {
            let mut all = message.get("usage").map(Members::read).unwrap_or_default();
            for member in members(usage) {
                all.set(&member.key, member.value.raw().to_owned());
            }
            if let Ok(all) = serde_json::value::to_raw_value(&all) {
                message.set("usage", all);
            }
        }
    }

    /// The whole answer, as JSON.
    ///
    /// # Errors
    /// The error that the stream ended with, or that it did not end.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let (Some(mut message), true) = (self.message, self.complete) else {
            return Err(Error::new(ErrorType::Api, "the answer ended before it was complete"));
        };
        let broken = |error: serde_json::Error| Error::new(ErrorType::Api, error.to_string());
        let blocks: Vec<Members> = self.blocks.into_iter().map(Block::close).collect();
        message.set("content", serde_json::value::to_raw_value(&blocks).map_err(broken)?);
        serde_json::to_vec(&message).map_err(broken)
    }
}

impl Block {
    fn add(&mut self, delta: RawJson<'_>) {
        let delta: Delta<'_> = delta.read().unwrap_or_default();
        self.text.push_str(delta.text.as_deref().unwrap_or_default());
        self.thinking.push_str(delta.thinking.as_deref().unwrap_or_default());
        self.json.push_str(delta.partial_json.as_deref().unwrap_or_default());
        self.signature = delta.signature.map(|text| text.to_string()).or(self.signature.take());
        self.citations.extend(delta.citation.map(|citation| citation.raw().to_owned()));
    }

    fn close(mut self) -> Members {
        if !self.text.is_empty() {
            let text = self.members.text("text") + &self.text;
            self.members.set("text", string(&text));
        }
        if !self.thinking.is_empty() {
            let thinking = self.members.text("thinking") + &self.thinking;
            self.members.set("thinking", string(&thinking));
        }
        if let Some(signature) = &self.signature {
            self.members.set("signature", string(signature));
        }
        if !self.citations.is_empty() {
            let citations = serde_json::value::to_raw_value(&self.citations);
            if let Ok(citations) = citations {
                self.members.set("citations", citations);
            }
        }
        if !self.json.trim().is_empty() {
            let whole = RawValue::from_string(self.json.clone());
            if let Ok(input) = whole.or_else(|_| RawValue::from_string(complete_partial_json(&self.json))) {
                self.members.set("input", input);
            }
        }
        self.members
    }
}

fn string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_goes_to_the_block_of_its_number() {
        let mut fold = MessageAccumulator::default();
        for (kind, json) in [
            ("message_start", r#"{"message":{"content":[]}}"#),
            ("content_block_start", r#"{"index":0,"content_block":{"type":"text","text":""}}"#),
            ("content_block_start", r#"{"index":2,"content_block":{"type":"text","text":""}}"#),
            ("content_block_delta", r#"{"index":0,"delta":{"text":"first"}}"#),
            ("content_block_delta", r#"{"index":2,"delta":{"text":"second"}}"#),
            ("content_block_delta", r#"{"index":1,"delta":{"text":"nobody's"}}"#),
            ("message_stop", "{}"),
        ] {
            fold.push(kind, json);
        }
        assert_eq!(
            String::from_utf8(fold.finish().unwrap()).unwrap(),
            r#"{"content":[{"type":"text","text":"first"},{"type":"text","text":"second"}]}"#
        );
    }

    #[test]
    fn blocks_and_members_without_a_name_here_are_kept() {
        let mut fold = MessageAccumulator::default();
        for (kind, json) in [
            (
                "message_start",
                r#"{"type":"message_start","message":{"id":"msg_1","type":"message","content":[],"stop_reason":null,"novel":{"z":1.0},"usage":{"input_tokens":3,"output_tokens":1}}}"#,
            ),
            (
                "content_block_start",
                r#"{"index":0,"content_block":{"type":"server_tool_use","id":"s","input":{}}}"#,
            ),
            (
                "content_block_delta",
                r#"{"index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q\": 1e3"}}"#,
            ),
            ("content_block_delta", r#"{"index":0,"delta":{"type":"input_json_delta","partial_json":"}"}}"#),
            ("content_block_stop", r#"{"index":0}"#),
            ("content_block_start", r#"{"index":2,"content_block":{"type":"text","text":""}}"#),
            ("content_block_delta", r#"{"index":2,"delta":{"type":"text_delta","text":"a\n"}}"#),
            (
                "content_block_delta",
                r#"{"index":2,"delta":{"type":"citations_delta","citation":{"type":"novel"}}}"#,
            ),
            (
                "message_delta",
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","container":null},"usage":{"output_tokens":9},"context_management":{"applied_edits":[]}}"#,
            ),
            ("message_stop", r#"{"type":"message_stop"}"#),
        ] {
            fold.push(kind, json);
        }
        assert_eq!(
            String::from_utf8(fold.finish().unwrap()).unwrap(),
            r#"{"id":"msg_1","type":"message","content":[{"type":"server_tool_use","id":"s","input":{"q": 1e3}},{"type":"text","text":"a\n","citations":[{"type":"novel"}]}],"stop_reason":"end_turn","novel":{"z":1.0},"usage":{"input_tokens":3,"output_tokens":9},"context_management":{"applied_edits":[]},"container":null}"#
        );
    }
}
