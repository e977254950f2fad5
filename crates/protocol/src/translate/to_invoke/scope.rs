//! Cache markers with a `scope`, which Bedrock does not know.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::{JsonStr, RawJson, ignore_scalars};
use crate::json_edit::{Member, members};

/// The `cache_control` objects in `value` that have a `scope`, wherever they stand, but not in what a tool is given.
///
/// One pass over the text, however deep it nests.
pub(super) fn scoped_markers(value: RawJson<'_>) -> Vec<RawJson<'_>> {
    let mut markers = Vec::new();
    // What nests too deep for the parser is AWS's to reject.
    let _ = Walk(&mut markers).deserialize(&mut serde_json::Deserializer::from_str(value.get()));
    let has_scope = |members: &[Member<'_>]| members.iter().any(|member| &*member.key == "scope");
    markers.into_iter().map(RawJson::inside).filter(|marker| has_scope(&members(*marker))).collect()
}

/// Collects the values of all members `cache_control`.
struct Walk<'w, 't>(&'w mut Vec<&'t RawValue>);

impl<'t> DeserializeSeed<'t> for Walk<'_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Walk<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<JsonStr<'t>>()? {
            match &*key {
                "cache_control" => self.0.push(map.next_value()?),
                "input" | "input_schema" => drop(map.next_value::<IgnoredAny>()?),
                _ => map.next_value_seed(Walk(&mut *self.0))?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Walk(&mut *self.0))?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scoped_markers_are_found_outside_of_arguments() {
        let json = r#"[{"cache_control":{"scope":"global"},"input":{"cache_control":{"scope":"x"}}},
            {"a":{"b":[1,-1,1.5,null,true,"s",{"cache_control":{"type":"e","scope":"global"}}]}},
            {"cache_control":{"type":"ephemeral"}},{"cache_control":null},{"input_schema":{"cache_control":{"scope":"x"}}}]"#;
        let found = scoped_markers(serde_json::from_str(json).unwrap());
        let found: Vec<&str> = found.into_iter().map(RawJson::get).collect();
        assert_eq!(found, [r#"{"scope":"global"}"#, r#"{"type":"e","scope":"global"}"#]);
    }
}
