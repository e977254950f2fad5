//! Preserved thinking: in a session that only grows, the fake accepts every thinking block that it has signed, by every
//! client API and every upstream API. It rejects or ignores those of a session that was changed.

use http::Request;
use serde_json::{Value, json};

use crate::harness::{TestResponse, TestServer, full, test_server_with};

const ROUTES: [&str; 4] = ["auto", "converse", "invoke", "messages"];
/// A model that rejects a block of another conversation, and one that ignores it.
const MODELS: [&str; 2] = ["claude-fable-5-2", "claude-opus-5-5"];

/// Messages of the user, turn by turn.
const PROMPTS: [&str; 6] = [
    "[thinking] hello",
    "[thinking] and?",
    "[tool] read it",
    "[thinking] so?",
    "[redacted] more",
    "[thinking] end",
];

struct Session {
    model: &'static str,
    system: &'static str,
    tools: Value,
    messages: Vec<Value>,
}

impl Session {
    fn new(model: &'static str) -> Self {
        let schema = json!({"properties": {"path": {"type": "string"}}, "required": ["path"]});
        let tools = json!([
            {"name": "files.read", "description": "Reads a file.", "input_schema": schema},
            {"name": "b", "input_schema": {"type": "object"}},
        ]);
        Self { model, system: "Be brief.", tools, messages: Vec::new() }
    }

    /// The request with the turn `number`.
    fn body(&mut self, route: &str, number: usize, stream: bool) -> Value {
        let calls: Vec<Value> = self.messages.last().map_or_else(Vec::new, |last| {
            let blocks = last["content"].as_array().into_iter().flatten();
            blocks.filter(|block| block["type"] == "tool_use").map(|block| block["id"].clone()).collect()
        });
        let mut content =
            vec![json!({"type": "text", "text": PROMPTS[number]}), json!({"type": "text", "text": " "})];
        content
            .extend(calls.iter().map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": "x"})));
        self.messages.push(json!({"role": "user", "content": content}));
        let mut messages = self.messages.clone();
        // The marker moves with the end of the conversation.
        let last = messages.last_mut().unwrap();
        last["content"][0]["cache_control"] = json!({"type": "ephemeral"});
        let mut body = json!({
            "model": self.model, "max_tokens": 4000, "stream": stream, "system": self.system, "tools": self.tools,
            "messages": messages, "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": if number.is_multiple_of(2) { "low" } else { "high" }},
        });
        // Converse can only leave the tools out then.
        if number == 1 && route != "converse" {
            body["tool_choice"] = json!({"type": "none"});
        }
        body
    }

    /// Adds the response.
    fn add(&mut self, response: &TestResponse, stream: bool) {
        let content = if stream { streamed_content(response) } else { response.json()["content"].clone() };
        self.messages.push(json!({"role": "assistant", "content": content}));
    }
}

/// Content of a streamed message, as SDKs put it together.
fn streamed_content(response: &TestResponse) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    let mut input = String::new();
    let events = response.body.lines().filter_map(|line| line.strip_prefix("data: "));
    for event in events.map(|json| serde_json::from_str::<Value>(json).unwrap()) {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                input.clear();
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.last_mut().unwrap();
                for (member, delta) in event["delta"].as_object().unwrap() {
                    match member.as_str() {
                        "type" => {}
                        "partial_json" => input.push_str(delta.as_str().unwrap()),
                        _ => {
                            let before = block[member].as_str().unwrap_or_default();
                            block[member] = json!(format!("{before}{}", delta.as_str().unwrap()));
                        }
                    }
                }
            }
            "content_block_stop" if !input.is_empty() => {
                blocks.last_mut().unwrap()["input"] = serde_json::from_str(&input).unwrap();
                input.clear();
            }
            _ => {}
        }
    }
    json!(blocks)
}

async fn send(server: &TestServer, path: &str, body: &Value) -> TestResponse {
    server.fetch(Request::post(path).body(full(body.to_string().into())).unwrap()).await
}

async fn server(route: &str) -> TestServer {
    test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await
}

/// How many thinking blocks of the last request the model ignored.
fn ignored(server: &TestServer) -> usize {
    server.bedrock.requests().last().unwrap().ignored_thinking
}

/// Runs a session to its end.
async fn run(server: &TestServer, route: &str, model: &'static str, stream: bool) -> Session {
    let mut session = Session::new(model);
    for number in 0..PROMPTS.len() {
        let response = send(server, "/v1/messages", &session.body(route, number, stream)).await;
        assert_eq!(response.status, 200, "{model} turn {number}: {}", response.body);
        assert_eq!(ignored(server), 0, "{model} turn {number}");
        session.add(&response, stream);
    }
    let has_thinking =
        |message: &&Value| message["content"][0]["type"].as_str().unwrap().contains("thinking");
    assert!(session.messages.iter().filter(has_thinking).count() >= 4, "{:?}", session.messages);
    session
}

