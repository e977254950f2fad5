//! Errors of the JSON parser as sentences for clients.
//!
//! The parser's own messages name Rust types and repeat the client's values. Anthropic's clients read pydantic's sentences
//! (`Input should be a valid integer`), OpenAI's clients its own (`Invalid type for 'n': expected an integer, …`).

use std::fmt;

use serde::Deserialize;
use serde_json::error::Category;

use crate::json::RawJson;
use crate::request_body::InvalidRequest;

/// Longest name of a member in a message, in bytes: clients choose names.
const MAX_NAME_BYTES: usize = 64;

/// Client API whose sentences are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// Anthropic's.
    Anthropic,
    /// OpenAI's.
    OpenAi,
}

/// Parses the JSON object `body`.
///
/// # Errors
/// When it is not a JSON object, or a value is not of its type; the error has the JSON path.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], wording: Wording) -> Result<T, InvalidRequest> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let message = format!("the body is not valid UTF-8: byte {} is wrong", error.valid_up_to() + 1);
        InvalidRequest::new("", message)
    })?;
    if text.trim_start().starts_with('[') {
        // Derived types would take its items for their fields.
        let problem = Problem::WrongType { expected: Expected::Object, found: "an array" };
        return Err(problem.at(String::new(), wording));
    }
    serde_json::from_str(text).map_err(|error| located::<T>(text, &error, "", wording))
}

/// Parses `value`, which stands at `path`.
///
/// # Errors
/// When it, or a value in it, is not of its type.
pub(crate) fn read<'a, T: Deserialize<'a>>(
    value: RawJson<'a>,
    path: impl fmt::Display,
    wording: Wording,
) -> Result<T, InvalidRequest> {
    value.read().map_err(|error| located::<T>(value.get(), &error, &path.to_string(), wording))
}

/// The error of a JSON text that is no `T` or no JSON.
pub(crate) fn invalid_body(error: &serde_json::Error) -> InvalidRequest {
    Problem::new(error).at(String::new(), Wording::Anthropic)
}

/// Parses `text`, which stands at `path`, again to find the JSON path of the error, so that only invalid bodies cost the
/// bookkeeping.
fn located<'a, T: Deserialize<'a>>(
    text: &'a str,
    error: &serde_json::Error,
    path: &str,
    wording: Wording,
) -> InvalidRequest {
    let problem = Problem::new(error);
    let mut json = serde_json::Deserializer::from_str(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut json).err();
    let inner = error.map_or_else(String::new, |error| dotted(error.path()));
    problem.at(joined(path, &inner), wording)
}

/// The path of `inner`, which stands in the value at `path`.
fn joined(path: &str, inner: &str) -> String {
    let dot = if path.is_empty() || inner.is_empty() { "" } else { "." };
    format!("{path}{dot}{inner}")
}

fn dotted(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(shortened(key)),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    segments.collect::<Vec<_>>().join(".")
}

/// OpenAI's error for a `value` that is not an object.
pub(crate) fn not_an_object(path: impl fmt::Display, value: RawJson<'_>) -> InvalidRequest {
    let found = match value.get().as_bytes() {
        [b'"', ..] => "a string",
        [b'[', ..] => "an array",
        [b't' | b'f', ..] => "a boolean",
        [b'n', ..] => "null",
        _ => "a number",
    };
    Problem::WrongType { expected: Expected::Object, found }.at(path.to_string(), Wording::OpenAi)
}

/// What is wrong with a JSON text.
#[derive(Debug, PartialEq)]
enum Problem {
    /// It is not JSON.
    Syntax(String),
    /// A value is of another type.
    WrongType { expected: Expected, found: &'static str },
    /// A number is below zero.
    Negative(String),
    /// A member is not known; with the known ones.
    UnknownMember { name: String, known: String },
    /// A member is missing.
    MissingMember(String),
    /// An object has a member twice.
    Duplicate(String),
    /// Another rule, in the words of its check.
    Rule(String),
}

/// Type that a value should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Text,
    Integer,
    Number,
    Boolean,
    List,
    Object,
    TextOrList,
    TextOrObject,
    Unknown,
}

impl Expected {
    /// The type in a message of the parser: what a visitor expects.
    fn new(text: &str) -> Self {
        match text {
            "a string" => Self::Text,
            "a boolean" => Self::Boolean,
            "f32" | "f64" => Self::Number,
            "an object" | "a map" => Self::Object,
            "a sequence" => Self::List,
            "a string or an array" | "a string or an array of content blocks" => Self::TextOrList,
            "a string or an object" => Self::TextOrObject,
            _ if text.starts_with("an array") => Self::List,
            _ if text.starts_with("struct ") => Self::Object,
            _ if is_integer_type(text) => Self::Integer,
            _ => Self::Unknown,
        }
    }

    /// The end of Anthropic's sentence `Input should be …`.
    fn anthropic(self) -> &'static str {
        match self {
            Self::Text => "a valid string",
            Self::Integer => "a valid integer",
            Self::Number => "a valid number",
            Self::Boolean => "a valid boolean",
            Self::List => "a valid list",
            Self::Object => "an object",
            Self::TextOrList => "a string or an array of content blocks",
            Self::TextOrObject => "a string or an object",
            Self::Unknown => "of another type",
        }
    }

    /// The type in OpenAI's sentence `expected …, but got …`.
    fn openai(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Integer => "an integer",
            Self::Number => "a decimal",
            Self::Boolean => "a boolean",
            Self::List => "an array",
            Self::Object => "an object",
            Self::TextOrList => "a string or an array",
            Self::TextOrObject => "a string or an object",
            Self::Unknown => "another type",
        }
    }
}

