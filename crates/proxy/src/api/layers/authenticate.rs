//! The layer that authenticates and authorizes a request before anything of its body is read.
//!
//! Every path except the hello path and the health checks belongs to a route group with this layer, so a new path cannot be
//! open by oversight.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body::Body as _;
use protocol::anthropic::ErrorType;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::error::ApiError;
use crate::api::extract::{Record, discard};
use crate::app::App;
use crate::auth::{self, Access, AccessError, Action, Authenticated, Caller, Credential, TokenError};
use crate::ids;
use crate::store::{AuditEvent, rfc3339};
use crate::telemetry::RecordHandle;
use crate::telemetry::record::OverheadPhase;

const API_KEY: &str = "x-api-key";
/// When the token of the request expires, if that is soon.
const TOKEN_EXPIRES_AT: HeaderName = HeaderName::from_static("x-bedrock-proxy-token-expires-at");
/// Characters of a path in an event: more than any route of ours has.
const MAX_PATH_CHARS: usize = 200;

/// Lets requests pass that have the permission `access`.
pub(crate) async fn layer(
    State((app, access)): State<(Arc<App>, Access)>,
    Record(record): Record,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let caller =
        authenticated(&app, &record, access, request.method(), request.uri(), request.headers()).await;
    record.add_phase(OverheadPhase::Auth, begun.elapsed());
    let authenticated = caller.and_then(|caller| {
        set_caller(&record, &caller);
        let permit = if access == Access::Inference { app.authenticator.acquire(&caller)? } else { None };
        Ok(Authenticated { caller, permit })
    });
    match authenticated {
        Ok(authenticated) => {
            let now = app.clock.milliseconds().div_euclid(1000);
            let near_expiry = authenticated.caller.near_expiry(now).and_then(expiry_value);
            request.extensions_mut().insert(Arc::new(authenticated));
            let mut response = next.run(request).await;
            if let Some(expires_at) = near_expiry {
                response.headers_mut().insert(TOKEN_EXPIRES_AT, expires_at);
            }
            response
        }
        Err(error) => {
            if !request.body().is_end_stream() && !request.headers().contains_key(header::EXPECT) {
                app.tasks.spawn(discard(request.into_body(), app.limits.max_body_bytes));
            }
            error.into_response()
        }
    }
}

async fn authenticated(
    app: &App,
    record: &RecordHandle,
    access: Access,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Arc<Caller>, ApiError> {
    let caller = match app.authenticator.anonymous() {
        Some(anonymous) => Arc::clone(anonymous),
        None => {
            let credential = credential(headers);
            let guest = app.authenticator.guest(&credential).filter(|_| access != Access::Admin);
            let caller = match (guest, credential) {
                (Some(guest), _) => Ok(Arc::clone(guest)),
                (None, Ok(credential)) => app.authenticator.authenticate(credential).await,
                (None, Err(error)) => Err(error.into()),
            };
            caller.inspect_err(|error| {
                app.metrics().auth_failed(reason(error.check()));
                let details = json!({"check": error.check(), "path": path(uri)});
                record_event(app, "auth_refused", error.user_id(), details);
                if let Some(user_id) = error.user_id() {
                    record.set_caller(user_id.to_owned(), None, None);
                }
            })?
        }
    };
    let is_read = *method == Method::GET || *method == Method::HEAD;
    let action = if is_read { Action::Read } else { Action::Write };
    auth::authorize(&caller, access, action).inspect_err(|error| {
        set_caller(record, &caller);
        if let AccessError::InsufficientScope { scope, access: Access::Admin } = error {
            let details = json!({"scope": scope.as_str(), "method": method.as_str(), "path": path(uri)});
            record_event(app, "admin_denied", Some(&caller.user_id), details);
        }
    })?;
    Ok(caller)
}

fn set_caller(record: &RecordHandle, caller: &Caller) {
    record.set_caller(caller.user_id.clone(), caller.team.clone(), caller.jti.clone());
}

/// An instant in seconds since the epoch, as RFC 3339.
fn expiry_value(seconds: i64) -> Option<HeaderValue> {
    HeaderValue::from_str(&rfc3339(seconds.saturating_mul(1000))).ok()
}

/// The name of a failed check in the metrics, where other gateways have a shorter one.
fn reason(check: &'static str) -> &'static str {
    match check {
        "exp" => "expired",
        "signature" => "bad_sig",
        "algorithm" => "alg",
        other => other,
    }
}

fn path(uri: &Uri) -> String {
    uri.path().chars().take(MAX_PATH_CHARS).collect()
}

/// Records an audit event, at a bounded rate. It holds nothing of the credential.
fn record_event(app: &App, kind: &str, user_id: Option<&str>, mut details: Value) {
    let Some(suppressed) = app.authenticator.event_limiter.try_acquire() else { return };
    if suppressed > 0 {
        details["left_out_before"] = suppressed.into();
    }
    app.recorder.record_event(AuditEvent {
        id: ids::event_id(),
        kind: kind.to_owned(),
        user_id: user_id.map(str::to_owned),
        team: None,
        actor: None,
        details,
        at: app.clock.milliseconds(),
    });
}

fn credential(headers: &HeaderMap) -> Result<Credential<'_>, TokenError> {
    let values = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    Credential::from_headers(values(header::AUTHORIZATION.as_str()), values(API_KEY))
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        let (message, check) = (error.to_string(), error.check());
        let error = match error {
            AccessError::Token(_) | AccessError::Revoked { .. } | AccessError::Superseded { .. } => {
                Self::new(ErrorType::Authentication, message)
            }
            AccessError::UserDisabled(_)
            | AccessError::TeamDisabled(_)
            | AccessError::UnknownUser(_)
            | AccessError::InsufficientScope { .. }
            | AccessError::AuthenticationDisabled => Self::new(ErrorType::Permission, message),
            AccessError::TooManyRequests { .. } => Self::new(ErrorType::RateLimit, message),
            AccessError::StoreUnavailable => Self::database_unavailable(message),
        };
        error.with_log_code(check)
    }
}
