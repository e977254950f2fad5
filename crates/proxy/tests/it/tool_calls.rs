//! Tool calls in conversations and in responses: arguments that are no object, equal ids, stop reasons.

use http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{TestResponse, TestServer, full, test_server_with};

const CHAT: &str = "/v1/chat/completions";
pub(crate) const ROUTES: [&str; 3] = ["converse", "invoke", "messages"];

pub(crate) async fn send(server: &TestServer, path: &str, body: &Value) -> TestResponse {
    server.fetch(Request::post(path).body(full(body.to_string().into())).unwrap()).await
}

async fn server(route: &str) -> TestServer {
    test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await
}

/// The body of the last request to AWS.
pub(crate) fn last_sent(server: &TestServer) -> Value {
    serde_json::from_slice(&server.bedrock.requests().pop().unwrap().body).unwrap()
}

/// The input of the first tool call in a body for AWS.
fn sent_input(server: &TestServer) -> Value {
    let sent = last_sent(server);
    let contents =
        sent["messages"].as_array().unwrap().iter().filter_map(|message| message["content"].as_array());
    let blocks = contents.flatten();
    let mut inputs = blocks.filter_map(|block| block["toolUse"].get("input").or(block.get("input")));
    inputs.next().cloned().unwrap()
}

/// A chat whose call has these arguments.
fn chat_with(arguments: &Value, stream: bool) -> Value {
    json!({
        "model": "claude-sonnet-4-5", "stream": stream,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}}],
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "error: bad arguments"},
        ],
    })
}

#[tokio::test]
async fn broken_arguments_reach_the_model_as_an_object() {
    for route in ROUTES {
        let server = server(route).await;
        for (arguments, expected) in [
            (json!("{\"x\": \"unter"), json!({"_invalid_arguments": "{\"x\": \"unter"})),
            (json!("{\"x\": 1,}"), json!({"_invalid_arguments": "{\"x\": 1,}"})),
            (json!("not json"), json!({"_invalid_arguments": "not json"})),
            (json!("[1]"), json!({"_invalid_arguments": "[1]"})),
            (json!("\"text\""), json!({"_invalid_arguments": "\"text\""})),
            (json!([1]), json!({"_invalid_arguments": "[1]"})),
            (json!(7), json!({"_invalid_arguments": "7"})),
            (Value::Null, json!({})),
            (json!(""), json!({})),
            (json!(" \n\t"), json!({})),
            (json!("null"), json!({})),
            (json!({"x": "whole"}), json!({"x": "whole"})),
            (json!("{\"x\":\"whole\"}"), json!({"x": "whole"})),
        ] {
            for stream in [true, false] {
                let response = send(&server, CHAT, &chat_with(&arguments, stream)).await;
                assert_eq!(response.status, 200, "{route} {arguments}: {}", response.body);
                assert_eq!(sent_input(&server), expected, "{route} {arguments}");
                let notice =
                    response.headers.get("x-bedrock-proxy-notice").map(|notice| notice.to_str().unwrap());
                let place = "messages.1.tool_calls.0.function.arguments";
                let is_noticed = notice.is_some_and(|notice| notice.contains(place));
                assert_eq!(
                    is_noticed,
                    expected.get("_invalid_arguments").is_some(),
                    "{arguments}: {notice:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn broken_arguments_of_calls_reach_the_model() {
    for route in ROUTES {
        let server = server(route).await;
        for (arguments, expected) in [
            (json!("{\"x\": \"unter"), json!({"_invalid_arguments": "{\"x\": \"unter"})),
            (json!(["x"]), json!({"_invalid_arguments": "[\"x\"]"})),
            (json!(""), json!({})),
            (json!({"x": 1}), json!({"x": 1})),
        ] {
            let body = json!({
                "model": "claude-sonnet-4-5",
                "functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
                "messages": [
                    {"role": "user", "content": "go"},
                    {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": arguments}},
                    {"role": "function", "name": "f", "content": "error: bad arguments"},
                ],
            });
            let response = send(&server, CHAT, &body).await;
            assert_eq!(response.status, 200, "{route} {arguments}: {}", response.body);
            assert_eq!(sent_input(&server), expected, "{route} {arguments}");
        }
    }
}

/// The call in a chat response: id and arguments, as a client accumulates them.
fn called(response: &TestResponse, stream: bool) -> (Value, String, Value) {
    if !stream {
        let choice = &response.json()["choices"][0];
        let call = &choice["message"]["tool_calls"][0];
        let arguments = call["function"]["arguments"].as_str().unwrap().to_owned();
        return (call["id"].clone(), arguments, choice["finish_reason"].clone());
    }
    let data = response.body.lines().filter_map(|line| line.strip_prefix("data: {"));
    let chunks: Vec<Value> = data.map(|json| serde_json::from_str(&format!("{{{json}")).unwrap()).collect();
    let choices = || chunks.iter().map(|chunk| &chunk["choices"][0]);
    let calls = || choices().filter_map(|choice| choice["delta"]["tool_calls"].get(0));
    let id = calls().find_map(|call| call.get("id")).unwrap().clone();
    let arguments = calls().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    let reason = choices().find_map(|choice| choice["finish_reason"].as_str()).unwrap();
    (id, arguments, json!(reason))
}

#[tokio::test]
async fn cut_call_can_be_sent_back() {
    for route in ROUTES {
        let server = server(route).await;
        for stream in [true, false] {
            let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object",
                "properties": {"x": {"type": "string"}}, "required": ["x"]}}}]);
            let mut body = json!({"model": "claude-sonnet-4-5", "stream": stream, "tools": tools,
                "messages": [{"role": "user", "content": "[toolcut] write a long text"}]});
            let response = send(&server, CHAT, &body).await;
            let (id, arguments, reason) = called(&response, stream);
            assert_eq!(reason, "length", "{route}: {}", response.body);
            assert!(!stream || serde_json::from_str::<Value>(&arguments).is_err(), "{route}: {arguments}");
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}]}));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": "error: bad arguments"}));
            let response = send(&server, CHAT, &body).await;
            assert_eq!(response.status, 200, "{route}: {}", response.body);
            if stream {
                assert_eq!(sent_input(&server), json!({"_invalid_arguments": arguments}), "{route}");
            }
        }
    }
}

