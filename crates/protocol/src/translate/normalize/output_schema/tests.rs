use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Schemas and what `transformJSONSchema` of `@anthropic-ai/sdk` 1.14.0 makes of them.
const SDK_SCHEMAS: &str = include_str!("../../../../tests/it/transform_schema.json");

fn rewritten_text(schema: &str, is_tool: bool) -> (String, Vec<String>) {
    let raw: RawJson<'_> = serde_json::from_str(schema).unwrap();
    let mut edit = Edit::new(raw.get());
    let changes = rewrite(raw, is_tool, &mut edit);
    let is_changed = !edit.is_empty();
    let text = String::from_utf8(edit.apply()).unwrap();
    let mut diagnostics = Diagnostics::default();
    changes.report(JsonPath::ROOT.key("s"), &mut diagnostics);
    let again: RawJson<'_> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(is_valid(again, is_tool), "idempotent: {text}");
    assert_eq!(is_valid(raw, is_tool), !is_changed);
    (text, diagnostics.notices.iter().map(ToString::to_string).collect())
}

fn rewritten(schema: &Value) -> Value {
    serde_json::from_str(&rewritten_text(&schema.to_string(), false).0).unwrap()
}

/// An object with the property `x`.
#[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
fn object_with(x: Value) -> Value {
    json!({"type": "object", "properties": {"x": x}, "additionalProperties": false})
}

fn open_object() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}})
}

fn closed_object() -> Value {
    json!({"additionalProperties": false, "type": "object", "properties": {"n": {"type": "integer"}}})
}

#[test]
fn schemas_become_those_of_the_sdk() {
    let cases: Vec<Value> = serde_json::from_str(SDK_SCHEMAS).unwrap();
    for case in &cases {
        assert_eq!(rewritten(&case["schema"]), case["transformed"], "{}", case["schema"]);
    }
    assert!(cases.len() > 10);
}

#[test]
fn objects_with_properties_are_closed_at_every_depth() {
    for place in [
        |object: Value| object,
        |object| object_with(object),
        |object| object_with(json!({"type": "array", "items": object})),
        |object| object_with(json!({"anyOf": [{"type": "null"}, object]})),
        |object| object_with(json!({"allOf": [object, {"type": "object", "additionalProperties": false}]})),
        |object| json!({"$ref": "#/$defs/A", "$defs": {"A": object}}),
        |object| json!({"$ref": "#/definitions/A", "definitions": {"A": object}}),
        |object| object_with(object_with(json!({"type": "array", "items": {"anyOf": [object]}}))),
    ] {
        assert_eq!(rewritten(&place(open_object())), place(closed_object()));
    }
    let nullable = json!({"type": ["object", "null"], "properties": {}});
    assert_eq!(rewritten(&nullable)["additionalProperties"], false);
    let untyped = json!({"properties": {"n": {"type": "integer"}}});
    assert_eq!(
        rewritten(&untyped),
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": false})
    );
}

#[test]
fn other_objects_stay_as_they_are() {
    for schema in [
        json!({"type": "object"}),
        json!({"type": "object", "additionalProperties": true}),
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        json!({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": true}),
        json!({"additionalProperties": true}),
        json!({"type": "string", "enum": ["properties", "minimum"], "default": {"properties": {}}}),
        json!({"type": "object", "properties": {"minimum": {"type": "integer"}, "not": {}}, "additionalProperties": false}),
        json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "examples": [{"oneOf": []}]}),
        json!(true),
    ] {
        assert_eq!(rewritten(&object_with(schema.clone())), object_with(schema));
    }
}

