//! Converse: rules of each model.

use super::*;

const FABLE_52: &str = "us.anthropic.claude-fable-5-2";

fn format() -> Value {
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false}).to_string();
    json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}})
}

#[test]
fn citations_are_for_claude_only() {
    let document =
        json!({"document": {"name": "a", "source": {"text": "x"}, "citations": {"enabled": true}}});
    assert_eq!(rejection(SONNET, &user(json!([{"text": "a"}, document]))), "accepted");
    assert_rejected(NOVA, &user(json!([{"text": "a"}, document])), "the document.citations field");
}

#[test]
fn system_messages_contain_text_and_tool_changes() {
    let with = |block: Value| {
        json!({"messages": [
            {"role": "user", "content": [{"text": "a"}]},
            {"role": "system", "content": [block]},
            {"role": "assistant", "content": [{"text": "b"}]},
            {"role": "user", "content": [{"text": "c"}]},
        ]})
    };
    let addition = json!({"toolAddition": {"tool": {"type": "tool_reference", "name": "t"}}});
    assert_eq!(rejection(OPUS, &with(addition.clone())), "accepted");
    let image = json!({"image": {"format": "png", "source": {"bytes": RED}}});
    assert_rejected(OPUS, &with(image), "can only");
    assert_rejected(OPUS, &user(json!([{"text": "a"}, addition])), "blocks can only be in `system` messages");
}

