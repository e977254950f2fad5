//! `GET /`: what this server is, for a person with a browser as a page, for programs as JSON.
//!
//! Both have the same facts. The version is no secret: `GET /health` has it, too, without a token. Nothing of the request
//! is repeated in the page, and nothing of the configuration but whether requests need a token.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::app::App;

/// A path of this server.
struct Endpoint {
    method: &'static str,
    path: &'static str,
    description: &'static str,
}

const fn endpoint(method: &'static str, path: &'static str, description: &'static str) -> Endpoint {
    Endpoint { method, path, description }
}

/// The paths to begin with; the documentation has the others.
const ENDPOINTS: [Endpoint; 11] = [
    endpoint("POST", "/v1/messages", "Anthropic Messages API"),
    endpoint("POST", "/v1/messages/count_tokens", "Tokens of a request"),
    endpoint("POST", "/v1/chat/completions", "OpenAI chat completions API"),
    endpoint(
        "POST",
        "/bedrock/model/{model}/converse-stream",
        "AWS Bedrock Runtime API; other operations likewise",
    ),
    endpoint("GET", "/v1/models", "Models"),
    endpoint("GET", "/v1/me", "Your own limits and usage"),
    endpoint("GET", "/admin/v1/users", "Users, teams, tokens, usage and events, for operators"),
    endpoint("GET", "/admin/v1/openapi.json", "OpenAPI description of /admin/v1"),
    endpoint("GET", "/metrics", "Prometheus metrics, for operators"),
    endpoint("GET", "/health", "Status of the server and of its database"),
    endpoint("GET", "/readyz?verbose", "Whether requests can be served, and if not, why"),
];

/// What to do next when every request needs a token.
const NEXT_WITH_TOKENS: [&str; 3] = [
    "Get a token from your operator, who issues it with: bedrock-proxy token issue --user NAME",
    "Set ANTHROPIC_BASE_URL to the address of this page and ANTHROPIC_AUTH_TOKEN to the token, then start claude",
    "Print the settings of other clients with: bedrock-proxy connect",
];
/// What to do next without authentication.
const NEXT_WITHOUT_TOKENS: [&str; 3] = [
    "Set ANTHROPIC_BASE_URL to the address of this page and ANTHROPIC_AUTH_TOKEN to any text, then start claude",
    "Print the settings of other clients with: bedrock-proxy connect",
    "Before other people use this server, set JWT_SECRET_KEY, so that each request needs a token",
];

const STYLE: &str = "\
:root{color-scheme:light dark;font-family:system-ui,sans-serif;line-height:1.5}\
body{max-width:52rem;margin:3rem auto;padding:0 1rem}\
table{border-collapse:collapse}\
td{padding:.2rem 1rem .2rem 0;vertical-align:top}\
code{font-family:ui-monospace,monospace}";

/// Allows the style of the page by its hash, and nothing else: no script, no image, no frame, no form.
/// <https://www.w3.org/TR/CSP3/>
static CONTENT_SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page, or the same facts as JSON for clients that do not accept HTML.
pub(crate) async fn get(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let is_open = app.authenticator.serves_anonymous();
    let next = if is_open { &NEXT_WITHOUT_TOKENS } else { &NEXT_WITH_TOKENS };
    let (kind, body) = if accepts_html(&headers) {
        ("text/html; charset=utf-8", page(is_open, next))
    } else {
        ("application/json", document(is_open, next))
    };
    let security = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (header::VARY, HeaderValue::from_static("accept")),
    ];
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], security, body).into_response()
}

/// Whether `Accept` names HTML, with a weight above zero.
fn accepts_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let weight =
            parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse::<f32>().ok());
        is_html && weight.is_none_or(|weight| weight > 0.0)
    })
}

fn document(is_open: bool, next: &[&str]) -> String {
    let endpoints: Vec<_> = ENDPOINTS
        .iter()
        .map(|endpoint| json!({"method": endpoint.method, "path": endpoint.path, "description": endpoint.description}))
        .collect();
    json!({
        "name": "bedrock-proxy",
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "authentication": if is_open { "none" } else { "token" },
        "endpoints": endpoints,
        "next": next,
    })
    .to_string()
}

fn page(is_open: bool, next: &[&str]) -> String {
    let mut rows = String::new();
    for Endpoint { method, path, description } in ENDPOINTS {
        // Writing to a String cannot fail. None of these texts has a character that HTML escapes.
        let _ =
            writeln!(rows, "<tr><td>{method}</td><td><code>{path}</code></td><td>{description}</td></tr>");
    }
    let mut steps = String::new();
    for step in next {
        let _ = writeln!(steps, "<li>{step}</li>");
    }
    let access = if is_open {
        "Requests without a token are served."
    } else {
        "Every request needs a token, except the health checks and this page."
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>bedrock-proxy</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>bedrock-proxy {version}</h1>\n<p>{description}. {access}</p>\n\
         <h2>What to do next</h2>\n<ol>\n{steps}</ol>\n\
         <h2>Endpoints</h2>\n<table>\n{rows}</table>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
        description = env!("CARGO_PKG_DESCRIPTION"),
    )
}
