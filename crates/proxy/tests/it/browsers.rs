//! Requests that web pages make browsers send: to a proxy without authentication, and with CORS.

use http::HeaderMap;
use serde_json::json;

use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::{TestServer, message_body, test_server, test_server_with};

const EVIL: (&str, &str) = ("origin", "https://evil.example");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Paths of every route group, with a body that each accepts.
fn routes() -> Vec<(&'static str, &'static str, String)> {
    let body = message_body("Hello", false).to_string();
    let bedrock = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).to_string();
    vec![
        ("POST", "/v1/messages", body.clone()),
        ("POST", "/v1/messages/", body.clone()),
        ("POST", "/v1/messages/count_tokens", body.clone()),
        ("POST", "/v1/chat/completions", body),
        ("POST", "/model/claude-sonnet-4-5/converse", bedrock.clone()),
        ("POST", "/bedrock/model/claude-sonnet-4-5/converse-stream", bedrock),
        ("GET", "/v1/models", String::new()),
        ("GET", "/v1/models/claude-sonnet-4-5", String::new()),
        ("GET", "/inference-profiles", String::new()),
        ("GET", "/metrics", String::new()),
        ("GET", "/v1/me", String::new()),
        ("GET", "/admin/v1/users", String::new()),
        ("GET", "/nowhere", String::new()),
    ]
}

#[tokio::test]
async fn web_pages_cannot_use_a_proxy_without_authentication() {
    let server = test_server().await;
    for (method, path, body) in routes() {
        for headers in [
            vec![EVIL, JSON],
            vec![EVIL, ("content-type", "text/plain")],
            vec![("origin", "null"), JSON],
            vec![("origin", "http://localhost:3000"), JSON],
            vec![("host", "attacker.example"), JSON],
            vec![("host", "localhost.attacker.example:8081"), JSON],
            vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        ] {
            let response = server.request(method, path, &headers, body.clone()).await;
            assert_eq!(response.status, 403, "{method} {path} {headers:?}: {}", response.body);
            assert!(!response.headers.contains_key("access-control-allow-origin"), "{path}");
        }
        if method == "POST" {
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
            {
                let response = server.request(method, path, &[("content-type", kind)], body.clone()).await;
                assert_eq!(response.status, 415, "{path} {kind}: {}", response.body);
                assert!(response.body.contains("application/json"), "{}", response.body);
            }
        }
    }
    assert!(server.bedrock.requests().is_empty(), "nothing was sent to AWS");
    let message = server.post_with(&[("host", "gw.internal"), JSON]).await.error().2;
    assert!(message.contains("gw.internal") && message.contains("ALLOWED_HOSTS"), "{message}");
    let message = server.post_with(&[EVIL, JSON]).await.error().2;
    assert!(message.contains("evil.example") && message.contains("CORS_ALLOWED_ORIGINS"), "{message}");
}

#[tokio::test]
async fn other_clients_need_no_browser_headers() {
    let server = test_server_with(&[("ALLOWED_HOSTS", "gw.internal")], |_| {}).await;
    let port = server.address.port();
    let (local, own) = (format!("localhost:{port}"), format!("http://localhost:{port}"));
    for headers in [
        vec![],
        vec![JSON],
        vec![("content-type", "application/json; charset=utf-8")],
        vec![("host", "gw.internal:80"), JSON],
        vec![("host", &local), ("origin", &own), JSON],
        vec![("sec-fetch-mode", "cors"), JSON],
    ] {
        let response = server.post_with(&headers).await;
        assert_eq!(response.status, 200, "{headers:?}: {}", response.body);
    }
    for path in ["/health", "/readyz", "/livez", "/api/hello"] {
        let probe = server.request("GET", path, &[("host", "10.0.0.7:8081"), EVIL], "").await;
        assert_eq!(probe.status, 200, "{path}");
    }
    // With authentication, a page has no token.
    let authenticated = authenticated_server_with(&[], |_| {}).await;
    let token = token("ana", &json!({}));
    let headers = [EVIL, ("content-type", "text/plain"), ("host", "gw.example"), ("x-api-key", &token)];
    assert_eq!(authenticated.post_with(&headers).await.status, 200);
}

const APP: (&str, &str) = ("origin", "https://app.example");

async fn preflight(server: &TestServer, path: &str, origin: (&str, &str)) -> (u16, HeaderMap, String) {
    let headers = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,anthropic-version,x-stainless-os"),
    ];
    let response = server.request("OPTIONS", path, &headers, "").await;
    (response.status.as_u16(), response.headers, response.body)
}

