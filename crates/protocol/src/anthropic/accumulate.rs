//! Stream events into one message.
//!
//! Members are kept as JSON text and not as types, so that blocks and members without a name in this version survive.

mod members;

use std::collections::HashMap;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::members::{Members, Value};
use super::event_sink::EventSink;
use super::{BlockStart, Delta, Error, ErrorType, Event};
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Member, members};
use crate::partial_json::complete_partial_json;

/// Message whose blocks take the place of its member `content`.
struct Message {
    members: Members,
    blocks: Vec<Members>,
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.members.0.len()))?;
        for (key, value) in &self.members.0 {
            if key == "content" {
                map.serialize_entry(key, &self.blocks)?;
            } else {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// Largest message that is accumulated, in bytes of its parts: the longest outputs of today's models are below 1 MB.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// What a block without content counts for, in bytes: about the memory that it takes.
const BLOCK_BYTES: usize = 256;

/// Accumulator of the events of one response into one message.
///
/// A message larger than [`MAX_MESSAGE_BYTES`] is dropped, and [`finish`](Self::finish) reports it.
#[derive(Debug, Default)]
pub struct MessageAccumulator {
    message: Option<Members>,
    blocks: Vec<Block>,
    /// Position of the block of each number. Numbers may skip, and the last block of a number counts.
    positions: HashMap<Option<u64>, usize>,
    bytes: usize,
    complete: bool,
    error: Option<Error>,
}

/// Content block with the joined content of its deltas.
#[derive(Debug, Default)]
struct Block {
    members: Members,
    /// Arguments of a tool call.
    json: String,
    citations: Vec<Value>,
    /// Name of the tool when its arguments have to be JSON.
    checked_tool: Option<String>,
}

/// Event as JSON.
#[derive(Deserialize)]
struct RawEvent<'a> {
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
struct RawDelta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<JsonStr<'a>>,
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

impl EventSink for MessageAccumulator {
    /// Takes an event. Deltas of blocks that never began are ignored.
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::MessageStart { message } => self.start(Members::of_message(message)),
            Event::ContentBlockStart { index, content_block } => {
                let checked_tool = match content_block {
                    BlockStart::ToolUse { name, .. } => Some(name.to_string()),
                    _ => None,
                };
                let members = Members::of_block(content_block);
                self.open(Some((*index).into()), Block { members, checked_tool, ..Block::default() });
            }
            Event::ContentBlockDelta { index, delta } => self.typed_delta((*index).into(), delta),
            Event::MessageDelta { delta, usage } => {
                let Some(message) = &mut self.message else { return };
                message.set("stop_reason", Value::text_or_null(delta.stop_reason.as_deref()));
                message.set("stop_sequence", Value::text_or_null(delta.stop_sequence.as_deref()));
                // All counts are in it, in their order.
                message.set("usage", Value::json(usage));
            }
            Event::MessageStop => self.complete = true,
            Event::Error { error, .. } => self.fail(error.clone().into_owned()),
            Event::ContentBlockStop { .. } | Event::Ping => {}
        }
    }

    /// Takes an event as JSON. An event that is not JSON or of an unknown type adds nothing.
    fn raw(&mut self, name: &str, json: &str) {
        let Ok(event) = serde_json::from_str::<RawEvent<'_>>(json) else { return };
        match name {
            "message_start" => {
                self.message = None;
                if let Some(message) = event.message {
                    self.start(Members::read(message.get()));
                }
            }
            "content_block_start" => {
                let members = event.content_block.map(|block| Members::read(block.get())).unwrap_or_default();
                self.open(event.index, Block { members, ..Block::default() });
            }
            "content_block_delta" => {
                if let Some(delta) = event.delta {
                    self.raw_delta(event.index, delta);
                }
            }
            "message_delta" => self.end(&event, json),
            "message_stop" => self.complete = true,
            "error" => self.error = event.error.or(self.error.take()),
            _ => {}
        }
    }
}

