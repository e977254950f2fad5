//! Messages of an Anthropic body: roles, blocks, pairing.

use super::anthropic::{
    OPUS_55, SONNET_46, assert_invoke_accepted, assert_invoke_rejected, outcome, request_with,
};
use super::*;

const SEARCH: &str = "tool-search-tool-2025-10-19";

fn turns(turns: Value) -> Value {
    let turns: Vec<Value> =
        turns.as_array().unwrap().iter().map(|turn| json!({"role": turn[0], "content": turn[1]})).collect();
    request_with(json!({"messages": turns}))
}

fn assistant(blocks: Value) -> Value {
    turns(json!([["user", blocks]]))
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "t", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "ok"})
}

#[test]
fn system_messages_depend_on_model_and_position() {
    let folded = turns(json!([["user", "a"], ["system", "b"]]));
    assert_invoke_accepted(OPUS_55, &folded);
    assert_invoke_rejected(SONNET_46, &folded, "messages.1.role: Input should be 'user' or 'assistant'");
    assert_invoke_rejected(
        OPUS,
        &turns(json!([["tool", "a"]])),
        "messages.0.role: Input should be 'user' or 'assistant'",
    );
    assert_invoke_accepted(
        OPUS,
        &turns(json!([["user", "a"], ["system", "b"], ["assistant", "c"], ["user", "d"]])),
    );
    for misplaced in [
        json!([["system", "a"], ["user", "b"]]),
        json!([["user", "a"], ["system", "b"], ["user", "c"]]),
        json!([["user", "a"], ["assistant", "b"], ["system", "c"]]),
        json!([["user", "a"], ["assistant", [call("x")]], ["system", "c"], ["user", [result("x")]]]),
    ] {
        let rejection = outcome(OPUS, &turns(misplaced));
        assert!(rejection.contains("Unexpected role \"system\""), "{rejection}");
    }
}

#[test]
fn calls_pair_with_results_across_messages() {
    assert_invoke_accepted(SONNET, &turns(json!([["user", "a"], ["user", "b"]])));
    assert_invoke_accepted(
        SONNET,
        &turns(json!([
            ["user", "a"],
            ["assistant", [call("x"), call("y")]],
            ["user", [result("y")]],
            ["user", [result("x"), {"type": "text", "text": "go"}]],
        ])),
    );
    for (body, expected) in [
        (
            json!([["user", "a"], ["assistant", [call("x")]], ["user", "never mind"]]),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: x. Each `tool_use` \
             block must have a corresponding `tool_result` block in the next message.",
        ),
        (
            json!([["user", "a"], ["assistant", [call("x")]], ["user", [{"type": "text", "text": "b"}, result("x")]]]),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: x. Each `tool_use` \
             block must have a corresponding `tool_result` block in the next message.",
        ),
        (
            json!([["user", [result("x")]]]),
            "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: x. Each `tool_result` block must \
             have a corresponding `tool_use` block in the previous message.",
        ),
        (
            json!([["user", "a"], ["assistant", [call("x"), call("x")]], ["user", [result("x")]]]),
            "messages.1: `tool_use` ids must be unique",
        ),
        (json!([["assistant", "a"]]), "messages: first message must use the \"user\" role"),
    ] {
        assert_invoke_rejected(SONNET, &turns(body), expected);
    }
}

