//! Tools and tool choice.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::super::fields::extra_input;
use super::super::output_schema;
use super::super::tools::check_input_schema;
use super::{Request, ValidationResult};
use crate::converse::items;
use crate::error::AwsError;
use crate::routes::Api;

/// Anthropic-defined client tools: type, name, further members, required beta, first and last Claude version (times ten).
type BuiltinTool = (&'static str, &'static str, &'static [&'static str], Option<&'static str>, u16, u16);

const COMPUTER: &[&str] = &["display_width_px", "display_height_px", "display_number"];
const ANY_LATER: u16 = u16::MAX;

#[rustfmt::skip]
static BUILTIN_TOOLS: &[BuiltinTool] = &[
    ("bash_20241022", "bash", &[], Some("computer-use-2024-10-22"), 35, 35),
    ("bash_20250124", "bash", &[], None, 35, ANY_LATER),
    ("text_editor_20241022", "str_replace_editor", &[], Some("computer-use-2024-10-22"), 35, 35),
    ("text_editor_20250124", "str_replace_editor", &[], None, 37, 37),
    ("text_editor_20250429", "str_replace_based_edit_tool", &[], None, 40, ANY_LATER),
    ("text_editor_20250728", "str_replace_based_edit_tool", &["max_characters"], None, 40, ANY_LATER),
    ("memory_20250818", "memory", &[], None, 40, ANY_LATER),
    ("computer_20241022", "computer", COMPUTER, Some("computer-use-2024-10-22"), 35, 35),
    ("computer_20250124", "computer", COMPUTER, Some("computer-use-2025-01-24"), 37, 45),
    ("computer_20251124", "computer",
        &["display_width_px", "display_height_px", "display_number", "enable_zoom"],
        Some("computer-use-2025-11-24"), 45, ANY_LATER),
];

/// Server-side tool search: type and name.
static SEARCH_TOOLS: &[(&str, &str)] = &[
    ("tool_search_tool_regex_20251119", "tool_search_tool_regex"),
    ("tool_search_tool_bm25_20251119", "tool_search_tool_bm25"),
    ("tool_search_tool_regex", "tool_search_tool_regex"),
    ("tool_search_tool_bm25", "tool_search_tool_bm25"),
];

/// Checks tools and tool choice.
pub(super) fn check(request: &Request<'_>) -> ValidationResult {
    let tools = items(request.body, "tools");
    let mut names = HashSet::new();
    for (t, tool) in tools.iter().enumerate() {
        let kind = tool["type"].as_str().unwrap_or("custom");
        match kind {
            "custom" => check_custom(request, tool, t)?,
            "browser_toolset_20260801" => {}
            _ => check_builtin(request, tool, kind, t)?,
        }
        if !names.insert(tool["name"].as_str().unwrap_or(kind)) {
            return Err(AwsError::model("tools: Tool names must be unique."));
        }
    }
    if !tools.is_empty() && tools.iter().all(|tool| tool["defer_loading"] == true) {
        return Err(AwsError::model(
            "All tools have defer_loading set. At least one tool must be non-deferred.",
        ));
    }
    check_choice(request, &names)
}

fn check_builtin(request: &Request<'_>, tool: &Value, kind: &str, t: usize) -> ValidationResult {
    let unsupported = || AwsError::model(format!("tool type '{kind}' is not supported"));
    let search =
        SEARCH_TOOLS.iter().find(|(name, _)| *name == kind).filter(|_| request.supports_tool_search());
    let (name, further_members): (&str, &[&str]) =
        match (search, BUILTIN_TOOLS.iter().find(|tool| tool.0 == kind)) {
            (Some((_, name)), _) => (name, &[]),
            (None, Some((_, name, further_members, beta, first, last))) => {
                let is_supported = (*first..=*last).contains(&request.model.generation);
                if !is_supported || beta.is_some_and(|beta| !request.has_beta(beta)) {
                    return Err(unexpected_tag(request, kind, t));
                }
                (name, further_members)
            }
            (None, None) if SEARCH_TOOLS.iter().any(|(name, _)| *name == kind) => {
                return Err(unexpected_tag(request, kind, t));
            }
            (None, None) => return Err(unsupported()),
        };
    if tool["name"] != name {
        return Err(AwsError::model(format!("tools.{t}.{kind}.name: Input should be '{name}'")));
    }
    if kind.starts_with("computer_")
        && !(tool["display_width_px"].is_u64() && tool["display_height_px"].is_u64())
    {
        return Err(AwsError::model(format!("tools.{t}.{kind}.display_width_px: Field required")));
    }
    for key in members(tool) {
        if !["type", "name"].contains(&key)
            && !further_members.contains(&key)
            && !is_common_member(request, key)
        {
            return Err(extra_input(&format!("tools.{t}.{kind}.{key}")));
        }
    }
    Ok(())
}

