//! The Converse dialect: reads a request, renders a script as frames or as one folded answer.
//!
//! After the API reference pages "Converse" and "ConverseStream". Validation is in `validate`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::frame::{self, Padding};
use crate::models::Model;
use crate::prompts::{Forced, Prompt, Tool};
use crate::script::{Event, Step};
use crate::tokens::{Metered, Prompted, Ttl};

/// The items of an array member; nothing when there is none.
pub(crate) fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The blocks of the request in the order the cache sees them.
pub(crate) fn prompted(body: &Value, model: &Model) -> Prompted {
    let tools = body.get("toolConfig").map_or(&[][..], |config| items(config, "tools"));
    let system = items(body, "system");
    let messages = items(body, "messages");
    let is_point = |block: &Value| block.get("cachePoint").is_some();
    let cached = tools.iter().chain(system).any(is_point)
        || messages.iter().any(|message| items(message, "content").iter().any(is_point));
    let mut prompted = Prompted::new(model, cached);
    let add = |prompted: &mut Prompted, place: &str, block: &Value| match block.get("cachePoint") {
        Some(point) => prompted.point(Ttl::read(point.get("ttl"))),
        None => prompted.block(place, block),
    };
    for tool in tools {
        add(&mut prompted, "tool", tool);
    }
    for block in system {
        add(&mut prompted, "system", block);
    }
    for message in messages {
        prompted.message();
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        for block in items(message, "content") {
            add(&mut prompted, role, block);
        }
    }
    prompted
}

/// The last user turn.
pub(crate) fn prompt(body: &Value, model: &Model) -> Prompt {
    let mut prompt = Prompt { signs: model.is_claude(), ..Prompt::default() };
    let last = items(body, "messages").iter().rev().find(|message| message["role"] == "user");
    for block in last.map_or(&[][..], |message| items(message, "content")) {
        if let Some(text) = block.get("text").and_then(Value::as_str) {
            prompt.texts.push(text.to_owned());
        } else if let Some(image) = block.get("image") {
            prompt.images.push(describe(image));
        } else if let Some(result) = block.get("toolResult") {
            let mut said = Vec::new();
            for part in items(result, "content") {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    said.push(text.to_owned());
                } else if let Some(value) = part.get("json") {
                    said.push(value.to_string());
                } else if let Some(image) = part.get("image") {
                    prompt.images.push(describe(image));
                }
            }
            prompt.tool_results.push(said.join(" "));
        }
    }
    if let Some(config) = body.get("toolConfig") {
        prompt.tools = items(config, "tools")
            .iter()
            .filter_map(|tool| {
                let spec = tool.get("toolSpec")?;
                let name = spec.get("name")?.as_str()?.to_owned();
                Some(Tool { name, schema: spec["inputSchema"]["json"].clone() })
            })
            .collect();
        let choice = config.get("toolChoice");
        prompt.forced = choice.and_then(|choice| match choice.get("tool") {
            Some(tool) => Some(Forced::Named(tool.get("name")?.as_str()?.to_owned())),
            None => choice.get("any").map(|_| Forced::Any),
        });
    }
    let stops = body.get("inferenceConfig").map_or(&[][..], |config| items(config, "stopSequences"));
    prompt.stop_sequences = stops.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    prompt
}

fn describe(image: &Value) -> String {
    let format = image["format"].as_str().unwrap_or("unknown");
    let bytes = image["source"]["bytes"].as_str().and_then(|data| BASE64.decode(data).ok());
    match bytes {
        Some(bytes) => format!("image/{format}, {} bytes", bytes.len()),
        None => format!("image/{format}"),
    }
}

/// The largest answer the request allows.
pub(crate) fn max_tokens(body: &Value, model: &Model) -> u64 {
    body["inferenceConfig"]["maxTokens"].as_u64().unwrap_or(model.max_output)
}

/// What the writers must know about the answer besides its script.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) metered: Metered,
    /// `additionalModelResponseFieldPaths` of the request.
    pub(crate) response_paths: Vec<String>,
    /// Members that the request makes the answer repeat, such as `serviceTier`.
    pub(crate) echoed: Map<String, Value>,
}

