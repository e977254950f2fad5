//! JSON schemas of structured output and of strict tools.
//!
//! After the AWS page "Get validated JSON results from models" and Anthropic's page "Structured outputs". The grammar
//! that is made of a schema knows closed objects and no ranges; unknown keywords are ignored.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::AwsError;

type ValidationResult = Result<(), AwsError>;

/// Field of the schema of structured output, as errors name it for every API.
pub(super) const OUTPUT_SCHEMA: &str = "output_config.format.schema";

/// Keywords that the grammar cannot express.
const UNSUPPORTED_KEYWORDS: &[&str] = &[
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Values of `format`.
const FORMATS: &[&str] =
    &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Checks a schema; `at` is the field that an error names.
///
/// # Errors
/// A `ValidationException` for the first rule that the schema violates.
pub(super) fn check(schema: &Value, at: &str) -> ValidationResult {
    check_node(schema)
        .and_then(|()| check_references(schema))
        .map_err(|problem| AwsError::model(format!("{at}: {problem}")))
}

fn check_node(schema: &Value) -> Result<(), String> {
    let Some(members) = schema.as_object() else {
        return if schema.is_boolean() {
            Ok(())
        } else {
            Err("Invalid schema: expected an object".to_owned())
        };
    };
    if members.contains_key("oneOf") {
        return Err("Schema type 'oneOf' is not supported".to_owned());
    }
    check_objects(members)?;
    check_keywords(members)?;
    check_literals(members)?;
    for name in ["properties", "$defs", "definitions"] {
        let nested = members.get(name).and_then(Value::as_object);
        nested.into_iter().flat_map(Map::values).try_for_each(check_node)?;
    }
    for name in ["anyOf", "allOf", "items"] {
        match members.get(name) {
            Some(Value::Array(nested)) => nested.iter().try_for_each(check_node)?,
            Some(nested) => check_node(nested)?,
            None => {}
        }
    }
    let is_reference = |schema: &Value| schema.get("$ref").is_some();
    match members.get("allOf").and_then(Value::as_array) {
        Some(all) if all.iter().any(is_reference) => Err("'allOf' with '$ref' is not supported".to_owned()),
        _ => Ok(()),
    }
}

/// The declared types; none without `type`.
fn types(members: &Map<String, Value>) -> Vec<&str> {
    match members.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What stands before a problem of a schema with a type.
fn subject(members: &Map<String, Value>) -> String {
    types(members).first().map(|name| format!("For '{name}' type, ")).unwrap_or_default()
}

/// Checks that objects are closed, and that nothing else is.
fn check_objects(members: &Map<String, Value>) -> Result<(), String> {
    let additional = members.get("additionalProperties");
    let is_object = types(members).contains(&"object") || members.contains_key("properties");
    match additional {
        Some(Value::Bool(true)) if is_object => {
            Err("For 'object' type, 'additionalProperties: true' is not supported. \
             Please set 'additionalProperties' to false"
                .to_owned())
        }
        _ if is_object && additional != Some(&Value::Bool(false)) => {
            Err("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned())
        }
        Some(_) if !is_object => {
            Err(format!("{}property 'additionalProperties' is not supported", subject(members)))
        }
        _ => Ok(()),
    }
}

fn check_keywords(members: &Map<String, Value>) -> Result<(), String> {
    let mut unsupported: Vec<&str> =
        members.keys().map(String::as_str).filter(|name| UNSUPPORTED_KEYWORDS.contains(name)).collect();
    unsupported.sort_unstable();
    let subject = subject(members);
    match unsupported[..] {
        [] => {}
        [one] => return Err(format!("{subject}property '{one}' is not supported")),
        _ => return Err(format!("{subject}properties {} are not supported", unsupported.join(", "))),
    }
    if members.get("minItems").is_some_and(|count| !matches!(count.as_u64(), Some(0 | 1))) {
        return Err(format!("{subject}'minItems' values other than 0 or 1 are not supported"));
    }
    let format = members.get("format").and_then(Value::as_str);
    if let Some(format) = format.filter(|format| !FORMATS.contains(format)) {
        return Err(format!("{subject}format '{format}' is not supported"));
    }
    // No grammar looks around, repeats what it has read, or knows where a word ends.
    let pattern = members.get("pattern").and_then(Value::as_str).unwrap_or_default();
    let has_backreference = pattern
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && (pair[1].is_ascii_digit() || matches!(pair[1], b'b' | b'B' | b'k')));
    let looks_around = ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|start| pattern.contains(start));
    if has_backreference || looks_around {
        return Err(format!("{subject}pattern '{pattern}' is not supported"));
    }
    Ok(())
}

/// Checks `enum` and `const`: scalars of the declared type.
fn check_literals(members: &Map<String, Value>) -> Result<(), String> {
    let listed = members.get("enum").and_then(Value::as_array).into_iter().flatten();
    let types = types(members);
    for value in listed.chain(members.get("const")) {
        if value.is_array() || value.is_object() {
            return Err("Enum values must be strings, numbers, booleans, or null".to_owned());
        }
        if types.is_empty() {
            continue;
        }
        // A list of types is not matched at all.
        if types.len() > 1 || !is_of_type(value, types[0]) {
            let declared = members.get("type").map(Value::to_string).unwrap_or_default();
            let declared = declared.replace('"', "'");
            return Err(format!(
                "Invalid schema: Enum value {value} does not match declared type {declared}"
            ));
        }
    }
    Ok(())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    }
}

/// Checks that references are local and lead to no circle.
fn check_references(schema: &Value) -> Result<(), String> {
    let mut definitions: HashMap<String, Vec<&str>> = HashMap::new();
    for list in ["$defs", "definitions"] {
        let listed = schema.get(list).and_then(Value::as_object);
        for (name, definition) in listed.into_iter().flatten() {
            let mut references = Vec::new();
            collect_references(definition, &mut references)?;
            definitions.insert(format!("#/{list}/{name}"), references);
        }
    }
    let mut from_root = Vec::new();
    collect_references(schema, &mut from_root)?;
    if from_root.contains(&"#") {
        return Err(circular("#", "#"));
    }
    let mut finished = Vec::new();
    for name in definitions.keys() {
        follow(name, &definitions, &mut Vec::new(), &mut finished)?;
    }
    Ok(())
}

fn circular(from: &str, to: &str) -> String {
    let short = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    format!(
        "Circular reference detected in schema definitions: {} -> {}. Self-referencing or mutually-referencing \
         definitions are not supported.",
        short(from),
        short(to)
    )
}

fn collect_references<'a>(value: &'a Value, references: &mut Vec<&'a str>) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                if !target.starts_with('#') {
                    return Err(format!("External '$ref' is not supported: {target}"));
                }
                references.push(target);
            }
            members.values().try_for_each(|value| collect_references(value, references))
        }
        Value::Array(values) => values.iter().try_for_each(|value| collect_references(value, references)),
        _ => Ok(()),
    }
}

/// Follows the references of a definition.
fn follow<'a>(
    name: &'a str,
    definitions: &'a HashMap<String, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    finished: &mut Vec<&'a str>,
) -> Result<(), String> {
    if let Some(previous) = path.last().filter(|_| path.contains(&name)) {
        return Err(circular(previous, name));
    }
    if finished.contains(&name) {
        return Ok(());
    }
    path.push(name);
    for target in definitions.get(name).into_iter().flatten() {
        follow(target, definitions, path, finished)?;
    }
    path.pop();
    finished.push(name);
    Ok(())
}