#[tokio::test]
async fn cors_is_off_by_default() {
    for server in [test_server().await, authenticated_server_with(&[], |_| {}).await] {
        for (_, path, _) in routes() {
            let (status, headers, body) = preflight(&server, path, APP).await;
            assert_eq!(status, 403, "{path}");
            assert!(body.contains("CORS_ALLOWED_ORIGINS"), "{body}");
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{headers:?}");
        }
        let plain = server.request("OPTIONS", "/v1/messages", &[], "").await;
        assert!([401, 405].contains(&plain.status.as_u16()), "no preflight: {}", plain.status);
    }
}

#[tokio::test]
async fn preflights_of_allowed_origins_need_no_token() {
    let variables = [("CORS_ALLOWED_ORIGINS", "https://other.example, https://app.example")];
    for server in
        [test_server_with(&variables, |_| {}).await, authenticated_server_with(&variables, |_| {}).await]
    {
        for (_, path, _) in routes() {
            let (status, headers, _) = preflight(&server, path, APP).await;
            assert_eq!(status, 204, "{path}");
            assert_eq!(headers["access-control-allow-origin"], APP.1);
            assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
            let allowed = headers["access-control-allow-headers"].to_str().unwrap();
            assert!(allowed.contains("authorization") && allowed.contains("x-stainless-os"), "{allowed}");
            assert!(headers["vary"].to_str().unwrap().contains("origin"));
            let (status, headers, _) = preflight(&server, path, EVIL).await;
            assert_eq!((status, headers.get("access-control-allow-origin")), (403, None), "{path}");
        }
    }
}

#[tokio::test]
async fn allowed_origins_can_read_responses_and_errors() {
    let variables = [
        ("CORS_ALLOWED_ORIGINS", "https://app.example"),
        ("DEFAULT_USER_DAILY_TOKENS", "2000"),
        ("MAX_BODY_BYTES", "4096"),
    ];
    let server = authenticated_server_with(&variables, |_| {}).await;
    let bearer = format!("Bearer {}", token("ana", &json!({})));
    let authorization = ("authorization", bearer.as_str());
    let mut greedy = message_body("Hello", false);
    greedy["max_tokens"] = json!(60_000);
    for (path, headers, body, status) in [
        ("/v1/messages", vec![authorization], message_body("Hello", false).to_string(), 200),
        ("/v1/messages", vec![authorization], message_body("Hello", true).to_string(), 200),
        ("/v1/chat/completions", vec![authorization], message_body("Hello", true).to_string(), 200),
        ("/v1/messages", vec![], String::new(), 401),
        ("/v1/chat/completions", vec![], String::new(), 401),
        ("/model/x/converse", vec![], String::new(), 403),
        ("/v1/messages", vec![authorization], "{".to_owned(), 400),
        ("/nowhere", vec![authorization], String::new(), 404),
        ("/v1/models", vec![authorization], String::new(), 405),
        ("/v1/messages", vec![authorization], " ".repeat(5000), 413),
        ("/v1/messages", vec![authorization], greedy.to_string(), 429),
        ("/v1/messages", vec![authorization], message_body("[cut-before]", false).to_string(), 502),
        ("/v1/messages", vec![authorization], message_body("[throttle]", false).to_string(), 429),
    ] {
        for origin in [APP, EVIL] {
            let headers: Vec<_> = headers.iter().copied().chain([origin]).collect();
            let response = server.request("POST", path, &headers, body.clone()).await;
            assert_eq!(response.status, status, "{path}: {}", response.body);
            let allowed = response.headers.get("access-control-allow-origin");
            let exposed = response.headers.get("access-control-expose-headers");
            assert_eq!(allowed.is_some() && exposed.is_some(), origin == APP, "{path} {status}");
            assert!(response.headers["vary"].to_str().unwrap().contains("origin"), "{path} {status}");
        }
    }
    let health = server.request("GET", "/health", &[APP], "").await;
    assert_eq!(health.headers["access-control-allow-origin"], APP.1);
}

#[tokio::test]
async fn any_origin_may_be_allowed_with_authentication() {
    let server = authenticated_server_with(&[("CORS_ALLOWED_ORIGINS", "*")], |_| {}).await;
    let (status, headers, _) = preflight(&server, "/v1/messages", EVIL).await;
    assert_eq!((status, headers["access-control-allow-origin"].to_str().unwrap()), (204, EVIL.1));
    assert!(!headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn allowed_origins_work_without_authentication() {
    let server = test_server_with(&[("CORS_ALLOWED_ORIGINS", "https://app.example")], |_| {}).await;
    let response = server.post_with(&[APP, JSON]).await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.headers["access-control-allow-origin"], APP.1);
    assert_eq!(server.post_with(&[APP, JSON, ("host", "attacker.example")]).await.status, 403);
    assert_eq!(server.post_with(&[APP, ("content-type", "text/plain")]).await.status, 415);
}
