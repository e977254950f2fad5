//! `POST /v1/messages`: the life of a request.
//!
//! <https://docs.anthropic.com/en/api/messages>

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use messages::anthropic::{Request, check_version};

use super::access_log::Entry;
use super::body::Whole;
use super::call::{self, Asked};
use super::caller::Caller;
use super::error::ApiError;
use super::opening::Inquiry;
use super::{metering, relay, whole};
use crate::app::App;

/// Which rules the client goes by; those of the older version when it does not say.
const VERSION: &str = "anthropic-version";
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
    let request = Request::parse(&body)?;
    check_version(&request, version(&headers))?;
    let streams = request.stream.unwrap_or(false);
    let profile = caller.default_inference_profile.as_deref();
    let target = app.resolve_for(request.model.as_deref(), profile).await?;
    entry.note(|fields| {
        fields.model_requested = Some(target.requested.clone());
        fields.stream = streams;
    });
    let asked = Asked { body: body.clone(), betas: betas(&headers), target };
    let need = metering::need(&app, &request, &asked.target);
    let call = call::prepare(&app, &asked, request)?;
    let limits = metering::admit(&app, &entry, &caller, need, &asked.target, &headers).await?;
    let inquiry = Inquiry::new(asked, call, entry, app.relay.xml_buffer);
    let cutting = app.tasks.cutting();
    let answer = async {
        if streams { relay::respond(app, inquiry).await } else { whole::respond(app, inquiry).await }
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
