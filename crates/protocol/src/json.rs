//! JSON: text borrowed from the body, values kept exactly as they were written,
//! objects that keep unknown members, and lists with a limit.
//!
//! The meaning of objects is in `anthropic` and `converse`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// How deep a value that is passed on unread may nest; the parser's own limit for the rest.
pub const MAX_DEPTH: usize = 128;

/// How many members without a name in this version one object may have: clients send a handful, and each takes many
/// times the memory of its text.
pub const MAX_UNKNOWN: usize = 256;

/// A JSON string, borrowed from the input when it holds no escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct JsonStr<'a>(pub Cow<'a, str>);

impl JsonStr<'_> {
    /// Whether it is empty or white space only.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.chars().all(char::is_whitespace)
    }
}

impl Deref for JsonStr<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JsonStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> From<&'a str> for JsonStr<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for JsonStr<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonStr<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Visit<'a> {
            type Value = JsonStr<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<JsonStr<'a>, E> {
                Ok(JsonStr(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonStr<'a>, E> {
                Ok(JsonStr(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<JsonStr<'a>, E> {
                Ok(JsonStr(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(Visit(PhantomData))
    }
}

/// A JSON string that is serialized as it was written, and decoded only where its text is needed. Of a prompt the first
/// characters are needed, and a prompt is most of a body.
#[derive(Clone, Debug)]
pub enum JsonText<'a> {
    /// The string as it was written, without `\u` escapes: not every one of them is a character.
    Raw(&'a RawValue),
    /// The text.
    Decoded(Cow<'a, str>),
}

impl JsonText<'_> {
    /// Whether it is empty or white space only.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Raw(raw) => is_blank_json(raw.get()),
            Self::Decoded(text) => text.chars().all(char::is_whitespace),
        }
    }

    /// The text, decoded.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            // Without `\u` escapes, a string that was parsed can be decoded.
            Self::Raw(raw) => serde_json::from_str::<JsonStr<'_>>(raw.get()).unwrap_or_default().0,
            Self::Decoded(text) => Cow::Borrowed(text),
        }
    }
}

/// Whether a JSON string without `\u` escapes is empty or white space only.
fn is_blank_json(json: &str) -> bool {
    let mut chars = json.chars().skip(1);
    while let Some(char) = chars.next() {
        match char {
            '"' => return true,
            '\\' if matches!(chars.next(), Some('n' | 't' | 'r' | 'f')) => {}
            _ if char.is_whitespace() => {}
            _ => return false,
        }
    }
    true
}

impl Eq for JsonText<'_> {}

impl PartialEq for JsonText<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl<'a, T: Into<Cow<'a, str>>> From<T> for JsonText<'a> {
    fn from(text: T) -> Self {
        Self::Decoded(text.into())
    }
}

impl<'a> From<JsonStr<'a>> for JsonText<'a> {
    fn from(text: JsonStr<'a>) -> Self {
        Self::Decoded(text.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('"') {
            return Err(de::Error::invalid_type(kind(raw.get()), &"a string"));
        }
        if memchr::memmem::find(raw.get().as_bytes(), b"\\u").is_none() {
            return Ok(Self::Raw(raw));
        }
        check(raw.get()).map_err(de::Error::custom)?;
        serde_json::from_str::<JsonStr<'_>>(raw.get()).map(Self::from).map_err(de::Error::custom)
    }
}

impl Serialize for JsonText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Raw(raw) => raw.serialize(serializer),
            Self::Decoded(text) => serializer.serialize_str(text),
        }
    }
}

/// Kind of a JSON value that is no string, for an error.
fn kind(json: &str) -> Unexpected<'static> {
    match json.as_bytes().first() {
        Some(b'{') => Unexpected::Map,
        Some(b'[') => Unexpected::Seq,
        Some(b't' | b'f') => Unexpected::Bool(json == "true"),
        Some(b'n') => Unexpected::Unit,
        _ if json.contains(['.', 'e', 'E']) => Unexpected::Float(json.parse().unwrap_or_default()),
        _ => Unexpected::Signed(json.parse().unwrap_or_default()),
    }
}

