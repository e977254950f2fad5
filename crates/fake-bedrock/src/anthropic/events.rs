//! Translation of scripts into Anthropic's events, and their accumulation into one message.

use serde_json::{Value, json};

use crate::converse::recognize_event;
use crate::models::Model;
use crate::response_metadata::{ResponseMetadata, stop_details, stop_reason};
use crate::script::{ScriptEvent, ScriptStep};
use crate::signatures::base62;

/// Translator of ConverseStream events into Anthropic's, for one response.
#[derive(Debug)]
pub(crate) struct Translator {
    message_id: String,
    model: &'static str,
    /// Index of the block whose `content_block_start` has been sent.
    open: Option<u32>,
    redacted: String,
    /// Ids of the tool calls so far.
    tool_use_ids: Vec<String>,
}

impl Translator {
    pub(crate) fn new(model: &Model, seed: u64) -> Self {
        Self {
            message_id: format!("msg_bdrk_{}", base62(seed)),
            model: model.model_name(),
            open: None,
            redacted: String::new(),
            tool_use_ids: Vec::new(),
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "every caller creates the block for this call")]
    fn start(&mut self, index: u32, block: Value, events: &mut Vec<Value>) {
        if self.open != Some(index) {
            self.open = Some(index);
            events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        }
    }

    fn message_start(&self, metadata: &ResponseMetadata) -> Value {
        json!({
            "type": "message_start",
            "message": {
                "model": self.model,
                "id": self.message_id,
                "type": "message",
                "role": "assistant",
                "content": [],
                "stop_reason": null,
                "stop_sequence": null,
                "usage": metadata.metered.to_anthropic(1),
            },
        })
    }

    /// Translates one event of the script.
    pub(crate) fn translate(&mut self, event: ScriptEvent, metadata: &ResponseMetadata) -> Vec<Value> {
        let mut events = Vec::new();
        let delta =
            |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        match recognize_event(event) {
            ScriptEvent::MessageStart => events.push(self.message_start(metadata)),
            ScriptEvent::ToolStart { index, id, name } => {
                let id = tool_id(&id);
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.tool_use_ids.push(id);
                self.start(index, block, &mut events);
                events.push(delta(index, json!({"type": "input_json_delta", "partial_json": ""})));
            }
            ScriptEvent::Text { index, text } => {
                self.start(index, json!({"type": "text", "text": ""}), &mut events);
                events.push(delta(index, json!({"type": "text_delta", "text": text})));
            }
            ScriptEvent::ToolInput { index, json: part } => {
                events.push(delta(index, json!({"type": "input_json_delta", "partial_json": part})));
            }
            ScriptEvent::Thinking { index, text } => {
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                self.start(index, block, &mut events);
                events.push(delta(index, json!({"type": "thinking_delta", "thinking": text})));
            }
            ScriptEvent::Signature { index, signature } => {
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                self.start(index, block, &mut events);
                events.push(delta(index, json!({"type": "signature_delta", "signature": signature})));
            }
            // Anthropic sends all redacted thinking in `content_block_start`.
            ScriptEvent::Redacted { data, .. } => self.redacted.push_str(&data),
            ScriptEvent::Citation { index, citation } => {
                self.start(index, json!({"type": "text", "text": ""}), &mut events);
                let citation = anthropic_citation(&citation);
                events.push(delta(index, json!({"type": "citations_delta", "citation": citation})));
            }
            ScriptEvent::AnthropicBlockStart { index, block } => self.start(index, block, &mut events),
            ScriptEvent::BlockStop { index } => {
                if !self.redacted.is_empty() {
                    let block =
                        json!({"type": "redacted_thinking", "data": std::mem::take(&mut self.redacted)});
                    self.start(index, block, &mut events);
                }
                self.open = None;
                events.push(json!({"type": "content_block_stop", "index": index}));
            }
            ScriptEvent::MessageStop { reason, stop_sequence } => {
                let mut event = message_delta(&reason, stop_sequence.as_deref(), metadata);
                if let Some(safeguards) = metadata.safeguards {
                    event["delta"]["safeguard_results"] = safeguards.results(&self.tool_use_ids);
                }
                events.push(event);
            }
            ScriptEvent::Metadata => events.push(json!({"type": "message_stop"})),
            ScriptEvent::Other { name, payload } => {
                let mut value = payload;
                value["type"] = name.into();
                events.push(value);
            }
        }
        events
    }
}

