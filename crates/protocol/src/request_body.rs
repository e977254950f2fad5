//! What request bodies of all client APIs have in common: the error of an invalid one, and the marker of the prompt
//! cache.

use std::fmt;

use crate::json::{JsonStr, RawJson, object, truncated};

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
    /// Maximum length of path and message, in bytes: both repeat what the client wrote, and some lines are enough to find it.
    const MAX_BYTES: usize = 2000;

    /// Error for the value at `path`.
    pub fn new(path: impl fmt::Display, message: impl Into<String>) -> Self {
        let path = truncated(path.to_string(), Self::MAX_BYTES);
        Self { path, message: truncated(message.into(), Self::MAX_BYTES) }
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
