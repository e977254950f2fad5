#![allow(clippy::needless_pass_by_value, reason = "`json!` at every call reads better without a borrow")]

use serde_json::json;

use super::*;
use crate::issued::{seal, sealed_opaque};
use crate::models::find;

const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS: &str = "us.anthropic.claude-opus-5";
const NOVA: &str = "us.amazon.nova-pro-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const GPT: &str = "us.openai.gpt-5.6-sol";
const RED: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn refusal(model: &str, body: &Value) -> String {
    let (model, _) = find(model, "us-east-1").unwrap();
    converse(body, model, true).err().map_or_else(|| "accepted".to_owned(), |error| error.message)
}

fn user(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

/// A plain request with further members.
fn hello(members: Value) -> Value {
    let mut body = user(json!([{"text": "hi"}]));
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn amrf(fields: Value) -> Value {
    hello(json!({"additionalModelRequestFields": fields}))
}

fn config() -> Value {
    json!({"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]})
}

/// A conversation in which the assistant called tools and the user answered.
fn called(calls: Value, answer: Value) -> Value {
    json!({
        "messages": [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": answer},
        ],
        "toolConfig": config(),
    })
}

fn call(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "t", "input": {}}})
}

fn result(id: &str) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": [{"text": "ok"}]}})
}

#[track_caller]
fn assert_refused(model: &str, body: &Value, expected: &str) {
    let refusal = refusal(model, body);
    assert!(refusal.contains(expected), "{refusal}\nshould have contained\n{expected}\nfor {body}");
}

#[test]
fn shapes_are_refused_in_the_words_of_the_front_end() {
    let name = json!({"toolUse": {"toolUseId": "a", "name": "no spaces", "input": {}}});
    for (body, expected) in [
        (
            called(json!([name]), json!([result("a")])),
            "1 validation error detected: Value 'no spaces' at 'messages.2.member.content.1.member.toolUse.name' failed \
             to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+",
        ),
        (
            called(json!([call(&"x".repeat(65))]), json!([result("a")])),
            "toolUse.toolUseId' failed to satisfy constraint: Member must have length less than or equal to 64",
        ),
        (
            hello(json!({"inferenceConfig": {"temperature": 1.5}})),
            "Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than \
             or equal to 1",
        ),
        (
            hello(json!({"inferenceConfig": {"maxTokens": 0}})),
            "Member must have value greater than or equal to 1",
        ),
        (hello(json!({"model": "x"})), "Malformed input request: #: extraneous key [model] is not permitted"),
        (
            user(json!([{"text": "a", "type": "text"}])),
            "#/messages/0/content/0: extraneous key [type] is not permitted",
        ),
        (
            user(json!([{}])),
            "Value at 'messages.1.member.content.1.member' failed to satisfy constraint: Member must have exactly one of",
        ),
        (user(json!([{"text": "a", "cachePoint": {"type": "default"}}])), "Member must have exactly one of"),
        (
            user(json!("hi")),
            "Value 'hi' at 'messages.1.member.content' failed to satisfy constraint: Member must be of type list",
        ),
        (
            json!({"messages": [{"content": []}]}),
            "Value null at 'messages.1.member.role' failed to satisfy constraint: Member must not be null",
        ),
        (
            json!({"messages": [{"role": "tool", "content": []}]}),
            "Member must satisfy enum value set: [user, assistant, system]",
        ),
        (
            user(json!([{"image": {"format": "bmp", "source": {"bytes": RED}}}])),
            "Member must satisfy enum value set: [png, jpeg, gif, webp]",
        ),
        (
            user(json!([{"image": {"format": "png", "source": {"bytes": "%%%"}}}])),
            "Member must be valid base64",
        ),
        (hello(json!({"toolConfig": {"tools": []}})), "Member must have length greater than or equal to 1"),
        (
            hello(json!({"toolConfig": {"tools": config()["tools"], "toolChoice": "auto"}})),
            "'toolConfig.toolChoice' failed",
        ),
        (
            hello(json!({"inferenceConfig": {"temperature": 2, "topP": -1}})),
            "2 validation errors detected: Value '2' at 'inferenceConfig.temperature'",
        ),
    ] {
        assert_refused(SONNET, &body, expected);
    }
}

