//! Each rule with its examples, on every upstream API.

use serde_json::{Value, json};

use super::*;
use crate::anthropic::MessagesEncoder;
use crate::anthropic::event_sink::Encoder as _;
use crate::translate::forward::EventForwarder;
use crate::translate::{
    End, InvokeOptions, RequestedBetas, StreamContext, TranslationOptions, to_converse, to_invoke,
};

const CLAUDE: &Capabilities = &Capabilities::CLASSIC_CLAUDE;

fn normalized(body: &str, capabilities: &Capabilities) -> Option<Normalized> {
    let request = Request::parse(body.as_bytes()).unwrap();
    let normalized = normalize(body.as_bytes(), &request, capabilities, false).unwrap();
    // The quick look and the edits are of one mind.
    let edited = edited(body, capabilities, false, &[]).unwrap();
    assert_eq!(edited.as_ref().map(|edited| &edited.body), normalized.as_ref().map(|n| &n.body), "{body}");
    normalized
}

/// The normalized body, which is valid; and the notices.
fn normal_body(body: &Value, capabilities: &Capabilities) -> (Value, Vec<String>) {
    let body = body.to_string();
    let Some(first) = normalized(&body, capabilities) else {
        return (serde_json::from_str(&body).unwrap(), Vec::new());
    };
    let text = String::from_utf8(first.body).unwrap();
    assert!(!first.notices.is_empty(), "{text}");
    assert!(normalized(&text, capabilities).is_none(), "idempotent: {text}");
    let notices = first.notices.iter().map(ToString::to_string).collect();
    (serde_json::from_str(&text).unwrap(), notices)
}

/// The `messages` that go to InvokeModel, and those that go to Converse with and without normalization.
fn sent(body: &Value) -> (Value, Value) {
    let options = TranslationOptions::new(10);
    let converse = |text: &str| {
        let request = Request::parse(text.as_bytes()).unwrap();
        let call = to_converse(request, RequestedBetas::default(), text.len(), CLAUDE, &options).unwrap();
        assert!(call.unsupported.is_empty(), "{:?}", call.unsupported);
        serde_json::from_slice::<Value>(&call.body).unwrap()
    };
    let (normal, _) = normal_body(body, CLAUDE);
    let normal = normal.to_string();
    let invoke = to_invoke(&normal, CLAUDE, &InvokeOptions::invoke_model(options)).unwrap();
    let invoke: Value = serde_json::from_slice(&invoke.body).unwrap();
    (invoke["messages"].clone(), converse(&normal)["messages"].clone())
}

fn request(messages: &Value) -> Value {
    json!({"max_tokens": 10, "messages": messages})
}

fn messages_of(messages: &Value) -> Value {
    normal_body(&request(messages), CLAUDE).0["messages"].clone()
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "t", "input": {}})
}

fn result(id: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": "x"})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn blank_text_is_left_out() {
    let body = request(&json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [text("\n"), call("a")]},
        {"role": "user", "content": [result("a"), text("")]},
        {"role": "user", "content": " \t"},
    ]));
    let expected = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [call("a")]},
        {"role": "user", "content": [result("a")]},
    ]);
    let (messages, notices) = normal_body(&body, CLAUDE);
    assert_eq!(messages["messages"], expected);
    assert_eq!(notices[0], "messages.1.content.0: left out: Bedrock does not accept blank text");
    assert_eq!(notices.len(), 3, "{notices:?}");
    let (invoke, converse) = sent(&body);
    assert_eq!(invoke, expected);
    let kinds = |turn: usize| converse[turn]["content"].as_array().unwrap().len();
    assert_eq!((converse.as_array().unwrap().len(), kinds(1), kinds(2)), (3, 1, 1));
}