#[test]
fn unknown_block_members_are_rejected() {
    for (blocks, expected) in [
        (json!([{"type": "text", "text": ""}]), "messages: text content blocks must be non-empty"),
        (
            json!([{"type": "text", "text": " "}]),
            "messages: text content blocks must contain non-whitespace text",
        ),
        (json!([{"type": "text"}]), "messages.0.content.0.text.text: Field required"),
        (
            json!([{"type": "text", "text": "a", "mood": 1}]),
            "messages.0.content.0.text.mood: Extra inputs are not permitted",
        ),
        (json!([{"text": "a"}]), "messages.0.content.0: Unable to extract tag using discriminator 'type'"),
        (json!([call("x")]), "messages.0.content.0: `tool_use` blocks can only be in `assistant` messages"),
        (
            json!([{"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}]),
            "URL sources not supported",
        ),
        (json!([{"type": "document", "source": {"type": "url", "url": "x"}}]), "URL sources not supported"),
        (
            json!([{"type": "document", "source": {"type": "file", "file_id": "x"}}]),
            "File sources not supported",
        ),
    ] {
        assert_invoke_rejected(SONNET, &assistant(blocks), expected);
    }
    for unknown in ["container_upload", "server_tool_use", "compaction", "mcp_tool_use", "wink"] {
        let rejection = outcome(SONNET, &assistant(json!([{"type": unknown}])));
        assert!(
            rejection.starts_with(&format!(
                "messages.0.content.0: Input tag '{unknown}' found using 'type' does not match any of the expected tags"
            )),
            "{rejection}"
        );
    }
    let extra = request_with(json!({"messages": [{"role": "user", "content": "a", "id": "x"}]}));
    assert_invoke_rejected(SONNET, &extra, "messages.0.id: Extra inputs are not permitted");
}

#[test]
fn images_and_documents_are_decoded() {
    let image = |media: &str, data: &str| json!([{"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}]);
    let at = "messages.0.content.0.image.source.base64";
    assert_invoke_accepted(SONNET, &assistant(image("image/png", RED)));
    assert_invoke_rejected(
        SONNET,
        &assistant(image("image/png", "%")),
        &format!("{at}: Invalid base64 data"),
    );
    assert_invoke_rejected(SONNET, &assistant(image("image/png", "aGk=")), "Could not process image");
    assert_invoke_rejected(
        SONNET,
        &assistant(image("image/jpeg", RED)),
        &format!("{at}: Image does not match the provided media type image/jpeg"),
    );
    let mut wide = BASE64.decode(RED).unwrap();
    wide[16..20].copy_from_slice(&9_000_u32.to_be_bytes());
    assert_invoke_rejected(
        SONNET,
        &assistant(image("image/png", &BASE64.encode(wide))),
        &format!("{at}: At least one of the image dimensions exceed max allowed size: 8000 pixels"),
    );
    let huge = format!("{RED}{}", "A".repeat(5 * 1024 * 1024));
    assert!(outcome(SONNET, &assistant(image("image/png", &huge))).contains("image exceeds 5 MB maximum"));
    assert_invoke_rejected(
        "us.anthropic.claude-3-5-haiku-20241022-v1:0",
        &{
            let mut body = assistant(image("image/png", RED));
            body["max_tokens"] = 100.into();
            body
        },
        "'claude-3-5-haiku-20241022' does not support image input.",
    );
    let pdf = |data: &str| {
        json!([{"type": "document", "title": "a.b", "citations": {"enabled": true},
            "source": {"type": "base64", "media_type": "application/pdf", "data": BASE64.encode(data)}}])
    };
    assert_invoke_accepted(SONNET, &assistant(pdf("%PDF-1.7 …")));
    assert_invoke_rejected(SONNET, &assistant(pdf("no")), "The PDF specified was not valid.");
}

#[test]
fn tool_references_must_name_a_tool() {
    let with = |betas: Value, tools: Value, name: &str| {
        let result = json!({"type": "tool_result", "tool_use_id": "x",
            "content": [{"type": "tool_reference", "tool_name": name}]});
        let mut body = turns(json!([
            ["user", "a"],
            ["assistant", [call("x")]],
            ["user", [result, {"type": "text", "text": "Tool loaded."}]],
        ]));
        body["anthropic_beta"] = betas;
        body["tools"] = tools;
        body
    };
    let schema = json!({"type": "object"});
    let tools = json!([
        {"name": "ToolSearch", "input_schema": schema},
        {"name": "later", "input_schema": schema, "defer_loading": true},
    ]);
    assert_invoke_accepted(OPUS_55, &with(json!([SEARCH]), tools.clone(), "later"));
    assert_invoke_rejected(
        OPUS_55,
        &with(json!([SEARCH]), tools.clone(), "unknown"),
        "Tool reference 'unknown' has no corresponding tool definition",
    );
    let plain_tools = json!([tools[0]]);
    let rejection = outcome(OPUS_55, &with(json!([]), plain_tools, "ToolSearch"));
    assert!(
        rejection.starts_with("messages.2.content.0.tool_result.content.0: Input tag 'tool_reference' found"),
        "{rejection}"
    );
}

#[test]
fn tool_search_results_can_be_replayed() {
    let mut body = turns(json!([
        ["user", "a"],
        ["assistant", [
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_regex", "input": {"pattern": "t"}},
            {"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1",
                "content": {"type": "tool_search_tool_search_result",
                    "tool_references": [{"type": "tool_reference", "tool_name": "t"}]}},
            call("x"),
        ]],
        ["user", [result("x")]],
    ]));
    body["anthropic_beta"] = json!([SEARCH]);
    body["tools"] = json!([
        {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
        {"name": "t", "input_schema": {"type": "object"}, "defer_loading": true},
    ]);
    assert_invoke_accepted(OPUS, &body);
}
