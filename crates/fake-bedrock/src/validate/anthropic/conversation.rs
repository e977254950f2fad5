//! Messages: roles, pairing of tool calls and results, thinking, prefill.

use std::collections::HashSet;

use serde_json::Value;

use super::super::conversation::role;
use super::super::fields::extra_input;
use super::{Request, ValidationResult, blocks};
use crate::converse::items;
use crate::error::AwsError;

/// Checks all messages.
pub(super) fn check(request: &Request<'_>) -> ValidationResult {
    let Some(messages) = request.body["messages"].as_array() else {
        return Err(AwsError::model("messages: Input should be a valid list"));
    };
    let Some(first) = messages.first() else {
        return Err(AwsError::model("messages: at least one message is required"));
    };
    for (m, message) in messages.iter().enumerate() {
        check_message(request, messages, message, m)?;
    }
    if role(first) != "user" {
        return Err(AwsError::model("messages: first message must use the \"user\" role"));
    }
    blocks::references(request)?;
    check_pairing(messages)?;
    if request.body["thinking"]["type"] == "enabled" {
        check_thinking_first(messages)?;
    }
    check_prefill(request, messages)
}

fn check_message(request: &Request<'_>, messages: &[Value], message: &Value, m: usize) -> ValidationResult {
    let unknown = || AwsError::model(format!("messages.{m}.role: Input should be 'user' or 'assistant'"));
    match role(message) {
        "user" | "assistant" => {}
        "system" if request.model.has("system_turns") => check_system_position(messages, m)?,
        _ => return Err(unknown()),
    }
    for key in message.as_object().into_iter().flatten().map(|(key, _)| key.as_str()) {
        let per_turn = request.has_beta("mid-conversation-output-config-2026-07-01");
        let is_member = matches!(key, "role" | "content")
            || (key == "output_config" && role(message) == "system" && per_turn);
        if !is_member {
            return Err(extra_input(&format!("messages.{m}.{key}")));
        }
    }
    match &message["content"] {
        Value::String(text) if text.is_empty() && m + 1 < messages.len() => Err(AwsError::model(format!(
            "messages.{m}: all messages must have non-empty content except for the optional \
             final assistant message"
        ))),
        Value::String(_) => Ok(()),
        Value::Array(content) if content.is_empty() && m + 1 < messages.len() => {
            Err(AwsError::model(format!(
                "messages.{m}: all messages must have non-empty content except for the optional \
             final assistant message"
            )))
        }
        Value::Array(content) => content.iter().enumerate().try_for_each(|(c, block)| {
            blocks::check(request, role(message), block, &format!("messages.{m}.content.{c}"))
        }),
        Value::Null if message.get("output_config").is_some() => Ok(()),
        Value::Null => Err(AwsError::model(format!("messages.{m}.content: Field required"))),
        _ => Err(AwsError::model(format!("messages.{m}.content: Input should be a valid list"))),
    }
}

/// Checks that a system message follows a user message or a tool search, and precedes an assistant message or the end.
fn check_system_position(messages: &[Value], m: usize) -> ValidationResult {
    let before = m.checked_sub(1).map(|before| &messages[before]);
    let searched = |message: &Value| {
        let last = items(message, "content").last();
        role(message) == "assistant" && last.is_some_and(|block| block["type"] == "tool_search_tool_result")
    };
    let follows = before.is_some_and(|before| matches!(role(before), "user" | "system") || searched(before));
    let leads = messages.get(m + 1).is_none_or(|after| matches!(role(after), "assistant" | "system"));
    if follows && leads {
        return Ok(());
    }
    Err(AwsError::model(
        "messages: Unexpected role \"system\". A `system` message must directly follow a `user` message and must be the \
         last message or be followed by an `assistant` message.",
    ))
}

/// A turn: consecutive messages of one role.
struct Turn<'a> {
    /// Index of its last message.
    last: usize,
    role: &'a str,
    blocks: Vec<&'a Value>,
}

