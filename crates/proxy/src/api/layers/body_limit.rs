//! The limit of a request body: rejects one that declares more, and stops reading one that does not declare its length.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;
use http_body::Body as _;
use http_body_util::Limited;

use crate::api::extract::{discard, too_large};
use crate::app::App;

/// Bytes of a rejected body that are read, so that its sender can read the response before the connection closes:
/// eight times the usual limit.
const MAX_DISCARDED_BYTES: usize = 256 << 20;

/// Applies `MAX_BODY_BYTES`.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.limits.max_body_bytes;
    if request.body().size_hint().lower() > limit as u64 {
        let awaits_continue = request.headers().contains_key(header::EXPECT);
        let body = request.into_body();
        if !awaits_continue {
            app.tasks.spawn(discard(body, MAX_DISCARDED_BYTES));
        }
        return too_large(limit).into_response();
    }
    next.run(request.map(|body| Body::new(Limited::new(body, limit)))).await
}
