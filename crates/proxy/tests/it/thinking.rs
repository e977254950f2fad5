//! Thinking: room for a response beside it, and the members that other gateways have for it at chat completions.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{TestResponse, TestServer, test_server_with};
use crate::tool_calls::{last_sent, send};

const CHAT: &str = "/v1/chat/completions";
const ROUTES: [&str; 3] = ["converse", "invoke", "messages"];

async fn server(route: &str) -> TestServer {
    test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn chat(more: &Value) -> Value {
    with(json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello"}]}), more)
}

/// Limit and thinking that are sent.
fn sent(server: &TestServer) -> (u64, Value) {
    let sent = last_sent(server);
    let limit = sent["inferenceConfig"]["maxTokens"].as_u64().or(sent["max_tokens"].as_u64()).unwrap();
    let thinking = sent["additionalModelRequestFields"].get("thinking").or(sent.get("thinking"));
    (limit, thinking.cloned().unwrap_or_default())
}

fn notice(response: &TestResponse) -> &str {
    response.headers.get("x-bedrock-proxy-notice").map_or("", |notice| notice.to_str().unwrap())
}

#[tokio::test]
async fn response_fits_beside_a_budget_of_our_own() {
    for route in ROUTES {
        let server = server(route).await;
        for (more, limit, budget) in [
            (json!({"reasoning_effort": "low"}), 10_240, 2048),
            (json!({"reasoning_effort": "medium"}), 16_384, 8192),
            (json!({"reasoning_effort": "high"}), 24_576, 16_384),
            (json!({"reasoning_effort": "minimal"}), 10_240, 2048),
            (json!({"reasoning_effort": "medium", "max_tokens": 4096}), 4096, 2048),
            (json!({"reasoning_effort": "medium", "max_completion_tokens": 2048}), 2048, 1024),
            (json!({"reasoning_effort": "high", "max_tokens": 64_000}), 64_000, 16_384),
            (json!({"reasoning_effort": "medium", "max_tokens": 2047}), 2047, 0),
            (json!({"reasoning_effort": "medium", "max_tokens": 100}), 100, 0),
        ] {
            for stream in [true, false] {
                let response = send(&server, CHAT, &with(chat(&more), &json!({"stream": stream}))).await;
                assert_eq!(response.status, 200, "{route} {more}: {}", response.body);
                let (sent_limit, thinking) = sent(&server);
                assert_eq!(sent_limit, limit, "{route} {more}");
                assert_eq!(thinking["budget_tokens"].as_u64().unwrap_or(0), budget, "{route} {more}");
                assert!(!notice(&response).contains("does not support this effort"), "{}", notice(&response));
                if budget == 0 {
                    assert!(
                        notice(&response).contains("reasoning_effort: left out"),
                        "{}",
                        notice(&response)
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn messages_budget_of_our_own_leaves_room() {
    for route in ROUTES {
        let server = server(route).await;
        for (more, limit, budget) in [
            (json!({"thinking": {"type": "adaptive"}, "max_tokens": 8192}), 8192, 4096),
            (
                json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "max_tokens": 8192}),
                8192,
                2048,
            ),
            (json!({"thinking": {"type": "adaptive"}}), 24_576, 16_384),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 10_000}}), 18_192, 10_000),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 10_000}, "max_tokens": null}),
                18_192,
                10_000,
            ),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 5000}, "max_tokens": 5001}), 5001, 5000),
            (
                json!({"thinking": {"type": "enabled", "budget_tokens": 90_000}, "max_tokens": 100_000}),
                64_000,
                32_000,
            ),
            (json!({"thinking": {"type": "adaptive"}, "max_tokens": 1500}), 1500, 0),
        ] {
            for stream in [true, false] {
                let response =
                    send(&server, "/v1/messages", &with(chat(&more), &json!({"stream": stream}))).await;
                assert_eq!(response.status, 200, "{route} {more}: {}", response.body);
                let (sent_limit, thinking) = sent(&server);
                assert_eq!(sent_limit, limit, "{route} {more}");
                assert_eq!(thinking["budget_tokens"].as_u64().unwrap_or(0), budget, "{route} {more}");
            }
        }
    }
}

#[tokio::test]
async fn adaptive_model_keeps_its_limit() {
    for route in ROUTES {
        let server = server(route).await;
        let body = chat(&json!({"model": "claude-opus-5-5", "reasoning_effort": "medium"}));
        let response = send(&server, CHAT, &body).await;
        assert_eq!(response.status, 200, "{route}: {}", response.body);
        let (limit, thinking) = sent(&server);
        assert_eq!((limit, &thinking["type"]), (8192, &json!("adaptive")), "{route}");
    }
}