#[tokio::test]
async fn input_as_text_is_sent_as_an_object() {
    for route in ROUTES {
        let server = server(route).await;
        for (input, expected) in [
            (json!("{\"x\": 1.0, \"a\": []}"), Some(json!({"x": 1.0, "a": []}))),
            (json!(" {} "), Some(json!({}))),
            (Value::Null, Some(json!({}))),
            (json!(""), Some(json!({}))),
            (json!("{\"x\": \"unter"), None),
            (json!([1]), None),
        ] {
            for stream in [true, false] {
                let body = json!({
                    "model": "claude-sonnet-4-5", "max_tokens": 64, "stream": stream,
                    "tools": [{"name": "f", "input_schema": {"type": "object"}}],
                    "messages": [
                        {"role": "user", "content": "go"},
                        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": input}]},
                        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "x"}]},
                    ],
                });
                let response = send(&server, "/v1/messages", &body).await;
                let Some(expected) = &expected else {
                    // A client that sends this at Messages has made a mistake, and learns its place.
                    assert_eq!(response.status, 400, "{route} {input}");
                    assert!(response.error().2.starts_with("messages.1.content.0."), "{}", response.body);
                    continue;
                };
                assert_eq!(response.status, 200, "{route} {input}: {}", response.body);
                assert_eq!(sent_input(&server), *expected, "{route} {input}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The conversation goes on after any arguments, and a text that is no object is kept.
    #[test]
    fn no_arguments_end_a_conversation(
        text in prop_oneof![".{0,40}", "[{\\[\\]}:,\"a-z0-9 \\\\]{0,24}"],
        route in prop::sample::select(&ROUTES[..]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = server(route).await;
            let response = send(&server, CHAT, &chat_with(&json!(text), false)).await;
            prop_assert_eq!(response.status, 200, "{}: {}", text, response.body);
            let sent = sent_input(&server);
            let is_nothing = text.trim().is_empty() || text.trim() == "null";
            let expected = match serde_json::from_str::<Value>(&text) {
                _ if is_nothing => json!({}),
                Ok(object @ Value::Object(_)) => object,
                _ => json!({"_invalid_arguments": text}),
            };
            prop_assert_eq!(sent, expected);
            Ok(())
        })?;
    }
}