#[test]
fn blank_text_of_every_place_is_left_out() {
    let body = json!({"max_tokens": 1, "system": [text(" "), text("s")], "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [call("a"), call("b"), call("c")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [text(""), text("x"), text("\u{a0}")]},
            {"type": "tool_result", "tool_use_id": "b", "content": [text("")]},
            {"type": "tool_result", "tool_use_id": "c", "content": ""},
        ]},
    ]});
    let (body, _) = normal_body(&body, CLAUDE);
    assert_eq!(body["system"], json!([text("s")]));
    let results = &body["messages"][2]["content"];
    assert_eq!(results[0]["content"], json!([text("x")]));
    assert_eq!(results[1]["content"], json!([text("(no output)")]));
    assert_eq!(results[2]["content"], "", "an empty string is valid");
    for system in [json!(""), json!("\n"), json!([text("")])] {
        let body = json!({"max_tokens": 1, "system": system, "messages": []});
        assert_eq!(normal_body(&body, CLAUDE).0.get("system"), None);
    }
}

#[test]
fn blank_turns_get_a_placeholder() {
    for (blank, filled) in [
        (json!(""), json!([text("(no content)")])),
        (json!([text(" ")]), json!([text("(no content)")])),
        (json!([]), json!([text("(no content)")])),
    ] {
        let body = request(&json!([
            {"role": "user", "content": blank},
            {"role": "assistant", "content": blank},
            {"role": "user", "content": "go"},
        ]));
        let (invoke, converse) = sent(&body);
        assert_eq!(
            invoke,
            json!([
                {"role": "user", "content": filled},
                {"role": "assistant", "content": filled},
                {"role": "user", "content": "go"},
            ])
        );
        assert_eq!(converse[1]["content"], json!([{"text": "(no content)"}]));
    }
    let twice = messages_of(&json!([{"role": "user", "content": ""}, {"role": "user", "content": []}]));
    assert_eq!(twice, json!([{"role": "user", "content": [text("(no content)")]}]));
}

#[test]
fn cache_marker_of_blank_text_moves_back() {
    let marker = json!({"type": "ephemeral"});
    let marked = |text: &str| json!({"type": "text", "text": text, "cache_control": marker});
    let messages = messages_of(&json!([
        {"role": "user", "content": [text("a"), marked(""), marked(" "), marked("")]},
        {"role": "assistant", "content": [marked(""), call("a")]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [text("x"), marked("")]}]},
    ]));
    assert_eq!(messages[0]["content"], json!([marked("a")]));
    assert_eq!(messages[1]["content"], json!([call("a")]));
    let result = &messages[2]["content"][0];
    assert_eq!((&result["content"], &result["cache_control"]), (&json!([text("x")]), &marker));
    let thinking = json!({"type": "thinking", "thinking": "t", "signature": "s"});
    let messages = messages_of(&json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [thinking, marked(""), text("b")]},
        {"role": "user", "content": [{"type": "text", "text": "c", "cache_control": null}, marked("")]},
    ]));
    assert_eq!(messages[1]["content"], json!([thinking, text("b")]), "thinking accepts no marker");
    assert_eq!(messages[2]["content"], json!([marked("c")]));
}

#[test]
fn odd_names_get_the_same_alias_everywhere() {
    let odd = "mcp/größe.get";
    let search = json!({"type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": {
        "type": "tool_search_tool_search_result", "tool_references": [{"type": "tool_reference", "tool_name": odd}]}});
    let found = json!({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_reference", "tool_name": odd}]});
    let body = json!({
        "max_tokens": 1,
        "tools": [
            {"name": odd, "input_schema": {"type": "object"}},
            {"type": "custom", "name": "plain", "input_schema": {"type": "object"}},
            {"type": "bash_20250124", "name": "bash"},
        ],
        "tool_choice": {"type": "tool", "name": odd},
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919", "exclude_tools": ["plain", odd]}]},
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [search, {"type": "tool_use", "id": "a", "name": odd, "input": {"name": odd}}]},
            {"role": "user", "content": [found]},
        ],
    });
    let first = normalized(&body.to_string(), CLAUDE).unwrap();
    let text = String::from_utf8(first.body.clone()).unwrap();
    let (body, notices) = normal_body(&body, CLAUDE);
    let alias = body["tools"][0]["name"].as_str().unwrap();
    assert_ne!(alias, odd);
    assert_eq!(text.matches(odd).count(), 1, "in the arguments alone: {text}");
    assert_eq!(text.matches(alias).count(), 6, "{text}");
    assert_eq!(body["messages"][1]["content"][1]["input"]["name"], odd);
    assert_eq!(first.tool_names.original(alias), odd);
    assert!(notices[0].starts_with("tools.0.name: sent as `mcp_gr__e_get_"), "{notices:?}");
    let long = "n".repeat(65);
    for odd in ["a b", &*long, ""] {
        let body = json!({"max_tokens": 1, "messages": [], "tools": [{"name": odd, "input_schema": {"type": "object"}}]});
        assert_ne!(normal_body(&body, CLAUDE).0["tools"][0]["name"], odd);
    }
}