#[test]
fn keywords_move_to_the_description() {
    let (text, notices) = rewritten_text(
        r#"{"type":"object", "properties":{"a":{"type":"integer", "description":"A \"count\"", "minimum": 1 ,"maximum":10},"b":{"maxLength":5}},"additionalProperties" : false}"#,
        false,
    );
    assert_eq!(
        text,
        r#"{"type":"object", "properties":{"a":{"type":"integer", "description":"A \"count\"\n\n{minimum: 1, maximum: 10}"},"b":{"description":"{maxLength: 5}"}},"additionalProperties" : false}"#
    );
    assert_eq!(
        notices,
        [
            "s: minimum, maximum, maxLength: moved to the description, as the model cannot be held to them on Bedrock"
        ]
    );
    let described = |schema: Value| rewritten(&schema)["description"].as_str().unwrap_or_default().to_owned();
    assert_eq!(described(json!({"description": "", "minLength": 1})), "{minLength: 1}");
    assert_eq!(described(json!({"description": null, "minLength": 1})), "{minLength: 1}");
    assert_eq!(described(json!({"format": "int32", "type": "integer"})), r#"{format: "int32"}"#);
    assert_eq!(
        described(json!({"prefixItems": [{"type": "null"}], "items": false})),
        r#"{prefixItems: [{"type":"null"}]}"#
    );
    assert_eq!(described(json!({"items": [{"type": "null"}]})), r#"{items: [{"type":"null"}]}"#);
    assert_eq!(described(json!({"enum": [{"a": 1}]})), r#"{enum: [{"a":1}]}"#);
    assert_eq!(described(json!({"pattern": "^\"\\d\n"})), r#"{pattern: "^\"\\d\n"}"#);
    assert_eq!(described(json!({"uniqueItems": false})), "", "it asks for nothing");
    let escaped = rewritten_text(r#"{"type":"string","max\u004cength":5}"#, false).0;
    assert_eq!(escaped, r#"{"description":"{maxLength: 5}","type":"string"}"#);
    let long = described(json!({"not": {"const": "ä".repeat(10_000)}}));
    assert!(long.len() < 1_100 && long.ends_with("ä…}"), "{long}");
}

#[test]
fn alternatives_are_sent_as_any_of() {
    let either = json!([{"type": "null"}, {"type": "string"}]);
    assert_eq!(rewritten(&json!({"oneOf": either})), json!({"anyOf": either}));
    let both = rewritten(&json!({"oneOf": either, "anyOf": either}));
    assert_eq!(both["anyOf"], either);
    assert_eq!(both["description"], r#"{oneOf: [{"type":"null"},{"type":"string"}]}"#);
    // So write older versions of pydantic.
    let reference = json!([{"$ref": "#/$defs/A"}]);
    assert_eq!(
        rewritten(&json!({"allOf": reference, "description": "d", "default": null})),
        json!({"anyOf": reference, "description": "d", "default": null})
    );
    let two = json!({"allOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]});
    assert_eq!(rewritten(&two), two, "no grammar can express it");
}

#[test]
fn type_beside_literals_is_left_out_when_it_differs() {
    for (schema, expected) in [
        (json!({"type": ["string", "null"], "enum": ["a", null]}), json!({"enum": ["a", null]})),
        (json!({"type": "string", "enum": ["a", 1]}), json!({"enum": ["a", 1]})),
        (json!({"type": "integer", "const": 1.5}), json!({"const": 1.5})),
        (json!({"type": "string", "enum": ["a"]}), json!({"type": "string", "enum": ["a"]})),
        (json!({"type": "number", "enum": [1, 2.5]}), json!({"type": "number", "enum": [1, 2.5]})),
        (json!({"type": "integer", "const": 1}), json!({"type": "integer", "const": 1})),
        (json!({"type": "string", "additionalProperties": false}), json!({"type": "string"})),
        (
            json!({"anyOf": [{"type": "null"}], "additionalProperties": false}),
            json!({"anyOf": [{"type": "null"}]}),
        ),
    ] {
        assert_eq!(rewritten(&schema), expected);
    }
}

#[test]
fn schema_of_a_tool_gets_its_type() {
    let tool = |schema: &str| rewritten_text(schema, true).0;
    assert_eq!(tool(r#"{"uniqueItems":false}"#), r#"{"type":"object"}"#);
    assert_eq!(tool("{}"), r#"{"type":"object"}"#);
    assert_eq!(
        tool(r#"{"properties":{}}"#),
        r#"{"type":"object","additionalProperties":false,"properties":{}}"#
    );
    assert_eq!(
        tool(r#"{"type":null,"properties":{}}"#),
        r#"{"additionalProperties":false,"type":null,"properties":{}}"#,
        "the type is replaced elsewhere"
    );
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the time that a test takes")]
fn time_grows_with_the_length_alone() {
    let nested = |depth: usize, leaf: &str| {
        format!("{}{leaf}{}", r#"{"type":"object","properties":{"x":"#.repeat(depth), "}}".repeat(depth))
    };
    let wide = |leaf: &str, count: usize| {
        let property = |n: usize| format!(r#""p{n}":{leaf},"#);
        let properties: String = (0..count).map(property).collect();
        format!(r#"{{"type":"object","properties":{{{}"z":{{}}}}}}"#, properties)
    };
    for (family, schema) in [
        ("wide", wide(r#"{"type":"object","properties":{},"minLength":1}"#, 60_000)),
        ("deep", nested(60, &wide(r#"{"oneOf":[{"maxLength":1}],"description":"d"}"#, 60_000))),
        ("long enum", nested(60, &format!(r#"{{"enum":[{}0]}}"#, "1,".repeat(1_500_000)))),
        ("long keyword", nested(60, &format!(r#"{{"not":{{"const":"{}"}}}}"#, "a".repeat(3_000_000)))),
        ("many keywords", format!("{{{}\"z\":0}}", r#""minimum":1,"#.repeat(250_000))),
    ] {
        let started_at = Instant::now();
        let raw: RawJson<'_> = serde_json::from_str(&schema).unwrap();
        let mut edit = Edit::new(raw.get());
        rewrite(raw, false, &mut edit);
        let length = edit.apply().len();
        // Some hundred milliseconds without optimization.
        assert!(started_at.elapsed() < Duration::from_secs(10), "{family}: {:?}", started_at.elapsed());
        assert!(length < 4 * schema.len(), "{family}");
    }
}

/// A schema of any kind that libraries generate.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "maxLength": 5, "pattern": "a"})),
        Just(json!({"type": "integer", "minimum": 1, "description": "d"})),
        Just(json!({"type": ["string", "null"], "format": "uri"})),
        Just(json!({"enum": ["a", 1], "type": "string"})),
        Just(json!({"$ref": "#/$defs/A"})),
        Just(json!({})),
        Just(json!(true)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let many = proptest::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            many.clone().prop_map(|all| {
                let named = all.into_iter().enumerate().map(|(n, schema)| (format!("p{n}"), schema));
                json!({"type": "object", "properties": serde_json::Map::from_iter(named)})
            }),
            inner.clone().prop_map(|item| json!({"type": "array", "items": item, "maxItems": 2})),
            many.clone().prop_map(|all| json!({"anyOf": all})),
            many.clone().prop_map(|all| json!({"oneOf": all, "title": "t"})),
            many.prop_map(|all| json!({"prefixItems": all, "minItems": 1})),
            inner
                .prop_map(|one| json!({"$defs": {"A": one}, "type": "object", "additionalProperties": true})),
        ]
    })
}

#[test]
fn type_of_a_tool_stays_beside_literals() {
    for schema in
        [r#"{"enum":["a",1],"type":"string"}"#, r#"{"enum":["a",1]}"#, r#"{"const":1,"type":"object"}"#]
    {
        assert!(rewritten_text(schema, true).0.contains("\"type\":"), "{schema}");
    }
}

proptest! {
    #[test]
    fn rewritten_schema_is_valid_and_stays(schema in schema(), is_tool: bool) {
        if schema.is_object() {
            rewritten_text(&schema.to_string(), is_tool);
        }
    }
}
