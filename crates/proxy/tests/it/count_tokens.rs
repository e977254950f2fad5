//! Counting tokens for both client APIs.

use std::path::Path;

use bedrock_proxy::testing::{Tokenizer, estimate_tokens};
use http::Request;
use protocol::anthropic::Usage;
use serde_json::{Value, json};

use crate::harness::{TestResponse, TestServer, full, log_line, test_server, test_server_with};

const NOTICE: &str = "x-bedrock-proxy-notice";

async fn count(server: &TestServer, body: &Value) -> TestResponse {
    let request = Request::post("/v1/messages/count_tokens?beta=true").body(full(body.to_string().into()));
    server.fetch(request.unwrap()).await
}

fn prompt(model: &str) -> Value {
    json!({
        "model": model,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "foo"}],
        "tools": [{"name": "look", "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}}}],
    })
}

#[tokio::test]
async fn bedrock_counts_for_the_bare_model_what_costs() {
    let server = test_server().await;
    let response = count(&server, &prompt("claude-sonnet-4-5")).await;
    assert!(response.json()["input_tokens"].as_u64().unwrap() > 0, "{}", response.body);
    assert!(!response.headers.contains_key(NOTICE));
    let requested = &server.bedrock.requests()[0];
    assert_eq!(requested.path, "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens");
    let body = String::from_utf8(requested.body.to_vec()).unwrap();
    let sent: Value = serde_json::from_str(&body).unwrap();
    let keys: Vec<_> = sent["input"]["converse"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["messages", "system", "toolConfig"]);
    assert!(body.contains(r#"{"z":{},"a":{}}"#), "the schema stays as it was: {body}");
    let line = log_line(response.request_id()).await;
    assert_eq!(line["model_upstream"], "anthropic.claude-sonnet-4-5-20250929-v1:0");
}

#[tokio::test]
async fn the_same_prompt_is_counted_once() {
    let server = test_server().await;
    let first = count(&server, &prompt("claude-sonnet-4-5")).await.body;
    for _ in 0..35 {
        assert_eq!(count(&server, &prompt("claude-sonnet-4-5-20250929")).await.body, first);
    }
    assert_eq!(server.bedrock.requests().len(), 1);
    count(&server, &prompt("claude-opus-4-5")).await;
    assert_eq!(server.bedrock.requests().len(), 2, "another model counts differently");
}

#[tokio::test]
async fn uncountable_request_is_estimated_and_marked() {
    let server = test_server().await;
    let mut lossy = prompt("claude-sonnet-4-5");
    lossy["mcp_servers"] = json!([{"type": "url", "url": "https://example.com", "name": "x"}]);
    let newer = prompt("claude-opus-4-8");
    let opaque = prompt("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc");
    for body in [lossy, newer, opaque] {
        let response = count(&server, &body).await;
        assert_eq!(response.headers[NOTICE], "count_tokens: estimated", "{}", response.body);
        assert!(response.json()["input_tokens"].as_u64().unwrap() > 600);
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn model_without_count_tokens_is_remembered() {
    let row = r#"[{"id":"anthropic.claude-opus-4-8","names":["claude-opus-4-8"],"prefixes":["us"],
        "capabilities":{"claude":true,"counts_tokens":true}}]"#;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), row).unwrap();
    let server =
        test_server_with(&[("AWS_BEDROCK_MODELS_FILE", file.path().to_str().unwrap())], |_| {}).await;
    let other = json!({"model": "claude-opus-4-8", "messages": [{"role": "user", "content": "x"}]});
    for prompt in [prompt("claude-opus-4-8"), other] {
        let response = count(&server, &prompt).await;
        assert_eq!(response.headers[NOTICE], "count_tokens: estimated", "{}", response.body);
    }
    assert_eq!(server.bedrock.requests().len(), 1);
}

#[tokio::test]
async fn a_guess_is_not_below_what_bedrock_counts() {
    let server = test_server().await;
    let text = "The quick brown fox jumps over the lazy dog, twice; 漢字 too. ".repeat(50);
    let body = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": text}]});
    let counted = count(&server, &body("claude-sonnet-4-5")).await.json()["input_tokens"].as_u64().unwrap();
    let guessed = count(&server, &body("claude-opus-4-8")).await.json()["input_tokens"].as_u64().unwrap();
    assert!(guessed >= counted, "{guessed} < {counted}");
}

#[tokio::test]
async fn estimate_is_never_below_upstream_input_tokens() {
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/it/requests");
    let server = test_server().await;
    let mut served = 0;
    for file in std::fs::read_dir(requests).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(mut body) = serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()) else { continue };
        body["model"] = "claude-sonnet-4-5".into();
        body["stream"] = false.into();
        let body = body.to_string();
        let response = server.post(body.clone()).await;
        if response.status != 200 {
            continue;
        }
        served += 1;
        let usage: Usage = serde_json::from_value(response.json()["usage"].clone()).unwrap();
        let read = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
        let request = protocol::anthropic::Request::parse(body.as_bytes()).unwrap();
        let guess = estimate_tokens(&request, Tokenizer::Classic, None).min_tokens;
        assert!(guess >= read, "{}: {guess} < {read}", file.display());
    }
    assert!(served > 10, "{served} of the fixtures were served");
}

#[tokio::test]
async fn count_tokens_rejects_invalid_requests() {
    let server = test_server().await;
    for (body, status) in [
        (json!({"model": "claude-sonnet-4-5", "messages": [{"role": 7}]}), 400),
        (json!({"messages": [{"role": "user", "content": "x"}]}), 400),
        (json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}), 404),
    ] {
        assert_eq!(count(&server, &body).await.error().0, status, "{body}");
    }
    assert_eq!(server.get("/v1/messages/count_tokens").await.error().0, 405);
}
