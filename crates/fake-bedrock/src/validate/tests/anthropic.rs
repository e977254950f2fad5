//! Anthropic bodies: members, versions, betas, tools, cache markers.

use super::*;

pub(super) const OPUS_55: &str = "us.anthropic.claude-opus-5-5";
pub(super) const SONNET_46: &str = "us.anthropic.claude-sonnet-4-6";
const SEARCH: &str = "tool-search-tool-2025-10-19";

/// A minimal request with further members.
pub(super) fn request_with(members: Value) -> Value {
    let mut body = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": "hi"}],
    });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

pub(super) fn outcome(id: &str, body: &Value) -> String {
    let (model, _) = find(id, "us-east-1").unwrap();
    match invoke(body, model, false) {
        Ok(()) => "accepted".to_owned(),
        Err(error) => error.without_model_prefix().message,
    }
}

#[track_caller]
pub(super) fn assert_invoke_rejected(id: &str, body: &Value, expected: &str) {
    assert_eq!(outcome(id, body), expected, "for {body}");
}

#[track_caller]
pub(super) fn assert_invoke_accepted(id: &str, body: &Value) {
    assert_eq!(outcome(id, body), "accepted", "for {body}");
}

fn tool(name: &str, more: Value) -> Value {
    let mut tool = json!({"name": name, "input_schema": {"type": "object"}});
    for (name, value) in more.as_object().unwrap() {
        tool[name] = value.clone();
    }
    tool
}

#[test]
fn unknown_members_are_extra_inputs() {
    assert_invoke_accepted(
        SONNET,
        &request_with(json!({"metadata": {"user_id": "a1"}, "top_k": 5, "stop_sequences": ["x"]})),
    );
    for name in [
        "model",
        "stream",
        "service_tier",
        "container",
        "mcp_servers",
        "inference_geo",
        "speed",
        "fallbacks",
        "diagnostics",
        "thread",
        "billing_policy",
        "cache_control",
        "user_profile_id",
        "safeguards",
        "context_management",
    ] {
        assert_invoke_rejected(
            SONNET,
            &request_with(json!({name: {}})),
            &format!("{name}: Extra inputs are not permitted"),
        );
    }
}

#[test]
fn required_members_are_checked() {
    for (members, expected) in [
        (json!({"anthropic_version": null}), "anthropic_version: Field required"),
        (
            json!({"anthropic_version": "2023-06-01"}),
            "anthropic_version: Input should be 'bedrock-2023-05-31'",
        ),
        (json!({"max_tokens": null}), "max_tokens: Field required"),
        (json!({"max_tokens": "5"}), "max_tokens: Input should be a valid integer"),
        (json!({"max_tokens": -1}), "max_tokens: Input should be greater than or equal to 0"),
        (json!({"messages": []}), "messages: at least one message is required"),
        (json!({"temperature": 1.5}), "temperature: Input should be less than or equal to 1"),
        (json!({"top_k": 0.5}), "top_k: Input should be a valid integer"),
        (
            json!({"stop_sequences": [" \n"]}),
            "stop_sequences: each stop sequence must contain non-whitespace",
        ),
        (json!({"system": [{"type": "image"}]}), "system.0.type: Input should be 'text'"),
        (json!({"system": [{"type": "text", "text": ""}]}), "system: text content blocks must be non-empty"),
        (
            json!({"metadata": {"user_id": "{\"device_id\":1}"}}),
            "Request metadata contains a value that violates the regular expression",
        ),
        (
            json!({"max_tokens": 64_001}),
            "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for \
             claude-sonnet-4-5-20250929",
        ),
    ] {
        assert_invoke_rejected(SONNET, &request_with(members), expected);
    }
    let nova = outcome("us.amazon.nova-pro-v1:0", &request_with(json!({})));
    assert_eq!(nova, "The provided request is not valid");
}

#[test]
fn new_api_version_has_no_sampling() {
    let new = |members: Value| {
        let mut body = request_with(members);
        body["anthropic_version"] = "2026-10-21".into();
        body
    };
    assert_invoke_accepted(OPUS, &new(json!({})));
    assert_invoke_rejected(
        OPUS,
        &new(json!({"temperature": 1})),
        "temperature: Extra inputs are not permitted",
    );
    assert_invoke_rejected(
        OPUS,
        &request_with(json!({"temperature": 1})),
        "`temperature` is deprecated for this model.",
    );
    assert_invoke_rejected(
        SONNET_46,
        &new(json!({})),
        "anthropic_version: Input should be 'bedrock-2023-05-31'",
    );
    let document =
        json!([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}]);
    let turns = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": document},
        {"role": "user", "content": "b"},
    ]);
    assert_invoke_accepted(OPUS, &request_with(json!({"messages": turns})));
    assert_invoke_rejected(
        OPUS,
        &new(json!({"messages": turns})),
        "messages.1.content.0: `document` blocks can only be in `user` messages",
    );
}

