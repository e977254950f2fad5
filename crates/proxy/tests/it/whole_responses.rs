//! Requests as stories, one for each client API and each form of response: what the client sends, what the proxy sends
//! upstream, and the whole response with its headers. Ids, dates and durations are replaced by their kind.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use protocol::converse::{FrameDecoder, FrameKind};
use serde_json::{Value, json};

use crate::harness::full;
use crate::harness::tokens::{authenticated_server_with, token};

const SETUP: &str = "The user ana has a daily limit of 100000 tokens and has used none of them.";
const SONNET: &str = "claude-sonnet-4-5";

/// Sends one request and compares the story with its snapshot.
async fn story(name: &str, path: &str, headers: &[(&str, &str)], body: Value) {
    let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "100000")], |_| {}).await;
    let mut request = Request::post(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut lines = vec![SETUP.to_owned(), String::new(), "## The client sends".to_owned(), String::new()];
    lines.push(format!("POST {path}"));
    lines.extend(header_lines(request.headers_ref().unwrap()));
    lines.extend(["authorization: Bearer <token of ana>".to_owned(), String::new(), body.to_string()]);
    let request = request.header("authorization", format!("Bearer {}", token("ana", &json!({}))));
    let response = server.send(request.body(full(body.to_string().into())).unwrap()).await;
    let (head, received) = response.into_parts();
    let received = received.collect().await.unwrap().to_bytes();

    lines.extend([String::new(), "## The proxy sends upstream".to_owned(), String::new()]);
    for sent in server.bedrock.requests() {
        lines.push(format!("{} {}", sent.method, sent.path));
        let headers = sent.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        let mut headers: Vec<_> = headers.map(|line| redact(&line)).collect();
        headers.sort();
        lines.extend(headers);
        lines.extend([String::new(), String::from_utf8_lossy(&sent.body).into_owned()]);
    }

    lines.extend([String::new(), "## The client receives".to_owned(), String::new()]);
    lines.push(head.status.to_string());
    lines.extend(header_lines(&head.headers));
    lines.push(String::new());
    let is_frames = head.headers["content-type"].as_bytes().starts_with(b"application/vnd.amazon");
    let received =
        if is_frames { frames(&received) } else { String::from_utf8_lossy(&received).into_owned() };
    lines.push(redact(received.trim_end()));

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("whole_responses");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
}

fn header_lines(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.iter().map(|(name, value)| redact(&format!("{name}: {}", value.to_str().unwrap())));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

/// AWS's frames as text: the name of each, and its payload without the padding.
fn frames(bytes: &Bytes) -> String {
    use base64::Engine as _;
    let mut decoder = FrameDecoder::default();
    decoder.feed(bytes);
    let mut lines = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        let FrameKind::Event(name) = frame.kind else { panic!("{frame:?}") };
        let mut payload: Value = serde_json::from_slice(frame.payload).unwrap();
        payload.as_object_mut().unwrap().remove("p");
        if let Some(chunk) = payload["bytes"].as_str() {
            let chunk = base64::engine::general_purpose::STANDARD.decode(chunk).unwrap();
            payload = json!({"bytes": String::from_utf8(chunk).unwrap()});
        }
        lines.push(format!("frame {name}: {payload}"));
    }
    lines.join("\n")
}

/// Replaces ids, dates and durations by their kind.
fn redact(text: &str) -> String {
    const VALUES: [&str; 6] =
        ["date: ", "x-amz-date: ", "host: ", "traceresponse: ", "authorization: ", "content-length: "];
    const IDS: [&str; 7] = ["req_", "msg_", "chatcmpl-", "toolu_", "tooluse_", "call_", "fp_"];
    if let Some(name) = VALUES.iter().find(|name| text.starts_with(**name)) {
        return format!("{name}<{}>", name.trim_end_matches(": "));
    }
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || ['_', '-'].contains(&letter);
    let mut redacted = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()).max(first.len_utf8());
        let (word, after) = rest.split_at(end);
        let durations = ["Ms\":", "Latency\":", "Latency\\\":", "latency: "];
        let is_duration = durations.iter().any(|name| redacted.ends_with(name));
        let is_uuid = word.len() == 36 && word.matches('-').count() == 4;
        let is_number = !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_digit());
        match IDS.iter().find(|prefix| word.starts_with(**prefix) && word.len() > prefix.len() + 8) {
            Some(prefix) => redacted.push_str(&format!("{prefix}<id>")),
            None if is_uuid => redacted.push_str("<uuid>"),
            None if is_number && is_duration => redacted.push_str("<duration>"),
            None if is_number && word.len() >= 9 => redacted.push_str("<time>"),
            None => redacted.push_str(word),
        }
        rest = after;
    }
    redacted
}

fn messages_body(streamed: bool) -> Value {
    json!({
        "model": SONNET, "max_tokens": 256, "stream": streamed,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "[tool] Read a.txt"}],
        "tools": [{"name": "read_file", "description": "Reads a file", "input_schema": schema()}],
    })
}

fn chat_body(streamed: bool) -> Value {
    json!({
        "model": SONNET, "max_tokens": 256, "stream": streamed,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "[tool] Read a.txt"}],
        "tools": [{"type": "function", "function": {"name": "read_file", "description": "Reads a file",
            "parameters": schema()}}],
    })
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]})
}

fn converse_body() -> Value {
    json!({
        "system": [{"text": "Be brief."}], "inferenceConfig": {"maxTokens": 256},
        "messages": [{"role": "user", "content": [{"text": "[tool] Read a.txt"}]}],
        "toolConfig": {"tools": [{"toolSpec": {"name": "read_file", "inputSchema": {"json": schema()}}}]},
    })
}

fn invoke_body() -> Value {
    json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 256, "system": "Be brief.",
        "messages": [{"role": "user", "content": "[tool] Read a.txt"}],
        "tools": [{"name": "read_file", "input_schema": schema()}],
    })
}

#[tokio::test]
async fn messages_request_is_streamed_as_events() {
    let headers = [("anthropic-version", "2023-06-01"), ("user-agent", "claude-cli/2.1.0 (external, cli)")];
    story("messages_streamed", "/v1/messages", &headers, messages_body(true)).await;
}

#[tokio::test]
async fn messages_request_returns_one_message() {
    story("messages_whole", "/v1/messages", &[("anthropic-version", "2023-06-01")], messages_body(false))
        .await;
}

#[tokio::test]
async fn chat_request_is_streamed_as_chunks() {
    story("chat_completions_streamed", "/v1/chat/completions", &[], chat_body(true)).await;
}

#[tokio::test]
async fn chat_request_returns_one_completion() {
    story("chat_completions_whole", "/v1/chat/completions", &[], chat_body(false)).await;
}

#[tokio::test]
async fn converse_request_is_streamed_as_frames() {
    story("converse_streamed", "/model/claude-sonnet-4-5/converse-stream", &[], converse_body()).await;
}

#[tokio::test]
async fn converse_request_returns_one_document() {
    story("converse_whole", "/model/claude-sonnet-4-5/converse", &[], converse_body()).await;
}

#[tokio::test]
async fn invoke_request_is_streamed_as_frames() {
    let path = "/model/claude-sonnet-4-5/invoke-with-response-stream";
    story("invoke_streamed", path, &[], invoke_body()).await;
}

#[tokio::test]
async fn invoke_request_returns_one_document() {
    story("invoke_whole", "/model/claude-sonnet-4-5/invoke", &[], invoke_body()).await;
}
