//! Paths that arrive from clients whose base URL is slightly wrong. The table is closed and exact, and slashes that are
//! repeated or at the end do not count. There is no heuristic and nothing is redirected, as a redirect loses bodies and
//! credentials.

use std::sync::{Arc, Once};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::{MethodRouter, any, get, post};
use http::uri::PathAndQuery;
use http::{Uri, header};
use protocol::anthropic::ErrorType;

use super::error::ApiError;
use super::{chat_completions, count_tokens, health, messages, models};
use crate::app::App;

/// For clients that append `/v1/messages` to their base URL.
const NO_PATH: &str = "ANTHROPIC_BASE_URL has no path";
/// For clients that append `/messages`.
const V1: &str = "the base URL of this client ends in /v1";

const MESSAGES: [(&str, &str); 6] = [
    ("/messages", V1),
    ("/v1/v1/messages", NO_PATH),
    ("/v1/messages/v1/messages", NO_PATH),
    ("/v1/messages/messages", V1),
    ("/anthropic/v1/messages", NO_PATH),
    ("/anthropic/messages", V1),
];
const HELLO: [(&str, &str); 2] = [("/v1/api/hello", NO_PATH), ("/v1/messages/api/hello", NO_PATH)];
const MODELS: [(&str, &str); 3] = [("/models", V1), ("/v1/messages/models", V1), ("/openai/v1/models", V1)];
/// The second is what follows from the base URL of the Messages API itself.
const CHAT: [(&str, &str); 3] =
    [("/chat/completions", V1), ("/v1/messages/chat/completions", V1), ("/openai/v1/chat/completions", V1)];
/// Paths of operators, which have one spelling only.
const OPERATORS: [&str; 2] = ["/admin", "/metrics"];
/// OpenAI's Responses API, by the base URLs that have chat completions.
const RESPONSES: [&str; 3] = ["/v1/responses", "/responses", "/openai/v1/responses"];
/// Other servers' lists of models, which some clients try first.
const OTHER_SERVERS: [&str; 2] = ["/api/v1/models", "/api/tags"];

/// Removes repeated slashes, and one at the end, from the path of `uri`, before a route is looked up: all layers and
/// routes see the result. Nothing is decoded. `None` for a path without such slashes, and for operators' paths.
fn without_extra_slashes(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let is_canonical = !path.contains("//") && (path == "/" || !path.ends_with('/'));
    if is_canonical || !path.starts_with('/') {
        return None;
    }
    let mut normalized = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        normalized.push('/');
        normalized.push_str(segment);
    }
    if normalized.is_empty() {
        normalized.push('/');
    }
    // A proxy in front may block operators' paths by their exact spelling.
    if OPERATORS.iter().any(|path| normalized.starts_with(path)) {
        return None;
    }
    if let Some(query) = uri.query() {
        normalized.push('?');
        normalized.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normalized).ok()?);
    Uri::from_parts(parts).ok()
}

/// Path of a request before [`normalize_slashes`] changed it.
#[derive(Clone, Debug)]
pub(crate) struct RequestedPath(pub(crate) String);

/// Removes repeated slashes, and those at the end, from the path of `request`.
pub(crate) fn normalize_slashes<B>(request: &mut http::Request<B>) {
    if let Some(uri) = without_extra_slashes(request.uri()) {
        let requested = std::mem::replace(request.uri_mut(), uri);
        request.extensions_mut().insert(RequestedPath(requested.path().to_owned()));
    }
}

/// Aliases of the hello path, which need no authentication.
pub(crate) fn unauthenticated() -> Router<Arc<App>> {
    let mut router = Router::new();
    for (path, advice) in HELLO {
        router = router.route(path, warn_once(get(health::hello), path, advice));
    }
    router
}

/// The other aliases of the Messages API, and the lists of models.
pub(crate) fn router() -> Router<Arc<App>> {
    let mut router = Router::new();
    for (path, advice) in MESSAGES {
        router = router.route(path, warn_once(post(messages::post), path, advice));
        let counting = format!("{path}/count_tokens");
        router = router.route(&counting, warn_once(post(count_tokens::post), path, advice));
    }
    for (path, advice) in MODELS {
        router = router.route(path, warn_once(get(models::list), path, advice));
    }
    for path in OTHER_SERVERS {
        router = router.route(path, get(not_found_with_hint));
    }
    router
}

/// The aliases of chat completions, and the Responses API, which is not supported.
pub(crate) fn chat_completions() -> Router<Arc<App>> {
    let mut router = Router::new();
    for (path, advice) in CHAT {
        router = router.route(path, warn_once(post(chat_completions::create), path, advice));
    }
    for path in RESPONSES {
        router = router.route(path, any(no_responses_api));
    }
    router
}

async fn no_responses_api() -> ApiError {
    let message = "the Responses API is not supported; use POST /v1/chat/completions or POST /v1/messages";
    ApiError::new(ErrorType::NotFound, message)
}

/// Logs once that a client has a non-canonical base URL.
fn warn_once(
    route: MethodRouter<Arc<App>>,
    alias: &'static str,
    advice: &'static str,
) -> MethodRouter<Arc<App>> {
    let warned = Arc::new(Once::new());
    route.layer(from_fn(move |request: Request, next: Next| {
        warned.call_once(|| {
            let client = request.headers().get(header::USER_AGENT).and_then(|name| name.to_str().ok());
            let client: String = client.unwrap_or("unknown").chars().take(100).collect();
            tracing::warn!(alias, client, "client uses a non-canonical base URL; set it so that {advice}");
        });
        next.run(request)
    }))
}

async fn not_found_with_hint(uri: Uri) -> ApiError {
    let message = format!(
        "path {} not found: this server has the Messages API and chat completions; /v1/models lists its models",
        uri.path()
    );
    ApiError::new(ErrorType::NotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_normalized_and_nothing_else() {
        for (path, expected) in [
            ("/v1/messages", None),
            ("/", None),
            ("/v1/messages/", Some("/v1/messages")),
            ("//v1/messages", Some("/v1/messages")),
            ("/v1///messages//?beta=true&a=//", Some("/v1/messages?beta=true&a=//")),
            ("//", Some("/")),
            ("//?x", Some("/?x")),
            ("http://host//v1/messages/", Some("http://host/v1/messages")),
            ("/v1/%2f/messages", None),
            ("/v1/./messages/../x", None),
            ("/v1;a=b/messages", None),
            ("/model/a%2F%2Fb//converse", Some("/model/a%2F%2Fb/converse")),
            ("//admin/v1/users", None),
            ("/admin/v1/users/", None),
            ("//metrics", None),
            ("*", None),
        ] {
            let normalized = without_extra_slashes(&path.parse().unwrap());
            assert_eq!(normalized.map(|uri| uri.to_string()).as_deref(), expected, "{path}");
        }
    }
}