#[tokio::test]
async fn thinking_of_other_gateways_is_honoured() {
    for route in ROUTES {
        let server = server(route).await;
        for (more, budget) in [
            (json!({"thinking": {"type": "enabled", "budget_tokens": 4000}}), 4000),
            (json!({"thinking": {"type": "enabled"}}), 8192),
            (json!({"thinking": {"type": "adaptive"}, "reasoning_effort": "low"}), 2048),
            (json!({"thinking": {"type": "disabled"}}), 0),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 100}}), 1024),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 4096}), 2048),
            (json!({"reasoning": {"effort": "low"}}), 2048),
            (json!({"reasoning": {"effort": "none"}}), 0),
            (json!({"reasoning": {"max_tokens": 3000}}), 3000),
            (json!({"reasoning": {"enabled": true}}), 8192),
            (json!({"reasoning": {"enabled": false, "effort": "high"}}), 0),
            (json!({"reasoning": {"max_tokens": 0}}), 0),
            (json!({"reasoning": {"effort": "high", "max_tokens": 3000}}), 3000),
            (json!({"enable_thinking": true}), 8192),
            (json!({"enable_thinking": true, "thinking_budget": 5000}), 5000),
            (json!({"enable_thinking": false}), 0),
            (json!({"thinking_budget": 5000}), 5000),
            (
                json!({"reasoning_effort": "high", "thinking": {"type": "enabled", "budget_tokens": 2000}}),
                2000,
            ),
            (json!({"reasoning_effort": "high", "thinking": {"type": "disabled"}}), 0),
            (json!({"reasoning_effort": "low", "enable_thinking": false}), 2048),
        ] {
            for stream in [true, false] {
                let response = send(&server, CHAT, &with(chat(&more), &json!({"stream": stream}))).await;
                assert_eq!(response.status, 200, "{route} {more}: {}", response.body);
                let (limit, thinking) = sent(&server);
                assert_eq!(thinking["budget_tokens"].as_u64().unwrap_or(0), budget, "{route} {more}");
                assert!(budget < limit, "{route} {more}");
                assert!(!notice(&response).contains("do not support it"), "{more}: {}", notice(&response));
            }
        }
        for (more, replaced) in [
            (
                json!({"reasoning_effort": "high", "thinking": {"type": "disabled"}}),
                "reasoning_effort: left out",
            ),
            (json!({"reasoning": {"effort": "high", "max_tokens": 3000}}), "reasoning.effort: left out"),
            (json!({"reasoning_effort": "low", "enable_thinking": false}), "enable_thinking: left out"),
        ] {
            let response = send(&server, CHAT, &chat(&more)).await;
            assert!(notice(&response).contains(replaced), "{more}: {}", notice(&response));
        }
        for (more, param) in [
            (json!({"thinking": "on"}), "thinking"),
            (json!({"thinking": {"type": "sometimes"}}), "thinking.type"),
            (json!({"thinking": {"type": "enabled", "budget_tokens": "many"}}), "thinking.budget_tokens"),
            (json!({"reasoning": "high"}), "reasoning"),
            (json!({"enable_thinking": "yes"}), "enable_thinking"),
        ] {
            let response = send(&server, CHAT, &chat(&more)).await;
            assert_eq!(response.status, 400, "{more}");
            assert_eq!(response.json()["error"]["param"], param, "{}", response.body);
        }
    }
}

#[tokio::test]
async fn excluded_reasoning_is_not_shown() {
    for route in ROUTES {
        let server = server(route).await;
        for stream in [true, false] {
            let prompt = json!([{"role": "user", "content": "[thinking] Hello"}]);
            let shown = chat(&json!({"reasoning": {"effort": "low"}, "messages": prompt, "stream": stream}));
            let response = send(&server, CHAT, &shown).await;
            assert!(response.body.contains("reasoning_content"), "{route}: {}", response.body);
            for more in [
                json!({"reasoning": {"effort": "low", "exclude": true}}),
                json!({"include_reasoning": false}),
            ] {
                let response = send(&server, CHAT, &with(shown.clone(), &more)).await;
                assert_eq!(response.status, 200, "{}", response.body);
                assert!(!response.body.contains("reasoning_content"), "{route}: {}", response.body);
                assert!(response.body.contains("about it. "), "{route}: {}", response.body);
            }
        }
    }
}

