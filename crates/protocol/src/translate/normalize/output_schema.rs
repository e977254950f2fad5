//! JSON schemas that a model is held to: structured output and strict tools.
//!
//! Bedrock makes a grammar of such a schema. The grammar has closed objects only, and few keywords; a schema with others
//! is rejected. What a schema states beyond the grammar goes into descriptions, as in `transform_schema` of Anthropic's
//! SDKs. An object that takes any members stays as it is: no grammar can express it.
//!
//! One pass over the text finds all changes, so the time grows with the length of a schema alone.
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations>
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>

use std::borrow::Cow;

use crate::json::RawJson;
use crate::json_edit::Edit;
use crate::translate::diagnostics::{Diagnostics, JsonPath};

/// Keywords that have no place in the grammar.
const UNSUPPORTED_KEYWORDS: [&str; 28] = [
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
    "pattern",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "additionalItems",
];
/// Values of `format` that the grammar has.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];
/// An object with more members is no schema of a client and stays as it is.
const MAX_KEYWORDS: usize = 1_000;
/// A larger schema stays as it is: no model is held to one, and the work on it would take a second.
const MAX_SCHEMA_BYTES: usize = 4 << 20;
/// Maximum length of a keyword's value in a description, in bytes: clients choose it, and the model reads it.
const MAX_NOTE_BYTES: usize = 1_000;

/// What was changed in a schema.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Objects that were closed.
    closed: usize,
    /// Objects that got their `type`.
    typed: usize,
    /// Keywords that are now in descriptions.
    described: Vec<&'static str>,
    /// `oneOf` became `anyOf`, or `allOf` of one reference did.
    is_any_of: bool,
    /// A `type` that Bedrock does not match with the `enum` beside it was left out.
    is_untyped: bool,
    /// `additionalProperties` was left out where there is no object.
    is_opened: bool,
}

impl Changes {
    /// Adds the notices of the schema at `path`.
    pub(super) fn report(&self, path: JsonPath<'_>, diagnostics: &mut Diagnostics) {
        if !self.described.is_empty() {
            let names = self.described.join(", ");
            diagnostics.dropped(
                path,
                format!("{names}: moved to the description, as the model cannot be held to them on Bedrock"),
            );
        }
        if self.closed > 0 {
            let plural = if self.closed == 1 { "" } else { "s" };
            diagnostics.adjusted(
                path,
                format!(
                    "`additionalProperties: false` added to {} object{plural}, as Bedrock requires it",
                    self.closed
                ),
            );
        }
        if self.typed > 0 {
            diagnostics.adjusted(path, "`type: object` added beside `properties`, as Bedrock requires it");
        }
        if self.is_any_of {
            diagnostics.adjusted(path, "`oneOf` or `allOf` sent as `anyOf`, the one that Bedrock takes");
        }
        if self.is_untyped {
            diagnostics.adjusted(path, "`type` left out beside an `enum` or `const` that implies it");
        }
        if self.is_opened {
            diagnostics.adjusted(path, "`additionalProperties` left out where there is no object");
        }
    }
}

/// Whether Bedrock takes the schema as it is, unless it is beyond mending.
pub(super) fn is_valid(schema: RawJson<'_>, is_tool: bool) -> bool {
    let mut edit = Edit::new(schema.get());
    rewrite(schema, is_tool, &mut edit);
    edit.is_empty()
}

/// Edits the schema. `is_tool`: it is an object, with any `type`.
pub(super) fn rewrite<'t>(schema: RawJson<'t>, is_tool: bool, edit: &mut Edit<'t>) -> Changes {
    let mut walker = Walker { text: schema.get(), at: 0, edit, changes: Changes::default() };
    if walker.text.starts_with('{') && walker.text.len() <= MAX_SCHEMA_BYTES {
        walker.schema(is_tool);
    }
    walker.changes
}

/// What a value is made of.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    Schema,
    /// Schemas by name.
    SchemasByName,
    Schemas,
    /// A schema, or a list of schemas.
    SchemaOrList,
    Literals,
    Other,
}

fn content_of(keyword: &str) -> Content {
    match keyword {
        "properties" | "$defs" | "definitions" => Content::SchemasByName,
        "anyOf" | "allOf" | "oneOf" => Content::Schemas,
        "items" => Content::SchemaOrList,
        "enum" | "const" => Content::Literals,
        _ => Content::Other,
    }
}

/// Member of a schema.
struct Keyword<'t> {
    name: Cow<'t, str>,
    /// The name as it is written, with its quotes.
    key: &'t str,
    value: &'t str,
    /// From key to value.
    whole: &'t str,
}

