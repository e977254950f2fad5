//! Compares a body with its shape, and reports in the words of AWS's front end.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::schema::{Member, Shape};
use crate::error::AwsError;

/// Problems beyond this many are not listed.
const MAX_LISTED_PROBLEMS: usize = 10;

/// Compares the whole body.
///
/// # Errors
/// `Malformed input request: …` for a member that the shape does not have, `N validation errors detected: …` for
/// everything else.
pub(crate) fn check(shape: &Shape, body: &Value) -> Result<(), AwsError> {
    let mut problems = Vec::new();
    visit(shape, body, &Path::Root, &mut problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    let (count, plural) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
    problems.truncate(MAX_LISTED_PROBLEMS);
    Err(AwsError::validation(format!("{count} validation error{plural} detected: {}", problems.join("; "))))
}

/// The refusal of a member that the model's own schema does not know.
pub(crate) fn extraneous(pointer: &str, key: &str) -> AwsError {
    AwsError::validation(format!(
        "Malformed input request: #{pointer}: extraneous key [{key}] is not permitted, please reformat your input and \
         try again."
    ))
}

/// Where we are; written as Smithy does: `messages.1.member.content.2.member.text`, counted from one.
enum Path<'a> {
    Root,
    Name(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// As a JSON pointer, counted from zero.
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Name(parent, name) => format!("{}/{name}", parent.pointer()),
            Self::Item(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Name(Self::Root, name) => f.write_str(name),
            Self::Name(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}.{}.member", index + 1),
        }
    }
}

fn visit(shape: &Shape, value: &Value, path: &Path<'_>, problems: &mut Vec<String>) -> Result<(), AwsError> {
    let mut problem = |constraint: String| {
        let value = match value {
            Value::String(text) => format!(" '{text}'"),
            Value::Number(number) => format!(" '{number}'"),
            Value::Bool(flag) => format!(" '{flag}'"),
            Value::Null => " null".to_owned(),
            _ => String::new(),
        };
        problems.push(format!("Value{value} at '{path}' failed to satisfy constraint: {constraint}"));
    };
    match shape {
        Shape::Any => {}
        Shape::Text { min, max, pattern } => match value.as_str() {
            None => problem("Member must be of type string".into()),
            Some(text) => {
                let length = text.chars().count();
                if length < *min {
                    problem(format!("Member must have length greater than or equal to {min}"));
                } else if length > *max {
                    problem(format!("Member must have length less than or equal to {max}"));
                }
                if let Some(pattern) = pattern
                    && !text.chars().all(pattern.allows)
                {
                    problem(format!("Member must satisfy regular expression pattern: {}", pattern.text));
                }
            }
        },
        Shape::Integer { min } => match value.as_i64() {
            None => problem("Member must be of type integer".into()),
            Some(number) if number < *min => {
                problem(format!("Member must have value greater than or equal to {min}"));
            }
            Some(_) => {}
        },
        Shape::Ratio => match value.as_f64() {
            None => problem("Member must be of type float".into()),
            Some(number) if number < 0.0 => {
                problem("Member must have value greater than or equal to 0".into());
            }
            Some(number) if number > 1.0 => problem("Member must have value less than or equal to 1".into()),
            Some(_) => {}
        },
        Shape::Flag if !value.is_boolean() => problem("Member must be of type boolean".into()),
        Shape::Flag => {}
        Shape::Blob => match value.as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(bytes)) if !bytes.is_empty() => {}
            Some(Ok(_)) => problem("Member must have length greater than or equal to 1".into()),
            _ => {
                // The value would fill the message.
                problems.push(format!(
                    "Value at '{path}' failed to satisfy constraint: Member must be valid base64"
                ));
            }
        },
        Shape::OneOf(names) => {
            if !value.as_str().is_some_and(|text| names.contains(&text)) {
                problem(format!("Member must satisfy enum value set: [{}]", names.join(", ")));
            }
        }
        Shape::List { of, min, max } => match value.as_array() {
            None => problem("Member must be of type list".into()),
            Some(items) => {
                if items.len() < *min {
                    problem(format!("Member must have length greater than or equal to {min}"));
                } else if items.len() > *max {
                    problem(format!("Member must have length less than or equal to {max}"));
                }
                for (index, item) in items.iter().enumerate() {
                    visit(of, item, &Path::Item(path, index), problems)?;
                }
            }
        },
        Shape::Map if !value.is_object() => problem("Member must be of type map".into()),
        Shape::Map => {}
        Shape::Struct(members) | Shape::Union(members) => {
            let Some(object) = value.as_object() else {
                problem("Member must be of type structure".into());
                return Ok(());
            };
            if let Shape::Union(_) = shape {
                let set = object.values().filter(|value| !value.is_null()).count();
                if set != 1 && object.keys().all(|key| find(members, key).is_some()) {
                    let names: Vec<&str> = members.iter().map(|(name, ..)| *name).collect();
                    problem(format!("Member must have exactly one of: [{}]", names.join(", ")));
                }
            }
            for (key, value) in object {
                let (_, required, shape) =
                    find(members, key).ok_or_else(|| extraneous(&path.pointer(), key))?;
                // A null is the same as nothing, unless a document is wanted: there it is a value.
                if !value.is_null() || (*required && matches!(shape, Shape::Any)) {
                    visit(shape, value, &Path::Name(path, key), problems)?;
                }
            }
            for (name, required, shape) in *members {
                let value = object.get(*name);
                let missing = value.is_none_or(|value| value.is_null() && !matches!(shape, Shape::Any));
                if *required && missing {
                    let path = Path::Name(path, name);
                    problems.push(format!(
                        "Value null at '{path}' failed to satisfy constraint: Member must not be null"
                    ));
                }
            }
        }
    }
    Ok(())
}

fn find<'a>(members: &'a [Member], key: &str) -> Option<&'a Member> {
    members.iter().find(|(name, ..)| *name == key)
}
