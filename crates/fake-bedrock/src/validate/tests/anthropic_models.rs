//! Anthropic bodies: rules of each Claude version and of the Messages API.

use super::anthropic::{
    OPUS_55, SONNET_46, assert_invoke_accepted, assert_invoke_rejected, outcome, request_with,
};
use super::*;
use crate::signatures::sign;

fn outcome_on(api: Api, id: &str, body: &Value, betas: &[&str]) -> String {
    let (model, _) = find(id, "us-east-1").unwrap();
    match messages(body, model, api, betas, Version::V2023) {
        Ok(()) => "accepted".to_owned(),
        Err(error) => error.without_model_prefix().message,
    }
}

fn request(members: Value) -> Value {
    let mut body = request_with(members);
    body.as_object_mut().unwrap().shift_remove("anthropic_version");
    body["model"] = "any".into();
    body
}

#[test]
fn thinking_type_depends_on_the_model() {
    let kinds = ["enabled", "adaptive", "disabled", "between_tools"];
    for (model, accepted) in [
        (SONNET, &["enabled", "disabled"][..]),
        (SONNET_46, &["enabled", "adaptive", "disabled"]),
        (OPUS, &["adaptive", "disabled"]),
        (OPUS_55, &["adaptive"]),
        ("us.anthropic.claude-sonnet-5-5", &["adaptive", "between_tools"]),
    ] {
        for kind in kinds {
            let mut thinking = json!({"type": kind});
            if kind == "enabled" {
                thinking["budget_tokens"] = 2048.into();
            }
            let next = outcome(model, &request_with(json!({"thinking": thinking})));
            assert_eq!(next == "accepted", accepted.contains(&kind), "{model} {kind}: {next}");
        }
    }
    for (thinking, expected) in [
        (json!({"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
        (
            json!({"type": "enabled", "budget_tokens": 9000}),
            "`max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (
            json!({"type": "disabled", "display": "omitted"}),
            "thinking.disabled.display: Extra inputs are not permitted",
        ),
    ] {
        assert_invoke_rejected(SONNET, &request_with(json!({"thinking": thinking})), expected);
    }
    let enabled = json!({"type": "enabled", "budget_tokens": 2048});
    assert_invoke_rejected(
        SONNET,
        &request_with(json!({"thinking": enabled, "temperature": 0.5})),
        "`temperature` may only be set to 1 when thinking is enabled.",
    );
}

#[test]
fn effort_and_format_depend_on_the_model() {
    let effort = |level: &str| request_with(json!({"output_config": {"effort": level}}));
    assert_invoke_accepted(OPUS, &effort("max"));
    assert_invoke_accepted(SONNET_46, &effort("max"));
    for (model, level, expected) in [
        (SONNET_46, "xhigh", "output_config.effort: 'xhigh' is not supported by this model"),
        (SONNET, "low", "This model does not support the effort parameter."),
        (OPUS, "extreme", "output_config.effort: 'extreme' is not supported by this model"),
        (
            "us.anthropic.claude-opus-4-5-20251101-v1:0",
            "low",
            "output_config: Extra inputs are not permitted",
        ),
    ] {
        assert_invoke_rejected(model, &effort(level), expected);
    }
    let format = request_with(
        json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": false}}}}),
    );
    assert_invoke_accepted(SONNET_46, &format);
    assert_invoke_rejected(OPUS_55, &format, "output_config.format: Extra inputs are not permitted");
    assert_invoke_rejected(
        SONNET_46,
        &request_with(json!({"output_config": {"task_budget": {}}})),
        "output_config.task_budget: Extra inputs are not permitted",
    );
}

#[test]
fn thinking_is_replayed_first_and_unaltered() {
    let replay = |first: Value, thinking: Value| {
        request_with(json!({"thinking": thinking, "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [first, {"type": "tool_use", "id": "x", "name": "t", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]},
        ]}))
    };
    let enabled = json!({"type": "enabled", "budget_tokens": 2048});
    let thought = |text: &str| json!({"type": "thinking", "thinking": text, "signature": sign("hm", None)});
    let text = json!({"type": "text", "text": "let me"});
    assert_invoke_accepted(SONNET, &replay(thought("hm"), enabled.clone()));
    assert_invoke_rejected(
        SONNET,
        &replay(thought("other"), enabled.clone()),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    );
    let rejection = outcome(SONNET, &replay(text.clone(), enabled));
    assert!(rejection.starts_with(
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`"
    ));
    assert_invoke_accepted(OPUS, &replay(text, json!({"type": "adaptive"})));
    let marked =
        json!({"type": "thinking", "thinking": "hm", "signature": sign("hm", None), "cache_control": {}});
    assert_invoke_rejected(
        OPUS,
        &replay(marked, json!({"type": "adaptive"})),
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    );
}

#[test]
fn prefill_is_for_old_models() {
    let prefilled = |text: &str| {
        request_with(
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]}),
        )
    };
    assert_invoke_accepted(SONNET, &prefilled("Sure:"));
    assert_invoke_rejected(
        SONNET,
        &prefilled("Sure: "),
        "messages: final assistant content cannot end with trailing whitespace",
    );
    assert_invoke_rejected(
        SONNET_46,
        &prefilled("Sure:"),
        "This model does not support assistant message prefill. The conversation must end with a user message.",
    );
}

#[test]
fn messages_api_has_further_members_and_betas() {
    for (members, betas) in [
        (json!({"stream": true}), &["claude-code-20250219", "thinking-token-count-2026-05-13"][..]),
        (json!({"cache_control": {"type": "ephemeral"}}), &[]),
        (
            json!({"tools": [{"name": "t", "input_schema": {"type": "object"}, "eager_input_streaming": true}]}),
            &["fallback-credit-2026-07-01"],
        ),
    ] {
        assert_eq!(outcome_on(Api::RuntimeMessages, OPUS, &request(members), betas), "accepted");
    }
    let rejection = outcome_on(
        Api::RuntimeMessages,
        OPUS,
        &request(json!({})),
        &["prompt-caching-scope-2026-01-05", "x"],
    );
    assert!(rejection.starts_with(
        "Unexpected value(s) `prompt-caching-scope-2026-01-05`, `x` for the `anthropic-beta` header"
    ));
    let rejection =
        outcome_on(Api::MantleMessages, OPUS, &request(json!({})), &["fallback-credit-2026-07-01"]);
    assert!(rejection.starts_with("Unexpected value(s) `fallback-credit-2026-07-01`"));
    for name in ["anthropic_beta", "service_tier", "fallbacks", "inference_geo"] {
        let rejection = outcome_on(Api::RuntimeMessages, OPUS, &request(json!({name: []})), &[]);
        assert_eq!(rejection, format!("{name}: Extra inputs are not permitted"));
    }
    let identified = request(json!({"metadata": {"user_id": "{}"}}));
    assert!(outcome_on(Api::RuntimeMessages, OPUS, &identified, &[]).starts_with("Request metadata"));
    assert_eq!(outcome_on(Api::MantleMessages, OPUS, &identified, &[]), "accepted");
    let format = request(json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}));
    assert_eq!(outcome_on(Api::RuntimeMessages, SONNET_46, &format, &[]), "accepted");
    assert_eq!(
        outcome_on(Api::MantleMessages, SONNET_46, &format, &[]),
        "output_config.format: Extra inputs are not permitted"
    );
}

#[test]
fn mantle_counts_tokens_without_max_tokens() {
    let (model, _) = find(OPUS, "us-east-1").unwrap();
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    assert!(mantle_count_tokens(&body, model, &[], Version::V2023).is_ok());
    let error = mantle_count_tokens(&request(json!({})), model, &[], Version::V2023).unwrap_err();
    assert!(error.message.ends_with("max_tokens: Extra inputs are not permitted"));
}
