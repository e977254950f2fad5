//! Places of a chat request, found again from places of the Messages request that was made from it.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::capabilities::Capabilities;
use protocol::openai;
use protocol::translate::{ChatOptions, chat_to_messages};
use serde_json::{Value, json};

fn content() -> impl Strategy<Value = Value> {
    let part = prop_oneof![
        "[a-z]{0,3}".prop_map(|text| json!({"type": "text", "text": text})),
        Just(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}})),
        Just(
            json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "f"}})
        ),
    ];
    prop_oneof![
        Just(Value::Null),
        "[a-z ]{0,3}".prop_map(Value::String),
        vec(part, 0..4).prop_map(Value::Array),
    ]
}

fn message() -> impl Strategy<Value = Value> {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
    let role = prop_oneof![
        Just("system"),
        Just("developer"),
        Just("user"),
        Just("assistant"),
        Just("tool"),
        Just("function"),
    ];
    (role, content(), 0..3_usize, any::<bool>()).prop_map(move |(role, content, calls, rejected)| {
        let mut message = json!({"role": role, "content": content});
        match role {
            "assistant" => {
                if calls > 0 {
                    message["tool_calls"] = Value::Array(vec![call.clone(); calls]);
                }
                if rejected {
                    message["refusal"] = json!("no");
                    message["function_call"] = json!({"name": "g", "arguments": ""});
                }
            }
            "tool" => message["tool_call_id"] = json!("c"),
            "function" => message["name"] = json!("g"),
            _ => {}
        }
        message
    })
}

fn find<'v>(body: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(body, |value, segment| match value {
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => value.get(segment),
    })
}

fn collect(value: &Value, path: &str, paths: &mut Vec<String>) {
    let mut inside = |name: &str, value: &Value| {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        paths.push(path.clone());
        collect(value, &path, paths);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| inside(name, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| inside(&at.to_string(), value));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn paths_of_translations_lead_to_the_chat_request(
        messages in vec(message(), 1..8),
        has_tools in any::<bool>(),
        stop in prop_oneof![Just(Value::Null), Just(json!("x")), Just(json!(["a", " ", "b"])), Just(json!(["a", "b"]))],
    ) {
        let mut chat = json!({"model": "m", "messages": messages, "stop": stop, "user": "u", "max_completion_tokens": 5});
        if has_tools {
            chat["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
            chat["tool_choice"] = json!({"type": "function", "function": {"name": "f"}});
        } else {
            chat["functions"] = json!([{"name": "g", "parameters": {"type": "object"}}]);
            chat["function_call"] = json!({"name": "g"});
        }
        let body = chat.to_string();
        let request = openai::Request::parse(body.as_bytes()).unwrap();
        let options = ChatOptions { auto_cache: true, strict: false };
        let Ok(call) = chat_to_messages(&request, body.len(), &Capabilities::CLASSIC_CLAUDE, &options) else {
            return Ok(());
        };
        let translated: Value = serde_json::from_slice(&call.body).unwrap();
        let mut paths = Vec::new();
        collect(&translated, "", &mut paths);
        for path in paths {
            let Some(located) = call.paths.locate(&path) else { continue };
            let parent = located.rsplit_once('.').map_or("", |(parent, _)| parent);
            let is_marker = path.contains("cache_control") || parent.is_empty();
            prop_assert!(is_marker || find(&chat, parent).is_some(), "{path} -> {located}: {body}");
            let (ours, theirs) = (find(&translated, &path).unwrap(), find(&chat, &located));
            if let (Some(text), Some(Value::String(theirs))) = (ours.as_str(), theirs)
                && path.ends_with(".text")
            {
                prop_assert_eq!(text, theirs, "{} -> {}", path, located);
            }
        }
    }
}
