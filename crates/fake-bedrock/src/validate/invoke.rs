//! The Anthropic body of InvokeModel.
//!
//! Errors carry the prefix of Converse; the server takes it away, as InvokeModel has none.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::fields::{self, Asked, extra};
use super::messages::{role, thinking_signature};
use super::tools::cache_order;
use crate::converse::items;
use crate::error::AwsError;
use crate::issued::opaque_fits;
use crate::models::Model;

type Checked = Result<(), AwsError>;

const TOP_LEVEL: &[&str] = &[
    "anthropic_version",
    "anthropic_beta",
    "max_tokens",
    "messages",
    "system",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "metadata",
    "output_config",
    "context_management",
    "amazon-bedrock-guardrailConfig",
];

const BLOCKS: &[&str] = &[
    "text",
    "image",
    "document",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "search_result",
    "tool_reference",
    "compaction",
];

/// The whole of an InvokeModel request for Claude, but for its length.
///
/// # Errors
/// A `ValidationException` for the first rule that is broken.
pub(crate) fn invoke(body: &Value, model: &Model) -> Checked {
    if !model.is_claude() {
        return Err(AwsError::validation("The provided request is not valid"));
    }
    let Some(members) = body.as_object() else {
        return Err(AwsError::model("Input should be a valid dictionary"));
    };
    for required in ["anthropic_version", "max_tokens", "messages"] {
        if members.get(required).is_none_or(Value::is_null) {
            return Err(AwsError::model(format!("{required}: Field required")));
        }
    }
    if let Some(key) = members.keys().find(|key| !TOP_LEVEL.contains(&key.as_str())) {
        return Err(extra(key));
    }
    let beta = |name: &str| items(body, "anthropic_beta").iter().any(|beta| beta == name);
    if members.contains_key("context_management")
        && !beta("context-management-2025-06-27")
        && !beta("compact-2026-01-12")
    {
        return Err(extra("context_management"));
    }
    if body["max_tokens"].as_u64().is_none() {
        return Err(AwsError::model("max_tokens: Input should be a valid integer"));
    }
    for name in ["temperature", "top_p"] {
        if let Some(value) = members.get(name)
            && !value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))
        {
            return Err(AwsError::model(format!("{name}: Input should be less than or equal to 1")));
        }
    }
    let asked = Asked {
        fields: members,
        temperature: body["temperature"].as_f64(),
        top_p: body["top_p"].is_number(),
        max_tokens: body["max_tokens"].as_u64(),
        forced: matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool")),
        invoke: true,
    };
    fields::check(&asked, model)?;
    tools(body, model)?;
    messages(items(body, "messages"), model)?;
    cache_marks(members)
}

