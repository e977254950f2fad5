//! Whether the gateway lives, and the greeting some clients send before anything else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::app::App;

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

/// `GET|HEAD /api/hello` and `HEAD /`: 200, which is all that is asked.
pub async fn hello() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"message":"hello"}"#).into_response()
}
