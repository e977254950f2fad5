//! Anthropic bodies over HTTP: InvokeModel chunks, server-sent events, bedrock-mantle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` at every call reads better without a borrow")]

mod harness;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_bedrock::Config;
use harness::{Running, bytes, events, start};
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
async fn ask(fake: &mut Running, path: &str, body: &Value) -> (u16, String) {
    let mut request = fake.post(path, body);
    request.headers_mut().insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let response = fake.send(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(bytes(response).await.to_vec()).unwrap())
}

#[tokio::test]
async fn chunks_carry_anthropics_events() {
    let mut fake = start(Config::default()).await;
    let asked = body("[chunk-error]", json!({"anthropic_version": "bedrock-2023-05-31"}));
    let request = fake.request("invoke-with-response-stream", &asked);
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
async fn a_messages_stream_ends_with_its_usage_and_is_recorded() {
    let mut fake = start(Config::default()).await;
    let asked = body("[long 20]", json!({"model": "us.anthropic.claude-opus-5", "stream": true}));
    let (status, text) = ask(&mut fake, MESSAGES, &asked).await;
    assert_eq!(status, 200);
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names.iter().filter(|name| **name == "content_block_delta").count(), 20);
    assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
    let recorded = fake.log.requests().pop().unwrap();
    assert!(recorded.complete);
    assert_eq!(recorded.usage.output_tokens, 20);
    assert!(text.contains("\"output_tokens\":20"));
}

#[tokio::test]
async fn a_cut_breaks_a_messages_stream_as_well() {
    let mut fake = start(Config::default()).await;
    let asked = body("[cut]", json!({"model": "us.anthropic.claude-opus-5", "stream": true}));
    let mut request = fake.post(MESSAGES, &asked);
    request.headers_mut().insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    let response = fake.send(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_refusal_by_the_model_is_in_the_envelope_and_one_by_the_front_door_is_not() {
    let mut fake = start(Config::default()).await;
    let asked = body("hi", json!({"model": "us.anthropic.claude-opus-5", "speed": "fast"}));
    let (status, text) = ask(&mut fake, MESSAGES, &asked).await;
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(error["error"]["message"], "speed: Extra inputs are not permitted");
    let mut request = fake.post(MESSAGES, &asked);
    request.headers_mut().remove("authorization");
    let response = fake.send(request).await.unwrap();
    assert_eq!(response.status(), 403);
    let error: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(error["message"], "Missing Authentication Token");
    let (status, text) = ask(&mut fake, "/anthropic/v1/messages/count_tokens", &asked).await;
    assert!(status == 200 && text.contains("UnknownOperationException"));
}

#[tokio::test]
async fn an_error_object_of_a_whole_answer_keeps_its_kind() {
    let mut fake = start(Config::default()).await;
    let asked = body("[chunk-error]", json!({"model": "us.anthropic.claude-opus-5"}));
    let (status, text) = ask(&mut fake, MESSAGES, &asked).await;
    assert!(status == 529 && text.contains("overloaded_error"), "{status} {text}");
}

#[tokio::test]
async fn mantle_has_bare_ids_and_counts() {
    let mut fake = start(Config { mantle: true, ..Config::default() }).await;
    let (status, text) =
        ask(&mut fake, MESSAGES, &body("hi", json!({"model": "anthropic.claude-opus-5"}))).await;
    assert!(status == 200 && text.contains("over Mantle"), "{text}");
    let mut counted = body("hello there", json!({"model": "anthropic.claude-opus-5"}));
    counted.as_object_mut().unwrap().shift_remove("max_tokens");
    let (status, text) = ask(&mut fake, "/anthropic/v1/messages/count_tokens", &counted).await;
    let count: Value = serde_json::from_str(&text).unwrap();
    assert!(status == 200 && count["input_tokens"].as_u64().unwrap() > 3);
    let (status, _) =
        ask(&mut fake, MESSAGES, &body("hi", json!({"model": "us.anthropic.claude-opus-5"}))).await;
    assert_eq!(status, 404);
}
