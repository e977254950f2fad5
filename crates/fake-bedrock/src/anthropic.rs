//! Parser of Anthropic bodies: InvokeModel and the Messages API.
//!
//! After the AWS page "Anthropic Claude Messages API" and Anthropic's own reference.

mod events;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

pub(crate) use events::{Translator, accumulate};

use crate::converse::{MAX_CITED_CHARS, items, omits_thinking};
use crate::directives::{CitableSource, ForcedTool, Prompt, ToolDefinition};
use crate::models::Model;
use crate::routes::Api;
use crate::tokens::{CacheablePrompt, Ttl};

/// Content blocks of a member that may also be a string.
pub(crate) fn blocks(value: &Value, member: &str) -> Vec<Value> {
    match value.get(member) {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        _ => items(value, member).to_vec(),
    }
}

/// Names of the deferred tools whose definitions the conversation has loaded.
fn loaded_tools(body: &Value) -> Vec<&str> {
    let blocks = items(body, "messages").iter().flat_map(|message| items(message, "content"));
    let references = blocks.flat_map(|block| match block["type"].as_str() {
        Some("tool_result") => items(block, "content"),
        Some("tool_search_tool_result") => items(&block["content"], "tool_references"),
        _ => &[],
    });
    references.filter_map(|reference| reference["tool_name"].as_str()).collect()
}

fn is_deferred(tool: &Value, loaded: &[&str]) -> bool {
    tool["defer_loading"] == true && !tool["name"].as_str().is_some_and(|name| loaded.contains(&name))
}

/// Blocks of the prompt in cache order, without deferred tools.
pub(crate) fn cacheable_prompt(body: &Value, model: &Model) -> CacheablePrompt {
    let loaded = loaded_tools(body);
    let tools = items(body, "tools").iter().filter(|tool| !is_deferred(tool, &loaded));
    // `None` stands for the start of a message.
    let mut all: Vec<(&str, Option<Value>)> = tools.map(|tool| ("tool", Some(tool.clone()))).collect();
    all.extend(blocks(body, "system").into_iter().map(|block| ("system", Some(block))));
    for message in items(body, "messages") {
        let role = message["role"].as_str().unwrap_or_default();
        all.push((role, None));
        all.extend(blocks(message, "content").into_iter().map(|block| (role, Some(block))));
    }
    // A top-level `cache_control` marks the last block.
    let automatic_marker = body.get("cache_control").filter(|marker| marker.is_object());
    let has_cache_points = automatic_marker.is_some()
        || all
            .iter()
            .any(|(_, block)| block.as_ref().is_some_and(|block| block["cache_control"].is_object()));
    let mut cacheable = CacheablePrompt::new(model, has_cache_points);
    for (role, block) in all {
        let Some(mut block) = block else {
            cacheable.message();
            continue;
        };
        // The marker is not part of the cached prefix, because it moves while the prefix stays the same.
        let marker = block.as_object_mut().and_then(|members| members.shift_remove("cache_control"));
        cacheable.block(role, &block);
        if let Some(marker) = marker.filter(Value::is_object) {
            cacheable.cache_point(Ttl::parse(marker.get("ttl")));
        }
    }
    if let Some(marker) = automatic_marker {
        cacheable.cache_point(Ttl::parse(marker.get("ttl")));
    }
    cacheable
}

/// Parses the last user turn.
pub(crate) fn prompt(body: &Value, model: &Model, api: Api) -> Prompt {
    let format = &body["output_config"]["format"]["schema"];
    let mut prompt = Prompt {
        signs_thinking: true,
        omits_thinking: omits_thinking(&body["thinking"], model),
        too_long: model.too_long_wording(),
        api,
        output_schema: format.is_object().then(|| format.clone()),
        citable_sources: citable_sources(body),
        ..Prompt::default()
    };
    let last = items(body, "messages").iter().rev().find(|message| message["role"] == "user");
    for block in last.map(|message| blocks(message, "content")).unwrap_or_default() {
        match block["type"].as_str().unwrap_or_default() {
            "text" => prompt.texts.extend(block["text"].as_str().map(str::to_owned)),
            "image" => prompt.images.push(describe(&block)),
            "tool_result" => {
                let mut texts = Vec::new();
                for part in blocks(&block, "content") {
                    texts.extend(part["text"].as_str().map(str::to_owned));
                    texts.extend(part["tool_name"].as_str().map(|name| format!("{name} is loaded")));
                    if part["type"] == "image" {
                        prompt.images.push(describe(&part));
                    }
                }
                prompt.tool_results.push(texts.join(" "));
            }
            _ => {}
        }
    }
    let loaded = loaded_tools(body);
    for tool in items(body, "tools") {
        let Some(name) = tool["name"].as_str().map(str::to_owned) else {
            continue;
        };
        let kind = tool["type"].as_str().unwrap_or("custom");
        if kind.starts_with("tool_search_tool_") {
            prompt.search_tool = Some(name);
            continue;
        }
        let schema = builtin_tool_schema(kind).unwrap_or_else(|| tool["input_schema"].clone());
        prompt.tools.push(ToolDefinition { name, schema, deferred: is_deferred(tool, &loaded) });
    }
    let choice = &body["tool_choice"];
    prompt.forced_tool = match choice["type"].as_str() {
        Some("any") => Some(ForcedTool::Any),
        Some("tool") => choice["name"].as_str().map(|name| ForcedTool::Named(name.to_owned())),
        _ => None,
    };
    let stops = items(body, "stop_sequences");
    prompt.stop_sequences = stops.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    prompt
}

/// Input schema of a tool that Anthropic defines.
fn builtin_tool_schema(kind: &str) -> Option<Value> {
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

/// Documents and search results with citations enabled. The indexes count all of them, as Anthropic's do.
fn citable_sources(body: &Value) -> Vec<CitableSource> {
    let mut sources = Vec::new();
    let (mut documents, mut results) = (0, 0);
    for block in items(body, "messages").iter().flat_map(|message| items(message, "content")) {
        let is_enabled = block["citations"]["enabled"] == true;
        let title = block["title"].as_str();
        match block["type"].as_str() {
            Some("document") => {
                let (index, source) = (documents, &block["source"]);
                documents += 1;
                let (text, location) = match source["type"].as_str() {
                    Some("text") => {
                        let text = source["data"].as_str().unwrap_or_default();
                        let end = text.chars().count().min(MAX_CITED_CHARS);
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
                        ("text of the first page".to_owned(), location)
                    }
                };
                if is_enabled {
                    let title = title.unwrap_or("The document").to_owned();
                    sources.push(CitableSource { title, source: None, text, location });
                }
            }
            Some("search_result") => {
                let index = results;
                results += 1;
                if is_enabled {
                    let first = items(block, "content").first().and_then(|part| part["text"].as_str());
                    sources.push(CitableSource {
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
    sources
}

fn describe(image: &Value) -> String {
    let source = &image["source"];
    let kind = source["media_type"].as_str().unwrap_or("image");
    match source["data"].as_str().and_then(|data| BASE64.decode(data).ok()) {
        Some(bytes) => format!("{kind}, {} bytes", bytes.len()),
        None => kind.to_owned(),
    }
}
