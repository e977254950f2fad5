//! Preserved thinking: blocks are bound to the conversation before them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod harness;

use fake_bedrock::Config;
use harness::{TestServer, bytes, start};
use serde_json::{Value, json};

const FABLE: &str = "us.anthropic.claude-fable-5-2";
const OPUS: &str = "us.anthropic.claude-opus-5-5";
const UNBOUND: &str = "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a \
                       different conversation. Remove the block, or set \
                       `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\".";

fn tools() -> Value {
    json!([
        {"name": "a", "description": "first", "input_schema": {"type": "object", "properties": {"x": {}, "y": {}}}},
        {"name": "b", "input_schema": {"type": "object"}},
    ])
}

/// The first turn of a conversation.
fn first_turn(model: &str) -> Value {
    json!({
        "model": model,
        "max_tokens": 1000,
        "system": [{"type": "text", "text": "Be brief."}],
        "tools": tools(),
        "thinking": {"type": "adaptive", "display": "summarized"},
        "messages": [{"role": "user", "content": "[thinking] hello"}],
    })
}

async fn post(fake: &mut TestServer, api: &str, body: &Value) -> (u16, Value) {
    let mut body = body.clone();
    let members = body.as_object_mut().unwrap();
    let request = match api {
        "messages" => {
            let mut request = fake.post("/anthropic/v1/messages", &body);
            request.headers_mut().insert("anthropic-version", "2023-06-01".parse().unwrap());
            if body["thinking"].get("block_binding").is_some() {
                let beta = "thinking-binding-controls-2026-08-01".parse().unwrap();
                request.headers_mut().insert("anthropic-beta", beta);
            }
            request
        }
        "invoke" => {
            let model = members.shift_remove("model").unwrap();
            members.insert("anthropic_version".to_owned(), json!("bedrock-2023-05-31"));
            fake.post(&format!("/model/{}/invoke", model.as_str().unwrap()), &body)
        }
        _ => {
            let model = members["model"].as_str().unwrap().to_owned();
            fake.post(&format!("/model/{model}/converse"), &converse_body(&body))
        }
    };
    let response = fake.send(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&bytes(response).await).unwrap())
}

/// The same request for Converse.
fn converse_body(body: &Value) -> Value {
    let block = |block: &Value| match block["type"].as_str() {
        Some("thinking") => json!({"reasoningContent": {
            "reasoningText": {"text": block["thinking"], "signature": block["signature"]},
        }}),
        _ => json!({"text": block["text"]}),
    };
    let content = |content: &Value| match content {
        Value::String(text) => json!([{"text": text}]),
        blocks => blocks.as_array().unwrap().iter().map(block).collect(),
    };
    let messages = body["messages"].as_array().unwrap().iter();
    let messages: Vec<Value> = messages
        .map(|message| json!({"role": message["role"], "content": content(&message["content"])}))
        .collect();
    let tools = body["tools"].as_array().unwrap().iter().map(|tool| {
        let mut spec = json!({"name": tool["name"], "inputSchema": {"json": tool["input_schema"]}});
        if let Some(description) = tool.get("description") {
            spec["description"] = description.clone();
        }
        json!({"toolSpec": spec})
    });
    let mut tools: Vec<Value> = tools.collect();
    tools.push(json!({"cachePoint": {"type": "default"}}));
    json!({
        "system": content(&body["system"]),
        "messages": messages,
        "toolConfig": {"tools": tools},
        "additionalModelRequestFields": {"thinking": body["thinking"]},
    })
}

/// Content of the response to the first turn, as Anthropic's blocks.
async fn first_answer(fake: &mut TestServer, api: &str, model: &str) -> Value {
    let (status, answer) = post(fake, api, &first_turn(model)).await;
    assert_eq!(status, 200, "{answer}");
    if api != "converse" {
        return answer["content"].clone();
    }
    let blocks = answer["output"]["message"]["content"].as_array().unwrap().iter();
    let block = |block: &Value| match block.get("reasoningContent") {
        Some(reasoning) => {
            let thinking = &reasoning["reasoningText"];
            json!({"type": "thinking", "thinking": thinking["text"], "signature": thinking["signature"]})
        }
        None => json!({"type": "text", "text": block["text"]}),
    };
    blocks.map(block).collect()
}

