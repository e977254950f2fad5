//! The Anthropic dialect of InvokeModel: reads a request, renders a script as chunks or as one message.
//!
//! After the AWS page "Anthropic Claude Messages API". Scripts speak ConverseStream; this room translates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Value, json};

use crate::converse::{Terms, fold, from_wire, items};
use crate::frame::{self, Padding};
use crate::issued::base62;
use crate::models::Model;
use crate::prompts::{Forced, Prompt, Tool};
use crate::script::{Event, Step};
use crate::tokens::{Metered, Prompted, Ttl};

/// Blocks of a content that may be a plain string.
fn blocks(value: &Value, member: &str) -> Vec<Value> {
    match value.get(member) {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        _ => items(value, member).to_vec(),
    }
}

/// The blocks of the request in the order the cache sees them.
pub(crate) fn prompted(body: &Value, model: &Model) -> Prompted {
    let mut all: Vec<(&str, Value)> =
        items(body, "tools").iter().map(|tool| ("tool", tool.clone())).collect();
    all.extend(blocks(body, "system").into_iter().map(|block| ("system", block)));
    for message in items(body, "messages") {
        let role = message["role"].as_str().unwrap_or_default();
        all.extend(blocks(message, "content").into_iter().map(|block| (role, block)));
    }
    let cached = all.iter().any(|(_, block)| block.get("cache_control").is_some_and(Value::is_object));
    let mut prompted = Prompted::new(model, cached);
    for _ in items(body, "messages") {
        prompted.message();
    }
    for (place, mut block) in all {
        // The mark is no part of what it marks: it moves on while the prefix stays the same.
        let mark = block.as_object_mut().and_then(|members| members.shift_remove("cache_control"));
        prompted.block(place, &block);
        if let Some(mark) = mark.filter(Value::is_object) {
            prompted.point(Ttl::read(mark.get("ttl")));
        }
    }
    prompted
}

/// The last user turn.
pub(crate) fn prompt(body: &Value) -> Prompt {
    let mut prompt = Prompt { signs: true, ..Prompt::default() };
    let last = items(body, "messages").iter().rev().find(|message| message["role"] == "user");
    for block in last.map(|message| blocks(message, "content")).unwrap_or_default() {
        match block["type"].as_str().unwrap_or_default() {
            "text" => prompt.texts.extend(block["text"].as_str().map(str::to_owned)),
            "image" => prompt.images.push(describe(&block)),
            "tool_result" => {
                let mut said = Vec::new();
                for part in blocks(&block, "content") {
                    said.extend(part["text"].as_str().map(str::to_owned));
                    if part["type"] == "image" {
                        prompt.images.push(describe(&part));
                    }
                }
                prompt.tool_results.push(said.join(" "));
            }
            _ => {}
        }
    }
    prompt.tools = items(body, "tools")
        .iter()
        .filter_map(|tool| {
            let name = tool.get("name")?.as_str()?.to_owned();
            Some(Tool { name, schema: tool["input_schema"].clone() })
        })
        .collect();
    let choice = &body["tool_choice"];
    prompt.forced = match choice["type"].as_str() {
        Some("any") => Some(Forced::Any),
        Some("tool") => choice["name"].as_str().map(|name| Forced::Named(name.to_owned())),
        _ => None,
    };
    let stops = items(body, "stop_sequences");
    prompt.stop_sequences = stops.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    prompt
}

fn describe(image: &Value) -> String {
    let source = &image["source"];
    let kind = source["media_type"].as_str().unwrap_or("image");
    match source["data"].as_str().and_then(|data| BASE64.decode(data).ok()) {
        Some(bytes) => format!("{kind}, {} bytes", bytes.len()),
        None => kind.to_owned(),
    }
}

/// The terms of an Invoke answer, which has no paths and echoes nothing in its body.
pub(crate) fn terms(metered: Metered) -> Terms {
    Terms { metered, response_paths: vec!["/stop_sequence".into()], echoed: serde_json::Map::new() }
}

/// Bedrock's tool ids differ between the two operations only in their prefix.
fn tool_id(id: &str) -> String {
    id.strip_prefix("tooluse_").map_or_else(|| id.to_owned(), |id| format!("toolu_bdrk_{id}"))
}

fn stop_reason(reason: &str) -> &str {
    match reason {
        "content_filtered" | "guardrail_intervened" => "refusal",
        "malformed_model_output" | "malformed_tool_use" => "end_turn",
        other => other,
    }
}

/// Translates ConverseStream events into Anthropic's, one request long.
#[derive(Debug)]
pub(crate) struct Translator {
    message_id: String,
    model: String,
    /// The block whose `content_block_start` has been sent.
    open: Option<u32>,
    redacted: String,
}

#[derive(Serialize)]
struct Chunk<'a> {
    bytes: String,
    p: &'a str,
}

impl Translator {
    pub(crate) fn new(model: &Model, seed: u64) -> Self {
        Self {
            message_id: format!("msg_bdrk_{}", base62(seed)),
            model: native_name(model),
            open: None,
            redacted: String::new(),
        }
    }

