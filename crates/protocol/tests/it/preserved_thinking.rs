//! Preserved thinking: the upstream request of a turn begins with that of the turn before.
//!
//! Newer models bind thinking to the tools, the system prompt and all messages before it. A client only adds to its
//! conversation; so does what goes upstream, for every client API and every upstream API. Cache markers may move.

mod session;

use std::cell::RefCell;

use proptest::prelude::*;
use protocol::anthropic::event_sink::EventSink;
use protocol::anthropic::{MessageAccumulator, Request};
use protocol::apis::UpstreamApi;
use protocol::capabilities::Capabilities;
use protocol::openai::{self, CompletionHead};
use protocol::translate::{
    self, ChatOptions, End, InvokeOptions, InvokeStream, RequestedBetas, StreamContext, ToolNames,
    TranslationOptions,
};
use serde_json::{Map, Value, json};

use crate::wire;
use session::{Piece, Session, session};

const OPTIONS: TranslationOptions = TranslationOptions::new(8192);

/// A request to Bedrock.
struct Sent {
    body: Value,
    tool_names: ToolNames,
}

/// Client API of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Client {
    Messages,
    Chat,
    /// Bodies for InvokeModel.
    Bedrock,
}

/// The request to `api`; `None` if the API cannot carry all of it.
fn sent(client: Client, api: UpstreamApi, body: &Value, capabilities: &Capabilities) -> Option<Sent> {
    let mut body = body.to_string();
    if client == Client::Chat {
        let chat = openai::Request::parse(body.as_bytes()).unwrap();
        let options = ChatOptions { auto_cache: true, strict: false };
        let call = translate::chat_to_messages(&chat, body.len(), capabilities, &options).unwrap();
        let translated = call.body;
        body = String::from_utf8(translated).unwrap();
    }
    let mut tool_names = ToolNames::default();
    if client != Client::Bedrock {
        let parsed = Request::parse(body.as_bytes()).unwrap();
        let normalized = translate::normalize(body.as_bytes(), &parsed, capabilities, false).unwrap();
        if let Some(normalized) = normalized {
            body = String::from_utf8(normalized.body).unwrap();
            tool_names = normalized.tool_names;
        }
    }
    let bytes = match api {
        UpstreamApi::Converse => {
            let request = Request::parse(body.as_bytes()).unwrap();
            let betas = RequestedBetas::default();
            let call = translate::to_converse(request, betas, body.len(), capabilities, &OPTIONS).unwrap();
            tool_names.extend(&call.tool_names);
            call.unsupported.is_empty().then_some(call.body)?
        }
        _ => {
            let options = match api {
                UpstreamApi::Messages => InvokeOptions::messages("m", OPTIONS),
                _ => InvokeOptions::invoke_model(OPTIONS),
            };
            let call = translate::to_invoke(&body, capabilities, &options).unwrap();
            assert!(call.unsupported.is_empty(), "{:?}", call.unsupported);
            call.body
        }
    };
    Some(Sent { body: serde_json::from_slice(&bytes).unwrap(), tool_names })
}

/// What thinking is bound to: tools, system prompt, messages; each as a list of JSON texts without cache markers.
#[derive(Debug, PartialEq)]
struct Bound {
    tools: Vec<String>,
    system: Vec<String>,
    messages: Vec<String>,
}

fn bound(body: &Value) -> Bound {
    let converse_tools = || body["toolConfig"]["tools"].as_array().cloned();
    let list = |value: Option<Vec<Value>>| -> Vec<String> {
        let values = value.into_iter().flatten().map(without_markers);
        values.filter(|value| *value != json!({})).map(|value| value.to_string()).collect()
    };
    let more = body["additionalModelRequestFields"]["tools"].as_array().cloned();
    let mut tools = list(body["tools"].as_array().cloned().or_else(converse_tools));
    tools.extend(list(more));
    Bound {
        tools,
        system: list(body["system"].as_array().cloned()),
        messages: list(body["messages"].as_array().cloned()),
    }
}

/// The value without cache markers and cache points; content of one text is a list, as clients change it for a marker.
fn without_markers(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let is_data = object.contains_key("input_schema") || object.contains_key("toolSpec");
            let keep = |(key, value): (String, Value)| match (&*key, value) {
                ("cache_control" | "cachePoint", _) => None,
                ("content", Value::String(text)) => Some((key, json!([{"type": "text", "text": text}]))),
                ("input", value) => Some((key, value)),
                (_, value) => Some((key, if is_data { value } else { without_markers(value) })),
            };
            object.into_iter().filter_map(keep).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => {
            items.into_iter().map(without_markers).filter(|item| *item != json!({})).collect()
        }
        other => other,
    }
}

