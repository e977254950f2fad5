//! Detection of unsupported features in AWS's error messages.
//!
//! AWS rejects betas, members and parameters that a model does not support with a few fixed messages. Parsing them
//! lets the proxy send the request again without it, and leave it out of later requests.

mod body_fields;

use std::fmt;

pub use body_fields::has_field;
use body_fields::{has_dotted_names, member};

use super::normalize::fingerprint;
use crate::json::{JsonStr, RawJson};
use crate::json_edit::items;

/// Feature that a model was seen not to support.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnsupportedFeature {
    /// The field at this path: `temperature`, `tools.strict` (of any tool), `output_config.format`.
    Field(String),
    /// The beta of this name.
    Beta(String),
    /// The betas of these names.
    Betas(Vec<String>),
    /// One of several betas, which were left out together: the message does not name it.
    UnprovenBeta(String),
    /// This value of `thinking.display`; with an empty one, the member.
    Display(String),
    /// The JSON schema with this fingerprint: no grammar can be made of it.
    Schema(u64),
    /// One of the betas: the message does not name it.
    AllBetas,
    /// On-demand throughput: the model needs an inference profile.
    OnDemandThroughput,
    /// Calling tools while streaming.
    ToolStreaming,
}

impl UnsupportedFeature {
    /// Whether every request that uses the feature meets the same error, independent of the caller.
    #[must_use]
    pub fn is_same_for_all_callers(&self) -> bool {
        // Each caller may have sent another beta.
        !matches!(self, Self::AllBetas | Self::UnprovenBeta(_))
    }
}

impl fmt::Display for UnsupportedFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) => f.write_str(path),
            Self::Beta(name) => write!(f, "beta {name}"),
            Self::Betas(names) => write!(f, "betas {}", names.join(", ")),
            Self::UnprovenBeta(name) => write!(f, "one of several betas: {name}"),
            Self::Display(value) if value.is_empty() => f.write_str("thinking.display"),
            Self::Display(value) => write!(f, "thinking.display {value}"),
            Self::Schema(fingerprint) => write!(f, "JSON schema {fingerprint:016x}"),
            Self::AllBetas => f.write_str("betas"),
            Self::OnDemandThroughput => f.write_str("on-demand throughput"),
            Self::ToolStreaming => f.write_str("tool calls in a stream"),
        }
    }
}

/// Fields without which a request is another one. They are never left out: the client gets AWS's error instead.
const CORE_FIELDS: [&str; 10] = [
    "anthropic_version",
    "max_tokens",
    "messages",
    "model",
    "stop_sequences",
    "stream",
    "system",
    "tool_choice",
    "tools",
    "anthropic_beta",
];

/// The same for the fields of a tool.
const CORE_TOOL_FIELDS: [&str; 4] = ["description", "input_schema", "name", "type"];

/// What stands before the words of a model's own validator.
const PREFIX: &str = "The model returned the following errors: ";
const UNKNOWN: &str = ": Extra inputs are not permitted";
/// What stands before the name of an unknown field, at the top of a body only: a pointer such as `#/messages/0` is about
/// a nested object, whose members are the client's.
const TOP_LEVEL: &str = "Malformed input request: #: extraneous key [";

/// How a message about betas ends, in lower case. Newer models add advice.
const BETA_ENDINGS: [&str; 3] = [
    " for the `anthropic-beta` header",
    " for the `anthropic-beta` header. please consult our documentation at docs.claude.com or try again without the header",
    " for the `anthropic-beta` header. please consult our documentation at docs.anthropic.com or try again without the header",
];

/// Detects what a rejected request used that the model does not support, from AWS's message and the `body`.
///
/// The result may apply to the requests of all users, and AWS's messages repeat text of the client. So a message counts
/// only as a whole, and a field only when it is in the body at the place that the message names.
#[must_use]
pub fn detect_unsupported(text: &str, body: &str) -> Option<UnsupportedFeature> {
    let text = text.trim();
    let sentence = text.strip_prefix(PREFIX).unwrap_or(text).trim_end_matches('.');
    match sentence.strip_suffix(UNKNOWN) {
        Some(path) => field(path, body),
        None if is_about_grammar(sentence) => schema(sentence, body),
        None => display(sentence, body).or_else(|| parse_sentence(sentence, body)),
    }
}

