//! For clients that speak Bedrock: its own paths, also below `/bedrock`. Their bodies go to AWS and its answers come
//! back byte for byte; only the model's name is looked up, the signature is ours, and a Claude body is mended by the
//! rules of the invoke route.
//!
//! A client's own signature is not looked at: with authentication on, clients send their token as a Bedrock API key
//! (`AWS_BEARER_TOKEN_BEDROCK`).
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>

mod count;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, Uri, header};
use protocol::anthropic::ErrorType;
use protocol::capabilities::Capabilities;
use protocol::translate::{self, InvokeOptions, Notice};
use serde_json::{Value, json};

use super::access_log::Entry;
use super::aws::AwsError;
use super::body::Whole;
use super::caller::Caller;
use super::error::ApiError;
use super::metering;
use super::notice;
use super::passing::{self, Passing};
use super::query;
use crate::app::App;
use crate::auth;
use crate::bedrock::{Attempts, Failure, Operation, Passage, Passed};
use crate::catalog::OfferedProfile;

/// The id in a path, decoded once.
type Id = Result<Path<String>, PathRejection>;

/// All of its paths.
pub fn router() -> Router<Arc<App>> {
    let mut router = Router::new();
    for base in ["", "/bedrock"] {
        for operation in Operation::OF_A_MODEL {
            let handler = move |State(app): State<Arc<App>>,
                                entry: Entry,
                                Caller(caller): Caller,
                                id: Id,
                                headers: HeaderMap,
                                body: Result<Whole, ApiError>| async move {
                let answer = pass(&app, &entry, &caller, operation, id, headers, body).await;
                settle(&entry, answer)
            };
            router = router.route(&format!("{base}/model/{{id}}/{}", operation.path()), post(handler));
        }
        router = router
            .route(&format!("{base}/inference-profiles"), get(profiles))
            .route(&format!("{base}/inference-profiles/{{id}}"), get(profile));
    }
    router
}

/// One operation of the runtime.
async fn pass(
    app: &Arc<App>,
    entry: &Entry,
    caller: &auth::Caller,
    operation: Operation,
    id: Id,
    headers: HeaderMap,
    body: Result<Whole, ApiError>,
) -> Result<Response, AwsError> {
    let Whole(body) = body?;
    let id = decoded(id)?;
    let profile = caller.default_inference_profile.as_deref();
    let target = app.resolve_for(Some(without_own_arn(&id)), profile).await.map_err(ApiError::from)?;
    // Bedrock counts for foundation models only, not for profiles.
    let countable = target.foundation_model.as_ref().filter(|_| operation == Operation::CountTokens);
    let model_id = countable.unwrap_or(&target.model_id).clone();
    entry.note(|fields| {
        fields.model_requested = Some(target.requested_model.clone());
        fields.model_upstream = Some(model_id.clone());
        fields.stream = operation.streams();
    });
    let counts = operation == Operation::CountTokens;
    if counts
        && count::is_vain(app, &model_id, &target.capabilities)
        && let Some(guess) = count::guess(&model_id, &body)
    {
        return Ok(guess);
    }
    let asked = body.clone();
    let (body, notices) = mended(app, operation, &target.capabilities, body);
    entry.note(|fields| fields.notices = notices.len());
    let mut limits = HeaderMap::new();
    if !counts {
        let need = metering::need_of_body(app, &body, &target);
        limits = metering::admit(app, entry, caller, need, &target, &headers).await?;
        entry.note(|fields| {
            fields.asked = true;
            fields.course.api = Some(operation.api());
            fields.course.asked();
        });
    }
    let passage = Passage { model_id: model_id.clone(), operation, headers, body };
    let mut attempts = Attempts::of(entry.request_id());
    let waiting = entry.waiting();
    let passed = within(app, operation, app.bedrock.pass(passage, &mut attempts)).await;
    drop(waiting);
    entry.note(|fields| {
        fields.retries = attempts.retries();
        fields.course.tried(&attempts, !matches!(passed, Ok(Ok(_))));
    });
    let passed = match passed? {
        Ok(passed) => passed,
        Err(failure) => {
            let guess = (counts && count::learn(app, &model_id, &failure))
                .then(|| count::guess(&model_id, &asked))
                .flatten();
            let refusal = refused(entry, failure);
            return guess.ok_or(refusal);
        }
    };
    passing::note_head(entry, &passed.headers);
    let mut response = respond(app, entry, passed, operation.streams());
    response.headers_mut().extend(limits);
    if let Some(line) = notice::line(&notices) {
        response.headers_mut().insert(notice::HEADER, line);
    }
    Ok(response)
}

/// A Claude body as Bedrock takes it. Clients in their Bedrock mode send what AWS refuses all the same (JSON in
/// `metadata`, betas of Anthropic's own service, a newer dialect), so the rules of the invoke route hold here, too.
/// What they cannot mend passes as it came: AWS has the last word.
fn mended(app: &App, operation: Operation, capabilities: &Capabilities, body: Bytes) -> (Bytes, Vec<Notice>) {
    match operation {
        Operation::Invoke | Operation::InvokeStream if capabilities.claude => edited(app, capabilities, body),
        Operation::CountTokens if capabilities.claude => count::mended(app, capabilities, body),
        _ => (body, Vec::new()),
    }
}

