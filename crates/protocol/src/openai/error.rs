//! Errors in OpenAI's words.
//!
//! See <https://platform.openai.com/docs/guides/error-codes>.

use serde::Serialize;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Error {
    /// What is wrong and what to do.
    pub message: String,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The place in the body, members and indices joined by dots.
    pub param: Option<String>,
    /// What exactly it is, for programs.
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
