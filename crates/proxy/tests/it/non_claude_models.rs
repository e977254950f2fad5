//! Models of other families than Claude, called by clients of the Messages API.

use serde_json::{Value, json};

use crate::harness::{message_body, test_server};

#[tokio::test]
async fn each_model_family_gets_its_request_fields() {
    let server = test_server().await;
    for (model, members, expected) in [
        ("us.amazon.nova-pro-v1:0", json!({"top_k": 5}), json!({"inferenceConfig": {"topK": 5}})),
        (
            "us.amazon.nova-2-lite-v1:0",
            json!({"output_config": {"effort": "low"}, "top_k": 1}),
            json!({"inferenceConfig": {"topK": 1}, "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        ),
        (
            "us.xai.grok-4.6",
            json!({"output_config": {"effort": "max"}, "thinking": {"type": "adaptive"}}),
            json!({"reasoning": {"effort": "high"}}),
        ),
        (
            "us.moonshotai.kimi-k3",
            json!({"thinking": {"type": "disabled"}}),
            json!({"reasoning": {"effort": "none"}}),
        ),
        (
            "moonshotai.kimi-k2.5",
            json!({"output_config": {"effort": "high"}}),
            json!({"reasoning_effort": "high"}),
        ),
        (
            "openai.gpt-oss-120b-1:0",
            json!({"thinking": {"type": "enabled", "budget_tokens": 9000}}),
            json!({"reasoning_effort": "high"}),
        ),
        (
            "deepseek.v3-v1:0",
            json!({"output_config": {"effort": "medium"}}),
            json!({"reasoning_config": "medium"}),
        ),
    ] {
        let mut body = message_body("Hello", false);
        body["model"] = model.into();
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let response = server.post(body.to_string()).await;
        assert_eq!(response.status, 200, "{model}: {}", response.body);
        let sent: Value = serde_json::from_slice(&server.bedrock.requests().pop().unwrap().body).unwrap();
        assert_eq!(sent["additionalModelRequestFields"], expected, "{model}");
    }
}

#[tokio::test]
async fn claude_code_request_works_with_every_family() {
    let server = test_server().await;
    for model in
        ["us.amazon.nova-pro-v1:0", "us.moonshotai.kimi-k3", "us.xai.grok-4.6", "us.deepseek.r1-v1:0"]
    {
        let mut body = message_body("Hello", true);
        body["model"] = model.into();
        body["max_tokens"] = json!(64_000);
        body["thinking"] = json!({"type": "adaptive"});
        body["output_config"] =
            json!({"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}});
        body["context_management"] = json!({"edits": [{"type": "clear_tool_uses_20250919"}]});
        body["metadata"] = json!({"user_id": "{\"device\":1}"});
        body["system"] = json!([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
        let response = server.post(body.to_string()).await;
        assert_eq!(response.status, 200, "{model}: {}", response.body);
        assert!(
            response.events().ends_with(&["message_delta", "message_stop"]),
            "{model}: {}",
            response.body
        );
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(notice.contains("output_config.format: left out"), "{notice}");
    }
}