fn tools(body: &Value, model: &Model) -> Checked {
    let mut names = HashSet::new();
    for (t, tool) in items(body, "tools").iter().enumerate() {
        let kind = tool["type"].as_str().unwrap_or("custom");
        if ["web_search", "web_fetch", "code_execution"].iter().any(|server| kind.starts_with(server)) {
            return Err(AwsError::validation("The provided request is not valid"));
        }
        if !names.insert(tool["name"].as_str().unwrap_or_default()) {
            return Err(AwsError::model("tools: Tool names must be unique."));
        }
        if kind != "custom" {
            continue;
        }
        let search = items(body, "anthropic_beta").iter().any(|beta| beta == "tool-search-tool-2025-10-19");
        for key in tool.as_object().into_iter().flat_map(Map::keys) {
            let known = match key.as_str() {
                "name" | "description" | "input_schema" | "cache_control" | "type" => true,
                "strict" => model.has("format"),
                "defer_loading" => search,
                _ => false,
            };
            if !known {
                return Err(extra(&format!("tools.{t}.custom.{key}")));
            }
        }
        if tool["input_schema"]["type"] != "object" {
            return Err(AwsError::model(format!("tools.{t}.custom.input_schema.type: Field required")));
        }
        let name = tool["name"].as_str().unwrap_or_default();
        if name.is_empty()
            || name.len() > 128
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        {
            return Err(AwsError::model(format!(
                "tools.{t}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )));
        }
    }
    let choice = &body["tool_choice"];
    if choice["type"] == "tool" {
        let name = choice["name"].as_str().unwrap_or_default();
        if !names.contains(name) {
            return Err(AwsError::model(format!("Tool '{name}' not found in provided tools")));
        }
        if !model.has("forced_tool") {
            return Err(AwsError::model("tool_choice.type: `tool` is not supported on this model"));
        }
    }
    Ok(())
}

fn messages(messages: &[Value], model: &Model) -> Checked {
    match messages.first() {
        None => return Err(AwsError::model("messages: at least one message is required")),
        Some(first) if role(first) != "user" => {
            return Err(AwsError::model("messages: first message must use the \"user\" role"));
        }
        Some(_) => {}
    }
    let mut calls: Vec<String> = Vec::new();
    for (m, message) in messages.iter().enumerate() {
        let known = match role(message) {
            "user" | "assistant" => true,
            "system" => model.has("system_turns"),
            _ => false,
        };
        if !known {
            return Err(AwsError::model(format!("messages.{m}.role: Input should be 'user' or 'assistant'")));
        }
        let content = &message["content"];
        if !content.is_string() && !content.is_array() {
            return Err(AwsError::model(format!("messages.{m}.content: Field required")));
        }
        if content == "" && m + 1 < messages.len() {
            return Err(AwsError::model(format!("messages.{m}: all messages must have non-empty content")));
        }
        let mut answered: Vec<&str> = Vec::new();
        let mut asked = Vec::new();
        for (c, block) in items(message, "content").iter().enumerate() {
            let at = format!("messages.{m}.content.{c}");
            check_block(block, role(message), &at)?;
            answered.extend(block["tool_use_id"].as_str().filter(|_| block["type"] == "tool_result"));
            asked.extend(block["id"].as_str().filter(|_| block["type"] == "tool_use").map(str::to_owned));
        }
        let missing: Vec<&str> =
            calls.iter().map(String::as_str).filter(|id| !answered.contains(id)).collect();
        if !missing.is_empty() {
            return Err(AwsError::model(format!(
                "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message.",
                m.saturating_sub(1),
                missing.join(", ")
            )));
        }
        if let Some(stray) = answered.iter().find(|id| !calls.iter().any(|call| call == *id)) {
            return Err(AwsError::model(format!(
                "messages.{m}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {stray}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )));
        }
        calls = asked;
    }
    let Some(last) = messages.last().filter(|last| role(last) == "assistant") else {
        return Ok(());
    };
    if !model.has("prefill") {
        return Err(AwsError::model(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let text = match &last["content"] {
        Value::String(text) => Some(text.as_str()),
        content => {
            content.as_array().and_then(|blocks| blocks.last()).and_then(|block| block["text"].as_str())
        }
    };
    if text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
        return Err(AwsError::model("messages: final assistant content cannot end with trailing whitespace"));
    }
    Ok(())
}

fn check_block(block: &Value, role: &str, at: &str) -> Checked {
    let kind = block["type"].as_str().unwrap_or_default();
    if !BLOCKS.contains(&kind) {
        return Err(AwsError::model(format!(
            "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
            BLOCKS.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
        )));
    }
    match kind {
        "text" if block["text"].as_str().is_none_or(str::is_empty) => {
            Err(AwsError::model("messages: text content blocks must be non-empty"))
        }
        "text" if block["text"].as_str().is_some_and(|text| text.trim().is_empty()) => {
            Err(AwsError::model("messages: text content blocks must contain non-whitespace text"))
        }
        "thinking" => thinking_signature(block["thinking"].as_str(), block["signature"].as_str(), at),
        "redacted_thinking" if !block["data"].as_str().is_some_and(opaque_fits) => {
            Err(AwsError::model(format!("{at}: Invalid `data` in `redacted_thinking` block")))
        }
        "tool_use" if role != "assistant" => {
            Err(AwsError::model(format!("{at}: `tool_use` blocks can only be in `assistant` messages")))
        }
        "tool_use" if !block["input"].is_object() => {
            Err(AwsError::model(format!("{at}.tool_use.input: Input should be a valid dictionary")))
        }
        "tool_result" if role != "user" => {
            Err(AwsError::model(format!("{at}: `tool_result` blocks can only be in `user` messages")))
        }
        "image" | "document" if block["source"]["type"] == "url" => {
            Err(AwsError::model("URL sources not supported"))
        }
        _ => Ok(()),
    }
}

fn cache_marks(members: &Map<String, Value>) -> Checked {
    let empty = Value::Null;
    let part = |name: &str| members.get(name).unwrap_or(&empty);
    let mut hours = Vec::new();
    let mut marked: Vec<(String, &Value)> = Vec::new();
    for name in ["tools", "system"] {
        let blocks = part(name).as_array().into_iter().flatten().enumerate();
        marked.extend(blocks.map(|(b, block)| (format!("{name}.{b}"), block)));
    }
    for (m, message) in part("messages").as_array().into_iter().flatten().enumerate() {
        let blocks = items(message, "content").iter().enumerate();
        marked.extend(blocks.map(|(c, block)| (format!("messages.{m}.content.{c}"), block)));
    }
    for (at, block) in marked {
        let Some(mark) = block.get("cache_control").and_then(Value::as_object) else {
            continue;
        };
        if let Some(key) = mark.keys().find(|key| !["type", "ttl"].contains(&key.as_str())) {
            let kind = block["type"].as_str().unwrap_or("custom");
            return Err(extra(&format!("{at}.{kind}.cache_control.ephemeral.{key}")));
        }
        hours.push(mark.get("ttl").is_some_and(|ttl| ttl == "1h"));
    }
    cache_order(&hours)
}
