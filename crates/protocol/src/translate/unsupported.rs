//! Detection of unsupported features in AWS's error messages.
//!
//! AWS rejects betas, members and parameters that a model does not support with a few fixed messages. Parsing them
//! lets the gateway send the request again without it, and leave it out of later requests.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json::{JsonStr, ignore_scalars};

/// Feature that a model was seen not to support.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnsupportedFeature {
    /// This beta, or the member at this path (`temperature`, `tools.strict`, `output_config.format`).
    Field(String),
    /// All betas: the message does not name one.
    AllBetas,
    /// On-demand throughput: the model needs an inference profile.
    OnDemandThroughput,
    /// Calling tools while streaming.
    ToolStreaming,
}

/// What stands before the words of a model's own validator.
const PREFIX: &str = "The model returned the following errors: ";
const UNKNOWN: &str = ": Extra inputs are not permitted";

/// Detects what a rejected request used that the model does not support, from AWS's message and the `body`.
///
/// The result applies to the requests of all users, and AWS's messages repeat text of the client. So a
/// message counts only as a whole, and a path only when no name in the body looks like one.
#[must_use]
pub fn detect_unsupported(text: &str, body: &str) -> Option<UnsupportedFeature> {
    let text = text.trim();
    let sentence = text.strip_prefix(PREFIX).unwrap_or(text).trim_end_matches('.');
    let feature = match sentence.strip_suffix(UNKNOWN) {
        Some(path) => is_path(path).then(|| UnsupportedFeature::Field(member(path))),
        None => parse_sentence(sentence),
    };
    let path = matches!(&feature, Some(UnsupportedFeature::Field(name)) if name.contains('.'));
    feature.filter(|_| !path || !has_dotted_names(body))
}

/// Parses the other messages.
fn parse_sentence(sentence: &str) -> Option<UnsupportedFeature> {
    let lower = sentence.to_lowercase();
    if lower.contains(&UNKNOWN.to_lowercase()) {
        return None;
    }
    let field = |name: &str| is_path(name).then(|| UnsupportedFeature::Field(name.to_owned()));
    if lower.starts_with("invocation of model id ")
        && (lower.contains("with on-demand throughput isn") || lower.contains("support on-demand throughput"))
    {
        return Some(UnsupportedFeature::OnDemandThroughput);
    }
    if lower == "invalid beta flag" {
        return Some(UnsupportedFeature::AllBetas);
    }
    if lower.starts_with("this model ") && lower.contains("tool use in streaming mode") {
        return Some(UnsupportedFeature::ToolStreaming);
    }
    if lower.starts_with("unexpected value") && lower.contains("anthropic-beta") {
        return quoted(sentence).and_then(field);
    }
    if lower.starts_with("`temperature` and `top_p` cannot both be specified") {
        return field("top_p");
    }
    if let Some(rest) = sentence.strip_prefix('`') {
        return field(rest.strip_suffix("` is deprecated for this model")?);
    }
    let rest = lower.starts_with("malformed input request: #").then_some(sentence)?;
    // The last one: the text that the client wrote stands before it.
    field(rest.split_once("extraneous key [")?.1.rsplit_once("] is not permitted")?.0)
}

/// Whether `body` has the member at `path`, as in [`UnsupportedFeature::Field`]: names alone, for each item of a list. One
/// pass over the body.
#[must_use]
pub fn has_field(body: &str, path: &str) -> bool {
    let mut found = false;
    let parsed = Field { found: &mut found, path }.deserialize(&mut serde_json::Deserializer::from_str(body));
    found && parsed.is_ok()
}

/// Looks for the member at a path.
struct Field<'f, 'p> {
    found: &'f mut bool,
    path: &'p str,
}

impl<'t> DeserializeSeed<'t> for Field<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        match *self.found {
            true => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            false => deserializer.deserialize_any(self),
        }
    }
}

impl<'t> Visitor<'t> for Field<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let (name, rest) =
            self.path.split_once('.').map_or((self.path, None), |(name, rest)| (name, Some(rest)));
        while let Some(key) = map.next_key::<JsonStr<'t>>()? {
            match rest.filter(|_| &*key == name) {
                Some(path) => map.next_value_seed(Field { found: &mut *self.found, path })?,
                None => {
                    *self.found |= rest.is_none() && &*key == name;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        let mut next = || items.next_element_seed(Field { found: &mut *self.found, path: self.path });
        while next()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

/// Whether a member near the top has a name that can be taken for a path, in one pass over the body. A body that cannot
/// be parsed may have one.
fn has_dotted_names(body: &str) -> bool {
    let mut has_dotted_name = false;
    let names = DottedNames { found: &mut has_dotted_name, depth: 0 };
    let parsed = names.deserialize(&mut serde_json::Deserializer::from_str(body));
    has_dotted_name || parsed.is_err()
}

/// Looks for dots in the names of members.
struct DottedNames<'f> {
    found: &'f mut bool,
    /// Number of objects around the value.
    depth: usize,
}

impl DottedNames<'_> {
    /// Maximum nesting of objects; members that models check by name are not deeper.
    const MAX_DEPTH: usize = 4;
}