#[tokio::test]
async fn messages_sessions_keep_their_thinking() {
    for route in ROUTES {
        let server = server(route).await;
        for model in MODELS {
            for stream in [true, false] {
                run(&server, route, model, stream).await;
            }
        }
    }
}

#[tokio::test]
async fn changed_sessions_lose_their_thinking() {
    for route in ROUTES {
        let server = server(route).await;
        for model in MODELS {
            for change in ["system", "tools", "message", "block"] {
                let mut session = run(&server, route, model, false).await;
                match change {
                    "system" => session.system = "Be brief!",
                    "tools" => session.tools.as_array_mut().unwrap().reverse(),
                    "message" => session.messages[0]["content"][0]["text"] = json!("[thinking] hallo"),
                    _ => drop(session.messages[1]["content"].as_array_mut().unwrap().remove(0)),
                }
                let response = send(&server, "/v1/messages", &session.body(route, 0, false)).await;
                let context = format!("{route} {model} {change}: {}", response.body);
                if model == MODELS[0] {
                    assert_eq!(response.status, 400, "{context}");
                    assert!(response.body.contains("bound to a different conversation"), "{context}");
                } else {
                    assert_eq!(response.status, 200, "{context}");
                    assert!(ignored(&server) > 0, "{context}");
                }
            }
        }
    }
}

#[tokio::test]
async fn bedrock_sessions_keep_their_thinking() {
    let server = server("auto").await;
    let model = "us.anthropic.claude-fable-5-2";
    let mut body = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 4000, "system": "Be brief.",
        "thinking": {"type": "adaptive", "display": "summarized"}, "messages": [],
    });
    for prompt in ["[thinking] hello", "[thinking] and?", "[redacted] so?"] {
        body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": prompt}));
        let response = send(&server, &format!("/model/{model}/invoke"), &body).await;
        assert_eq!((response.status.as_u16(), ignored(&server)), (200, 0), "{}", response.body);
        let content = response.json()["content"].clone();
        body["messages"].as_array_mut().unwrap().push(json!({"role": "assistant", "content": content}));
    }
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": "x"}));
    body["system"] = json!("Be brief!");
    let response = send(&server, &format!("/model/{model}/invoke"), &body).await;
    assert_eq!(response.status, 400, "{}", response.body);

    let mut body = json!({
        "system": [{"text": "Be brief."}], "messages": [],
        "additionalModelRequestFields": {"thinking": {"type": "adaptive", "display": "summarized"}},
    });
    for prompt in ["[thinking] hello", "[thinking] and?", "[redacted] so?"] {
        body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": [{"text": prompt}]}));
        let response = send(&server, &format!("/model/{model}/converse"), &body).await;
        assert_eq!((response.status.as_u16(), ignored(&server)), (200, 0), "{}", response.body);
        let message = response.json()["output"]["message"].clone();
        body["messages"].as_array_mut().unwrap().push(message);
    }
    body["messages"].as_array_mut().unwrap().push(json!({"role": "user", "content": [{"text": "x"}]}));
    body["messages"][0]["content"][0]["text"] = json!("[thinking] hallo");
    let response = send(&server, &format!("/model/{model}/converse"), &body).await;
    assert_eq!(response.status, 400, "{}", response.body);
}

/// Upstream, what a chat session sends begins with what it sent before, whatever the client adds.
#[tokio::test]
async fn chat_sessions_only_grow_upstream() {
    for route in ROUTES {
        let server = server(route).await;
        for model in MODELS {
            let mut messages = vec![json!({"role": "system", "content": "Be brief."})];
            let mut before: Vec<Value> = Vec::new();
            for (number, prompt) in PROMPTS.iter().enumerate() {
                messages.push(json!({"role": "user", "content": prompt}));
                messages.push(json!({"role": "developer", "content": format!("reminder {number}")}));
                let body = json!({
                    "model": model, "messages": messages, "reasoning_effort": "high",
                    "tools": [{"type": "function", "function": {"name": "files.read", "parameters": {}}}],
                });
                let response = send(&server, "/v1/chat/completions", &body).await;
                assert_eq!(response.status, 200, "{route} {model} {number}: {}", response.body);
                let sent = crate::tool_calls::last_sent(&server);
                let now = without_points(&sent["messages"]);
                assert_eq!(now[..before.len()], before[..], "{route} {model} {number}");
                before = now;
                let message = response.json()["choices"][0]["message"].clone();
                let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
                messages.push(message);
                messages.extend(
                    calls
                        .iter()
                        .map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "x"})),
                );
            }
        }
    }
}

/// Messages without cache points and markers.
fn without_points(messages: &Value) -> Vec<Value> {
    let mut messages = messages.as_array().unwrap().clone();
    for message in &mut messages {
        let blocks = message["content"].as_array_mut().unwrap();
        blocks.retain(|block| block.get("cachePoint").is_none());
        for block in blocks {
            block.as_object_mut().unwrap().remove("cache_control");
        }
    }
    messages
}