fn turns(messages: &[Value]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (m, message) in messages.iter().enumerate() {
        let (role, blocks) = (role(message), items(message, "content"));
        match turns.last_mut() {
            _ if role == "system" => {}
            Some(turn) if turn.role == role => {
                turn.last = m;
                turn.blocks.extend(blocks);
            }
            _ => turns.push(Turn { last: m, role, blocks: blocks.iter().collect() }),
        }
    }
    turns
}

fn ids<'a>(turn: &Turn<'a>, kind: &str, member: &str) -> Vec<&'a str> {
    let blocks = turn.blocks.iter().filter(|block| block["type"] == kind);
    blocks.filter_map(|block| block[member].as_str()).collect()
}

fn check_pairing(messages: &[Value]) -> ValidationResult {
    let turns = turns(messages);
    let mut seen = HashSet::new();
    let mut open: (usize, Vec<&str>) = (0, Vec::new());
    for turn in &turns {
        let result_ids = ids(turn, "tool_result", "tool_use_id");
        // Results must precede all other blocks of the turn.
        let first_other = turn.blocks.iter().position(|block| block["type"] != "tool_result");
        let leading_results = match first_other {
            Some(position) if !open.1.is_empty() => position,
            _ => turn.blocks.len(),
        };
        let leading_result_ids: Vec<&str> =
            turn.blocks[..leading_results].iter().filter_map(|block| block["tool_use_id"].as_str()).collect();
        let missing: Vec<&str> =
            open.1.iter().filter(|id| !leading_result_ids.contains(id)).copied().collect();
        if !missing.is_empty() {
            return Err(missing_results(open.0, &missing));
        }
        if let Some(unexpected) = result_ids.iter().find(|id| !open.1.contains(id)) {
            return Err(AwsError::model(format!(
                "messages.{}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {unexpected}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous message.",
                turn.last
            )));
        }
        let repeated = result_ids.iter().enumerate().find(|(at, id)| result_ids[..*at].contains(id));
        if let Some((at, id)) = repeated {
            return Err(AwsError::model(format!(
                "messages.{}.content.{at}: each tool_use must have a single result. Found multiple `tool_result` blocks \
                 with id: {id}",
                turn.last
            )));
        }
        let calls = ids(turn, "tool_use", "id");
        if calls.iter().any(|id| !seen.insert(*id)) {
            return Err(AwsError::model(format!("messages.{}: `tool_use` ids must be unique", turn.last)));
        }
        open = (turn.last, calls);
    }
    if open.1.is_empty() { Ok(()) } else { Err(missing_results(open.0, &open.1)) }
}

fn missing_results(m: usize, ids: &[&str]) -> AwsError {
    AwsError::model(format!(
        "messages.{m}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` \
         block must have a corresponding `tool_result` block in the next message.",
        ids.join(", ")
    ))
}

/// Checks that the last assistant turn of a tool loop starts with thinking, when thinking has a budget.
fn check_thinking_first(messages: &[Value]) -> ValidationResult {
    let Some(last) = messages.iter().rposition(|message| role(message) == "assistant") else {
        return Ok(());
    };
    let is_prefill = last + 1 == messages.len();
    let is_tool_loop = messages[last + 1..]
        .iter()
        .flat_map(|message| items(message, "content"))
        .any(|block| block["type"] == "tool_result");
    if !is_prefill && !is_tool_loop {
        return Ok(());
    }
    let kind = match &messages[last]["content"] {
        Value::String(_) => "text",
        content => match content.as_array().and_then(|blocks| blocks.first()) {
            Some(block) => block["type"].as_str().unwrap_or_default(),
            None => return Ok(()),
        },
    };
    if matches!(kind, "thinking" | "redacted_thinking") {
        return Ok(());
    }
    Err(AwsError::model(format!(
        "messages.{last}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` \
         is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of \
         `tool_use` and `tool_result` blocks)."
    )))
}

fn check_prefill(request: &Request<'_>, messages: &[Value]) -> ValidationResult {
    let Some(last) = messages.last().filter(|last| role(last) == "assistant") else {
        return Ok(());
    };
    if !request.model.has("prefill") {
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
