//! Request bodies: bounded in size and in time, before and while they are read.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::anthropic::ErrorType;

use super::error::ApiError;
use crate::app::App;

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const LINGER_BYTES: usize = 256 << 20;
const LINGER: Duration = Duration::from_secs(10);
/// A buffer grows as bytes arrive; a mere claim reserves no more than this.
const FIRST_BUFFER: usize = 256 << 10;

/// The layer: refuses bodies that say they are too large, and stops reading those that do not say.
pub async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.limits.max_body_bytes;
    if request.body().size_hint().lower() > limit as u64 {
        let waits = request.headers().contains_key(header::EXPECT);
        let body = request.into_body();
        if !waits {
            app.tasks.spawn(swallow(body, LINGER_BYTES));
        }
        return too_large(limit).into_response();
    }
    next.run(request.map(|body| Body::new(Limited::new(body, limit)))).await
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorType::TooLarge, format!("the request body is larger than {limit} bytes"))
}

/// A connection closed on a sender in mid-body is reset, and the answer lost with it. So up to `most` bytes are read
/// and thrown away, for a while.
pub(super) async fn swallow(body: Body, most: usize) {
    let mut body = Limited::new(body, most);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(LINGER, all).await;
}

/// The whole body of a request, whatever its content type says.
#[derive(Debug)]
pub struct Whole(pub Bytes);

impl FromRequest<Arc<App>> for Whole {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        refuse_encodings(request.headers())?;
        let patience = app.limits.body_timeout;
        let read = tokio::time::timeout(patience, read(request.into_body(), app.limits.max_body_bytes));
        let timed_out = |_| {
            let message = format!("the request body did not arrive within {} seconds", patience.as_secs());
            ApiError::new(ErrorType::InvalidRequest, message).with_status(StatusCode::REQUEST_TIMEOUT)
        };
        read.await.map_err(timed_out)?.map(Self)
    }
}

fn refuse_encodings(headers: &HeaderMap) -> Result<(), ApiError> {
    let encoded = |value: &&http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|value| encoded(&value)) {
        let error = ApiError::new(ErrorType::InvalidRequest, "content-encoding: send the body uncompressed");
        return Err(error.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    Ok(())
}

/// Reads `body` to its end. A body of one piece is not copied.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let Some(first) = next_piece(&mut body, limit).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() {
        return Ok(first);
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut all = BytesMut::with_capacity(first.len() + expected.min(FIRST_BUFFER));
    all.extend_from_slice(&first);
    while let Some(piece) = next_piece(&mut body, limit).await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

async fn next_piece(body: &mut Body, limit: usize) -> Result<Option<Bytes>, ApiError> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => {}
            },
            Some(Err(error)) if is_limit(&error) => return Err(too_large(limit)),
            Some(Err(_)) => {
                return Err(ApiError::new(
                    ErrorType::InvalidRequest,
                    "the request body ended before it was complete",
                ));
            }
        }
    }
}

fn is_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
