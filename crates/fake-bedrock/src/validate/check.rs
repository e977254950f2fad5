//! Check of a body against its Smithy shape, with the error texts of AWS's front end.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::schema::{Pattern, Shape, ShapeMember};
use crate::error::AwsError;

/// Maximum number of problems in an error message, so that it stays readable.
const MAX_LISTED_PROBLEMS: usize = 10;

/// Checks the whole body.
///
/// # Errors
/// `Malformed input request: …` for a member that the shape does not have, `N validation errors detected: …` for
/// everything else.
pub(crate) fn check(shape: &Shape, body: &Value) -> Result<(), AwsError> {
    let mut problems = Problems::default();
    visit(shape, body, &Path::Root, &mut problems)?;
    let mut problems = problems.0;
    if problems.is_empty() {
        return Ok(());
    }
    let (count, plural) = (problems.len(), if problems.len() == 1 { "" } else { "s" });
    problems.truncate(MAX_LISTED_PROBLEMS);
    Err(AwsError::validation(format!("{count} validation error{plural} detected: {}", problems.join("; "))))
}

/// Error for a member that the schema does not have.
pub(crate) fn extraneous(pointer: &str, key: &str) -> AwsError {
    AwsError::validation(format!(
        "Malformed input request: #{pointer}: extraneous key [{key}] is not permitted, please reformat your input and \
         try again."
    ))
}

/// Path of a member, displayed as Smithy does: `messages.1.member.content.2.member.text`, counted from one.
enum Path<'a> {
    Root,
    Name(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// The path as a JSON pointer, counted from zero.
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

/// Violated constraints, as AWS lists them.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, value: &Value, path: &Path<'_>, constraint: impl fmt::Display) {
        let value = match value {
            Value::String(text) => format!(" '{text}'"),
            Value::Number(number) => format!(" '{number}'"),
            Value::Bool(flag) => format!(" '{flag}'"),
            Value::Null => " null".to_owned(),
            _ => String::new(),
        };
        self.0.push(format!("Value{value} at '{path}' failed to satisfy constraint: {constraint}"));
    }

    /// Checks a length against its bounds.
    fn check_length(&mut self, value: &Value, path: &Path<'_>, length: usize, (min, max): (usize, usize)) {
        if length < min {
            self.add(value, path, format_args!("Member must have length greater than or equal to {min}"));
        } else if length > max {
            self.add(value, path, format_args!("Member must have length less than or equal to {max}"));
        }
    }
}

fn visit(shape: &Shape, value: &Value, path: &Path<'_>, problems: &mut Problems) -> Result<(), AwsError> {
    match shape {
        Shape::List { of, min, max } => {
            let Some(items) = value.as_array() else {
                problems.add(value, path, "Member must be of type list");
                return Ok(());
            };
            problems.check_length(value, path, items.len(), (*min, *max));
            for (index, item) in items.iter().enumerate() {
                visit(of, item, &Path::Item(path, index), problems)?;
            }
        }
        Shape::Struct(members) | Shape::Union(members) => {
            visit_members(shape, members, value, path, problems)?;
        }
        _ => visit_scalar(shape, value, path, problems),
    }
    Ok(())
}

/// Checks a value without members of known shape.
fn visit_scalar(shape: &Shape, value: &Value, path: &Path<'_>, problems: &mut Problems) {
    match shape {
        Shape::Text { min, max, pattern } => {
            let Some(text) = value.as_str() else {
                problems.add(value, path, "Member must be of type string");
                return;
            };
            problems.check_length(value, path, text.chars().count(), (*min, *max));
            if let Some(Pattern { text: pattern, allows }) = pattern
                && !text.chars().all(allows)
            {
                let constraint = format_args!("Member must satisfy regular expression pattern: {pattern}");
                problems.add(value, path, constraint);
            }
        }
        Shape::Integer { min } => match value.as_i64() {
            None => problems.add(value, path, "Member must be of type integer"),
            Some(number) if number < *min => {
                problems.add(
                    value,
                    path,
                    format_args!("Member must have value greater than or equal to {min}"),
                );
            }
            Some(_) => {}
        },
        Shape::Ratio => match value.as_f64() {
            None => problems.add(value, path, "Member must be of type float"),
            Some(number) if number < 0.0 => {
                problems.add(value, path, "Member must have value greater than or equal to 0");
            }
            Some(number) if number > 1.0 => {
                problems.add(value, path, "Member must have value less than or equal to 1");
            }
            Some(_) => {}
        },
        Shape::Flag if !value.is_boolean() => problems.add(value, path, "Member must be of type boolean"),
        Shape::Blob => match value.as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(bytes)) if !bytes.is_empty() => {}
            Some(Ok(_)) => problems.add(value, path, "Member must have length greater than or equal to 1"),
            // Without the value, which would fill the message.
            _ => problems
                .0
                .push(format!("Value at '{path}' failed to satisfy constraint: Member must be valid base64")),
        },
        Shape::OneOf(names) if !value.as_str().is_some_and(|text| names.contains(&text)) => {
            let constraint = format_args!("Member must satisfy enum value set: [{}]", names.join(", "));
            problems.add(value, path, constraint);
        }
        Shape::Map if !value.is_object() => problems.add(value, path, "Member must be of type map"),
        _ => {}
    }
}

/// Checks the members of a structure or union.
fn visit_members(
    shape: &Shape,
    members: &[ShapeMember],
    value: &Value,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Result<(), AwsError> {
    let Some(object) = value.as_object() else {
        problems.add(value, path, "Member must be of type structure");
        return Ok(());
    };
    if let Shape::Union(_) = shape {
        let set = object.values().filter(|value| !value.is_null()).count();
        if set != 1 && object.keys().all(|key| find(members, key).is_some()) {
            let names: Vec<&str> = members.iter().map(|(name, ..)| *name).collect();
            let constraint = format_args!("Member must have exactly one of: [{}]", names.join(", "));
            problems.add(value, path, constraint);
        }
    }
    for (key, value) in object {
        let (_, required, shape) = find(members, key).ok_or_else(|| extraneous(&path.pointer(), key))?;
        // Null counts as absent, except for a required document, where null is a value.
        if !value.is_null() || (*required && matches!(shape, Shape::Any)) {
            visit(shape, value, &Path::Name(path, key), problems)?;
        }
    }
    for (name, required, shape) in members {
        let value = object.get(*name);
        let missing = value.is_none_or(|value| value.is_null() && !matches!(shape, Shape::Any));
        if *required && missing {
            problems.add(&Value::Null, &Path::Name(path, name), "Member must not be null");
        }
    }
    Ok(())
}

fn find<'a>(members: &'a [ShapeMember], key: &str) -> Option<&'a ShapeMember> {
    members.iter().find(|(name, ..)| *name == key)
}
