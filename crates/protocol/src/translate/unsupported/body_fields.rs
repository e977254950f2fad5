//! Search for members of a request body by their paths.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json::{JsonStr, RawJson, ignore_scalars};
use crate::json_edit::members;

/// The member `name` of an object.
pub(super) fn member<'t>(object: RawJson<'t>, name: &str) -> Option<RawJson<'t>> {
    members(object).into_iter().find(|member| &*member.key == name).map(|member| member.value)
}

/// Whether `body` has the member at `path`, as in `UnsupportedFeature::Field`: names alone, for each item of a list. One
/// pass over the body.
#[must_use]
pub fn has_field(body: &str, path: &str) -> bool {
    let mut found = false;
    let parsed = Field { found: &mut found, path }.deserialize(&mut serde_json::Deserializer::from_str(body));
    found && parsed.is_ok()
}

/// Looks for the member at a path.
struct Field<'f, 'p> {
    found: &'f mut bool,
    path: &'p str,
}

impl<'t> DeserializeSeed<'t> for Field<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        match *self.found {
            true => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            false => deserializer.deserialize_any(self),
        }
    }
}

impl<'t> Visitor<'t> for Field<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let (name, rest) =
            self.path.split_once('.').map_or((self.path, None), |(name, rest)| (name, Some(rest)));
        while let Some(key) = map.next_key::<JsonStr<'t>>()? {
            match rest.filter(|_| &*key == name) {
                Some(path) => map.next_value_seed(Field { found: &mut *self.found, path })?,
                None => {
                    *self.found |= rest.is_none() && &*key == name;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        let mut next = || items.next_element_seed(Field { found: &mut *self.found, path: self.path });
        while next()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

/// Whether a member near the top has a name that can be taken for a path, in one pass over the body. A body that cannot
/// be parsed may have one.
pub(super) fn has_dotted_names(body: &str) -> bool {
    let mut has_dotted_name = false;
    let names = DottedNames { found: &mut has_dotted_name, depth: 0 };
    let parsed = names.deserialize(&mut serde_json::Deserializer::from_str(body));
    has_dotted_name || parsed.is_err()
}

/// Looks for dots in the names of members.
struct DottedNames<'f> {
    found: &'f mut bool,
    /// Number of objects around the value.
    depth: usize,
}

impl DottedNames<'_> {
    /// Maximum nesting of objects; members that models check by name are not deeper.
    const MAX_DEPTH: usize = 4;
}

impl<'t> DeserializeSeed<'t> for DottedNames<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        if *self.found || self.depth == Self::MAX_DEPTH {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for DottedNames<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<JsonStr<'t>>()? {
            *self.found |= name.contains('.');
            map.next_value_seed(DottedNames { found: &mut *self.found, depth: self.depth + 1 })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        let mut next = || items.next_element_seed(DottedNames { found: &mut *self.found, depth: self.depth });
        while next()?.is_some() {}
        Ok(())
    }

    ignore_scalars!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_by_its_path() {
        let body = r#"{"tools":[{"name":"a"},{"strict":true}],"output_config":{"format":null}}"#;
        for path in ["tools", "tools.strict", "tools.name", "output_config.format"] {
            assert!(has_field(body, path), "{path}");
        }
        for path in ["strict", "format", "tools.format", "output_config.format.type", "x"] {
            assert!(!has_field(body, path), "{path}");
        }
        assert!(!has_field("{", "x"));
    }
}
