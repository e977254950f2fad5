//! The top level of a tool's schema.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use crate::capabilities::Capabilities;
use crate::json::RawJson;

/// The end of the names of all combinators.
static COMBINATOR_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("Of\""));

/// The member that every schema of a tool has.
pub(super) const OBJECT: &str = r#""type":"object""#;

/// What Bedrock rejects in a schema.
#[derive(Debug, PartialEq)]
pub(super) enum Problem<'t> {
    None,
    /// No `type`.
    NoType,
    /// A `type` that is null, or a list with `object` in it.
    OtherType(RawJson<'t>),
    /// A keyword that Claude models do not take at the top.
    Combinator(&'static str),
}

#[derive(Deserialize)]
struct TopLevel<'t> {
    #[serde(borrow, default, rename = "type", deserialize_with = "present")]
    kind: Option<RawJson<'t>>,
    #[serde(borrow, default, rename = "anyOf")]
    any_of: Option<RawJson<'t>>,
    #[serde(borrow, default, rename = "oneOf")]
    one_of: Option<RawJson<'t>>,
    #[serde(borrow, default, rename = "allOf")]
    all_of: Option<RawJson<'t>>,
}

/// The value, `null` too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<RawJson<'de>>, D::Error> {
    RawJson::deserialize(deserializer).map(Some)
}

/// What Bedrock rejects in `schema` and what can be known without reading all of it.
pub(super) fn check<'t>(schema: RawJson<'t>, capabilities: &Capabilities) -> Problem<'t> {
    let text = schema.get();
    let has_combinator = capabilities.claude && COMBINATOR_END.find(text.as_bytes()).is_some();
    if !schema.is_object() || (!has_combinator && begins_with_type(text)) {
        return Problem::None;
    }
    // A schema with a member given twice is for AWS to judge.
    let Ok(top) = schema.read::<TopLevel<'t>>() else { return Problem::None };
    let combinators = [("anyOf", top.any_of), ("oneOf", top.one_of), ("allOf", top.all_of)];
    let combinator = combinators.into_iter().find(|(_, value)| value.is_some());
    match (top.kind, combinator) {
        (_, Some((keyword, _))) if capabilities.claude => Problem::Combinator(keyword),
        (None, _) => Problem::NoType,
        (Some(kind), _) if is_object_or_null(kind) => Problem::OtherType(kind),
        (Some(_), _) => Problem::None,
    }
}

/// Whether `"type":"object"` stands among the first members, behind none but short strings: so write nearly all
/// libraries.
fn begins_with_type(text: &str) -> bool {
    let mut rest = text.strip_prefix('{').unwrap_or_default();
    loop {
        let Some((key, after_key)) = plain_string(rest) else { return false };
        let Some(value) = after_key.trim_start().strip_prefix(':') else { return false };
        let Some((value, after_value)) = plain_string(value) else { return false };
        if key == "type" {
            return value == "object";
        }
        match after_value.trim_start().strip_prefix(',') {
            Some(next) => rest = next,
            None => return false,
        }
    }
}

/// A string without escapes, and what follows it.
fn plain_string(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start().strip_prefix('"')?;
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    let (string, rest) = text.split_at(end);
    Some((string, rest.strip_prefix('"')?))
}

/// Whether a `type` means an object, without being the word.
fn is_object_or_null(kind: RawJson<'_>) -> bool {
    kind.get() == "null"
        || kind.read::<Vec<String>>().is_ok_and(|kinds| kinds.iter().any(|kind| kind == "object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(schema: &str, capabilities: &Capabilities) -> String {
        format!("{:?}", check(serde_json::from_str(schema).unwrap(), capabilities))
    }

    #[test]
    fn type_is_found_wherever_it_stands() {
        let claude = &Capabilities::CLASSIC_CLAUDE;
        for valid in [
            r#"{"type":"object"}"#,
            r#" { "$schema" : "s" , "type" : "object" , "properties" : {} }"#,
            r#"{"properties":{"type":{"anyOf":[]}},"type":"object"}"#,
            r#"{"title":"a \"b\"","type":"object"}"#,
            r#"{"type":"string"}"#,
            r#"{"type":["string","null"]}"#,
            "7",
        ] {
            assert_eq!(found(valid.trim(), claude), "None", "{valid}");
        }
        for absent in ["{}", "{ }", r#"{"properties":{"type":"object"}}"#, r#"{"title":"type"}"#] {
            assert_eq!(found(absent, claude), "NoType", "{absent}");
        }
        for other in [r#"{"type":["object","null"]}"#, r#"{"type":null}"#, r#"{"type":["object"]}"#] {
            assert!(found(other, claude).starts_with("OtherType"), "{other}");
        }
    }

    #[test]
    fn combinators_at_the_top_are_found() {
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let schema = format!(r#"{{"type":"object","{keyword}":[{{"required":["a"]}}]}}"#);
            assert!(found(&schema, &Capabilities::CLASSIC_CLAUDE).contains(keyword));
            assert_eq!(found(&schema, &Capabilities::UNKNOWN), "None");
            let inside = format!(r#"{{"type":"object","properties":{{"x":{schema}}}}}"#);
            assert_eq!(found(&inside, &Capabilities::CLASSIC_CLAUDE), "None");
        }
    }
}
