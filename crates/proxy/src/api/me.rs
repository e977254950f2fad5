//! `GET /v1/me`: how the bearer of a token stands.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use jiff::Timestamp;

use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::quota::QuotaSubject;

/// Who the caller is, what the limits are, what is gone of them, when they begin anew, and when the token ends.
///
/// # Errors
/// When the database is away.
pub async fn get(State(app): State<Arc<App>>, Caller(caller): Caller) -> Result<Response, ApiError> {
    let payer = QuotaSubject {
        user_id: caller.user_id.clone(),
        team: caller.team.clone(),
        user_limit: caller.user_limit,
        team_limit: caller.team_limit,
    };
    let mut standing = app.admin.quota_status(&payer).await?;
    standing["default_inference_profile"] = caller.default_inference_profile.clone().into();
    standing["scope"] = caller.scope.as_str().into();
    standing["jti"] = caller.jti.clone().into();
    let ends = caller.expires_at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    standing["token_expires_at"] = ends.map(|ends| ends.to_string()).into();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, standing.to_string()).into_response())
}