/// Whether a message is about a valid schema that is beyond the grammar. Other messages are about mistakes of the client.
fn is_about_grammar(sentence: &str) -> bool {
    const PHRASES: [&str; 5] = [
        "must be explicitly set to false",
        " not supported",
        "Circular reference",
        "too complex",
        "too large",
    ];
    const PATHS: [&str; 3] = ["output_config.format.schema: ", "output_format.schema: ", "tools."];
    PATHS.iter().any(|start| sentence.starts_with(start))
        && PHRASES.iter().any(|phrase| sentence.contains(phrase))
}

/// The schema that a message is about: that of structured output, or that of a strict tool.
fn schema(sentence: &str, body: &str) -> Option<UnsupportedFeature> {
    let (path, _) = sentence.split_once(": ")?;
    let body: RawJson<'_> = serde_json::from_str(body).ok()?;
    let schema = match *path.split('.').collect::<Vec<_>>() {
        ["output_config", "format", "schema"] | ["output_format", "schema"] => {
            let format = member(body, "output_config").and_then(|config| member(config, "format"));
            member(format.or_else(|| member(body, "output_format"))?, "schema")?
        }
        ["tools", index, ..] => {
            let tool = *items(member(body, "tools")?).get(index.parse::<usize>().ok()?)?;
            member(tool, "strict").filter(|strict| strict.get() == "true")?;
            member(tool, "input_schema")?
        }
        _ => return None,
    };
    Some(UnsupportedFeature::Schema(fingerprint(schema)))
}

/// The display of thinking that a message rejects. The message names the values that are valid, so the rejected one is
/// that of the body.
fn display(sentence: &str, body: &str) -> Option<UnsupportedFeature> {
    let (path, _) = sentence.split_once(": Input should be ")?;
    let ["thinking", _, "display"] = *path.split('.').collect::<Vec<_>>() else { return None };
    let body: RawJson<'_> = serde_json::from_str(body).ok()?;
    let value: JsonStr<'_> = member(member(body, "thinking")?, "display")?.read().ok()?;
    let is_plain = value.len() < 40 && value.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    (is_plain && !value.is_empty()).then(|| UnsupportedFeature::Display(value.to_string()))
}

/// Parses the other messages.
fn parse_sentence(sentence: &str, body: &str) -> Option<UnsupportedFeature> {
    let lower = sentence.to_lowercase().replace('\u{2019}', "'");
    if lower.contains(&UNKNOWN.to_lowercase()) {
        return None;
    }
    if lower.starts_with("invocation of model id ")
        && (lower.contains("with on-demand throughput isn't")
            || lower.contains("support on-demand throughput"))
    {
        return Some(UnsupportedFeature::OnDemandThroughput);
    }
    if lower == "invalid beta flag" {
        return Some(UnsupportedFeature::AllBetas);
    }
    if matches!(
        lower.strip_prefix("this model "),
        Some("doesn't support tool use in streaming mode" | "does not support tool use in streaming mode")
    ) {
        return Some(UnsupportedFeature::ToolStreaming);
    }
    if lower.starts_with("unexpected value") && BETA_ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
        return named_betas(sentence);
    }
    if lower.starts_with("`temperature` and `top_p` cannot both be specified") {
        return field("temperature", body).and_then(|_| field("top_p", body));
    }
    if let Some(rest) = sentence.strip_prefix('`') {
        return top_level_field(rest.strip_suffix("` is deprecated for this model")?, body);
    }
    let rest = sentence.strip_prefix(TOP_LEVEL)?;
    // The last one: the text that the client wrote stands before it.
    let (name, rest) = rest.rsplit_once("] is not permitted")?;
    matches!(rest, "" | ", please reformat your input and try again").then_some(())?;
    top_level_field(name, body)
}

fn top_level_field(name: &str, body: &str) -> Option<UnsupportedFeature> {
    if name.contains('.') { None } else { field(name, body) }
}

