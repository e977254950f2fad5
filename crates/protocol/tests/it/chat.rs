//! Chat completions: the translation of requests, and of responses into chunks.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::anthropic::event_sink::{Encoder, EventSink};
use protocol::anthropic::{
    BlockStart, Delta, EmptyObject, Error, ErrorType, Event, MessageAccumulator, MessageEnd, MessageStart,
    Usage,
};
use protocol::openai::{self, CompletionHead};
use protocol::translate::{
    self, ChatCall, ChatOptions, ChatStream, End, Notice, RequestedBetas, TranslationOptions,
    UnsupportedField,
};
use serde_json::{Value, json};

use crate::golden::{capabilities, fixtures, options, snapshot};
use crate::wire;

fn head(include_usage: bool, functions: bool) -> CompletionHead {
    CompletionHead {
        id: "chatcmpl-test".to_owned(),
        created: 7,
        model: "m".to_owned(),
        include_usage,
        functions,
        exclude_reasoning: false,
    }
}

/// [`ChatCall`] without what it borrows.
struct Became {
    body: Vec<u8>,
    include_usage: bool,
    functions: bool,
    unsupported: Vec<UnsupportedField>,
    notices: Vec<Notice>,
}

/// What a chat request becomes: the Messages request, and what the main road makes of that.
fn translated(name: &str, body: &str) -> Result<(Became, String), String> {
    let chat_options = ChatOptions {
        auto_cache: !name.contains("switched_off"),
        strict: name.contains("nothing_may_be_dropped"),
    };
    let capabilities = capabilities(name);
    let chat = openai::Request::parse(body.as_bytes()).map_err(|error| error.to_string())?;
    let call = translate::chat_to_messages(&chat, body.len(), &capabilities, &chat_options);
    let call = call.map_err(|error| error.to_string())?;
    let request = protocol::anthropic::Request::parse(&call.body);
    let request = request.map_err(|error| format!("misread: {error}"))?;
    if let Some(meant) = &call.request {
        assert_eq!(request, *meant, "what is printed is what is meant");
    }
    let options = TranslationOptions { strict: false, ..options(name) };
    let road =
        translate::to_converse(request, RequestedBetas::default(), call.body.len(), &capabilities, &options);
    let road = road.map_err(|error| format!("the main road: {error}"))?;
    let mut then = String::new();
    then.extend(road.unsupported.iter().map(|loss| format!("\nthen loss: {loss}")));
    then.extend(road.notices.iter().map(|notice| format!("\nthen notice: {notice}")));
    let ChatCall { body, include_usage, functions, unsupported, notices, .. } = call;
    Ok((Became { body, include_usage, functions, unsupported, notices }, then))
}

#[test]
fn chat_requests_become_messages_requests_as_recorded() {
    for (name, body) in fixtures("chats", "json") {
        let text = match translated(&name, &body) {
            Err(refusal) => format!("refused: {refusal}\n"),
            Ok((call, then)) => {
                let mut text = String::from_utf8(call.body).unwrap();
                text.push_str(&format!("\nusage: {}, functions: {}", call.include_usage, call.functions));
                text.extend(call.unsupported.iter().map(|loss| format!("\nloss: {loss}")));
                text.extend(call.notices.iter().map(|notice| {
                    let kind = if notice.dropped { "dropped" } else { "notice" };
                    format!("\n{kind}: {notice}")
                }));
                text + &then
            }
        };
        assert!(name.contains("refused") == text.starts_with("refused"), "{name}: {text}");
        snapshot("chats", &format!("{name}.messages"), &text);
    }
}

#[test]
fn streams_become_chunks_as_recorded() {
    for (name, script) in fixtures("streams", "jsonl") {
        let mut chat = ChatStream::new(head(true, false));
        wire::run(wire::opening(), [&*wire::frames(&script)], End::Eof, |event| chat.event(event));
        snapshot("streams", &format!("{name}.chat"), &String::from_utf8(chat.take()).unwrap());
    }
}

/// The message that a client makes of chunks, as the SDKs do.
#[derive(Debug, Default, PartialEq)]
struct ReceivedMessage {
    content: String,
    reasoning: String,
    /// Name and arguments.
    calls: Vec<(String, String)>,
    finish: Option<String>,
    usage: Option<Value>,
    error: Option<Value>,
    done: bool,
}

