//! Accumulation of a script into one Converse response.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::response_metadata::ResponseMetadata;
use crate::script::{ScriptEvent, ScriptStep};

/// Accumulates a script into one Converse response.
pub(crate) fn accumulate(steps: Vec<ScriptStep>, metadata: &ResponseMetadata, latency_ms: u64) -> Value {
    let mut blocks: Vec<(u32, Block)> = Vec::new();
    let mut reason = "end_turn".to_owned();
    let mut sequence = None;
    for step in steps {
        let ScriptStep::Event(event) = step else { continue };
        match recognize_event(event) {
            ScriptEvent::ToolStart { index, id, name } => {
                blocks.push((index, Block::Tool { id, name, json: String::new() }));
            }
            ScriptEvent::Text { index, text } => {
                if let Block::Text { text: all, .. } = find_or_insert(&mut blocks, index, Block::text) {
                    all.push_str(&text);
                }
            }
            ScriptEvent::ToolInput { index, json: part } => {
                if let Some(Block::Tool { json, .. }) = find_last(&mut blocks, index) {
                    json.push_str(&part);
                }
            }
            ScriptEvent::Thinking { index, text } => {
                if let Block::Thinking { text: all, .. } = find_or_insert(&mut blocks, index, Block::thinking)
                {
                    all.push_str(&text);
                }
            }
            ScriptEvent::Signature { index, signature } => {
                if let Block::Thinking { signature: slot, .. } =
                    find_or_insert(&mut blocks, index, Block::thinking)
                {
                    *slot = Some(signature);
                }
            }
            ScriptEvent::Redacted { index, data } => {
                if let Block::Redacted(all) =
                    find_or_insert(&mut blocks, index, || Block::Redacted(String::new()))
                {
                    all.push_str(&data);
                }
            }
            ScriptEvent::Citation { index, citation } => {
                if let Some(Block::Text { citations, .. }) = find_last(&mut blocks, index) {
                    citations.push(citation);
                }
            }
            ScriptEvent::MessageStop { reason: stop_reason, stop_sequence } => {
                (reason, sequence) = (stop_reason, stop_sequence);
            }
            ScriptEvent::AnthropicBlockStart { .. }
            | ScriptEvent::MessageStart
            | ScriptEvent::BlockStop { .. }
            | ScriptEvent::Metadata
            | ScriptEvent::Other { .. } => {}
        }
    }
    let content: Vec<Value> = blocks.into_iter().map(|(_, block)| block.value()).collect();
    let mut response = json!({
        "metrics": {"latencyMs": latency_ms},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": reason,
        "usage": metadata.metered.to_converse(),
    });
    if let Some(fields) = metadata.response_fields(&reason, sequence.as_deref()) {
        response["additionalModelResponseFields"] = fields;
    }
    for (name, value) in &metadata.echoed {
        response[name.as_str()] = value.clone();
    }
    response
}

enum Block {
    Text { text: String, citations: Vec<Value> },
    Tool { id: String, name: String, json: String },
    Thinking { text: String, signature: Option<String> },
    Redacted(String),
}

impl Block {
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
                // Truncated arguments are not valid JSON.
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

fn find_last(blocks: &mut [(u32, Block)], index: u32) -> Option<&mut Block> {
    blocks.iter_mut().rev().find(|(position, _)| *position == index).map(|(_, block)| block)
}

fn find_or_insert(blocks: &mut Vec<(u32, Block)>, index: u32, new: impl FnOnce() -> Block) -> &mut Block {
    let position = match blocks.iter().position(|(position, _)| *position == index) {
        Some(position) => position,
        None => {
            blocks.push((index, new()));
            blocks.len() - 1
        }
    };
    &mut blocks[position].1
}

/// Turns the known events of fixtures into typed events, so that they can be accumulated and translated.
pub(crate) fn recognize_event(event: ScriptEvent) -> ScriptEvent {
    let ScriptEvent::Other { name, payload } = event else {
        return event;
    };
    let index = payload["contentBlockIndex"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let delta = &payload["delta"];
    let reasoning = &delta["reasoningContent"];
    let citation = &delta["citation"];
    let recognized = match name.as_str() {
        "messageStart" => Some(ScriptEvent::MessageStart),
        "contentBlockStart" => {
            let tool = &payload["start"]["toolUse"];
            text(&tool["toolUseId"]).zip(text(&tool["name"])).map(|(id, name)| ScriptEvent::ToolStart {
                index,
                id,
                name,
            })
        }
        "contentBlockDelta" => text(&delta["text"])
            .map(|text| ScriptEvent::Text { index, text: text.into() })
            .or_else(|| {
                citation.is_object().then(|| ScriptEvent::Citation { index, citation: citation.clone() })
            })
            .or_else(|| text(&delta["toolUse"]["input"]).map(|json| ScriptEvent::ToolInput { index, json }))
            .or_else(|| text(&reasoning["text"]).map(|text| ScriptEvent::Thinking { index, text }))
            .or_else(|| {
                text(&reasoning["signature"]).map(|signature| ScriptEvent::Signature { index, signature })
            })
            .or_else(|| {
                let bytes = BASE64.decode(reasoning["redactedContent"].as_str()?).ok()?;
                Some(ScriptEvent::Redacted { index, data: String::from_utf8(bytes).ok()? })
            }),
        "contentBlockStop" => Some(ScriptEvent::BlockStop { index }),
        "messageStop" => text(&payload["stopReason"])
            .map(|reason| ScriptEvent::MessageStop { reason, stop_sequence: None }),
        "metadata" => Some(ScriptEvent::Metadata),
        _ => None,
    };
    recognized.unwrap_or(ScriptEvent::Other { name, payload })
}
