//! Tools, pairing of calls and results, number and order of cache points.

use std::collections::HashSet;

use serde_json::Value;

use super::conversation::{check_cache_support, role, unsupported};
use super::output_schema;
use crate::converse::items;
use crate::error::AwsError;
use crate::models::Model;

type ValidationResult = Result<(), AwsError>;

/// Checks tools and cache points.
pub(super) fn check(body: &Value, model: &Model, streaming: bool) -> ValidationResult {
    check_pairing(items(body, "messages"), model)?;
    match body.get("toolConfig").filter(|config| !config.is_null()) {
        Some(config) => check_tool_config(config, model, streaming)?,
        None if uses_tools(body) => {
            return Err(AwsError::validation(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            ));
        }
        None => {}
    }
    check_cache_points(body, model)
}

fn uses_tools(body: &Value) -> bool {
    items(body, "messages")
        .iter()
        .flat_map(|message| items(message, "content"))
        .any(|block| block.get("toolUse").is_some() || block.get("toolResult").is_some())
}

fn ids<'a>(message: Option<&'a Value>, kind: &str) -> Vec<&'a str> {
    message
        .map_or(&[][..], |message| items(message, "content"))
        .iter()
        .filter_map(|block| block.get(kind)?.get("toolUseId")?.as_str())
        .collect()
}

fn check_pairing(messages: &[Value], model: &Model) -> ValidationResult {
    let turns: Vec<(usize, &Value)> =
        messages.iter().enumerate().filter(|(_, message)| role(message) != "system").collect();
    for (position, (m, message)) in turns.iter().enumerate() {
        let previous =
            position.checked_sub(1).and_then(|position| turns.get(position)).map(|(_, message)| *message);
        let (call_ids, result_ids) = (ids(previous, "toolUse"), ids(Some(message), "toolResult"));
        if result_ids.len() > call_ids.len() {
            return Err(AwsError::validation(format!(
                "The number of toolResult blocks at messages.{m}.content exceeds the number of toolUse blocks of \
                 previous turn."
            )));
        }
        let missing: Vec<&str> = call_ids.iter().filter(|id| !result_ids.contains(id)).copied().collect();
        if !missing.is_empty() {
            return Err(missing_results(*m, &missing));
        }
        let calls = ids(Some(message), "toolUse");
        if calls.iter().collect::<HashSet<_>>().len() < calls.len() {
            return Err(AwsError::model(format!("messages.{m}.content: `tool_use` ids must be unique")));
        }
        if position + 1 == turns.len() && !calls.is_empty() {
            return Err(missing_results(m + 1, &calls));
        }
        // Claude requires the results before any other block.
        let content = items(message, "content");
        let first_other =
            content.iter().position(|b| b.get("toolResult").is_none() && b.get("cachePoint").is_none());
        let last_result = content.iter().rposition(|block| block.get("toolResult").is_some());
        if model.is_claude() && first_other.zip(last_result).is_some_and(|(other, result)| other < result) {
            return Err(AwsError::model(format!(
                "messages.{m}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message.",
                call_ids.join(", ")
            )));
        }
    }
    check_inputs(messages)
}

fn missing_results(m: usize, ids: &[&str]) -> AwsError {
    AwsError::validation(format!(
        "Expected toolResult blocks at messages.{m}.content for the following Ids: {}",
        ids.join(", ")
    ))
}

fn check_inputs(messages: &[Value]) -> ValidationResult {
    for (m, message) in messages.iter().enumerate() {
        for (c, block) in items(message, "content").iter().enumerate() {
            let Some(input) = block.get("toolUse").map(|tool| &tool["input"]) else {
                continue;
            };
            let at = format!("messages.{m}.content.{c}.toolUse.input");
            if input.is_null() || input == "" {
                return Err(AwsError::validation(format!("The value at {at} is empty.")));
            }
            if !input.is_object() {
                return Err(AwsError::validation(format!(
                    "The format of the value at {at} is invalid. Provide a json object for the field and try again."
                )));
            }
        }
    }
    Ok(())
}

