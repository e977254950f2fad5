//! One request with every field that gateways are known to lose, and the same request twice.

use serde_json::{Value, json};

use crate::harness::{TestServer, full, message_body, test_server};

const MODEL: &str = "claude-sonnet-4-6";
/// Order, numbers and escapes that do not survive being parsed and printed.
const SCHEMA: &str = r#"{"type":"object","properties":{"z":{"maximum":1.0,"minimum":1e3},"a":{"default":123456789012345678901234567890,"description":"\u00e9\n"}},"required":["z"]}"#;
const INPUT: &str = r#"{"z": 1.0, "b":[1e3,{"y":null,"x":""}]}"#;
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// The thinking that a model gave, as the client got it.
async fn thought(server: &TestServer) -> String {
    let mut body = message_body("[thinking] please", false);
    body["model"] = MODEL.into();
    body["max_tokens"] = json!(4000);
    body["thinking"] = json!({"type": "adaptive"});
    let response = server.post(body.to_string()).await.json();
    let thought = response["content"].as_array().unwrap().iter().find(|block| block["type"] == "thinking");
    thought.unwrap().to_string()
}

/// What Converse can carry.
fn everyday(thought: &str, more: &str) -> String {
    let marker = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
    format!(
        r#"{{"model":"{MODEL}","max_tokens":4000,"stream":true,"thinking":{{"type":"adaptive"}},"output_config":{{"effort":"low"}},
"system":[{{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1"}},{{"type":"text","text":"Be brief.",{marker}}}],
"tools":[{{"name":"zeta","description":"Z","input_schema":{SCHEMA}}},{{"name":"alpha","input_schema":{{"type":"object"}},{marker}}}],
"tool_choice":{{"type":"auto"}},"stop_sequences":["STOP"],"metadata":{{"user_id":"user-1"}},
"messages":[{{"role":"user","content":[{{"type":"text","text":"Look <a> & \u00e9."}},{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{PNG}"}}}}]}},
{{"role":"assistant","content":[{thought},{{"type":"text","text":"I look."}},{{"type":"tool_use","id":"toolu_1","name":"zeta","input":{INPUT}}},{{"type":"tool_use","id":"toolu_2","name":"alpha","input":{{}}}}]}},
{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":[{{"type":"text","text":"found"}},{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{PNG}"}}}}],{marker}}},{{"type":"tool_result","tool_use_id":"toolu_2","is_error":true,"content":"failed"}},{{"type":"text","text":"Go on.",{marker}}}]}}]{more}}}"#
    )
}

/// What only the client's own body can carry.
const MORE: &str = r#","context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}"#;

async fn send(server: &TestServer, body: &str) -> crate::harness::TestResponse {
    let request =
        http::Request::post("/v1/messages").header("anthropic-beta", "interleaved-thinking-2025-05-14");
    server.fetch(request.body(full(body.to_owned().into())).unwrap()).await
}

#[tokio::test]
async fn everything_arrives_by_converse() {
    let server = test_server().await;
    let thought = thought(&server).await;
    let response = send(&server, &everyday(&thought, "")).await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.headers["x-bedrock-proxy-route"], "converse");
    let raw = String::from_utf8(server.bedrock.requests().pop().unwrap().body.to_vec()).unwrap();
    let sent: Value = serde_json::from_str(&raw).unwrap();
    assert!(raw.contains(SCHEMA) && raw.contains(INPUT), "schemas and arguments keep every byte: {raw}");
    assert_eq!(raw.matches(r#""cachePoint":{"type":"default","ttl":"1h"}"#).count(), 4, "{raw}");
    let thought: Value = serde_json::from_str(&thought).unwrap();
    let reasoning = json!({"reasoningContent": {"reasoningText": {"text": thought["thinking"], "signature": thought["signature"]}}});
    assert_eq!(sent["messages"][1]["content"][0], reasoning);
    for (place, expected) in [
        ("/system/0/text", json!("x-anthropic-billing-header: cc_version=2.1")),
        ("/system/1/text", json!("Be brief.")),
        ("/toolConfig/tools/0/toolSpec/name", json!("zeta")),
        ("/toolConfig/tools/0/toolSpec/description", json!("Z")),
        ("/toolConfig/tools/1/toolSpec/name", json!("alpha")),
        ("/toolConfig/toolChoice", json!({"auto": {}})),
        ("/inferenceConfig", json!({"maxTokens": 4000, "stopSequences": ["STOP"]})),
        ("/requestMetadata/user_id", json!("user-1")),
        ("/additionalModelRequestFields/thinking", json!({"type": "adaptive"})),
        ("/additionalModelRequestFields/output_config", json!({"effort": "low"})),
        ("/messages/0/content/0/text", json!("Look <a> & é.")),
        ("/messages/0/content/1/image/source/bytes", json!(PNG)),
        ("/messages/1/content/1/text", json!("I look.")),
        ("/messages/1/content/2/toolUse/toolUseId", json!("toolu_1")),
        ("/messages/1/content/3/toolUse", json!({"toolUseId": "toolu_2", "name": "alpha", "input": {}})),
        ("/messages/2/content/0/toolResult/content/0/text", json!("found")),
        ("/messages/2/content/0/toolResult/content/1/image/source/bytes", json!(PNG)),
        ("/messages/2/content/2/toolResult/status", json!("error")),
        ("/messages/2/content/2/toolResult/content/0/text", json!("failed")),
        ("/messages/2/content/3/text", json!("Go on.")),
    ] {
        assert_eq!(sent.pointer(place), Some(&expected), "{place} of {raw}");
    }
}

#[tokio::test]
async fn invoke_body_keeps_the_client_bytes() {
    let server = test_server().await;
    let body = everyday(&thought(&server).await, MORE);
    let response = send(&server, &body).await;
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.headers["x-bedrock-proxy-route"], "invoke");
    let raw = String::from_utf8(server.bedrock.requests().pop().unwrap().body.to_vec()).unwrap();
    let (mut sent, requested): (Value, Value) =
        (serde_json::from_str(&raw).unwrap(), serde_json::from_str(&body).unwrap());
    let betas = sent.as_object_mut().unwrap().remove("anthropic_beta").unwrap();
    assert_eq!(betas, json!(["interleaved-thinking-2025-05-14", "context-management-2025-06-27"]));
    assert_eq!(sent.as_object_mut().unwrap().remove("anthropic_version"), Some(json!("bedrock-2023-05-31")));
    let mut requested = requested;
    for spelled_otherwise in ["model", "stream"] {
        requested.as_object_mut().unwrap().remove(spelled_otherwise);
    }
    assert_eq!(sent, requested);
    let kept = body.split_once(r#""stream":true,"#).unwrap().1;
    assert!(raw.ends_with(kept), "every byte behind the edits: {raw}");
}

#[tokio::test]
async fn equal_requests_send_equal_upstream_bytes() {
    let server = test_server().await;
    let thought = thought(&server).await;
    for more in ["", MORE] {
        let body = everyday(&thought, more);
        for _ in 0..2 {
            assert_eq!(send(&server, &body).await.status, 200);
        }
        let sent = server.bedrock.requests();
        let [.., first, second] = sent.as_slice() else { panic!("two requests") };
        assert_eq!((&first.path, &first.body), (&second.path, &second.body));
    }
}
