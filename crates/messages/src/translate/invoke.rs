//! The client's own body, made fit for InvokeModel.
//!
//! Nothing is parsed and printed again: the body is edited in place, so key order, numbers and members that
//! this version has no name for arrive as they were sent. Each change has a rule here and a notice for the
//! client. See
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>.

use std::borrow::Cow;

use super::betas::{self, Betas};
use super::request::Translation;
use super::server_tools::{self, Offered};
use super::{Findings, Loss, Notice, Options, Path};
use crate::anthropic::InvalidRequest;
use crate::capability::{Capabilities, Sampling};
use crate::converse::request::InferenceConfig;
use crate::edit::{Edit, Member, checked_members, items, members};
use crate::json::{RawJson, Text};

/// The dialect of the body. Newer dialects are refused by older models.
const VERSION: &str = r#""anthropic_version":"bedrock-2023-05-31""#;

/// Members that say something to Anthropic's own service only; leaving them out changes no answer.
const SAYS_NOTHING_HERE: [&str; 9] = [
    "diagnostics",
    "tags",
    "speed",
    "fallbacks",
    "fallback_credit_token",
    "billing_policy",
    "workspace_id",
    "anthropic_version",
    "thread",
];

/// Members that change the answer and that Bedrock has nothing for.
const CANNOT_BE_HAD: [&str; 5] = ["container", "mcp_servers", "inference_geo", "safeguards", "compaction"];

/// What the operator decided, and what the headers said.
#[derive(Clone, Copy, Debug)]
pub struct InvokeOptions<'a> {
    /// What holds for every route.
    pub options: Options,
    /// The values of `anthropic-beta`, in the order they came.
    pub betas: &'a [String],
    /// Betas, and paths of members, that this model was seen to refuse.
    pub refused: &'a [String],
}

/// A call of InvokeModelWithResponseStream, ready to be signed and sent.
#[derive(Debug)]
pub struct InvokeCall {
    /// The body, JSON.
    pub body: Vec<u8>,
    /// For the header `X-Amzn-Bedrock-Service-Tier`.
    pub service_tier: Option<String>,
    /// What cannot be carried. When there is any, do not send the body.
    pub losses: Vec<Loss>,
    /// What was changed or left out.
    pub notices: Vec<Notice>,
}

/// Makes `body` fit for a Claude model with these `capabilities`.
///
/// # Errors
/// When the body is not a JSON object, or a member that has to be read is not of its type.
pub fn invoke(
    body: &str,
    capabilities: &Capabilities,
    options: &InvokeOptions<'_>,
) -> Result<InvokeCall, InvalidRequest> {
    let all = checked_members(body)
        .map_err(|error| InvalidRequest::new("", format!("the body is not valid JSON: {error}")))?;
    let mut editing = Editing {
        capabilities,
        options,
        edit: Edit::new(body),
        findings: Findings::default(),
        betas: Betas::default(),
        left_out: Vec::new(),
        added: Vec::new(),
        service_tier: None,
    };
    for beta in options.betas {
        editing.ask(Cow::Borrowed(beta));
    }
    editing.members(&all, body)?;
    editing.finish(body.trim(), &all)
}

struct Editing<'t, 'o> {
    capabilities: &'o Capabilities,
    options: &'o InvokeOptions<'o>,
    edit: Edit<'t>,
    findings: Findings,
    betas: Betas<'o>,
    /// Top-level members to leave out.
    left_out: Vec<String>,
    /// Top-level members to add.
    added: Vec<String>,
    service_tier: Option<String>,
}

