//! `POST /v1/chat/completions`.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::{TestResponse, TestServer, full, log_line, test_server, test_server_with};

const PATH: &str = "/v1/chat/completions";
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

fn chat_body(prompt: &str, stream: bool) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "stream": stream,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": prompt}],
    })
}

fn tools() -> Value {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}});
    json!([tool("read_file"), tool("list_files")])
}

async fn send(server: &TestServer, path: &str, body: &Value) -> TestResponse {
    server.fetch(Request::post(path).body(full(body.to_string().into())).unwrap()).await
}

/// The chunks of a stream, which has to end with `[DONE]`.
fn chunks(response: &TestResponse) -> Vec<Value> {
    assert_eq!(response.headers["content-type"], "text/event-stream; charset=utf-8");
    let data: Vec<&str> = response.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let (last, chunks) = data.split_last().unwrap();
    assert_eq!(*last, "[DONE]", "{}", response.body);
    chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

fn joined(chunks: &[Value], member: &str) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][member].as_str()).collect()
}

/// What is wrong, which has to be in OpenAI's envelope.
fn error(response: &TestResponse) -> (u16, Value) {
    let json = response.json();
    assert!(json.get("type").is_none(), "{json}");
    assert!(json["error"]["message"].is_string() && json["error"]["type"].is_string(), "{json}");
    assert_eq!(response.headers["x-request-id"], response.headers["request-id"]);
    (response.status.as_u16(), json["error"].clone())
}

#[tokio::test]
async fn streamed_and_whole_completions_are_equal() {
    let server = test_server().await;
    let whole = send(&server, PATH, &chat_body("Hello", false)).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    let completion = whole.json();
    assert_eq!(
        (&completion["object"], &completion["model"]),
        (&json!("chat.completion"), &json!("claude-sonnet-4-5"))
    );
    assert!(
        completion["id"].as_str().unwrap().starts_with("chatcmpl-")
            && completion["created"].as_u64() > Some(0)
    );
    let message = &completion["choices"][0]["message"];
    assert!(message["content"].as_str().unwrap().ends_with("You sent: Hello"), "{message}");
    assert_eq!(completion["choices"][0]["finish_reason"], "stop");

    let response = send(&server, PATH, &chat_body("Hello", true)).await;
    let chunks = chunks(&response);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(json!(joined(&chunks, "content")), message["content"]);
    let last = chunks.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &completion["usage"]));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn every_upstream_api_streams_chunks() {
    for route in ["converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let mut body = chat_body("[thinking]", true);
        body["reasoning_effort"] = json!("low");
        let response = send(&server, PATH, &body).await;
        assert_eq!(response.headers["x-bedrock-proxy-route"], route, "{}", response.body);
        let chunks = chunks(&response);
        assert!(!joined(&chunks, "reasoning_content").is_empty() && !joined(&chunks, "content").is_empty());
        assert!(
            chunks.last().unwrap()["usage"]["prompt_tokens"].as_u64() > Some(0),
            "{route}: {}",
            response.body
        );
        body["stream"] = json!(false);
        let whole = send(&server, PATH, &body).await.json();
        let message = &whole["choices"][0]["message"];
        assert_eq!(message["content"], joined(&chunks, "content"), "{route}");
        assert_eq!(message["reasoning_content"], joined(&chunks, "reasoning_content"), "{route}");
    }
}