fn check_tool_config(config: &Value, model: &Model, streaming: bool) -> ValidationResult {
    if !model.has("tools") {
        return Err(AwsError::validation("This model doesn't support tool use."));
    }
    if streaming && !model.has("streaming_tools") {
        return Err(AwsError::validation("This model doesn't support tool use in streaming mode."));
    }
    let mut names = HashSet::new();
    for (t, tool) in items(config, "tools").iter().enumerate() {
        if tool.get("systemTool").is_some() && !model.id.starts_with("amazon.nova-2") {
            return Err(unsupported("systemTool"));
        }
        let Some(spec) = tool.get("toolSpec") else {
            continue;
        };
        if !names.insert(spec["name"].as_str().unwrap_or_default()) {
            return Err(AwsError::model("tools: Tool names must be unique."));
        }
        let schema = &spec["inputSchema"]["json"];
        if !schema.is_object() {
            return Err(AwsError::validation(format!(
                "The value at toolConfig.tools.{t}.toolSpec.inputSchema.json is invalid. Provide a json object for the \
                 field and try again."
            )));
        }
        if schema["type"] != "object" {
            return Err(AwsError::validation(format!(
                "The value at toolConfig.tools.{t}.toolSpec.inputSchema.json.type must be one of the following: object."
            )));
        }
        if model.is_claude() {
            check_input_schema(schema, t)?;
            if spec.get("strict").is_some() && !model.has("format") {
                return Err(AwsError::model(format!(
                    "tools.{t}.custom.strict: Extra inputs are not permitted"
                )));
            }
        }
        if spec["strict"] == true && model.has("format") {
            output_schema::check(schema, &format!("tools.{t}.custom"))?;
        }
    }
    let Some(choice) = config.get("toolChoice") else {
        return Ok(());
    };
    if !model.supports_tool_choice() {
        return Err(unsupported("toolConfig.toolChoice"));
    }
    if let Some(name) = choice.get("tool").map(|tool| tool["name"].as_str().unwrap_or_default()) {
        if !model.has("forced_tool") {
            return Err(unsupported("toolConfig.toolChoice.tool"));
        }
        if !names.contains(name) {
            return Err(AwsError::model(format!("Tool '{name}' not found in provided tools")));
        }
    }
    if choice.get("any").is_some() && !model.has("forced_tool") && !model.has("any_tool") {
        return Err(unsupported("toolConfig.toolChoice.any"));
    }
    Ok(())
}

/// Checks the top level of the schema of a Claude tool.
pub(super) fn check_input_schema(schema: &Value, t: usize) -> ValidationResult {
    let at = format!("tools.{t}.custom.input_schema");
    if ["oneOf", "allOf", "anyOf"].iter().any(|keyword| schema.get(keyword).is_some()) {
        return Err(AwsError::model(format!(
            "{at}: input_schema does not support oneOf, allOf, or anyOf at the top level"
        )));
    }
    let is_valid = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    if properties.is_some_and(|properties| !properties.keys().all(|name| is_valid(name))) {
        return Err(AwsError::model(format!(
            "{at}.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{{1,64}}$'"
        )));
    }
    Ok(())
}

fn check_cache_points(body: &Value, model: &Model) -> ValidationResult {
    let tools = body.get("toolConfig").map_or(&[][..], |config| items(config, "tools"));
    let system = items(body, "system");
    for point in tools.iter().chain(system).filter_map(|block| block.get("cachePoint")) {
        check_cache_support(model, point)?;
    }
    if model.is_nova() && tools.iter().any(|tool| tool.get("cachePoint").is_some()) {
        return Err(unsupported("toolConfig.tools.cachePoint"));
    }
    let messages = items(body, "messages").iter().flat_map(|message| items(message, "content"));
    let points = tools.iter().chain(system).chain(messages).filter_map(|block| block.get("cachePoint"));
    if model.is_claude() {
        let one_hour_flags: Vec<bool> = points.map(|point| point["ttl"] == "1h").collect();
        check_cache_order(&one_hour_flags)?;
    }
    Ok(())
}

/// Checks number and order of the cache points of Claude; `true` stands for a time to live of one hour.
pub(super) fn check_cache_order(one_hour_flags: &[bool]) -> ValidationResult {
    if one_hour_flags.len() > 4 {
        return Err(AwsError::model(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {}.",
            one_hour_flags.len()
        )));
    }
    if one_hour_flags.windows(2).any(|pair| !pair[0] && pair[1]) {
        return Err(AwsError::model(
            "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are \
             processed in the following order: `tools`, `system`, `messages`.",
        ));
    }
    Ok(())
}
