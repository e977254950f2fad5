#![allow(clippy::needless_pass_by_value, reason = "`json!` at every call reads better without a borrow")]

use serde_json::json;

mod anthropic;
mod anthropic_conversation;
mod anthropic_models;
mod models;
mod output_schema;

use super::*;
use crate::models::find;
use crate::signatures::{redacted_data, sign};

const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const OPUS: &str = "us.anthropic.claude-opus-5";
const NOVA: &str = "us.amazon.nova-pro-v1:0";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const GPT: &str = "us.openai.gpt-5.6-sol";
const RED: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn rejection(model: &str, body: &Value) -> String {
    let (model, _) = find(model, "us-east-1").unwrap();
    converse(body, model, true).err().map_or_else(|| "accepted".to_owned(), |error| error.message)
}

fn user(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

/// A minimal request with further members.
fn request_with(members: Value) -> Value {
    let mut body = user(json!([{"text": "hi"}]));
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn additional_fields(fields: Value) -> Value {
    request_with(json!({"additionalModelRequestFields": fields}))
}

fn config() -> Value {
    json!({"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]})
}

/// A conversation with tool calls and the user's next message.
fn conversation_with_calls(calls: Value, next: Value) -> Value {
    json!({
        "messages": [
            {"role": "user", "content": [{"text": "hi"}]},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": next},
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
fn assert_rejected(model: &str, body: &Value, expected: &str) {
    let rejection = rejection(model, body);
    assert!(rejection.contains(expected), "{rejection}\nshould have contained\n{expected}\nfor {body}");
}

#[test]
fn invalid_shapes_have_front_end_messages() {
    let name = json!({"toolUse": {"toolUseId": "a", "name": "no spaces", "input": {}}});
    for (body, expected) in [
        (
            conversation_with_calls(json!([name]), json!([result("a")])),
            "1 validation error detected: Value 'no spaces' at 'messages.2.member.content.1.member.toolUse.name' failed \
             to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+",
        ),
        (
            conversation_with_calls(json!([call(&"x".repeat(65))]), json!([result("a")])),
            "toolUse.toolUseId' failed to satisfy constraint: Member must have length less than or equal to 64",
        ),
        (
            request_with(json!({"inferenceConfig": {"temperature": 1.5}})),
            "Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than \
             or equal to 1",
        ),
        (
            request_with(json!({"inferenceConfig": {"maxTokens": 0}})),
            "Member must have value greater than or equal to 1",
        ),
        (
            request_with(json!({"model": "x"})),
            "Malformed input request: #: extraneous key [model] is not permitted",
        ),
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
        (
            request_with(json!({"toolConfig": {"tools": []}})),
            "Member must have length greater than or equal to 1",
        ),
        (
            request_with(json!({"toolConfig": {"tools": config()["tools"], "toolChoice": "auto"}})),
            "'toolConfig.toolChoice' failed",
        ),
        (
            request_with(json!({"inferenceConfig": {"temperature": 2, "topP": -1}})),
            "2 validation errors detected: Value '2' at 'inferenceConfig.temperature'",
        ),
    ] {
        assert_rejected(SONNET, &body, expected);
    }
}

#[test]
fn invalid_turns_have_converse_messages() {
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
        assert_rejected(SONNET, &json!({"messages": messages}), expected);
    }
    assert_rejected(
        OPUS,
        &json!({"messages": [turn("user", "a"), turn("assistant", "b")]}),
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    );
    let system = json!({"messages": [turn("user", "a"), turn("system", "b"), turn("assistant", "c"), turn("user", "d")]});
    assert_eq!(rejection(OPUS, &system), "accepted");
    assert_eq!(
        rejection(SONNET, &json!({"messages": [turn("user", "a"), turn("assistant", "Sure:")]})),
        "accepted"
    );
}

#[test]
fn tool_calls_must_pair_with_results() {
    assert_eq!(
        rejection(
            SONNET,
            &conversation_with_calls(
                json!([call("a"), call("b")]),
                json!([result("b"), result("a"), {"text": "go"}])
            )
        ),
        "accepted"
    );
    for (body, expected) in [
        (
            conversation_with_calls(json!([call("a"), call("b")]), json!([result("a")])),
            "Expected toolResult blocks at messages.2.content for the following Ids: b",
        ),
        (
            conversation_with_calls(json!([call("a")]), json!([{"text": "never mind"}])),
            "Expected toolResult blocks at messages.2.content for the following Ids: a",
        ),
        (
            conversation_with_calls(json!([call("a")]), json!([result("a"), result("b")])),
            "The number of toolResult blocks at messages.2.content exceeds the number of toolUse blocks of previous turn.",
        ),
        (
            conversation_with_calls(json!([call("a"), call("a")]), json!([result("a"), result("a")])),
            "`tool_use` ids must be unique",
        ),
        (
            conversation_with_calls(json!([call("a")]), json!([{"text": "first"}, result("a")])),
            "`tool_use` ids were found without `tool_result` blocks immediately after: a",
        ),
        (
            conversation_with_calls(
                json!([{"toolUse": {"toolUseId": "a", "name": "t", "input": ""}}]),
                json!([result("a")]),
            ),
            "The value at messages.1.content.0.toolUse.input is empty.",
        ),
        (
            conversation_with_calls(
                json!([{"toolUse": {"toolUseId": "a", "name": "t", "input": null}}]),
                json!([result("a")]),
            ),
            "The value at messages.1.content.0.toolUse.input is empty.",
        ),
        (
            conversation_with_calls(
                json!([{"toolUse": {"toolUseId": "a", "name": "t", "input": "{}"}}]),
                json!([result("a")]),
            ),
            "The format of the value at messages.1.content.0.toolUse.input is invalid.",
        ),
        (user(json!([call("a")])), "`tool_use` blocks can only be in `assistant` messages"),
        (user(json!([result("a")])), "The number of toolResult blocks at messages.0.content exceeds"),
    ] {
        assert_rejected(SONNET, &body, expected);
    }
    let mut body = conversation_with_calls(json!([call("a")]), json!([result("a")]));
    body.as_object_mut().unwrap().remove("toolConfig");
    assert_rejected(
        SONNET,
        &body,
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    );
}

#[test]
fn tool_use_ids_of_claude_have_fewer_characters() {
    for id in ["functions.read:0", "a.b", "a:b"] {
        let body = conversation_with_calls(json!([call(id)]), json!([result(id)]));
        assert_rejected(
            SONNET,
            &body,
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        );
        assert_eq!(rejection(NOVA, &body), "accepted");
    }
}

#[test]
fn blank_stop_sequences_are_rejected_for_claude() {
    for blank in [" ", "\n\n", "\u{a0}"] {
        let body = request_with(json!({"inferenceConfig": {"stopSequences": ["END", blank]}}));
        assert_rejected(SONNET, &body, "stop_sequences: each stop sequence must contain non-whitespace");
        assert_eq!(rejection(NOVA, &body), "accepted");
    }
}

#[test]
fn null_members_are_ignored() {
    let mut body = user(json!([{"text": "hi", "toolUse": null, "image": null}]));
    drop_nulls(&mut body);
    assert_eq!(body, user(json!([{"text": "hi"}])));
}

#[test]
fn altered_thinking_is_rejected() {
    let replay = |reasoning: Value| {
        json!({"messages": [
            {"role": "user", "content": [{"text": "a"}]},
            {"role": "assistant", "content": [{"reasoningContent": reasoning}, {"text": "b"}]},
            {"role": "user", "content": [{"text": "c"}]},
        ]})
    };
    let thought =
        |text: &str, signature: &str| json!({"reasoningText": {"text": text, "signature": signature}});
    let data = BASE64.encode(redacted_data(1, None));
    assert_eq!(rejection(SONNET, &replay(thought("hm", &sign("hm", None)))), "accepted");
    assert_eq!(rejection(SONNET, &replay(json!({"redactedContent": data}))), "accepted");
    assert_rejected(
        SONNET,
        &replay(thought("altered", &sign("hm", None))),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    );
    assert_rejected(
        SONNET,
        &replay(json!({"reasoningText": {"text": "hm"}})),
        "messages.1.content.0.thinking.signature: Field required",
    );
    assert_rejected(
        SONNET,
        &replay(json!({"redactedContent": "aGk="})),
        "Invalid `data` in `redacted_thinking` block",
    );
}

#[test]
fn count_tokens_supports_older_claude_models_only() {
    let body = json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hello there"}]}]}}});
    let anthropic = BASE64.encode(
        r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"messages":[{"role":"user","content":"hello there"}]}"#,
    );
    let anthropic = json!({"input": {"invokeModel": {"body": anthropic}}});
    let count = |id: &str, body: &Value| {
        let (model, form) = find(id, "us-east-1").unwrap();
        count_tokens(id, body, model, form)
    };
    assert!(count("anthropic.claude-sonnet-4-5-20250929-v1:0", &body).unwrap() > 3);
    assert!(count("anthropic.claude-sonnet-4-5-20250929-v1:0", &anthropic).unwrap() > 3);
    let haiku = "anthropic.claude-haiku-4-5-20251001-v1:0";
    for (body, expected) in [
        (json!({"input": {}}), "Member must have exactly one of: [invokeModel, converse]"),
        (json!({"input": {"invokeModel": {"body": "bm8="}}}), "is not valid JSON"),
        (
            json!({"input": {"invokeModel": {"body": BASE64.encode(r#"{"max_tokens":1}"#)}}}),
            "anthropic_version: Field",
        ),
        (
            json!({"input": {"converse": {"messages": [], "inferenceConfig": {}}}}),
            "extraneous key [inferenceConfig] is not permitted",
        ),
        (json!({"input": {"converse": {"messages": []}}}), "A conversation must start with a user message."),
        (
            json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "x".repeat(900_000)}]}]}}}),
            "Input is too long for requested model.",
        ),
    ] {
        let rejection = count(haiku, &body).unwrap_err().message;
        assert!(rejection.contains(expected), "{rejection}");
    }
    let (model, form) = find(haiku, "us-east-1").unwrap();
    assert!(count_tokens(&"x".repeat(300), &body, model, form).unwrap_err().message.contains("'modelId'"));
    for id in [SONNET, "anthropic.claude-opus-5", "amazon.nova-pro-v1:0"] {
        assert_eq!(
            count(id, &body).unwrap_err().message,
            "The provided model doesn't support counting tokens"
        );
    }
}

#[test]
fn prompt_beyond_the_context_window_is_rejected() {
    let (model, _) = find(SONNET, "us-east-1").unwrap();
    let error = check_context_window(206_456, &[], model).unwrap_err();
    assert!(error.message.ends_with("prompt is too long: 206456 tokens > 200000 maximum"));
    assert!(check_context_window(206_456, &["context-1m-2025-08-07"], model).is_ok());
}