/// Reads a stream, and holds it against the grammar: role, deltas, one end, the usage if wanted, `[DONE]`; or a
/// beginning of that and one error.
fn receive(bytes: &[u8], head: &CompletionHead) -> ReceivedMessage {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut received = ReceivedMessage::default();
    let mut begun = false;
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text}");
    for event in text.split("\n\n").filter(|event| !event.is_empty() && *event != ": ping") {
        assert!(!received.done && received.error.is_none(), "nothing follows the end: {text}");
        let data = event.strip_prefix("data: ").unwrap();
        assert!(!data.contains('\n'), "{data}");
        if data == "[DONE]" {
            assert!(received.finish.is_some() && received.usage.is_some() == head.include_usage, "{text}");
            received.done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        if let Some(error) = chunk.get("error") {
            assert!(error["message"].is_string() && error["type"].is_string(), "{data}");
            received.error = Some(error.clone());
            continue;
        }
        assert_eq!((&chunk["id"], &chunk["object"]), (&json!(head.id), &json!("chat.completion.chunk")));
        assert_eq!((&chunk["created"], &chunk["model"]), (&json!(head.created), &json!(head.model)));
        let Some(choice) = chunk["choices"].get(0) else {
            assert!(
                received.finish.is_some() && received.usage.is_none() && chunk["usage"].is_object(),
                "{text}"
            );
            received.usage = Some(chunk["usage"].clone());
            continue;
        };
        assert!(received.finish.is_none(), "one end, and nothing more of the answer after it: {text}");
        assert_eq!(chunk.get("usage").is_some(), head.include_usage, "null until it is known");
        let delta = choice["delta"].as_object().unwrap();
        assert_eq!(
            delta.get("role").is_some(),
            !std::mem::replace(&mut begun, true),
            "first and only once: {text}"
        );
        let add = |to: &mut String, from: &Value| to.push_str(from.as_str().unwrap_or_default());
        add(&mut received.content, &choice["delta"]["content"]);
        add(&mut received.reasoning, &choice["delta"]["reasoning_content"]);
        let functions = delta.get("function_call").map(|function| (0, function)).into_iter();
        let calls = choice["delta"]["tool_calls"].as_array().into_iter().flatten();
        let calls =
            calls.map(|call| (usize::try_from(call["index"].as_u64().unwrap()).unwrap(), &call["function"]));
        for (index, function) in functions.chain(calls) {
            if let Some(name) = function["name"].as_str() {
                assert_eq!(index, received.calls.len(), "numbered from 0, without gaps: {text}");
                received.calls.push((name.to_owned(), String::new()));
            }
            assert_eq!(index + 1, received.calls.len(), "one after the other: {text}");
            add(&mut received.calls[index].1, &function["arguments"]);
        }
        received.finish = choice["finish_reason"].as_str().map(str::to_owned);
        assert!(received.finish.is_none() || delta.is_empty(), "{text}");
    }
    received
}

fn text() -> impl Strategy<Value = String> {
    "([a-z<]{1,4}|[ \n\"\\\\é😀\u{2028}]){0,6}"
}

