//! Tool names and tool use ids that Bedrock accepts, and the reverse mapping.
//!
//! Bedrock takes 64 characters of `[a-zA-Z0-9_-]` for a tool and of `[a-zA-Z0-9_.:-]` for a call;
//! Anthropic takes more. An invalid name gets an alias made from it: equal names get equal
//! aliases, so that the prompt cache holds from one request to the next.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::capabilities::Capabilities;

/// Maximum length of a name or an id on Bedrock.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html>
const MAX_NAME_BYTES: usize = 64;

/// Aliases of the tool names of a request, for translating the response.
#[derive(Clone, Debug, Default)]
pub struct ToolNames {
    /// Alias → name.
    aliases: HashMap<String, String>,
}

impl ToolNames {
    /// Name of a tool on Bedrock; stores the alias of an invalid name.
    pub(super) fn alias_for<'a>(&mut self, name: Cow<'a, str>) -> Cow<'a, str> {
        match sanitize(&name, is_tool_character) {
            None => name,
            Some(alias) => {
                self.aliases.entry(alias.clone()).or_insert_with(|| name.into_owned());
                Cow::Owned(alias)
            }
        }
    }

    /// The name that the client gave the tool.
    #[must_use]
    pub fn original<'a>(&'a self, upstream: &'a str) -> &'a str {
        self.aliases.get(upstream).map_or(upstream, String::as_str)
    }

    /// Whether no name has an alias.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty()
    }

    /// Adds the aliases of `other`.
    pub fn extend(&mut self, other: &Self) {
        for (alias, name) in &other.aliases {
            self.aliases.entry(alias.clone()).or_insert_with(|| name.clone());
        }
    }
}

/// The id of a call on Bedrock. Ids are compared within one request only, so there is no way back.
pub(super) fn tool_use_id(id: Cow<'_, str>) -> Cow<'_, str> {
    sanitize(&id, |c| is_tool_character(c) || matches!(c, '.' | ':')).map_or(id, Cow::Owned)
}

/// Alias of an id that is not valid for every upstream API of the model: a Claude model accepts neither `.` nor `:`.
pub(super) fn tool_use_id_alias(id: &str, capabilities: &Capabilities) -> Option<String> {
    sanitize(id, |c| is_tool_character(c) || (!capabilities.claude && matches!(c, '.' | ':')))
}

/// Whether [`tool_use_id_alias`] is not needed.
pub(super) fn is_valid_tool_use_id(id: &str, capabilities: &Capabilities) -> bool {
    is_valid(id, |c| is_tool_character(c) || (!capabilities.claude && matches!(c, '.' | ':')))
}

/// Whether a name needs no alias.
pub(super) fn is_valid_tool_name(name: &str) -> bool {
    is_valid(name, is_tool_character)
}

/// Whether `name` has a valid length and only characters that are `allowed`, which are ASCII.
fn is_valid(name: &str, allowed: impl Fn(char) -> bool) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(|byte| allowed(byte.into()))
}

fn is_tool_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Alias of an invalid name: its valid characters and a checksum of the name.
fn sanitize(name: &str, allowed: impl Fn(char) -> bool) -> Option<String> {
    if is_valid(name, &allowed) {
        return None;
    }
    let readable = name.chars().take(MAX_NAME_BYTES - 9).map(|c| if allowed(c) { c } else { '_' });
    let checksum = format!("_{:08x}", crc32fast::hash(name.as_bytes()));
    Some(readable.chain(checksum.chars()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_name_is_unchanged() {
        let mut names = ToolNames::default();
        assert_eq!(names.alias_for("read_file-2".into()), "read_file-2");
        assert_eq!(names.original("read_file-2"), "read_file-2");
        assert_eq!(tool_use_id("toolu_01.A:b-c".into()), "toolu_01.A:b-c");
    }

    #[test]
    fn invalid_name_gets_a_reversible_alias() {
        for name in ["mcp server/tool", "größe", &"long".repeat(30), "a.b"] {
            let mut names = ToolNames::default();
            let alias = names.alias_for(name.into()).into_owned();
            assert!(alias.len() <= MAX_NAME_BYTES && alias.chars().all(is_tool_character), "{alias}");
            assert_eq!(names.original(&alias), name);
            assert_eq!(ToolNames::default().alias_for(name.into()), alias, "equal names get equal aliases");
        }
    }

    #[test]
    fn different_names_get_different_aliases() {
        let mut names = ToolNames::default();
        assert_ne!(names.alias_for("a.b".into()), names.alias_for("a/b".into()));
        let long = |end: &str| format!("{}{end}", "x".repeat(100));
        assert_ne!(names.alias_for(long("1").into()), names.alias_for(long("2").into()));
    }
}
