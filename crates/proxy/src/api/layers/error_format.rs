//! The error format of a route group: errors from below carry it to the layer that renders them.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::api::error::{ApiError, ErrorFormat};

/// Gives errors `format`.
pub(crate) async fn layer(State(format): State<ErrorFormat>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().get_mut::<ApiError>() {
        error.set_format(format);
    }
    response
}
