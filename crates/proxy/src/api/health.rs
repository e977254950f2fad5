//! Health checks, metrics, and the hello path that some clients request first.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri, header};
use protocol::anthropic::ErrorType;

use super::error::ApiError;
use super::extract::AuthenticatedCaller;
use crate::app::App;
use crate::auth::Scope;
use crate::readiness::Check;
use crate::telemetry::metrics;

/// Paths of probes by load balancers and container platforms: no token is required, and nothing is logged.
const PROBES: [&str; 5] = ["/health", "/livez", "/healthz", "/readyz", "/startupz"];

/// Whether requests to this path stay out of the log.
#[must_use]
pub(crate) fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}

/// `GET /health`: exactly four keys. Calls neither AWS nor the database: the results of their last use
/// count. Without the database the proxy still serves requests, so it is degraded; without credentials it is
/// unhealthy.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    #[derive(serde::Serialize)]
    struct Health<'a> {
        status: &'a str,
        timestamp: String,
        database: &'a str,
        version: &'a str,
    }
    let (is_connected, is_unhealthy) = (app.store.is_connected(), app.readiness.is_unhealthy());
    let health = Health {
        status: match (is_unhealthy, is_connected) {
            (true, _) => "unhealthy",
            (false, true) => "healthy",
            (false, false) => "degraded",
        },
        timestamp: app.clock.rfc3339(),
        database: if is_connected { "connected" } else { "disconnected" },
        version: env!("CARGO_PKG_VERSION"),
    };
    let json = serde_json::to_vec(&health).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let status = if is_unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, headers, json).into_response()
}

/// `GET /livez`: the process responds. It checks nothing, so that an outage elsewhere does not restart the process.
pub(crate) async fn live() -> Response {
    respond(true, "ok\n".to_owned())
}

/// `GET /readyz`: whether requests may come; with `?verbose`, why.
pub(crate) async fn ready(State(app): State<Arc<App>>, uri: Uri) -> Response {
    render_checks("readyz", &app.readiness.checks(), &uri)
}

/// `GET /startupz`: whether the start is over; with `?verbose`, why.
pub(crate) async fn startup(State(app): State<Arc<App>>, uri: Uri) -> Response {
    render_checks("startupz", &app.readiness.startup_checks(), &uri)
}

/// The checks in the format of Kubernetes: all of them when one failed, or with `?verbose`. `[~]` is a passed check with a
/// problem.
fn render_checks(name: &str, checks: &[Check], uri: &Uri) -> Response {
    let passed = checks.iter().all(|check| check.passed);
    let verbose = uri.query().is_some_and(|query| query.split('&').any(|word| word.starts_with("verbose")));
    if passed && !verbose {
        return respond(true, "ok\n".to_owned());
    }
    let mut text = String::new();
    for check in checks {
        let line = match (check.passed, check.detail) {
            (true, "") => format!("[+]{} ok\n", check.name),
            (true, detail) => format!("[~]{} {detail}\n", check.name),
            (false, detail) => format!("[-]{} failed: {detail}\n", check.name),
        };
        text.push_str(&line);
    }
    text.push_str(&format!("{name} check {}\n", if passed { "passed" } else { "failed" }));
    respond(passed, text)
}

fn respond(passed: bool, text: String) -> Response {
    let status = if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

/// `GET /metrics`: metrics in OpenMetrics. They include the cost, so with authentication a token of an operator is
/// required.
///
/// # Errors
/// For other callers.
pub(crate) async fn metrics(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
) -> Result<Response, ApiError> {
    if caller.caller.scope == Scope::Inference && !caller.caller.is_anonymous() {
        return Err(ApiError::new(
            ErrorType::Permission,
            "metrics are for operators; use a token with scope admin:read",
        ));
    }
    app.refresh_gauges();
    let headers = [(header::CONTENT_TYPE, metrics::OPENMETRICS_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, app.metrics().render()).into_response())
}

/// `GET|HEAD /api/hello`: 200, which is all that clients check.
pub(crate) async fn hello() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"message":"hello"}"#).into_response()
}
