//! The response to a request whose handler panicked: no details; the panic is in the log.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use protocol::anthropic::ErrorType;

use crate::api::error::ApiError;

/// A 500 without details.
#[must_use]
pub(crate) fn internal_error(_: Box<dyn Any + Send>) -> Response {
    ApiError::new(ErrorType::Api, "internal error in the proxy").into_response()
}
