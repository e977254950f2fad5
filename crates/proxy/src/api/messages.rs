//! `POST /v1/messages`.
//!
//! <https://docs.anthropic.com/en/api/messages>

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use protocol::anthropic::{MessagesFormat, Request, check_version};
use protocol::apis::ClientApi;
use tokio::time::Instant;

use super::error::ApiError;
use super::extract::{AuthenticatedCaller, BodyBytes, Record};
use super::{rate_limit_headers, response_headers};
use crate::app::App;
use crate::inference::{ClientBody, InferenceRequest, ResponseBody, ResponseHead};
use crate::telemetry::record::OverheadPhase;
use crate::telemetry::user_agent::CLAUDE_CODE;

/// The version of the API; the older one's rules hold without it.
pub(super) const VERSION: &str = "anthropic-version";
/// Beta features.
const BETA: &str = "anthropic-beta";
/// Tells nginx not to buffer a stream.
/// <https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering>
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NO_BUFFERING: HeaderValue = HeaderValue::from_static("no");
/// The content type of a stream of the Bedrock API.
const EVENT_STREAM: &[u8] = b"application/vnd.amazon.eventstream";

/// Serves a Messages request with a stream or with one message.
///
/// # Errors
/// See the table in [`super::error`].
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Record(record): Record,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let parse = || Request::parse(&body);
    let parsed = app.inference.work_on_body(&caller.caller, body.len(), parse).await??;
    record.add_phase(OverheadPhase::Translate, begun.elapsed());
    check_version(&parsed, version(&headers))?;
    let is_streamed = parsed.stream.unwrap_or(false);
    record.set_model_name(parsed.model.as_deref(), is_streamed, ClientApi::Messages.as_str());
    let model = app.inference.resolve(parsed.model.as_deref(), &caller.caller).await?;
    record.set_model(model.requested_model.clone(), is_streamed, ClientApi::Messages.as_str());
    let is_claude_code = record.head().user_agent.name == CLAUDE_CODE;
    let request = InferenceRequest {
        caller,
        record,
        model,
        client_api: ClientApi::Messages,
        body: ClientBody::Messages { body: body.clone(), betas: betas(&headers) },
        is_streamed,
        notices: Vec::new(),
        format: Arc::new(MessagesFormat { is_claude_code }),
    };
    Ok(respond(app.inference.handle(request, Some(parsed)).await?))
}

/// The HTTP response of an inference request.
pub(super) fn respond((head, body): (ResponseHead, ResponseBody)) -> Response {
    let mut response = match (body, head.forwarded) {
        (ResponseBody::Json(json), _) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        (ResponseBody::Streaming(body), Some((status, headers))) => {
            let mut response = (success(status), headers, Body::new(body)).into_response();
            let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
            if kind.is_some_and(|kind| kind.starts_with(EVENT_STREAM)) {
                response.headers_mut().insert(ACCEL_BUFFERING, NO_BUFFERING);
            }
            response
        }
        (ResponseBody::Streaming(body), None) => {
            let headers = [
                (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
                (header::CACHE_CONTROL, "no-cache"),
            ];
            (StatusCode::OK, headers, [(ACCEL_BUFFERING, NO_BUFFERING)], Body::new(body)).into_response()
        }
    };
    let headers = response.headers_mut();
    response_headers::add_route(head.upstream_api, headers);
    response_headers::add_notices(&head.notices, headers);
    if let Some((limit, period)) = &head.limit {
        rate_limit_headers::add(limit, *period, headers);
    }
    response
}

/// AWS's status of a success.
pub(super) fn success(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

fn version(headers: &HeaderMap) -> &str {
    headers.get(VERSION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The values of all `anthropic-beta` headers, in their order.
pub(super) fn betas(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(BETA).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
