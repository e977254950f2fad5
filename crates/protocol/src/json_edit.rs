//! Edits of a JSON text that keep every other byte.
//!
//! Key order, the spelling of numbers, white space and members without a name in this version survive: the
//! prompt cache depends on it. A change is a removal or a replacement of a value found
//! by [`members`] or [`items`]; nothing is parsed beyond what has to be found.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{Item, JsonStr, List, RawJson};

/// Most members or items of one value that are listed, as a list takes many times the memory of short values. Requests
/// of the Messages API have fewer.
const MAX_PARTS: usize = 100_000;

/// A member of an object and where it stands in the text that holds the object.
#[derive(Clone, Debug)]
pub struct Member<'t> {
    /// Name.
    pub key: JsonStr<'t>,
    /// Its value.
    pub value: RawJson<'t>,
}

/// The members of the object that `text` is, each of them checked as [`RawJson`] is.
///
/// # Errors
/// When it is not a JSON object, or has more than 100,000 members.
pub fn checked_members(text: &str) -> serde_json::Result<Vec<Member<'_>>> {
    let members: Members<'_, RawJson<'_>> = serde_json::from_str(text)?;
    Ok(members.0.into_iter().map(|(key, value)| Member { key, value }).collect())
}

/// Members of an object in their order; none when it is no object, or has more than 100,000.
#[must_use]
pub fn members(value: RawJson<'_>) -> Vec<Member<'_>> {
    let members: Members<'_, &RawValue> = value.read().unwrap_or_default();
    members.0.into_iter().map(|(key, value)| Member { key, value: RawJson::inside(value) }).collect()
}

/// Items of an array; none when it is no array, or has more than 100,000.
#[must_use]
pub fn items(value: RawJson<'_>) -> Vec<RawJson<'_>> {
    let items = value.read().map_or_else(|_| Vec::new(), |list: List<&RawValue>| list.0);
    items.into_iter().map(RawJson::inside).collect()
}

impl Item for &RawValue {
    const WHAT: &'static str = "items";
    const MAX: usize = MAX_PARTS;
}

/// Members of an object, in order.
struct Members<'t, V>(Vec<(JsonStr<'t>, V)>);

impl<V> Default for Members<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de: 't, 't, V: Deserialize<'de>> Deserialize<'de> for Members<'t, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'t, V>(PhantomData<(&'t (), V)>);

        impl<'de: 't, 't, V: Deserialize<'de>> Visitor<'de> for Visit<'t, V> {
            type Value = Members<'t, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MAX_PARTS {
                        return Err(A::Error::custom(format_args!("too many fields: at most {MAX_PARTS}")));
                    }
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visit(PhantomData))
    }
}

/// A text and the changes to it.
#[derive(Debug)]
pub struct Edit<'t> {
    text: &'t str,
    changes: Vec<(Range<usize>, Cow<'t, str>)>,
}