impl MessageAccumulator {
    /// The message as JSON.
    ///
    /// # Errors
    /// The error that ended the stream; else that the stream did not end, that the message is too large, or that the
    /// model called a tool with arguments that are not JSON.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let (Some(mut members), true) = (self.message, self.complete) else {
            return Err(Error::new(ErrorType::Api, "the response ended before it was complete"));
        };
        let blocks: Vec<Members> = self.blocks.into_iter().map(Block::close).collect::<Result<_, _>>()?;
        members.set("content", Value::Null);
        let mut json = Vec::with_capacity(self.bytes);
        serde_json::to_writer(&mut json, &Message { members, blocks })
            .map_err(|error| Error::new(ErrorType::Api, error.to_string()))?;
        Ok(json)
    }

    fn start(&mut self, message: Members) {
        if self.reserve(message.size()) {
            self.message = Some(message);
        }
    }

    /// Whether the message is larger than [`MAX_MESSAGE_BYTES`], so that further events are in vain.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.bytes > MAX_MESSAGE_BYTES
    }

    fn open(&mut self, index: Option<u64>, block: Block) {
        if self.reserve(BLOCK_BYTES + block.members.size()) {
            self.positions.insert(index, self.blocks.len());
            self.blocks.push(block);
        }
    }

    /// Counts further bytes; `false` when the message has become too large.
    fn reserve(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if !self.is_too_large() {
            return true;
        }
        if self.error.is_none() {
            let message = format!(
                "the response is larger than {} MiB; use \"stream\": true for long responses",
                MAX_MESSAGE_BYTES >> 20
            );
            self.fail(Error::new(ErrorType::Api, message));
        }
        false
    }

    fn fail(&mut self, error: Error) {
        self.error = Some(error);
        (self.blocks, self.positions) = Default::default();
    }

    /// The block of this number.
    fn block(&mut self, index: Option<u64>, bytes: usize) -> Option<&mut Block> {
        if !self.reserve(bytes) {
            return None;
        }
        self.blocks.get_mut(*self.positions.get(&index)?)
    }

    fn typed_delta(&mut self, index: u64, delta: &Delta<'_>) {
        let index = Some(index);
        match delta {
            Delta::TextDelta { text } => {
                if let Some(block) = self.block(index, text.len()) {
                    block.members.append("text", text);
                }
            }
            Delta::ThinkingDelta { thinking } => {
                if let Some(block) = self.block(index, thinking.len()) {
                    block.members.append("thinking", thinking);
                }
            }
            Delta::SignatureDelta { signature } => {
                if let Some(block) = self.block(index, signature.len()) {
                    block.members.set("signature", Value::text(signature));
                }
            }
            Delta::InputJsonDelta { partial_json } => {
                if let Some(block) = self.block(index, partial_json.len()) {
                    block.json.push_str(partial_json);
                }
            }
            Delta::CitationsDelta { citation } => {
                let citation = Value::json(citation);
                if let Some(block) = self.block(index, citation.len()) {
                    block.citations.push(citation);
                }
            }
        }
    }

    fn raw_delta(&mut self, index: Option<u64>, delta: RawJson<'_>) {
        if let Some(block) = self.block(index, delta.get().len()) {
            let known: RawDelta<'_> = delta.read().unwrap_or_default();
            match known.kind.as_deref() {
                Some(kind) if !DELTA_TYPES.contains(&kind) => block.add_unknown(delta),
                _ => block.add(known),
            }
        }
    }

    /// Members of the end replace those of the beginning; in usage, each count replaces the one before it.
    fn end(&mut self, event: &RawEvent<'_>, json: &str) {
        if !self.reserve(json.len()) {
            return;
        }
        let Some(message) = &mut self.message else { return };
        // Some members of the end stand beside the delta (`context_management`).
        for (key, value) in Members::read(json).0 {
            if !matches!(&*key, "type" | "delta" | "usage") {
                message.set(&key, value);
            }
        }
        for member in event.delta.map(members).unwrap_or_default() {
            message.set(&member.key, Value::json(&member.value));
        }
        if let Some(usage) = event.usage {
            let mut all = message.json("usage").map(Members::read).unwrap_or_default();
            for member in members(usage) {
                all.set(&member.key, Value::json(&member.value));
            }
            message.set("usage", Value::json(&all));
        }
    }
}

/// Types of deltas whose members have a meaning in this version.
const DELTA_TYPES: [&str; 5] =
    ["text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta"];

impl Block {
    /// Takes a delta of an unknown type: its texts extend the members of the block, other values replace them.
    fn add_unknown(&mut self, delta: RawJson<'_>) {
        for Member { key, value } in members(delta).into_iter().filter(|member| &*member.key != "type") {
            match value.read::<JsonStr<'_>>() {
                Ok(text) => self.members.append(&key, &text),
                Err(_) => self.members.set(&key, Value::json(&value)),
            }
        }
    }

    fn add(&mut self, delta: RawDelta<'_>) {
        self.members.append("text", delta.text.as_deref().unwrap_or_default());
        self.members.append("thinking", delta.thinking.as_deref().unwrap_or_default());
        self.json.push_str(delta.partial_json.as_deref().unwrap_or_default());
        if let Some(signature) = delta.signature {
            self.members.set("signature", Value::text(&signature));
        }
        self.citations.extend(delta.citation.map(|citation| Value::json(&citation)));
    }

    fn close(mut self) -> Result<Members, Error> {
        if !self.citations.is_empty() {
            self.members.set("citations", Value::json(&self.citations));
        }
        if !self.json.trim().is_empty() {
            match arguments(&self.json) {
                Ok(input) => self.members.set("input", Value::Json(input)),
                Err(error) => {
                    if let Some(tool) = self.checked_tool {
                        let message = format!(
                            "the model called the tool `{tool}` with arguments that are not JSON: {error}"
                        );
                        return Err(Error::new(ErrorType::Api, message));
                    }
                }
            }
        }
        Ok(self.members)
    }
}

