//! `POST /v1/messages`.

use http::Request;
use serde_json::{Value, json};

use crate::harness::{full, log_line, message_body, test_server, test_server_with};

#[tokio::test]
async fn stream_events_are_ordered_and_end_once() {
    let server = test_server().await;
    let response = server.post_message("Hello", true).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers["cache-control"], "no-cache");
    assert!(response.request_id().starts_with("req_") && response.request_id().len() == 28);
    let grammar = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(response.events(), grammar);
    assert!(response.body.contains("\"model\":\"claude-sonnet-4-5\""), "the requested name is echoed");
    assert_eq!(response.last(), json!({"type": "message_stop"}));
}

#[tokio::test]
async fn unstreamed_response_is_the_same_message() {
    let server = test_server().await;
    let response = server.post_message("Hello", false).await;
    assert_eq!(response.headers["content-type"], "application/json");
    let message = response.json();
    assert_eq!((&message["type"], &message["model"]), (&json!("message"), &json!("claude-sonnet-4-5")));
    assert_eq!(message["stop_reason"], "end_turn");
    assert!(message["content"][0]["text"].as_str().unwrap().ends_with("You sent: Hello"));
    let requested = &server.bedrock.requests()[0];
    assert_eq!(requested.path, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream");
}

#[tokio::test]
async fn a_tool_call_comes_through_both_ways() {
    let server = test_server().await;
    let mut body = message_body("[tool] read it", false);
    body["tools"] = json!([{
        "name": "read_file",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }]);
    let message = server.post(body.to_string()).await.json();
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(message["content"][1]["name"], "read_file");
    assert!(message["content"][1]["input"]["path"].is_string());
    body["stream"] = json!(true);
    let response = server.post(body.to_string()).await;
    assert!(
        response.body.contains("input_json_delta") && response.body.contains("\"stop_reason\":\"tool_use\"")
    );
}

#[tokio::test]
async fn missing_model_and_max_tokens_use_defaults() {
    let variables =
        [("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "claude-sonnet-4-5"), ("AWS_BEDROCK_MAX_TOKENS", "777")];
    let server = test_server_with(&variables, |_| {}).await;
    let response = server.post(r#"{"messages":[{"role":"user","content":"Hello"}]}"#).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let requested: Value = serde_json::from_slice(&server.bedrock.requests()[0].body).unwrap();
    assert_eq!(requested["inferenceConfig"]["maxTokens"], 777);
}

#[tokio::test]
async fn mapped_arn_is_one_path_segment() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
    let mapping = format!("mine={arn}");
    let server = test_server_with(&[("AWS_BEDROCK_MODEL_MAPPINGS", &mapping)], |_| {}).await;
    let mut body = message_body("Hello", false);
    body["model"] = json!("mine");
    server.post(body.to_string()).await;
    let path = &server.bedrock.requests().pop().unwrap().path;
    let segment = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123";
    assert_eq!(*path, format!("/model/{segment}/converse-stream"));
}

#[tokio::test]
async fn any_query_header_or_content_type_is_fine() {
    let server = test_server().await;
    let request = Request::post("/v1/messages?beta=true&x=%00")
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "whatever-2030-01-01")
        .header("authorization", "Bearer anything")
        .header("content-type", "application/octet-stream")
        .header("content-encoding", "identity")
        .body(full(message_body("Hello", false).to_string().into()));
    assert_eq!(server.fetch(request.unwrap()).await.status, 200);
}

#[tokio::test]
async fn access_log_holds_tokens_and_no_content() {
    let server = test_server().await;
    let response = server.post_message("Geheimes Wort Xylophon", true).await;
    let line = log_line(response.request_id()).await;
    assert_eq!(
        (&line["status"], &line["outcome"], &line["stream"]),
        (&json!(200), &json!("finished"), &json!(true))
    );
    assert_eq!(line["model_requested"], "claude-sonnet-4-5");
    assert_eq!(line["model_upstream"], "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
    assert!(line["out_tok"].as_u64().unwrap() > 0 && line["ttft_ms"].is_u64(), "{line}");
    assert_eq!((&line["stop_reason"], &line["retries"]), (&json!("end_turn"), &json!(0)));
    assert!(line["aws_request_id"].is_string(), "{line}");
    let all = crate::harness::captured_logs();
    assert!(!all.contains("Xylophon") && !all.contains(crate::harness::SECRET));
}