#[test]
fn forwarded_calls_have_the_name_of_the_client() {
    let mut tool_names = ToolNames::default();
    let alias = tool_names.alias_for("get weather".into()).into_owned();
    let context = StreamContext { tool_names, ..StreamContext::default() };
    let mut forwarder = EventForwarder::new(context);
    let mut encoder = MessagesEncoder::default();
    let mut take = |event: Value| forwarder.take(Ok(event.to_string().as_bytes()), &mut encoder);
    let start = |block: Value| json!({"type": "content_block_start", "index": 0, "content_block": block});
    take(json!({"type": "message_start", "message": {"model": "m"}}));
    take(start(json!({"type": "tool_use", "id": "a", "name": alias, "input": {}})));
    take(start(json!({"type": "tool_use", "id": "a", "name": "plain", "input": {"name": alias}})));
    take(start(json!({"type": "tool_search_tool_result", "tool_use_id": "s", "content": {
        "type": "tool_search_tool_search_result", "tool_references": [{"type": "tool_reference", "tool_name": alias}]}})));
    drop(forwarder.finish(None, End::Cancelled, &mut encoder));
    let written = String::from_utf8(encoder.take()).unwrap();
    assert_eq!(written.matches("get weather").count(), 2, "{written}");
    assert_eq!(written.matches(&alias).count(), 1, "{written}");
    assert!(written.contains("\"name\":\"plain\""), "{written}");
}

#[test]
fn odd_ids_of_calls_and_results_stay_pairs() {
    for odd in ["functions.read:0", "call|1", &"c".repeat(65), "a/ö"] {
        let body = request(&json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [call(odd), call("toolu_01-a_B")]},
            {"role": "user", "content": [result(odd), result("toolu_01-a_B")]},
        ]));
        let (invoke, converse) = sent(&body);
        let id = invoke[1]["content"][0]["id"].as_str().unwrap();
        assert!(
            id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)),
            "{id}"
        );
        assert_eq!(invoke[2]["content"][0]["tool_use_id"], id);
        assert_eq!(invoke[2]["content"][1], result("toolu_01-a_B"));
        assert_eq!(converse[1]["content"][0]["toolUse"]["toolUseId"], id);
        assert_eq!(converse[2]["content"][0]["toolResult"]["toolUseId"], id);
    }
    let dotted = request(&json!([{"role": "assistant", "content": [call("functions.read:0")]}]));
    assert!(normalized(&dotted.to_string(), &Capabilities::UNKNOWN).is_none(), "Converse takes it");
}

#[test]
fn white_space_at_the_end_of_a_prefill_is_cut() {
    let prefilled = |content: Value| {
        let body =
            request(&json!([{"role": "user", "content": "go"}, {"role": "assistant", "content": content}]));
        let (invoke, converse) = sent(&body);
        (invoke[1]["content"].clone(), converse[1]["content"].clone())
    };
    let title = || json!([{"text": "Title:"}]);
    assert_eq!(prefilled(json!("Title: ")), (json!("Title:"), title()));
    assert_eq!(prefilled(json!([text("Title:\n\t")])), (json!([text("Title:")]), title()));
    assert_eq!(prefilled(json!([text("Title: "), text("\n")])), (json!([text("Title:")]), title()));
    assert_eq!(prefilled(json!("Title:")), (json!("Title:"), title()));
    let empty = || json!([{"text": "(no content)"}]);
    assert_eq!(prefilled(json!(" ")), (json!(""), empty()), "an empty prefill is valid");
    assert_eq!(prefilled(json!("")), (json!(""), empty()));
    let not_last = json!([{"role": "assistant", "content": "so \n"}, {"role": "user", "content": "go "}]);
    assert!(normalized(&request(&not_last).to_string(), CLAUDE).is_none());
    let prefill = request(&json!([{"role": "assistant", "content": "so "}]));
    assert!(normalized(&prefill.to_string(), &Capabilities::UNKNOWN).is_none(), "Claude's rule");
}

