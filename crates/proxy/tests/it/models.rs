//! Lists of models.

use std::time::Duration;

use http::Request;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{captured_logs, full, message_body, test_server, test_server_with};

/// Whatever the day is on which this runs.
const ALL: &str = "/v1/models?limit=1000&lifecycle[]=active&lifecycle[]=deprecated&lifecycle[]=retired";

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn models_are_listed_for_both_client_apis() {
    let mapping = ("AWS_BEDROCK_MODEL_MAPPINGS", "house-model=amazon.nova-pro-v1:0");
    let server = test_server_with(&[mapping], |_| {}).await;
    let start = Instant::now();
    let page = server.get(ALL).await.json();
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(false)));
    let ids = ids(&page);
    assert_eq!((&page["first_id"], &page["last_id"]), (&json!(ids[0]), &json!(ids[ids.len() - 1])));
    assert_eq!(ids[0], "house-model");
    assert!(ids[1..].iter().all(|id| id.starts_with("claude-")), "{ids:?}");
    let sonnet = &page["data"][ids.iter().position(|id| id == "claude-sonnet-4-5").unwrap()];
    let expected = json!({
        "id": "claude-sonnet-4-5", "type": "model", "object": "model", "display_name": "Claude Sonnet 4.5",
        "created_at": "2025-09-29T00:00:00Z", "created": 1_759_104_000, "owned_by": "anthropic", "line": "sonnet",
        "deprecated_at": null, "retires_at": "2027-04-08T00:00:00Z", "max_tokens": 64_000,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&sonnet[key], value, "{key}");
    }
    assert!(sonnet["max_input_tokens"].is_u64());
    let capabilities = &sonnet["capabilities"];
    assert_eq!(capabilities["thinking"]["types"]["enabled"]["supported"], true);
    assert_eq!(capabilities["batch"]["supported"], false);
    assert_eq!(capabilities["citations"]["supported"], true);
    assert_eq!(capabilities["context_management"]["compact_20260112"]["supported"], true);
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn retired_model_is_served_with_a_warning() {
    let server = test_server().await;
    let model = server.get("/v1/models/claude-sonnet-4").await.json();
    assert_eq!(
        (&model["lifecycle"], &model["retires_at"]),
        (&json!("retired"), &json!("2026-10-14T00:00:00Z"))
    );
    let listed = ids(&server.get("/v1/models").await.json());
    assert!(!listed.contains(&"claude-sonnet-4".to_owned()), "{listed:?}");
    assert!(listed.contains(&"claude-fable-5-2".to_owned()), "{listed:?}");
    let mut body = message_body("Hello", false);
    body["model"] = json!("claude-sonnet-4");
    for _ in 0..2 {
        let response = server.post(body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.body);
    }
    let logs = captured_logs();
    let warnings = logs.lines().filter(|line| line.contains("model is retired"));
    let mut warnings: Vec<Value> = warnings.map(|line| serde_json::from_str(line).unwrap()).collect();
    warnings.retain(|line| line["model"] == "claude-sonnet-4");
    assert_eq!(warnings.len(), 1, "once for each model");
    assert_eq!((&warnings[0]["level"], &warnings[0]["retires_at"]), (&json!("warn"), &json!("2026-10-14")));
}

#[tokio::test]
async fn fable_takes_its_default_sampling_and_keeps_thinking() {
    for route in ["converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let mut body = message_body("[thinking] Hello", false);
        body["model"] = json!("claude-fable-5-2");
        body["system"] =
            json!([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]);
        body["tools"] = json!([{"name": "mcp/get.x", "input_schema": {"properties": {"b": {}, "a": {}}}}]);
        body["thinking"] = json!({"type": "adaptive", "display": "summarized"});
        for (sampling, is_noticed) in [("temperature", false), ("top_p", true), ("top_k", true)] {
            let mut body = body.clone();
            body[sampling] = json!(1);
            let response = server.post(body.to_string()).await;
            assert_eq!(response.status, 200, "{route} {sampling}: {}", response.body);
            let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
            assert_eq!(notice.contains(sampling), is_noticed, "{notice}");
        }
        let first = server.post(body.to_string()).await.json();
        assert_eq!(first["content"][0]["type"], "thinking", "{first}");
        body["messages"].as_array_mut().unwrap().extend([
            json!({"role": "assistant", "content": first["content"]}),
            json!({"role": "user", "content": "go on"}),
        ]);
        // The fake rejects a block whose conversation was changed.
        let second = server.post(body.to_string()).await;
        assert_eq!(second.status, 200, "{route}: {}", second.body);
        body["system"][0]["text"] = json!("Be brief!");
        assert_eq!(server.post(body.to_string()).await.status, 400, "{route}");
    }
}

#[tokio::test]
async fn a_list_has_pages() {
    let server = test_server().await;
    let all = ids(&server.get("/v1/models?limit=1000").await.json());
    assert_eq!(ids(&server.get("/v1/models").await.json()), all, "who knows no pages sees all of it");
    let first = Request::get("/v1/models").header("anthropic-version", "2023-06-01").body(full("".into()));
    let mut collected = ids(&server.fetch(first.unwrap()).await.json());
    assert_eq!(collected.len(), all.len().min(20));
    while collected.len() < all.len() {
        let after = &collected[collected.len() - 1];
        let page = server.get(&format!("/v1/models?limit=7&after_id={after}")).await.json();
        collected.extend(ids(&page));
        assert_eq!(page["has_more"], collected.len() < all.len());
    }
    assert_eq!(collected, all);
    for query in ["limit=0", "limit=1001", "limit=abc", "after_id=nothing"] {
        let (status, kind, text) = server.get(&format!("/v1/models?{query}")).await.error();
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"), "{query}");
        assert!(query.starts_with(text.split(':').next().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn model_is_found_by_each_name() {
    let server = test_server().await;
    for id in [
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    ] {
        let model = server.get(&format!("/v1/models/{id}")).await.json();
        assert_eq!(model["id"], id.replace("%3A", ":"));
        assert_eq!(model["display_name"], "Claude Sonnet 4.5");
    }
    for id in ["gpt-4", "claude-opus-99", "a%20b", "%ff"] {
        let (status, ..) = server.get(&format!("/v1/models/{id}")).await.error();
        assert!([400, 404].contains(&status), "{id}");
    }
}
