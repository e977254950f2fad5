//! The layer that wants one `Host`, as HTTP does. What it says decides nothing here; but whoever stands in front may
//! decide by it, and two of them can be read in two ways.
//!
//! <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Version, header};
use protocol::anthropic::ErrorType;

use super::error::ApiError;

/// The layer: refuses a request that names no host, or several.
pub async fn layer(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let needed = usize::from(request.version() == Version::HTTP_11);
    if (needed..=1).contains(&hosts) {
        return next.run(request).await;
    }
    let message = format!("the request has {hosts} Host headers; HTTP wants exactly one");
    ApiError::new(ErrorType::InvalidRequest, message).into_response()
}