#[test]
fn blank_stop_sequence_is_rejected_with_its_path() {
    let rejected = |stop: Value, capabilities: &Capabilities| {
        let body = json!({"max_tokens": 1, "messages": [], "stop_sequences": stop}).to_string();
        let request = Request::parse(body.as_bytes()).unwrap();
        normalize(body.as_bytes(), &request, capabilities, false).err().map(|error| error.to_string())
    };
    let error = "each stop sequence must contain non-whitespace";
    assert_eq!(rejected(json!(["END", "\n\n"]), CLAUDE), Some(format!("stop_sequences.1: {error}")));
    assert_eq!(rejected(json!([""]), CLAUDE), Some(format!("stop_sequences.0: {error}")));
    assert_eq!(rejected(json!([""]), &Capabilities::UNKNOWN), Some(format!("stop_sequences.0: {error}")));
    assert_eq!(rejected(json!(["\n"]), &Capabilities::UNKNOWN), None);
    assert_eq!(rejected(json!([" a"]), CLAUDE), None);
}

#[test]
fn schema_without_a_type_gets_one() {
    let normal_schema = |schema: Value| {
        let body = json!({"max_tokens": 1, "messages": [], "tools": [{"name": "t", "input_schema": schema}]});
        normal_body(&body, CLAUDE).0["tools"][0]["input_schema"].clone()
    };
    let object = json!({"type": "object"});
    assert_eq!(normal_schema(json!({})), object);
    assert_eq!(normal_schema(json!({"type": ["object", "null"]})), object);
    assert_eq!(normal_schema(json!({"type": null})), object);
    let properties = json!({"properties": {"x": {"type": "string"}}, "required": ["x"]});
    let mut typed = properties.clone();
    typed["type"] = json!("object");
    assert_eq!(normal_schema(properties), typed);
    assert_eq!(normal_schema(json!({"type": "string"})), json!({"type": "string"}), "AWS rejects it by name");
    let spaced = r#"{"max_tokens":1, "messages":[],"tools":[{"name":"t","input_schema":{ }}]}"#;
    let body = normalized(spaced, CLAUDE).unwrap().body;
    assert_eq!(String::from_utf8(body).unwrap(), spaced.replace("{ }", r#"{"type":"object" }"#));
}

#[test]
fn schema_with_a_combinator_on_top_is_rejected() {
    let body = json!({"max_tokens": 1, "messages": [], "tools": [
        {"name": "a", "input_schema": {"type": "object"}},
        {"name": "b", "input_schema": {"type": "object", "oneOf": [{"required": ["x"]}]}},
    ]});
    let body = body.to_string();
    let request = Request::parse(body.as_bytes()).unwrap();
    let error = normalize(body.as_bytes(), &request, CLAUDE, false).unwrap_err().to_string();
    assert!(
        error.starts_with("tools.1.input_schema: tool 'b': input_schema does not support oneOf"),
        "{error}"
    );
    assert!(normalize(body.as_bytes(), &request, &Capabilities::UNKNOWN, false).unwrap().is_none());
}

#[test]
fn tool_results_come_first_in_their_turn() {
    let calls = json!({"role": "assistant", "content": [call("a"), call("b")]});
    let go = json!({"role": "user", "content": "go"});
    for (turn, expected) in [
        (
            json!([{"role": "user", "content": [text("x"), result("a"), text("y"), result("b")]}]),
            json!([{"role": "user", "content": [result("a"), result("b"), text("x"), text("y")]}]),
        ),
        (
            json!([{"role": "user", "content": "x"}, {"role": "user", "content": [result("a"), result("b")]}]),
            json!([{"role": "user", "content": [result("a"), result("b"), text("x")]}]),
        ),
        (
            json!([{"role": "user", "content": [result("a"), text("x")]}, {"role": "user", "content": [text("y"), result("b")]}]),
            json!([{"role": "user", "content": [result("a"), result("b"), text("x")]}, {"role": "user", "content": [text("y")]}]),
        ),
    ] {
        let with = |turn: &Value| {
            let turn = turn.as_array().unwrap().iter().cloned();
            request(&[go.clone(), calls.clone()].into_iter().chain(turn).collect())
        };
        let (invoke, converse) = sent(&with(&turn));
        assert_eq!(invoke, with(&expected)["messages"]);
        let content = converse[2]["content"].as_array().unwrap();
        assert!(
            content[0].get("toolResult").is_some() && content[1].get("toolResult").is_some(),
            "{converse}"
        );
    }
}

#[test]
fn empty_input_becomes_an_object() {
    for (input, is_valid) in [(json!(""), true), (json!(" "), true), (Value::Null, true), (json!([]), false)]
    {
        let body = request(&json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t", "input": input}]},
            {"role": "user", "content": [result("a")]},
        ]));
        let (body, _) = normal_body(&body, CLAUDE);
        let sent = &body["messages"][1]["content"][0]["input"];
        assert_eq!(*sent, if is_valid { json!({}) } else { input });
    }
    let without = messages_of(&json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "t"}]},
        {"role": "user", "content": [result("a")]},
    ]));
    assert_eq!(without[1]["content"], json!([call("a")]));
}

