//! The choice of the upstream API, and what is remembered of its errors.

use serde_json::{Value, json};

use crate::harness::{
    TestResponse, full, message_body, test_server, test_server_with, usage_records, wait_for,
};

/// A request with what Claude Code sends every day and Converse has no shape for.
pub(crate) fn everyday(stream: bool) -> Value {
    json!({
        "model": "claude-opus-5-5",
        "max_tokens": 256,
        "stream": stream,
        "messages": [
            {"role": "user", "content": "say ok"},
            {"role": "system", "content": "Reminder: be brief.", "output_config": {"effort": "low"}},
        ],
        "system": [{"type": "text", "text": "You are helpful.", "cache_control": {"type": "ephemeral", "scope": "global"}}],
        "tools": [
            {"name": "read", "input_schema": {"type": "object", "properties": {"z": {}, "a": {"maximum": 1.0}}}},
            {"name": "later", "input_schema": {"type": "object"}, "defer_loading": true},
        ],
        "metadata": {"user_id": "{\"device_id\":\"d\"}"},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
    })
}

async fn send(server: &crate::harness::TestServer, body: &Value, betas: &str) -> TestResponse {
    let request = http::Request::post("/v1/messages?beta=true").header("anthropic-beta", betas);
    server.fetch(request.body(full(body.to_string().into())).unwrap()).await
}

pub(crate) const BETAS: &str =
    "claude-code-20250219,context-management-2025-06-27, advanced-tool-use-2025-11-20";

#[tokio::test]
async fn claude_code_request_goes_to_invoke_unchanged() {
    let server = test_server().await;
    let streamed = send(&server, &everyday(true), BETAS).await;
    assert_eq!(streamed.status, 200, "{}", streamed.body);
    assert_eq!(streamed.headers["x-bedrock-proxy-route"], "invoke");
    assert!(streamed.events().ends_with(&["message_delta", "message_stop"]), "{}", streamed.body);
    assert!(!streamed.body.contains("invocationMetrics") && streamed.body.contains("\"claude-opus-5-5\""));
    let notice = streamed.headers["x-bedrock-proxy-notice"].to_str().unwrap();
    assert!(notice.contains("user_id") && notice.contains("not sent: claude-code-20250219"), "{notice}");

    let sent = server.bedrock.requests().pop().unwrap();
    assert!(sent.path.ends_with("/invoke-with-response-stream"), "{}", sent.path);
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    let requested = everyday(true);
    for member in ["messages", "tools", "thinking", "context_management", "output_config", "max_tokens"] {
        assert_eq!(sent[member], requested[member]);
    }
    assert_eq!(sent["anthropic_version"], "bedrock-2023-05-31");

    let whole = send(&server, &everyday(false), BETAS).await;
    assert_eq!(whole.headers["x-bedrock-proxy-route"], "invoke");
    let whole = whole.json();
    assert_eq!((whole["type"].as_str(), whole["model"].as_str()), (Some("message"), Some("claude-opus-5-5")));
    assert!(whole["content"].as_array().unwrap().iter().any(|block| block["type"] == "text"), "{whole}");
}

#[tokio::test]
async fn converse_is_the_default_upstream_api() {
    for (policy, route) in [("auto", "converse"), ("converse", "converse"), ("invoke", "invoke")] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", policy)], |_| {}).await;
        let response = server.post_message("Hello", true).await;
        assert_eq!(
            (response.status.as_u16(), response.headers["x-bedrock-proxy-route"].to_str().unwrap()),
            (200, route)
        );
    }
    let server = test_server_with(&[("AWS_BEDROCK_ROUTE", "converse")], |_| {}).await;
    let (status, _, text) = send(&server, &everyday(true), BETAS).await.error();
    assert_eq!(status, 400);
    assert!(text.contains("messages.1.role: Input should be 'user' or 'assistant'"), "{text}");
}