#[tokio::test]
async fn tool_loop_works_with_and_without_thinking() {
    let server = test_server().await;
    for effort in [Value::Null, json!("high")] {
        let mut body = chat_body("[tools] read it", true);
        body["tools"] = tools();
        body["reasoning_effort"] = effort.clone();
        let response = send(&server, PATH, &body).await;
        let chunks = chunks(&response);
        let deltas: Vec<&Value> = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array())
            .flatten()
            .collect();
        let calls: Vec<&&Value> = deltas.iter().filter(|delta| delta["id"].is_string()).collect();
        assert_eq!(calls.len(), 2, "{}", response.body);
        let finish = chunks.iter().rev().find_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
        assert_eq!(finish, Some("tool_calls"));
        let mut replayed = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            let mine = deltas.iter().filter(|delta| delta["index"] == json!(index));
            let arguments: String =
                mine.filter_map(|delta| delta["function"]["arguments"].as_str()).collect();
            assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{arguments}");
            let function = json!({"name": call["function"]["name"], "arguments": arguments});
            replayed.push(json!({"id": call["id"], "type": "function", "function": function}));
        }
        // What it thought is not sent back, or sent back as it was shown; there is no place for its signature.
        let turn = json!({"role": "assistant", "content": joined(&chunks, "content"), "reasoning_content": "hm", "tool_calls": replayed});
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(turn);
        for call in &replayed {
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "It says 42."}));
        }
        let next = send(&server, PATH, &body).await;
        assert_eq!(next.status, 200, "{effort}: {}", next.body);
        let notices = next.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        let left_out = notices.contains("reasoning_effort: left out");
        assert_eq!(left_out, !effort.is_null());
    }
}