/// Error for a tool type that needs another model or a beta.
fn unexpected_tag(request: &Request<'_>, kind: &str, t: usize) -> AwsError {
    let model = request.model.generation;
    let accepted = BUILTIN_TOOLS.iter().filter(|(_, _, _, beta, first, last)| {
        (*first..=*last).contains(&model) && beta.is_none_or(|beta| request.has_beta(beta))
    });
    let mut tags: Vec<String> = accepted.map(|tool| format!("'{}'", tool.0)).collect();
    tags.push("'custom'".into());
    AwsError::model(format!(
        "tools.{t}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
        tags.join(", ")
    ))
}

fn members(tool: &Value) -> impl Iterator<Item = &str> {
    tool.as_object().into_iter().flat_map(Map::keys).map(String::as_str)
}

/// Whether every tool may have this member, depending on API, model and betas.
fn is_common_member(request: &Request<'_>, key: &str) -> bool {
    match key {
        "cache_control" => true,
        "strict" => request.model.has("format") && request.api != Api::MantleMessages,
        "defer_loading" | "input_examples" | "allowed_callers" => request.supports_tool_search(),
        // The Messages API has this member; InvokeModel has a beta instead.
        "eager_input_streaming" => request.api.is_messages(),
        _ => false,
    }
}

fn check_custom(request: &Request<'_>, tool: &Value, t: usize) -> ValidationResult {
    for key in members(tool) {
        if !["type", "name", "description", "input_schema"].contains(&key) && !is_common_member(request, key)
        {
            return Err(extra_input(&format!("tools.{t}.custom.{key}")));
        }
    }
    let at = |member: &str, text: &str| AwsError::model(format!("tools.{t}.custom.{member}: {text}"));
    let name = tool["name"].as_str().ok_or_else(|| at("name", "Field required"))?;
    let is_supported = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.is_empty() || name.len() > 128 || !name.chars().all(is_supported) {
        return Err(at("name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"));
    }
    if tool.get("description").is_some_and(|text| !text.is_string() && !text.is_null()) {
        return Err(at("description", "Input should be a valid string"));
    }
    match tool.get("input_schema") {
        None | Some(Value::Null) => Err(at("input_schema", "Field required")),
        Some(Value::Object(schema)) => match schema.get("type").and_then(Value::as_str) {
            Some("object") => Ok(()),
            Some(_) => Err(at("input_schema.type", "Input should be 'object'")),
            None => Err(at("input_schema.type", "Field required")),
        },
        Some(_) => Err(at("input_schema", "Input should be a valid dictionary")),
    }?;
    check_input_schema(&tool["input_schema"], t)?;
    if tool["strict"] == true {
        output_schema::check(&tool["input_schema"], &format!("tools.{t}.custom"))?;
    }
    Ok(())
}

fn check_choice(request: &Request<'_>, names: &HashSet<&str>) -> ValidationResult {
    let Some(choice) = request.members.get("tool_choice").filter(|choice| !choice.is_null()) else {
        return Ok(());
    };
    let kind = choice["type"].as_str().unwrap_or_default();
    let accepted: &[&str] = match kind {
        "auto" | "any" => &["type", "disable_parallel_tool_use"],
        "tool" => &["type", "name", "disable_parallel_tool_use"],
        "none" => &["type"],
        _ => {
            return Err(AwsError::model(format!(
                "tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'auto', \
                 'any', 'tool', 'none'"
            )));
        }
    };
    if let Some(key) = members(choice).find(|key| !accepted.contains(key)) {
        return Err(extra_input(&format!("tool_choice.{kind}.{key}")));
    }
    if names.is_empty() && kind != "none" {
        return Err(AwsError::model("tool_choice: tool_choice may only be specified while providing tools"));
    }
    if matches!(kind, "any" | "tool") && !request.model.has("forced_tool") {
        return Err(AwsError::model(format!("tool_choice.type: `{kind}` is not supported on this model")));
    }
    let name = choice["name"].as_str().unwrap_or_default();
    if kind == "tool" && !names.contains(name) {
        return Err(AwsError::model(format!("Tool '{name}' not found in provided tools")));
    }
    Ok(())
}
