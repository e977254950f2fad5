//! Requests with what Bedrock rejects, by kind.

#![allow(clippy::needless_pass_by_value, reason = "values are made for the call")]

use serde_json::{Value, json};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// Bedrock accepts the first request that is sent.
    Mended,
    /// Rejected before it is sent, with this text.
    Rejected(&'static str),
}
use Outcome::{Mended, Rejected};

/// A request for one client API.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) kind: String,
    pub(super) path: &'static str,
    pub(super) body: Value,
    pub(super) outcome: Outcome,
    /// Text that the notices or the response have.
    pub(super) mentions: &'static str,
}

pub(super) const MESSAGES: &str = "/v1/messages";
pub(super) const CHAT: &str = "/v1/chat/completions";
const MODEL: &str = "claude-sonnet-4-5";

fn row(kind: impl Into<String>, path: &'static str, body: Value, outcome: Outcome) -> Row {
    Row { kind: kind.into(), path, body, outcome, mentions: "" }
}

fn mentioning(mut row: Row, mentions: &'static str) -> Row {
    row.mentions = mentions;
    row
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn call(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": input})
}

fn result(id: &str, content: Value) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": content})
}

fn user(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn assistant(content: Value) -> Value {
    json!({"role": "assistant", "content": content})
}

fn messages(messages: &[Value]) -> Value {
    json!({"model": MODEL, "max_tokens": 100, "messages": messages})
}

fn with_tool(mut body: Value, name: &str, schema: Value) -> Value {
    body["tools"] = json!([{"name": name, "input_schema": schema}]);
    body
}

fn object() -> Value {
    json!({"type": "object", "properties": {"x": {"type": "string"}}})
}

fn chat(messages: &[Value]) -> Value {
    json!({"model": MODEL, "max_tokens": 100, "messages": messages})
}

fn with_function(mut body: Value, name: &str, schema: Value) -> Value {
    body["tools"] = json!([{"type": "function", "function": {"name": name, "parameters": schema}}]);
    body
}

fn chat_call(id: &str, name: &str, content: Value) -> Value {
    let function = json!({"name": name, "arguments": "{}"});
    json!({"role": "assistant", "content": content, "tool_calls": [{"id": id, "type": "function", "function": function}]})
}

fn tool(id: &str, content: Value) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content})
}

const PDF: &str = "JVBERi0xLjQK";
const BLANKS: [&str; 4] = ["", " ", "\n\t", "\u{a0}\u{3000}\u{2003}"];

fn pdf() -> Value {
    json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}})
}

fn blank_document(blank: &str) -> Value {
    json!({"type": "document", "title": blank, "context": blank,
        "source": {"type": "text", "media_type": "text/plain", "data": "text"}})
}