#[test]
fn paths_are_those_of_the_client() {
    let source = json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    let body = json!({"max_tokens": 1, "system": [text(""), text("s")], "messages": [
        {"role": "user", "content": "go"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": [call("a")]},
        {"role": "user", "content": [text(""), text("x"),
            {"type": "tool_result", "tool_use_id": "a", "content": [text(""), source]}]},
    ]});
    let normal = normalized(&body.to_string(), CLAUDE).unwrap();
    let text = std::str::from_utf8(&normal.body).unwrap();
    let error =
        to_invoke(text, CLAUDE, &InvokeOptions::invoke_model(TranslationOptions::new(1))).unwrap_err();
    assert_eq!(error.path, "messages.2.content.0.content.0.source");
    assert_eq!(normal.locate_error(error).path, "messages.3.content.2.content.1.source");
    let locate = |path: &str| normal.locate_error(InvalidRequest::new(path, "")).path;
    assert_eq!(locate("messages.0.content"), "messages.0.content");
    assert_eq!(locate("messages.1"), "messages.2");
    assert_eq!(locate("messages.2.content.1.text"), "messages.3.content.1.text");
    assert_eq!(locate("system.0.text"), "system.1.text");
    assert_eq!(locate("tools.1"), "tools.1");
    let notices: Vec<_> = normal.notices.iter().map(|notice| &*notice.path).collect();
    assert!(notices.contains(&"messages.3.content.2.content.0"), "{notices:?}");
}

#[test]
fn valid_values_keep_their_bytes() {
    let kept = r#"{"role":"user", "content":[ {"type":"text","text":"\u0061","z":1.0} , {"type":"novel","a":1e3}] }"#;
    let body = format!(
        r#" {{"novel":{{"b":1.50}},"messages" : [ {kept} , {{"role":"assistant","content":" "}},{kept}],"max_tokens":5 }} "#
    );
    let normal = String::from_utf8(normalized(&body, CLAUDE).unwrap().body).unwrap();
    let placeholder = r#"[{"type":"text","text":"(no content)"}]"#;
    assert_eq!(normal, body.replace(r#"" ""#, placeholder));
}

#[test]
fn large_conversations_are_normalized() {
    let marked = json!({"type": "text", "text": "", "cache_control": {"type": "ephemeral"}});
    let mut blocks = vec![text(&"x".repeat(1 << 20))];
    blocks.extend(std::iter::repeat_n(marked, 5_000));
    let odd: Vec<Value> = (0..4_000)
        .map(|n| json!({"type": "tool_use", "id": format!("{n}."), "name": format!("{n}."), "input": ""}))
        .collect();
    let body = request(&json!([{"role": "user", "content": blocks}, {"role": "assistant", "content": odd}]));
    let normal = normalized(&body.to_string(), CLAUDE).unwrap();
    let listed = normal.notices.len() - 1;
    let more = format!("*: {} further changes", 5_000 + 12_000 - listed);
    assert_eq!(normal.notices[listed].to_string(), more);
}
