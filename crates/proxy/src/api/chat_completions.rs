//! `POST /v1/chat/completions`, for clients of OpenAI's API. The request is translated into a Messages request.
//!
//! <https://platform.openai.com/docs/api-reference/chat/create>

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use protocol::apis::ClientApi;
use protocol::openai::{self, CompletionHead};
use protocol::translate::{self, ChatFormat, ChatOptions};
use tokio::time::Instant;

use super::error::ApiError;
use super::extract::{AuthenticatedCaller, BodyBytes, Record};
use super::messages::{betas, respond};
use crate::app::App;
use crate::ids;
use crate::inference::{ClientBody, InferenceRequest};
use crate::telemetry::record::OverheadPhase;

/// Serves a chat completion in chunks or as one document.
///
/// # Errors
/// As [`super::messages::post`], in OpenAI's format.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Record(record): Record,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let parse = || openai::Request::parse(&body);
    let chat = app.inference.work_on_body(&caller.caller, body.len(), parse).await??;
    let parsing = begun.elapsed();
    let is_streamed = chat.stream.unwrap_or(false);
    record.set_model_name(chat.model.as_deref(), is_streamed, ClientApi::ChatCompletions.as_str());
    let model = app.inference.resolve(chat.model.as_deref(), &caller.caller).await?;
    record.set_model(model.requested_model.clone(), is_streamed, ClientApi::ChatCompletions.as_str());
    let config = app.inference.config();
    let options = ChatOptions { auto_cache: config.auto_cache, strict: config.options.strict };
    let begun = Instant::now();
    let capabilities = app.inference.chat_capabilities(&model);
    let translate = || translate::chat_to_messages(&chat, body.len(), &capabilities, &options);
    let call = app.inference.work_on_body(&caller.caller, body.len(), translate).await??;
    record.add_phase(OverheadPhase::Translate, parsing + begun.elapsed());
    if !call.unsupported.is_empty() {
        return Err(translate::unsupported_error(&call.unsupported).into());
    }
    let head = CompletionHead {
        id: ids::completion_id(),
        created: app.clock.milliseconds() / 1000,
        model: model.requested_model.clone(),
        include_usage: call.include_usage,
        functions: call.functions,
        exclude_reasoning: call.exclude_reasoning,
    };
    let request = InferenceRequest {
        caller,
        record,
        model,
        client_api: ClientApi::ChatCompletions,
        body: ClientBody::Messages { body: Bytes::from(call.body), betas: betas(&headers) },
        is_streamed,
        notices: call.notices,
        format: Arc::new(ChatFormat::new(head, call.paths)),
    };
    Ok(respond(app.inference.handle(request, call.request).await?))
}