/// Any event, in any order.
fn event() -> impl Strategy<Value = Event<'static>> {
    let index = 0..3_u32;
    let start = |index, content_block| Event::ContentBlockStart { index, content_block };
    let delta = |index, delta| Event::ContentBlockDelta { index, delta };
    let usage = Usage { input_tokens: 3, cache_read_input_tokens: 4, output_tokens: 5, ..Usage::default() };
    prop_oneof![
        1 => Just(Event::MessageStart { message: MessageStart::new("msg_1", "m") }),
        2 => index.clone().prop_map(move |i| start(i, BlockStart::Text { text: "".into() })),
        1 => index.clone().prop_map(move |i| start(i, BlockStart::Thinking { thinking: "".into(), signature: "".into() })),
        1 => index.clone().prop_map(move |i| start(i, BlockStart::RedactedThinking { data: "x".into() })),
        3 => (index.clone(), text()).prop_map(move |(i, name)| start(i, BlockStart::ToolUse { id: "t".into(), name: name.into(), input: EmptyObject {} })),
        4 => (index.clone(), text()).prop_map(move |(i, text)| delta(i, Delta::TextDelta { text: text.into() })),
        2 => (index.clone(), text()).prop_map(move |(i, text)| delta(i, Delta::ThinkingDelta { thinking: text.into() })),
        1 => (index.clone(), text()).prop_map(move |(i, text)| delta(i, Delta::SignatureDelta { signature: text.into() })),
        3 => (index.clone(), text()).prop_map(move |(i, text)| delta(i, Delta::InputJsonDelta { partial_json: text.into() })),
        2 => index.prop_map(|index| Event::ContentBlockStop { index }),
        1 => "end_turn|tool_use|max_tokens|refusal|novel".prop_map(move |reason| Event::MessageDelta { delta: MessageEnd { stop_reason: Some(reason.into()), stop_sequence: None }, usage }),
        1 => Just(Event::MessageStop),
        1 => Just(Event::Ping),
        1 => Just(Event::Error { error: std::borrow::Cow::Owned(Error::new(ErrorType::Api, "x: y")), request_id: None }),
    ]
}

