//! Requests that are made to be charged less than they cost: none of them is.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::usage_records::row;
use crate::harness::{TestServer, full, wait_for};

const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";
/// Price of a token of Sonnet 4.5 by its `us.` profile, in nano-dollars: of the prompt, written to the cache for an hour,
/// and of the output.
const NANO_USD: [u64; 3] = [3_300, 6_600, 16_500];

/// Operations of the Bedrock API that InvokeModel's body goes to, and Converse's.
const INVOKE: [&str; 2] = ["invoke", "invoke-with-response-stream"];
const CONVERSE: [&str; 2] = ["converse", "converse-stream"];

async fn server(daily_tokens: &str) -> TestServer {
    authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", daily_tokens)], |_| {}).await
}

/// Sends `body` as a user with a limit.
async fn send(server: &TestServer, path: &str, body: impl ToString) -> (u16, Vec<u8>) {
    let request = http::Request::post(path)
        .header("authorization", format!("Bearer {}", token("ana", &json!({}))))
        .body(full(body.to_string().into()));
    let (head, body) = server.send(request.unwrap()).await.into_parts();
    (head.status.as_u16(), body.collect().await.unwrap().to_bytes().to_vec())
}

fn path(operation: &str) -> String {
    format!("/model/{SONNET}/{operation}")
}

/// Checks that the one request of `server` is charged what Bedrock counted, to the record and to the user.
async fn assert_charged_in_full(server: &TestServer, about: &str) -> Value {
    let (row, counted) = (row(server).await, server.bedrock.totals());
    assert_eq!(row["input"], counted.input_tokens, "{about}: {row}");
    assert_eq!(row["output"], counted.output_tokens, "{about}: {row}");
    let charged = counted.input_tokens + counted.cache_write_tokens + counted.output_tokens;
    assert_eq!(row["charged"], charged, "{about}: {row}");
    assert_eq!(row["estimated"], false, "{about}: {row}");
    wait_for("the charge of the user", async || {
        let (period, now) = (server.app.quota.period().start, server.app.clock.milliseconds());
        let totals = server.app.store.caller_totals("ana", None, period, now).await.unwrap().user;
        (totals.reserved == 0 && u64::try_from(totals.used) == Ok(charged)).then_some(())
    })
    .await;
    row
}

/// Schema of a tool whose only valid input is decoy usage in every form that AWS states usage in.
fn decoy_schema() -> Value {
    let metrics = json!({"inputTokenCount": 1, "outputTokenCount": 0});
    let usage =
        json!({"inputTokens": 1, "outputTokens": 0, "totalTokens": 1, "input_tokens": 1, "output_tokens": 0});
    let chunk = json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics, "usage": usage});
    let input = json!({
        "bytes": STANDARD.encode(chunk.to_string()),
        "amazon-bedrock-invocationMetrics": metrics,
        "usage": usage,
        "metadata": {"usage": usage},
        "text": format!(r#"","bytes":"{}","usage":{usage}"#, STANDARD.encode(chunk.to_string())),
    });
    let input = input.as_object().unwrap();
    let properties: serde_json::Map<_, _> =
        input.iter().map(|(name, value)| (name.clone(), json!({"enum": [value]}))).collect();
    json!({"type": "object", "properties": properties, "required": input.keys().collect::<Vec<_>>()})
}

#[tokio::test]
async fn decoy_usage_in_tool_input_is_not_charged() {
    let (prompt, schema) = (format!("[tool] {}", "word ".repeat(2000)), decoy_schema());
    let converse = json!({
        "messages": [{"role": "user", "content": [{"text": prompt}]}],
        "inferenceConfig": {"maxTokens": 500},
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": schema}}}]},
    });
    let invoke = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": prompt}],
        "tools": [{"name": "f", "input_schema": schema}],
    });
    for (operations, body) in [(CONVERSE, converse), (INVOKE, invoke)] {
        for operation in operations {
            let server = server("100000").await;
            let (status, received) = send(&server, &path(operation), &body).await;
            assert_eq!(status, 200, "{operation}");
            let decoy = memchr::memmem::find(&received, b"amazon-bedrock-invocationMetrics");
            assert!(decoy.is_some() || operation == "invoke-with-response-stream", "{operation}");
            let row = assert_charged_in_full(&server, operation).await;
            assert!(row["input"].as_u64() > Some(2_000) && row["output"].as_u64() > Some(5), "{row}");
        }
    }
}

