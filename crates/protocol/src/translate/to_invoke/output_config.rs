//! Thinking, effort and output format in the client's own body.

use std::collections::HashSet;

use super::{Editing, read};
use crate::anthropic::InvalidRequest;
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Member, items, members};
use crate::translate::diagnostics::JsonPath;
use crate::translate::missing_thinking;
use crate::translate::thinking::{OutputLimit, ThinkingMapper};

/// The member of this name, unless it is `null`.
fn given<'t>(members: &[Member<'t>], name: &str) -> Option<RawJson<'t>> {
    let member = members.iter().find(|member| &*member.key == name)?;
    Some(member.value).filter(|value| value.get() != "null")
}

/// Member that is a string.
fn text<'t>(value: RawJson<'t>, name: &str) -> Option<JsonStr<'t>> {
    given(&members(value), name)?.read().ok()
}

impl<'t> Editing<'t, '_> {
    /// Maps thinking to the model as for Converse; returns the effort to send.
    pub(super) fn thinking_config(&mut self, all: &[Member<'t>]) -> Result<Option<String>, InvalidRequest> {
        let thinking = given(all, "thinking");
        let config = given(all, "output_config").map(members).unwrap_or_default();
        let at_config = JsonPath::ROOT.key("output_config");
        let effort: Option<JsonStr<'t>> =
            given(&config, "effort").map(|value| read(value, at_config.key("effort"))).transpose()?;
        let by_default = self.options.options.default_thinking_budget;
        let default_budget = by_default.filter(|_| thinking.is_none() && self.bears_thinking(all));
        if thinking.is_none() && effort.is_none() && default_budget.is_none() {
            return Ok(None);
        }
        let limit: Option<u64> = given(all, "max_tokens").and_then(|value| value.read().ok());
        let wanted = limit.unwrap_or(self.options.options.default_max_tokens);
        let most = self.capabilities.max_output_tokens.unwrap_or(u64::MAX);
        let mut mapper = ThinkingMapper {
            capabilities: self.capabilities,
            diagnostics: &mut self.diagnostics,
            limit: OutputLimit {
                tokens: wanted.min(most),
                raisable_to: limit.is_none().then_some(most),
                is_lowered: wanted > most,
            },
            raised: None,
            default_budget,
            unsupported: self.options.betas,
        };
        let mut thinking_config = mapper.map(thinking, effort.clone())?;
        if thinking_config.has_budget() && given(all, "messages").is_some_and(missing_thinking::in_body) {
            self.diagnostics.dropped(JsonPath::ROOT.key("thinking"), missing_thinking::DROPPED_NOTICE);
            thinking_config.thinking = None;
        } else {
            self.raised_max_tokens = thinking_config.max_tokens;
        }
        thinking_config.betas.drain(..).for_each(|beta| self.betas.require(beta));
        match (thinking, thinking_config.thinking) {
            (Some(_), None) => drop(self.left_out.insert("thinking".to_owned())),
            (Some(raw), Some(new)) if raw.get() != new.get() => self.edit.replace(raw, new.get().to_owned()),
            (None, Some(new)) => {
                // There may be a `null`.
                self.left_out.insert("thinking".to_owned());
                self.added.push(format!(r#""thinking":{}"#, new.get()));
            }
            _ => {}
        }
        let wanted = thinking_config.effort.map(|effort| effort.effort.into_owned());
        if let (true, Some(effort)) = (config.is_empty(), &wanted) {
            self.left_out.insert("output_config".to_owned());
            self.added.push(format!(r#""output_config":{{"effort":"{effort}"}}"#));
        }
        Ok(wanted)
    }

    pub(super) fn output_config(&mut self, value: RawJson<'t>, effort: Option<&str>, path: JsonPath<'_>) {
        let all = members(value);
        let (mut left_out, mut new_effort) = (HashSet::new(), None);
        let is_given = |json: RawJson<'_>| json.get() != "null";
        for Member { key, value } in all.iter().filter(|member| is_given(member.value)) {
            let path = path.key(key);
            match &**key {
                "format"
                    if !self.capabilities.structured_output
                        || self.is_unsupported("output_config.format") =>
                {
                    left_out.insert("format");
                    self.diagnostics
                        .dropped(path, "left out: the model cannot be held to a schema on Bedrock");
                }
                "effort" if value.read::<String>().ok().as_deref() != effort => {
                    left_out.insert("effort");
                    new_effort = effort;
                }
                _ => {}
            }
        }
        if effort.is_some() && !all.is_empty() && !all.iter().any(|member| &*member.key == "effort") {
            new_effort = effort;
        }
        let added: Vec<String> =
            new_effort.map(|effort| format!(r#""effort":"{effort}""#)).into_iter().collect();
        let is_kept = |member: &Member<'_>| !left_out.contains(&*member.key);
        if added.is_empty() && !all.is_empty() && !all.iter().any(is_kept) {
            self.left_out.insert("output_config".to_owned());
        } else if !left_out.is_empty() || !added.is_empty() {
            self.edit.edit_object(value.get(), &all, |key| left_out.contains(key), &added);
        }
    }

    /// Whether a request without thinking would be valid with it, as for Converse: thinking excludes sampling, a forced
    /// tool and a prefill, and has to begin a turn with tool calls.
    fn bears_thinking(&self, all: &[Member<'t>]) -> bool {
        let cool =
            given(all, "temperature").and_then(|value| value.read().ok()).is_some_and(|heat: f64| heat < 1.0);
        let samples = self.capabilities.sampling.is_adjustable()
            && (cool || given(all, "top_p").is_some() || given(all, "top_k").is_some());
        let choice = given(all, "tool_choice").and_then(|choice| text(choice, "type"));
        let forced = matches!(choice.as_deref(), Some("any" | "tool"));
        let messages = given(all, "messages").map(items).unwrap_or_default();
        let is_assistant = |message: &&RawJson<'t>| text(**message, "role").as_deref() == Some("assistant");
        let prefilled = messages.last().is_some_and(|message| is_assistant(&message));
        let turn = messages.iter().rev().find(is_assistant);
        let blocks = turn.and_then(|turn| given(&members(*turn), "content")).map(items).unwrap_or_default();
        let kinds: Vec<_> = blocks.into_iter().map(|block| text(block, "type")).collect();
        let calls = kinds.iter().any(|kind| kind.as_deref() == Some("tool_use"));
        let thinks =
            matches!(kinds.first(), Some(Some(kind)) if ["thinking", "redacted_thinking"].contains(&&**kind));
        !samples && !forced && !prefilled && (thinks || !calls)
    }
}
