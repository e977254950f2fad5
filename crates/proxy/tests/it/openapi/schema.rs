//! As much of JSON Schema as the OpenAPI document uses. An unknown keyword is an error.

use serde_json::Value;

/// Keywords that describe and do not check.
const ANNOTATIONS: [&str; 4] = ["description", "default", "examples", "format"];

/// What a `$ref` points at; other values as they are.
pub(super) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else { return value };
    let pointer = reference.strip_prefix('#').unwrap();
    document.pointer(pointer).unwrap_or_else(|| panic!("{reference} points at nothing"))
}

/// Checks that every `$ref` in the document has a target, and every component is used.
pub(super) fn check_references(document: &Value) {
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    for kind in ["parameters", "responses", "schemas"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let is_used = text.contains(&format!("\"#/components/{kind}/{name}\""));
            assert!(is_used || name == "EventKind", "{kind}/{name} is not used");
        }
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known"),
    }
}

/// Checks `value` against `schema`.
pub(super) fn check(document: &Value, schema: &Value, value: &Value, about: &str) {
    let schema = resolve(document, schema);
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "type" => {
                let one = std::slice::from_ref(wanted);
                let mut names = wanted.as_array().map_or(one, Vec::as_slice).iter();
                assert!(
                    names.any(|name| is_type(name.as_str().unwrap(), value)),
                    "{about}: {value}: {wanted}"
                );
            }
            "const" => assert_eq!(value, wanted, "{about}"),
            "enum" => assert!(wanted.as_array().unwrap().contains(value), "{about}: {value}: {wanted}"),
            "minimum" => assert!(value.is_null() || value.as_i64() >= wanted.as_i64(), "{about}: {value}"),
            "maximum" => assert!(value.is_null() || value.as_i64() <= wanted.as_i64(), "{about}: {value}"),
            "pattern" => assert_eq!(wanted, "^-?[0-9]+\\.[0-9]{9}$", "{about}: no other pattern is known"),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.for_each(|(at, item)| check(document, wanted, item, &format!("{about}[{at}]")));
            }
            "properties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(name) {
                        check(document, schema, member, &format!("{about}.{name}"));
                    }
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    assert!(
                        value.get(name.as_str().unwrap()).is_some(),
                        "{about}: {name} is missing: {value}"
                    );
                }
            }
            "additionalProperties" => {
                assert_eq!(wanted, false, "{about}");
                let known = |name: &String| schema["properties"].get(name).is_some();
                let unknown = value.as_object().into_iter().flatten().find(|(name, _)| !known(name));
                assert!(unknown.is_none(), "{about}: {unknown:?} is not in the schema");
            }
            _ => assert!(
                ANNOTATIONS.contains(&keyword.as_str()),
                "{about}: the keyword {keyword} is not known"
            ),
        }
    }
    if schema["format"] == "date-time" && value.is_string() {
        let text = value.as_str().unwrap();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{about}: {text} is no time");
    }
}