/// A1: blank text, beside a PDF too.
pub(super) fn blank_text() -> Vec<Row> {
    let mut rows = Vec::new();
    for blank in BLANKS {
        let kind = |what: &str| format!("A1 {what} {blank:?}");
        let calling = assistant(json!([text(blank), call("a", "f", json!({}))]));
        let history = |results: Value| {
            with_tool(messages(&[user(json!("go")), calling.clone(), user(results)]), "f", object())
        };
        let mut system = messages(&[user(json!("go"))]);
        system["system"] = json!(blank);
        let mut blocks = system.clone();
        blocks["system"] = json!([text(blank), text("brief"), text(blank)]);
        let mut only = system.clone();
        only["system"] = json!([text(blank)]);
        for (what, body) in [
            ("beside a call", history(json!([result("a", json!("x")), pdf(), text("read")]))),
            ("in a result", history(json!([result("a", json!([text(blank), text("x")]))]))),
            ("alone in a result", history(json!([result("a", json!([text(blank)]))]))),
            ("as a result", history(json!([result("a", json!(blank))]))),
            ("system", system),
            ("system blocks", blocks),
            ("only system block", only),
            ("title", messages(&[user(json!([blank_document(blank), text("read")]))])),
            ("beside a document", messages(&[user(json!([pdf(), text(blank)]))])),
            ("turn", messages(&[user(json!(blank)), assistant(json!(blank)), user(json!([text(blank)]))])),
        ] {
            rows.push(row(kind(what), MESSAGES, body, Mended));
        }
        let file = json!({"type": "file", "file": {"filename": "r.pdf", "file_data": format!("data:application/pdf;base64,{PDF}")}});
        let part = |blank: &str| json!({"type": "text", "text": blank});
        let calling = chat_call("a", "f", json!(blank));
        let history = |more: &[Value]| {
            let mut all = vec![user(json!("go")), calling.clone()];
            all.extend_from_slice(more);
            with_function(chat(&all), "f", object())
        };
        for (what, body) in [
            ("beside a call", history(&[tool("a", json!("x")), user(json!([file, part("read")]))])),
            ("as a result", history(&[tool("a", json!(blank))])),
            ("in a result", history(&[tool("a", json!([part(blank), part("x")]))])),
            ("beside a document", chat(&[user(json!([file, part(blank)]))])),
            ("system", chat(&[json!({"role": "system", "content": blank}), user(json!("go"))])),
            ("developer", chat(&[json!({"role": "developer", "content": [part(blank)]}), user(json!("go"))])),
            ("turn", chat(&[user(json!(blank)), assistant(json!(blank)), user(json!([part(blank)]))])),
        ] {
            rows.push(row(kind(what), CHAT, body, Mended));
        }
    }
    rows
}

/// A2: names and ids that Bedrock does not take. The response has the client's name.
pub(super) fn odd_names() -> Vec<Row> {
    let long = "n".repeat(100);
    let names = ["", "a.b", "a/b", "mcp server:tool", "größe", "日本", "😀", &long, " ", "a\"b\\c", "a\nb"];
    let mut rows = Vec::new();
    for name in names {
        let kind = |what: &str| format!("A2 {what} {name:?}");
        let requested = with_tool(messages(&[user(json!("[tool] go"))]), name, object());
        let mut chosen = requested.clone();
        chosen["tool_choice"] = json!({"type": "tool", "name": name});
        let id = format!("call|{name}");
        let mut history = with_tool(
            messages(&[
                user(json!("go")),
                assistant(json!([call(&id, name, json!({})), call(name, name, json!({}))])),
                user(json!([result(&id, json!("x")), result(name, json!("y")), text("[tool] again")])),
            ]),
            name,
            object(),
        );
        rows.push(row(kind("tool"), MESSAGES, requested, Mended));
        rows.push(row(kind("choice"), MESSAGES, chosen, Mended));
        rows.push(row(kind("history"), MESSAGES, history.clone(), Mended));
        history["thinking"] = json!({"type": "enabled", "budget_tokens": 1024});
        history["max_tokens"] = json!(4000);
        rows.push(row(kind("thinking"), MESSAGES, history, Mended));
        let requested = with_function(chat(&[user(json!("[tool] go"))]), name, object());
        let mut chosen = requested.clone();
        chosen["tool_choice"] = json!({"type": "function", "function": {"name": name}});
        let history = [
            user(json!("go")),
            chat_call(&id, name, Value::Null),
            tool(&id, json!("x")),
            user(json!("[tool] again")),
        ];
        rows.push(row(kind("tool"), CHAT, requested, Mended));
        rows.push(row(kind("choice"), CHAT, chosen, Mended));
        rows.push(row(kind("history"), CHAT, with_function(chat(&history), name, object()), Mended));
    }
    // Equal after every other character is replaced.
    let similar: Vec<Value> = ["a.b", "a/b", "a b", "a_b"]
        .iter()
        .map(|name| json!({"name": name, "input_schema": object()}))
        .collect();
    let mut body = messages(&[user(json!("[tool] go"))]);
    body["tools"] = json!(similar);
    rows.push(row("A2 similar names", MESSAGES, body, Mended));
    rows
}