/// A JSON value exactly as it was written: key order, number spelling and white space survive.
///
/// Prompt caching depends on that. What the parser would have checked is checked all the same:
/// nesting (at most [`MAX_DEPTH`]) and `\u` escapes that pair up.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct RawJson<'a>(&'a RawValue);

impl<'a> RawJson<'a> {
    /// The empty object.
    pub const EMPTY_OBJECT: &'static str = "{}";

    /// A value inside of one that was checked.
    pub(crate) fn inside(raw: &'a RawValue) -> Self {
        Self(raw)
    }

    /// The text of the value.
    #[must_use]
    pub fn get(self) -> &'a str {
        self.0.get()
    }

    /// Whether the value is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.get().starts_with('{')
    }

    /// The value as serde_json has it, for serialization.
    #[must_use]
    pub fn raw(self) -> &'a RawValue {
        self.0
    }

    /// Parses the value as `T`.
    ///
    /// # Errors
    /// The error of [`serde_json`] when the value is not a `T`.
    pub fn read<T: Deserialize<'a>>(self) -> serde_json::Result<T> {
        serde_json::from_str(self.get())
    }
}

impl PartialEq for RawJson<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        check(raw.get()).map_err(de::Error::custom)?;
        Ok(Self(raw))
    }
}

/// Checks what skipping over a value leaves unchecked.
fn check(json: &str) -> Result<(), &'static str> {
    let bytes = json.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => at = after_string(bytes, at)?,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err("nested too deep: at most 128 levels");
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// `at` points behind the opening quote; returns the position behind the closing one.
fn after_string(bytes: &[u8], mut at: usize) -> Result<usize, &'static str> {
    // Strings are most of a body, and most of a string is neither of these two.
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if bytes[at - 1] == b'"' {
            return Ok(at);
        }
        at = if bytes.get(at) == Some(&b'u') { after_unicode_escape(bytes, at)? } else { at + 1 };
    }
    Ok(bytes.len())
}

/// `at` points to the `u`; returns the position after the escape, or after the pair it begins.
fn after_unicode_escape(bytes: &[u8], at: usize) -> Result<usize, &'static str> {
    const LONE: &str = "lone surrogate in a \\u escape";
    match code_unit(bytes, at) {
        Some(0xD800..=0xDBFF) => {
            let low = at + 5;
            let paired =
                bytes.get(low) == Some(&b'\\') && matches!(code_unit(bytes, low + 1), Some(0xDC00..=0xDFFF));
            if paired { Ok(low + 6) } else { Err(LONE) }
        }
        Some(0xDC00..=0xDFFF) | None => Err(LONE),
        Some(_) => Ok(at + 5),
    }
}

fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 5)?.strip_prefix(b"u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// `text`, cut at `max_bytes` bytes and marked, if it is longer. For texts that repeat what a client or AWS wrote.
pub(crate) fn truncated(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push('…');
    }
    text
}

/// Item of a [`List`].
pub trait Item {
    /// How it is called in an error.
    const WHAT: &'static str;
    /// How much of it one list may hold: a list takes many times the memory of short values. More than requests have.
    const MAX: usize;
    /// How much this one counts for.
    fn weight(&self) -> usize {
        1
    }
}

impl Item for JsonStr<'_> {
    const WHAT: &'static str = "strings";
    // `stopSequences` of Converse, the longest list of strings.
    // <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InferenceConfiguration.html>
    const MAX: usize = 2_500;
}