#[tokio::test]
async fn invoke_and_converse_return_the_same_events() {
    let server = test_server_with(&[("AWS_BEDROCK_ROUTE", "invoke")], |_| {}).await;
    let tool = json!([{"name": "read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}]);
    for stream in [true, false] {
        let mut body = message_body("[tools]", stream);
        body["tools"] = tool.clone();
        let response = server.post(body.to_string()).await;
        assert!(
            response.status == 200 && response.body.matches("\"type\":\"tool_use\"").count() >= 2,
            "{}",
            response.body
        );
    }
    let broken = server.post_message("[exception throttlingException]", true).await;
    assert_eq!(broken.last()["error"]["type"], "rate_limit_error", "{}", broken.body);
    assert_eq!(broken.body.matches("event: error").count(), 1);
    assert_eq!(server.post_message("[cut]", false).await.status, 502);
    assert_eq!(server.post_message("[throttle]", true).await.error().0, 429);
}

#[tokio::test]
async fn unsupported_field_is_removed_and_remembered() {
    let server = test_server_with(&[("AWS_BEDROCK_ROUTE", "invoke")], |_| {}).await;
    let mut body = message_body("Hello", false);
    body["novel_member"] = json!({"z": 1});
    for _ in 0..2 {
        let response = server.post(body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(notice.contains("novel_member: left out: this model has rejected it"), "{notice}");
    }
    assert_eq!(server.bedrock.requests().len(), 3, "the second request was right from the start");
}

#[tokio::test]
async fn unsupported_beta_is_removed_on_fallback() {
    let server = test_server_with(&[("AWS_BEDROCK_ROUTE", "invoke")], |_| {}).await;
    let response = send(&server, &message_body("Hello", true), "novel-beta-2027-01-01").await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(server.bedrock.requests().len(), 2);
    // One in the body is one in the header.
    let mut body = message_body("Hello", true);
    body["anthropic_beta"] = json!(["novel-beta-2027-01-01"]);
    assert_eq!(server.post(body.to_string()).await.status, 200);
    assert_eq!(server.bedrock.requests().len(), 3, "and was learnt already");
}

/// The additional fields of the last question to Converse.
fn fields(server: &crate::harness::TestServer) -> Value {
    let sent = server.bedrock.requests().pop().unwrap();
    assert!(sent.path.ends_with("/converse-stream"), "{}", sent.path);
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    sent["additionalModelRequestFields"].clone()
}

/// What Claude Code switches on with every request.
const CLAUDE_CODE: &str = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,\
    per-turn-control-2026-07-01,mid-conversation-tool-changes-2026-07-01,thinking-token-count-2026-05-13,\
    advanced-tool-use-2025-11-20,effort-2025-11-24,extended-cache-ttl-2025-04-11";

#[tokio::test]
async fn converse_forwards_betas_and_reports_ignored_ones() {
    for strict in ["false", "true"] {
        let server = test_server_with(&[("AWS_BEDROCK_STRICT", strict)], |_| {}).await;
        let mut body = message_body("Hello", true);
        body["anthropic_beta"] = json!(["context-1m-2025-08-07", "effort-2025-11-24"]);
        let response = send(&server, &body, CLAUDE_CODE).await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(
            fields(&server)["anthropic_beta"],
            json!(["interleaved-thinking-2025-05-14", "effort-2025-11-24", "context-1m-2025-08-07"])
        );
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(notice.starts_with("anthropic-beta: not sent: claude-code-20250219, context-management-"));
        assert_eq!(crate::harness::log_line(response.request_id()).await["notices"], 1, "{notice}");
        assert_eq!(server.bedrock.requests().len(), 1, "the double refuses what Converse does not know");
    }
}

#[tokio::test]
async fn unsupported_converse_betas_are_removed_and_remembered() {
    let server = test_server().await;
    let mut in_body = message_body("Hello", false);
    in_body["anthropic_beta"] = json!(["novel-2027-01-01"]);
    let known = json!(["context-1m-2025-08-07"]);
    for (body, betas, sent) in [
        (message_body("Hello", true), "novel-2027-01-01, context-1m-2025-08-07", Some(&known)),
        (message_body("Hello", true), "novel-2027-01-01, context-1m-2025-08-07", Some(&known)),
        (in_body, "oauth-2025-04-20", None),
    ] {
        let response = send(&server, &body, betas).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(
            notice.contains("novel-2027-01-01") && notice.contains("rejected"),
            "what was left out is named: {notice}"
        );
        assert_eq!(fields(&server).get("anthropic_beta"), sent);
    }
    assert_eq!(server.bedrock.requests().len(), 4, "only the first request had to be repaired");
}

#[tokio::test]
async fn strict_mode_sends_unsupported_beta_by_invoke() {
    for route in ["auto", "converse"] {
        let strict = [("AWS_BEDROCK_STRICT", "true"), ("AWS_BEDROCK_ROUTE", route)];
        let server = test_server_with(&strict, |_| {}).await;
        for _ in 0..2 {
            let response = send(&server, &message_body("Hello", true), "novel-2027-01-01").await;
            assert_eq!(response.status, 400, "neither route knows it: {}", response.body);
        }
        let paths: Vec<String> = server.bedrock.requests().into_iter().map(|sent| sent.path).collect();
        let invoked = paths.iter().any(|path| path.ends_with("/invoke-with-response-stream"));
        assert_eq!(invoked, route == "auto", "{paths:?}");
    }
}

#[tokio::test]
async fn non_claude_models_get_no_betas() {
    for (strict, betas, status) in
        [("false", "novel-2027-01-01", 200), ("true", "novel-2027-01-01", 400), ("true", CLAUDE_CODE, 200)]
    {
        let server = test_server_with(&[("AWS_BEDROCK_STRICT", strict)], |_| {}).await;
        let mut body = message_body("Hello", true);
        body["model"] = "us.amazon.nova-pro-v1:0".into();
        let response = send(&server, &body, betas).await;
        assert_eq!(response.status, status, "{}", response.body);
        if status == 200 {
            let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
            assert!(notice.starts_with("anthropic-beta: ") && notice.contains(&betas[..16]), "{notice}");
            assert_eq!(fields(&server).get("anthropic_beta"), None);
        } else {
            let text = response.error().2;
            assert!(text.starts_with("anthropic-beta: novel-2027-01-01 not sent"), "{text}");
        }
    }
}

#[tokio::test]
async fn foundation_model_falls_back_to_its_profile() {
    let server = test_server().await;
    let mut body = message_body("Hello", false);
    body["model"] = "anthropic.claude-sonnet-4-5-20250929-v1:0".into();
    assert_eq!(server.post(body.to_string()).await.status, 200);
    let paths: Vec<String> = server.bedrock.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(paths[1].starts_with("/model/us.anthropic.claude-sonnet-4-5"), "{paths:?}");
}

#[tokio::test]
async fn fallback_to_a_profile_costs_its_price() {
    let server = test_server().await;
    for id in ["us.anthropic.claude-opus-4-8", "anthropic.claude-opus-4-8", "anthropic.claude-opus-4-8"] {
        let mut body = message_body("Hello", false);
        body["model"] = id.into();
        assert_eq!(server.post(body.to_string()).await.status, 200);
    }
    let sent = server.bedrock.requests().pop().unwrap();
    assert!(sent.path.starts_with("/model/us.anthropic.claude-opus-4-8/"), "{}", sent.path);
    let rows = wait_for("three usage records", async || {
        Some(usage_records::rows(&server).await).filter(|rows| rows.len() == 3)
    })
    .await;
    let costs: Vec<_> = rows.iter().map(|row| &row["cost"]).collect();
    assert!(costs[0].as_i64() > Some(0) && costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
}

#[tokio::test]
async fn model_without_tool_streaming_is_called_unstreamed() {
    let server = test_server().await;
    for stream in [true, false] {
        let mut body = message_body("[tool]", stream);
        body["model"] = "us.meta.llama3-3-70b-instruct-v1:0".into();
        body["tools"] = json!([{"name": "read", "input_schema": {"type": "object"}}]);
        let response = server.post(body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert!(response.body.contains("\"tool_use\""), "{}", response.body);
        if stream {
            assert!(response.events().ends_with(&["message_delta", "message_stop"]), "{}", response.body);
        }
        let sent = server.bedrock.requests().pop().unwrap();
        assert!(sent.path.ends_with("/converse"), "{}", sent.path);
    }
    assert_eq!(server.bedrock.requests().len(), 2, "the table knew; nothing had to be learnt from a refusal");
}

#[tokio::test]
async fn client_model_version_selects_sampling_parameters() {
    let server = test_server().await;
    let mut body = message_body("Hello", false);
    body["temperature"] = json!(0);
    for (version, status) in [("2023-06-01", 200), ("2026-10-21", 400)] {
        let request = http::Request::post("/v1/messages").header("anthropic-version", version);
        let response = server.fetch(request.body(full(body.to_string().into())).unwrap()).await;
        assert_eq!(response.status, status, "{}", response.body);
    }
}

#[tokio::test]
async fn strict_mode_rejects_lossy_requests_only() {
    let strict = test_server_with(&[("AWS_BEDROCK_STRICT", "true")], |_| {}).await;
    let mut body = message_body("Hello", false);
    (body["temperature"], body["top_p"]) = (json!(0.5), json!(0.5));
    let (status, kind, text) = strict.post(body.to_string()).await.error();
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(text.starts_with("top_p: the model takes temperature or top_p, not both"), "{text}");
    assert!(strict.bedrock.requests().is_empty());
    let lenient = test_server().await.post(body.to_string()).await;
    let notice = lenient.headers["x-bedrock-proxy-notice"].to_str().unwrap();
    assert!(notice.starts_with("top_p: left out"), "{notice}");

    let mut body = message_body("Hello", false);
    body["metadata"] = json!({"user_id": "{\"device\":1}"});
    body["max_tokens"] = json!(1_000_000);
    let response = strict.post(body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert!(response.headers.contains_key("x-bedrock-proxy-notice"));
}

#[tokio::test]
async fn strict_mode_prefers_invoke_to_dropping_fields() {
    for (strict, route) in [("false", "converse"), ("true", "invoke")] {
        let server = test_server_with(&[("AWS_BEDROCK_STRICT", strict)], |_| {}).await;
        let mut body = message_body("Hello", false);
        body["messages"] = json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "unsigned"}, {"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"},
        ]);
        let response = server.post(body.to_string()).await;
        let sent = server.bedrock.requests().pop().unwrap();
        assert_eq!(
            sent.path.ends_with("/invoke-with-response-stream"),
            route == "invoke",
            "{}",
            response.body
        );
    }
}

#[tokio::test]
async fn notice_about_tools_is_sent_once() {
    let server = test_server().await;
    let mut body = message_body("Hello", false);
    let tool = |n: usize| json!({"name": format!("t{n}"), "input_schema": {"type": "object"}, "eager_input_streaming": true});
    body["tools"] = (0..25).map(tool).collect();
    let response = server.post(body.to_string()).await;
    let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
    assert_eq!(
        notice,
        "tools[*].eager_input_streaming (25x): left out: Bedrock decides how arguments are streamed"
    );
    assert_eq!(crate::harness::log_line(response.request_id()).await["notices"], 25);
}

#[tokio::test]
async fn client_without_thinking_blocks_gets_none() {
    for route in ["auto", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let mut body = message_body("Read it.", false);
        body["max_tokens"] = json!(4000);
        body["thinking"] = json!({"type": "enabled", "budget_tokens": 2000});
        body["tools"] = json!([{"name": "read", "input_schema": {"type": "object"}}]);
        let messages = body["messages"].as_array_mut().unwrap();
        messages.push(json!({"role": "assistant", "content": [{"type": "text", "text": "I will."}, {"type": "tool_use", "id": "a", "name": "read", "input": {}}]}));
        messages.push(
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "It."}]}),
        );
        let response = server.post(body.to_string()).await;
        assert_eq!(response.status, 200, "{route}: {}", response.body);
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(notice.starts_with("thinking: left out: the tool calls came without thinking"), "{notice}");
    }
}

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

