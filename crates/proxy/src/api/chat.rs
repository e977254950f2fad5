//! `POST /v1/chat/completions`: the door for clients that speak OpenAI's language.
//!
//! The request becomes a Messages request and goes the way of all of them (`messages`): the same callers, limits,
//! routes, repairs and receipts. Here is what is different on this side of it: the body, the voice of the answer, and
//! the envelope of errors.
//!
//! <https://platform.openai.com/docs/api-reference/chat/create>

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use protocol::openai::{self, CompletionHead};
use protocol::translate::{self, ChatOptions};
use tokio::time::Instant;

use super::access_log::Entry;
use super::aliases;
use super::body::Whole;
use super::call::Asked;
use super::caller::Caller;
use super::error::ApiError;
use super::messages::{self as main_door, Passage};
use super::tongue::Tongue;
use crate::app::App;
use crate::ids;
use crate::telemetry::record::OverheadPhase;

/// The paths of this door.
pub fn router() -> Router<Arc<App>> {
    Router::new().route("/v1/chat/completions", post(answer)).merge(aliases::chat())
}

/// The layer: errors below it are in OpenAI's envelope.
pub async fn layer(request: HttpRequest, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response.extensions_mut().insert(error.for_chat());
    }
    response
}

/// Makes a Messages request of the body, and has it answered in chunks or as one completion.
///
/// # Errors
/// As the main door, in OpenAI's envelope.
pub async fn answer(
    State(app): State<Arc<App>>,
    entry: Entry,
    Caller(caller): Caller,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let chat = openai::Request::parse(&body)?;
    let parsing = begun.elapsed();
    let target = main_door::target(&app, &entry, &caller, chat.model.as_deref(), chat.stream).await?;
    let options = ChatOptions { auto_cache: app.relay.auto_cache, strict: app.relay.options.strict };
    let begun = Instant::now();
    let call = translate::chat_to_messages(&chat, body.len(), &target.capabilities, &options)?;
    entry.took(OverheadPhase::Translate, parsing + begun.elapsed());
    if !call.unsupported.is_empty() {
        return Err(translate::unsupported_error(&call.unsupported).into());
    }
    let head = CompletionHead {
        id: ids::completion_id(),
        created: app.clock.milliseconds() / 1000,
        model: target.requested_model.clone(),
        include_usage: call.include_usage,
        functions: call.functions,
    };
    let asked = Asked {
        body: Bytes::from(call.body),
        betas: main_door::betas(&headers),
        target,
        notices: call.notices,
    };
    let passage = Passage { entry, caller, headers, tongue: Tongue::Chat(head) };
    main_door::pass(app, passage, asked, call.request).await
}