#[test]
fn zero_max_tokens_only_fills_the_cache() {
    assert_invoke_accepted(OPUS, &request_with(json!({"max_tokens": 0})));
    let (model, _) = find(OPUS, "us-east-1").unwrap();
    let error = invoke(&request_with(json!({"max_tokens": 0})), model, true).unwrap_err();
    assert!(error.message.ends_with("max_tokens: 0 is not supported together with `stream`"));
    assert_invoke_rejected(
        OPUS,
        &request_with(json!({"max_tokens": 0, "thinking": {"type": "adaptive"}})),
        "max_tokens: 0 is not supported together with `thinking`",
    );
}

#[test]
fn unlisted_betas_are_rejected() {
    for beta in ["context-1m-2025-08-07", "compact-2026-01-12", "computer-use-2025-11-24", SEARCH] {
        assert_invoke_accepted(OPUS, &request_with(json!({"anthropic_beta": [beta]})));
    }
    for beta in
        ["claude-code-20250219", "prompt-caching-scope-2026-01-05", "thinking-token-count-2026-05-13", "x"]
    {
        assert_invoke_rejected(OPUS, &request_with(json!({"anthropic_beta": [beta]})), "invalid beta flag");
    }
    assert_invoke_accepted(
        SONNET,
        &request_with(json!({"anthropic_beta": ["structured-outputs-2025-11-13"]})),
    );
    assert_invoke_rejected(
        OPUS,
        &request_with(json!({"anthropic_beta": ["structured-outputs-2025-11-13"]})),
        "invalid beta flag",
    );
    assert_invoke_rejected(
        OPUS,
        &request_with(json!({"anthropic_beta": SEARCH})),
        "anthropic_beta: Input should be a valid list",
    );
    assert_invoke_rejected(
        OPUS,
        &request_with(json!({"anthropic_beta": [{}]})),
        "anthropic_beta.0: Input should be a valid string",
    );
}

#[test]
fn context_edits_require_their_beta() {
    let with = |betas: Value, edits: Value| {
        request_with(json!({"anthropic_beta": betas, "context_management": {"edits": edits}}))
    };
    let editing = json!(["context-management-2025-06-27"]);
    let clear = json!([{"type": "clear_thinking_20251015", "keep": "all"}]);
    let compact = json!([{"type": "compact_20260112"}]);
    assert_invoke_accepted(OPUS, &with(editing.clone(), clear.clone()));
    assert_invoke_accepted(OPUS, &with(json!(["compact-2026-01-12"]), compact.clone()));
    assert_invoke_rejected(
        OPUS,
        &with(json!([]), clear),
        "context_management: Extra inputs are not permitted",
    );
    assert_invoke_rejected(
        OPUS,
        &with(editing.clone(), compact),
        "context_management.edits.0: Input tag 'compact_20260112' found using 'type' does not match any of the expected \
         tags: 'clear_tool_uses_20250919', 'clear_thinking_20251015'",
    );
    assert_invoke_rejected(
        OPUS,
        &with(editing, json!([{"type": "clear_thinking_20251015", "trigger": {}}])),
        "context_management.edits.0.clear_thinking_20251015.trigger: Extra inputs are not permitted",
    );
}

