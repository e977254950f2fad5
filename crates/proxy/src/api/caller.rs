//! Who a request is from: the layer that asks for a token before anything of the body is read, and the extractor that
//! gives handlers what it found.
//!
//! A path is behind one of three doors; nothing but a greeting and the health checks is outside of them, so a new path cannot
//! be open by oversight.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body::Body as _;
use protocol::anthropic::ErrorType;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::access_log::Entry;
use super::aws::AwsError;
use super::body;
use super::error::ApiError;
use crate::app::App;
use crate::auth::{self, AccessError, ConcurrencyPermit, Scope, TokenError};
use crate::ids;
use crate::store::Event;
use crate::telemetry::record::OverheadPhase;

const API_KEY: &str = "x-api-key";

/// Whom a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Whoever asks models.
    Inference,
    /// The same, for clients that speak Bedrock: refused in AWS's shape.
    Bedrock,
    /// Operators: `admin`, and `admin:read` where nothing is changed.
    Admin,
    /// Anybody with a token.
    Anybody,
}

/// Whoever the request is from, as the layer found out.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<auth::Caller>);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::new(ErrorType::Api, "nobody asked who the caller is"))
    }
}

/// The layer: lets through who may pass the door.
pub async fn layer(
    State((app, door)): State<(Arc<App>, Door)>,
    entry: Entry,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let admitted = admitted(&app, door, request.method(), request.uri(), request.headers()).await;
    entry.took(OverheadPhase::Auth, begun.elapsed());
    let admitted = admitted.and_then(|caller| {
        entry.note(|fields| fields.caller = Some(Arc::clone(&caller)));
        let turn = turn(&app, door, &caller)?;
        entry.note(|fields| fields.turn = turn);
        Ok(caller)
    });
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(Caller(caller));
            next.run(request).await
        }
        Err(error) => {
            if !request.body().is_end_stream() && !request.headers().contains_key(header::EXPECT) {
                app.tasks.spawn(body::swallow(request.into_body(), app.limits.max_body_bytes));
            }
            if door == Door::Bedrock {
                entry.note(|fields| fields.failed(&error));
                return AwsError::from(error).into_response();
            }
            error.into_response()
        }
    }
}

async fn admitted(
    app: &App,
    door: Door,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Arc<auth::Caller>, ApiError> {
    if let Some(anonymous) = app.authenticator.anonymous() {
        return match door {
            // Whoever can reach this address could change everything, a web page in a browser included.
            Door::Admin => Err(ApiError::new(
                ErrorType::Permission,
                "the admin API needs authentication; set JWT_SECRET_KEY, or use the command line",
            )),
            Door::Inference | Door::Bedrock | Door::Anybody => Ok(Arc::clone(anonymous)),
        };
    }
    let caller = match token(headers) {
        Ok(token) => app.authenticator.authenticate(token).await,
        Err(refusal) => Err(refusal.into()),
    };
    let caller = caller.inspect_err(|rejection| {
        app.metrics.auth_failed(reason(rejection.check()));
        let details = json!({"check": rejection.check(), "path": path(uri)});
        tell(app, "auth_refused", rejection.user_id(), details);
    })?;
    match (door, caller.scope) {
        (Door::Inference | Door::Bedrock, Scope::Inference)
        | (Door::Admin, Scope::Admin)
        | (Door::Anybody, _) => Ok(caller),
        (Door::Admin, Scope::AdminRead) if *method == Method::GET || *method == Method::HEAD => Ok(caller),
        (Door::Admin, scope) => {
            let details = json!({"scope": scope.as_str(), "method": method.as_str(), "path": path(uri)});
            tell(app, "admin_denied", Some(&caller.user_id), details);
            let message = match scope {
                Scope::AdminRead => {
                    "this token may look but not change (scope admin:read); use one with scope admin"
                }
                Scope::Admin | Scope::Inference => {
                    "this token is not an operator's; use one with scope admin"
                }
            };
            Err(ApiError::new(ErrorType::Permission, message))
        }
        (Door::Inference | Door::Bedrock, _) => Err(ApiError::new(
            ErrorType::Permission,
            "this is an operator's token, which cannot ask models; use one without an admin scope",
        )),
    }
}

/// The word for a failed check in the metrics, where other gateways have a shorter one.
fn reason(check: &'static str) -> &'static str {
    match check {
        "exp" => "expired",
        "signature" => "bad_sig",
        "algorithm" => "alg",
        other => other,
    }
}

/// A place for one more request that asks models; none is needed where nobody is told apart, or nothing is asked.
fn turn(app: &App, door: Door, caller: &auth::Caller) -> Result<Option<ConcurrencyPermit>, ApiError> {
    let asks = matches!(door, Door::Inference | Door::Bedrock);
    if !asks || app.authenticator.anonymous().is_some() {
        return Ok(None);
    }
    let crowd = &app.authenticator.concurrency;
    let turn = crowd.try_acquire(&caller.user_id).ok_or_else(|| {
        let message = format!(
            "the user {:?} has {} requests open, and no more are served at a time; wait until one of them has ended",
            caller.user_id,
            crowd.max_per_user(),
        );
        ApiError::new(ErrorType::RateLimit, message)
    })?;
    Ok(Some(turn))
}

/// Enough of a path to know it by.
fn path(uri: &Uri) -> String {
    uri.path().chars().take(200).collect()
}

/// Writes an event, unless there are too many. Nothing of the credential is in it.
fn tell(app: &App, kind: &str, user_id: Option<&str>, mut details: Value) {
    let Some(left_out) = app.authenticator.event_limiter.try_acquire() else { return };
    if left_out > 0 {
        details["left_out_before"] = left_out.into();
    }
    app.recorder.record_event(Event {
        id: ids::event_id(),
        kind: kind.to_owned(),
        user_id: user_id.map(str::to_owned),
        team: None,
        actor: None,
        details,
        at: app.clock.milliseconds(),
    });
}

fn token(headers: &HeaderMap) -> Result<auth::Credential<'_>, TokenError> {
    let values = |name: &str| headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    auth::Credential::from_headers(values(header::AUTHORIZATION.as_str()), values(API_KEY))
}

impl From<AccessError> for ApiError {
    fn from(rejection: AccessError) -> Self {
        let message = rejection.to_string();
        match rejection {
            AccessError::Token(_) | AccessError::Revoked | AccessError::Superseded => {
                Self::new(ErrorType::Authentication, message)
            }
            AccessError::UserDisabled(_)
            | AccessError::TeamDisabled(_)
            | AccessError::UnknownUser(_)
            | AccessError::InsufficientScope { .. }
            | AccessError::AuthenticationDisabled => Self::new(ErrorType::Permission, message),
            AccessError::StoreUnavailable => {
                Self::new(ErrorType::Api, message).with_status(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}
