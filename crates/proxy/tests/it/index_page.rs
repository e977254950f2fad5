//! `GET /`: the page for browsers, and its facts as JSON.

use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;

use crate::harness::{TestResponse, TestServer, full, test_server, test_server_with};

/// What Chromium sends.
const BROWSER: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";
const KEY: &str = "0123456789abcdef0123456789abcdef";

async fn send(server: &TestServer, method: Method, path: &str, accept: Option<&str>) -> TestResponse {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    server.fetch(request.body(full("".into())).unwrap()).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap()
}

#[tokio::test]
async fn browsers_get_a_page() {
    let server = test_server().await;
    let page = send(&server, Method::GET, "/", Some(BROWSER)).await;
    assert_eq!(
        (page.status, header(&page.headers, "content-type")),
        (StatusCode::OK, "text/html; charset=utf-8")
    );
    for wanted in ["<h1>bedrock-proxy ", env!("CARGO_PKG_VERSION"), "/v1/messages", "ANTHROPIC_BASE_URL"] {
        assert!(page.body.contains(wanted), "{wanted}: {}", page.body);
    }
    assert!(page.body.contains("without a token are served"), "{}", page.body);
    let policy = header(&page.headers, "content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(header(&page.headers, name), value);
    }
    assert!(!page.body.contains("<script") && !page.body.contains(" style="), "the policy forbids both");
    let head = send(&server, Method::HEAD, "/", Some(BROWSER)).await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(header(&head.headers, "content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn other_clients_get_the_facts_as_json() {
    let server = test_server().await;
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/html;q=0, */*")] {
        let response = send(&server, Method::GET, "/", accept).await;
        assert_eq!(header(&response.headers, "content-type"), "application/json", "{accept:?}");
        let facts: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(facts["name"], "bedrock-proxy");
        assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(facts["authentication"], "none");
        assert!(!facts["next"].as_array().unwrap().is_empty());
    }
}

#[tokio::test]
async fn page_needs_no_token_and_holds_no_secret() {
    let server = test_server_with(&[("JWT_SECRET_KEY", KEY)], |_| {}).await;
    for accept in [BROWSER, "*/*"] {
        let page = send(&server, Method::GET, "/", Some(accept)).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.contains("token issue --user"), "{}", page.body);
        for secret in [KEY, "AKIDEXAMPLE", crate::harness::SECRET, "127.0.0.1"] {
            assert!(!page.body.contains(secret), "{secret}: {}", page.body);
        }
    }
    let post = send(&server, Method::POST, "/", None).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn every_listed_endpoint_exists() {
    let server = test_server().await;
    let facts: Value = serde_json::from_str(&send(&server, Method::GET, "/", None).await.body).unwrap();
    let endpoints = facts["endpoints"].as_array().unwrap();
    assert!(endpoints.len() >= 8);
    for endpoint in endpoints {
        let method: Method = endpoint["method"].as_str().unwrap().parse().unwrap();
        let path = endpoint["path"].as_str().unwrap().replace("{model}", "claude-sonnet-4-5");
        let response = send(&server, method, &path, None).await;
        let missing = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&response.status);
        assert!(!missing, "{path}: {} {}", response.status, response.body);
    }
}