/// A reader of JSON that is known to be valid; `at` is its position in `text`.
struct Walker<'t, 'e> {
    text: &'t str,
    at: usize,
    edit: &'e mut Edit<'t>,
    changes: Changes,
}

impl<'t> Walker<'t, '_> {
    /// Reads a schema; `at` is its opening brace. Whether it has a reference.
    fn schema(&mut self, is_tool: bool) -> bool {
        let start = self.at;
        let mut keywords = Vec::new();
        let mut literals = Literals::default();
        let mut single_reference = false;
        let mut count = 0;
        self.at += 1;
        while let Some((key_start, key)) = self.key() {
            let name = unquoted(key);
            let value_start = self.at;
            match content_of(&name) {
                Content::Literals => literals.add(self.literals()),
                content => {
                    let found = self.value(content);
                    single_reference |= name == "allOf" && found == Found::OneReference;
                }
            }
            let (value, whole) = (&self.text[value_start..self.at], &self.text[key_start..self.at]);
            count += 1;
            if count <= MAX_KEYWORDS {
                keywords.push(Keyword { name, key, value, whole });
            }
        }
        let object = &self.text[start..self.at];
        let has_reference = keywords.iter().any(|keyword| keyword.name == "$ref");
        if count <= MAX_KEYWORDS {
            Node { object, keywords, literals, single_reference, is_tool }
                .rewrite(self.edit, &mut self.changes);
        }
        has_reference
    }

    /// Reads the values of a map or a list, or skips the value.
    fn value(&mut self, content: Content) -> Found {
        match (self.byte(), content) {
            (Some(b'{'), Content::Schema | Content::SchemaOrList) if self.schema(false) => {
                return Found::Reference;
            }
            (Some(b'{'), Content::Schema | Content::SchemaOrList) => {}
            (Some(b'{'), Content::SchemasByName) => {
                self.at += 1;
                while self.key().is_some() {
                    self.value(Content::Schema);
                }
            }
            (Some(b'['), Content::Schemas | Content::SchemaOrList) => return self.schemas(),
            _ => self.skip(),
        }
        Found::Other
    }

    /// Reads a list of schemas.
    fn schemas(&mut self) -> Found {
        self.at += 1;
        let mut found = Found::Other;
        let mut is_first = true;
        while self.next_item() {
            let item = self.value(Content::Schema);
            found = if is_first && item == Found::Reference { Found::OneReference } else { Found::Other };
            is_first = false;
        }
        found
    }

    /// Reads `enum` or `const`.
    fn literals(&mut self) -> Literals {
        let mut literals = Literals::default();
        if self.byte() != Some(b'[') {
            literals.value(self.skipped());
            return literals;
        }
        self.at += 1;
        while self.next_item() {
            literals.value(self.skipped());
        }
        literals
    }

    /// Position and text of the next key of an object, with `at` at its value; `None` behind the closing brace.
    fn key(&mut self) -> Option<(usize, &'t str)> {
        if !self.next_item() {
            return None;
        }
        let start = self.at;
        let key = self.skipped();
        self.skip_blanks();
        // The colon.
        self.at += 1;
        self.skip_blanks();
        Some((start, key))
    }

    /// Moves to the next item of an array or key of an object; `false` behind its end.
    fn next_item(&mut self) -> bool {
        self.skip_blanks();
        if self.byte() == Some(b',') {
            self.at += 1;
            self.skip_blanks();
        }
        let is_end = matches!(self.byte(), Some(b'}' | b']') | None);
        self.at += usize::from(is_end);
        !is_end
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn skipped(&mut self) -> &'t str {
        let start = self.at;
        self.skip();
        &self.text[start..self.at]
    }

    /// Skips a value.
    fn skip(&mut self) {
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => self.skip_string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                _ => {
                    let is_scalar = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                    self.at += bytes[self.at..].iter().take_while(|byte| is_scalar(byte)).count().max(1);
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips a string; `at` is its opening quote.
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(found) = memchr::memchr2(b'"', b'\\', &self.text.as_bytes()[self.at..]) {
            self.at += found + 1;
            if self.text.as_bytes()[self.at - 1] == b'"' {
                return;
            }
            self.at += 1;
        }
        self.at = self.text.len();
    }
}

/// What was read.
#[derive(Clone, Copy, PartialEq)]
enum Found {
    /// A schema with a reference.
    Reference,
    /// A list of one such schema.
    OneReference,
    Other,
}