#[tokio::test]
async fn an_image_and_a_schema_arrive() {
    let server = test_server().await;
    let mut body = chat_body("", false);
    body["messages"][1]["content"] = json!([
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}},
    ]);
    let response = send(&server, PATH, &body).await;
    assert!(response.body.contains("image/png"), "{}", response.body);
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false});
    let mut body = chat_body("Where?", false);
    body["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}});
    let response = send(&server, PATH, &body).await.json();
    let content = response["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(content).unwrap()["city"].is_string(), "{content}");
}

#[tokio::test]
async fn chat_completions_forward_client_betas() {
    let server = test_server().await;
    let request = Request::post(PATH).header("anthropic-beta", "context-1m-2025-08-07");
    let response =
        server.fetch(request.body(full(chat_body("Hello", false).to_string().into())).unwrap()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let upstream: Value = serde_json::from_slice(&server.bedrock.requests()[0].body).unwrap();
    assert_eq!(upstream["additionalModelRequestFields"]["anthropic_beta"], json!(["context-1m-2025-08-07"]));
}

#[tokio::test]
async fn second_turn_reads_the_prompt_cache() {
    let server = test_server().await;
    let mut body = chat_body("Hello", false);
    body["messages"][0]["content"] = json!("You are careful and kind. ".repeat(800));
    body["tools"] = tools();
    let usage = |response: &TestResponse| response.json()["usage"].clone();
    let first = send(&server, PATH, &body).await;
    let written = usage(&first)["prompt_tokens_details"]["cache_write_tokens"].as_u64().unwrap();
    assert!(written > 0, "{}", first.body);
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(first.json()["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "And now?"}));
    let second = usage(&send(&server, PATH, &body).await);
    let read = second["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(read >= written && second["prompt_tokens"].as_u64() > Some(read), "{second}");

    let off = test_server_with(&[("AWS_BEDROCK_AUTO_CACHE", "false")], |_| {}).await;
    let details = usage(&send(&off, PATH, &body).await)["prompt_tokens_details"].clone();
    assert_eq!(details, json!({"cached_tokens": 0, "cache_write_tokens": 0}));
}

#[tokio::test]
async fn every_chat_completions_alias_path_is_served() {
    let server = test_server().await;
    for path in ["/v1/messages/chat/completions", "/chat/completions", "/openai/v1/chat/completions"] {
        let response = send(&server, &format!("{path}?x=1"), &chat_body("Hello", false)).await;
        assert_eq!(response.json()["object"], "chat.completion", "{path}");
        assert_eq!(error(&server.get(path).await).0, 405, "{path}");
    }
    assert_eq!(send(&server, "/v1/v1/chat/completions", &chat_body("Hello", false)).await.status, 404);
}

#[tokio::test]
async fn errors_use_openai_format_with_the_same_status() {
    let server = test_server().await;
    let mut body = chat_body("Hello", false);
    body["messages"][1]["content"] =
        json!([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]);
    let (status, reported) = error(&send(&server, PATH, &body).await);
    assert_eq!((status, &reported["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(reported["param"], "messages.1.content.0.image_url.url");

    body = chat_body("Hello", true);
    body["model"] = json!("gpt-99");
    let (status, reported) = error(&send(&server, PATH, &body).await);
    assert_eq!((status, &reported["code"]), (404, &json!("model_not_found")));
    assert_eq!(error(&send(&server, PATH, &json!("nope")).await).0, 400);
    for (prompt, status, code) in [
        ("[refuse ThrottlingException]", 429, json!("rate_limit_exceeded")),
        ("[throttle-first-frame]", 429, json!("rate_limit_exceeded")),
        ("[refuse AccessDeniedException]", 403, json!("permission_denied")),
    ] {
        let response = send(&server, PATH, &chat_body(prompt, true)).await;
        let (reported_status, reported) = error(&response);
        assert_eq!((reported_status, &reported["code"]), (status, &code), "{prompt}: {}", response.body);
    }
}

#[tokio::test]
async fn chat_completions_share_authentication_and_limits() {
    let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "0")], |_| {}).await;
    let body = chat_body("Hello", true).to_string();
    for path in [PATH, "/v1/messages/chat/completions", "/chat/completions", "/openai/v1/chat/completions"] {
        for headers in [&[][..], &[("authorization", "Bearer nonsense")], &[("x-api-key", "nonsense")]] {
            let (status, reported) = error(&server.request("POST", path, headers, body.clone()).await);
            assert_eq!((status, &reported["code"]), (401, &json!("invalid_api_key")), "{path}");
        }
        let bearer = format!("Bearer {}", token("ana", &json!({})));
        let response = server.request("POST", path, &[("authorization", &bearer)], body.clone()).await;
        let (status, reported) = error(&response);
        assert_eq!((status, &reported["code"]), (429, &json!("insufficient_quota")));
        assert!(reported["message"].as_str().unwrap().contains(r#"the user "ana" has used 0"#), "{reported}");
        assert_eq!(response.headers["anthropic-ratelimit-unified-status"], "rejected");
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn upstream_failure_ends_the_chunks_with_one_error() {
    let server = test_server().await;
    let response = send(&server, PATH, &chat_body("[throttle-mid]", true)).await;
    assert_eq!(response.status, 200);
    let last = response.last();
    assert_eq!(last["error"]["code"], "rate_limit_exceeded", "{}", response.body);
    assert!(!response.body.contains("[DONE]") && response.body.contains("\"role\":\"assistant\""));
}

#[tokio::test]
async fn idle_chat_stream_gets_comments_and_late_errors() {
    let server = test_server_with(&[], |config| {
        config.inference.max_head_delay = Duration::ZERO;
        config.inference.ping_interval = Duration::from_millis(50);
    })
    .await;
    let response = send(&server, PATH, &chat_body("[slow 300]", true)).await;
    assert!(response.body.starts_with(": ping\n\n"), "{}", response.body);
    assert!(chunks(&response).len() > 2);
    let late = send(&server, PATH, &chat_body("[slow 100] [throttle-first-frame]", true)).await;
    assert_eq!(late.last()["error"]["code"], "rate_limit_exceeded", "{}", late.body);
    assert!(late.body.starts_with(": ping\n\n") && !late.body.contains("chunk"), "{}", late.body);
}

#[tokio::test]
async fn chat_completions_usage_is_logged() {
    let server = test_server().await;
    let response = send(&server, PATH, &chat_body("Hello", true)).await;
    let usage = chunks(&response).last().unwrap()["usage"].clone();
    let line = log_line(response.request_id()).await;
    assert_eq!((&line["route"], &line["stream"]), (&json!(PATH), &json!(true)));
    assert_eq!((&line["in_tok"], &line["out_tok"]), (&usage["prompt_tokens"], &usage["completion_tokens"]));
    assert_eq!((&line["outcome"], &line["stop_reason"]), (&json!("finished"), &json!("end_turn")));
}

#[tokio::test]
async fn disconnected_chat_client_is_charged() {
    let server = test_server().await;
    let request =
        Request::post(PATH).body(full(Bytes::from(chat_body("[paced 50 20]", true).to_string()))).unwrap();
    let response = server.send(request).await;
    let id = response.headers()["request-id"].to_str().unwrap().to_owned();
    let mut body = response.into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    let line = log_line(&id).await;
    assert_eq!(line["outcome"], "cancelled", "{line}");
    assert!(line["out_tok"].as_u64() > Some(0), "{line}");
}