impl<'t> Edit<'t> {
    /// No changes yet. Every value that is handed in later has to come from `text`.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        Self { text, changes: Vec::new() }
    }

    /// Whether there are no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Replaces `value`.
    pub fn replace(&mut self, value: RawJson<'t>, with: impl Into<Cow<'t, str>>) {
        self.replace_part(value.get(), with);
    }

    /// Replaces a part of the text; an empty part is a place to insert.
    pub fn replace_part(&mut self, part: &'t str, with: impl Into<Cow<'t, str>>) {
        let span = self.span(part);
        self.changes.push((span, with.into()));
    }

    /// Leaves parts out of `whole`, an array or an object, by their places. The parts are all its items, or all its
    /// members from key to value.
    pub fn remove_parts(&mut self, whole: &'t str, parts: &[&'t str], leave_out: impl Fn(usize) -> bool) {
        let span = self.span(whole);
        let spans: Vec<Range<usize>> = parts.iter().map(|part| self.span(part)).collect();
        let kept: Vec<bool> = (0..parts.len()).map(|index| !leave_out(index)).collect();
        self.cut(&span, &spans, &kept);
    }

    /// Leaves members out of `object` and puts `added` (`"key":value` each) before the others.
    pub fn edit_object(
        &mut self,
        object: &'t str,
        members: &[Member<'t>],
        leave_out: impl Fn(&str) -> bool,
        added: &[String],
    ) {
        let span = self.span(object);
        let spans: Vec<Range<usize>> = self.member_spans(&span, members);
        let kept: Vec<bool> = members.iter().map(|member| !leave_out(&member.key)).collect();

        let mut insertion = added.join(",");
        if !insertion.is_empty() {
            if kept.contains(&true) {
                insertion.push(',');
            }
            self.changes.push((span.start + 1..span.start + 1, insertion.into()));
        }
        self.cut(&span, &spans, &kept);
    }

    /// Leaves items out of `array`, by their places.
    pub fn remove_items(
        &mut self,
        array: RawJson<'t>,
        items: &[RawJson<'t>],
        leave_out: impl Fn(usize) -> bool,
    ) {
        let parts: Vec<&str> = items.iter().map(|item| item.get()).collect();
        self.remove_parts(array.get(), &parts, leave_out);
    }

    /// Cuts what is not kept of the parts of `whole`, and the commas that go with them.
    fn cut(&mut self, span: &Range<usize>, spans: &[Range<usize>], kept: &[bool]) {
        // A part goes with the comma after it; those at the end go with the comma before them.
        let last_kept = kept.iter().rposition(|kept| *kept);
        let tail = last_kept.map_or(0, |last| last + 1);
        for at in (0..tail).filter(|at| !kept[*at]) {
            self.changes.push((spans[at].start..spans[at + 1].start, Cow::Borrowed("")));
        }
        if let Some(last) = spans.last().filter(|_| tail < spans.len()) {
            let from = last_kept.map_or(span.start + 1, |last| spans[last].end);
            self.changes.push((from..last.end, Cow::Borrowed("")));
        }
    }

    /// The changed text.
    #[must_use]
    pub fn apply(mut self) -> Vec<u8> {
        self.changes.sort_by_key(|(span, _)| (span.start, span.end));
        let grown: usize = self.changes.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(self.text.len() + grown);
        let mut done = 0;
        for (span, with) in &self.changes {
            // A change inside of something that is cut has nothing left to change.
            if span.start < done {
                continue;
            }
            out.extend_from_slice(&self.text.as_bytes()[done..span.start]);
            out.extend_from_slice(with.as_bytes());
            done = span.end;
        }
        out.extend_from_slice(&self.text.as_bytes()[done..]);
        out
    }

    /// From key to value, for each member.
    fn member_spans(&self, object: &Range<usize>, members: &[Member<'t>]) -> Vec<Range<usize>> {
        let mut end = object.start + 1;
        let spans = members.iter().map(|member| {
            let between = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
            let start = end + self.text.as_bytes()[end..].iter().take_while(|byte| between(byte)).count();
            end = self.span(member.value.get()).end;
            start..end
        });
        spans.collect()
    }

    /// Range of a part of the text.
    fn span(&self, part: &str) -> Range<usize> {
        let start = (part.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        debug_assert!(self.text.get(start..start + part.len()) == Some(part), "a part of this text");
        start..start + part.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, leave_out: &[&str], added: &[&str]) -> String {
        let object: RawJson<'_> = serde_json::from_str(text).unwrap();
        let added: Vec<String> = added.iter().map(ToString::to_string).collect();
        let mut edit = Edit::new(text);
        edit.edit_object(text, &members(object), |key| leave_out.contains(&key), &added);
        String::from_utf8(edit.apply()).unwrap()
    }

    #[test]
    fn members_are_left_out_wherever_they_stand() {
        let text = r#"{ "a" : 1.0 , "b":[1e3,{"a":0}],"c": "x" }"#;
        assert_eq!(edited(text, &[], &[]), text);
        assert_eq!(edited(text, &["a"], &[]), r#"{ "b":[1e3,{"a":0}],"c": "x" }"#);
        assert_eq!(edited(text, &["b"], &[]), r#"{ "a" : 1.0 , "c": "x" }"#);
        assert_eq!(edited(text, &["c"], &[]), r#"{ "a" : 1.0 , "b":[1e3,{"a":0}] }"#);
        assert_eq!(edited(text, &["a", "b"], &[]), r#"{ "c": "x" }"#);
        assert_eq!(edited(text, &["b", "c"], &[]), r#"{ "a" : 1.0 }"#);
        assert_eq!(edited(text, &["a", "c"], &[]), r#"{ "b":[1e3,{"a":0}] }"#);
        assert_eq!(edited(text, &["a", "b", "c"], &[]), "{ }");
    }

    #[test]
    fn items_are_left_out_wherever_they_stand() {
        let text = r#"[ {"a":1} , 2,[3] ]"#;
        let left = |out: &[usize]| {
            let array: RawJson<'_> = serde_json::from_str(text).unwrap();
            let mut edit = Edit::new(text);
            edit.remove_items(array, &items(array), |index| out.contains(&index));
            String::from_utf8(edit.apply()).unwrap()
        };
        assert_eq!(left(&[]), text);
        assert_eq!(left(&[0]), "[ 2,[3] ]");
        assert_eq!(left(&[1]), r#"[ {"a":1} , [3] ]"#);
        assert_eq!(left(&[1, 2]), r#"[ {"a":1} ]"#);
        assert_eq!(left(&[0, 1, 2]), "[ ]");
    }

    #[test]
    fn members_are_put_first() {
        assert_eq!(edited(r#"{"a":1}"#, &[], &[r#""v":2"#, r#""w":3"#]), r#"{"v":2,"w":3,"a":1}"#);
        assert_eq!(edited(r#"{"a":1}"#, &["a"], &[r#""v":2"#]), r#"{"v":2}"#);
        assert_eq!(edited("{}", &[], &[r#""v":2"#]), r#"{"v":2}"#);
    }

    #[test]
    fn edit_inside_a_removed_member_is_removed() {
        let text = r#"{"a":{"b":1},"c":2}"#;
        let object: RawJson<'_> = serde_json::from_str(text).unwrap();
        let outer = members(object);
        let inner = members(outer[0].value);
        let mut edit = Edit::new(text);
        edit.replace(inner[0].value, "7");
        edit.replace(outer[1].value, "3");
        edit.edit_object(text, &outer, |key| key == "a", &[]);
        assert_eq!(edit.apply(), br#"{"c":3}"#);
    }

    #[test]
    fn too_many_parts_are_not_listed() {
        let array = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        let object = |count: usize| format!(r#"{{"a":0{}}}"#, r#","a":0"#.repeat(count - 1));
        for (count, listed) in [(MAX_PARTS, MAX_PARTS), (MAX_PARTS + 1, 0)] {
            let (array, object) = (array(count), object(count));
            assert_eq!(items(serde_json::from_str(&array).unwrap()).len(), listed);
            assert_eq!(members(serde_json::from_str(&object).unwrap()).len(), listed);
            assert_eq!(checked_members(&object).is_ok(), listed > 0);
        }
    }
}