fn message_delta(reason: &str, stop_sequence: Option<&str>, metadata: &ResponseMetadata) -> Value {
    let mut usage = metadata.usage();
    // `message_start` has reported the cache writes by their time to live.
    if let Some(members) = usage.as_object_mut() {
        members.shift_remove("cache_creation");
    }
    let mut event = json!({
        "type": "message_delta",
        "delta": {
            "stop_reason": stop_reason(reason),
            "stop_sequence": stop_sequence,
            "stop_details": stop_details(reason),
        },
        "usage": usage,
    });
    for (name, value) in &metadata.echoed {
        event[name.as_str()] = value.clone();
    }
    event
}

/// Accumulates a script into one message.
pub(crate) fn accumulate(
    mut translator: Translator,
    steps: Vec<ScriptStep>,
    metadata: &ResponseMetadata,
) -> Value {
    let mut message = json!({});
    let mut content: Vec<Value> = Vec::new();
    let mut input = String::new();
    for step in steps {
        let ScriptStep::Event(event) = step else { continue };
        for event in translator.translate(event, metadata) {
            match event["type"].as_str() {
                Some("message_start") => message = event["message"].clone(),
                Some("content_block_start") => {
                    input.clear();
                    content.push(event["content_block"].clone());
                }
                Some("content_block_delta") => {
                    if let Some(block) = content.last_mut() {
                        extend(block, &event["delta"], &mut input);
                    }
                }
                Some("content_block_stop") => {
                    // Truncated arguments are not valid JSON and stay out.
                    if let Some(block) = content.last_mut()
                        && !input.is_empty()
                        && let Ok(parsed) = serde_json::from_str(&input)
                    {
                        block["input"] = parsed;
                    }
                }
                Some("message_delta") => {
                    for name in ["stop_reason", "stop_sequence", "stop_details"] {
                        message[name] = event["delta"][name].clone();
                    }
                    for name in metadata.echoed.keys() {
                        message[name.as_str()] = event[name.as_str()].clone();
                    }
                    if let Some(results) = event["delta"].get("safeguard_results") {
                        message["safeguard_results"] = results.clone();
                    }
                }
                _ => {}
            }
        }
    }
    message["content"] = content.into();
    message["usage"] = metadata.usage();
    message
}

fn extend(block: &mut Value, delta: &Value, input: &mut String) {
    let mut append = |name: &str| {
        let text = format!("{}{}", block[name].as_str().unwrap_or(""), delta[name].as_str().unwrap_or(""));
        block[name] = text.into();
    };
    match delta["type"].as_str() {
        Some("text_delta") => append("text"),
        Some("thinking_delta") => append("thinking"),
        Some("signature_delta") => append("signature"),
        Some("input_json_delta") => input.push_str(delta["partial_json"].as_str().unwrap_or_default()),
        Some("citations_delta") => match block.get_mut("citations").and_then(Value::as_array_mut) {
            Some(citations) => citations.push(delta["citation"].clone()),
            None => block["citations"] = json!([delta["citation"]]),
        },
        _ => {}
    }
}

/// Tool use id of InvokeModel; it differs from Converse's only in the prefix.
fn tool_id(id: &str) -> String {
    id.strip_prefix("tooluse_").map_or_else(|| id.to_owned(), |id| format!("toolu_bdrk_{id}"))
}

fn anthropic_citation(citation: &Value) -> Value {
    let cited = &citation["sourceContent"][0]["text"];
    let (kind, location) = match citation["location"].as_object().and_then(|location| location.iter().next())
    {
        Some((kind, location)) => (kind.as_str(), location),
        None => ("", &Value::Null),
    };
    let names = match kind {
        "documentChar" => ("char_location", "start_char_index", "end_char_index"),
        "documentPage" => ("page_location", "start_page_number", "end_page_number"),
        "documentChunk" => ("content_block_location", "start_block_index", "end_block_index"),
        _ => {
            return json!({
                "type": "search_result_location",
                "cited_text": cited,
                "search_result_index": location["searchResultIndex"],
                "source": citation["source"],
                "title": citation["title"],
                "start_block_index": location["start"],
                "end_block_index": location["end"],
            });
        }
    };
    let mut result = json!({
        "type": names.0,
        "cited_text": cited,
        "document_index": location["documentIndex"],
        "document_title": citation["title"],
        "file_id": null,
    });
    result[names.1] = location["start"].clone();
    result[names.2] = location["end"].clone();
    result
}
