//! The metrics that `/metrics` serves, and to whom.

use http::Request;
use http_body_util::BodyExt;
use serde_json::json;

use crate::harness::tokens::{authenticated_server, claims, signed, token};
use crate::harness::{TestServer, full, message_body, post, test_server, test_server_with, wait_for};

/// The value of the one series that `start` begins, waited for until it is `expected`.
async fn becomes(server: &TestServer, start: &str, expected: &str) {
    wait_for(&format!("{start} becomes {expected}"), async || {
        let text = server.get("/metrics").await.body;
        let mut found = text.lines().filter_map(|line| line.strip_prefix(start)?.strip_prefix(' '));
        (found.next() == Some(expected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let server = test_server().await;
    let response = server.get("/metrics").await;
    assert_eq!(
        response.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(
        response.body.ends_with("# EOF\n")
            && response.body.contains("# TYPE bedrock_proxy_usage_queue_dropped counter")
    );
}

#[tokio::test]
async fn open_and_detached_streams_are_counted() {
    let server = test_server_with(&[], |config| config.inference.max_detached_reads = 0).await;
    let mut response = server.send(post(message_body("[paced 2000 5]", true).to_string())).await;
    response.body_mut().frame().await.unwrap().unwrap();
    becomes(&server, "bedrock_proxy_streams_active", "1").await;
    becomes(&server, r#"bedrock_proxy_inflight_requests{route="/v1/messages"}"#, "1").await;
    drop(response);
    becomes(&server, "bedrock_proxy_streams_active", "0").await;
    becomes(&server, r#"bedrock_proxy_inflight_requests{route="/v1/messages"}"#, "0").await;
    let sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let left = format!(
        r#"bedrock_proxy_upstream_requests_total{{model="{sonnet}",region="us-east-1",api="converse",outcome="cancelled"}}"#
    );
    becomes(&server, &left, "1").await;
}

#[tokio::test]
async fn bedrock_requests_are_counted_by_route() {
    let server = test_server().await;
    let model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let body = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).to_string();
    let request = Request::post(format!("/model/{model}/converse")).header("user-agent", "Boto3/1.40.1 md/x");
    server.fetch(request.body(full(body.into())).unwrap()).await;
    let counted = r#"bedrock_proxy_upstream_requests_total{model="anthropic.claude-sonnet-4-5-20250929-v1:0",region="us-east-1",api="converse",outcome="ok"}"#;
    becomes(&server, counted, "1").await;
    let route = r#"bedrock_proxy_http_requests_total{route="/model/{id}/converse",method="POST",status="200",client="aws-sdk"}"#;
    becomes(&server, route, "1").await;
}

#[tokio::test]
async fn unknown_paths_and_methods_share_one_series() {
    let server = test_server().await;
    for path in ["/wp-login.php", "/.env", "/v1/messages/1/2/3"] {
        server
            .send(Request::builder().method("BREW").uri(path).body(full(bytes::Bytes::new())).unwrap())
            .await;
    }
    let other =
        r#"bedrock_proxy_http_requests_total{route="other",method="other",status="404",client="other"}"#;
    becomes(&server, other, "3").await;
}

#[tokio::test]
async fn rejections_are_counted_by_reason() {
    let server = authenticated_server().await;
    let expired = token("ana", &json!({"exp": 1}));
    let sends = async |bearer: &str| {
        let authorization = format!("Bearer {bearer}");
        let headers = [("authorization", authorization.as_str())];
        server.request("POST", "/v1/messages", &headers, message_body("Hello", false).to_string()).await
    };
    sends(&expired).await;
    sends(&signed(&json!({"alg": "HS256"}), &claims("ana", &json!({})).to_string(), "another key")).await;
    server.get("/v1/models").await;
    let operator = format!("Bearer {}", token("op", &json!({"scope": "admin:read"})));
    let text = server.request("GET", "/metrics", &[("authorization", &operator)], "").await.body;
    for reason in ["expired", "bad_sig", "missing"] {
        let line = format!(r#"bedrock_proxy_auth_failures_total{{reason="{reason}"}} 1"#);
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
}