/// The ids of the calls in a response of the Messages API, and its stop reason.
fn calls_of(response: &TestResponse, stream: bool) -> (Vec<String>, Value) {
    let id = |block: &Value| (block["type"] == "tool_use").then(|| block["id"].as_str().unwrap().to_owned());
    if !stream {
        let message = response.json();
        let ids = message["content"].as_array().unwrap().iter().filter_map(id).collect();
        return (ids, message["stop_reason"].clone());
    }
    let data = response.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|json| serde_json::from_str(json).unwrap()).collect();
    let ids = events.iter().filter_map(|event| id(&event["content_block"])).collect();
    let reason = events.iter().find_map(|event| event["delta"].get("stop_reason")).unwrap();
    (ids, reason.clone())
}

fn messages_prompt(prompt: &str, stream: bool) -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 999, "stream": stream,
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": prompt}]})
}

#[tokio::test]
async fn equal_ids_of_calls_are_made_unique() {
    for route in ROUTES {
        let server = server(route).await;
        for stream in [true, false] {
            let mut body = messages_prompt("[tools-same-id]", stream);
            let response = send(&server, "/v1/messages", &body).await;
            let (ids, _) = calls_of(&response, stream);
            assert!(ids.len() == 2 && ids[0] != ids[1], "{route}: {ids:?}");
            let call = |id: &String| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
            let result = |id: &String| json!({"type": "tool_result", "tool_use_id": id, "content": "x"});
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(json!({"role": "assistant", "content": ids.iter().map(call).collect::<Value>()}));
            messages
                .push(json!({"role": "user", "content": ids.iter().rev().map(result).collect::<Value>()}));
            let response = send(&server, "/v1/messages", &body).await;
            assert_eq!(response.status, 200, "{route}: {}", response.body);
            let sent = last_sent(&server).to_string();
            assert!(ids.iter().all(|id| sent.matches(&format!("\"{id}\"")).count() == 2), "{route}: {sent}");

            let mut body = chat_with(&json!("{}"), stream);
            body["messages"] = json!([{"role": "user", "content": "[tools-same-id]"}]);
            let response = send(&server, CHAT, &body).await;
            let mut ids: Vec<&str> = response.body.split("\"id\":\"tool").skip(1).collect();
            ids.iter_mut().for_each(|id| *id = id.split('"').next().unwrap());
            assert!(ids.len() == 2 && ids[0] != ids[1], "{route}: {}", response.body);
        }
    }
}

#[tokio::test]
async fn stop_reason_matches_the_calls() {
    for route in ROUTES {
        let server = server(route).await;
        for (prompt, reason, finish) in [
            ("[stop tool_use]", "end_turn", "stop"),
            ("[stop end_turn]", "end_turn", "stop"),
            ("[tool-stop end_turn]", "tool_use", "tool_calls"),
            ("[tool-stop tool_use]", "tool_use", "tool_calls"),
            ("[tool-stop max_tokens]", "max_tokens", "length"),
            ("[max_tokens]", "max_tokens", "length"),
        ] {
            for stream in [true, false] {
                let response = send(&server, "/v1/messages", &messages_prompt(prompt, stream)).await;
                assert_eq!(calls_of(&response, stream).1, reason, "{route} {prompt}: {}", response.body);
                let mut body = chat_with(&json!("{}"), stream);
                body["messages"] = json!([{"role": "user", "content": prompt}]);
                let response = send(&server, CHAT, &body).await;
                let found = format!("\"finish_reason\":\"{finish}\"");
                assert!(response.body.contains(&found), "{route} {prompt}: {}", response.body);
            }
        }
    }
}