/// The field at `path`, if `body` has it there and it can be left out. The number of a tool, and the tag that a
/// validator puts behind it, are not part of the result: `tools.0.custom.strict` and `tools.0.bash_20250124.strict` are
/// `tools.strict` for every tool.
fn field(path: &str, body: &str) -> Option<UnsupportedFeature> {
    let names: Vec<_> = path.split('.').collect();
    if !names.iter().all(|name| is_name(name)) {
        return None;
    }
    if path == "anthropic_beta" {
        return Some(UnsupportedFeature::AllBetas);
    }
    let body: RawJson<'_> = serde_json::from_str(body).ok()?;
    // A name with a dot could stand for the same path.
    if names.len() > 1 && has_dotted_names(body.get()) {
        return None;
    }
    let tool = |index: &str, name: &str| {
        let index = index.parse::<usize>().ok()?;
        member(*items(member(body, "tools")?).get(index)?, name)
    };
    if let ["thinking", _, "display"] = *names {
        member(member(body, "thinking")?, "display")?;
        return Some(UnsupportedFeature::Display(String::new()));
    }
    let (name, value, is_core) = match *names {
        [name] => (name, member(body, name), CORE_FIELDS.contains(&name)),
        ["tools", index, name] => (name, tool(index, name), CORE_TOOL_FIELDS.contains(&name)),
        ["tools", index, tag, name] if tag == "custom" || is_dated(tag) => {
            (name, tool(index, name), CORE_TOOL_FIELDS.contains(&name))
        }
        // The older name has the same place in what is sent.
        ["output_config", "format"] => {
            let older = || member(body, "output_format");
            (
                "format",
                member(body, "output_config").and_then(|of| member(of, "format")).or_else(older),
                false,
            )
        }
        ["output_config", name] => {
            (name, member(body, "output_config").and_then(|of| member(of, name)), false)
        }
        _ => return None,
    };
    value.filter(|_| !is_core)?;
    let field = if names.len() == 1 { name.to_owned() } else { format!("{}.{name}", names[0]) };
    Some(UnsupportedFeature::Field(field))
}

/// The betas between backquotes: "`a`, `b`". The last two backquotes are those of the header's name.
fn named_betas(sentence: &str) -> Option<UnsupportedFeature> {
    let (listed, _) = sentence.split_once('`')?.1.rsplit_once(" for the `")?;
    let names: Vec<&str> = listed.strip_suffix('`')?.split("`, `").collect();
    let is_plain = |name: &&str| is_name(name) && name.len() < 100;
    match names[..] {
        [name] if is_plain(&name) => Some(UnsupportedFeature::Beta(name.to_owned())),
        [_] => None,
        _ if names.iter().all(is_plain) => {
            Some(UnsupportedFeature::Betas(names.into_iter().map(str::to_owned).collect()))
        }
        _ => None,
    }
}

