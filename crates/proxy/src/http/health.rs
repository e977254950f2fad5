//! Whether the gateway lives, what it counts, and the greeting some clients send before anything else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use messages::anthropic::ErrorType;

use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::auth::Scope;
use crate::metrics;

/// `GET /health`: exactly four keys. Touches neither AWS nor the database: whether that is there is known from the last
/// time it was asked. Without it the gateway still answers, so it is degraded and not ill.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    #[derive(serde::Serialize)]
    struct Health<'a> {
        status: &'a str,
        timestamp: String,
        database: &'a str,
        version: &'a str,
    }
    let connected = app.store.is_connected();
    let health = Health {
        status: if connected { "healthy" } else { "degraded" },
        timestamp: app.clock.rfc3339(),
        database: if connected { "connected" } else { "disconnected" },
        version: env!("CARGO_PKG_VERSION"),
    };
    let json = serde_json::to_vec(&health).unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, json).into_response()
}

/// `GET /metrics`: counters for Prometheus, in OpenMetrics for whoever accepts that, else in the older format. They tell what is spent, so a token of an operator is asked for where tokens
/// are asked for at all.
///
/// # Errors
/// For everybody else.
pub async fn metrics(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if caller.scope == Scope::Inference && app.callers.anonymous().is_none() {
        return Err(ApiError::new(
            ErrorType::Permission,
            "metrics are for operators; use a token with scope admin:read",
        ));
    }
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accepts.flat_map(|value| value.split(',')).any(|kind| kind.contains("openmetrics-text"));
    app.look();
    let kind = if open { metrics::OPEN_METRICS } else { metrics::PLAIN };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, app.metrics.render(open)).into_response())
}

/// `GET|HEAD /api/hello` and `HEAD /`: 200, which is all that is asked.
pub async fn hello() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"message":"hello"}"#).into_response()
}
