//! Values of wrong types at every place of a request: errors are in the words of the client API, never in Rust's.

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::anthropic::{Error, Request};
use protocol::capabilities::Capabilities;
use protocol::openai;
use protocol::translate::{
    self, ChatOptions, InvokeOptions, RequestedBetas, TranslationOptions, chat_error, chat_to_messages,
    normalize, to_converse, to_invoke,
};
use serde_json::{Value, json};

/// Words of Rust and of its JSON parser.
const RUST_WORDS: [&str; 24] = [
    "u64",
    "i64",
    "u32",
    "i32",
    "f64",
    "usize",
    "struct",
    "enum",
    "variant",
    "invalid type",
    "invalid value",
    "at line",
    "untagged",
    "newtype",
    "serde",
    "Option<",
    "Vec<",
    "EOF",
    "a sequence",
    "expected value",
    "missing field",
    "unknown field",
    "duplicate field",
    "did not match",
];

fn assert_plain(message: &str) -> Result<(), TestCaseError> {
    for word in RUST_WORDS {
        prop_assert!(!message.contains(word), "`{word}` in: {message}");
    }
    prop_assert!(message.len() < 1_000, "{message}");
    Ok(())
}

/// A Messages request with every member that is translated.
fn messages_request() -> Value {
    json!({
        "model": "m", "max_tokens": 256, "stream": false, "temperature": 0.5, "top_p": 0.5, "top_k": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "service_tier": "auto",
        "cache_control": {"type": "ephemeral"}, "anthropic_beta": ["b-2026-01-01"],
        "tools": [
            {"name": "t", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                "strict": true, "cache_control": {"type": "ephemeral"}, "defer_loading": false,
                "eager_input_streaming": true, "allowed_callers": ["direct"]},
            {"type": "bash_20250124", "name": "bash"},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "output_format": {"type": "json_schema", "schema": {"type": "object"}},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Hello", "citations": []},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "document", "title": "t", "context": "c", "citations": {"enabled": true},
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "d"}]}},
                {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "d"}],
                    "citations": {"enabled": true}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "a", "citations": [{"type": "char_location", "cited_text": "c",
                    "document_index": 0, "document_title": "t", "start_char_index": 0, "end_char_index": 1}]},
                {"type": "tool_use", "id": "t1", "name": "t", "input": {"a": "b"}, "caller": {"type": "direct"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": false,
                "content": [{"type": "text", "text": "r"}], "cache_control": {"type": "ephemeral"}}]},
        ],
    })
}

/// A chat request with every member that is translated.
fn chat_request() -> Value {
    json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 100,
        "max_tokens": 100, "stop": ["x"], "temperature": 0.5, "top_p": 0.5, "n": 1, "parallel_tool_calls": false,
        "tools": [{"type": "function", "cache_control": {"type": "ephemeral"}, "function": {"name": "f",
            "description": "d", "strict": false, "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "functions": [{"name": "g", "description": "d", "parameters": {"type": "object"}}],
        "function_call": {"name": "g"},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "description": "d", "strict": true,
            "schema": {"type": "object", "properties": {}}}},
        "reasoning_effort": "low", "user": "u", "service_tier": "auto",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "name": "n", "content": [
                {"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
                {"type": "file", "file": {"filename": "f", "file_data": "data:application/pdf;base64,JVBERi0="}},
            ]},
            {"role": "assistant", "content": "a", "refusal": "r", "reasoning_content": "t",
                "tool_calls": [{"id": "c", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}],
                "function_call": {"name": "g", "arguments": "{}"}},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
            {"role": "function", "name": "g", "content": "x"},
        ],
    })
}

fn collect(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, format!("{path}/{name}"), places));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| collect(value, format!("{path}/{at}"), places));
        }
        _ => {}
    }
    places.push(path);
}

/// The request with `value` at one of its places.
fn spoiled(request: &Value, place: prop::sample::Index, value: Value) -> (String, Value) {
    let mut places = Vec::new();
    collect(request, String::new(), &mut places);
    let place = place.get(&places).clone();
    let mut body = request.clone();
    *body.pointer_mut(&place).unwrap() = value;
    (place, body)
}

fn wrong_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1e30)),
        "[a-z:,` ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z]{1,4}", inner), 0..3).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Errors of each step for a Messages request.
fn errors(body: &str, capabilities: &Capabilities) -> Vec<Error> {
    let request = match Request::parse(body.as_bytes()) {
        Ok(request) => request,
        Err(error) => return vec![error.into()],
    };
    let options = TranslationOptions::new(8192);
    let mut errors: Vec<Error> = Vec::new();
    errors.extend(normalize(body.as_bytes(), &request, capabilities, false).err().map(Error::from));
    for options in [InvokeOptions::invoke_model(options), InvokeOptions::messages("m", options)] {
        match to_invoke(body, capabilities, &options) {
            Ok(call) => errors.push(translate::unsupported_error(&call.unsupported)),
            Err(error) => errors.push(error.into()),
        }
    }
    match to_converse(request, RequestedBetas::default(), body.len(), capabilities, &options) {
        Ok(call) => errors.push(translate::unsupported_error(&call.unsupported)),
        Err(error) => errors.push(error.into()),
    }
    errors
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn wrong_types_in_messages_requests_get_plain_errors(
        place in any::<prop::sample::Index>(),
        value in wrong_value(),
        is_claude in any::<bool>(),
    ) {
        let capabilities = if is_claude { Capabilities::CLASSIC_CLAUDE } else { Capabilities::UNKNOWN };
        let (place, body) = spoiled(&messages_request(), place, value);
        for error in errors(&body.to_string(), &capabilities) {
            assert_plain(&error.message).map_err(|error| TestCaseError::fail(format!("{place}: {error}")))?;
        }
    }

    #[test]
    fn wrong_types_in_chat_requests_get_plain_errors(
        place in any::<prop::sample::Index>(),
        value in wrong_value(),
        is_claude in any::<bool>(),
    ) {
        let capabilities = if is_claude { Capabilities::CLASSIC_CLAUDE } else { Capabilities::UNKNOWN };
        let (place, body) = spoiled(&chat_request(), place, value);
        let body = body.to_string();
        let options = ChatOptions { auto_cache: false, strict: false };
        let call = openai::Request::parse(body.as_bytes());
        let call = call.as_ref().map_err(Clone::clone);
        let errors = match call.and_then(|chat| chat_to_messages(chat, body.len(), &capabilities, &options)) {
            Ok(call) => errors(std::str::from_utf8(&call.body).unwrap(), &capabilities),
            Err(error) => vec![error.into()],
        };
        for error in errors {
            assert_plain(&chat_error(&error).message)
                .map_err(|error| TestCaseError::fail(format!("{place}: {error}")))?;
        }
    }

    #[test]
    fn broken_json_gets_plain_errors(cut in any::<prop::sample::Index>(), end in "[ -~]{0,6}") {
        let (messages, chat) = (messages_request().to_string(), chat_request().to_string());
        let broken = |body: &str| format!("{}{end}", &body[..cut.index(body.len())]);
        if let Err(error) = Request::parse(broken(&messages).as_bytes()) {
            assert_plain(&error.to_string())?;
        }
        if let Err(error) = openai::Request::parse(broken(&chat).as_bytes()) {
            assert_plain(&chat_error(&error.into()).message)?;
        }
    }
}

#[test]
fn example_requests_are_valid() {
    for error in errors(&messages_request().to_string(), &Capabilities::CLASSIC_CLAUDE) {
        assert!(!error.message.contains("should be"), "{error}");
    }
    assert!(openai::Request::parse(chat_request().to_string().as_bytes()).is_ok());
}
