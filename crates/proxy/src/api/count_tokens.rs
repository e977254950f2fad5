//! `POST /v1/messages/count_tokens`: counted by Bedrock where it counts, else guessed.
//!
//! <https://platform.claude.com/docs/en/api/messages-count-tokens>. A client that gets no answer counts by asking the
//! model, which costs; so every valid request is answered.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use protocol::anthropic::{ErrorType, Request};
use protocol::translate::{self, InvokeOptions, RequestedBetas, TranslationOptions};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::access_log::Entry;
use super::body::Whole;
use super::error::ApiError;
use super::messages::betas;
use super::notice;
use crate::app::App;
use crate::bedrock::Failure;
use crate::catalog::ResolvedModel;
use crate::estimate::{self, Tokenizer};

pub(super) const ESTIMATED: HeaderValue = HeaderValue::from_static("count_tokens: estimated");
/// How long Bedrock may take to count.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest id that CountTokens takes.
const LONGEST_ID: usize = 256;

/// Counts, or guesses and says so.
///
/// # Errors
/// When the request is not valid, or the model is not known.
pub async fn post(
    State(app): State<Arc<App>>,
    entry: Entry,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, ApiError> {
    let mut request = Request::parse(&body)?;
    let target = app.resolve(request.model.as_deref()).await?;
    entry.note(|fields| fields.model_requested = Some(target.requested_model.clone()));
    let most = target.capabilities.max_output_tokens.unwrap_or(app.relay.options.default_max_tokens);
    let tokenizer = Tokenizer::for_model(target.foundation_model.as_deref().unwrap_or(&target.model_id));
    let guess = estimate::tokens(&request, tokenizer);
    // Betas cost nothing, and one that the model does not know would spoil the count.
    request.anthropic_beta = None;
    // Counting needs no max_tokens; translating wants one, and leaves it out of what is counted.
    let call = translate::to_converse(
        request,
        RequestedBetas::default(),
        body.len(),
        &target.capabilities,
        &TranslationOptions { default_max_tokens: most, strict: false, ..app.relay.options },
    )?;
    let question = if target.mantle {
        on_mantle(&app, &target, &body, &headers)?
    } else if call.unsupported.is_empty() {
        question(&call.body).map(Question::Runtime)
    } else {
        None
    };
    let counted = match question {
        Some(question) => tokio::select! {
            counted = count(&app, &entry, &target, question) => counted,
            () = app.tasks.aborted() => return Err(ApiError::shutting_down()),
        },
        None => None,
    };
    if let Some(tokens) = counted {
        return Ok(answer(tokens));
    }
    let mut response = answer(guess);
    response.headers_mut().insert(notice::HEADER, ESTIMATED);
    Ok(response)
}

/// What is asked of whom.
enum Question {
    /// CountTokens of the runtime.
    Runtime(Bytes),
    /// The Messages API of Mantle, with these betas.
    Mantle(Bytes, Vec<String>),
}

/// The client's own body, for a model that lives on Mantle.
fn on_mantle(
    app: &App,
    target: &ResolvedModel,
    body: &Bytes,
    headers: &HeaderMap,
) -> Result<Option<Question>, ApiError> {
    let model = target.foundation_model.as_deref().unwrap_or(&target.model_id);
    let names = betas(headers);
    let options = InvokeOptions {
        betas: RequestedBetas { names: &names, ..RequestedBetas::default() },
        ..InvokeOptions::count_tokens(model, TranslationOptions { strict: false, ..app.relay.options })
    };
    let Ok(text) = std::str::from_utf8(body) else { return Ok(None) };
    let call = translate::to_invoke(text, &target.capabilities, &options)?;
    Ok(call.unsupported.is_empty().then(|| Question::Mantle(Bytes::from(call.body), call.betas)))
}

fn answer(tokens: u64) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!(r#"{{"input_tokens":{tokens}}}"#)).into_response()
}

/// The CountTokens request for a ConverseStream body: those of its members that cost, byte for byte.
fn question(converse: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Prompt<'a> {
        #[serde(borrow)]
        messages: &'a RawValue,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        system: Option<&'a RawValue>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        tool_config: Option<&'a RawValue>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        additional_model_request_fields: Option<&'a RawValue>,
    }
    #[derive(Serialize)]
    struct Input<'a> {
        converse: Prompt<'a>,
    }
    #[derive(Serialize)]
    struct Question<'a> {
        input: Input<'a>,
    }
    let converse = serde_json::from_slice(converse).ok()?;
    serde_json::to_vec(&Question { input: Input { converse } }).ok().map(Bytes::from)
}

/// What Bedrock counts; `None` when it does not, whatever the reason.
async fn count(app: &App, entry: &Entry, target: &ResolvedModel, question: Question) -> Option<u64> {
    let base = target.foundation_model.as_deref().filter(|base| base.len() <= LONGEST_ID)?;
    if !(target.capabilities.counts_tokens || target.mantle) || app.counts.is_refused(base) {
        return None;
    }
    let (Question::Runtime(body) | Question::Mantle(body, _)) = &question;
    let key = app.counts.key(base, body);
    if let Some(tokens) = app.counts.get(key) {
        return Some(tokens);
    }
    entry.note(|fields| fields.model_upstream = Some(base.to_owned()));
    let request_id = entry.request_id();
    let counting = async {
        match question {
            Question::Runtime(body) => app.bedrock.count_tokens(base, body).await,
            Question::Mantle(body, betas) => app.bedrock.count_tokens_on_mantle(body, &betas).await,
        }
    };
    let _waiting = entry.waiting();
    match tokio::time::timeout(PATIENCE, counting).await {
        Ok(Ok(tokens)) => {
            app.counts.put(key, tokens);
            return Some(tokens);
        }
        Ok(Err(failure)) => {
            if does_not_count(&failure) {
                app.counts.refuse(base);
            }
            tracing::warn!(%request_id, %failure, "Bedrock does not count; the answer is a guess");
        }
        Err(_) => tracing::warn!(%request_id, "Bedrock took too long to count; the answer is a guess"),
    }
    None
}

/// Whether the model does not count at all, or these credentials may not ask.
pub(super) fn does_not_count(failure: &Failure) -> bool {
    let Failure::Refused(refusal) = failure else { return false };
    let meaning = &refusal.meaning;
    meaning.aws_message.to_lowercase().contains("support counting tokens")
        || matches!(meaning.error.kind, ErrorType::Permission | ErrorType::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_holds_what_costs_byte_for_byte() {
        let body = br#"{"system":[{"text":"s"}],"messages":[ {"z":1,"a":1.0} ],"inferenceConfig":{"maxTokens":1},"toolConfig":{"tools":[{"b":1,"a":2}]},"requestMetadata":{}}"#;
        let expected = r#"{"input":{"converse":{"messages":[ {"z":1,"a":1.0} ],"system":[{"text":"s"}],"toolConfig":{"tools":[{"b":1,"a":2}]}}}}"#;
        assert_eq!(question(body).unwrap(), expected);
        assert_eq!(question(b"{}"), None);
    }
}
