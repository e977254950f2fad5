//! The layer that rejects what a web page can make a browser send, while there is no authentication: a browser on the same
//! machine or network reaches the proxy, and would spend its AWS account for any page.
//!
//! With authentication, a page has no token, and a browser adds none by itself. Without it, a request needs a `Host` of the
//! proxy's own, as a page can point its own name at a private address (DNS rebinding), no `Origin` of another site, and
//! no content type that a browser sends without a preflight (CSRF).
//! <https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html>

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body::Body as _;
use protocol::anthropic::ErrorType;

use super::cors;
use crate::api::error::ApiError;
use crate::api::extract::discard;
use crate::app::App;
use crate::config::ServerConfig;

/// Where a browser says what kind of page has caused the request.
/// <https://www.w3.org/TR/fetch-metadata/>
const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SEC_FETCH_MODE: &str = "sec-fetch-mode";
/// The content type of AWS's SDKs for a body that they do not know.
const OCTET_STREAM: &str = "application/octet-stream";

/// Rejects requests of web pages, unless callers authenticate.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.authenticator.serves_anonymous() {
        return next.run(request).await;
    }
    match check(&request, &app.limits) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            if !request.body().is_end_stream() && !request.headers().contains_key(header::EXPECT) {
                app.tasks.spawn(discard(request.into_body(), app.limits.max_body_bytes));
            }
            error.into_response()
        }
    }
}

fn check<B: http_body::Body>(request: &http::Request<B>, server: &ServerConfig) -> Result<(), ApiError> {
    let headers = request.headers();
    check_host(request.uri(), headers, server)?;
    check_origin(request.method(), headers, server)?;
    let has_body = !request.body().is_end_stream();
    if has_body { check_content_type(headers) } else { Ok(()) }
}

/// Accepts the names of loopback, `ALLOWED_HOSTS`, and the listen address.
fn check_host(uri: &Uri, headers: &HeaderMap, server: &ServerConfig) -> Result<(), ApiError> {
    let header = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let foreign = header.into_iter().chain(authority).find(|host| !is_own_host(host, server));
    let Some(host) = foreign else { return Ok(()) };
    let host: String = String::from_utf8_lossy(host).chars().take(100).collect();
    let message = format!(
        "the host {host:?} is not a name of this proxy; use localhost, or add the name to ALLOWED_HOSTS (without \
         authentication, other names are rejected to protect against web pages)"
    );
    Err(ApiError::new(ErrorType::Permission, message))
}

