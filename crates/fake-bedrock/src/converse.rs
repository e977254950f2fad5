//! Converse format: parses requests, encodes scripts as ConverseStream frames or as one response.

mod request;
mod response;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use request::{MAX_CITED_CHARS, cacheable_prompt, items, max_tokens, omits_thinking, prompt};
pub(crate) use response::{accumulate, recognize_event};

use crate::frame::{self, Padding};
use crate::response_metadata::ResponseMetadata;
use crate::script::ScriptEvent;

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
    Citation(&'a Value),
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
    event: &ScriptEvent,
    metadata: &ResponseMetadata,
    latency_ms: u64,
    padding: &mut Padding,
    out: &mut BytesMut,
) {
    let p = padding.next();
    let delta = |index: u32, delta: Delta<'_>, out: &mut BytesMut| {
        // Strings and numbers always serialize.
        let payload = serde_json::to_vec(&DeltaEvent { index, delta, p }).unwrap_or_default();
        frame::event("contentBlockDelta", payload, out);
    };
    let write_event = |name: &'static str, payload: Value, out: &mut BytesMut| {
        frame::event(name, payload.to_string(), out);
    };
    match event {
        ScriptEvent::Text { index, text } => delta(*index, Delta::Text(text), out),
        ScriptEvent::ToolInput { index, json } => delta(*index, Delta::ToolUse { input: json }, out),
        ScriptEvent::Thinking { index, text } => {
            delta(*index, Delta::ReasoningContent(Reasoning::Text(text)), out);
        }
        ScriptEvent::Signature { index, signature } => {
            delta(*index, Delta::ReasoningContent(Reasoning::Signature(signature)), out);
        }
        ScriptEvent::Redacted { index, data } => {
            let data = Reasoning::RedactedContent(BASE64.encode(data));
            delta(*index, Delta::ReasoningContent(data), out);
        }
        ScriptEvent::Citation { index, citation } => delta(*index, Delta::Citation(citation), out),
        // Converse has no such block.
        ScriptEvent::AnthropicBlockStart { .. } => {}
        ScriptEvent::MessageStart => write_event("messageStart", json!({"p": p, "role": "assistant"}), out),
        ScriptEvent::ToolStart { index, id, name } => {
            let start = json!({"toolUse": {"name": name, "toolUseId": id}});
            write_event(
                "contentBlockStart",
                json!({"contentBlockIndex": index, "p": p, "start": start}),
                out,
            );
        }
        ScriptEvent::BlockStop { index } => {
            write_event("contentBlockStop", json!({"contentBlockIndex": index, "p": p}), out);
        }
        ScriptEvent::MessageStop { reason, stop_sequence } => {
            let mut payload = json!({"p": p, "stopReason": reason});
            if let Some(fields) = metadata.response_fields(reason, stop_sequence.as_deref()) {
                payload["additionalModelResponseFields"] = fields;
            }
            write_event("messageStop", payload, out);
        }
        ScriptEvent::Metadata => {
            let mut payload = json!({
                "metrics": {"latencyMs": latency_ms},
                "p": p,
                "usage": metadata.metered.to_converse(),
            });
            for (name, value) in &metadata.echoed {
                payload[name.as_str()] = value.clone();
            }
            write_event("metadata", payload, out);
        }
        ScriptEvent::Other { name, payload } => frame::event(name.clone(), payload.to_string(), out),
    }
}