impl<'t> Editing<'t, '_> {
    fn members(&mut self, all: &[Member<'t>], body: &'t str) -> Result<(), InvalidRequest> {
        let mut has_max_tokens = false;
        let effort = self.depth(all)?;
        for Member { key, value } in all {
            let path = Path::ROOT;
            let path = path.key(key);
            match &**key {
                // Both are said otherwise: in the URL and by the choice of operation.
                "model" | "stream" => {}
                "anthropic_beta" => {
                    for beta in value.read::<Vec<String>>().map_err(|error| wrong(path, &error))? {
                        self.ask(Cow::Owned(beta));
                    }
                }
                "max_tokens" => has_max_tokens = self.max_tokens(*value, path)?,
                "service_tier" => self.service_tier(*value, path)?,
                "metadata" => self.metadata(*value),
                "temperature" | "top_p" | "top_k" => self.sampling(all, key, path),
                "output_config" => self.output_config(*value, effort.as_deref(), path),
                "context_management" => self.context_management(*value),
                "tools" => self.tools(*value, all, path)?,
                "messages" => self.messages(*value, path),
                "cache_control" => self.automatic_cache(*value, all, path),
                key if SAYS_NOTHING_HERE.contains(&key) => {
                    self.leave_out(path, key, "Bedrock has nothing to do with it");
                }
                key if CANNOT_BE_HAD.contains(&key) => {
                    self.findings.lose(path, "Extra inputs are not permitted");
                }
                key if self.is_refused(key) => self.leave_out(path, key, "this model was seen to refuse it"),
                _ => {}
            }
        }
        if !has_max_tokens {
            let most = self.capabilities.max_output_tokens.unwrap_or(u64::MAX);
            let default = self.options.options.default_max_tokens.min(most);
            self.findings.note(Path::ROOT.key("max_tokens"), format!("not given; {default} was used"));
            self.added.push(format!(r#""max_tokens":{default}"#));
        }
        // A walk through everything, only for bodies that can hold the member.
        if memchr::memmem::find(body.as_bytes(), b"\"scope\"").is_some() {
            for Member { value, .. } in
                all.iter().filter(|member| matches!(&*member.key, "system" | "messages" | "tools"))
            {
                self.strip_scope(*value);
            }
        }
        Ok(())
    }

    fn finish(mut self, object: &'t str, all: &[Member<'t>]) -> Result<InvokeCall, InvalidRequest> {
        let mut added = vec![VERSION.to_owned()];
        if !self.betas.names().is_empty() {
            let betas = serde_json::to_string(self.betas.names());
            added.push(format!(r#""anthropic_beta":{}"#, betas.unwrap_or_default()));
        }
        added.append(&mut self.added);
        let left_out = std::mem::take(&mut self.left_out);
        let moved = ["model", "stream", "anthropic_beta", "service_tier", "anthropic_version"];
        self.edit.rework(
            object,
            all,
            |key| moved.contains(&key) || left_out.iter().any(|name| name == key),
            &added,
        );
        if !self.betas.left_behind().is_empty() {
            let names = self.betas.left_behind().join(", ");
            self.findings.note(Path::ROOT.key("anthropic-beta"), format!("not sent: {names}"));
        }
        let Findings { losses, notices } = self.findings;
        Ok(InvokeCall { body: self.edit.apply(), service_tier: self.service_tier, losses, notices })
    }

    fn ask(&mut self, beta: Cow<'_, str>) {
        let refused = self.options.refused;
        self.betas.ask(beta.into_owned(), |name| refused.iter().any(|known| known == name));
    }

    fn is_refused(&self, path: &str) -> bool {
        self.options.refused.iter().any(|known| known == path)
    }

    fn leave_out(&mut self, path: Path<'_>, key: &str, why: &str) {
        self.left_out.push(key.to_owned());
        self.findings.note(path, format!("left out: {why}"));
    }

    fn max_tokens(&mut self, value: RawJson<'t>, path: Path<'_>) -> Result<bool, InvalidRequest> {
        let wanted: Option<u64> = value.read().map_err(|error| wrong(path, &error))?;
        let Some(wanted) = wanted else {
            return Ok(false);
        };
        if let Some(most) = self.capabilities.max_output_tokens.filter(|most| wanted > *most) {
            self.edit.replace(value, most.to_string());
            self.findings.note(path, format!("lowered to {most}, the most this model answers with"));
        }
        Ok(true)
    }

    fn service_tier(&mut self, value: RawJson<'t>, path: Path<'_>) -> Result<(), InvalidRequest> {
        self.service_tier = match &*value.read::<String>().map_err(|error| wrong(path, &error))? {
            "auto" => None,
            "standard_only" => Some("default".to_owned()),
            tier @ ("default" | "priority" | "flex" | "reserved") => Some(tier.to_owned()),
            _ => return Err(InvalidRequest::new(path, "Input should be 'auto' or 'standard_only'")),
        };
        Ok(())
    }

    /// Bedrock takes letters, digits and a few signs; clients put JSON there.
    fn metadata(&mut self, value: RawJson<'t>) {
        for member in members(value) {
            let Ok(Some(user_id)) = member.value.read::<Option<String>>() else { continue };
            if &*member.key == "user_id" && !super::request::is_legal_metadata(&user_id) {
                self.edit.replace(member.value, format!("\"user_{:016x}\"", fingerprint(&user_id)));
                let path = Path::ROOT;
                let path = path.key("metadata");
                self.findings
                    .note(path.key("user_id"), "sent as a fingerprint: Bedrock takes no such characters");
            }
        }
    }

    fn sampling(&mut self, all: &[Member<'t>], key: &str, path: Path<'_>) {
        let both =
            || ["temperature", "top_p"].iter().all(|name| all.iter().any(|member| member.key.0 == *name));
        match self.capabilities.sampling {
            Sampling::None => self.leave_out(path, key, "the model takes no sampling parameters"),
            Sampling::OneOf if key == "top_p" && both() => {
                self.leave_out(path, key, "the model takes temperature or top_p, not both");
            }
            Sampling::OneOf | Sampling::All if self.is_refused(key) => {
                self.leave_out(path, key, "this model was seen to refuse it");
            }
            Sampling::OneOf | Sampling::All => {}
        }
    }

    /// Thinking in the words of the model's generation, as on the other route; returns the effort to send.
    fn depth(&mut self, all: &[Member<'t>]) -> Result<Option<String>, InvalidRequest> {
        let given = |members: &[Member<'t>], name: &str| {
            members
                .iter()
                .find(|member| &*member.key == name)
                .map(|member| member.value)
                .filter(|value| value.get() != "null")
        };
        let read =
            |name, value: RawJson<'t>| value.read().map_err(|error| wrong(Path::ROOT.key(name), &error));
        let thinking = given(all, "thinking");
        let config = given(all, "output_config").map(members).unwrap_or_default();
        let effort: Option<Text<'t>> =
            given(&config, "effort").map(|value| read("output_config", value)).transpose()?;
        if thinking.is_none() && effort.is_none() {
            return Ok(None);
        }
        let wanted = given(all, "max_tokens").and_then(|value| value.read().ok());
        let max_tokens = Some(wanted.unwrap_or(self.options.options.default_max_tokens));
        let limits = InferenceConfig { max_tokens, ..InferenceConfig::default() };
        let mut translation = Translation::new(*self.capabilities, self.options.options);
        let depth = translation.depth(thinking, effort.clone(), &limits)?;
        self.findings.notices.append(&mut translation.findings.notices);
        for beta in translation.betas {
            self.betas.ask(beta, |_| false);
        }
        match (thinking, depth.thinking) {
            (Some(_), None) => self.left_out.push("thinking".to_owned()),
            (Some(raw), Some(new)) if raw.get() != new.get() => self.edit.replace(raw, new.get().to_owned()),
            _ => {}
        }
        let wanted = depth.effort.map(|effort| effort.effort.into_owned());
        if let (true, Some(effort)) = (config.is_empty(), &wanted) {
            self.left_out.push("output_config".to_owned());
            self.added.push(format!(r#""output_config":{{"effort":"{effort}"}}"#));
        }
        Ok(wanted)
    }

    fn output_config(&mut self, value: RawJson<'t>, effort: Option<&str>, path: Path<'_>) {
        let all = members(value);
        let mut left_out = Vec::new();
        let mut added = Vec::new();
        let given = |json: RawJson<'_>| json.get() != "null";
        for Member { key, value } in all.iter().filter(|member| given(member.value)) {
            let path = path.key(key);
            match &**key {
                "format"
                    if !self.capabilities.structured_output || self.is_refused("output_config.format") =>
                {
                    left_out.push("format");
                    self.findings.note(path, "left out: the model cannot be held to a schema on Bedrock");
                }
                "effort" if value.read::<String>().ok().as_deref() != effort => {
                    left_out.push("effort");
                    added.extend(effort.map(|effort| format!(r#""effort":"{effort}""#)));
                }
                _ => {}
            }
        }
        if effort.is_some() && !all.is_empty() && !all.iter().any(|member| &*member.key == "effort") {
            added.extend(effort.map(|effort| format!(r#""effort":"{effort}""#)));
        }
        if added.is_empty() && !all.is_empty() && left_out.len() == all.len() {
            self.left_out.push("output_config".to_owned());
        } else if !left_out.is_empty() || !added.is_empty() {
            self.edit.rework(value.get(), &all, |key| left_out.contains(&key), &added);
        }
    }

    /// The member and its beta travel together.
    fn context_management(&mut self, value: RawJson<'t>) {
        if value.get() == "null" {
            return;
        }
        self.betas.need(betas::CONTEXT_MANAGEMENT);
        if value.get().contains("\"compact_20260112\"") {
            self.betas.need(betas::COMPACTION);
        }
    }

    fn tools(
        &mut self,
        value: RawJson<'t>,
        all: &[Member<'t>],
        path: Path<'_>,
    ) -> Result<(), InvalidRequest> {
        let tools = items(value);
        let text = |tool: RawJson<'t>, name: &str| {
            let member = members(tool).into_iter().find(|member| &*member.key == name);
            member.and_then(|member| member.value.read::<Text<'t>>().ok())
        };
        let said: Vec<_> = tools.iter().map(|tool| (text(*tool, "type"), text(*tool, "name"))).collect();
        let offered: Vec<Offered<'_>> = said
            .iter()
            .map(|(kind, name)| Offered { kind: kind.as_deref(), name: name.as_deref() })
            .collect();
        let choice = all.iter().find(|member| &*member.key == "tool_choice").map(|member| member.value);
        let forced = choice.and_then(|choice| text(choice, "name"));
        let left_out =
            server_tools::left_out(&offered, forced.as_deref(), self.options.options.server_tools)?;
        for out in &left_out {
            self.findings.note(path.index(out.index), out.what.clone());
        }
        let is_out = |index: usize| left_out.iter().any(|out| out.index == index);
        self.edit.leave_out_items(value, &tools, is_out);
        for (index, tool) in tools.into_iter().enumerate().filter(|(index, _)| !is_out(*index)) {
            self.tool(tool, path.index(index));
        }
        Ok(())
    }

    fn tool(&mut self, tool: RawJson<'t>, path: Path<'_>) {
        let all = members(tool);
        let is = |value: RawJson<'_>, json: &str| value.get() == json;
        let mut left_out: Vec<&str> = Vec::new();
        for Member { key, value } in &all {
            let path = path.key(key);
            match &**key {
                // What Bedrock takes for granted it does not want to be told.
                "type" if is(*value, "\"custom\"") => left_out.push("type"),
                "type" if value.get().starts_with("\"tool_search_tool_") => {
                    self.betas.need(betas::TOOL_SEARCH);
                }
                "type" if value.get().starts_with("\"memory_") => self.betas.need(betas::CONTEXT_MANAGEMENT),
                "type" if value.get().starts_with("\"computer_") => self.computer(*value, path),
                "eager_input_streaming" => {
                    left_out.push("eager_input_streaming");
                    if is(*value, "true") {
                        self.betas.need(betas::FINE_GRAINED_STREAMING);
                    }
                }
                "defer_loading" if self.capabilities.tool_search && is(*value, "true") => {
                    self.betas.need(betas::TOOL_SEARCH);
                }
                "defer_loading" => {
                    left_out.push("defer_loading");
                    self.findings
                        .note(path, "left out: the model cannot search for tools, so it gets them all");
                }
                "strict" if !self.capabilities.strict_tools => {
                    left_out.push("strict");
                    if is(*value, "true") {
                        self.findings.note(path, "left out: the model cannot be held to a schema on Bedrock");
                    }
                }
                "allowed_callers" if is(*value, "[\"direct\"]") => left_out.push("allowed_callers"),
                _ => {}
            }
        }
        if !left_out.is_empty() {
            self.edit.rework(tool.get(), &all, |key| left_out.contains(&key), &[]);
        }
    }

    fn computer(&mut self, kind: RawJson<'t>, path: Path<'_>) {
        if !self.options.options.computer_use {
            self.findings.lose(path, "computer use is switched off here (AWS_BEDROCK_ENABLE_COMPUTER_USE)");
        }
        let betas = betas::COMPUTER_USE.iter().find(|(tool, _)| kind.get().contains(tool));
        betas.iter().for_each(|(_, beta)| self.betas.need(beta));
    }

    fn messages(&mut self, value: RawJson<'t>, path: Path<'_>) {
        // Few conversations hold either, and looking into each message costs more than looking for the words.
        let holds = |word: &str| memchr::memmem::find(value.get().as_bytes(), word.as_bytes()).is_some();
        if !holds("\"system\"") && !holds("\"output_config\"") {
            return;
        }
        for (index, message) in items(value).into_iter().enumerate() {
            let path = path.index(index);
            for Member { key, value } in members(message) {
                match &*key {
                    "role" if value.get() == "\"system\"" && !self.capabilities.mid_conversation_system => {
                        self.findings.lose(path.key("role"), "Input should be 'user' or 'assistant'");
                    }
                    "output_config" => self.betas.need(betas::TURN_OUTPUT_CONFIG),
                    _ => {}
                }
            }
        }
    }

    /// Automatic caching: InvokeModel does not know it, so the last block gets the marker.
    fn automatic_cache(&mut self, control: RawJson<'t>, all: &[Member<'t>], path: Path<'_>) {
        self.left_out.push("cache_control".to_owned());
        let last =
            all.iter().find(|member| &*member.key == "messages").and_then(|member| items(member.value).pop());
        let content = last.map(members).into_iter().flatten().find(|member| &*member.key == "content");
        let Some(content) = content else { return };
        let marker = format!(r#""cache_control":{}"#, control.get());
        if content.value.get().starts_with('"') {
            let block = format!(r#"[{{"type":"text","text":{},{marker}}}]"#, content.value.get());
            self.edit.replace(content.value, block);
        } else if let Some(block) = items(content.value).pop() {
            let all = members(block);
            if !all.iter().any(|member| &*member.key == "cache_control") {
                self.edit.rework(block.get(), &all, |_| false, &[marker]);
            }
        }
        self.findings.note(path, "put on the last block: Bedrock does not cache automatically");
    }

    /// Takes `scope` out of every `cache_control`, wherever it stands, but not out of what a tool is given.
    fn strip_scope(&mut self, value: RawJson<'t>) {
        for item in items(value) {
            self.strip_scope(item);
        }
        for Member { key, value } in members(value) {
            match &*key {
                "cache_control" => {
                    let all = members(value);
                    if all.iter().any(|member| &*member.key == "scope") {
                        self.edit.rework(value.get(), &all, |key| key == "scope", &[]);
                        self.findings.note(
                            Path::ROOT.key("cache_control.scope"),
                            "left out: Bedrock keeps one cache for the account",
                        );
                    }
                }
                "input" | "input_schema" => {}
                _ => self.strip_scope(value),
            }
        }
    }
}

fn wrong(path: Path<'_>, error: &serde_json::Error) -> InvalidRequest {
    let text = error.to_string();
    InvalidRequest::new(path, text.rfind(" at line ").map_or(&*text, |at| &text[..at]))
}

/// FNV-1a: names a user without telling who it is. Not a secret, only legal characters.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{Efforts, Thinking};

    fn sent(body: &str, capabilities: &Capabilities, betas: &[&str]) -> (String, Vec<String>, Vec<String>) {
        let betas: Vec<String> = betas.iter().map(ToString::to_string).collect();
        let options = InvokeOptions { options: Options::new(8192), betas: &betas, refused: &[] };
        let call = invoke(body, capabilities, &options).unwrap();
        let losses = call.losses.iter().map(ToString::to_string).collect();
        let notices = call.notices.iter().map(ToString::to_string).collect();
        (String::from_utf8(call.body).unwrap(), losses, notices)
    }

    #[test]
    fn what_needs_no_change_arrives_byte_for_byte() {
        let body = r#"{"model":"m", "messages" : [ {"role":"user","content":[{"type":"novel","z":1.0,"a":1e3}]} ],"max_tokens":5,"novel":{"b":1,"a":2},"stream":true }"#;
        let (body, losses, notices) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
        assert_eq!(
            body,
            r#"{"anthropic_version":"bedrock-2023-05-31","messages" : [ {"role":"user","content":[{"type":"novel","z":1.0,"a":1e3}]} ],"max_tokens":5,"novel":{"b":1,"a":2} }"#
        );
        assert!(losses.is_empty() && notices.is_empty(), "{losses:?} {notices:?}");
    }

    #[test]
    fn what_the_everyday_request_of_claude_code_holds_is_carried() {
        let body = r#"{"model":"claude-opus-5-5","messages":[{"role":"user","content":"a"},{"role":"system","content":"b","output_config":{"effort":"low"}}],"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","scope":"global"}}],"tools":[{"name":"t","input_schema":{"scope":1},"defer_loading":true,"eager_input_streaming":true}],"metadata":{"user_id":"{\"device_id\":\"d\"}"},"max_tokens":999999,"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"output_config":{"effort":"high","format":{"type":"json_schema","schema":{}}}}"#;
        let betas = ["claude-code-20250219", "advanced-tool-use-2025-11-20", "context-management-2025-06-27"];
        let (body, losses, notices) = sent(body, &Capabilities::NEWEST_CLAUDE, &betas);
        assert_eq!(losses, [""; 0]);
        assert_eq!(
            body,
            r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["tool-search-tool-2025-10-19","context-management-2025-06-27","mid-conversation-output-config-2026-07-01","fine-grained-tool-streaming-2025-05-14"],"messages":[{"role":"user","content":"a"},{"role":"system","content":"b","output_config":{"effort":"low"}}],"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"tools":[{"name":"t","input_schema":{"scope":1},"defer_loading":true}],"metadata":{"user_id":"user_55dcddabb7cd7f49"},"max_tokens":128000,"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"output_config":{"effort":"high"}}"#
        );
        assert_eq!(notices.len(), 5, "{notices:?}");
    }

    #[test]
    fn automatic_caching_marks_the_last_block() {
        let body = r#"{"cache_control":{"type":"ephemeral"},"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;
        let (body, ..) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
        assert!(
            body.contains(r#""content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]"#),
            "{body}"
        );
    }

    #[test]
    fn tools_of_anthropics_are_left_out_while_others_remain() {
        let body = r#"{"max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"t","input_schema":{}}],"messages":[]}"#;
        let (body, _, notices) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
        assert!(body.contains(r#""tools":[{"name":"t","input_schema":{}}]"#), "{body}");
        assert!(notices[0].contains("web_search_20250305"), "{notices:?}");
        let alone =
            r#"{"max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[]}"#;
        let options = InvokeOptions { options: Options::new(1), betas: &[], refused: &[] };
        let refused = invoke(alone, &Capabilities::NEWEST_CLAUDE, &options).unwrap_err();
        assert!(refused.to_string().starts_with("tools.0: tool type 'web_search_20250305'"), "{refused}");
    }

    #[test]
    fn thinking_is_said_in_the_words_of_the_models_generation() {
        let enabled =
            r#"{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[]}"#;
        let (newest, ..) = sent(enabled, &Capabilities::NEWEST_CLAUDE, &[]);
        assert!(
            newest.contains(r#""thinking":{"type":"adaptive"}"#) && newest.contains(r#""effort":"low""#),
            "{newest}"
        );
        let adaptive = r#"{"max_tokens":9000,"thinking":{"type":"adaptive"},"output_config":{"effort":"max"},"messages":[]}"#;
        let thinking = Thinking { enabled: true, ..Thinking::default() };
        let older = Capabilities { thinking, effort: Efforts::default(), ..Capabilities::CLASSIC_CLAUDE };
        let (older, ..) = sent(adaptive, &older, &[]);
        assert!(older.contains(r#""type":"enabled""#) && !older.contains("output_config"), "{older}");
        let (as_it_came, ..) = sent(adaptive, &Capabilities::NEWEST_CLAUDE, &[]);
        assert!(as_it_came.contains(&adaptive[1..adaptive.len() - 1]), "{as_it_came}");
    }

    #[test]
    fn what_bedrock_has_nothing_for_is_a_loss() {
        let body = r#"{"max_tokens":1,"container":"c","mcp_servers":[{}],"messages":[{"role":"system","content":"x"}]}"#;
        let (_, losses, _) = sent(body, &Capabilities::CLASSIC_CLAUDE, &[]);
        assert_eq!(losses.len(), 3, "{losses:?}");
    }

    #[test]
    fn members_and_betas_that_were_refused_before_stay_out() {
        let refused = ["temperature".to_owned(), "novel-2027-01-01".to_owned()];
        let betas = ["novel-2027-01-01".to_owned()];
        let options = InvokeOptions { options: Options::new(1), betas: &betas, refused: &refused };
        let call =
            invoke(r#"{"temperature":1,"max_tokens":2}"#, &Capabilities::CLASSIC_CLAUDE, &options).unwrap();
        assert_eq!(
            String::from_utf8(call.body).unwrap(),
            r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":2}"#
        );
    }
}