/// The rules of the invoke route.
fn edited(app: &App, capabilities: &Capabilities, body: Bytes) -> (Bytes, Vec<Notice>) {
    let options = InvokeOptions::invoke_model(app.relay.options);
    let call = std::str::from_utf8(&body).ok().map(|text| translate::to_invoke(text, capabilities, &options));
    let Some(Ok(call)) = call.filter(|call| call.as_ref().is_ok_and(|call| call.unsupported.is_empty()))
    else {
        return (body, Vec::new());
    };
    (Bytes::from(call.body), call.notices)
}

/// The head of an answer, unless it takes too long or the server ends.
async fn within(
    app: &Arc<App>,
    operation: Operation,
    asking: impl Future<Output = Result<Passed, Failure>>,
) -> Result<Result<Passed, Failure>, AwsError> {
    let limit = if operation.streams() { app.relay.idle_timeout } else { app.relay.request_timeout };
    tokio::select! {
        passed = tokio::time::timeout(limit, asking) => {
            passed.map_err(|_| ApiError::new(ErrorType::Timeout, "Bedrock did not answer in time").into())
        }
        () = app.tasks.aborted() => Err(ApiError::shutting_down().into()),
    }
}

/// The failure in the log, with AWS's own words, and as the client may see it.
fn refused(entry: &Entry, failure: Failure) -> AwsError {
    tracing::warn!(request_id = %entry.request_id(), %failure, "Bedrock failed");
    failure.into()
}

fn respond(app: &Arc<App>, entry: &Entry, passed: Passed, streams: bool) -> Response {
    let request_id = passed.headers.get("x-amzn-requestid").and_then(|id| id.to_str().ok());
    entry.note(|fields| fields.aws_request_id = request_id.map(str::to_owned));
    let body = Body::new(Passing::new(app, passed.body, entry.clone(), streams));
    (passed.status, passed.headers, body).into_response()
}

/// The answer, with an error written down.
fn settle(entry: &Entry, answer: Result<Response, AwsError>) -> Response {
    answer.unwrap_or_else(|error| {
        entry.note(|fields| {
            fields.error = Some(error.kind.as_str());
            fields.error_class = Some(error.class);
            fields.aws_request_id.clone_from(&error.request_id);
        });
        error.into_response()
    })
}

fn decoded(id: Id) -> Result<String, ApiError> {
    let invalid = |_| ApiError::new(ErrorType::InvalidRequest, "the model id in the path is not valid UTF-8");
    id.map(|Path(id)| id).map_err(invalid)
}

/// The ARNs of [`summary`] name no account; they mean the id in them.
fn without_own_arn(id: &str) -> &str {
    let own = id.strip_prefix("arn:").and_then(|arn| arn.split_once("::inference-profile/"));
    own.map_or(id, |(_, id)| id)
}

/// ListInferenceProfiles: from AWS when it is asked about models anyway, else what the catalog knows.
async fn profiles(State(app): State<Arc<App>>, entry: Entry, uri: Uri) -> Response {
    if app.control.discover {
        let answer = app.bedrock.pass_profiles(uri.query()).await;
        let answer = answer.map_err(|failure| refused(&entry, failure));
        return settle(&entry, answer.map(|passed| respond(&app, &entry, passed, false)));
    }
    let own = query::pairs(uri.query()).iter().any(|(name, value)| name == "type" && value == "APPLICATION");
    let offered = if own { Vec::new() } else { app.catalog.offered_profiles() };
    let summaries: Vec<_> = offered.iter().map(|profile| summary(&app, profile)).collect();
    json_answer(&json!({"inferenceProfileSummaries": summaries}))
}

/// GetInferenceProfile, in the same way.
async fn profile(State(app): State<Arc<App>>, entry: Entry, id: Id) -> Response {
    settle(&entry, one_profile(&app, &entry, id).await)
}

async fn one_profile(app: &Arc<App>, entry: &Entry, id: Id) -> Result<Response, AwsError> {
    let id = decoded(id)?;
    let target = app.catalog.resolve(Some(without_own_arn(&id))).map_err(ApiError::from)?;
    if app.control.discover || (app.control.resolve_profiles && target.is_application_profile()) {
        let passed = app.bedrock.pass_profile(&target.model_id).await;
        let passed = passed.map_err(|failure| refused(entry, failure))?;
        return Ok(respond(app, entry, passed, false));
    }
    let offered = app.catalog.offered_profiles();
    match offered.iter().find(|profile| profile.id == target.model_id) {
        Some(profile) => Ok(json_answer(&summary(app, profile))),
        None => {
            let message = format!("there is no inference profile {id} here");
            Err(ApiError::new(ErrorType::NotFound, message).into())
        }
    }
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

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