    /// Appends the chunks that one event becomes.
    pub(crate) fn write(
        &mut self,
        event: Event,
        terms: &Terms,
        latency_ms: u64,
        padding: &mut Padding,
        out: &mut BytesMut,
    ) {
        let mut chunk = |value: Value| {
            let bytes = BASE64.encode(value.to_string());
            let payload = serde_json::to_vec(&Chunk { bytes, p: padding.next() }).unwrap_or_default();
            frame::event("chunk", payload, out);
        };
        let start = |open: &mut Option<u32>, index: u32, block: Value| {
            if *open != Some(index) {
                *open = Some(index);
                Some(json!({"type": "content_block_start", "index": index, "content_block": block}))
            } else {
                None
            }
        };
        let delta =
            |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        match from_wire(event) {
            Event::MessageStart => chunk(json!({
                "type": "message_start",
                "message": {
                    "model": self.model,
                    "id": self.message_id,
                    "type": "message",
                    "role": "assistant",
                    "content": [],
                    "stop_reason": null,
                    "stop_sequence": null,
                    "usage": terms.metered.anthropic(1),
                },
            })),
            Event::ToolStart { index, id, name } => {
                let block = json!({"type": "tool_use", "id": tool_id(&id), "name": name, "input": {}});
                start(&mut self.open, index, block).into_iter().for_each(&mut chunk);
                chunk(delta(index, json!({"type": "input_json_delta", "partial_json": ""})));
            }
            Event::Text { index, text } => {
                let block = json!({"type": "text", "text": ""});
                start(&mut self.open, index, block).into_iter().for_each(&mut chunk);
                chunk(delta(index, json!({"type": "text_delta", "text": text})));
            }
            Event::ToolInput { index, json: part } => {
                chunk(delta(index, json!({"type": "input_json_delta", "partial_json": part})));
            }
            Event::Thinking { index, text } => {
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                start(&mut self.open, index, block).into_iter().for_each(&mut chunk);
                chunk(delta(index, json!({"type": "thinking_delta", "thinking": text})));
            }
            Event::Signature { index, signature } => {
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                start(&mut self.open, index, block).into_iter().for_each(&mut chunk);
                chunk(delta(index, json!({"type": "signature_delta", "signature": signature})));
            }
            // Anthropic sends redacted thinking whole, in its start event.
            Event::Redacted { data, .. } => self.redacted.push_str(&data),
            Event::BlockStop { index } => {
                if !self.redacted.is_empty() {
                    let block =
                        json!({"type": "redacted_thinking", "data": std::mem::take(&mut self.redacted)});
                    start(&mut self.open, index, block).into_iter().for_each(&mut chunk);
                }
                self.open = None;
                chunk(json!({"type": "content_block_stop", "index": index}));
            }
            Event::MessageStop { reason, stop_sequence } => chunk(json!({
                "type": "message_delta",
                "delta": {"stop_reason": stop_reason(&reason), "stop_sequence": stop_sequence},
                "usage": {"output_tokens": terms.metered.usage.output_tokens},
            })),
            Event::Metadata => chunk(json!({
                "type": "message_stop",
                "amazon-bedrock-invocationMetrics": metrics(&terms.metered, latency_ms),
            })),
            Event::Other { name, payload } => {
                let mut value = payload;
                value["type"] = name.into();
                chunk(value);
            }
        }
    }

    /// Folds a script into the answer of InvokeModel.
    pub(crate) fn fold(&self, steps: Vec<Step>, terms: &Terms) -> Value {
        let converse = fold(steps, terms, 0);
        let content: Vec<Value> =
            items(&converse["output"]["message"], "content").iter().map(native_block).collect();
        json!({
            "model": self.model,
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop_reason(converse["stopReason"].as_str().unwrap_or("end_turn")),
            "stop_sequence": converse["additionalModelResponseFields"]["stop_sequence"],
            "usage": terms.metered.anthropic(terms.metered.usage.output_tokens),
        })
    }
}

fn metrics(metered: &Metered, latency_ms: u64) -> Value {
    json!({
        "inputTokenCount": metered.usage.input_tokens,
        "outputTokenCount": metered.usage.output_tokens,
        "invocationLatency": latency_ms,
        "firstByteLatency": latency_ms.min(1),
        "cacheReadInputTokenCount": metered.usage.cache_read_tokens,
        "cacheWriteInputTokenCount": metered.usage.cache_write_tokens,
    })
}

fn native_block(block: &Value) -> Value {
    if let Some(tool) = block.get("toolUse") {
        let id = tool_id(tool["toolUseId"].as_str().unwrap_or_default());
        return json!({"type": "tool_use", "id": id, "name": tool["name"], "input": tool["input"]});
    }
    if let Some(reasoning) = block.get("reasoningContent") {
        if let Some(redacted) = reasoning["redactedContent"].as_str() {
            let data = BASE64.decode(redacted).unwrap_or_default();
            return json!({"type": "redacted_thinking", "data": String::from_utf8_lossy(&data)});
        }
        let text = &reasoning["reasoningText"];
        return json!({"type": "thinking", "thinking": text["text"], "signature": text["signature"]});
    }
    json!({"type": "text", "text": block["text"]})
}

/// The name under which the model knows itself: the id without the vendor and without the version suffix.
fn native_name(model: &Model) -> String {
    let name = model.id.strip_prefix("anthropic.").unwrap_or(model.id);
    name.split("-v1").next().unwrap_or(name).to_owned()
}
