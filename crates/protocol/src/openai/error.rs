//! Errors of OpenAI's API.
//!
//! See <https://platform.openai.com/docs/guides/error-codes>.

use serde::Serialize;

/// Error of OpenAI's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    /// Problem and remedy.
    pub message: String,
    /// Type of the error.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// JSON path in the request, members and indices joined by dots.
    pub param: Option<String>,
    /// Error code for programs.
    pub code: Option<&'static str>,
}

impl Error {
    /// The body of a response, or the data of the event that ends a stream: `{"error":{…}}`.
    #[must_use]
    pub fn envelope(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            error: &'a Error,
        }
        serde_json::to_vec(&Envelope { error: self }).unwrap_or_default()
    }
}
