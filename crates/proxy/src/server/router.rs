//! Every route, the layers of its group, and the layers around all of them, on one screen.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use protocol::anthropic::ErrorType;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::error::{ApiError, ErrorFormat};
use crate::api::layers::{
    authenticate, body_limit, catch_panic, cors, cross_site, error_format, host, record, request_id,
};
use crate::api::{
    admin, aliases, bedrock_runtime, chat_completions, count_tokens, health, index, me, messages, models,
};
use crate::app::App;
use crate::auth::Access;

/// The service of a connection. The first layer is the outermost.
pub(super) fn service(app: Arc<App>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(Arc::clone(&app), cors::layer))
        .layer(from_fn(request_id::layer))
        .layer(from_fn_with_state(Arc::clone(&app), record::layer))
        .layer(CatchPanicLayer::custom(catch_panic::internal_error))
        .layer(from_fn(host::layer))
        .layer(from_fn_with_state(Arc::clone(&app), cors::preflight));
    let require = |access: Access, format: ErrorFormat| {
        ServiceBuilder::new()
            .layer(from_fn_with_state(format, error_format::layer))
            .layer(from_fn_with_state(Arc::clone(&app), cross_site::layer))
            .layer(from_fn_with_state((Arc::clone(&app), access), authenticate::layer))
            .layer(from_fn_with_state(Arc::clone(&app), body_limit::layer))
    };
    let unauthenticated = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/startupz", get(health::startup))
        .route("/api/hello", get(health::hello))
        .route("/", get(index::get))
        .merge(aliases::unauthenticated())
        .method_not_allowed_fallback(method_not_allowed);
    let inference = Router::new()
        .route("/v1/messages", post(messages::post))
        .route("/v1/messages/count_tokens", post(count_tokens::post))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::get))
        .merge(aliases::router())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Access::Inference, ErrorFormat::Anthropic));
    let chat_completions = Router::new()
        .route("/v1/chat/completions", post(chat_completions::create))
        .merge(aliases::chat_completions())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Access::Inference, ErrorFormat::OpenAi));
    let bedrock = bedrock_runtime::router()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Access::Inference, ErrorFormat::Aws));
    let admin = admin::router()
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Access::Admin, ErrorFormat::Anthropic));
    let any_token = Router::new()
        .route("/v1/me", get(me::get))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require(Access::AnyToken, ErrorFormat::Anthropic));
    let routes =
        unauthenticated.merge(admin).merge(any_token).merge(inference).merge(chat_completions).merge(bedrock);
    routes.layer(layers).with_state(app)
}

async fn not_found(uri: http::Uri) -> ApiError {
    ApiError::new(ErrorType::NotFound, format!("path {} not found", uri.path()))
}

async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Response {
    let message = format!("{} does not support {method}", uri.path());
    ApiError::new(ErrorType::InvalidRequest, message)
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .into_response()
}
