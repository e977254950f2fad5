//! Token counting: `POST /v1/messages/count_tokens`, and CountTokens of the Bedrock API.
//!
//! <https://platform.claude.com/docs/en/api/messages-count-tokens>

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use protocol::anthropic::Request;
use protocol::apis::ClientApi;

use super::error::ApiError;
use super::extract::{AuthenticatedCaller, BodyBytes, Record};
use super::messages::{betas, success};
use super::response_headers;
use crate::app::App;
use crate::auth::Caller;
use crate::catalog::ResolvedModel;
use crate::inference::{CountTokensResponse, TokenCount};
use crate::telemetry::RecordHandle;

const ESTIMATED: HeaderValue = HeaderValue::from_static("count_tokens: estimated");

/// Counts the tokens of a Messages request, or estimates them, with a notice.
///
/// # Errors
/// When the request is not valid, or the model is not known.
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Record(record): Record,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let parse = || Request::parse(&body);
    let parsed = app.inference.work_on_body(&caller.caller, body.len(), parse).await??;
    record.set_model_name(parsed.model.as_deref(), false, ClientApi::Messages.as_str());
    let model = app.inference.resolve_counted(parsed.model.as_deref(), &caller.caller).await?;
    record.set_model(model.requested_model.clone(), false, ClientApi::Messages.as_str());
    let betas = betas(&headers);
    Ok(match app.inference.count_tokens(&record, &caller.caller, &model, parsed, &body, &betas).await? {
        TokenCount::Exact(tokens) => json(format!(r#"{{"input_tokens":{tokens}}}"#)),
        TokenCount::Estimate(tokens) => estimated(format!(r#"{{"input_tokens":{tokens}}}"#)),
    })
}

/// Forwards CountTokens of the Bedrock API, or estimates.
///
/// # Errors
/// What AWS responds with.
pub(super) async fn forward(
    app: &App,
    record: &RecordHandle,
    caller: &Caller,
    model: &ResolvedModel,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, ApiError> {
    Ok(match app.inference.forward_count_tokens(record, caller, model, headers, body).await? {
        CountTokensResponse::Forwarded(status, headers, body, notices) => {
            let mut response = (success(status), headers, body).into_response();
            response_headers::add_notices(&notices, response.headers_mut());
            response
        }
        CountTokensResponse::Estimate(tokens) => estimated(format!(r#"{{"inputTokens":{tokens}}}"#)),
    })
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn estimated(body: String) -> Response {
    let mut response = json(body);
    response.headers_mut().insert(response_headers::NOTICE, ESTIMATED);
    response
}
