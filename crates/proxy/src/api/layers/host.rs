//! The layer that requires exactly one `Host` header. A proxy in front may route by it, and of two headers it may read the
//! other one.
//!
//! <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Version, header};
use protocol::anthropic::ErrorType;

use crate::api::error::ApiError;

/// Rejects a request with no host, or several.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let needed = usize::from(request.version() == Version::HTTP_11);
    if (needed..=1).contains(&hosts) {
        return next.run(request).await;
    }
    let message = format!("the request has {hosts} Host headers; HTTP requires exactly one");
    ApiError::new(ErrorType::InvalidRequest, message).into_response()
}
