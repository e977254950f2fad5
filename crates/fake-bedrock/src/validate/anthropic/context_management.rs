//! `context_management`: edits that the betas of a request allow.

use serde_json::Value;

use super::super::fields::extra_input;
use super::{Request, ValidationResult};
use crate::converse::items;
use crate::error::AwsError;

const EDITING: &str = "context-management-2025-06-27";
const COMPACTION: &str = "compact-2026-01-12";
/// Minimum of `trigger` for a compaction, in input tokens.
const MIN_TRIGGER_TOKENS: u64 = 50_000;

/// Checks types and members of the edits.
pub(super) fn check(request: &Request<'_>) -> ValidationResult {
    let Some(management) = request.members.get("context_management").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let (edits, compacts) = (request.has_beta(EDITING), request.has_beta(COMPACTION));
    if !edits && !compacts {
        return Err(extra_input("context_management"));
    }
    if let Some(key) =
        management.as_object().into_iter().flatten().map(|(key, _)| key).find(|key| *key != "edits")
    {
        return Err(extra_input(&format!("context_management.{key}")));
    }
    let mut expected = Vec::new();
    if edits {
        expected.extend(["clear_tool_uses_20250919", "clear_thinking_20251015"]);
    }
    if compacts {
        expected.push("compact_20260112");
    }
    for (e, edit) in items(management, "edits").iter().enumerate() {
        let kind = edit["type"].as_str().unwrap_or_default();
        if !expected.contains(&kind) {
            let tags: Vec<String> = expected.iter().map(|tag| format!("'{tag}'")).collect();
            return Err(AwsError::model(format!(
                "context_management.edits.{e}: Input tag '{kind}' found using 'type' does not match any of the expected \
                 tags: {}",
                tags.join(", ")
            )));
        }
        members(edit, kind, e)?;
    }
    Ok(())
}

fn members(edit: &Value, kind: &str, e: usize) -> ValidationResult {
    let accepted: &[&str] = match kind {
        "clear_tool_uses_20250919" => {
            &["type", "trigger", "keep", "clear_at_least", "clear_tool_inputs", "exclude_tools"]
        }
        "clear_thinking_20251015" => &["type", "keep"],
        _ => &["type", "trigger", "instructions", "pause_after_compaction"],
    };
    if let Some(key) = edit
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .find(|key| !accepted.contains(&key.as_str()))
    {
        return Err(extra_input(&format!("context_management.edits.{e}.{kind}.{key}")));
    }
    if kind == "compact_20260112"
        && edit["trigger"]["value"].as_u64().is_some_and(|value| value < MIN_TRIGGER_TOKENS)
    {
        return Err(AwsError::model(format!(
            "context_management.edits.{e}.{kind}.trigger.value: Input should be greater than or equal to {MIN_TRIGGER_TOKENS}"
        )));
    }
    Ok(())
}
