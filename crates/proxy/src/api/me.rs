//! `GET /v1/me`: the caller, its limits and its token.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::AuthenticatedCaller;
use crate::app::App;
use crate::inference::quota_subject;

/// The caller, its limits with what is used and when they reset, and when the token expires.
///
/// # Errors
/// When the database is unavailable.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
) -> Result<Response, ApiError> {
    let caller = &caller.caller;
    let subject = quota_subject(caller);
    let mut status = app.admin.quota_status(&subject).await?;
    status["default_inference_profile"] = caller.default_inference_profile.clone().into();
    status["scope"] = caller.scope.as_str().into();
    status["jti"] = caller.jti.clone().into();
    let expires_at = caller.expires_at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    status["token_expires_at"] = expires_at.map(|at| at.to_string()).into();
    let now = app.clock.milliseconds().div_euclid(1000);
    status["token_expires_in_seconds"] = caller.expires_at.map(|at| at.saturating_sub(now)).into();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, status.to_string()).into_response())
}
