//! Every route and the order of the layers.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use http::StatusCode;
use protocol::anthropic::ErrorType;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::error::ApiError;
use crate::api::{
    access_log, admin, aliases, body, caller, caller::Door, chat, context, count_tokens, dialect, health,
    host, me, messages as endpoint, models,
};
use crate::app::App;

/// The service of all routes. The first layer is the outermost.
pub(super) fn service(app: Arc<App>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn(context::layer))
        .layer(from_fn_with_state(Arc::clone(&app), access_log::layer))
        .layer(CatchPanicLayer::custom(context::panicked))
        .layer(from_fn(host::layer));
    let require = |door: Door| {
        ServiceBuilder::new()
            .layer(from_fn_with_state((Arc::clone(&app), door), caller::layer))
            .layer(from_fn_with_state(Arc::clone(&app), body::limit))
    };
    let public = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/startupz", get(health::startup))
        .route("/api/hello", get(health::hello))
        .route("/", head(health::hello))
        .merge(aliases::open())
        .method_not_allowed_fallback(method_not_allowed);
    let inference = Router::new()
        .route("/v1/messages", post(endpoint::post))
        .route("/v1/messages/count_tokens", post(count_tokens::post))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::get))
        .merge(aliases::router())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Door::Inference));
    let chat = chat::router()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Door::Inference))
        .layer(from_fn(chat::layer));
    let bedrock =
        dialect::router().method_not_allowed_fallback(method_not_allowed).layer(require(Door::Bedrock));
    let admin = admin::router().method_not_allowed_fallback(method_not_allowed).layer(require(Door::Admin));
    let any_token = Router::new()
        .route("/v1/me", get(me::get))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Door::Anybody));
    let routes = public.merge(admin).merge(any_token).merge(inference).merge(chat).merge(bedrock);
    routes.layer(layers).with_state(app)
}

async fn not_found(uri: http::Uri) -> ApiError {
    ApiError::new(ErrorType::NotFound, format!("there is no endpoint at {}", uri.path()))
}

async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Response {
    let message = format!("{} does not accept {method}", uri.path());
    ApiError::new(ErrorType::InvalidRequest, message)
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .into_response()
}
