//! The layer that opens the record of a request and keeps it open until the response body is gone. Health checks have none.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header;
use tokio::time::Instant;

use super::counting::{RequestCounter, ResponseCounter};
use super::request_id::ClientRequestId;
use crate::api::aliases::RequestedPath;
use crate::api::error::ApiError;
use crate::api::health;
use crate::api::observed_body::observed;
use crate::app::App;
use crate::ids::RequestId;
use crate::language::Language;
use crate::telemetry::RecordHandle;
use crate::telemetry::record::RequestHead;
use crate::telemetry::trace_context::TraceContext;
use crate::telemetry::user_agent::{self, UserAgent};

/// Opens the record, and renders an error, so that its bytes are counted.
pub(crate) async fn layer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if health::is_probe(request.uri().path()) {
        return next.run(request).await;
    }
    let record = RecordHandle::new(head(&request), Arc::clone(&app.telemetry));
    request.extensions_mut().insert(record.clone());
    let request = request.map(|body| observed(body, RequestCounter::new(record.clone())));
    let accepted = request.headers().get(header::ACCEPT_LANGUAGE).cloned();
    let mut response = next.run(request).await;
    let mut error = response.extensions_mut().remove::<ApiError>();
    if let Some(error) = &mut error {
        let accepted = accepted.as_ref().and_then(|accepted| accepted.to_str().ok());
        error.set_language(accepted.map(Language::from_accept_language).unwrap_or_default());
        record.set_error(error.to_record());
    }
    let response = error.map_or(response, |error| error.render(record.request_id()));
    record.set_response(response.status());
    response.map(|body| observed(body, ResponseCounter::new(record)))
}

fn head(request: &Request) -> RequestHead {
    let (headers, extensions) = (request.headers(), request.extensions());
    RequestHead {
        request_id: extensions.get().cloned().unwrap_or_else(RequestId::generate),
        client_request_id: extensions.get().map(|id: &ClientRequestId| id.as_str().to_owned()),
        trace: extensions.get().cloned().unwrap_or_else(|| TraceContext::from_headers(headers)),
        method: request.method().clone(),
        path: extensions
            .get()
            .map_or_else(|| request.uri().path().to_owned(), |path: &RequestedPath| path.0.clone()),
        route: extensions.get().map(|route: &MatchedPath| route.as_str().to_owned()),
        user_agent: UserAgent::from_headers(headers),
        session_id: user_agent::session_id(headers),
        peer: extensions.get().map(|peer: &ConnectInfo<SocketAddr>| peer.0),
        started_at: Instant::now(),
    }
}
