//! JSON objects as ordered members, so that members without a name in this version survive.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::anthropic::{BlockStart, MessageStart};
use crate::json::{MAX_UNKNOWN, RawJson};
use crate::json_edit::{Member, members};

/// Value of a member.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Null,
    Text(Cow<'static, str>),
    Json(Box<RawValue>),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(Cow::Owned(text.to_owned()))
    }

    pub(super) fn text_or_null(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    pub(super) fn json(value: &impl Serialize) -> Self {
        Self::Json(serde_json::value::to_raw_value(value).unwrap_or_default())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Null => "null".len(),
            Self::Text(text) => text.len(),
            Self::Json(json) => json.get().len(),
        }
    }

    /// Appends to a text. Any other value is replaced.
    pub(super) fn append(&mut self, text: &str) {
        if let Self::Json(json) = self {
            *self = Self::Text(serde_json::from_str::<String>(json.get()).unwrap_or_default().into());
        }
        match self {
            Self::Text(known) => known.to_mut().push_str(text),
            Self::Null | Self::Json(_) => *self = Self::text(text),
        }
    }
}

/// Object as ordered members, at most [`MAX_UNKNOWN`].
#[derive(Clone, Debug, Default)]
pub(super) struct Members(pub(super) Vec<(Cow<'static, str>, Value)>);

impl Members {
    pub(super) fn read(json: &str) -> Self {
        let Ok(object) = serde_json::from_str::<RawJson<'_>>(json) else { return Self::default() };
        let member = |Member { key, value }: Member<'_>| {
            (Cow::Owned(key.0.into_owned()), Value::Json(value.raw().to_owned()))
        };
        Self(members(object).into_iter().take(MAX_UNKNOWN).map(member).collect())
    }

    /// Members with known names.
    fn new<const N: usize>(members: [(&'static str, Value); N]) -> Self {
        Self(members.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
    }

    pub(super) fn of_message(message: &MessageStart<'_>) -> Self {
        let MessageStart { id, kind, role, model, content: [], stop_reason: _, stop_sequence: _, usage } =
            message;
        Self::new([
            ("id", Value::text(id)),
            ("type", Value::json(kind)),
            ("role", Value::json(role)),
            ("model", Value::text(model)),
            ("content", Value::Null),
            ("stop_reason", Value::Null),
            ("stop_sequence", Value::Null),
            ("usage", Value::json(usage)),
        ])
    }

    pub(super) fn of_block(block: &BlockStart<'_>) -> Self {
        let kind = |kind| ("type", Value::Text(Cow::Borrowed(kind)));
        match block {
            BlockStart::Text { text } => Self::new([kind("text"), ("text", Value::text(text))]),
            BlockStart::Thinking { thinking, signature } => Self::new([
                kind("thinking"),
                ("thinking", Value::text(thinking)),
                ("signature", Value::text(signature)),
            ]),
            BlockStart::RedactedThinking { data } => {
                Self::new([kind("redacted_thinking"), ("data", Value::text(data))])
            }
            BlockStart::ToolUse { id, name, input } => Self::new([
                kind("tool_use"),
                ("id", Value::text(id)),
                ("name", Value::text(name)),
                ("input", Value::json(input)),
            ]),
        }
    }

    /// The value of `key`, which is `null` where there was none.
    fn entry(&mut self, key: &str) -> &mut Value {
        let at = self.0.iter().position(|(known, _)| known == key).unwrap_or_else(|| {
            self.0.push((Cow::Owned(key.to_owned()), Value::Null));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        let is_full = self.0.len() >= MAX_UNKNOWN && !self.0.iter().any(|(known, _)| known == key);
        if !is_full {
            *self.entry(key) = value;
        }
    }

    /// Appends to the text of `key`.
    pub(super) fn append(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.entry(key).append(text);
        }
    }

    /// The JSON of `key`.
    pub(super) fn json(&self, key: &str) -> Option<&str> {
        match self.0.iter().find(|(known, _)| known == key) {
            Some((_, Value::Json(json))) => Some(json.get()),
            _ => None,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}
