//! CountTokens of a client that speaks Bedrock: a Claude body inside of it is mended as it would be to be answered, and
//! what Bedrock does not count is guessed, which the answer says.
//!
//! Clients count dozens of parts at once, and one that gets no answer counts by asking the model, which costs.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::anthropic::Request;
use protocol::capabilities::Capabilities;
use protocol::translate::Notice;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::count_tokens::{ESTIMATED, does_not_count};
use super::{edited, json_answer, notice};
use crate::app::App;
use crate::bedrock::Failure;
use crate::estimate::{self, Tokenizer};

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    input: Input<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(default)]
    invoke_model: Option<InvokeModel>,
    #[serde(borrow, default)]
    converse: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct InvokeModel {
    /// Base64.
    body: String,
}

/// The body that is counted: Anthropic's, which was base64, or Converse's.
fn counted(body: &[u8]) -> Option<(Vec<u8>, bool)> {
    let Asked { input } = serde_json::from_slice(body).ok()?;
    match (input.invoke_model, input.converse) {
        (Some(native), _) => STANDARD.decode(native.body).ok().map(|body| (body, true)),
        (None, Some(converse)) => Some((converse.get().as_bytes().to_vec(), false)),
        (None, None) => None,
    }
}

/// The question with a Claude body that Bedrock takes, if it holds one.
pub(super) fn mended(app: &App, capabilities: &Capabilities, body: Bytes) -> (Bytes, Vec<Notice>) {
    let Some((native, true)) = counted(&body) else { return (body, Vec::new()) };
    let (native, notices) = edited(app, capabilities, native.into());
    let native = STANDARD.encode(native);
    (json!({"input": {"invokeModel": {"body": native}}}).to_string().into(), notices)
}

/// Whether Bedrock is not worth asking about this model.
pub(super) fn is_vain(app: &App, model_id: &str, capabilities: &Capabilities) -> bool {
    (capabilities.claude && !capabilities.counts_tokens) || app.counts.is_refused(model_id)
}

/// Whether a refusal says so; it is remembered.
pub(super) fn learn(app: &App, model_id: &str, failure: &Failure) -> bool {
    let vain = does_not_count(failure);
    if vain {
        app.counts.refuse(model_id);
    }
    vain
}

/// A guess; `None` for what cannot be read, on which AWS shall have the last word.
pub(super) fn guess(model_id: &str, body: &[u8]) -> Option<Response> {
    let (counted, _) = counted(body)?;
    // What Converse calls otherwise is counted as unknown members are.
    let request = Request::parse(&counted).ok()?;
    let tokens = estimate::tokens(&request, Tokenizer::for_model(model_id));
    let mut response = json_answer(&json!({"inputTokens": tokens}));
    response.headers_mut().insert(notice::HEADER, ESTIMATED);
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_question_are_guessed_and_nothing_else() {
        let native = STANDARD.encode(r#"{"messages":[{"role":"user","content":"Hello there"}]}"#);
        for body in [
            json!({"input": {"invokeModel": {"body": native}}}),
            json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "Hello there"}]}]}}}),
        ] {
            assert!(guess("anthropic.claude-opus-5", body.to_string().as_bytes()).is_some(), "{body}");
        }
        for body in [json!({}), json!({"input": {}}), json!({"input": {"invokeModel": {"body": "!"}}})] {
            assert!(guess("anthropic.claude-opus-5", body.to_string().as_bytes()).is_none(), "{body}");
        }
    }
}
