//! Example arguments of a tool call, generated from the tool's schema.

use serde_json::{Map, Value, json};

/// Object with an example value for each required property.
pub(crate) fn arguments(schema: &Value, user_text: &str) -> Value {
    let mut object = Map::new();
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        let property = schema.get("properties").and_then(|all| all.get(name)).unwrap_or(&Value::Null);
        object.insert(name.to_owned(), value(name, property, user_text));
    }
    Value::Object(object)
}

/// Example value that satisfies the schema in common cases.
pub(crate) fn instance(schema: &Value, user_text: &str) -> Value {
    value("output", schema, user_text)
}

fn value(name: &str, schema: &Value, user_text: &str) -> Value {
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    let first_of = |keyword: &str| schema.get(keyword).and_then(|choices| choices.get(0));
    if let Some(first) = first_of("anyOf").or_else(|| first_of("oneOf")) {
        return value(name, first, user_text);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind.unwrap_or("string") {
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        "boolean" => true.into(),
        "null" => Value::Null,
        "array" => json!([value(name, schema.get("items").unwrap_or(&Value::Null), user_text)]),
        "object" => arguments(schema, user_text),
        _ => example(name, user_text).into(),
    }
}

fn example(name: &str, user_text: &str) -> String {
    let name = name.to_ascii_lowercase();
    let has = |part: &str| name.contains(part);
    let text = match () {
        () if has("command") => "ls -la",
        () if has("path") || has("file") => "README.md",
        () if has("city") || has("location") => "Paris",
        () if has("url") => "https://example.com/",
        () if has("query") || has("prompt") => user_text,
        () if has("pattern") || has("regex") => "fn main",
        () if has("unit") => "celsius",
        () => "example",
    };
    text.to_owned()
}
