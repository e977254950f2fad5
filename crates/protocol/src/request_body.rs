//! What request bodies of all client APIs have in common: how they are parsed, the error of an invalid one, and the marker
//! of the prompt cache.

use std::fmt;

use serde::Deserialize;

use crate::json::{JsonStr, RawJson, object};

/// Request that is not valid: the JSON path and the problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    /// JSON path, members and indices joined by dots (`messages.0.content`); empty for the
    /// whole body.
    pub path: String,
    /// Problem at that path.
    pub message: String,
}

impl InvalidRequest {
    /// Error for the value at `path`.
    pub fn new(path: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), message: message.into() }
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for InvalidRequest {}

/// Parses a body of any client API; errors have a JSON path.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, InvalidRequest> {
    let text = std::str::from_utf8(body)
        .map_err(|error| InvalidRequest::new("", format!("the body is not valid UTF-8: {error}")))?;
    serde_json::from_str(text).map_err(|error| located::<T>(text, &error))
}

/// Parses the body again to find the JSON path of the error, so that only invalid bodies cost the bookkeeping.
fn located<'a, T: Deserialize<'a>>(body: &'a str, error: &serde_json::Error) -> InvalidRequest {
    let mut json = serde_json::Deserializer::from_str(body);
    let path = serde_path_to_error::deserialize::<_, T>(&mut json)
        .err()
        .map_or_else(String::new, |error| dotted(error.path()));
    if error.is_data() {
        InvalidRequest::new(path, without_position(&error.to_string()))
    } else {
        InvalidRequest::new(path, format!("the body is not valid JSON: {error}"))
    }
}

fn dotted(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    segments.collect::<Vec<_>>().join(".")
}

/// The error of serde_json without its position: the path is more precise.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

object! {
    /// End of a prefix to cache.
    pub struct CacheControl {
        /// `ephemeral`.
        "type" => kind: JsonStr<'a>,
        /// `5m` or `1h`.
        "ttl" => ttl: JsonStr<'a>,
        /// Scope of the cache; unknown to Bedrock.
        "scope" => scope: RawJson<'a>,
    }
}