fn is_own_host(authority: &[u8], server: &ServerConfig) -> bool {
    let Some(names) = &server.browsers.allowed_hosts else { return true };
    let Ok(authority) = Authority::try_from(authority) else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    if names.iter().any(|name| name == host) {
        return true;
    }
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        // No name leads to such a host, so no page can be behind it. Loopback and 0.0.0.0 are this machine; a server for
        // all addresses has more of them than it knows.
        Ok(address) => {
            let address = address.to_canonical();
            let is_local = address.is_loopback() || address.is_unspecified();
            is_local || server.host.is_unspecified() || address == server.host.to_canonical()
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Rejects requests that a page of another origin has caused.
fn check_origin(method: &Method, headers: &HeaderMap, server: &ServerConfig) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut has_allowed_origin = false;
    for origin in headers.get_all(header::ORIGIN) {
        if !is_same_origin(origin.as_bytes(), host) && !cors::is_allowed(&server.browsers, origin) {
            return Err(cors::not_allowed(origin));
        }
        has_allowed_origin = true;
    }
    // Without `Origin`: an image, a script, a link. A person may follow a link, as no page sees what comes back.
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let is_cross_site =
        matches!(value(SEC_FETCH_SITE), Some(site) if site != b"same-origin" && site != b"none");
    let is_link = value(SEC_FETCH_MODE) == Some(b"navigate") && matches!(*method, Method::GET | Method::HEAD);
    if is_cross_site && !has_allowed_origin && !is_link {
        return Err(cors::not_allowed(&HeaderValue::from_static("unknown")));
    }
    Ok(())
}

/// Whether `origin` is the page of the proxy itself, whose name has been checked.
fn is_same_origin(origin: &[u8], host: &[u8]) -> bool {
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_some_and(|authority| !authority.is_empty() && authority.eq_ignore_ascii_case(host))
}

/// Accepts JSON, the type of AWS's SDKs, and none, which browsers send with an `Origin` only.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_accepted = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json =
            kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
        is_json || kind == OCTET_STREAM
    };
    if headers.get_all(header::CONTENT_TYPE).iter().all(is_accepted) {
        return Ok(());
    }
    let error = ApiError::new(
        ErrorType::InvalidRequest,
        "content-type: send application/json (without authentication, the types of web forms are rejected)",
    );
    Err(error.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn server(variables: &[(&str, &str)]) -> ServerConfig {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::load(lookup).unwrap().server
    }

    fn status(request: http::request::Builder, body: &'static str, server: &ServerConfig) -> u16 {
        let request = request.body(http_body_util::Full::new(bytes::Bytes::from(body))).unwrap();
        match check(&request, server) {
            Ok(()) => 200,
            Err(error) => error.into_response().status().as_u16(),
        }
    }

    fn host_status(host: &str, server: &ServerConfig) -> u16 {
        status(http::Request::post("/v1/messages").header("host", host), "{}", server)
    }

    #[test]
    fn only_own_host_names_are_accepted() {
        let local = server(&[]);
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "localhost.",
            "api.localhost:1",
            "127.0.0.1:8081",
            "127.8.9.1",
            "[::1]:8081",
            "[::ffff:127.0.0.1]",
            "0.0.0.0:8081",
        ] {
            assert_eq!(host_status(host, &local), 200, "{host}");
        }
        for host in [
            "attacker.example",
            "attacker.example:8081",
            "localhost.attacker.example",
            "127.0.0.1.nip.io",
            "evil-localhost",
            "127.0.0.1@attacker.example",
            "attacker.example@127.0.0.1",
            "localhost:80:80",
            "192.168.1.9",
            "[fe80::1]",
            "gw",
            "",
        ] {
            assert_eq!(host_status(host, &local), 403, "{host}");
        }
        let open = server(&[("HOST", "0.0.0.0"), ("ALLOW_UNAUTHENTICATED", "true"), ("ALLOWED_HOSTS", "gw")]);
        for (host, expected) in [("192.168.1.9", 200), ("GW:8081", 200), ("gw.attacker.example", 403)] {
            assert_eq!(host_status(host, &open), expected, "{host}");
        }
        assert_eq!(host_status("attacker.example", &server(&[("ALLOWED_HOSTS", "*")])), 200);
        let absolute = http::Request::post("http://attacker.example/v1/messages").header("host", "localhost");
        assert_eq!(status(absolute, "{}", &local), 403, "the authority of HTTP/2 counts, too");
    }

    #[test]
    fn foreign_origins_are_rejected() {
        let listed = server(&[("CORS_ALLOWED_ORIGINS", "https://app.example")]);
        for (origin, expected) in [
            ("http://localhost:8081", 200),
            ("https://app.example", 200),
            ("https://APP.example", 200),
            ("https://evil.example", 403),
            ("http://localhost:3000", 403),
            ("http://localhost", 403),
            ("https://app.example.evil.example", 403),
            ("http://app.example", 403),
            ("ftp://localhost:8081", 403),
            ("null", 403),
            ("", 403),
        ] {
            let request = http::Request::post("/").header("host", "localhost:8081").header("origin", origin);
            assert_eq!(status(request, "{}", &listed), expected, "{origin}");
        }
        let twice = http::Request::post("/").header("host", "localhost:8081");
        let twice = twice.header("origin", "https://app.example").header("origin", "https://evil.example");
        assert_eq!(status(twice, "{}", &listed), 403);
    }

    #[test]
    fn pages_without_an_origin_are_rejected_by_fetch_metadata() {
        let local = server(&[]);
        for (method, site, mode, expected) in [
            ("GET", "cross-site", "no-cors", 403),
            ("GET", "same-site", "no-cors", 403),
            ("POST", "cross-site", "navigate", 403),
            ("GET", "cross-site", "navigate", 200),
            ("GET", "none", "navigate", 200),
            ("POST", "same-origin", "cors", 200),
        ] {
            let request = http::Request::builder().method(method).uri("/metrics").header("host", "localhost");
            let request = request.header("sec-fetch-site", site).header("sec-fetch-mode", mode);
            assert_eq!(status(request, "", &local), expected, "{method} {site} {mode}");
        }
    }

    #[test]
    fn only_json_is_accepted() {
        let local = server(&[]);
        for (kind, expected) in [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("application/vnd.api+json", 200),
            ("application/octet-stream", 200),
            ("text/plain", 415),
            ("text/plain;charset=UTF-8", 415),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data; boundary=x", 415),
            ("text/plain; application/json", 415),
            ("text/json", 415),
            ("", 415),
        ] {
            let request = http::Request::post("/").header("host", "localhost").header("content-type", kind);
            assert_eq!(status(request, "{}", &local), expected, "{kind}");
        }
        assert_eq!(host_status("localhost", &local), 200, "no type");
        let get = http::Request::get("/").header("host", "localhost").header("content-type", "text/plain");
        assert_eq!(status(get, "", &local), 200, "no body");
    }
}