#[test]
fn turns_are_refused_in_the_words_of_converse() {
    let turn = |role: &str, text: &str| json!({"role": role, "content": [{"text": text}]});
    for (messages, expected) in [
        (json!([]), "A conversation must start with a user message."),
        (json!([turn("assistant", "hi")]), "A conversation must start with a user message."),
        (
            json!([turn("user", "a"), turn("user", "b")]),
            "A conversation must alternate between user and assistant roles",
        ),
        (
            json!([turn("user", "a"), turn("assistant", "b"), turn("user", " \n")]),
            "The text field in the ContentBlock object at messages.2.content.0 is blank. Add text to the text field, and \
             try again.",
        ),
        (
            json!([{"role": "user", "content": []}]),
            "The content field in the Message object at messages.0 is empty.",
        ),
        (
            json!([turn("user", "a"), turn("assistant", "Sure: ")]),
            "messages: final assistant content cannot end with trailing whitespace",
        ),
        (
            json!([turn("user", "a"), turn("system", "b"), turn("assistant", "c")]),
            "`system` is not supported",
        ),
    ] {
        assert_refused(SONNET, &json!({"messages": messages}), expected);
    }
    assert_refused(
        OPUS,
        &json!({"messages": [turn("user", "a"), turn("assistant", "b")]}),
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    );
    let system = json!({"messages": [turn("user", "a"), turn("system", "b"), turn("assistant", "c"), turn("user", "d")]});
    assert_eq!(refusal(OPUS, &system), "accepted");
    assert_eq!(
        refusal(SONNET, &json!({"messages": [turn("user", "a"), turn("assistant", "Sure:")]})),
        "accepted"
    );
}

#[test]
fn calls_and_results_must_pair() {
    assert_eq!(
        refusal(
            SONNET,
            &called(json!([call("a"), call("b")]), json!([result("b"), result("a"), {"text": "go"}]))
        ),
        "accepted"
    );
    for (body, expected) in [
        (
            called(json!([call("a"), call("b")]), json!([result("a")])),
            "Expected toolResult blocks at messages.2.content for the following Ids: b",
        ),
        (
            called(json!([call("a")]), json!([{"text": "never mind"}])),
            "Expected toolResult blocks at messages.2.content for the following Ids: a",
        ),
        (
            called(json!([call("a")]), json!([result("a"), result("b")])),
            "The number of toolResult blocks at messages.2.content exceeds the number of toolUse blocks of previous turn.",
        ),
        (
            called(json!([call("a"), call("a")]), json!([result("a"), result("a")])),
            "`tool_use` ids must be unique",
        ),
        (
            called(json!([call("a")]), json!([{"text": "first"}, result("a")])),
            "`tool_use` ids were found without `tool_result` blocks immediately after: a",
        ),
        (
            called(json!([{"toolUse": {"toolUseId": "a", "name": "t", "input": ""}}]), json!([result("a")])),
            "The value at messages.1.content.0.toolUse.input is empty.",
        ),
        (
            called(
                json!([{"toolUse": {"toolUseId": "a", "name": "t", "input": null}}]),
                json!([result("a")]),
            ),
            "The value at messages.1.content.0.toolUse.input is empty.",
        ),
        (
            called(
                json!([{"toolUse": {"toolUseId": "a", "name": "t", "input": "{}"}}]),
                json!([result("a")]),
            ),
            "The format of the value at messages.1.content.0.toolUse.input is invalid.",
        ),
        (user(json!([call("a")])), "`tool_use` blocks can only be in `assistant` messages"),
        (user(json!([result("a")])), "The number of toolResult blocks at messages.0.content exceeds"),
    ] {
        assert_refused(SONNET, &body, expected);
    }
    let mut body = called(json!([call("a")]), json!([result("a")]));
    body.as_object_mut().unwrap().remove("toolConfig");
    assert_refused(
        SONNET,
        &body,
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    );
}