impl Terms {
    /// Reads the terms of a Converse request.
    pub(crate) fn read(body: &Value, metered: Metered) -> Self {
        let paths = items(body, "additionalModelResponseFieldPaths");
        let echoed = ["serviceTier", "performanceConfig"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), body.get(*name)?.clone())))
            .collect();
        let response_paths = paths.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Self { metered, response_paths, echoed }
    }

    /// `additionalModelResponseFields`: the asked paths, as far as the native answer has them.
    fn response_fields(&self, stop_sequence: Option<&str>) -> Option<Value> {
        let mut fields = Map::new();
        for path in &self.response_paths {
            match path.as_str() {
                "/stop_sequence" => {
                    fields.insert("stop_sequence".into(), stop_sequence.into());
                }
                "/delta/stop_sequence" => {
                    fields.insert("delta".into(), json!({"stop_sequence": stop_sequence}));
                }
                _ => {}
            }
        }
        (!fields.is_empty()).then_some(Value::Object(fields))
    }
}

#[derive(Serialize)]
struct DeltaEvent<'a> {
    #[serde(rename = "contentBlockIndex")]
    index: u32,
    delta: Delta<'a>,
    p: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Delta<'a> {
    Text(&'a str),
    ToolUse { input: &'a str },
    ReasoningContent(Reasoning<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Reasoning<'a> {
    Text(&'a str),
    Signature(&'a str),
    RedactedContent(String),
}

/// Appends one event as a ConverseStream frame.
pub(crate) fn write(
    event: &Event,
    terms: &Terms,
    latency_ms: u64,
    padding: &mut Padding,
    out: &mut BytesMut,
) {
    let p = padding.next();
    let delta = |index: u32, delta: Delta<'_>, out: &mut BytesMut| {
        // Strings and numbers always serialise.
        let payload = serde_json::to_vec(&DeltaEvent { index, delta, p }).unwrap_or_default();
        frame::event("contentBlockDelta", payload, out);
    };
    let plain = |name: &'static str, payload: Value, out: &mut BytesMut| {
        frame::event(name, payload.to_string(), out);
    };
    match event {
        Event::Text { index, text } => delta(*index, Delta::Text(text), out),
        Event::ToolInput { index, json } => delta(*index, Delta::ToolUse { input: json }, out),
        Event::Thinking { index, text } => delta(*index, Delta::ReasoningContent(Reasoning::Text(text)), out),
        Event::Signature { index, signature } => {
            delta(*index, Delta::ReasoningContent(Reasoning::Signature(signature)), out);
        }
        Event::Redacted { index, data } => {
            let data = Reasoning::RedactedContent(BASE64.encode(data));
            delta(*index, Delta::ReasoningContent(data), out);
        }
        Event::MessageStart => plain("messageStart", json!({"p": p, "role": "assistant"}), out),
        Event::ToolStart { index, id, name } => {
            let start = json!({"toolUse": {"name": name, "toolUseId": id}});
            plain("contentBlockStart", json!({"contentBlockIndex": index, "p": p, "start": start}), out);
        }
        Event::BlockStop { index } => {
            plain("contentBlockStop", json!({"contentBlockIndex": index, "p": p}), out);
        }
        Event::MessageStop { reason, stop_sequence } => {
            let mut payload = json!({"p": p, "stopReason": reason});
            if let Some(fields) = terms.response_fields(stop_sequence.as_deref()) {
                payload["additionalModelResponseFields"] = fields;
            }
            plain("messageStop", payload, out);
        }
        Event::Metadata => {
            let mut payload = json!({
                "metrics": {"latencyMs": latency_ms},
                "p": p,
                "usage": terms.metered.converse(),
            });
            for (name, value) in &terms.echoed {
                payload[name.as_str()] = value.clone();
            }
            plain("metadata", payload, out);
        }
        Event::Other { name, payload } => frame::event(name.clone(), payload.to_string(), out),
    }
}

/// Folds a script into the answer of Converse.
pub(crate) fn fold(steps: Vec<Step>, terms: &Terms, latency_ms: u64) -> Value {
    let mut blocks: Vec<(u32, Open)> = Vec::new();
    let mut reason = "end_turn".to_owned();
    let mut sequence = None;
    for step in steps {
        let Step::Event(event) = step else { continue };
        match from_wire(event) {
            Event::ToolStart { index, id, name } => {
                blocks.push((index, Open::Tool { id, name, json: String::new() }));
            }
            Event::Text { index, text } => {
                if let Open::Text(all) = open(&mut blocks, index, || Open::Text(String::new())) {
                    all.push_str(&text);
                }
            }
            Event::ToolInput { index, json: part } => {
                if let Some(Open::Tool { json, .. }) = last(&mut blocks, index) {
                    json.push_str(&part);
                }
            }
            Event::Thinking { index, text } => {
                if let Open::Thinking { text: all, .. } = open(&mut blocks, index, Open::thinking) {
                    all.push_str(&text);
                }
            }
            Event::Signature { index, signature } => {
                if let Open::Thinking { signature: slot, .. } = open(&mut blocks, index, Open::thinking) {
                    *slot = Some(signature);
                }
            }
            Event::Redacted { index, data } => {
                if let Open::Redacted(all) = open(&mut blocks, index, || Open::Redacted(String::new())) {
                    all.push_str(&data);
                }
            }
            Event::MessageStop { reason: why, stop_sequence } => (reason, sequence) = (why, stop_sequence),
            Event::MessageStart | Event::BlockStop { .. } | Event::Metadata | Event::Other { .. } => {}
        }
    }
    let content: Vec<Value> = blocks.into_iter().map(|(_, block)| block.value()).collect();
    let mut answer = json!({
        "metrics": {"latencyMs": latency_ms},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": reason,
        "usage": terms.metered.converse(),
    });
    if let Some(fields) = terms.response_fields(sequence.as_deref()) {
        answer["additionalModelResponseFields"] = fields;
    }
    for (name, value) in &terms.echoed {
        answer[name.as_str()] = value.clone();
    }
    answer
}

enum Open {
    Text(String),
    Tool { id: String, name: String, json: String },
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
}

impl Open {
    fn thinking() -> Self {
        Self::Thinking { text: String::new(), signature: None }
    }

    fn value(self) -> Value {
        match self {
            Self::Text(text) => json!({"text": text}),
            Self::Tool { id, name, json } => {
                // Arguments that were cut off cannot be folded into an object.
                let input: Value = serde_json::from_str(&json).unwrap_or_else(|_| json!({}));
                json!({"toolUse": {"input": input, "name": name, "toolUseId": id}})
            }
            Self::Thinking { text, signature } => {
                let mut block = json!({"text": text});
                if let Some(signature) = signature {
                    block["signature"] = signature.into();
                }
                json!({"reasoningContent": {"reasoningText": block}})
            }
            Self::Redacted(data) => json!({"reasoningContent": {"redactedContent": BASE64.encode(data)}}),
        }
    }
}

fn last(blocks: &mut [(u32, Open)], index: u32) -> Option<&mut Open> {
    blocks.iter_mut().rev().find(|(at, _)| *at == index).map(|(_, block)| block)
}

fn open(blocks: &mut Vec<(u32, Open)>, index: u32, new: impl FnOnce() -> Open) -> &mut Open {
    let at = match blocks.iter().position(|(at, _)| *at == index) {
        Some(at) => at,
        None => {
            blocks.push((index, new()));
            blocks.len() - 1
        }
    };
    &mut blocks[at].1
}

/// Understands the well-known events of fixtures, so that they can be folded and translated.
pub(crate) fn from_wire(event: Event) -> Event {
    let Event::Other { name, payload } = event else {
        return event;
    };
    let index = payload["contentBlockIndex"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let delta = &payload["delta"];
    let reasoning = &delta["reasoningContent"];
    let known = match name.as_str() {
        "messageStart" => Some(Event::MessageStart),
        "contentBlockStart" => {
            let tool = &payload["start"]["toolUse"];
            text(&tool["toolUseId"]).zip(text(&tool["name"])).map(|(id, name)| Event::ToolStart {
                index,
                id,
                name,
            })
        }
        "contentBlockDelta" => text(&delta["text"])
            .map(|text| Event::Text { index, text: text.into() })
            .or_else(|| text(&delta["toolUse"]["input"]).map(|json| Event::ToolInput { index, json }))
            .or_else(|| text(&reasoning["text"]).map(|text| Event::Thinking { index, text }))
            .or_else(|| text(&reasoning["signature"]).map(|signature| Event::Signature { index, signature }))
            .or_else(|| {
                let bytes = BASE64.decode(reasoning["redactedContent"].as_str()?).ok()?;
                Some(Event::Redacted { index, data: String::from_utf8(bytes).ok()? })
            }),
        "contentBlockStop" => Some(Event::BlockStop { index }),
        "messageStop" => {
            text(&payload["stopReason"]).map(|reason| Event::MessageStop { reason, stop_sequence: None })
        }
        "metadata" => Some(Event::Metadata),
        _ => None,
    };
    known.unwrap_or(Event::Other { name, payload })
}
