//! Anthropic-defined client tools: shell, editor, memory, computer.
//!
//! Converse has no words for them, so they go beside it in the model's own. That works until the conversation
//! holds calls: then Bedrock wants them declared in `toolConfig` as well, and the model rejects a duplicate name.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::ConverseRequestBuilder;
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::Tool;
use crate::json::JsonStr;
use crate::translate::diagnostics::JsonPath;

/// The first version of all of them came with computer use.
const FIRST: &str = "20241022";
/// Setting that enables computer use.
const COMPUTER_SETTING: &str = "AWS_BEDROCK_ENABLE_COMPUTER_USE";

/// Tool that the model knows by its type.
pub(super) struct BuiltinTool<'a> {
    /// Its definition in Anthropic's form.
    pub(super) json: Box<RawValue>,
    pub(super) name: Option<Cow<'a, str>>,
    /// Beta that it requires.
    pub(super) beta: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Bash,
    TextEditor,
    Memory,
    Computer,
}

impl ConverseRequestBuilder {
    /// The built-in tool unchanged; `None` when it is reported as unsupported. `has_tool_blocks` is whether the
    /// conversation holds calls or results.
    pub(super) fn builtin_tool<'a>(
        &mut self,
        kind: JsonStr<'a>,
        mut tool: Tool<'a>,
        path: JsonPath<'_>,
        has_tool_blocks: bool,
    ) -> Result<Option<BuiltinTool<'a>>, InvalidRequest> {
        let Some((family, date)) = family(&kind) else {
            let reason =
                format!("tool type '{kind}' is not supported: Converse carries the client's own tools");
            self.diagnostics.unsupported(path, reason);
            return Ok(None);
        };
        if let Some(reason) = self.refusal(family, &kind, has_tool_blocks) {
            self.diagnostics.unsupported(path, reason);
            return Ok(None);
        }
        self.native_cache_marker(&mut tool, path);
        self.lose_members(&mut tool, path);
        let beta = beta(family, date);
        let name = tool.name.as_ref().map(|name| name.0.clone());
        tool.kind = Some(kind);
        let json = to_raw_value(&tool).map_err(|error| InvalidRequest::new(path, error.to_string()))?;
        Ok(Some(BuiltinTool { json, name, beta }))
    }

    fn refusal(&self, family: Family, kind: &str, has_tool_blocks: bool) -> Option<String> {
        if family == Family::Computer && !self.options.computer_use {
            return Some(format!(
                "tool type '{kind}' is switched off here; {COMPUTER_SETTING} switches it on"
            ));
        }
        if !self.capabilities.claude {
            return Some(format!("tool type '{kind}' is not supported: only Claude models know it"));
        }
        if family == Family::Memory {
            return Some(format!(
                "tool type '{kind}' is not supported here: Converse does not know its beta"
            ));
        }
        let reason = "Converse carries it only until the conversation holds tool calls";
        has_tool_blocks.then(|| format!("tool type '{kind}' is not supported here: {reason}"))
    }

    /// Keeps the marker of a built-in tool, and counts it.
    fn native_cache_marker<'a>(&mut self, tool: &mut Tool<'a>, path: JsonPath<'_>) {
        if let Some(control) = &mut tool.cache_control {
            self.cache_markers.count();
            let at_control = path.key("cache_control");
            if control.scope.take().is_some() {
                self.diagnostics
                    .adjusted(at_control.key("scope"), "left out: Bedrock keeps one cache for the account");
            }
        }
    }

    /// What Converse cannot do to a tool of the client's own it cannot do to these either.
    fn lose_members<'a>(&mut self, tool: &mut Tool<'a>, path: JsonPath<'_>) {
        tool.defer_loading.take_if(|defer| !*defer);
        tool.allowed_callers.take_if(|callers| callers.iter().all(|caller| &**caller == "direct"));
        if tool.eager_input_streaming.take() == Some(true) {
            self.diagnostics.adjusted(
                path.key("eager_input_streaming"),
                "left out: Bedrock decides how arguments are streamed",
            );
        }
        let at_strict = path.key("strict");
        let strict = self.strict(&mut tool.strict, at_strict);
        let lost = [
            ("defer_loading", tool.defer_loading.take().is_some()),
            ("allowed_callers", tool.allowed_callers.take().is_some()),
            ("strict", tool.strict.take().is_some()),
        ];
        self.diagnostics.unknown_fields(path, lost.iter().filter(|(_, lost)| *lost).map(|(name, _)| *name));
        tool.strict = strict;
    }
}

/// Beta that a version of a family requires.
fn beta(family: Family, date: &str) -> Option<Cow<'static, str>> {
    match family {
        Family::Memory => None,
        Family::Bash | Family::TextEditor if date != FIRST => None,
        // Each version of the tool has a beta of the same date.
        Family::Bash | Family::TextEditor | Family::Computer => {
            Some(format!("computer-use-{}-{}-{}", &date[..4], &date[4..6], &date[6..]).into())
        }
    }
}

/// Family of a built-in tool and the date of its version, from the type.
fn family(kind: &str) -> Option<(Family, &str)> {
    let (name, date) = kind.rsplit_once('_')?;
    let family = match name {
        "bash" => Family::Bash,
        "text_editor" => Family::TextEditor,
        "memory" => Family::Memory,
        "computer" => Family::Computer,
        _ => return None,
    };
    (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some((family, date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_a_family_and_a_date() {
        for (kind, is) in [
            ("bash_20250124", true),
            ("text_editor_20250728", true),
            ("memory_20250818", true),
            ("computer_20251124", true),
            ("computer_toolset_20260801", false),
            ("bash", false),
            ("bash_2025012", false),
            ("bash_2025é12", false),
            ("web_search_20250305", false),
        ] {
            assert_eq!(family(kind).is_some(), is, "{kind}");
        }
    }
}
