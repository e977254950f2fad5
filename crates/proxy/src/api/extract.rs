//! Extractors: the caller, the record, the model id in the path, and the body of a request. A body is bounded in size and in time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::anthropic::ErrorType;

use super::error::ApiError;
use crate::app::App;
use crate::auth::Authenticated;
use crate::body_memory::{BodyMemory, BodyPermit};
use crate::telemetry::RecordHandle;

/// A sender that has not noticed the response by then does not read it.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);
/// A buffer grows as bytes arrive; a declared length reserves no more than this.
const FIRST_BUFFER_BYTES: usize = 256 << 10;

/// The record of the request, from the layer that opened it.
#[derive(Clone, Debug)]
pub(crate) struct Record(pub(crate) RecordHandle);

impl<S: Sync> FromRequestParts<S> for Record {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let record = parts.extensions.get::<RecordHandle>().cloned();
        record.map(Self).ok_or_else(|| ApiError::new(ErrorType::Api, "the request has no record"))
    }
}

/// The caller, from the layer that authenticated it.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedCaller(pub(crate) Arc<Authenticated>);

impl<S: Sync> FromRequestParts<S> for AuthenticatedCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Arc<Authenticated>>().cloned();
        caller.map(Self).ok_or_else(|| ApiError::new(ErrorType::Api, "the request was not authenticated"))
    }
}

/// The parameters of a query string, decoded.
pub(super) fn query_pairs(query: Option<&str>) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
}

/// The model id in a path of the Bedrock API, decoded once.
pub(super) type ModelId = Result<Path<String>, PathRejection>;

/// The text of a model id.
///
/// # Errors
/// When it is not valid UTF-8.
pub(super) fn decode_model_id(id: ModelId) -> Result<String, ApiError> {
    let invalid = |_| ApiError::new(ErrorType::InvalidRequest, "the model id in the path is not valid UTF-8");
    id.map(|Path(id)| id).map_err(invalid)
}

/// The id in an ARN that the list of inference profiles has made: such an ARN has no account.
pub(super) fn without_own_arn(id: &str) -> &str {
    let own = id.strip_prefix("arn:").and_then(|arn| arn.split_once("::inference-profile/"));
    own.map_or(id, |(_, id)| id)
}

/// The error for a body above `limit` bytes.
pub(super) fn too_large(limit: usize) -> ApiError {
    ApiError::new(ErrorType::TooLarge, format!("the request body is larger than {limit} bytes"))
}

/// Reads and discards up to `max_bytes`: a connection that is closed on a sender in mid-body is reset, and the response
/// is lost with it.
pub(super) async fn discard(body: Body, max_bytes: usize) {
    let mut body = Limited::new(body, max_bytes);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

/// The complete body of a request, of any content type.
#[derive(Debug)]
pub(crate) struct BodyBytes(pub(crate) Bytes);

impl FromRequest<Arc<App>> for BodyBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        refuse_encodings(request.headers())?;
        let timeout = app.limits.body_timeout;
        let caller = request.extensions().get::<Arc<Authenticated>>().cloned();
        let caller = caller.as_ref().map_or("", |caller| &caller.caller.user_id);
        let (memory, max_bytes) = (&app.body_memory, app.limits.max_body_bytes);
        let mut body = request.into_body();
        let read = tokio::time::timeout(timeout, read(&mut body, caller, max_bytes, memory)).await;
        let timed_out = |_| {
            let message = format!("the request body did not arrive within {} seconds", timeout.as_secs());
            ApiError::new(ErrorType::InvalidRequest, message).with_status(StatusCode::REQUEST_TIMEOUT)
        };
        let read = read.map_err(timed_out)?;
        if read.is_err() {
            app.tasks.spawn(discard(body, max_bytes));
        }
        read.map(Self)
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

/// A body with the memory that it holds.
struct HeldBody {
    bytes: Bytes,
    _memory: BodyPermit,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads `body` to its end. A small body of one piece is not copied. A larger one is counted in `memory` until it is
/// dropped: by its declared length before it is read, without one as it grows.
async fn read(body: &mut Body, caller: &str, limit: usize, memory: &BodyMemory) -> Result<Bytes, ApiError> {
    let Some(first) = next_piece(body, limit).await? else {
        return Ok(Bytes::new());
    };
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut permit = acquire(memory, caller, first.len().saturating_add(expected), limit).await?;
    if body.is_end_stream() {
        return Ok(hold(first, permit));
    }
    let mut all = BytesMut::with_capacity(first.len() + expected.min(FIRST_BUFFER_BYTES));
    all.extend_from_slice(&first);
    while let Some(piece) = next_piece(body, limit).await? {
        let len = all.len() + piece.len();
        if len > permit.bytes() {
            // Given back first: bodies that grow at the same time would wait for each other.
            drop(permit);
            permit = acquire(memory, caller, len.saturating_mul(2), limit).await?;
        }
        all.extend_from_slice(&piece);
    }
    Ok(hold(all.freeze(), permit))
}

fn hold(bytes: Bytes, permit: BodyPermit) -> Bytes {
    if permit.is_counted() { Bytes::from_owner(HeldBody { bytes, _memory: permit }) } else { bytes }
}

async fn acquire(
    memory: &BodyMemory,
    caller: &str,
    bytes: usize,
    limit: usize,
) -> Result<BodyPermit, ApiError> {
    memory.acquire(caller, bytes.min(limit)).await.ok_or_else(|| {
        let message =
            "the proxy holds as many large request bodies as its memory allows; try again in a few seconds";
        ApiError::new(ErrorType::Overloaded, message)
    })
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

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const MIB: usize = 1 << 20;

    fn in_pieces(count: usize) -> Body {
        let piece = || Ok::<_, std::io::Error>(Bytes::from(vec![b'a'; MIB]));
        Body::from_stream(stream::iter((0..count).map(move |_| piece())))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_hold_memory_until_they_are_dropped() {
        let memory = BodyMemory::new(0, 8 * MIB);
        for mut body in [Body::from(vec![b'a'; 6 * MIB]), in_pieces(6)] {
            let read_body = read(&mut body, "ana", 8 * MIB, &memory).await.unwrap();
            assert_eq!(read_body.len(), 6 * MIB);
            let shared = read_body.slice(1..2);
            drop(read_body);
            let refused = read(&mut in_pieces(3), "ana", 8 * MIB, &memory).await.unwrap_err();
            assert!(format!("{refused:?}").contains("Overloaded"), "{refused:?}");
            drop(shared);
            assert!(read(&mut in_pieces(3), "ana", 8 * MIB, &memory).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn growing_bodies_do_not_wait_for_each_other() {
        let memory = BodyMemory::new(0, 8 * MIB);
        let [mut first, mut second] = [in_pieces(4), in_pieces(4)];
        let (first, second) = tokio::join!(
            read(&mut first, "ana", 8 * MIB, &memory),
            read(&mut second, "ana", 8 * MIB, &memory)
        );
        assert!(first.is_ok() || second.is_ok(), "one of them has room");
    }
}