/// A3: white space at the end of a prefill.
pub(super) fn prefills() -> Vec<Row> {
    let mut rows = Vec::new();
    for end in [" ", "\n", "\t \n", "\u{a0}", "\u{3000}", "\u{2028}"] {
        let prefill = format!("Title:{end}");
        let kind = |what: &str| format!("A3 {what} {end:?}");
        for (what, content) in [
            ("string", json!(prefill)),
            ("block", json!([text(&prefill)])),
            ("blocks", json!([text("first"), text(&prefill)])),
            ("blank last block", json!([text(&prefill), text(end)])),
            ("only blanks", json!(end)),
            ("only blank blocks", json!([text(end), text(end)])),
        ] {
            let body = messages(&[user(json!("go")), assistant(content.clone())]);
            rows.push(row(kind(what), MESSAGES, body, Mended));
            rows.push(row(kind(what), CHAT, chat(&[user(json!("go")), assistant(content)]), Mended));
        }
    }
    rows
}

/// A4: blank stop sequences.
pub(super) fn stop_sequences() -> Vec<Row> {
    let mut rows = Vec::new();
    for blank in ["\n", "", "\n\n", "\u{3000}"] {
        let kind = format!("A4 {blank:?}");
        let with = |name: &str, stop: Value| {
            let mut body = messages(&[user(json!("go"))]);
            body[name] = stop;
            body
        };
        let rejected = Rejected("stop_sequences.1: each stop sequence must contain non-whitespace");
        rows.push(row(kind.clone(), MESSAGES, with("stop_sequences", json!(["END", blank])), rejected));
        for stop in [json!(blank), json!(["END", blank]), json!([blank, blank])] {
            rows.push(mentioning(row(kind.clone(), CHAT, with("stop", stop), Mended), "stop"));
        }
    }
    rows
}

/// A5: schemas of tools.
pub(super) fn schemas() -> Vec<Row> {
    let properties = || json!({"x": {"type": "string"}});
    let mended = [
        json!({"properties": properties(), "required": ["x"]}),
        json!({}),
        json!({"type": ["object", "null"], "properties": properties()}),
        json!({"type": null, "properties": properties()}),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {}}),
        json!({"description": "d", "properties": {"anyOf": {"type": "string"}}}),
        json!({"type": "object", "properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}),
    ];
    let mut rows = Vec::new();
    for schema in mended {
        let kind = format!("A5 {schema}");
        rows.push(row(
            kind.clone(),
            MESSAGES,
            with_tool(messages(&[user(json!("[tool] go"))]), "f", schema.clone()),
            Mended,
        ));
        rows.push(row(kind, CHAT, with_function(chat(&[user(json!("[tool] go"))]), "f", schema), Mended));
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let schema = json!({"type": "object", keyword: [{"required": ["x"]}, {"required": ["y"]}]});
        let kind = format!("A5 {keyword}");
        let rejected = Rejected("tool 'find': input_schema does not support");
        rows.push(row(
            kind.clone(),
            MESSAGES,
            with_tool(messages(&[user(json!("go"))]), "find", schema.clone()),
            rejected,
        ));
        rows.push(row(kind, CHAT, with_function(chat(&[user(json!("go"))]), "find", schema), rejected));
    }
    rows
}

/// A5: values that are no schema, and names that no tool may have.
pub(super) fn invalid_schemas() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in ["a b", "größe", "$filter", &"x".repeat(65), ""] {
        let kind = format!("A5 property {name:?}");
        let schema = json!({"type": "object", "properties": {name: {"type": "string"}}});
        let rejected = Rejected("Property keys should match pattern");
        rows.push(row(
            kind.clone(),
            MESSAGES,
            with_tool(messages(&[user(json!("go"))]), "f", schema.clone()),
            rejected,
        ));
        rows.push(row(kind, CHAT, with_function(chat(&[user(json!("go"))]), "f", schema), rejected));
    }
    for schema in [json!(true), json!(false), Value::Null] {
        let kind = format!("A5 schema {schema}");
        rows.push(row(
            kind.clone(),
            MESSAGES,
            with_tool(messages(&[user(json!("go"))]), "f", schema.clone()),
            Rejected("input_schema"),
        ));
        let outcome = if schema.is_null() { Mended } else { Rejected("tools.0.function.parameters") };
        rows.push(row(kind, CHAT, with_function(chat(&[user(json!("go"))]), "f", schema), outcome));
    }
    rows
}