/// The tokens that a request may need, from the rejection by a limit that it exceeds.
async fn reserved(server: &TestServer, operation: &str, body: impl ToString) -> u64 {
    let (status, received) = send(server, &path(operation), body).await;
    let message = String::from_utf8(received).unwrap();
    assert_eq!(status, 429, "{operation}: {message}");
    let (_, rest) = message.split_once("may need up to ").unwrap();
    let digits: String = rest.chars().take_while(|c| *c != ' ').filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[tokio::test]
async fn decoy_limit_of_output_is_not_reserved() {
    /// More than the estimate of any prompt here.
    const PROMPT: u64 = 1_000;
    const MAX_OUTPUT: u64 = 64_000;
    /// Limit that is added to a body of InvokeModel without one.
    const DEFAULT_OUTPUT: u64 = 8_192;
    let server = server("10").await;
    let decoys = r#""max_tokens":1,"maxTokens":1,"max_gen_len":1,"max_completion_tokens":1"#;
    let messages = r#""messages":[{"role":"user","content":[{"text":"hi"}]}]"#;
    let config = |config: &str| format!(r#"{{{decoys},{messages},"inferenceConfig":{{{config}}}}}"#);
    for (operation, body, output) in [
        ("converse", config(r#""maxTokens":20000"#), 20_000),
        ("converse-stream", config(r#""maxTokens":20000"#), 20_000),
        ("converse", config(r#""maxTokens":20000,"max_tokens":1,"max_new_tokens":1"#), 20_000),
        ("converse", config(r#""maxTokens":20000,"maxTokens":1"#), MAX_OUTPUT),
        ("converse", config(""), MAX_OUTPUT),
        ("converse-stream", format!("{{{decoys},{messages}}}"), MAX_OUTPUT),
        (
            "invoke",
            format!(r#"{{{messages},"max_tokens":20000,"inferenceConfig":{{"maxTokens":1}}}}"#),
            20_000,
        ),
        ("invoke", format!(r#"{{{messages},"max_tokens":20000,"max_tokens":1}}"#), MAX_OUTPUT),
        (
            "invoke-with-response-stream",
            config(r#""maxTokens":1"#).replace(r#""max_tokens":1,"#, ""),
            DEFAULT_OUTPUT,
        ),
    ] {
        let reserved = reserved(&server, operation, &body).await;
        assert!((output..output + PROMPT).contains(&reserved), "{operation} {body}: {reserved}");
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn timed_out_bedrock_request_is_charged_in_full() {
    let prompt = "[pause 1000] [long 300] x";
    let converse = json!({
        "messages": [{"role": "user", "content": [{"text": prompt}]}],
        "inferenceConfig": {"maxTokens": 5000},
    });
    let invoke = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": prompt}],
    });
    for (operation, body) in [("converse", converse), ("invoke", invoke)] {
        let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "100000")], |config| {
            config.inference.request_timeout = Duration::from_millis(300);
        })
        .await;
        let (status, _) = send(&server, &path(operation), &body).await;
        assert_eq!(status, 408, "{operation}");
        let row = assert_charged_in_full(&server, operation).await;
        assert!(row["output"].as_u64() >= Some(300), "{row}");
    }
}

#[tokio::test]
async fn one_hour_cache_writes_have_their_own_price() {
    let text = "You are careful and kind. ".repeat(800);
    let control = json!({"type": "ephemeral", "ttl": "1h"});
    let messages = json!({
        "max_tokens": 64,
        "system": [{"type": "text", "text": text, "cache_control": control}],
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let mut invoke = messages.clone();
    invoke["anthropic_version"] = json!("bedrock-2023-05-31");
    let mut named = messages;
    named["model"] = json!("claude-sonnet-4-5");
    let converse = json!({
        "system": [{"text": text}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
        "inferenceConfig": {"maxTokens": 64},
    });
    let mut requests = vec![("/v1/messages".to_owned(), &named)];
    requests.extend(CONVERSE.map(|operation| (path(operation), &converse)));
    requests.extend(INVOKE.map(|operation| (path(operation), &invoke)));
    for (path, body) in requests {
        let server = server("100000").await;
        assert_eq!(send(&server, &path, body).await.0, 200, "{path}");
        let (row, counted) = (assert_charged_in_full(&server, &path).await, server.bedrock.totals());
        assert!(counted.cache_write_tokens > 1_000, "{path}: {counted:?}");
        assert_eq!(row["write_1h"], counted.cache_write_tokens, "{path}: {row}");
        let counts = [counted.input_tokens, counted.cache_write_tokens, counted.output_tokens];
        let cost: u64 = counts.iter().zip(NANO_USD).map(|(count, price)| count * price).sum();
        assert_eq!(row["cost"], cost, "{path}: {row}");
    }
}