/// Names of the tools of a request, as the model reads them.
fn tool_names(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().or_else(|| body["toolConfig"]["tools"].as_array());
    let name =
        |tool: &Value| tool.get("name").or_else(|| tool["toolSpec"].get("name"))?.as_str().map(str::to_owned);
    tools.into_iter().flatten().filter_map(name).collect()
}

thread_local! {
    static CALLS: RefCell<u64> = const { RefCell::new(0) };
}

fn next_id() -> String {
    CALLS.with_borrow_mut(|calls| {
        *calls += 1;
        format!("toolu_{calls}")
    })
}

/// The response as Anthropic's blocks, with the tools of the request.
fn blocks(pieces: &[Piece], tools: &[String]) -> Vec<Value> {
    let block = |piece: &Piece| match piece {
        Piece::Thinking(text, signature) => {
            Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
        }
        Piece::Redacted(data) => Some(json!({"type": "redacted_thinking", "data": data})),
        Piece::Text(text) => Some(json!({"type": "text", "text": text})),
        Piece::Call(tool, input) => {
            let name = tools.get(tool % tools.len().max(1))?;
            let input = if input.is_empty() { json!({}) } else { serde_json::from_str(input).unwrap() };
            Some(json!({"type": "tool_use", "id": next_id(), "name": name, "input": input}))
        }
    };
    let mut blocks: Vec<Value> = pieces.iter().filter_map(block).collect();
    // A response without content is no turn of a chat.
    let has_content = |block: &Value| {
        block["type"] == "tool_use" || block["text"].as_str().is_some_and(|text| !text.trim().is_empty())
    };
    if !blocks.iter().any(has_content) {
        blocks.push(json!({"type": "text", "text": "ok"}));
    }
    blocks
}

/// The message that the client gets, after the whole way of a streamed response.
fn received(api: UpstreamApi, blocks: &[Value], tool_names: &ToolNames) -> Vec<u8> {
    let context = StreamContext { tool_names: tool_names.clone(), ..wire::opening() };
    let mut message = MessageAccumulator::default();
    if api == UpstreamApi::Converse {
        let frames: Vec<u8> = converse_events(blocks)
            .iter()
            .flat_map(|(kind, payload)| wire::event(kind, payload.to_string().as_bytes()))
            .collect();
        wire::run(context, [&*frames], End::Eof, |event| message.event(event));
    } else {
        let frames: Vec<u8> = anthropic_events(blocks)
            .iter()
            .flat_map(|event| crate::invoke_stream::chunk(&event.to_string()))
            .collect();
        let mut stream = InvokeStream::new(context);
        stream.push(&frames, &mut message);
        stream.finish(End::Eof, &mut message);
    }
    message.finish().unwrap()
}

fn converse_events(blocks: &[Value]) -> Vec<(&'static str, Value)> {
    use base64::Engine as _;
    let mut events = vec![("messageStart", json!({"role": "assistant"}))];
    for (index, block) in blocks.iter().enumerate() {
        let mut delta = |delta: Value| {
            events.push(("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta})));
        };
        match block["type"].as_str().unwrap() {
            "text" => delta(json!({"text": block["text"]})),
            "thinking" => {
                delta(json!({"reasoningContent": {"text": block["thinking"]}}));
                delta(json!({"reasoningContent": {"signature": block["signature"]}}));
            }
            "redacted_thinking" => {
                let data = base64::engine::general_purpose::STANDARD.encode(block["data"].as_str().unwrap());
                delta(json!({"reasoningContent": {"redactedContent": data}}));
            }
            _ => {
                let start = json!({"toolUse": {"toolUseId": block["id"], "name": block["name"]}});
                events.push(("contentBlockStart", json!({"contentBlockIndex": index, "start": start})));
                let input = json!({"toolUse": {"input": block["input"].to_string()}});
                events.push(("contentBlockDelta", json!({"contentBlockIndex": index, "delta": input})));
            }
        }
        events.push(("contentBlockStop", json!({"contentBlockIndex": index})));
    }
    events.push(("messageStop", json!({"stopReason": "end_turn"})));
    events.push(("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 1}})));
    events
}

fn anthropic_events(blocks: &[Value]) -> Vec<Value> {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let mut events =
        vec![json!({"type": "message_start", "message": {"model": "m", "id": "msg_1", "type": "message",
        "role": "assistant", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}})];
    for (index, block) in blocks.iter().enumerate() {
        let (start, deltas) = match block["type"].as_str().unwrap() {
            "text" => (
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": block["text"]})],
            ),
            "thinking" => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                    json!({"type": "signature_delta", "signature": block["signature"]}),
                ],
            ),
            "redacted_thinking" => (block.clone(), Vec::new()),
            _ => (
                json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}),
                vec![json!({"type": "input_json_delta", "partial_json": block["input"].to_string()})],
            ),
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        let deltas = deltas
            .into_iter()
            .map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta}));
        events.extend(deltas);
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
    );
    events.push(json!({"type": "message_stop"}));
    events
}