/// A6: the order of a conversation, and calls without arguments.
pub(super) fn conversations() -> Vec<Row> {
    let mut rows = Vec::new();
    let go = || user(json!("go"));
    for input in [json!(""), Value::Null, json!(" \n"), json!("{\"a\":1}"), json!("{}")] {
        let turns =
            [go(), assistant(json!([call("a", "f", input.clone())])), user(json!([result("a", json!("x"))]))];
        rows.push(row(
            format!("A6 input {input}"),
            MESSAGES,
            with_tool(messages(&turns), "f", object()),
            Mended,
        ));
    }
    let two = || assistant(json!([call("a", "f", json!({})), call("b", "f", json!({}))]));
    let (a, b) = (result("a", json!("x")), result("b", json!("y")));
    for (what, turns) in [
        ("text first", vec![go(), two(), user(json!([text("note"), a, b]))]),
        ("text between", vec![go(), two(), user(json!([a, text("note"), b]))]),
        ("results in two messages", vec![go(), two(), user(json!([a])), user(json!([b]))]),
        ("text in front", vec![go(), two(), user(json!("note")), user(json!([b, a]))]),
    ] {
        rows.push(row(format!("A6 {what}"), MESSAGES, with_tool(messages(&turns), "f", object()), Mended));
    }
    for (what, messages) in [
        ("assistant first", vec![assistant(json!("hello")), go()]),
        (
            "system, assistant first",
            vec![json!({"role": "system", "content": "s"}), assistant(json!("hello")), go()],
        ),
        ("assistant alone", vec![assistant(json!("hello"))]),
        ("call first", vec![chat_call("a", "f", Value::Null), tool("a", json!("x"))]),
        (
            "text before a result",
            vec![go(), chat_call("a", "f", Value::Null), user(json!("note")), tool("a", json!("x"))],
        ),
    ] {
        rows.push(row(format!("A6 {what}"), CHAT, with_function(chat(&messages), "f", object()), Mended));
    }
    rows
}

/// A6: calls without results, and results without calls.
pub(super) fn unpaired_calls() -> Vec<Row> {
    let go = || user(json!("go"));
    let calling = || assistant(json!([call("a", "f", json!({})), call("b", "f", json!({}))]));
    let (a, b) = (result("a", json!("x")), result("b", json!("y")));
    let missing = Rejected("`tool_use` ids were found without `tool_result` blocks");
    let orphaned = Rejected("`tool_use_id`");
    [
        ("one result missing", vec![go(), calling(), user(json!([a]))], missing),
        ("no results", vec![go(), calling(), go()], missing),
        ("orphaned result", vec![go(), user(json!([a]))], orphaned),
        ("foreign result", vec![go(), calling(), user(json!([a, b, result("c", json!("z"))]))], orphaned),
        ("two results of one call", vec![go(), calling(), user(json!([a, a, b]))], Rejected("tool_result")),
    ]
    .into_iter()
    .map(|(what, turns, outcome)| {
        row(format!("A6 {what}"), MESSAGES, with_tool(messages(&turns), "f", object()), outcome)
    })
    .chain(unpaired_chat_calls())
    .collect()
}

fn unpaired_chat_calls() -> impl Iterator<Item = Row> {
    let go = || user(json!("go"));
    let calling = || chat_call("a", "f", Value::Null);
    let orphan = tool("b", json!("y"));
    [
        ("no results", vec![go(), calling(), go()], Rejected("`tool_result` blocks")),
        ("orphaned result", vec![go(), orphan.clone(), go()], Rejected("`tool_use_id`")),
        ("foreign result", vec![go(), calling(), tool("a", json!("x")), orphan], Rejected("`tool_use_id`")),
    ]
    .into_iter()
    .map(|(what, turns, outcome)| {
        row(format!("A6 {what}"), CHAT, with_function(chat(&turns), "f", object()), outcome)
    })
}