/// Kinds of the values in `enum` and `const`.
#[derive(Clone, Copy, Default)]
struct Literals {
    has_string: bool,
    has_integer: bool,
    has_fraction: bool,
    has_boolean: bool,
    has_null: bool,
    /// An array or an object.
    has_structure: bool,
}

impl Literals {
    fn value(&mut self, text: &str) {
        match text.as_bytes().first() {
            Some(b'"') => self.has_string = true,
            Some(b'{' | b'[') => self.has_structure = true,
            Some(b't' | b'f') => self.has_boolean = true,
            Some(b'n') => self.has_null = true,
            _ if text.parse::<f64>().is_ok_and(|number| number.fract() == 0.0) => self.has_integer = true,
            _ => self.has_fraction = true,
        }
    }

    fn add(&mut self, other: Self) {
        self.has_string |= other.has_string;
        self.has_integer |= other.has_integer;
        self.has_fraction |= other.has_fraction;
        self.has_boolean |= other.has_boolean;
        self.has_null |= other.has_null;
        self.has_structure |= other.has_structure;
    }

    /// Whether all values are of the type that the JSON text of `type` names.
    fn are_of(self, kind: &str) -> bool {
        let Self { has_string, has_integer, has_fraction, has_boolean, has_null, .. } = self;
        let is_number = has_integer || has_fraction;
        match kind {
            "\"string\"" => !(is_number || has_boolean || has_null),
            "\"number\"" => !(has_string || has_boolean || has_null),
            "\"integer\"" => !(has_string || has_fraction || has_boolean || has_null),
            "\"boolean\"" => !(has_string || is_number || has_null),
            "\"null\"" => !(has_string || is_number || has_boolean),
            // A list of types: Bedrock matches no value with it.
            _ => false,
        }
    }
}

/// A schema without the ones inside of it.
struct Node<'t> {
    object: &'t str,
    keywords: Vec<Keyword<'t>>,
    literals: Literals,
    /// Whether `allOf` is one reference.
    single_reference: bool,
    /// Whether it is the top of a tool's schema, an object.
    is_tool: bool,
}

/// Keywords on which others of the same schema depend. Looked for once: each of the others may be repeated.
#[derive(Clone, Copy)]
struct Siblings {
    has_any_of: bool,
    has_one_of: bool,
    has_prefix_items: bool,
}

impl Siblings {
    fn new(keywords: &[Keyword<'_>]) -> Self {
        let has = |name: &str| keywords.iter().any(|keyword| keyword.name == name);
        Self { has_any_of: has("anyOf"), has_one_of: has("oneOf"), has_prefix_items: has("prefixItems") }
    }
}

impl<'t> Node<'t> {
    fn find(&self, name: &str) -> Option<&'t str> {
        self.keywords.iter().find(|keyword| keyword.name == name).map(|keyword| keyword.value)
    }

    fn rewrite(self, edit: &mut Edit<'t>, changes: &mut Changes) {
        let siblings = Siblings::new(&self.keywords);
        let mut removed = vec![false; self.keywords.len()];
        let mut note = String::new();
        for (index, keyword) in self.keywords.iter().enumerate() {
            if self.must_be_described(keyword, siblings) {
                removed[index] = true;
                describe(keyword, &mut note, changes);
            } else if self.is_any_of(&keyword.name, siblings) {
                edit.replace_part(keyword.key, "\"anyOf\"");
                changes.is_any_of = true;
            }
        }
        self.drop_type(&mut removed, changes);
        let mut added = Vec::new();
        self.close(&mut added, &mut removed, changes);
        if !note.is_empty() {
            self.add_note(&note, &mut added, edit);
        }
        if !added.is_empty() {
            let mut added = added.join(",");
            if removed.contains(&false) {
                added.push(',');
            }
            // Behind the opening brace.
            edit.replace_part(&self.object[1..1], added);
        }
        if removed.contains(&true) {
            let parts: Vec<&str> = self.keywords.iter().map(|keyword| keyword.whole).collect();
            edit.remove_parts(self.object, &parts, |index| removed[index]);
        }
    }

    /// Whether the keyword is beyond the grammar.
    fn must_be_described(&self, keyword: &Keyword<'_>, siblings: Siblings) -> bool {
        let value = keyword.value;
        match &*keyword.name {
            "minItems" => !matches!(value, "0" | "1"),
            "format" => !FORMATS.contains(&value.trim_matches('"')),
            // A tuple, in the old and in the new way to write it.
            "items" => value.starts_with('[') || (siblings.has_prefix_items && !value.starts_with('{')),
            "enum" | "const" => self.literals.has_structure,
            "oneOf" => siblings.has_any_of,
            name => UNSUPPORTED_KEYWORDS.contains(&name),
        }
    }

