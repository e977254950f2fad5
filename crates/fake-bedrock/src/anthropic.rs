//! The Anthropic dialect of InvokeModel and of the Messages routes: reads a request.
//!
//! After the AWS page "Anthropic Claude Messages API" and Anthropic's own reference.

mod events;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

pub(crate) use events::{Translator, fold};

use crate::converse::{CITED, hides_thinking, items};
use crate::directives::{Citable, Forced, Prompt, Tool};
use crate::models::Model;
use crate::routes::Route;
use crate::tokens::{Prompted, Ttl};

/// Blocks of a content that may be a plain string.
fn blocks(value: &Value, member: &str) -> Vec<Value> {
    match value.get(member) {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        _ => items(value, member).to_vec(),
    }
}

/// The names of the deferred tools whose definitions have been found so far.
fn found(body: &Value) -> Vec<&str> {
    let blocks = items(body, "messages").iter().flat_map(|message| items(message, "content"));
    let references = blocks.flat_map(|block| match block["type"].as_str() {
        Some("tool_result") => items(block, "content"),
        Some("tool_search_tool_result") => items(&block["content"], "tool_references"),
        _ => &[],
    });
    references.filter_map(|reference| reference["tool_name"].as_str()).collect()
}

fn is_deferred(tool: &Value, found: &[&str]) -> bool {
    tool["defer_loading"] == true && !tool["name"].as_str().is_some_and(|name| found.contains(&name))
}

/// The blocks of the request in the order the cache sees them; the model does not see what is deferred.
pub(crate) fn prompted(body: &Value, model: &Model) -> Prompted {
    let found = found(body);
    let tools = items(body, "tools").iter().filter(|tool| !is_deferred(tool, &found));
    // What is no block is the beginning of a message.
    let mut all: Vec<(&str, Option<Value>)> = tools.map(|tool| ("tool", Some(tool.clone()))).collect();
    all.extend(blocks(body, "system").into_iter().map(|block| ("system", Some(block))));
    for message in items(body, "messages") {
        let role = message["role"].as_str().unwrap_or_default();
        all.push((role, None));
        all.extend(blocks(message, "content").into_iter().map(|block| (role, Some(block))));
    }
    // The mark of the body itself stands for one on the last block.
    let automatic = body.get("cache_control").filter(|mark| mark.is_object());
    let cached = automatic.is_some()
        || all
            .iter()
            .any(|(_, block)| block.as_ref().is_some_and(|block| block["cache_control"].is_object()));
    let mut prompted = Prompted::new(model, cached);
    for (place, block) in all {
        let Some(mut block) = block else {
            prompted.message();
            continue;
        };
        // The mark is no part of what it marks: it moves on while the prefix stays the same.
        let mark = block.as_object_mut().and_then(|members| members.shift_remove("cache_control"));
        prompted.block(place, &block);
        if let Some(mark) = mark.filter(Value::is_object) {
            prompted.point(Ttl::read(mark.get("ttl")));
        }
    }
    if let Some(mark) = automatic {
        prompted.point(Ttl::read(mark.get("ttl")));
    }
    prompted
}