/// Whether `text` is Rust's name of an integer type.
fn is_integer_type(text: &str) -> bool {
    let bits = text.strip_prefix(['u', 'i']).unwrap_or_default();
    matches!(bits, "8" | "16" | "32" | "64" | "128" | "size")
}

impl Problem {
    fn new(error: &serde_json::Error) -> Self {
        let text = error.to_string();
        let text = text.rfind(" at line ").map_or(&*text, |at| &text[..at]);
        match error.classify() {
            Category::Eof => Self::Syntax("it ends before it is complete".to_owned()),
            Category::Io | Category::Syntax => {
                let place = format!("line {}, column {}", error.line(), error.column());
                Self::Syntax(match text {
                    "recursion limit exceeded" => format!("it is nested too deep ({place})"),
                    "number out of range" => format!("a number is out of range ({place})"),
                    _ if text.contains("escape") || text.contains("surrogate") => {
                        format!("a string has an invalid escape ({place})")
                    }
                    "trailing characters" => format!("something follows its end ({place})"),
                    _ => format!("unexpected character ({place})"),
                })
            }
            Category::Data => Self::from_message(text),
        }
    }

    /// Parses a message about a value.
    fn from_message(text: &str) -> Self {
        let (what, rest) = text.split_once(": ").unwrap_or((text, ""));
        if let ("invalid type" | "invalid value", Some((found, expected))) =
            (what, rest.rsplit_once(", expected "))
        {
            let expected = Expected::new(expected);
            let number = found.strip_prefix("integer `").and_then(|rest| rest.strip_suffix('`'));
            return match number {
                Some(number) if what == "invalid value" && expected == Expected::Integer => {
                    Self::Negative(number.to_owned())
                }
                _ => Self::WrongType { expected, found: found_type(found) },
            };
        }
        if let Some(expected) =
            text.strip_prefix("invalid length ").and_then(|rest| rest.split_once(", expected "))
        {
            return Self::WrongType { expected: Expected::new(expected.1), found: "an array" };
        }
        let name = |rest: &str| shortened(rest.split('`').next().unwrap_or_default());
        if let Some(rest) = text.strip_prefix("unknown field `") {
            let (_, known) = text.rsplit_once(", expected ").unwrap_or_default();
            let known = known.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ");
            Self::UnknownMember { name: name(rest), known }
        } else if let Some(rest) = text.strip_prefix("missing field `") {
            Self::MissingMember(name(rest))
        } else if let Some(rest) = text.strip_prefix("duplicate field `") {
            Self::Duplicate(name(rest))
        } else {
            Self::Rule(text.to_owned())
        }
    }

    /// The error for the value at `path`.
    fn at(self, path: String, wording: Wording) -> InvalidRequest {
        let path = match &self {
            // The parser may have come to the name of the member.
            Self::UnknownMember { name, .. } | Self::MissingMember(name) | Self::Duplicate(name)
                if path.rsplit('.').next() != Some(name) =>
            {
                joined(&path, name)
            }
            _ => path,
        };
        let message = match self {
            Self::Syntax(what) => format!("the body is not valid JSON: {what}"),
            Self::WrongType { found, .. } if path.is_empty() => {
                format!("the body should be a JSON object, not {found}")
            }
            Self::WrongType { expected, found } => match wording {
                Wording::Anthropic => format!("Input should be {}", expected.anthropic()),
                Wording::OpenAi => {
                    format!(
                        "Invalid type for '{path}': expected {}, but got {found} instead.",
                        expected.openai()
                    )
                }
            },
            Self::Negative(number) => match wording {
                Wording::Anthropic => "Input should be greater than or equal to 0".to_owned(),
                Wording::OpenAi => format!(
                    "Invalid '{path}': integer below minimum value. Expected a value >= 0, but got {number} instead."
                ),
            },
            Self::UnknownMember { known, .. } if known.is_empty() => {
                "Extra inputs are not permitted".to_owned()
            }
            Self::UnknownMember { known, .. } => format!("Extra inputs are not permitted; use {known}"),
            Self::MissingMember(_) => "Field required".to_owned(),
            Self::Duplicate(_) => "the field is given twice".to_owned(),
            Self::Rule(message) => message,
        };
        InvalidRequest { path, message }
    }
}

/// The type of a value in a message of the parser.
fn found_type(text: &str) -> &'static str {
    let words = [
        ("string", "a string"),
        ("character", "a string"),
        ("integer", "an integer"),
        ("floating point", "a decimal"),
        ("boolean", "a boolean"),
        ("sequence", "an array"),
        ("map", "an object"),
        ("null", "null"),
        ("unit", "null"),
        ("Option", "null"),
    ];
    words.iter().find(|(word, _)| text.starts_with(word)).map_or("another value", |(_, found)| found)
}

/// A name that fits into a message.
fn shortened(name: &str) -> String {
    match name.char_indices().find(|(at, _)| *at > MAX_NAME_BYTES) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