    /// Whether `anyOf` means the same and is in the grammar.
    fn is_any_of(&self, name: &str, siblings: Siblings) -> bool {
        match name {
            "oneOf" => true,
            "allOf" => self.single_reference && !siblings.has_any_of && !siblings.has_one_of,
            _ => false,
        }
    }

    /// Leaves out the type beside literals that Bedrock does not match with it; the schema of a tool needs one.
    fn drop_type(&self, removed: &mut [bool], changes: &mut Changes) {
        let has_literals = self.find("enum").or_else(|| self.find("const")).is_some();
        if self.is_tool || !has_literals || self.literals.has_structure {
            return;
        }
        for (keyword, removed) in self.keywords.iter().zip(removed) {
            if keyword.name == "type" && !self.literals.are_of(keyword.value) {
                *removed = true;
                changes.is_untyped = true;
            }
        }
    }

    /// Closes an object with properties.
    fn close(&self, added: &mut Vec<String>, removed: &mut [bool], changes: &mut Changes) {
        let kind = self.find("type");
        let has_properties = self.find("properties").is_some_and(|value| value.starts_with('{'));
        let is_object = self.is_tool
            || kind.is_some_and(|kind| kind.contains("\"object\""))
            || (kind.is_none() && has_properties);
        let is_combined =
            ["anyOf", "oneOf", "allOf", "$ref", "enum", "const"].iter().any(|name| self.find(name).is_some());
        if kind.is_none() && (self.is_tool || (has_properties && !is_combined)) {
            added.push(super::schema::OBJECT.to_owned());
            // A notice on every tool without a type is given already.
            changes.typed += usize::from(!self.is_tool);
        }
        let is_flag = |value: &str| matches!(value, "true" | "false");
        match self.find("additionalProperties") {
            None if is_object && has_properties => {
                added.push(r#""additionalProperties":false"#.to_owned());
                changes.closed += 1;
            }
            Some(value) if !is_object && (kind.is_some() || is_combined) && is_flag(value) => {
                let names = self.keywords.iter().map(|keyword| &keyword.name);
                for (name, removed) in names.zip(removed) {
                    *removed |= name == "additionalProperties";
                }
                changes.is_opened = true;
            }
            _ => {}
        }
    }

    /// Adds the keywords in `note` to the description.
    fn add_note(&self, note: &str, added: &mut Vec<String>, edit: &mut Edit<'t>) {
        let description = self.find("description");
        let text = description.filter(|value| value.starts_with('"'));
        let separator = if text.is_some_and(|text| text != "\"\"") { "\n\n" } else { "" };
        let json = serde_json::to_string(&format!("{separator}{{{note}}}")).unwrap_or_default();
        match (text, description) {
            // Before the closing quote.
            (Some(text), _) => {
                let end = text.len() - 1;
                edit.replace_part(&text[end..end], json.trim_matches('"').to_owned());
            }
            (None, Some(other)) => edit.replace_part(other, json),
            (None, None) => added.push(format!("\"description\":{json}")),
        }
    }
}

/// Adds a keyword to the text of a description.
fn describe(keyword: &Keyword<'_>, note: &mut String, changes: &mut Changes) {
    const OTHERS: [&str; 6] = ["minItems", "format", "items", "enum", "const", "oneOf"];
    let Some(name) = UNSUPPORTED_KEYWORDS.iter().chain(&OTHERS).find(|name| **name == keyword.name) else {
        return;
    };
    // It asks for nothing.
    if keyword.value == "false" {
        return;
    }
    if !changes.described.contains(name) {
        changes.described.push(name);
    }
    if !note.is_empty() {
        note.push_str(", ");
    }
    note.push_str(name);
    note.push_str(": ");
    let value = keyword.value;
    if value.len() <= MAX_NOTE_BYTES {
        note.push_str(value);
    } else {
        let end = (0..=MAX_NOTE_BYTES).rev().find(|end| value.is_char_boundary(*end)).unwrap_or(0);
        note.push_str(&value[..end]);
        note.push('…');
    }
}

/// The text of a key that is written in quotes.
fn unquoted(key: &str) -> Cow<'_, str> {
    if key.contains('\\') {
        let key: serde_json::Result<String> = serde_json::from_str(key);
        return Cow::Owned(key.unwrap_or_default());
    }
    Cow::Borrowed(key.get(1..key.len().saturating_sub(1)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
