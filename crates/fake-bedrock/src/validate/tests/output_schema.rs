//! Schemas of structured output and of tools.

use super::anthropic::outcome;
use super::*;

/// The rejection of a schema as output format and as input of a strict tool, by Converse and InvokeModel.
#[track_caller]
fn assert_schema_rejected(schema: Value, expected: &str) {
    for (place, rejection) in rejections(&schema) {
        assert_eq!(rejection, format!("{place}: {expected}"), "for {schema}");
    }
}

#[track_caller]
fn assert_schema_accepted(schema: Value) {
    for (_, rejection) in rejections(&schema) {
        assert_eq!(rejection, "accepted", "for {schema}");
    }
}

/// Place of the schema and rejection without the prefix of Converse.
fn rejections(schema: &Value) -> Vec<(&'static str, String)> {
    let structure = json!({"jsonSchema": {"schema": schema.to_string()}});
    let format = json!({"textFormat": {"type": "json_schema", "structure": structure}});
    let format_by_converse = rejection(SONNET, &request_with(json!({"outputConfig": format})));
    let format = json!({"format": {"type": "json_schema", "schema": schema}});
    let format_by_invoke = outcome(SONNET, &anthropic::request_with(json!({"output_config": format})));
    let mut rejections = vec![
        ("output_config.format.schema", format_by_converse),
        ("output_config.format.schema", format_by_invoke),
    ];
    if schema["type"] == "object" && schema.get("anyOf").is_none() && schema.get("allOf").is_none() {
        let spec = json!({"name": "t", "strict": true, "inputSchema": {"json": schema}});
        let converse =
            rejection(SONNET, &request_with(json!({"toolConfig": {"tools": [{"toolSpec": spec}]}})));
        let tool = json!({"name": "t", "strict": true, "input_schema": schema});
        let invoke = outcome(SONNET, &anthropic::request_with(json!({"tools": [tool]})));
        rejections.extend([("tools.0.custom", converse), ("tools.0.custom", invoke)]);
    }
    let without_prefix =
        |text: String| text.strip_prefix(crate::error::MODEL_ERROR_PREFIX).unwrap_or(&text).to_owned();
    rejections.into_iter().map(|(place, text)| (place, without_prefix(text))).collect()
}

/// A closed object with one property `x`.
fn object_with(property: Value) -> Value {
    json!({"type": "object", "properties": {"x": property}, "additionalProperties": false})
}

#[test]
fn objects_must_be_closed_at_every_depth() {
    let open = "For 'object' type, 'additionalProperties' must be explicitly set to false";
    let nested = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    assert_schema_rejected(nested.clone(), open);
    assert_schema_rejected(object_with(nested.clone()), open);
    assert_schema_rejected(object_with(json!({"type": "array", "items": nested})), open);
    assert_schema_rejected(object_with(json!({"anyOf": [{"type": "null"}, nested]})), open);
    assert_schema_rejected(object_with(json!({"allOf": [nested]})), open);
    assert_schema_rejected(object_with(json!({"type": "object"})), open);
    assert_schema_rejected(object_with(json!({"type": ["object", "null"]})), open);
    assert_schema_rejected(
        object_with(json!({"type": "object", "additionalProperties": true})),
        "For 'object' type, 'additionalProperties: true' is not supported. Please set 'additionalProperties' to false",
    );
    assert_schema_rejected(
        object_with(json!({"type": "object", "additionalProperties": {"type": "string"}})),
        open,
    );
    for list in ["$defs", "definitions"] {
        let mut schema = object_with(json!({"$ref": format!("#/{list}/A")}));
        schema[list] = json!({"A": nested});
        assert_schema_rejected(schema, open);
    }
    let closed_scalar = object_with(json!({"type": "string", "additionalProperties": false}));
    assert_schema_rejected(
        closed_scalar,
        "For 'string' type, property 'additionalProperties' is not supported",
    );
}

