//! `POST /v1/messages`: the life of a request.
//!
//! <https://docs.anthropic.com/en/api/messages>

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use protocol::anthropic::{Request, check_version};
use tokio::time::Instant;

use super::access_log::Entry;
use super::body::Whole;
use super::call::{self, Asked};
use super::caller::Caller;
use super::error::ApiError;
use super::opening::Inquiry;
use super::tongue::Tongue;
use super::{detail, metering, relay, whole};
use crate::app::App;
use crate::auth;
use crate::catalog::ResolvedModel;
use crate::telemetry::record::OverheadPhase;

/// Which rules the client goes by; those of the older version when it does not say.
pub(super) const VERSION: &str = "anthropic-version";
/// Where clients switch features on.
const BETA: &str = "anthropic-beta";

/// Finds the model, chooses the route, asks Bedrock, and answers with a stream or with one message.
///
/// # Errors
/// In Anthropic's words; see the table in [`super::error`].
pub async fn post(
    State(app): State<Arc<App>>,
    entry: Entry,
    Caller(caller): Caller,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let request = Request::parse(&body)?;
    entry.took(OverheadPhase::Translate, begun.elapsed());
    check_version(&request, version(&headers))?;
    let target = target(&app, &entry, &caller, request.model.as_deref(), request.stream).await?;
    let asked = Asked { body: body.clone(), betas: betas(&headers), target, notices: Vec::new() };
    let passage = Passage { entry, caller, headers, tongue: Tongue::Messages };
    pass(app, passage, asked, request).await
}

/// Who asks, and how the answer is told.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) entry: Entry,
    pub(super) caller: Arc<auth::Caller>,
    pub(super) headers: HeaderMap,
    pub(super) tongue: Tongue,
}

/// The model that `caller` means by `model`.
///
/// # Errors
/// When there is no such model.
pub(super) async fn target(
    app: &Arc<App>,
    entry: &Entry,
    caller: &auth::Caller,
    model: Option<&str>,
    stream: Option<bool>,
) -> Result<ResolvedModel, ApiError> {
    let target = app.resolve_for(model, caller.default_inference_profile.as_deref()).await?;
    entry.note(|fields| {
        fields.model_requested = Some(target.requested_model.clone());
        fields.stream = stream.unwrap_or(false);
    });
    Ok(target)
}

/// The way of every request, whatever language it came in: `request` is the body of what was asked, read.
///
/// # Errors
/// As [`post`].
pub(super) async fn pass(
    app: Arc<App>,
    passage: Passage,
    asked: Asked,
    request: Request<'_>,
) -> Result<Response, ApiError> {
    let Passage { entry, caller, headers, tongue } = passage;
    let streams = request.stream.unwrap_or(false);
    detail::request(entry.request_id(), &asked, &request);
    let begun = Instant::now();
    let need = metering::need(&app, &request, &asked.target);
    let call = call::prepare(&app, &asked, request)?;
    entry.took(OverheadPhase::Translate, begun.elapsed());
    let limits = metering::admit(&app, &entry, &caller, need, &asked.target, &headers).await?;
    let inquiry = Inquiry::new(asked, call, entry, app.relay.xml_buffer);
    let cutting = app.tasks.cutting();
    let answer = async {
        if streams {
            relay::respond(app, inquiry, tongue).await
        } else {
            whole::respond(app, inquiry, tongue).await
        }
    };
    let mut answer = tokio::select! {
        answer = answer => answer?,
        () = cutting => return Err(ApiError::shutting_down()),
    };
    answer.headers_mut().extend(limits);
    Ok(answer)
}

fn version(headers: &HeaderMap) -> &str {
    headers.get(VERSION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The betas of all `anthropic-beta` headers, in the order they came.
pub(super) fn betas(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(BETA).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