#[test]
fn models_without_tools_reject_them() {
    let with = |choice: Value| {
        let mut config = config();
        config["toolChoice"] = choice;
        request_with(json!({"toolConfig": config}))
    };
    assert_rejected(
        LLAMA,
        &request_with(json!({"toolConfig": config()})),
        "This model doesn't support tool use in streaming mode.",
    );
    assert_rejected(SONNET, &with(json!({"tool": {"name": "x"}})), "Tool 'x' not found in provided tools");
    assert_rejected(
        GPT,
        &with(json!({"tool": {"name": "t"}})),
        "This model doesn't support the toolConfig.toolChoice.tool field.",
    );
    assert_rejected("us.anthropic.claude-opus-5-5", &with(json!({"any": {}})), "toolChoice.any");
    assert_eq!(rejection(SONNET, &with(json!({"any": {}}))), "accepted");
    assert_rejected(
        LLAMA,
        &with(json!({"auto": {}})),
        "This model doesn't support tool use in streaming mode.",
    );
    let (llama, _) = find(LLAMA, "us-east-1").unwrap();
    assert!(converse(&request_with(json!({"toolConfig": config()})), llama, false).is_ok());
    let error = converse(&with(json!({"auto": {}})), llama, false).unwrap_err();
    assert!(error.message.starts_with("This model doesn't support the toolConfig.toolChoice field."));
    let twice = json!({"tools": [config()["tools"][0], config()["tools"][0]]});
    assert_rejected(SONNET, &request_with(json!({"toolConfig": twice})), "Tool names must be unique.");
    let untyped = json!({"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}]});
    assert_rejected(
        SONNET,
        &request_with(json!({"toolConfig": untyped})),
        "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object.",
    );
    let strict = json!({"tools": [{"toolSpec": {"name": "t", "strict": true, "inputSchema": {"json": {"type": "object"}}}}]});
    assert_rejected(
        OPUS,
        &request_with(json!({"toolConfig": strict})),
        "tools.0.custom.strict: Extra inputs are not permitted",
    );
    let system = json!({"tools": [{"systemTool": {"name": "nova_grounding"}}]});
    assert_rejected(
        SONNET,
        &request_with(json!({"toolConfig": system})),
        "This model doesn't support the systemTool field",
    );
}

#[test]
fn cache_points_are_limited_and_ordered() {
    let point = json!({"cachePoint": {"type": "default"}});
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    let five: Vec<Value> = (0..5).flat_map(|n| [json!({"text": format!("{n}")}), point.clone()]).collect();
    assert_rejected(
        SONNET,
        &user(five.into()),
        "The model returned the following errors: A maximum of 4 blocks with cache_control may be provided. Found 5.",
    );
    assert_rejected(
        SONNET,
        &user(json!([{"text": "a"}, point, {"text": "b"}, hour])),
        "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
    );
    assert_eq!(rejection(SONNET, &user(json!([{"text": "a"}, hour, {"text": "b"}, point]))), "accepted");
    assert_rejected(
        GPT,
        &user(json!([{"text": "a"}, point])),
        "This model doesn't support the cachePoint field. Remove cachePoint and try again.",
    );
    assert_rejected(
        NOVA,
        &conversation_with_calls(json!([call("a")]), json!([result("a"), point])),
        "extraneous key [cachePoint] is not permitted",
    );
    assert_eq!(rejection(NOVA, &user(json!([{"text": "a"}, point]))), "accepted");
    assert_rejected(NOVA, &user(json!([{"text": "a"}, hour])), "cachePoint.ttl");
    let mut tools = config();
    tools["tools"].as_array_mut().unwrap().push(point);
    assert_rejected(NOVA, &request_with(json!({"toolConfig": tools})), "toolConfig.tools.cachePoint");
    assert_eq!(rejection(SONNET, &request_with(json!({"toolConfig": tools}))), "accepted");
}

#[test]
fn misplaced_media_are_rejected() {
    let image = |format: &str| json!({"image": {"format": format, "source": {"bytes": RED}}});
    assert_eq!(rejection(SONNET, &user(json!([{"text": "a"}, image("png")]))), "accepted");
    assert_rejected(
        SONNET,
        &user(json!([image("jpeg")])),
        "Image does not match the provided media type image/jpeg",
    );
    assert_rejected(
        LLAMA,
        &user(json!([{"document": {"name": "a", "source": {"text": "x"}}}])),
        "This model doesn't support the document field.",
    );
    let conversation = json!({"messages": [
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [image("png")]},
        {"role": "user", "content": [{"text": "a"}]},
    ]});
    assert_rejected(SONNET, &conversation, "`image` blocks can only be in `user` messages");
    let document = |name: &str| json!({"document": {"name": name, "format": "txt", "source": {"text": "x"}}});
    assert_rejected(
        SONNET,
        &user(json!([{"text": "a"}, document("n"), document("n")])),
        "Messages can not contain duplicate document names",
    );
    assert_rejected(
        SONNET,
        &user(json!([{"text": "a"}, document("a.txt")])),
        "The document file name can only contain",
    );
    assert_rejected(
        SONNET,
        &user(json!([{"text": "a"}, document("a  b")])),
        "The document file name can only contain",
    );
    assert_rejected(SONNET, &user(json!([document("a")])), "A text block is required");
    let many: Vec<Value> = (0..21).map(|_| image("png")).collect();
    assert_rejected(SONNET, &user(many.into()), "too many images");
}

#[test]
fn each_claude_version_has_its_own_fields() {
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    for (model, body, expected) in [
        (
            OPUS,
            additional_fields(enabled.clone()),
            "\"thinking.type.enabled\" is not supported for this model",
        ),
        (SONNET, additional_fields(adaptive.clone()), "adaptive thinking is not supported on this model"),
        (
            "us.anthropic.claude-opus-5-5",
            additional_fields(json!({"thinking": {"type": "disabled"}})),
            "\"thinking.type.disabled\" is not",
        ),
        (
            SONNET,
            additional_fields(json!({"thinking": {"type": "enabled", "budget_tokens": 1000}})),
            "greater than or equal to 1024",
        ),
        (
            SONNET,
            additional_fields(json!({"speed": "fast"})),
            "The model returned the following errors: speed: Extra inputs are not permitted",
        ),
        (
            NOVA,
            additional_fields(json!({"top_k": 5})),
            "#: extraneous key [top_k] is not permitted, please reformat your input and try again.",
        ),
        (
            SONNET,
            additional_fields(json!({"anthropic_beta": ["prompt-caching-scope-2026-01-05"]})),
            "invalid beta flag",
        ),
        (
            SONNET,
            additional_fields(json!({"anthropic_beta": ["context-management-2025-06-27"]})),
            "invalid beta flag",
        ),
        (
            SONNET,
            additional_fields(json!({"anthropic_beta": ["effort-2025-11-24", "novel-2027-01-01"]})),
            "invalid beta flag",
        ),
        (
            SONNET,
            additional_fields(json!({"output_config": {"effort": "high"}})),
            "This model does not support the effort parameter.",
        ),
        (
            OPUS,
            additional_fields(json!({"output_config": {"format": {}}})),
            "output_config.format: Extra inputs are not permitted",
        ),
        (
            OPUS,
            additional_fields(json!({"metadata": {"user_id": "{\"a\":1}"}})),
            "Request metadata contains a value that violates the regular expression",
        ),
        (
            OPUS,
            request_with(json!({"inferenceConfig": {"temperature": 0.5}})),
            "`temperature` is deprecated for this model.",
        ),
        (OPUS, additional_fields(json!({"top_k": 5})), "`top_k` is deprecated for this model."),
        (FABLE_52, additional_fields(json!({"top_k": 5})), "`top_k` is deprecated for this model."),
        (
            FABLE_52,
            request_with(json!({"inferenceConfig": {"temperature": 0.9}})),
            "`temperature` is deprecated for this model.",
        ),
        (
            FABLE_52,
            request_with(json!({"inferenceConfig": {"topP": 1.0}})),
            "`top_p` is deprecated for this model.",
        ),
        (
            FABLE_52,
            request_with(json!({"inferenceConfig": {"temperature": 1.0, "topP": 0.99}})),
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ),
        (
            SONNET,
            request_with(json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.5}})),
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ),
        (
            SONNET,
            request_with(json!({"inferenceConfig": {"maxTokens": 64001}})),
            "The maximum tokens you requested exceeds the model limit of 64000. Try again with a maximum tokens value that \
             is lower than 64000.",
        ),
        (
            SONNET,
            request_with(json!({"requestMetadata": {"user": "\u{fc}ber"}})),
            "Request metadata contains a value",
        ),
        (
            GPT,
            request_with(json!({"inferenceConfig": {"stopSequences": ["x"]}})),
            "This model doesn't support the stopSequences field.",
        ),
        (SONNET, request_with(json!({"requestMetadata": {}})), "Request metadata contains a value"),
        (OPUS, request_with(json!({"outputConfig": {"effort": "extreme"}})), "output_config.effort"),
        (
            OPUS,
            request_with(json!({"outputConfig": format()})),
            "output_config.format: Extra inputs are not permitted",
        ),
        (LLAMA, request_with(json!({"outputConfig": {"effort": "low"}})), "the outputConfig.effort field"),
        (
            SONNET,
            additional_fields(json!({"anthropic_beta": "context-1m-2025-08-07"})),
            "Input should be a valid list",
        ),
        (
            SONNET,
            additional_fields(json!({"anthropic_beta": [1]})),
            "anthropic_beta.0: Input should be a valid string",
        ),
        (
            "us.anthropic.claude-haiku-5-5",
            additional_fields(json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}})),
            "is not supported for this model when output_config.effort is 'max'",
        ),
        (OPUS, additional_fields(json!({"thinking": {"type": "between_tools"}})), "between_tools"),
        (
            OPUS,
            additional_fields(json!({"thinking": {"type": "adaptive", "budget_tokens": 2048}})),
            "thinking.adaptive.budget_tokens",
        ),
        (
            OPUS,
            additional_fields(json!({"thinking": {"type": "adaptive", "display": "full"}})),
            "thinking.adaptive.display",
        ),
        (
            OPUS,
            additional_fields(json!({"metadata": {"team": "a"}})),
            "metadata.team: Extra inputs are not permitted",
        ),
        (
            OPUS,
            additional_fields(json!({"context_management": {}})),
            "context_management: Extra inputs are not permitted",
        ),
        (
            SONNET,
            request_with(json!({"additionalModelResponseFieldPaths": ["stop"]})),
            "not a valid JSON Pointer",
        ),
    ] {
        assert_rejected(model, &body, expected);
    }
    let mut forces_tool = additional_fields(enabled.clone());
    forces_tool["toolConfig"] = config();
    forces_tool["toolConfig"]["toolChoice"] = json!({"any": {}});
    assert_rejected(SONNET, &forces_tool, "Thinking may not be enabled when tool_choice forces tool use.");
    let mut history = conversation_with_calls(json!([{"text": "let me"}, call("a")]), json!([result("a")]));
    history["additionalModelRequestFields"] = enabled.clone();
    assert_rejected(
        SONNET,
        &history,
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`",
    );
    for (model, body) in [
        (OPUS, additional_fields(adaptive)),
        (FABLE_52, request_with(json!({"inferenceConfig": {"temperature": 1.0}}))),
        (FABLE_52, request_with(json!({"inferenceConfig": {"topP": 0.99}}))),
        (SONNET, additional_fields(enabled)),
        (SONNET, additional_fields(json!({"anthropic_beta": ["context-1m-2025-08-07"], "top_k": 5}))),
        (OPUS, additional_fields(json!({"output_config": {"effort": "xhigh"}}))),
        (NOVA, additional_fields(json!({"inferenceConfig": {"topK": 1}}))),
        (SONNET, request_with(json!({"outputConfig": format()}))),
        (NOVA, request_with(json!({"outputConfig": format()}))),
        (OPUS, request_with(json!({"outputConfig": {"effort": "max"}}))),
        (OPUS, additional_fields(json!({"thinking": {"type": "adaptive", "display": "summarized"}}))),
        ("us.anthropic.claude-sonnet-5-5", additional_fields(json!({"thinking": {"type": "between_tools"}}))),
        (
            SONNET,
            request_with(json!({"requestMetadata": {"user": "a b@c"}, "serviceTier": {"type": "flex"}})),
        ),
    ] {
        assert_eq!(rejection(model, &body), "accepted", "{body}");
    }
}

#[test]
fn other_vendors_have_their_own_errors() {
    let image = json!({"image": {"format": "png", "source": {"bytes": RED}}});
    let shown = json!({"toolResult": {"toolUseId": "a", "content": [image]}});
    for (model, body, expected) in [
        (GPT, request_with(json!({"inferenceConfig": {"temperature": 0.5}})), "the temperature field"),
        (GPT, request_with(json!({"inferenceConfig": {"maxTokens": 15}})), "below the model minimum of 16"),
        (
            "us.openai.gpt-6-sol",
            request_with(json!({"inferenceConfig": {"maxTokens": 1}})),
            "below the model minimum of 16",
        ),
        (
            "us.xai.grok-4.7",
            request_with(json!({"inferenceConfig": {"maxTokens": 15}})),
            "below the model minimum of 16",
        ),
        (
            "us.openai.gpt-6.1-terra",
            additional_fields(json!({"thinking": {"type": "adaptive"}})),
            "extraneous key [thinking] is not permitted",
        ),
        (
            "us.xai.grok-4.6",
            additional_fields(json!({"thinking": {"type": "disabled"}})),
            "extraneous key [thinking] is not permitted",
        ),
        (
            GPT,
            conversation_with_calls(json!([call("a")]), json!([shown])),
            "the toolResult.content.image field",
        ),
        (
            LLAMA,
            additional_fields(json!({"thinking": {"type": "adaptive"}})),
            "extraneous key [thinking] is not permitted",
        ),
        (
            "us.deepseek.r1-v1:0",
            additional_fields(json!({"reasoning_effort": "low"})),
            "extraneous key [reasoning_effort] is not permitted",
        ),
    ] {
        assert_rejected(model, &body, expected);
    }
    assert_eq!(rejection(NOVA, &conversation_with_calls(json!([call("a")]), json!([shown]))), "accepted");
    let redacted = json!({"messages": [
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [{"reasoningContent": {"redactedContent": "aGk="}}, {"text": "b"}]},
        {"role": "user", "content": [{"text": "c"}]},
    ]});
    assert_rejected(NOVA, &redacted, "the reasoningContent.redactedContent field");
}