fn encode(events: &[Event<'_>], head: &CompletionHead, raw: bool) -> Vec<u8> {
    let mut chat = ChatStream::new(head.clone());
    for event in events {
        if raw {
            chat.raw(event.name(), &serde_json::to_string(event).unwrap());
        } else {
            chat.event(event);
        }
    }
    chat.take()
}

proptest! {
    #[test]
    fn chunks_are_valid_for_every_event_order(events in vec(event(), 0..24), usage: bool, functions: bool) {
        let head = head(usage, functions);
        receive(&encode(&events, &head, false), &head);
    }

    #[test]
    fn raw_and_typed_events_give_equal_chunks(
        events in vec(event(), 0..24),
        functions: bool,
    ) {
        let head = head(true, functions);
        let both = [false, true].map(|raw| receive(&encode(&events, &head, raw), &head));
        prop_assert_eq!(&both[0], &both[1]);
    }

    #[test]
    fn chunks_add_up_to_the_completion(response in crate::properties::response()) {
        let head = head(true, false);
        let bytes: Vec<u8> = response
            .iter()
            .flat_map(|(kind, payload)| wire::event(kind, payload.to_string().as_bytes()))
            .collect();
        let (mut chat, mut fold) = (ChatStream::new(head.clone()), MessageAccumulator::default());
        wire::run(wire::opening(), [&*bytes], End::Eof, |event| {
            chat.event(event);
            fold.event(event);
        });
        let message = fold.finish().unwrap();
        let usage: Usage = serde_json::from_value(serde_json::from_slice::<Value>(&message).unwrap()["usage"].clone()).unwrap();
        let whole = translate::chat_completion(&message, &head).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let received = receive(&chat.take(), &head);
        prop_assert!(received.done);

        let reported = &whole["choices"][0]["message"];
        prop_assert_eq!(&received.content, reported["content"].as_str().unwrap_or_default());
        prop_assert_eq!(&received.reasoning, reported["reasoning_content"].as_str().unwrap_or_default());
        let calls = reported["tool_calls"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(received.calls.len(), calls.len());
        for ((name, arguments), call) in received.calls.iter().zip(&calls) {
            prop_assert_eq!(&json!(name), &call["function"]["name"]);
            prop_assert_eq!(&json!(arguments), &call["function"]["arguments"]);
        }
        prop_assert_eq!(&json!(received.finish), &whole["choices"][0]["finish_reason"]);
        prop_assert_eq!(received.usage.as_ref(), Some(&whole["usage"]));
        let prompt = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
        prop_assert_eq!(&whole["usage"]["prompt_tokens"], &json!(prompt));
        prop_assert_eq!(&whole["usage"]["prompt_tokens_details"]["cached_tokens"], &json!(usage.cache_read_input_tokens));
        prop_assert_eq!(&whole["usage"]["total_tokens"], &json!(prompt + usage.output_tokens));
    }
}

#[test]
fn tool_call_without_arguments_has_an_empty_object() {
    let call = |index| Event::ContentBlockStart {
        index,
        content_block: BlockStart::ToolUse { id: "t".into(), name: "now".into(), input: EmptyObject {} },
    };
    let stop = |index| Event::ContentBlockStop { index };
    let head = head(false, false);
    let message =
        receive(&encode(&[call(0), stop(0), call(1), stop(1), Event::MessageStop], &head, false), &head);
    assert_eq!(message.calls, vec![("now".to_owned(), "{}".to_owned()); 2]);
}

#[test]
fn legacy_functions_get_one_function_call() {
    let head = head(false, true);
    let message =
        br#"{"content":[{"type":"tool_use","id":"t","name":"now","input":{}}],"stop_reason":"tool_use"}"#;
    let whole: Value = serde_json::from_slice(&translate::chat_completion(message, &head).unwrap()).unwrap();
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"]["function_call"], json!({"name": "now", "arguments": "{}"}));
    assert_eq!(
        (&choice["message"]["content"], &choice["finish_reason"]),
        (&Value::Null, &json!("function_call"))
    );
}

/// Every leaf of a chat request is in the Messages request, or noticed by its place.
#[test]
fn every_chat_field_is_carried_or_noticed() {
    for (name, body) in fixtures("chats", "json") {
        let Ok((call, _)) = translated(&name, &body) else { continue };
        let message = String::from_utf8(call.body.clone()).unwrap();
        let mut places: Vec<&str> = call.notices.iter().map(|notice| notice.path.as_str()).collect();
        places.extend(call.unsupported.iter().map(|loss| loss.path.as_str()));
        let chat: Value = serde_json::from_str(&body).unwrap();
        leaves(&chat, &mut String::new(), &mut |path, leaf| {
            let Value::String(text) = leaf else { return };
            // Words of one language that the other has other words for.
            let word = ["role", "type", "tool_choice", "index", "reasoning_effort"]
                .contains(&path.rsplit('.').next().unwrap());
            let payload = text.rsplit_once(";base64,").map_or(text.as_str(), |(_, payload)| payload);
            let spelled = serde_json::to_string(payload).unwrap();
            let spelled = &spelled[1..spelled.len() - 1];
            let here = message.contains(spelled) || message.contains(payload);
            let noticed = places.iter().any(|place| path.starts_with(place));
            assert!(word || here || noticed, "{name}: {path} is lost: {text} in {message}");
        });
    }
}

/// As P8: an unknown member in each object of a request.
#[test]
fn unknown_chat_members_are_noticed_everywhere() {
    const NEEDLE: &str = "in a haystack";
    for (name, body) in fixtures("chats", "json") {
        if name.contains("refused") {
            continue;
        }
        let chat: Value = serde_json::from_str(&body).unwrap();
        let mut places = vec![String::new()];
        objects(&chat, &mut String::new(), &mut places);
        for place in places {
            let mut chat = chat.clone();
            chat.pointer_mut(&place).unwrap()["novel"] = json!(NEEDLE);
            let (call, _) = translated(&name, &chat.to_string())
                .unwrap_or_else(|error| panic!("{name} {place}: {error}"));
            let path = format!("{place}/novel").replace('/', ".");
            let path = path.strip_prefix('.').unwrap();
            let carried = String::from_utf8(call.body).unwrap().contains(NEEDLE);
            let noticed = call.notices.iter().map(|notice| notice.path.as_str());
            let mut reported = noticed.chain(call.unsupported.iter().map(|loss| loss.path.as_str()));
            assert!(carried || reported.any(|reported| path.starts_with(reported)), "{name}: {path} is lost");
        }
    }
}

/// The places of the objects inside of `value`.
fn objects(value: &Value, place: &mut String, places: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    let length = place.len();
    for (key, value) in inside {
        place.push('/');
        place.push_str(&key);
        if value.is_object() {
            places.push(place.clone());
        }
        objects(value, place, places);
        place.truncate(length);
    }
}

fn leaves(value: &Value, path: &mut String, visit: &mut impl FnMut(&str, &Value)) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        leaf => return visit(path, leaf),
    };
    let length = path.len();
    for (key, value) in inside {
        if length > 0 {
            path.push('.');
        }
        path.push_str(&key);
        leaves(value, path, visit);
        path.truncate(length);
    }
}