#[test]
fn tools_are_refused_by_models_that_lack_them() {
    let with = |choice: Value| {
        let mut config = config();
        config["toolChoice"] = choice;
        hello(json!({"toolConfig": config}))
    };
    assert_refused(
        LLAMA,
        &hello(json!({"toolConfig": config()})),
        "This model doesn't support tool use in streaming mode.",
    );
    assert_refused(SONNET, &with(json!({"tool": {"name": "x"}})), "Tool 'x' not found in provided tools");
    assert_refused(
        GPT,
        &with(json!({"tool": {"name": "t"}})),
        "This model doesn't support the toolConfig.toolChoice.tool field.",
    );
    assert_refused("us.anthropic.claude-opus-5-5", &with(json!({"any": {}})), "toolChoice.any");
    assert_eq!(refusal(SONNET, &with(json!({"any": {}}))), "accepted");
    let twice = json!({"tools": [config()["tools"][0], config()["tools"][0]]});
    assert_refused(SONNET, &hello(json!({"toolConfig": twice})), "Tool names must be unique.");
    let untyped = json!({"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}]});
    assert_refused(
        SONNET,
        &hello(json!({"toolConfig": untyped})),
        "tools.0.custom.input_schema.type: Field required",
    );
    let strict = json!({"tools": [{"toolSpec": {"name": "t", "strict": true, "inputSchema": {"json": {"type": "object"}}}}]});
    assert_refused(
        OPUS,
        &hello(json!({"toolConfig": strict})),
        "tools.0.custom.strict: Extra inputs are not permitted",
    );
    let system = json!({"tools": [{"systemTool": {"name": "nova_grounding"}}]});
    assert_refused(
        SONNET,
        &hello(json!({"toolConfig": system})),
        "This model doesn't support the systemTool field",
    );
}

#[test]
fn cache_points_are_counted_ordered_and_refused() {
    let point = json!({"cachePoint": {"type": "default"}});
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    let five: Vec<Value> = (0..5).flat_map(|n| [json!({"text": format!("{n}")}), point.clone()]).collect();
    assert_refused(
        SONNET,
        &user(five.into()),
        "The model returned the following errors: A maximum of 4 blocks with cache_control may be provided. Found 5.",
    );
    assert_refused(
        SONNET,
        &user(json!([{"text": "a"}, point, {"text": "b"}, hour])),
        "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block",
    );
    assert_eq!(refusal(SONNET, &user(json!([{"text": "a"}, hour, {"text": "b"}, point]))), "accepted");
    assert_refused(
        GPT,
        &user(json!([{"text": "a"}, point])),
        "This model doesn't support the cachePoint field. Remove cachePoint and try again.",
    );
    assert_refused(
        NOVA,
        &called(json!([call("a")]), json!([result("a"), point])),
        "extraneous key [cachePoint] is not permitted",
    );
    assert_eq!(refusal(NOVA, &user(json!([{"text": "a"}, point]))), "accepted");
    assert_refused(NOVA, &user(json!([{"text": "a"}, hour])), "cachePoint.ttl");
}

#[test]
fn media_are_refused_where_they_do_not_belong() {
    let image = |format: &str| json!({"image": {"format": format, "source": {"bytes": RED}}});
    assert_eq!(refusal(SONNET, &user(json!([{"text": "a"}, image("png")]))), "accepted");
    assert_refused(
        SONNET,
        &user(json!([image("jpeg")])),
        "Image does not match the provided media type image/jpeg",
    );
    assert_refused(
        LLAMA,
        &user(json!([{"document": {"name": "a", "source": {"text": "x"}}}])),
        "This model doesn't support the document field.",
    );
    let answer = json!({"messages": [
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [image("png")]},
        {"role": "user", "content": [{"text": "a"}]},
    ]});
    assert_refused(SONNET, &answer, "`image` blocks can only be in `user` messages");
    let document = |name: &str| json!({"document": {"name": name, "format": "txt", "source": {"text": "x"}}});
    assert_refused(
        SONNET,
        &user(json!([{"text": "a"}, document("n"), document("n")])),
        "Messages can not contain duplicate document names",
    );
    assert_refused(
        SONNET,
        &user(json!([{"text": "a"}, document("a.txt")])),
        "The document file name can only contain",
    );
    assert_refused(
        SONNET,
        &user(json!([{"text": "a"}, document("a  b")])),
        "The document file name can only contain",
    );
    assert_refused(SONNET, &user(json!([document("a")])), "A text block is required");
    let many: Vec<Value> = (0..21).map(|_| image("png")).collect();
    assert_refused(SONNET, &user(many.into()), "too many images");
}

#[test]
fn each_generation_refuses_the_other_ones_fields() {
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 2048}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    for (model, body, expected) in [
        (OPUS, amrf(enabled.clone()), "\"thinking.type.enabled\" is not supported for this model"),
        (SONNET, amrf(adaptive.clone()), "adaptive thinking is not supported on this model"),
        (
            "us.anthropic.claude-opus-5-5",
            amrf(json!({"thinking": {"type": "disabled"}})),
            "\"thinking.type.disabled\" is not",
        ),
        (
            SONNET,
            amrf(json!({"thinking": {"type": "enabled", "budget_tokens": 1000}})),
            "greater than or equal to 1024",
        ),
        (
            SONNET,
            amrf(json!({"speed": "fast"})),
            "The model returned the following errors: speed: Extra inputs are not permitted",
        ),
        (
            NOVA,
            amrf(json!({"top_k": 5})),
            "#: extraneous key [top_k] is not permitted, please reformat your input and try again.",
        ),
        (SONNET, amrf(json!({"anthropic_beta": ["prompt-caching-scope-2026-01-05"]})), "invalid beta flag"),
        (
            SONNET,
            amrf(json!({"output_config": {"effort": "high"}})),
            "This model does not support the effort parameter.",
        ),
        (
            OPUS,
            amrf(json!({"output_config": {"format": {}}})),
            "output_config.format: Extra inputs are not permitted",
        ),
        (
            OPUS,
            amrf(json!({"metadata": {"user_id": "{\"a\":1}"}})),
            "Request metadata contains a value that violates the regular expression",
        ),
        (
            OPUS,
            hello(json!({"inferenceConfig": {"temperature": 0.5}})),
            "`temperature` is deprecated for this model.",
        ),
        (OPUS, amrf(json!({"top_k": 5})), "`top_k` is deprecated for this model."),
        (
            SONNET,
            hello(json!({"inferenceConfig": {"temperature": 0.5, "topP": 0.5}})),
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ),
        (
            SONNET,
            hello(json!({"inferenceConfig": {"maxTokens": 64001}})),
            "The maximum tokens you requested exceeds the model limit of 64000. Try again with a maximum tokens value that \
             is lower than 64000.",
        ),
        (
            SONNET,
            hello(json!({"requestMetadata": {"user": "\u{fc}ber"}})),
            "Request metadata contains a value",
        ),
        (
            GPT,
            hello(json!({"inferenceConfig": {"stopSequences": ["x"]}})),
            "This model doesn't support the stopSequences field.",
        ),
        (SONNET, hello(json!({"requestMetadata": {}})), "Request metadata contains a value"),
        (OPUS, hello(json!({"outputConfig": {"effort": "extreme"}})), "output_config.effort"),
        (SONNET, hello(json!({"additionalModelResponseFieldPaths": ["stop"]})), "not a valid JSON Pointer"),
    ] {
        assert_refused(model, &body, expected);
    }
    let mut forced = amrf(enabled.clone());
    forced["toolConfig"] = config();
    forced["toolConfig"]["toolChoice"] = json!({"any": {}});
    assert_refused(SONNET, &forced, "Thinking may not be enabled when tool_choice forces tool use.");
    let mut history = called(json!([{"text": "let me"}, call("a")]), json!([result("a")]));
    history["additionalModelRequestFields"] = enabled.clone();
    assert_refused(
        SONNET,
        &history,
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`",
    );
    for (model, body) in [
        (OPUS, amrf(adaptive)),
        (SONNET, amrf(enabled)),
        (SONNET, amrf(json!({"anthropic_beta": ["context-1m-2025-08-07"], "top_k": 5}))),
        (OPUS, amrf(json!({"output_config": {"effort": "xhigh"}}))),
        (NOVA, amrf(json!({"inferenceConfig": {"topK": 1}}))),
        (SONNET, hello(json!({"requestMetadata": {"user": "a b@c"}, "serviceTier": {"type": "flex"}}))),
    ] {
        assert_eq!(refusal(model, &body), "accepted", "{body}");
    }
}

#[test]
fn null_members_are_as_good_as_absent() {
    let mut body = user(json!([{"text": "hi", "toolUse": null, "image": null}]));
    drop_nulls(&mut body);
    assert_eq!(body, user(json!([{"text": "hi"}])));
}

#[test]
fn thinking_must_come_back_as_it_was_issued() {
    let replay = |reasoning: Value| {
        json!({"messages": [
            {"role": "user", "content": [{"text": "a"}]},
            {"role": "assistant", "content": [{"reasoningContent": reasoning}, {"text": "b"}]},
            {"role": "user", "content": [{"text": "c"}]},
        ]})
    };
    let thought =
        |text: &str, signature: &str| json!({"reasoningText": {"text": text, "signature": signature}});
    let data = BASE64.encode(sealed_opaque(1));
    assert_eq!(refusal(SONNET, &replay(thought("hm", &seal("hm")))), "accepted");
    assert_eq!(refusal(SONNET, &replay(json!({"redactedContent": data}))), "accepted");
    assert_refused(
        SONNET,
        &replay(thought("altered", &seal("hm"))),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    );
    assert_refused(
        SONNET,
        &replay(json!({"reasoningText": {"text": "hm"}})),
        "messages.1.content.0.thinking.signature: Field required",
    );
    assert_refused(
        SONNET,
        &replay(json!({"redactedContent": "aGk="})),
        "Invalid `data` in `redacted_thinking` block",
    );
}

#[test]
fn invoke_refuses_in_the_words_of_anthropic() {
    let plain = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let with = |name: &str, value: Value| {
        let mut body = plain.clone();
        body[name] = value;
        body
    };
    let refusal = |body: &Value| {
        let (model, _) = find(SONNET, "us-east-1").unwrap();
        invoke(body, model)
            .err()
            .map_or_else(|| "accepted".to_owned(), |error| error.without_model_prefix().message)
    };
    assert_eq!(refusal(&plain), "accepted");
    let marked =
        json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "scope": "global"}}]);
    for (body, expected) in [
        (with("anthropic_version", Value::Null), "anthropic_version: Field required"),
        (with("max_tokens", Value::Null), "max_tokens: Field required"),
        (with("stream", json!(true)), "stream: Extra inputs are not permitted"),
        (with("model", json!("x")), "model: Extra inputs are not permitted"),
        (with("context_management", json!({})), "context_management: Extra inputs are not permitted"),
        (with("anthropic_beta", json!(["thinking-token-count-2026-05-13"])), "invalid beta flag"),
        (
            with("system", marked),
            "system.0.text.cache_control.ephemeral.scope: Extra inputs are not permitted",
        ),
        (
            with("messages", json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])),
            "messages: text content blocks must be non-empty",
        ),
        (
            with(
                "messages",
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]),
            ),
            "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: x. Each `tool_result` block must \
             have a corresponding `tool_use` block in the previous message.",
        ),
    ] {
        assert_eq!(refusal(&body), expected);
    }
}

#[test]
fn tokens_are_counted_for_bare_ids_of_older_claudes_only() {
    let body = json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hello there"}]}]}}});
    let native = BASE64.encode(
        r#"{"anthropic_version":"x","max_tokens":1,"messages":[{"role":"user","content":"hello there"}]}"#,
    );
    let native = json!({"input": {"invokeModel": {"body": native}}});
    let count = |id: &str, body: &Value| {
        let (model, form) = find(id, "us-east-1").unwrap();
        count_tokens(body, model, form)
    };
    assert!(count("anthropic.claude-sonnet-4-5-20250929-v1:0", &body).unwrap() > 3);
    assert!(count("anthropic.claude-sonnet-4-5-20250929-v1:0", &native).unwrap() > 3);
    for id in [SONNET, "anthropic.claude-opus-5", "amazon.nova-pro-v1:0"] {
        assert_eq!(
            count(id, &body).unwrap_err().message,
            "The provided model doesn't support counting tokens"
        );
    }
}

#[test]
fn a_prompt_may_not_be_longer_than_the_context() {
    let (model, _) = find(SONNET, "us-east-1").unwrap();
    let error = context(206_456, &json!({}), model).unwrap_err();
    assert!(error.message.ends_with("prompt is too long: 206456 tokens > 200000 maximum"));
    assert!(context(206_456, &json!({"anthropic_beta": ["context-1m-2025-08-07"]}), model).is_ok());
}
