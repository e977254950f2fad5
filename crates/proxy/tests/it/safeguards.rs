//! `safeguards`, the check of tool calls that Claude Code requests in its auto mode, and other members and betas that
//! are new.

use std::net::SocketAddr;
use std::sync::Arc;

use fake_bedrock::{Config, FakeBedrock, Log, Safeguards};
use serde_json::{Value, json};

use crate::harness::{TestResponse, TestServer, full, spawn, test_server_with};

const BETA: &str = "dangerous-tool-use-2026-09-03";

async fn fake(safeguards: Safeguards) -> (Arc<Log>, String) {
    let config = Config { safeguards, ..Config::default() };
    let fake = FakeBedrock::bind(config, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let (log, url) = (fake.log(), fake.url());
    spawn(fake.run());
    (log, url)
}

/// What Claude Code sends in auto mode.
fn body(model: &str, stream: bool) -> Value {
    json!({
        "model": model,
        "max_tokens": 4096,
        "stream": stream,
        "messages": [{"role": "user", "content": "[tool Bash touch a]"}],
        "tools": [{"name": "Bash", "input_schema": {"type": "object", "required": ["command"]}}],
        "thinking": {"type": "adaptive", "display": "updates"},
        "safeguards": [{"type": "dangerous_tool_use", "classifier_context": {"v": 1, "rules": {}}}],
        "diagnostics": {"previous_message_id": null},
    })
}

async fn send(server: &TestServer, body: &Value) -> TestResponse {
    let betas =
        format!("claude-code-20250219,{BETA},thinking-display-updates-2026-08-18,afk-mode-2026-01-31");
    let request = http::Request::post("/v1/messages?beta=true").header("anthropic-beta", betas);
    let response = server.fetch(request.body(full(body.to_string().into())).unwrap()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    response
}

/// The ids of the tool calls, and the results of their check.
fn results(response: &TestResponse, stream: bool) -> (Vec<String>, Value) {
    if !stream {
        let message = response.json();
        let ids = message["content"].as_array().unwrap().iter().filter_map(|block| block["id"].as_str());
        return (ids.map(str::to_owned).collect(), message["safeguard_results"].clone());
    }
    let events = response.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events.map(|json| serde_json::from_str(json).unwrap()).collect();
    let ids = events.iter().filter_map(|event| event["content_block"]["id"].as_str());
    let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    (ids.map(str::to_owned).collect(), end["delta"]["safeguard_results"].clone())
}

fn status(results: &Value) -> &Value {
    assert_eq!(results.as_array().map(Vec::len), Some(1), "{results}");
    assert_eq!(results[0]["type"], "dangerous_tool_use");
    &results[0]["status"]
}

fn sent(log: &Log) -> Vec<Value> {
    log.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[tokio::test]
async fn safeguard_results_pass_in_both_shapes() {
    for route in ["auto", "invoke", "messages"] {
        let (log, url) = fake(Safeguards::Judged).await;
        let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_BEDROCK_ROUTE", route)];
        let server = test_server_with(&variables, |_| {}).await;
        for stream in [true, false] {
            let response = send(&server, &body("claude-opus-5-5", stream)).await;
            let (ids, results) = results(&response, stream);
            let verdict = json!({&ids[0]: {"type": "evaluated", "outcome": "not_flagged"}});
            assert_eq!(status(&results), &json!({"type": "available", "tool_uses": verdict}), "{route}");
        }
        for upstream in sent(&log) {
            assert_eq!(upstream["safeguards"], body("", true)["safeguards"], "{route}");
            assert_eq!(upstream["thinking"]["display"], "updates", "{route}");
        }
        assert_eq!(log.refused(), 0, "{route}");
    }
}

#[tokio::test]
async fn refused_safeguards_lose_no_request() {
    for safeguards in [Safeguards::RefuseField, Safeguards::RefuseBeta] {
        for route in ["auto", "invoke", "messages"] {
            let (log, url) = fake(safeguards).await;
            let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_BEDROCK_ROUTE", route)];
            let server = test_server_with(&variables, |_| {}).await;
            for stream in [true, false] {
                let response = send(&server, &body("claude-opus-5-5", stream)).await;
                let (_, results) = results(&response, stream);
                assert_eq!(status(&results), &json!({"type": "available", "tool_uses": {}}), "{route}");
                let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
                assert!(notice.contains("safeguards: left out"), "{notice}");
            }
            assert_eq!(log.refused(), 1, "{route}: one request teaches, and is sent again");
            let last = sent(&log).pop().unwrap();
            assert!(!last.to_string().contains("dangerous"), "neither is sent alone: {last}");
        }
    }
}

#[tokio::test]
async fn platform_without_checks_gives_no_verdicts() {
    let no_verdicts = json!({"type": "available", "tool_uses": {}});
    let (_, url) = fake(Safeguards::Unsupported).await;
    let nova = "amazon.nova-pro-v1:0";
    for (route, model) in [("auto", "claude-opus-5-5"), ("converse", "claude-opus-5-5"), ("auto", nova)] {
        let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_BEDROCK_ROUTE", route)];
        let server = test_server_with(&variables, |_| {}).await;
        for stream in [true, false] {
            let response = send(&server, &body(model, stream)).await;
            let (_, results) = results(&response, stream);
            assert_eq!(status(&results), &no_verdicts, "{route} {model}");
        }
        let mut plain = body(model, true);
        plain.as_object_mut().unwrap().remove("safeguards");
        assert!(!send(&server, &plain).await.body.contains("safeguard_results"), "{route} {model}");
    }
}

#[tokio::test]
async fn new_members_never_lose_a_request() {
    for route in ["auto", "invoke", "messages"] {
        let (log, url) = fake(Safeguards::Judged).await;
        let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_BEDROCK_ROUTE", route)];
        let server = test_server_with(&variables, |_| {}).await;
        for name in ["container", "compaction", "previous_message_id", "novel"] {
            let mut new = body("claude-opus-5-5", true);
            new[name] = json!("x");
            let response = send(&server, &new).await;
            let tried = sent(&log).into_iter().filter(|body| body.get(name).is_some()).count();
            assert_eq!(tried, 1, "{route} {name}: Bedrock decides");
            let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
            assert!(notice.contains(name), "{notice}");
            send(&server, &new).await;
            let tried = sent(&log).into_iter().filter(|body| body.get(name).is_some()).count();
            assert_eq!(tried, 1, "{route} {name}: and is remembered");
        }
    }
}