/// Arguments of a tool call. A response that ends at `max_tokens` may cut them off: the members that are complete are
/// kept, as the SDKs do.
fn arguments(json: &str) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).or_else(|_| RawValue::from_string(complete_partial_json(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_extend_the_block_of_their_index() {
        let mut accumulator = MessageAccumulator::default();
        for (kind, json) in [
            ("message_start", r#"{"message":{"content":[]}}"#),
            ("content_block_start", r#"{"index":0,"content_block":{"type":"text","text":""}}"#),
            ("content_block_start", r#"{"index":2,"content_block":{"type":"text","text":""}}"#),
            ("content_block_delta", r#"{"index":0,"delta":{"text":"first"}}"#),
            ("content_block_delta", r#"{"index":2,"delta":{"text":"second"}}"#),
            ("content_block_delta", r#"{"index":1,"delta":{"text":"other"}}"#),
            ("message_stop", "{}"),
        ] {
            accumulator.raw(kind, json);
        }
        assert_eq!(
            String::from_utf8(accumulator.finish().unwrap()).unwrap(),
            r#"{"content":[{"type":"text","text":"first"},{"type":"text","text":"second"}]}"#
        );
    }

    #[test]
    fn unknown_blocks_and_members_are_kept() {
        let mut accumulator = MessageAccumulator::default();
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
            accumulator.raw(kind, json);
        }
        assert_eq!(
            String::from_utf8(accumulator.finish().unwrap()).unwrap(),
            r#"{"id":"msg_1","type":"message","content":[{"type":"server_tool_use","id":"s","input":{"q": 1e3}},{"type":"text","text":"a\n","citations":[{"type":"novel"}]}],"stop_reason":"end_turn","novel":{"z":1.0},"usage":{"input_tokens":3,"output_tokens":9},"context_management":{"applied_edits":[]},"container":null}"#
        );
    }

    #[test]
    fn deltas_of_unknown_types_extend_their_block() {
        let mut accumulator = MessageAccumulator::default();
        for (kind, json) in [
            ("message_start", r#"{"message":{"content":[]}}"#),
            (
                "content_block_start",
                r#"{"index":0,"content_block":{"type":"compaction","content":null,"n":0}}"#,
            ),
            (
                "content_block_delta",
                r#"{"index":0,"delta":{"type":"compaction_delta","content":"a\n","n":1}}"#,
            ),
            (
                "content_block_delta",
                r#"{"index":0,"delta":{"type":"compaction_delta","content":"b","n":2.0}}"#,
            ),
            ("novel_event", r#"{"type":"novel_event","index":0,"delta":{"content":"c"}}"#),
            ("message_delta", r#"{"delta":{"stop_reason":"end_turn"},"input_transformations":[]}"#),
            ("message_stop", "{}"),
        ] {
            accumulator.raw(kind, json);
        }
        assert_eq!(
            String::from_utf8(accumulator.finish().unwrap()).unwrap(),
            r#"{"content":[{"type":"compaction","content":"a\nb","n":2.0}],"input_transformations":[],"stop_reason":"end_turn"}"#
        );
    }

    #[test]
    fn redacted_thinking_counts_towards_the_limit() {
        let data = "x".repeat(1 << 20);
        let typed = |accumulator: &mut MessageAccumulator, index| {
            let content_block = BlockStart::RedactedThinking { data: data.as_str().into() };
            accumulator.event(&Event::ContentBlockStart { index, content_block });
        };
        let raw = |accumulator: &mut MessageAccumulator, index| {
            let block = format!(r#"{{"type":"redacted_thinking","data":"{data}"}}"#);
            accumulator
                .raw("content_block_start", &format!(r#"{{"index":{index},"content_block":{block}}}"#));
        };
        for open in [&typed as &dyn Fn(&mut MessageAccumulator, u32), &raw] {
            let mut accumulator = MessageAccumulator::default();
            accumulator.raw("message_start", r#"{"message":{"content":[]}}"#);
            (0..40).for_each(|index| open(&mut accumulator, index));
            accumulator.raw("message_stop", "{}");
            assert!(accumulator.blocks.is_empty(), "nothing is held");
            assert!(accumulator.finish().unwrap_err().message.contains("32 MiB"));
        }
    }

    #[test]
    fn message_beyond_the_limit_is_an_error() {
        let mut accumulator = MessageAccumulator::default();
        accumulator.raw("message_start", r#"{"message":{"content":[]}}"#);
        accumulator.raw("content_block_start", r#"{"index":0,"content_block":{"type":"text","text":""}}"#);
        let text = "x".repeat(1 << 20);
        for _ in 0..40 {
            accumulator.event(&Event::ContentBlockDelta {
                index: 0,
                delta: Delta::TextDelta { text: text.as_str().into() },
            });
        }
        accumulator.raw("message_stop", "{}");
        assert!(accumulator.blocks.is_empty(), "nothing is held");
        assert!(accumulator.finish().unwrap_err().message.contains("32 MiB"));
    }
}