/// A JSON array with a limit, so that a small body cannot become a large structure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct List<T>(pub Vec<T>);

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Item> List<T> {
    /// Reads the items of an array.
    pub(crate) fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Self, A::Error>
    where
        T: Deserialize<'de>,
    {
        let (mut items, mut weight) = (Vec::new(), 0);
        while let Some(item) = seq.next_element::<T>()? {
            weight += item.weight();
            if weight > T::MAX {
                return Err(de::Error::custom(format_args!("too many {}: at most {}", T::WHAT, T::MAX)));
            }
            items.push(item);
        }
        Ok(Self(items))
    }
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);

        impl<'de, T: Item + Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of {}", T::WHAT)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<List<T>, A::Error> {
                List::from_seq(seq)
            }
        }

        deserializer.deserialize_seq(Visit(PhantomData))
    }
}

/// The methods of a visitor that takes nothing from strings, numbers, booleans and null.
macro_rules! ignore_scalars {
    () => {
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
            Ok(())
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
            Ok(())
        }

        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
            Ok(())
        }

        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
            Ok(())
        }

        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
    };
}
pub(crate) use ignore_scalars;

/// The unknown members of an object that is being parsed.
#[derive(Default)]
pub(crate) struct UnknownMembers<'a> {
    pub(crate) members: Vec<(JsonStr<'a>, RawJson<'a>)>,
    /// Their names, once they are too many to compare.
    names: HashSet<JsonStr<'a>>,
}

impl<'a> UnknownMembers<'a> {
    /// Number of members up to which comparing each name is faster than hashing.
    const MAX_COMPARED: usize = 16;

    /// Adds a member, unless it is `null`.
    pub(crate) fn push(&mut self, name: JsonStr<'a>, value: RawJson<'a>) -> Result<(), String> {
        if self.members.len() == MAX_UNKNOWN {
            return Err("too many unknown fields".to_owned());
        }
        let is_known = match self.names.is_empty() {
            true => self.members.iter().any(|(known, _)| *known == name),
            false => self.names.contains(&name),
        };
        if is_known {
            return Err(format!("duplicate field `{name}`"));
        }
        if value.get() == "null" {
            return Ok(());
        }
        if self.members.len() == Self::MAX_COMPARED {
            self.names.extend(self.members.iter().map(|(name, _)| name.clone()));
        }
        if !self.names.is_empty() {
            self.names.insert(name.clone());
        }
        self.members.push((name, value));
        Ok(())
    }
}

