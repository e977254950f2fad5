//! Folds a script into one answer, and reads the events of fixtures back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::response_metadata::Terms;
use crate::script::{Event, Step};

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
                if let Open::Text { text: all, .. } = open(&mut blocks, index, Open::text) {
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
            Event::Citation { index, citation } => {
                if let Some(Open::Text { citations, .. }) = last(&mut blocks, index) {
                    citations.push(citation);
                }
            }
            Event::MessageStop { reason: why, stop_sequence } => (reason, sequence) = (why, stop_sequence),
            Event::NativeStart { .. }
            | Event::MessageStart
            | Event::BlockStop { .. }
            | Event::Metadata
            | Event::Other { .. } => {}
        }
    }
    let content: Vec<Value> = blocks.into_iter().map(|(_, block)| block.value()).collect();
    let mut answer = json!({
        "metrics": {"latencyMs": latency_ms},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": reason,
        "usage": terms.metered.converse(),
    });
    if let Some(fields) = terms.response_fields(&reason, sequence.as_deref()) {
        answer["additionalModelResponseFields"] = fields;
    }
    for (name, value) in &terms.echoed {
        answer[name.as_str()] = value.clone();
    }
    answer
}

enum Open {
    Text { text: String, citations: Vec<Value> },
    Tool { id: String, name: String, json: String },
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
}

impl Open {
    fn text() -> Self {
        Self::Text { text: String::new(), citations: Vec::new() }
    }

    fn thinking() -> Self {
        Self::Thinking { text: String::new(), signature: None }
    }

    fn value(self) -> Value {
        match self {
            Self::Text { text, citations } if citations.is_empty() => json!({"text": text}),
            Self::Text { text, citations } => {
                json!({"citationsContent": {"citations": citations, "content": [{"text": text}]}})
            }
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
    let citation = &delta["citation"];
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
            .or_else(|| citation.is_object().then(|| Event::Citation { index, citation: citation.clone() }))
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
