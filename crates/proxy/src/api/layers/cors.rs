//! CORS: the response headers that let a web page of an allowed origin call the proxy. Off without
//! `CORS_ALLOWED_ORIGINS`.
//!
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use protocol::anthropic::ErrorType;

use crate::api::error::ApiError;
use crate::app::App;
use crate::config::{BrowserConfig, CorsOrigins};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Seconds for which a browser may cache a preflight: the maximum of Chromium.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// A page on the internet requests permission to call an address in a private network.
/// <https://wicg.github.io/private-network-access/>
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Adds the headers to every response to an allowed origin, errors included.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let browsers = &app.limits.browsers;
    if browsers.cors_origins == CorsOrigins::List(Vec::new()) {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|origin| is_allowed(browsers, origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    }
    response
}

/// Responds to preflights, which never have a credential.
pub(crate) async fn preflight(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let is_preflight =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    match headers.get(header::ORIGIN) {
        Some(origin) if is_preflight && is_allowed(&app.limits.browsers, origin) => {
            (StatusCode::NO_CONTENT, preflight_headers(headers)).into_response()
        }
        Some(origin) if is_preflight => not_allowed(origin).into_response(),
        _ => next.run(request).await,
    }
}

fn preflight_headers(request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(names) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    if request.contains_key(REQUEST_PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers
}

/// Whether `CORS_ALLOWED_ORIGINS` has `origin`.
pub(super) fn is_allowed(browsers: &BrowserConfig, origin: &HeaderValue) -> bool {
    match &browsers.cors_origins {
        CorsOrigins::Any => true,
        CorsOrigins::List(origins) => {
            origins.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
        }
    }
}

/// The error for a web page of another origin.
pub(super) fn not_allowed(origin: &HeaderValue) -> ApiError {
    /// Longer than any origin that a person can read.
    const MAX_CHARS: usize = 100;
    let origin: String = String::from_utf8_lossy(origin.as_bytes()).chars().take(MAX_CHARS).collect();
    let message = format!(
        "web pages of the origin {origin:?} may not call this proxy; its operator can add the origin to \
         CORS_ALLOWED_ORIGINS"
    );
    ApiError::new(ErrorType::Permission, message)
}
