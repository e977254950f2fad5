//! Values that no database may be given, found before either is asked, so that both refuse the same.

use serde_json::Value;

use super::{Event, Result, StoreError};

/// The width of most text columns.
pub(super) const NAME: usize = 255;

/// The width of the columns that hold one word.
pub(super) const WORD: usize = 50;

/// The largest `details` or `rates`, as text.
const JSON: usize = 64 << 10;

/// Refuses text that is too long for its column, or has a NUL in it, which PostgreSQL cannot hold.
pub(super) fn text(what: &str, value: &str, most: usize) -> Result<()> {
    if value.contains('\0') {
        return Err(StoreError::Invalid(format!("{what} has a NUL in it")));
    }
    // Columns are as wide as characters, not bytes; most texts need no counting.
    if value.len() > most && value.chars().count() > most {
        return Err(StoreError::Invalid(format!("{what} is longer than {most} characters")));
    }
    Ok(())
}

/// As [`text`], for a value that may be absent.
pub(super) fn maybe(what: &str, value: Option<&str>, most: usize) -> Result<()> {
    value.map_or(Ok(()), |value| text(what, value, most))
}

/// A name that a row is known by: neither empty nor too long.
pub(super) fn key(what: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(StoreError::Invalid(format!("{what} is empty")));
    }
    text(what, value, NAME)
}

/// A limit: nothing, or not below nothing.
pub(super) fn limit(what: &str, value: Option<i64>) -> Result<()> {
    if value.is_some_and(|value| value < 0) {
        return Err(StoreError::Invalid(format!("{what} is negative")));
    }
    Ok(())
}

/// Refuses JSON with a NUL in any text of it, or of an unseemly size.
pub(super) fn json(what: &str, value: &Value) -> Result<()> {
    if has_nul(value) {
        return Err(StoreError::Invalid(format!("{what} has a NUL in it")));
    }
    if value.to_string().len() > JSON {
        return Err(StoreError::Invalid(format!("{what} is longer than {JSON} bytes")));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An event that can be written down.
pub(super) fn event(event: &Event) -> Result<()> {
    key("the event's id", &event.id)?;
    text("the event's kind", &event.kind, WORD)?;
    maybe("the event's user", event.user_id.as_deref(), NAME)?;
    maybe("the event's team", event.team.as_deref(), NAME)?;
    maybe("the event's actor", event.actor.as_deref(), NAME)?;
    json("the event's details", &event.details)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_nul_is_found_wherever_it_hides() {
        assert!(text("x", "a\0b", NAME).is_err());
        assert!(json("x", &json!({"a": [1, {"b": "\0"}]})).is_err());
        assert!(json("x", &json!({"\0": 1})).is_err());
        assert!(json("x", &json!({"a": [null, true, "b"]})).is_ok());
    }

    #[test]
    fn widths_are_counted_in_characters() {
        assert!(key("x", &"é".repeat(255)).is_ok());
        assert!(key("x", &"é".repeat(256)).is_err());
        assert!(key("x", "").is_err());
        assert!(json("x", &json!("y".repeat(JSON))).is_err());
    }
}
