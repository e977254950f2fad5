//! Checks of values before they are sent, so that both databases reject the same ones.

use serde_json::Value;

use super::{AuditEvent, Result, StoreError};

/// Width in characters of most text columns (`VARCHAR(255)`).
pub(super) const MAX_NAME: usize = 255;

/// Width in characters of the columns for kinds, scopes and routes (`VARCHAR(50)`).
pub(super) const MAX_WORD: usize = 50;

/// Maximum size of `details` or `rates` as text. Ours are below 1 KiB; more would make lists slow.
const MAX_JSON_BYTES: usize = 64 << 10;

/// Rejects text that is too long for its column, or contains a NUL, which PostgreSQL cannot store.
pub(super) fn text(name: &str, value: &str, max: usize) -> Result<()> {
    if value.contains('\0') {
        return Err(StoreError::Invalid(format!("{name} contains a NUL")));
    }
    // Columns have a width in characters, not bytes; most texts need no counting.
    if value.len() > max && value.chars().count() > max {
        return Err(StoreError::Invalid(format!("{name} is longer than {max} characters")));
    }
    Ok(())
}

/// Makes a text that [`text`] accepts.
pub(super) fn truncate(value: &mut String, max: usize) {
    value.retain(|character| character != '\0');
    if let Some((end, _)) = value.char_indices().nth(max) {
        value.truncate(end);
    }
}

/// As [`text`], for a value that may be absent.
pub(super) fn optional(name: &str, value: Option<&str>, max: usize) -> Result<()> {
    value.map_or(Ok(()), |value| text(name, value, max))
}

/// Rejects a key that is empty or too long.
pub(super) fn key(name: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(StoreError::Invalid(format!("{name} is empty")));
    }
    text(name, value, MAX_NAME)
}

/// Rejects a negative limit.
pub(super) fn limit(name: &str, value: Option<i64>) -> Result<()> {
    if value.is_some_and(|value| value < 0) {
        return Err(StoreError::Invalid(format!("{name} is negative")));
    }
    Ok(())
}

/// Rejects JSON that contains a NUL or is too large.
pub(super) fn json(name: &str, value: &Value) -> Result<()> {
    if has_nul(value) {
        return Err(StoreError::Invalid(format!("{name} contains a NUL")));
    }
    if serde_json::to_vec(value).is_ok_and(|json| json.len() > MAX_JSON_BYTES) {
        return Err(StoreError::Invalid(format!("{name} is longer than {MAX_JSON_BYTES} bytes")));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Rejects an event that cannot be stored.
pub(super) fn event(event: &AuditEvent) -> Result<()> {
    key("the event's id", &event.id)?;
    text("the event's kind", &event.kind, MAX_WORD)?;
    optional("the event's user", event.user_id.as_deref(), MAX_NAME)?;
    optional("the event's team", event.team.as_deref(), MAX_NAME)?;
    optional("the event's actor", event.actor.as_deref(), MAX_NAME)?;
    json("the event's details", &event.details)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_found_at_any_depth() {
        assert!(text("x", "a\0b", MAX_NAME).is_err());
        assert!(json("x", &json!({"a": [1, {"b": "\0"}]})).is_err());
        assert!(json("x", &json!({"\0": 1})).is_err());
        assert!(json("x", &json!({"a": [null, true, "b"]})).is_ok());
    }

    #[test]
    fn widths_are_counted_in_characters() {
        assert!(key("x", &"é".repeat(255)).is_ok());
        assert!(key("x", &"é".repeat(256)).is_err());
        assert!(key("x", "").is_err());
        assert!(json("x", &json!("y".repeat(MAX_JSON_BYTES))).is_err());
    }
}