fn call(id: &str, name: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "x"})
}

/// Requests with what Bedrock rejects and can be normalized; the notice of each.
fn invalid_requests() -> Vec<(&'static str, Value, &'static str)> {
    let chat = |messages: Value, more: Value| {
        let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "messages": messages});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let messages = chat;
    let pdf = json!({"type": "file", "file": {"filename": "r.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}});
    let function = |name: &str, parameters: Value| json!([{"type": "function", "function": {"name": name, "parameters": parameters}}]);
    let object = json!({"type": "object", "properties": {}});
    let chat_call = |id: &str, text: &str| json!({"role": "assistant", "content": text, "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let user = json!({"role": "user", "content": "go"});
    let tools = json!({"tools": [{"name": "f", "input_schema": object}]});
    let odd = json!({"tools": [{"name": "files/read it", "input_schema": object}]});
    let no_type = json!({"properties": {"x": {"type": "string"}}, "required": ["x"]});
    vec![
        (
            CHAT,
            chat(
                json!([user, chat_call("call_1", "\n"), {"role": "tool", "tool_call_id": "call_1", "content": "x"}, {"role": "user", "content": [pdf, {"type": "text", "text": "read"}]}]),
                json!({"tools": function("f", object.clone())}),
            ),
            "left out: Bedrock does not accept blank text",
        ),
        (
            CHAT,
            chat(
                json!([user, chat_call("call_1", "\n"), {"role": "tool", "tool_call_id": "call_1", "content": "x"}]),
                json!({"tools": function("f", object.clone())}),
            ),
            "left out: Bedrock does not accept blank text",
        ),
        (CHAT, chat(json!([user, {"role": "assistant", "content": " "}, user]), json!({})), "a blank turn"),
        (
            MESSAGES,
            messages(
                json!([{"role": "user", "content": [{"type": "text", "text": "go"}, {"type": "text", "text": " "}]}]),
                json!({}),
            ),
            "not accept blank text",
        ),
        (
            CHAT,
            chat(
                json!([user, chat_call("functions.f:0", "so"), {"role": "tool", "tool_call_id": "functions.f:0", "content": "x"}]),
                json!({"tools": function("f", object)}),
            ),
            "sent under another id",
        ),
        (
            MESSAGES,
            messages(
                json!([user, {"role": "assistant", "content": [call("a|b", "f")]}, {"role": "user", "content": [result("a|b")]}]),
                tools.clone(),
            ),
            "sent under another id",
        ),
        (
            MESSAGES,
            messages(
                json!([user, {"role": "assistant", "content": [call("a", "files/read it")]}, {"role": "user", "content": [result("a")]}]),
                odd,
            ),
            "Bedrock does not accept this name",
        ),
        (
            MESSAGES,
            messages(json!([user, {"role": "assistant", "content": "Title: "}]), json!({})),
            "white space at the end left out",
        ),
        (
            CHAT,
            chat(json!([user, {"role": "assistant", "content": "Title:\n"}]), json!({})),
            "white space at the end left out",
        ),
        (CHAT, chat(json!([user]), json!({"stop": "\n"})), "stop: left out"),
        (CHAT, chat(json!([user]), json!({"stop": ["END", "\n\n"]})), "stop.1: left out"),
        (
            MESSAGES,
            messages(json!([user]), json!({"tools": [{"name": "f", "input_schema": no_type}]})),
            "added",
        ),
        (CHAT, chat(json!([user]), json!({"tools": function("f", no_type)})), "added"),
        (
            CHAT,
            chat(json!([user]), json!({"tools": function("f", json!({"type": ["object", "null"]}))})),
            "sent as \"object\"",
        ),
        (
            CHAT,
            chat(json!([{"role": "assistant", "content": "Hello."}, user]), json!({})),
            "begins with the assistant",
        ),
        (
            MESSAGES,
            messages(
                json!([user, {"role": "assistant", "content": [call("a", "f")]}, {"role": "user", "content": "x"}, {"role": "user", "content": [result("a")]}]),
                tools.clone(),
            ),
            "tool results moved",
        ),
        (
            MESSAGES,
            messages(
                json!([user, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": ""}]}, {"role": "user", "content": [result("a")]}]),
                tools,
            ),
            "sent as `{}`",
        ),
    ]
}

#[tokio::test]
async fn normalized_requests_succeed_on_every_upstream_api() {
    for route in ["converse", "invoke", "messages", "auto"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for (path, body, expected) in invalid_requests() {
            // Converse gives Claude models no more than the text of a PDF.
            if route == "converse" && body.to_string().contains("application/pdf") {
                continue;
            }
            for stream in [true, false] {
                let mut body = body.clone();
                body["stream"] = stream.into();
                let request = http::Request::post(path).body(full(body.to_string().into())).unwrap();
                let response = server.fetch(request).await;
                assert_eq!(response.status, 200, "{route}: {body}: {}", response.body);
                let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
                assert!(notice.contains(expected), "{route}: {body}: {notice}");
            }
        }
    }
}

#[tokio::test]
async fn client_sees_its_own_tool_names() {
    for route in ["converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for stream in [true, false] {
            let mut body = message_body("[tool]", stream);
            body["tools"] = json!([{"name": "files/read it", "input_schema": {"type": "object"}}]);
            let response = server.post(body.to_string()).await;
            assert!(response.body.contains(r#""name":"files/read it""#), "{route}: {}", response.body);
            let sent = server.bedrock.requests().pop().unwrap();
            assert!(!String::from_utf8_lossy(&sent.body).contains("files/read it"));
            body = json!({"model": "claude-sonnet-4-5", "messages": body["messages"], "stream": stream,
                "tools": [{"type": "function", "function": {"name": "größe.lesen", "parameters": {}}}]});
            let request = http::Request::post(CHAT).body(full(body.to_string().into())).unwrap();
            let response = server.fetch(request).await;
            assert!(response.body.contains(r#""name":"größe.lesen""#), "{route}: {}", response.body);
        }
    }
}

#[tokio::test]
async fn invalid_request_is_rejected_before_it_is_sent() {
    for route in ["converse", "invoke"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let mut body = message_body("Hello", false);
        body["stop_sequences"] = json!(["END", "\n\n"]);
        let text = server.post(body.to_string()).await.error().2;
        assert!(text.starts_with("stop_sequences.1: each stop sequence must contain"), "{text}");
        let mut body = message_body("Hello", false);
        body["tools"] =
            json!([{"name": "f", "input_schema": {"type": "object", "anyOf": [{"required": ["a"]}]}}]);
        let text = server.post(body.to_string()).await.error().2;
        assert!(text.starts_with("tools.0.input_schema: tool 'f': "), "{text}");
        // Behind a blank text that is left out, the path is still the client's.
        let mut body = message_body("Hello", false);
        let image = json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
        body["messages"] = json!([{"role": "user", "content": [{"type": "text", "text": ""}, image]}]);
        let text = server.post(body.to_string()).await.error().2;
        assert!(text.starts_with("messages.0.content.1.source"), "{text}");
        assert!(server.bedrock.requests().is_empty());
    }
}