/// Declares a JSON object whose members are all optional and which keeps the members it does not know.
///
/// Parsing never drops anything: a member is in its field, or in `unknown`, or the object is rejected
/// (a member given twice). `null` counts as absent. The translation *takes* the fields;
/// what is [`left_over`](object) afterwards was not translated and has to be reported.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $key:literal => $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name<'a> {
            $( $(#[$field_meta])* pub $field: Option<$type>, )*
            /// Members without a name in this version, in the order they came.
            pub unknown: Vec<($crate::json::JsonStr<'a>, $crate::json::RawJson<'a>)>,
        }

        impl<'a> $name<'a> {
            /// The names of the members that are (still) here.
            pub fn left_over(&self) -> impl Iterator<Item = &str> {
                let known = [$( self.$field.as_ref().map(|_| $key) ),*];
                known.into_iter().flatten().chain(self.unknown.iter().map(|(key, _)| &**key))
            }
        }

        impl<'de: 'a, 'a> serde::Deserialize<'de> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visit<'a>(std::marker::PhantomData<&'a ()>);

                #[derive(Default)]
                struct Seen { $( $field: bool, )* }

                impl<'de: 'a, 'a> serde::de::Visitor<'de> for Visit<'a> {
                    type Value = $name<'a>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        use serde::de::Error;
                        let mut object = $name::default();
                        let mut seen = Seen::default();
                        let mut unknown = $crate::json::UnknownMembers::default();
                        while let Some(key) = map.next_key::<$crate::json::JsonStr<'a>>()? {
                            match &*key {
                                $( $key => {
                                    if std::mem::replace(&mut seen.$field, true) {
                                        return Err(A::Error::duplicate_field($key));
                                    }
                                    object.$field = map.next_value()?;
                                } )*
                                _ => {
                                    let value = map.next_value::<$crate::json::RawJson<'a>>()?;
                                    unknown.push(key, value).map_err(A::Error::custom)?;
                                }
                            }
                        }
                        object.unknown = unknown.members;
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Visit(std::marker::PhantomData))
            }
        }

        impl serde::Serialize for $name<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $( if let Some(value) = &self.$field {
                    map.serialize_entry($key, value)?;
                } )*
                for (key, value) in &self.unknown {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_value_keeps_its_text() {
        let json = r#"{"z": 1.0, "a":1e3,"n":123456789012345678901234567890,"e":"\u00e9"}"#;
        let raw: RawJson<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&raw).unwrap(), json);
    }

    #[test]
    fn too_deep_raw_value_is_rejected() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(serde_json::from_str::<RawJson<'_>>(&deep(MAX_DEPTH)).is_ok());
        let error = serde_json::from_str::<RawJson<'_>>(&deep(MAX_DEPTH + 1)).unwrap_err();
        assert!(error.to_string().contains("nested too deep"), "{error}");
    }

    #[test]
    fn lone_surrogates_in_raw_values_are_rejected() {
        for (json, fine) in [
            (r#""\ud83d\ude00""#, true),
            (r#""\\ud800""#, true),
            (r#""\ud800""#, false),
            (r#""\ud800\u0041""#, false),
            (r#""\udc00""#, false),
            (r#"{"\ud800":1}"#, false),
        ] {
            assert_eq!(serde_json::from_str::<RawJson<'_>>(json).is_ok(), fine, "{json}");
        }
    }

    fn text(json: &str) -> serde_json::Result<JsonText<'_>> {
        serde_json::from_str(json)
    }

    #[test]
    fn text_is_serialized_as_it_was_written() {
        for json in [r#""plain""#, r#""a \"quote\"\n\tand \\ \/""#, "\"é 漢\"", r#""""#] {
            assert_eq!(serde_json::to_string(&text(json).unwrap()).unwrap(), json);
        }
        assert_eq!(serde_json::to_string(&text(r#""\u00e9\n""#).unwrap()).unwrap(), "\"é\\n\"");
    }

    #[test]
    fn text_is_what_a_decoder_reads() {
        for json in [
            r#""plain""#,
            r#""a \"quote\"\n\tand \\ \/""#,
            "\"é 漢\"",
            r#""""#,
            r#""\u00e9\ud83d\ude00""#,
            r#""\\u""#,
        ] {
            let decoded: String = serde_json::from_str(json).unwrap();
            assert_eq!(text(json).unwrap().text(), decoded, "{json}");
            let is_blank = decoded.chars().all(char::is_whitespace);
            assert_eq!(text(json).unwrap().is_blank(), is_blank, "{json}");
        }
    }

    #[test]
    fn blank_text_is_noticed_behind_escapes() {
        for (json, blank) in [
            (r#""""#, true),
            (r#""  ""#, true),
            (r#"" \n\t\r\f ""#, true),
            (r#""\b""#, false),
            ("\"\u{3000}\"", true),
            (r#""\u00a0""#, true),
            (r#"" \nx""#, false),
            (r#"" \"""#, false),
            (r#""\\""#, false),
        ] {
            assert_eq!(text(json).unwrap().is_blank(), blank, "{json}");
        }
    }

    #[test]
    fn other_values_are_no_text() {
        for (json, found) in [
            ("5", "integer `5`"),
            ("-5", "integer `-5`"),
            ("1.5", "floating point `1.5`"),
            ("true", "boolean `true`"),
            ("[]", "sequence"),
            ("{}", "map"),
            ("null", "null"),
        ] {
            let error = text(json).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid type: {found}, expected a string")), "{error}");
        }
        assert!(text(r#""\ud83d""#).is_err(), "half a character");
        assert!(text("\"\n\"").is_err(), "a line break that is not escaped");
    }
}