impl<'t> DeserializeSeed<'t> for DottedNames<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        if *self.found || self.depth == Self::MAX_DEPTH {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for DottedNames<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<JsonStr<'t>>()? {
            *self.found |= name.contains('.');
            map.next_value_seed(DottedNames { found: &mut *self.found, depth: self.depth + 1 })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        let mut next = || items.next_element_seed(DottedNames { found: &mut *self.found, depth: self.depth });
        while next()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

/// The first text between backquotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1).filter(|quoted| !quoted.is_empty() && quoted.len() < 100)
}

fn is_path(path: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !path.is_empty() && path.len() < 200 && path.chars().all(legal)
}

/// A path without the numbers and the tag that a validator puts into it: `tools.0.custom.strict` and
/// `tools.0.bash_20250124.strict` are `tools.strict` for every tool.
fn member(path: &str) -> String {
    let is_number = |step: &str| step.bytes().all(|byte| byte.is_ascii_digit());
    let is_dated =
        |step: &str| step.rsplit_once('_').is_some_and(|(_, date)| date.len() == 8 && is_number(date));
    let steps = path.split('.').filter(|step| *step != "custom" && !is_number(step) && !is_dated(step));
    steps.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_messages_name_unsupported_features() {
        let field = |name: &str| Some(UnsupportedFeature::Field(name.to_owned()));
        for (text, expected) in [
            ("invalid beta flag", Some(UnsupportedFeature::AllBetas)),
            (
                "The model returned the following errors: invalid beta flag",
                Some(UnsupportedFeature::AllBetas),
            ),
            (
                "Unexpected value(s) `prompt-caching-scope-2026-01-05` for the `anthropic-beta` header",
                field("prompt-caching-scope-2026-01-05"),
            ),
            ("context_management: Extra inputs are not permitted", field("context_management")),
            (
                "The model returned the following errors: output_config.format: Extra inputs are not permitted",
                field("output_config.format"),
            ),
            ("tools.0.custom.strict: Extra inputs are not permitted", field("tools.strict")),
            ("tools.1.bash_20250124.strict: Extra inputs are not permitted", field("tools.strict")),
            (
                "Malformed input request: #: extraneous key [top_k] is not permitted, please reformat your input and try again.",
                field("top_k"),
            ),
            ("`temperature` is deprecated for this model.", field("temperature")),
            (
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
                field("top_p"),
            ),
            (
                "Invocation of model ID x with on-demand throughput isn\u{2019}t supported. Retry your request with …",
                Some(UnsupportedFeature::OnDemandThroughput),
            ),
            (
                "Invocation of model ID x with on-demand throughput isn't supported. Retry your request with …",
                Some(UnsupportedFeature::OnDemandThroughput),
            ),
            (
                "This model doesn't support tool use in streaming mode.",
                Some(UnsupportedFeature::ToolStreaming),
            ),
            ("prompt is too long: 5 tokens > 4 maximum", None),
            ("messages.0.content.0.text: Field required", None),
        ] {
            assert_eq!(detect_unsupported(text, "{}"), expected, "{text}");
        }
    }

    #[test]
    fn field_is_found_by_its_path() {
        let body = r#"{"tools":[{"name":"a"},{"strict":true}],"output_config":{"format":null}}"#;
        for path in ["tools", "tools.strict", "tools.name", "output_config.format"] {
            assert!(has_field(body, path), "{path}");
        }
        for path in ["strict", "format", "tools.format", "output_config.format.type", "x"] {
            assert!(!has_field(body, path), "{path}");
        }
        assert!(!has_field("{", "x"));
    }

    #[test]
    fn client_text_never_becomes_an_unsupported_feature() {
        // Each is AWS's message for a member, a type or a beta that a client made up.
        for text in [
            "system: Extra inputs are not permitted: Extra inputs are not permitted",
            "x system: Extra inputs are not permitted",
            "x: system: Extra inputs are not permitted",
            "`system` is deprecated for this model: Extra inputs are not permitted",
            "invalid beta flag: Extra inputs are not permitted",
            "this model lacks tool use in streaming mode: Extra inputs are not permitted",
            "messages.0.content.0: Input tag '`system` is deprecated for this model' found using 'type' does not match \
             any of the expected tags",
            "messages.0.content.0: Input tag 'invalid beta flag' found using 'type' does not match any of the expected \
             tags",
            "Unexpected value(s) ``system`` for the `anthropic-beta` header",
            "Malformed input request: #: extraneous key [system] is not permitted, x] is not permitted, please \
             reformat your input and try again.",
        ] {
            assert_eq!(detect_unsupported(text, "{}"), None, "{text}");
        }
        let text = "output_config.format: Extra inputs are not permitted";
        assert!(detect_unsupported(text, r#"{"output_config":{"format":{"type":"x"}}}"#).is_some());
        for body in [
            r#"{"output_config.format":1,"output_config":{"format":{"type":"x"}}}"#,
            r#"{"output_config\u002eformat":1}"#,
            r#"{"tools":[{"0.custom.strict":true}]}"#,
        ] {
            assert_eq!(detect_unsupported(text, body), None, "{body}");
        }
    }
}
