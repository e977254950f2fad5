//! A value of each JSON kind at every place of a request, at every endpoint with a body: an error never has words of Rust, of
//! its JSON parser, or of a debug format. Values of other types in variables and arguments, too.

use serde_json::{Value, json};

use crate::cli_serve::program;
use crate::harness::tokens::{authenticated_server, token};
use crate::harness::{TestServer, test_server};

/// Words that stand alone: `structured` and a schema's `enum` in quotes are something else.
const RUST_WORDS: [&str; 16] = [
    "u8", "u16", "u32", "u64", "i32", "i64", "f32", "f64", "usize", "struct", "enum", "variant", "Option",
    "Some", "None", "serde",
];
const PARSER_WORDS: [&str; 12] = [
    "expected one of",
    "at line 1 column",
    "[\"",
    "invalid type",
    "invalid value",
    "invalid length",
    "missing field",
    "unknown field",
    "duplicate field",
    "did not match any",
    "EOF while",
    "invalid digit",
];

fn assert_plain(place: &str, message: &str) {
    let words = || message.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    for word in RUST_WORDS {
        assert!(words().all(|found| found != word), "`{word}` at {place}: {message}");
    }
    for word in PARSER_WORDS {
        assert!(!message.contains(word), "`{word}` at {place}: {message}");
    }
}

fn kinds() -> [Value; 9] {
    [
        json!("a"),
        json!(""),
        json!(7),
        json!(-7),
        json!(1.5),
        json!(true),
        Value::Null,
        json!(["a"]),
        json!({"a": 1}),
    ]
}

/// The paths of all values in `value`.
fn places(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| places(value, format!("{path}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| places(value, format!("{path}/{at}"), found));
        }
        _ => {}
    }
    found.push(path);
}

/// Every request with one value replaced, and with one member added.
fn spoiled(request: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    places(request, String::new(), &mut found);
    let mut bodies = Vec::new();
    for place in found {
        for value in kinds() {
            let mut body = request.clone();
            *body.pointer_mut(&place).unwrap() = value;
            bodies.push((place.clone(), body));
        }
        let mut body = request.clone();
        if let Some(object) = body.pointer_mut(&place).and_then(Value::as_object_mut) {
            object.insert("no_such_member".to_owned(), json!(1));
            bodies.push((format!("{place}/no_such_member"), body));
        }
    }
    bodies
}

fn messages_request() -> Value {
    json!({
        "model": "claude-sonnet-4-5", "max_tokens": 4096, "stream": false, "temperature": 1, "top_p": 0.9, "top_k": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
        "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "service_tier": "auto",
        "tools": [{"name": "t", "description": "d", "input_schema": {"type": "object", "properties": {}}, "strict": false}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Hello"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "document", "title": "t", "citations": {"enabled": true},
                    "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "t", "input": {"a": "b"}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": false,
                "content": [{"type": "text", "text": "r"}]}]},
        ],
    })
}

fn chat_request() -> Value {
    json!({
        "model": "claude-sonnet-4-5", "stream": false, "max_completion_tokens": 100, "stop": ["x"], "temperature": 0.5,
        "top_p": 0.5, "n": 1, "parallel_tool_calls": false, "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": false,
            "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        "reasoning_effort": "low", "user": "u",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [
                {"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
            ]},
            {"role": "assistant", "content": "a",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        ],
    })
}

/// Sends all spoiled bodies; returns how many were rejected.
async fn reject_plainly(server: &TestServer, path: &str, request: &Value) -> usize {
    let mut rejected = 0;
    for (place, body) in spoiled(request) {
        let response = server.request("POST", path, &[], body.to_string()).await;
        let status = response.status.as_u16();
        assert!(status < 500, "{path} {place} {body}: {status} {}", response.body);
        if status >= 400 {
            rejected += 1;
            let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
            assert_plain(&format!("{path} {place}"), &message);
        }
    }
    rejected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_values_are_rejected_in_plain_words() {
    let server = test_server().await;
    for (path, request) in [
        ("/v1/messages", messages_request()),
        ("/v1/messages/count_tokens", messages_request()),
        ("/v1/chat/completions", chat_request()),
    ] {
        let rejected = reject_plainly(&server, path, &request).await;
        assert!(rejected > 100, "{path}: {rejected}");
    }
}

#[tokio::test]
async fn malformed_admin_requests_are_rejected_plainly() {
    let server = authenticated_server().await;
    let operator = token("op", &json!({"scope": "admin"}));
    let user = json!({"user_id": "u", "team": null, "daily_token_limit": 5, "default_inference_profile": "p",
        "disabled": false});
    let team = json!({"team": "t", "daily_token_limit": 5, "disabled": false});
    let issue = json!({"user_id": "u", "team": "t", "default_inference_profile": "p", "scope": "inference",
        "expires_in_seconds": 60});
    let without = |body: &Value, name: &str| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    for (method, path, request) in [
        ("POST", "/users", user.clone()),
        ("PATCH", "/users/u", without(&user, "user_id")),
        ("POST", "/teams", team.clone()),
        ("PATCH", "/teams/t", without(&team, "team")),
        ("POST", "/tokens", issue),
    ] {
        for (place, body) in spoiled(&request) {
            let response = server.act_as(&operator, method, path, &body).await;
            assert!(response.status.as_u16() < 500, "{path} {place} {body}: {}", response.body);
            assert_plain(&format!("{method} {path} {place}"), &response.body.replace("null", ""));
        }
    }
    for query in [
        "/usage?from=1.5",
        "/usage?by=[]",
        "/usage?limit=-1",
        "/usage?limit=99999999999999999999",
        "/users?limit={}",
        "/events?to=true",
        "/events?kind=",
        "/teams?after_id=%00",
        "/tokens?user_id=%ff",
        "/usage?nothing",
    ] {
        let response = server.act_as(&operator, "GET", query, &Value::Null).await;
        assert!(response.status.as_u16() < 500, "{query}: {}", response.body);
        assert_plain(query, &response.body.replace("null", ""));
    }
}

#[test]
fn malformed_settings_are_rejected_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let known = program(folder.path()).args(["config", "print", "--json"]).output().unwrap();
    let known: Value = serde_json::from_slice(&known.stdout).unwrap();
    for name in known.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()) {
        for value in ["x", "-7", "{\"a\":1.5}"] {
            let output = program(folder.path()).env(name, value).args(["config", "check"]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).replace(value, "");
            assert_plain(&format!("{name}={value}"), &text);
        }
    }
    for arguments in [
        "demo --port x",
        "demo --host x",
        "demo --port 70000",
        "usage report --by x",
        "usage report --format x",
        "user add a --limit x",
        "team set a --disabled x",
        "events --limit x",
        "token issue --user a --ttl x",
        "token issue --user a --scope x",
        "connect x",
        "connect curl --url ://",
        "completions x",
        "explain x",
        "nothing",
    ] {
        let output = program(folder.path()).args(arguments.split(' ')).output().unwrap();
        assert!(!output.status.success(), "{arguments}");
        // "invalid value" is clap's sentence.
        let text = String::from_utf8_lossy(&output.stderr).replace("invalid value", "");
        assert_plain(arguments, &text);
    }
}