/// The blocks of a response in an upstream message, without what no API takes back.
fn returned(client: Client, api: UpstreamApi, blocks: &[Value]) -> Vec<Value> {
    use base64::Engine as _;
    let encode = |data: &Value| base64::engine::general_purpose::STANDARD.encode(data.as_str().unwrap());
    let is_blank = |block: &Value| block["text"].as_str().is_some_and(|text| text.trim().is_empty());
    let has_text = |block: &&Value| client == Client::Bedrock || !is_blank(block);
    let block = |block: &Value| match (api, block["type"].as_str().unwrap()) {
        (UpstreamApi::Converse, "text") => json!({"text": block["text"]}),
        (UpstreamApi::Converse, "thinking") => {
            let text = json!({"text": block["thinking"], "signature": block["signature"]});
            json!({"reasoningContent": {"reasoningText": text}})
        }
        (UpstreamApi::Converse, "redacted_thinking") => {
            json!({"reasoningContent": {"redactedContent": encode(&block["data"])}})
        }
        (UpstreamApi::Converse, _) => {
            json!({"toolUse": {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}})
        }
        _ => block.clone(),
    };
    blocks.iter().filter(has_text).map(block).collect()
}

/// Runs a session by one client API and one upstream API.
fn check(session: &Session, client: Client, api: UpstreamApi, capabilities: &Capabilities) {
    let mut responses = Vec::new();
    let mut before: Option<(Bound, Vec<Value>)> = None;
    for (round, content) in session.rounds().iter().enumerate() {
        let (body, has_prefill) = match client {
            Client::Chat => (session.chat_body(round, &responses), false),
            _ => session.messages_body(round, &responses),
        };
        let request = sent(client, api, &body, capabilities);
        // The response comes by another API then.
        let (by, request, is_sent) = match request {
            Some(request) => (api, request, true),
            None => (
                UpstreamApi::InvokeModel,
                sent(client, UpstreamApi::InvokeModel, &body, capabilities).unwrap(),
                false,
            ),
        };
        let mut now = bound(&request.body);
        if has_prefill {
            now.messages.pop();
        }
        if let Some((before, response)) = before.as_ref().filter(|_| is_sent) {
            let context = || format!("{client:?} {api:?} {capabilities:?}, round {round}: {body}");
            assert_eq!(now.tools, before.tools, "{}", context());
            assert_eq!(now.system, before.system, "{}", context());
            let length = before.messages.len();
            assert_eq!(now.messages[..length.min(now.messages.len())], before.messages, "{}", context());
            if client != Client::Chat {
                let assistant: Value = serde_json::from_str(&now.messages[length]).unwrap();
                let content = assistant["content"].as_array().unwrap();
                assert_eq!(json!(content[..response.len()]), json!(response), "{}", context());
            }
        }
        let blocks = blocks(&content.pieces, &tool_names(&request.body));
        let message = received(by, &blocks, &request.tool_names);
        responses.push(response_for_client(client, &message));
        before = is_sent.then(|| (now, returned(client, api, &blocks)));
    }
}

/// What the client adds to its conversation.
fn response_for_client(client: Client, message: &[u8]) -> Value {
    if client != Client::Chat {
        return serde_json::from_slice::<Value>(message).unwrap()["content"].clone();
    }
    let head = CompletionHead {
        id: "chatcmpl-1".to_owned(),
        created: 1,
        model: "m".to_owned(),
        include_usage: false,
        functions: false,
        exclude_reasoning: false,
    };
    let completion = translate::chat_completion(message, &head).unwrap();
    serde_json::from_slice::<Value>(&completion).unwrap()["choices"][0]["message"].clone()
}

/// The newest models, and models without instructions between turns.
const MODELS: [&Capabilities; 2] = [
    &Capabilities::NEWEST_CLAUDE,
    &Capabilities { mid_conversation_system: false, ..Capabilities::NEWEST_CLAUDE },
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_request_begins_with_the_one_before(session in session()) {
        for api in [UpstreamApi::Converse, UpstreamApi::InvokeModel, UpstreamApi::Messages] {
            check(&session, Client::Messages, api, MODELS[0]);
            check(&session.without_instructions(), Client::Messages, api, MODELS[1]);
        }
    }

    #[test]
    fn chat_request_begins_with_the_one_before(session in session()) {
        for api in [UpstreamApi::Converse, UpstreamApi::InvokeModel, UpstreamApi::Messages] {
            for capabilities in MODELS {
                check(&session, Client::Chat, api, capabilities);
            }
        }
    }

    #[test]
    fn bedrock_request_begins_with_the_one_before(session in session()) {
        check(&session, Client::Bedrock, UpstreamApi::InvokeModel, MODELS[0]);
    }
}