#[test]
fn keywords_beyond_the_grammar_are_rejected() {
    for (property, expected) in [
        (
            json!({"type": "integer", "minimum": 1, "maximum": 10}),
            "For 'integer' type, properties maximum, minimum are not supported",
        ),
        (
            json!({"type": "string", "maxLength": 5}),
            "For 'string' type, property 'maxLength' is not supported",
        ),
        (
            json!({"type": "array", "items": {}, "maxItems": 3}),
            "For 'array' type, property 'maxItems' is not supported",
        ),
        (
            json!({"type": "array", "items": {}, "minItems": 2}),
            "For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        ),
        (json!({"type": "string", "format": "int32"}), "For 'string' type, format 'int32' is not supported"),
        (
            json!({"type": "string", "pattern": "^(?!a)"}),
            "For 'string' type, pattern '^(?!a)' is not supported",
        ),
        (json!({"not": {"type": "null"}}), "property 'not' is not supported"),
        (json!({"oneOf": [{"type": "null"}]}), "Schema type 'oneOf' is not supported"),
        (json!({"enum": [{"a": 1}]}), "Enum values must be strings, numbers, booleans, or null"),
        (
            json!({"type": ["string", "null"], "enum": ["a", null]}),
            "Invalid schema: Enum value \"a\" does not match declared type ['string','null']",
        ),
        (
            json!({"type": "string", "const": 1}),
            "Invalid schema: Enum value 1 does not match declared type 'string'",
        ),
        (json!({"$ref": "https://example.com/a"}), "External '$ref' is not supported: https://example.com/a"),
    ] {
        assert_schema_rejected(object_with(property), expected);
    }
}

#[test]
fn circular_references_are_rejected() {
    let mut schema = object_with(json!({"$ref": "#/$defs/A"}));
    schema["$defs"] = json!({"A": object_with(json!({"$ref": "#/$defs/A"}))});
    let expected = "Circular reference detected in schema definitions: A -> A. Self-referencing or \
                    mutually-referencing definitions are not supported.";
    assert_schema_rejected(schema, expected);
    let mut chain = object_with(json!({"$ref": "#/$defs/A"}));
    chain["$defs"] = json!({"A": object_with(json!({"$ref": "#/$defs/B"})), "B": {"type": "null"}});
    assert_schema_accepted(chain);
}

#[test]
fn schemas_of_the_grammar_are_accepted() {
    for property in [
        json!({"type": "string", "format": "date-time", "description": "when", "default": "now"}),
        json!({"type": ["string", "null"]}),
        json!({"enum": ["a", 1, true, null]}),
        json!({"type": "string", "enum": ["a"], "x-order": 1, "examples": ["a"]}),
        json!({"type": "array", "items": {"type": "number"}, "minItems": 1}),
        json!({"anyOf": [{"type": "null"}, object_with(json!({"type": "boolean"}))]}),
    ] {
        assert_schema_accepted(object_with(property));
    }
    // Only a strict tool is held to its schema.
    let open = json!({"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}});
    for strict in [json!(null), json!(false)] {
        let mut tool = json!({"name": "t", "input_schema": open});
        if strict.is_boolean() {
            tool["strict"] = strict;
        }
        assert_eq!(outcome(SONNET, &anthropic::request_with(json!({"tools": [tool]}))), "accepted");
    }
}

#[test]
fn top_level_of_a_tool_schema_is_checked() {
    let by_converse = |model: &str, schema: &Value| {
        let tool = json!({"toolSpec": {"name": "t", "inputSchema": {"json": schema}}});
        rejection(model, &request_with(json!({"toolConfig": {"tools": [tool]}})))
    };
    let by_invoke = |schema: &Value| {
        let tool = json!({"name": "t", "input_schema": schema});
        outcome(SONNET, &anthropic::request_with(json!({"tools": [tool]})))
    };
    for keyword in ["anyOf", "oneOf", "allOf"] {
        let schema = json!({"type": "object", keyword: [{"required": ["a"]}]});
        let expected = "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level";
        assert!(by_converse(SONNET, &schema).ends_with(expected));
        assert_eq!(by_invoke(&schema), expected);
        assert_eq!(by_converse(NOVA, &schema), "accepted");
    }
    let long = "n".repeat(65);
    for name in ["filter[id]", "Account Number", "$top", "", &long] {
        let schema = json!({"type": "object", "properties": {name: {"type": "string"}}});
        let expected = "tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'";
        assert!(by_converse(SONNET, &schema).ends_with(expected));
        assert_eq!(by_invoke(&schema), expected);
        let nested = json!({"type": "object", "properties": {"a.b-c_1": {"type": "object", "properties": {name: {}}}}});
        assert_eq!(by_invoke(&nested), "accepted", "only the top level is checked");
    }
    let untyped = by_converse(NOVA, &json!({"properties": {}}));
    assert_eq!(
        untyped,
        "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: object."
    );
}
