//! `max_tokens: 0`: a request that only fills the prompt cache.

use serde_json::{Value, json};

use crate::harness::{TestServer, log_line, test_server_with};
use crate::tool_calls::{last_sent, send};

const ROUTES: [&str; 4] = ["auto", "converse", "invoke", "messages"];

fn prewarming(more: &Value) -> Value {
    let long = "A sentence that is cached. ".repeat(1000);
    let mut body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 0,
        "system": [{"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "Hello"}],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn server(route: &str) -> TestServer {
    test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await
}

#[tokio::test]
async fn zero_max_tokens_fills_the_cache() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}});
    for route in ROUTES {
        for (index, more) in [
            json!({}),
            json!({"tools": tools}),
            json!({"stream": false, "thinking": {"type": "disabled"}}),
            json!({"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Title:"}]}),
            json!({"messages": [{"role": "user", "content": [pdf, {"type": "text", "text": "Sum up"}]}]}),
        ]
        .into_iter()
        .enumerate()
        {
            // A PDF without citations is sent by InvokeModel, except where Converse is the only upstream API.
            let is_converse = route == "converse" || route == "auto" && index != 4;
            if route == "converse" && index == 4 {
                continue;
            }
            let server = server(route).await;
            let response = send(&server, "/v1/messages", &prewarming(&more)).await;
            assert_eq!(response.status, 200, "{route} {more}: {}", response.body);
            let message = response.json();
            assert_eq!(message["content"], json!([]), "{route}: {message}");
            assert_eq!(message["stop_reason"], "max_tokens", "{route}: {message}");
            assert!(message["usage"]["cache_creation_input_tokens"].as_u64().unwrap() > 1000, "{message}");
            assert_eq!(message["usage"]["output_tokens"], u64::from(is_converse), "{route}: {message}");
            let (sent, path) = (last_sent(&server), server.bedrock.requests().pop().unwrap().path);
            if is_converse {
                assert_eq!(sent["inferenceConfig"]["maxTokens"], 1);
            } else {
                assert_eq!(sent["max_tokens"], 0, "{route}: {sent}");
                assert!(!path.ends_with("stream") && sent["stream"] != true, "{path}");
            }
            let line = log_line(response.request_id()).await;
            assert!(line["cache_write_5m_tok"].as_u64().unwrap() > 1000, "it is charged: {line}");

            let mut later = prewarming(&more);
            later["max_tokens"] = json!(9);
            let again = send(&server, "/v1/messages", &later).await.json();
            // It is sent by the same upstream API: each may have a cache of its own.
            assert!(again["usage"]["cache_read_input_tokens"].as_u64().unwrap() > 1000, "{again}");
        }
    }
}

#[tokio::test]
async fn zero_max_tokens_excludes_output_features() {
    for route in ROUTES {
        let server = server(route).await;
        let format = json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
        for (more, feature) in [
            (json!({"stream": true}), "`stream`"),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), "`thinking`"),
            (json!({"thinking": {"type": "adaptive"}}), "`thinking`"),
            (
                json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"}}),
                "a `tool_choice` that forces tool use",
            ),
            (json!({"output_config": format}), "`output_config.format`"),
        ] {
            let response = send(&server, "/v1/messages", &prewarming(&more)).await;
            let (status, kind, message) = response.error();
            assert_eq!((status, kind.as_str()), (400, "invalid_request_error"), "{route} {more}");
            assert_eq!(message, format!("max_tokens: 0 is not supported together with {feature}"), "{route}");
        }
        assert!(server.bedrock.requests().is_empty(), "nothing is sent");
    }
}

#[tokio::test]
async fn zero_max_tokens_reaches_other_models_as_minimum() {
    let server = server("auto").await;
    let body = json!({"model": "amazon.nova-pro-v1:0", "max_tokens": 0,
        "messages": [{"role": "user", "content": "Hello"}]});
    let response = send(&server, "/v1/messages", &body).await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(
        (&response.json()["content"], &response.json()["stop_reason"]),
        (&json!([]), &json!("max_tokens"))
    );
    assert_eq!(last_sent(&server)["inferenceConfig"]["maxTokens"], 1);
    assert!(response.headers["x-bedrock-proxy-notice"].to_str().unwrap().contains("max_tokens"));
}

#[tokio::test]
async fn zero_max_tokens_is_rejected_at_chat() {
    let server = server("auto").await;
    let counted = send(&server, "/v1/messages/count_tokens", &prewarming(&json!({}))).await;
    assert_eq!(counted.status, 200, "{}", counted.body);
    assert!(counted.headers.get("x-bedrock-proxy-notice").is_none(), "AWS has counted");
    for name in ["max_tokens", "max_completion_tokens"] {
        for stream in [true, false] {
            let body = json!({"model": "claude-sonnet-4-5", name: 0, "stream": stream,
                "messages": [{"role": "user", "content": "Hello"}]});
            let response = send(&server, "/v1/chat/completions", &body).await;
            assert_eq!(response.status, 400);
            let error = &response.json()["error"];
            let message = format!(
                "Invalid '{name}': integer below minimum value. Expected a value >= 1, but got 0 instead."
            );
            assert_eq!(error["message"], message);
            assert_eq!((&error["param"], &error["code"]), (&json!(name), &json!("integer_below_min_value")));
        }
    }
}
