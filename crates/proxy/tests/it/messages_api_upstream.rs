//! Bedrock's own Messages API as the upstream API, on the runtime and on the Mantle endpoint.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fake_bedrock::FakeBedrock;
use serde_json::{Value, json};

use crate::harness::{TestResponse, TestServer, full, log_line, message_body, spawn, test_server_with};

async fn native() -> TestServer {
    test_server_with(&[("AWS_BEDROCK_ROUTE", "messages")], |_| {}).await
}

fn route(response: &TestResponse) -> &str {
    response.headers.get("x-bedrock-proxy-route").map_or("none", |route| route.to_str().unwrap())
}

#[tokio::test]
async fn messages_api_gets_the_client_body() {
    let server = native().await;
    let mut body = message_body("Hello", true);
    body["metadata"] = json!({"user_id": "{\"device_id\":\"d\"}"});
    body["cache_control"] = json!({"type": "ephemeral"});
    let request = http::Request::post("/v1/messages")
        .header("anthropic-beta", "claude-code-20250219,prompt-caching-scope-2026-01-05")
        .header("anthropic-version", "2026-10-21");
    let response = server.fetch(request.body(full(body.to_string().into())).unwrap()).await;
    assert_eq!((response.status.as_u16(), route(&response)), (200, "messages"), "{}", response.body);
    assert!(response.events().ends_with(&["message_delta", "message_stop"]), "{}", response.body);
    assert!(response.body.contains("\"model\":\"claude-sonnet-4-5\""), "{}", response.body);
    let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
    assert!(notice.ends_with("not sent: prompt-caching-scope-2026-01-05"), "{notice}");

    let sent = server.bedrock.requests().pop().unwrap();
    assert_eq!(sent.path, "/anthropic/v1/messages");
    let line = log_line(response.request_id()).await;
    assert_eq!(line["upstream_api"], "messages");
    assert_eq!(line["model_upstream"], "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
    let cost = (line["in_tok"].as_u64(), line["out_tok"].as_u64());
    assert_eq!(cost, (Some(sent.usage.input_tokens), Some(sent.usage.output_tokens)), "{line}");
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((&sent["messages"], &sent["cache_control"]), (&body["messages"], &body["cache_control"]));
    assert_eq!(sent["stream"], true);
}

#[tokio::test]
async fn unstreamed_client_gets_the_whole_message() {
    let server = native().await;
    let mut body = message_body("[tools]", false);
    body["tools"] = json!([{"name": "read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}]);
    let response = server.post(body.to_string()).await;
    let message = response.json();
    assert_eq!((route(&response), message["type"].as_str()), ("messages", Some("message")), "{message}");
    assert_eq!(message["stop_reason"], "tool_use");
    assert!(
        message["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").count()
            >= 2
    );
}

#[tokio::test]
async fn messages_api_errors_match_other_upstream_apis() {
    let server = native().await;
    assert_eq!(server.post_message("[throttle]", true).await.error().0, 429);
    assert_eq!(server.post_message("[cut]", false).await.status, 502);
    let cut = server.post_message("[cut]", true).await;
    assert_eq!((cut.status.as_u16(), cut.body.matches("event: error").count()), (200, 1), "{}", cut.body);
    let broken = server.post_message("[exception throttlingException]", true).await;
    assert_eq!(broken.last()["error"]["type"], "rate_limit_error", "{}", broken.body);
    assert_eq!(broken.body.matches("event: error").count(), 1);
    let mut wrong = message_body("Hello", true);
    wrong["messages"][0]["role"] = "assistant".into();
    let (status, kind, text) = server.post(wrong.to_string()).await.error();
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(text.starts_with("messages"), "{text}");
}

#[tokio::test]
async fn unsupported_messages_api_field_is_removed_on_fallback() {
    let server = native().await;
    let mut body = message_body("Hello", false);
    body["novel_member"] = json!(1);
    let request = http::Request::post("/v1/messages").header("anthropic-beta", "novel-2027-01-01");
    let response = server.fetch(request.body(full(body.to_string().into())).unwrap()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
    assert!(notice.contains("novel_member: left out") && notice.contains("novel-2027-01-01"), "{notice}");
}

#[tokio::test]
async fn models_without_messages_api_use_other_apis() {
    let server = native().await;
    let arn = "arn:aws:bedrock:us-east-1::inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    for (model, expected) in [
        ("amazon.nova-pro-v1:0", "converse"),
        (arn, "invoke"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "messages"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "messages"),
        ("claude-opus-5-5", "messages"),
    ] {
        let mut body = message_body("Hello", true);
        body["model"] = model.into();
        let response = server.post(body.to_string()).await;
        assert_eq!(
            (response.status.as_u16(), route(&response)),
            (200, expected),
            "{model}: {}",
            response.body
        );
    }
}

/// A row of the operator's table for a Claude model with these further members.
fn row(id: &str, members: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let row = format!(
        r#"[{{"id":"anthropic.{id}","names":["{id}"],{members},"capabilities":{{"claude":true,"thinking":["adaptive"]}}}}]"#
    );
    std::fs::write(file.path(), row).unwrap();
    file
}

#[tokio::test]
async fn model_table_selects_the_upstream_api() {
    for (wanted, usual) in [("messages", "converse"), ("invoke", "auto"), ("converse", "messages")] {
        let file = row("claude-opus-5", &format!(r#""prefixes":["us"],"route":"{wanted}""#));
        let variables =
            [("AWS_BEDROCK_ROUTE", usual), ("AWS_BEDROCK_MODELS_FILE", file.path().to_str().unwrap())];
        let server = test_server_with(&variables, |_| {}).await;
        let mut body = message_body("Hello", true);
        body["model"] = "claude-opus-5".into();
        assert_eq!(route(&server.post(body.to_string()).await), wanted);
        let other = server.post_message("Hello", true).await;
        assert_eq!(route(&other), if usual == "auto" { "converse" } else { usual });
    }
}

#[tokio::test]
async fn mantle_model_is_called_and_counted_on_mantle() {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = fake_bedrock::Config { mantle: true, ..fake_bedrock::Config::default() };
    let mantle = FakeBedrock::bind(config, anywhere).await.unwrap();
    let (log, url): (Arc<fake_bedrock::Log>, String) = (mantle.log(), mantle.url());
    let running = spawn(mantle.run());
    let file = row("claude-opus-5", r#""mantle":true"#);
    let file = file.path().to_str().unwrap();
    let variables = [("AWS_BEDROCK_MODELS_FILE", file), ("AWS_ENDPOINT_URL", url.as_str())];
    let server = test_server_with(&variables, |_| {}).await;
    for stream in [true, false] {
        let mut body = message_body("Hello", stream);
        body["model"] = "claude-opus-5".into();
        let response = server.post(body.to_string()).await;
        assert_eq!((response.status.as_u16(), route(&response)), (200, "messages"), "{}", response.body);
        assert!(response.body.contains("Mantle"), "{}", response.body);
    }
    let mut prompt = message_body("Hello there", false);
    prompt["model"] = "us.anthropic.claude-opus-5".into();
    let count =
        http::Request::post("/v1/messages/count_tokens").header("anthropic-beta", "claude-code-20250219");
    let counted = server.fetch(count.body(full(prompt.to_string().into())).unwrap()).await;
    assert!(counted.json()["input_tokens"].as_u64().unwrap() > 3, "{}", counted.body);
    assert!(!counted.headers.contains_key("x-bedrock-proxy-notice"), "{:?}", counted.headers);
    let paths: Vec<String> = log.requests().into_iter().map(|request| request.path).collect();
    let (messages, count) = ("/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens");
    assert_eq!(paths, [messages, messages, count]);
    assert!(server.bedrock.requests().is_empty());
    running.abort();
}