fn tools(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}))
        .collect()
}

/// Names of the tools, and the tool choice that are sent.
fn sent_tools(server: &TestServer) -> (Vec<String>, Value) {
    let sent = last_sent(server);
    let tools = sent["toolConfig"].get("tools").or(sent.get("tools")).and_then(Value::as_array).cloned();
    let name = |tool: Value| {
        let name = tool["toolSpec"].get("name").or(tool.get("name")).and_then(Value::as_str);
        name.unwrap().to_owned()
    };
    let names = tools.unwrap_or_default().into_iter().map(name).collect();
    let choice = sent["toolConfig"].get("toolChoice").or(sent.get("tool_choice"));
    (names, choice.cloned().unwrap_or_default())
}

#[tokio::test]
async fn allowed_tools_are_the_only_ones_offered() {
    for route in ROUTES {
        let server = server(route).await;
        for (mode, allowed, expected, choice) in [
            ("auto", &["b"][..], &["b"][..], "auto"),
            ("auto", &["c", "a"], &["a", "c"], "auto"),
            ("auto", &["a", "b", "c"], &["a", "b", "c"], "auto"),
            ("required", &["a", "b"], &["a", "b"], "any"),
            ("required", &["b"], &["a", "b", "c"], "tool"),
        ] {
            let flat: Value = allowed.iter().map(|name| json!({"type": "function", "name": name})).collect();
            for tool_choice in [
                json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools(allowed)}}),
                json!({"type": "allowed_tools", "mode": mode, "tools": flat}),
            ] {
                for stream in [true, false] {
                    let more = json!({"tools": tools(&["a", "b", "c"]), "tool_choice": tool_choice, "stream": stream});
                    let response = send(&server, CHAT, &chat(&more)).await;
                    assert_eq!(response.status, 200, "{route} {tool_choice}: {}", response.body);
                    let (names, sent) = sent_tools(&server);
                    assert_eq!(names, expected, "{route} {tool_choice}");
                    let is_chosen = sent["type"] == choice || sent.get(choice).is_some();
                    assert!(is_chosen || (choice == "auto" && sent.is_null()), "{route}: {sent}");
                }
            }
        }
        for (tool_choice, param) in [
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools(&["x"])}}),
                "tool_choice.allowed_tools.tools.0",
            ),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
                "tool_choice.allowed_tools.tools",
            ),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "never", "tools": tools(&["a"])}}),
                "tool_choice.allowed_tools.mode",
            ),
            (json!({"type": "custom"}), "tool_choice.type"),
        ] {
            let response =
                send(&server, CHAT, &chat(&json!({"tools": tools(&["a"]), "tool_choice": tool_choice})))
                    .await;
            assert_eq!(response.status, 400, "{tool_choice}");
            assert_eq!(response.json()["error"]["param"], param, "{}", response.body);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever a client combines, its request is served, and a budget is valid and leaves room.
    #[test]
    fn budgets_are_valid_for_every_combination(
        effort in prop::option::of(prop::sample::select(vec!["none", "minimal", "low", "medium", "high", "xhigh"])),
        budget in prop::option::of(0_u64..70_000), reasoning in prop::option::of(0_u64..70_000),
        max_tokens in prop::option::of(1_u64..70_000), enable in prop::option::of(any::<bool>()),
        route in prop::sample::select(&ROUTES[..]),
    ) {
        let mut body = chat(&json!({}));
        if let Some(effort) = effort { body["reasoning_effort"] = json!(effort); }
        if let Some(budget) = budget { body["thinking"] = json!({"type": "enabled", "budget_tokens": budget}); }
        if let Some(budget) = reasoning { body["reasoning"] = json!({"max_tokens": budget}); }
        if let Some(max_tokens) = max_tokens { body["max_tokens"] = json!(max_tokens); }
        if let Some(enable) = enable { body["enable_thinking"] = json!(enable); }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server(route).await;
            let response = send(&server, CHAT, &body).await;
            prop_assert_eq!(response.status, 200, "{}: {}", body, response.body);
            let (limit, thinking) = sent(&server);
            if let Some(budget) = thinking["budget_tokens"].as_u64() {
                prop_assert!(budget >= 1024 && budget < limit, "{}: {} of {}", body, budget, limit);
            }
            if let Some(max_tokens) = max_tokens {
                prop_assert_eq!(limit, max_tokens.min(64_000), "{}", body);
            }
            Ok(())
        })?;
    }
}