fn second_turn(model: &str, answer: &Value) -> Value {
    let mut body = first_turn(model);
    let more = [json!({"role": "assistant", "content": answer}), json!({"role": "user", "content": "go on"})];
    body["messages"].as_array_mut().unwrap().extend(more);
    body
}

/// Changes of a conversation that break the binding.
fn changed(mut body: Value, what: &str) -> Value {
    match what {
        "system" => body["system"][0]["text"] = json!("Be brief!"),
        "tool order" => body["tools"] = json!([tools()[1], tools()[0]]),
        "schema order" => {
            body["tools"][0]["input_schema"]["properties"] = json!({"y": {}, "x": {}});
        }
        "tool" => body["tools"][1]["name"] = json!("c"),
        "message" => body["messages"][0]["content"] = json!("[thinking] hallo"),
        _ => {}
    }
    body
}

const CHANGES: [&str; 5] = ["system", "tool order", "schema order", "tool", "message"];

#[tokio::test]
async fn unchanged_conversation_keeps_its_thinking_on_every_api() {
    let mut fake = start(Config::default()).await;
    for model in [FABLE, OPUS] {
        for first in ["converse", "invoke", "messages"] {
            let answer = first_answer(&mut fake, first, model).await;
            for second in ["converse", "invoke", "messages"] {
                let mut body = second_turn(model, &answer);
                body["messages"][0]["content"] = json!([{"type": "text", "text": "[thinking] hello"}]);
                let (status, answer) = post(&mut fake, second, &body).await;
                assert_eq!(status, 200, "{first}, {second}: {answer}");
                assert_eq!(fake.log.requests().last().unwrap().ignored_thinking, 0, "{first}, {second}");
            }
        }
    }
}

#[tokio::test]
async fn changed_conversation_loses_its_thinking() {
    let mut fake = start(Config::default()).await;
    for api in ["converse", "invoke", "messages"] {
        let fable = first_answer(&mut fake, api, FABLE).await;
        let opus = first_answer(&mut fake, api, OPUS).await;
        for what in CHANGES {
            let (status, error) = post(&mut fake, api, &changed(second_turn(FABLE, &fable), what)).await;
            assert_eq!(status, 400, "{api} {what}: {error}");
            assert!(error.to_string().replace('\\', "").contains(UNBOUND), "{error}");
            let (status, answer) = post(&mut fake, api, &changed(second_turn(OPUS, &opus), what)).await;
            assert_eq!(status, 200, "{api} {what}: {answer}");
            assert_eq!(fake.log.requests().last().unwrap().ignored_thinking, 1, "{api} {what}");
        }
        let (status, error) = post(&mut fake, api, &second_turn(FABLE, &opus)).await;
        assert_eq!(status, 400, "of another model: {error}");
    }
}

#[tokio::test]
async fn blocks_can_be_dropped_on_request() {
    let mut fake = start(Config::default()).await;
    let answer = first_answer(&mut fake, "messages", FABLE).await;
    let mut body = changed(second_turn(FABLE, &answer), "system");
    body["thinking"]["block_binding"] = json!({"prefix_mismatch_behavior": "drop_block"});
    let (status, answer) = post(&mut fake, "messages", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(fake.log.requests().last().unwrap().ignored_thinking, 1);
}

#[tokio::test]
async fn later_block_is_bound_to_earlier_ones() {
    let mut fake = start(Config::default()).await;
    let first = first_answer(&mut fake, "invoke", FABLE).await;
    let mut second = second_turn(FABLE, &first);
    second["messages"][2]["content"] = json!("[thinking] go on");
    let (_, answer) = post(&mut fake, "invoke", &second).await;
    let mut third = second.clone();
    third["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": answer["content"]}),
        json!({"role": "user", "content": "and?"}),
    ]);
    assert_eq!(post(&mut fake, "invoke", &third).await.0, 200);
    third["messages"][1]["content"].as_array_mut().unwrap().remove(0);
    let (status, error) = post(&mut fake, "invoke", &third).await;
    assert_eq!(status, 400, "{error}");
    assert!(error["message"].as_str().unwrap().starts_with("messages.3.content.0: Invalid `signature`"));
}