/// The last user turn.
pub(crate) fn prompt(body: &Value, model: &Model, route: Route) -> Prompt {
    let format = &body["output_config"]["format"]["schema"];
    let mut prompt = Prompt {
        signs: true,
        hides: hides_thinking(&body["thinking"], model),
        route,
        format: format.is_object().then(|| format.clone()),
        citable: citable(body),
        ..Prompt::default()
    };
    let last = items(body, "messages").iter().rev().find(|message| message["role"] == "user");
    for block in last.map(|message| blocks(message, "content")).unwrap_or_default() {
        match block["type"].as_str().unwrap_or_default() {
            "text" => prompt.texts.extend(block["text"].as_str().map(str::to_owned)),
            "image" => prompt.images.push(describe(&block)),
            "tool_result" => {
                let mut said = Vec::new();
                for part in blocks(&block, "content") {
                    said.extend(part["text"].as_str().map(str::to_owned));
                    said.extend(part["tool_name"].as_str().map(|name| format!("{name} is loaded")));
                    if part["type"] == "image" {
                        prompt.images.push(describe(&part));
                    }
                }
                prompt.tool_results.push(said.join(" "));
            }
            _ => {}
        }
    }
    let found = found(body);
    for tool in items(body, "tools") {
        let Some(name) = tool["name"].as_str().map(str::to_owned) else {
            continue;
        };
        let kind = tool["type"].as_str().unwrap_or("custom");
        if kind.starts_with("tool_search_tool_") {
            prompt.search = Some(name);
            continue;
        }
        let schema = typed(kind).unwrap_or_else(|| tool["input_schema"].clone());
        prompt.tools.push(Tool { name, schema, deferred: is_deferred(tool, &found) });
    }
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

/// A schema for the tools whose schema the model knows by heart.
fn typed(kind: &str) -> Option<Value> {
    let of = |members: Value| {
        let names: Vec<&String> = members.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
        Some(json!({"type": "object", "required": names, "properties": members}))
    };
    match kind {
        _ if kind.starts_with("bash_") => of(json!({"command": {"type": "string"}})),
        _ if kind.starts_with("text_editor_") => {
            of(json!({"command": {"const": "view"}, "path": {"type": "string"}}))
        }
        _ if kind.starts_with("memory_") => {
            of(json!({"command": {"const": "view"}, "path": {"const": "/memories"}}))
        }
        _ if kind.starts_with("computer_") => of(json!({"action": {"const": "screenshot"}})),
        _ => None,
    }
}

/// The documents and search results whose citations are enabled, numbered as Anthropic numbers them: all count.
fn citable(body: &Value) -> Vec<Citable> {
    let mut list = Vec::new();
    let (mut documents, mut results) = (0, 0);
    for block in items(body, "messages").iter().flat_map(|message| items(message, "content")) {
        let wanted = block["citations"]["enabled"] == true;
        let title = block["title"].as_str();
        match block["type"].as_str() {
            Some("document") => {
                let (index, source) = (documents, &block["source"]);
                documents += 1;
                let (text, location) = match source["type"].as_str() {
                    Some("text") => {
                        let text = source["data"].as_str().unwrap_or_default();
                        let end = text.chars().count().min(CITED);
                        let location =
                            json!({"documentChar": {"documentIndex": index, "start": 0, "end": end}});
                        (text.to_owned(), location)
                    }
                    Some("content") => {
                        let first = blocks(source, "content").into_iter().next().unwrap_or_default();
                        let location =
                            json!({"documentChunk": {"documentIndex": index, "start": 0, "end": 1}});
                        (first["text"].as_str().unwrap_or_default().to_owned(), location)
                    }
                    _ => {
                        let location =
                            json!({"documentPage": {"documentIndex": index, "start": 1, "end": 2}});
                        ("what the first page says".to_owned(), location)
                    }
                };
                if wanted {
                    let title = title.unwrap_or("The document").to_owned();
                    list.push(Citable { title, source: None, text, location });
                }
            }
            Some("search_result") => {
                let index = results;
                results += 1;
                if wanted {
                    let first = items(block, "content").first().and_then(|part| part["text"].as_str());
                    list.push(Citable {
                        title: title.unwrap_or_default().to_owned(),
                        source: block["source"].as_str().map(str::to_owned),
                        text: first.unwrap_or_default().to_owned(),
                        location: json!({
                            "searchResultLocation": {"searchResultIndex": index, "start": 0, "end": 1}
                        }),
                    });
                }
            }
            _ => {}
        }
    }
    list
}

fn describe(image: &Value) -> String {
    let source = &image["source"];
    let kind = source["media_type"].as_str().unwrap_or("image");
    match source["data"].as_str().and_then(|data| BASE64.decode(data).ok()) {
        Some(bytes) => format!("{kind}, {} bytes", bytes.len()),
        None => kind.to_owned(),
    }
}