#[test]
fn deferred_tools_require_beta_and_model_support() {
    let tools = json!([tool("later", json!({"defer_loading": true})), tool("ToolSearch", json!({}))]);
    let with = |betas: Value| request_with(json!({"anthropic_beta": betas, "tools": tools}));
    assert_invoke_accepted(OPUS_55, &with(json!([SEARCH])));
    assert_invoke_accepted(SONNET, &with(json!([SEARCH])));
    for (model, betas) in
        [(OPUS_55, json!([])), ("us.anthropic.claude-opus-4-1-20250805-v1:0", json!([SEARCH]))]
    {
        assert_invoke_rejected(
            model,
            &with(betas),
            "tools.0.custom.defer_loading: Extra inputs are not permitted",
        );
    }
    let all = json!([tool("later", json!({"defer_loading": true}))]);
    assert_invoke_rejected(
        OPUS_55,
        &request_with(json!({"anthropic_beta": [SEARCH], "tools": all})),
        "All tools have defer_loading set. At least one tool must be non-deferred.",
    );
    let search = json!([{"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}]);
    assert_invoke_accepted(OPUS, &request_with(json!({"anthropic_beta": [SEARCH], "tools": search})));
    assert!(
        outcome(OPUS, &request_with(json!({"tools": search})))
            .starts_with("tools.0: Input tag 'tool_search_tool_regex_20251119' found using 'type'")
    );
}

#[test]
fn unknown_members_of_custom_tools_are_rejected() {
    let with = |tool: Value| request_with(json!({"tools": [tool]}));
    let closed = json!({"type": "object", "additionalProperties": false});
    let strict = json!({"type": "custom", "description": "d", "strict": true, "input_schema": closed});
    assert_invoke_accepted(SONNET, &with(tool("t", strict)));
    for (model, bad, expected) in [
        (OPUS, tool("t", json!({"strict": true})), "tools.0.custom.strict: Extra inputs are not permitted"),
        (
            OPUS,
            tool("t", json!({"eager_input_streaming": true})),
            "tools.0.custom.eager_input_streaming: Extra inputs are not permitted",
        ),
        (
            OPUS,
            tool("t", json!({"input_examples": []})),
            "tools.0.custom.input_examples: Extra inputs are not permitted",
        ),
        (OPUS, json!({"name": "t"}), "tools.0.custom.input_schema: Field required"),
        (OPUS, json!({"input_schema": {}}), "tools.0.custom.name: Field required"),
        (
            OPUS,
            json!({"name": "t", "input_schema": {"type": "custom"}}),
            "tools.0.custom.input_schema.type: Input should be 'object'",
        ),
        (
            OPUS,
            tool("a b", json!({})),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
        ),
    ] {
        assert_invoke_rejected(model, &with(bad), expected);
    }
    let twice = json!([tool("t", json!({})), tool("t", json!({}))]);
    assert_invoke_rejected(OPUS, &request_with(json!({"tools": twice})), "tools: Tool names must be unique.");
}

#[test]
fn server_tools_are_rejected() {
    for tool in [
        json!({"type": "bash_20250124", "name": "bash"}),
        json!({"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 100}),
        json!({"type": "memory_20250818", "name": "memory"}),
        json!({"type": "browser_toolset_20260801"}),
    ] {
        assert_invoke_accepted(OPUS, &request_with(json!({"tools": [tool]})));
    }
    let computer = json!([{
        "type": "computer_20251124", "name": "computer", "display_width_px": 800, "display_height_px": 600,
    }]);
    assert_invoke_accepted(
        OPUS,
        &request_with(json!({"tools": computer, "anthropic_beta": ["computer-use-2025-11-24"]})),
    );
    assert!(
        outcome(OPUS, &request_with(json!({"tools": computer})))
            .starts_with("tools.0: Input tag 'computer_20251124'")
    );
    for server in ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "mcp_toolset"] {
        let tools = json!([{"type": server, "name": "web_search"}]);
        assert_invoke_rejected(
            OPUS,
            &request_with(json!({"tools": tools})),
            &format!("tool type '{server}' is not supported"),
        );
    }
    let bash = json!([{"type": "bash_20250124", "name": "shell"}]);
    assert_invoke_rejected(
        OPUS,
        &request_with(json!({"tools": bash})),
        "tools.0.bash_20250124.name: Input should be 'bash'",
    );
}

#[test]
fn tool_choice_must_be_possible() {
    let with = |choice: Value| request_with(json!({"tools": [tool("t", json!({}))], "tool_choice": choice}));
    for choice in [json!({"type": "any"}), json!({"type": "tool", "name": "t"}), json!({"type": "none"})] {
        assert_invoke_accepted(OPUS, &with(choice));
    }
    assert_invoke_rejected(
        OPUS_55,
        &with(json!({"type": "any"})),
        "tool_choice.type: `any` is not supported on this model",
    );
    assert_invoke_accepted(OPUS_55, &with(json!({"type": "auto", "disable_parallel_tool_use": true})));
    assert_invoke_rejected(
        OPUS,
        &with(json!({"type": "tool", "name": "x"})),
        "Tool 'x' not found in provided tools",
    );
    let mut accepts_thinking = with(json!({"type": "any"}));
    accepts_thinking["thinking"] = json!({"type": "adaptive"});
    assert_invoke_rejected(
        OPUS,
        &accepts_thinking,
        "Thinking may not be enabled when tool_choice forces tool use.",
    );
}

#[test]
fn cache_markers_are_limited_and_ordered() {
    let block = |mark: Value| json!({"type": "text", "text": "a", "cache_control": mark});
    let (five, hour) = (json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "1h"}));
    let system = |marks: &[Value]| {
        request_with(json!({"system": marks.iter().cloned().map(block).collect::<Vec<_>>()}))
    };
    assert_invoke_accepted(SONNET, &system(&[hour.clone(), five.clone()]));
    assert!(
        outcome(SONNET, &system(&[five.clone(), hour.clone()])).starts_with("a ttl='1h' cache_control block")
    );
    assert_invoke_rejected(
        SONNET,
        &system(&[five.clone(), five.clone(), five.clone(), five.clone(), five]),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    );
    assert_invoke_rejected(
        SONNET,
        &system(&[json!({"type": "ephemeral", "scope": "global"})]),
        "system.0.cache_control.ephemeral.scope: Extra inputs are not permitted",
    );
    assert_invoke_rejected(
        "us.anthropic.claude-opus-4-1-20250805-v1:0",
        &system(&[hour]),
        "system.0.cache_control.ephemeral.ttl: Extra inputs are not permitted",
    );
    let messages = json!([{"role": "user", "content": [block(json!({"type": "ephemeral", "scope": "x"}))]}]);
    assert_invoke_rejected(
        SONNET,
        &request_with(json!({"messages": messages})),
        "messages.0.content.0.text.cache_control.ephemeral.scope: Extra inputs are not permitted",
    );
    let tools = json!([tool("t", json!({"cache_control": {"type": "ephemeral", "scope": "x"}}))]);
    assert_invoke_rejected(
        SONNET,
        &request_with(json!({"tools": tools})),
        "tools.0.custom.cache_control.ephemeral.scope: Extra inputs are not permitted",
    );
}
