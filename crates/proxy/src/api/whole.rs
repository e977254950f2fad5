//! The answer to a client that does not stream: the same events, folded into one message.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header;
use protocol::anthropic::{ErrorType, MessageAccumulator};

use super::error::ApiError;
use super::opening::{self, Inquiry, Opened, Told};
use super::tongue::Tongue;
use crate::app::{Abandonable, App};

/// How long the end of a finished answer may take before its connection is given up.
const LAST_BYTES: Duration = Duration::from_millis(100);

/// The response to `inquiry`, all of it within the request timeout.
pub(super) async fn respond(app: Arc<App>, inquiry: Inquiry, tongue: Tongue) -> Result<Response, ApiError> {
    let limit = app.relay.request_timeout;
    let (json, told) =
        tokio::time::timeout(limit, message(app, inquiry, &tongue)).await.map_err(|_| {
            let seconds = limit.as_secs_f32();
            ApiError::new(
                ErrorType::Timeout,
                format!(
                    "the answer was not complete after {seconds} s; use \"stream\": true for long answers"
                ),
            )
        })??;
    let mut response = ([(header::CONTENT_TYPE, "application/json")], json).into_response();
    told.add_to(response.headers_mut());
    Ok(response)
}

async fn message(app: Arc<App>, inquiry: Inquiry, tongue: &Tongue) -> Result<(Vec<u8>, Told), ApiError> {
    let (idle, drains) = (app.relay.idle_timeout, app.drains.clone());
    let Opened { mut live, sink: mut whole, told } =
        Abandonable::new(&drains, opening::open(app, inquiry, MessageAccumulator::default())).await?;
    loop {
        let chunk = tokio::time::timeout(idle, live.chunk()).await.map_err(|_| opening::silent())?;
        if live.take(chunk, &mut whole) {
            break;
        }
    }
    if let Some(failure) = live.failure() {
        return Err(failure.clone().into());
    }
    // What is wrong without AWS saying so is between it and the gateway.
    let message = whole
        .finish()
        .and_then(|message| tongue.whole(message))
        .map_err(|error| ApiError::gateway(error.message))?;
    let _ = tokio::time::timeout(LAST_BYTES, live.drained()).await;
    Ok((message, told))
}