/// Whether a tag is the type of a tool that has a date.
fn is_dated(tag: &str) -> bool {
    tag.rsplit_once('_')
        .is_some_and(|(_, date)| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !name.is_empty() && name.len() < 200 && name.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"x","system":1}],"system":"s","top_k":1,
        "temperature":1,"top_p":1,"stop_sequences":["x"],"tool_choice":{"type":"auto"},"max_tokens":1,"stream":true,
        "context_management":{},"output_config":{"format":{"type":"x"}},"thinking":{"type":"enabled"},
        "metadata":{"user_id":"x"},"tools":[{"name":"t","input_schema":{},"strict":true,"type":"custom"},
        {"type":"bash_20250124","name":"bash","strict":true}]}"#;

    fn field(name: &str) -> Option<UnsupportedFeature> {
        Some(UnsupportedFeature::Field(name.to_owned()))
    }

    #[test]
    fn aws_messages_name_unsupported_features() {
        let beta = "prompt-caching-scope-2026-01-05";
        for (text, expected) in [
            ("invalid beta flag", Some(UnsupportedFeature::AllBetas)),
            (
                "The model returned the following errors: invalid beta flag",
                Some(UnsupportedFeature::AllBetas),
            ),
            ("anthropic_beta: Extra inputs are not permitted", Some(UnsupportedFeature::AllBetas)),
            (
                "Unexpected value(s) `prompt-caching-scope-2026-01-05` for the `anthropic-beta` header",
                Some(UnsupportedFeature::Beta(beta.to_owned())),
            ),
            (
                "Unexpected value(s) `prompt-caching-scope-2026-01-05` for the `anthropic-beta` header. Please consult our documentation at docs.claude.com or try again without the header.",
                Some(UnsupportedFeature::Beta(beta.to_owned())),
            ),
            ("context_management: Extra inputs are not permitted", field("context_management")),
            (
                "The model returned the following errors: output_config.format: Extra inputs are not permitted",
                field("output_config.format"),
            ),
            ("tools.0.custom.strict: Extra inputs are not permitted", field("tools.strict")),
            ("tools.1.bash_20250124.strict: Extra inputs are not permitted", field("tools.strict")),
            ("tools.0.strict: Extra inputs are not permitted", field("tools.strict")),
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
            assert_eq!(detect_unsupported(text, BODY), expected, "{text}");
        }
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
            "This model does not know `tool use in streaming mode`",
            "messages.0.content.0: Input tag '`system` is deprecated for this model' found using 'type' does not match \
             any of the expected tags",
            "messages.0.content.0: Input tag 'invalid beta flag' found using 'type' does not match any of the expected \
             tags",
            "Unexpected value(s) ``system`` for the `anthropic-beta` header",
            "Malformed input request: #: extraneous key [system] is not permitted, x] is not permitted, please \
             reformat your input and try again.",
            "Malformed input request: #: extraneous key [tools.strict] is not permitted",
            "custom: Extra inputs are not permitted",
            "0: Extra inputs are not permitted",
            "absent: Extra inputs are not permitted",
            "tools.2.custom.strict: Extra inputs are not permitted",
            "tools.0.other.strict: Extra inputs are not permitted",
            "tools.0.custom.absent: Extra inputs are not permitted",
        ] {
            assert_eq!(detect_unsupported(text, BODY), None, "{text}");
        }
        let text = "output_config.format: Extra inputs are not permitted";
        assert!(detect_unsupported(text, BODY).is_some());
        assert!(detect_unsupported(text, r#"{"output_format":{"type":"x"}}"#).is_some());
        for body in [
            r#"{"output_config.format":1,"output_config":{"format":{"type":"x"}}}"#,
            r#"{"output_config\u002eformat":1,"output_config":{"format":1}}"#,
            r#"{"output_config":{"format":1},"tools":[{"0.custom.strict":true}]}"#,
        ] {
            assert_eq!(detect_unsupported(text, body), None, "{body}");
        }
        let beta = "Unexpected value(s) `temperature` for the `anthropic-beta` header";
        let beta = detect_unsupported(beta, BODY);
        assert_eq!(beta, Some(UnsupportedFeature::Beta("temperature".to_owned())), "a beta is no field");
    }

    #[test]
    fn nested_fields_never_count_as_top_level_ones() {
        let names =
            ["system", "temperature", "top_p", "thinking", "stop_sequences", "metadata", "tool_choice"];
        for name in names {
            for pointer in [
                "#/messages/0",
                "#/messages/0/content/0",
                "#/tools/0",
                "#/tools/0/input_schema",
                "#/toolConfig/tools/1/toolSpec/inputSchema/json",
                "#/system",
                "#/",
                "#/#",
                "##",
                "#: #/messages/0",
                "#:/messages/0",
                "#/messages/#:",
                "/",
            ] {
                for rest in ["", ", please reformat your input and try again."] {
                    let text = format!(
                        "Malformed input request: {pointer}: extraneous key [{name}] is not permitted{rest}"
                    );
                    assert_eq!(detect_unsupported(&text, BODY), None, "{text}");
                }
            }
            for place in [
                "messages.0",
                "messages.0.content.0",
                "messages.0.content.0.text",
                "messages.0.content.0.tool_use.input",
                "system.0",
                "tools.0.custom.input_schema",
                "tools.0.custom.cache_control",
                "tools.custom",
                "metadata",
                "0",
                "custom",
            ] {
                let text = format!("{place}.{name}: Extra inputs are not permitted");
                assert_eq!(detect_unsupported(&text, BODY), None, "{text}");
            }
        }
    }

    #[test]
    fn core_fields_are_never_unsupported() {
        for name in CORE_FIELDS.into_iter().filter(|name| *name != "anthropic_beta") {
            let body = format!(r#"{{"{name}":1}}"#);
            for text in [
                format!("{name}: Extra inputs are not permitted"),
                format!("`{name}` is deprecated for this model."),
                format!("Malformed input request: #: extraneous key [{name}] is not permitted"),
            ] {
                assert_eq!(detect_unsupported(&text, &body), None, "{text}");
            }
        }
        for name in CORE_TOOL_FIELDS {
            let text = format!("tools.0.custom.{name}: Extra inputs are not permitted");
            assert_eq!(detect_unsupported(&text, BODY), None, "{text}");
        }
    }

    #[test]
    fn rejected_display_is_that_of_the_body() {
        let text = "thinking.adaptive.display: Input should be 'summarized' or 'omitted'";
        let body = |display: &str| format!(r#"{{"thinking":{{"type":"adaptive","display":{display}}}}}"#);
        let display = |name: &str| Some(UnsupportedFeature::Display(name.to_owned()));
        assert_eq!(detect_unsupported(text, &body("\"updates\"")), display("updates"));
        for odd in ["\"a.b\"", "\"Shown to all\"", "\"\"", "1", "null"] {
            assert_eq!(detect_unsupported(text, &body(odd)), None, "{odd}");
        }
        let unknown = "thinking.enabled.display: Extra inputs are not permitted";
        assert_eq!(detect_unsupported(unknown, &body("\"omitted\"")), display(""));
        assert_eq!(detect_unsupported(unknown, "{}"), None);
        let nested = "messages.0.display: Input should be 'summarized' or 'omitted'";
        assert_eq!(detect_unsupported(nested, &body("\"updates\"")), None);
    }

    #[test]
    fn all_named_betas_are_found() {
        let found = |listed: &str| {
            detect_unsupported(&format!("Unexpected value(s) {listed} for the `anthropic-beta` header"), "{}")
        };
        assert_eq!(found("`a`"), Some(UnsupportedFeature::Beta("a".to_owned())));
        assert_eq!(
            found("`a`, `b-2`"),
            Some(UnsupportedFeature::Betas(vec!["a".to_owned(), "b-2".to_owned()]))
        );
        for odd in ["`a``b``c`", "`a`b`", "`a` b `c`", "``, `a`", "`a`, ``"] {
            assert_eq!(found(odd), None, "{odd}");
        }
    }

    #[test]
    fn schema_without_a_grammar_is_found() {
        let body = r#"{"output_config":{"format":{"schema":{"a":1}}},"tools":[{"strict":true,"input_schema":{"b":1}},{"input_schema":{}}]}"#;
        let schema =
            |json: &str| Some(UnsupportedFeature::Schema(fingerprint(serde_json::from_str(json).unwrap())));
        let closed = "For 'object' type, 'additionalProperties' must be explicitly set to false";
        assert_eq!(
            detect_unsupported(&format!("output_config.format.schema: {closed}"), body),
            schema(r#"{"a":1}"#)
        );
        assert_eq!(detect_unsupported(&format!("tools.0.custom: {closed}"), body), schema(r#"{"b":1}"#));
        for (path, problem) in [
            ("tools.1.custom", closed),
            ("tools.2.custom", closed),
            ("messages.0.content", closed),
            ("output_config.format.schema", "Invalid schema: expected an object"),
        ] {
            assert_eq!(detect_unsupported(&format!("{path}: {problem}"), body), None, "{path}: {problem}");
        }
        assert_eq!(detect_unsupported(&format!("output_config.format.schema: {closed}"), "{}"), None);
    }
}
