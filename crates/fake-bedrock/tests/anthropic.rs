//! Anthropic bodies over HTTP: InvokeModel chunks, server-sent events, bedrock-mantle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` at every call reads better without a borrow")]

mod harness;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_bedrock::{Config, Safeguards};
use harness::{TestServer, bytes, events, start};
use http::header::HeaderValue;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const MESSAGES: &str = "/anthropic/v1/messages";

fn body(text: &str, more: Value) -> Value {
    let mut body = json!({"max_tokens": 1000, "messages": [{"role": "user", "content": text}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// Sends a body to the Messages API and returns status and text.
async fn post_messages(fake: &mut TestServer, path: &str, body: &Value) -> (u16, String) {
    let mut request = fake.post(path, body);
    request.headers_mut().insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let response = fake.send(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(bytes(response).await.to_vec()).unwrap())
}

#[tokio::test]
async fn chunks_contain_anthropic_events() {
    let mut fake = start(Config::default()).await;
    let request_body = body("[chunk-error]", json!({"anthropic_version": "bedrock-2023-05-31"}));
    let request = fake.request("invoke-with-response-stream", &request_body);
    let response = fake.send(request).await.unwrap();
    assert_eq!(response.headers()["x-amzn-bedrock-content-type"], "application/json");
    let chunks: Vec<Value> = events(bytes(response).await)
        .iter()
        .map(|(kind, payload)| {
            assert_eq!(kind, "chunk");
            serde_json::from_slice(&BASE64.decode(payload["bytes"].as_str().unwrap()).unwrap()).unwrap()
        })
        .collect();
    assert_eq!(chunks[0]["type"], "message_start");
    assert_eq!(chunks.last().unwrap()["error"]["type"], "overloaded_error");
}

#[tokio::test]
async fn messages_stream_reports_and_logs_its_usage() {
    let mut fake = start(Config::default()).await;
    let request_body = body("[long 20]", json!({"model": "us.anthropic.claude-opus-5", "stream": true}));
    let (status, text) = post_messages(&mut fake, MESSAGES, &request_body).await;
    assert_eq!(status, 200);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names.iter().filter(|name| **name == "content_block_delta").count(), 20);
    assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
    let logged = fake.log.requests().pop().unwrap();
    assert!(logged.complete);
    assert_eq!(logged.usage.output_tokens, 20);
    assert!(text.contains("\"output_tokens\":20"));
}

#[tokio::test]
async fn cut_drops_a_messages_stream() {
    let mut fake = start(Config::default()).await;
    let request_body = body("[cut]", json!({"model": "us.anthropic.claude-opus-5", "stream": true}));
    let mut request = fake.post(MESSAGES, &request_body);
    request.headers_mut().insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let response = fake.send(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn error_format_depends_on_the_failing_layer() {
    let mut fake = start(Config::default()).await;
    let request_body = body("hi", json!({"model": "us.anthropic.claude-opus-5", "speed": "fast"}));
    let (status, text) = post_messages(&mut fake, MESSAGES, &request_body).await;
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(error["error"]["message"], "speed: Extra inputs are not permitted");
    let mut request = fake.post(MESSAGES, &request_body);
    request.headers_mut().remove("authorization");
    let response = fake.send(request).await.unwrap();
    assert_eq!(response.status(), 403);
    let error: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(error["message"], "Missing Authentication Token");
    let (status, text) = post_messages(&mut fake, "/anthropic/v1/messages/count_tokens", &request_body).await;
    assert!(status == 200 && text.contains("UnknownOperationException"));
}

#[tokio::test]
async fn non_streaming_model_error_keeps_its_type() {
    let mut fake = start(Config::default()).await;
    let request_body = body("[chunk-error]", json!({"model": "us.anthropic.claude-opus-5"}));
    let (status, text) = post_messages(&mut fake, MESSAGES, &request_body).await;
    assert!(status == 529 && text.contains("overloaded_error"), "{status} {text}");
}

#[tokio::test]
async fn mantle_serves_foundation_models_and_counts_tokens() {
    let mut fake = start(Config { mantle: true, ..Config::default() }).await;
    let (status, text) =
        post_messages(&mut fake, MESSAGES, &body("hi", json!({"model": "anthropic.claude-opus-5"}))).await;
    assert!(status == 200 && text.contains("over Mantle"), "{text}");
    let mut counted = body("hello there", json!({"model": "anthropic.claude-opus-5"}));
    counted.as_object_mut().unwrap().shift_remove("max_tokens");
    let (status, text) = post_messages(&mut fake, "/anthropic/v1/messages/count_tokens", &counted).await;
    let count: Value = serde_json::from_str(&text).unwrap();
    assert!(status == 200 && count["input_tokens"].as_u64().unwrap() > 3);
    let (status, _) =
        post_messages(&mut fake, MESSAGES, &body("hi", json!({"model": "us.anthropic.claude-opus-5"}))).await;
    assert_eq!(status, 404);
}

const DANGEROUS_TOOL_USE: &str = "dangerous-tool-use-2026-09-03";

/// A request that calls a tool and has it checked.
fn guarded(more: Value) -> Value {
    let tool = json!({"name": "Bash", "input_schema": {"type": "object", "required": ["command"]}});
    let mut guarded = body(
        "[tool Bash touch a]",
        json!({
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": [DANGEROUS_TOOL_USE],
            "tools": [tool],
            "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {"rules": []}}],
        }),
    );
    for (name, value) in more.as_object().unwrap() {
        guarded[name] = value.clone();
    }
    guarded
}

/// The JSON of a complete response to InvokeModel.
async fn invoke(fake: &mut TestServer, body: &Value) -> (u16, Value) {
    let request = fake.request("invoke", body);
    let response = fake.send(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&bytes(response).await).unwrap())
}

#[tokio::test]
async fn safeguards_judge_every_tool_call() {
    let mut fake = start(Config::default()).await;
    let (status, message) = invoke(&mut fake, &guarded(json!({}))).await;
    assert_eq!(status, 200);
    let call = message["content"].as_array().unwrap().last().unwrap();
    assert_eq!(call["input"], json!({"command": "touch a"}));
    let verdict = json!({call["id"].as_str().unwrap(): {"type": "evaluated", "outcome": "not_flagged"}});
    let results = |status: Value| json!([{"type": "dangerous_tool_use", "status": status}]);
    assert_eq!(message["safeguard_results"], results(json!({"type": "available", "tool_uses": verdict})));

    let request = fake.request("invoke-with-response-stream", &guarded(json!({})));
    let response = fake.send(request).await.unwrap();
    let chunks = events(bytes(response).await);
    let chunk = |at: usize| -> Value {
        let payload = &chunks[at].1;
        serde_json::from_slice(&BASE64.decode(payload["bytes"].as_str().unwrap()).unwrap()).unwrap()
    };
    let end = chunk(chunks.len() - 2);
    assert_eq!(end["type"], "message_delta");
    assert_eq!(end["delta"]["safeguard_results"][0]["status"]["type"], "available");

    let mut fake = start(Config { safeguards: Safeguards::Unsupported, ..Config::default() }).await;
    let (status, message) = invoke(&mut fake, &guarded(json!({}))).await;
    assert_eq!((status, &message["safeguard_results"]), (200, &results(json!({"type": "unsupported"}))));
}

#[tokio::test]
async fn safeguards_and_their_beta_arrive_together() {
    let extra = "safeguards: Extra inputs are not permitted";
    let mut fake = start(Config::default()).await;
    for (members, expected) in [
        (json!({"anthropic_beta": []}), extra),
        (json!({"safeguards": null, "anthropic_beta": []}), extra),
        (json!({"safeguards": {}}), "safeguards: Input should be a valid list"),
        (
            json!({"safeguards": [{"type": "x"}]}),
            "safeguards.0: Input tag 'x' found using 'type' does not match any of the expected tags: \
             'dangerous_tool_use'",
        ),
    ] {
        let (status, error) = invoke(&mut fake, &guarded(members)).await;
        assert_eq!((status, &error["message"]), (400, &json!(expected)));
    }
    let mut beta_alone = guarded(json!({}));
    beta_alone.as_object_mut().unwrap().shift_remove("safeguards");
    let (status, error) = invoke(&mut fake, &beta_alone).await;
    assert_eq!((status, &error["message"]), (400, &json!("safeguards: Field required")));
    for (safeguards, expected) in
        [(Safeguards::RefuseField, extra), (Safeguards::RefuseBeta, "invalid beta flag")]
    {
        let mut fake = start(Config { safeguards, ..Config::default() }).await;
        let (status, error) = invoke(&mut fake, &guarded(json!({}))).await;
        assert_eq!((status, &error["message"]), (400, &json!(expected)));
    }
    let converse = json!({
        "messages": [{"role": "user", "content": [{"text": "x"}]}],
        "additionalModelRequestFields": {"safeguards": [{"type": "dangerous_tool_use"}]},
    });
    let request = fake.request("converse", &converse);
    let response = fake.send(request).await.unwrap();
    assert_eq!(response.status(), 400);
    let error: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert!(error["message"].as_str().unwrap().ends_with(extra), "{error}");
}
