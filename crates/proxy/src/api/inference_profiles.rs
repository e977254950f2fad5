//! `GET /inference-profiles` and `GET /inference-profiles/{id}` of Bedrock's control plane: from AWS when models are looked
//! up there anyway, else from the catalog.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListInferenceProfiles.html>

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Uri, header};
use hyper::body::Incoming;
use protocol::anthropic::ErrorType;
use serde_json::{Value, json};

use super::error::ApiError;
use super::extract::{ModelId, Record, decode_model_id, query_pairs, without_own_arn};
use crate::app::App;
use crate::bedrock::{UpstreamError, forwarded_response_headers, request_id};
use crate::catalog::OfferedProfile;
use crate::telemetry::RecordHandle;
use crate::telemetry::record::{Attempt, UpstreamRecord};

/// The paths below `base`.
pub(super) fn router(base: &str) -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{base}/inference-profiles"), get(list))
        .route(&format!("{base}/inference-profiles/{{id}}"), get(describe))
}

/// ListInferenceProfiles.
async fn list(State(app): State<Arc<App>>, Record(record): Record, uri: Uri) -> Result<Response, ApiError> {
    if app.control.discover {
        let waiting = record.upstream_wait();
        let response = app.bedrock.forward_profiles(uri.query()).await;
        drop(waiting);
        return forward(&record, response);
    }
    let is_own = query_pairs(uri.query()).any(|(name, value)| name == "type" && value == "APPLICATION");
    let offered = if is_own { Vec::new() } else { app.catalog.offered_profiles() };
    let summaries: Vec<_> = offered.iter().map(|profile| summary(&app, profile)).collect();
    Ok(json_response(&json!({"inferenceProfileSummaries": summaries})))
}

/// GetInferenceProfile.
async fn describe(
    State(app): State<Arc<App>>,
    Record(record): Record,
    id: ModelId,
) -> Result<Response, ApiError> {
    let id = decode_model_id(id)?;
    let model = app.catalog.resolve(Some(without_own_arn(&id)))?;
    if app.control.discover || model.is_application_profile() {
        let waiting = record.upstream_wait();
        let response = app.bedrock.forward_profile(&model.model_id).await;
        drop(waiting);
        return forward(&record, response);
    }
    let offered = app.catalog.offered_profiles();
    match offered.iter().find(|profile| profile.id == model.model_id) {
        Some(profile) => Ok(json_response(&summary(&app, profile))),
        None => Err(ApiError::new(ErrorType::NotFound, format!("inference profile {id} not found"))),
    }
}

fn forward(
    record: &RecordHandle,
    response: Result<http::Response<Incoming>, UpstreamError>,
) -> Result<Response, ApiError> {
    let aws_request_id = match &response {
        Ok(response) => request_id(response.headers()),
        Err(error) => {
            tracing::warn!(request_id = %record.request_id(), %error, "Bedrock returned an error");
            error.request_id().map(str::to_owned)
        }
    };
    let attempts = vec![Attempt { outcome: "ok", aws_request_id }];
    record.set_upstream(UpstreamRecord { attempts, ..UpstreamRecord::default() });
    let response = response?;
    let headers = forwarded_response_headers(response.headers());
    Ok((response.status(), headers, Body::new(response.into_body())).into_response())
}

fn summary(app: &App, profile: &OfferedProfile) -> Value {
    let arn = |kind: &str, id: &str| app.bedrock.arn(kind, id);
    json!({
        "inferenceProfileName": profile.display_name,
        "inferenceProfileArn": arn("inference-profile", &profile.id),
        "inferenceProfileId": profile.id,
        "models": [{"modelArn": arn("foundation-model", &profile.foundation_model)}],
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    })
}

fn json_response(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
