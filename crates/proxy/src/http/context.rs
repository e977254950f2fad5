//! What every handler may know about its request beside the body, and the layer that names requests.

use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::request::Parts;

use super::access_log::Entry;
use super::error::ApiError;
use crate::ids::RequestId;

/// The layer: draws the request's id, puts it on the response, and renders errors with it.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let id = RequestId::draw();
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.render(&id);
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("request-id", value);
    }
    response
}

/// The line in the access log, from the layer that opened it.
impl<S: Sync> FromRequestParts<S> for Entry {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let entry = parts.extensions.get::<Self>().cloned();
        entry.ok_or_else(|| ApiError::new(messages::anthropic::ErrorType::Api, "no log entry was opened"))
    }
}

/// A panic below becomes an answer without details; its text is in the log.
#[must_use]
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    use axum::response::IntoResponse;
    ApiError::new(messages::anthropic::ErrorType::Api, "internal error in the gateway").into_response()
}
