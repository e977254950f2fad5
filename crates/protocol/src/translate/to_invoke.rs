//! The client's own body, edited for InvokeModel and for Bedrock's Messages API.
//!
//! The body is edited in place and not serialized again, so key order, numbers and members that
//! this version has no name for arrive as they were sent. Each change has a rule here and a notice for the
//! client. See
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>.

mod output_config;
mod scope;
#[cfg(test)]
mod tests;
mod url_sources;

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;

use super::TranslationOptions;
use super::betas::{self, BetaFilter, RequestedBetas};
use super::diagnostics::{Diagnostics, IGNORED, IGNORED_FIELDS, JsonPath, Notice, UnsupportedField};
use super::safeguards;
use super::server_tools::{self, Offered};
use crate::anthropic::InvalidRequest;
use crate::apis::UpstreamApi;
use crate::capabilities::{Capabilities, Sampling};
use crate::json::{JsonStr, List, RawJson};
use crate::json_edit::{Edit, Member, checked_members, items, members};
use crate::json_error::{self, Wording};

/// Version of the body. Older models reject newer versions.
const VERSION: &str = r#""anthropic_version":"bedrock-2023-05-31""#;

/// Members with URLs, which Bedrock must not fetch in the account of the proxy.
const URL_FIELDS: [&str; 1] = ["mcp_servers"];

/// Members that no request is sent without: a response from elsewhere is not what the client requested.
const REQUIRED_FIELDS: [&str; 1] = ["inference_geo"];

/// Members of a Messages body that cost no tokens of the prompt.
const FIELDS_NOT_COUNTED: [&str; 7] =
    ["max_tokens", "stream", "stop_sequences", "temperature", "top_p", "top_k", "metadata"];

/// Upstream API and settings of a request with the client's own body.
#[derive(Clone, Copy, Debug)]
pub struct InvokeOptions<'a> {
    /// API that the body is for: InvokeModel (the model is in the URL, version and betas in the body) or Messages (the
    /// model is in the body, version and betas are headers).
    pub api: UpstreamApi,
    /// Model in the body of the Messages API.
    pub model: &'a str,
    /// Whether the Messages API streams the response.
    pub stream: bool,
    /// Whether only the tokens of the prompt are counted, by the Messages API.
    pub count_tokens: bool,
    /// Settings for every upstream API.
    pub options: TranslationOptions,
    /// Betas of the header, and those that the model was seen not to support.
    pub betas: RequestedBetas<'a>,
    /// Paths of fields that the model was seen not to support.
    pub unsupported_fields: &'a [String],
}

impl<'a> InvokeOptions<'a> {
    /// For InvokeModel.
    #[must_use]
    pub const fn invoke_model(options: TranslationOptions) -> Self {
        let betas = RequestedBetas { names: &[], unsupported: &[], all_unsupported: false };
        Self {
            api: UpstreamApi::InvokeModel,
            model: "",
            stream: true,
            count_tokens: false,
            options,
            betas,
            unsupported_fields: &[],
        }
    }

    /// For the Messages API, streamed, with this model.
    #[must_use]
    pub const fn messages(model: &'a str, options: TranslationOptions) -> Self {
        Self { api: UpstreamApi::Messages, model, ..Self::invoke_model(options) }
    }

    /// For counting tokens by the Messages API, with this model.
    #[must_use]
    pub const fn count_tokens(model: &'a str, options: TranslationOptions) -> Self {
        Self { count_tokens: true, ..Self::messages(model, options) }
    }

    fn is_messages(&self) -> bool {
        self.api == UpstreamApi::Messages
    }
}

/// A call with the client's own body, ready to be signed and sent.
#[derive(Debug)]
pub struct InvokeCall {
    /// The body, JSON.
    pub body: Vec<u8>,
    /// The limit of output tokens in it; `None` when it has none.
    pub max_tokens: Option<u64>,
    /// For the header `anthropic-beta`; InvokeModel has them in its body.
    pub betas: Vec<String>,
    /// For the header `X-Amzn-Bedrock-Service-Tier`.
    pub service_tier: Option<String>,
    /// Fields that are unsupported. If there are any, the body must not be sent.
    pub unsupported: Vec<UnsupportedField>,
    /// Changes of the request.
    pub notices: Vec<Notice>,
}

/// Edits `body` for a Claude model with these `capabilities`.
///
/// # Errors
/// When the body is not a JSON object, or a member that has to be read is not of its type.
pub fn to_invoke(
    body: &str,
    capabilities: &Capabilities,
    options: &InvokeOptions<'_>,
) -> Result<InvokeCall, InvalidRequest> {
    let all = checked_members(body).map_err(|error| json_error::invalid_body(&error))?;
    check_duplicates(&all)?;
    let mut editing = Editing {
        capabilities,
        options,
        edit: Edit::new(body),
        diagnostics: Diagnostics::default(),
        betas: BetaFilter::new(options.api, true),
        left_out: HashSet::new(),
        unsupported: options.unsupported_fields.iter().map(String::as_str).collect(),
        added: Vec::new(),
        service_tier: None,
        sent_max_tokens: None,
        raised_max_tokens: None,
    };
    for beta in options.betas.names {
        editing.add_beta(Cow::Borrowed(beta));
    }
    editing.members(&all, body)?;
    editing.finish(body.trim(), &all)
}

struct Editing<'t, 'o> {
    capabilities: &'o Capabilities,
    options: &'o InvokeOptions<'o>,
    edit: Edit<'t>,
    diagnostics: Diagnostics,
    betas: BetaFilter<'o>,
    /// Top-level members to leave out.
    left_out: HashSet<String>,
    /// Members that the model was seen not to support.
    unsupported: HashSet<&'o str>,
    /// Top-level members to add.
    added: Vec<String>,
    service_tier: Option<String>,
    /// Limit of output tokens in the body.
    sent_max_tokens: Option<u64>,
    /// Limit in the place of the default, so that a response fits beside thinking.
    raised_max_tokens: Option<u64>,
}

impl<'t> Editing<'t, '_> {
    fn members(&mut self, all: &[Member<'t>], body: &'t str) -> Result<(), InvalidRequest> {
        let mut has_max_tokens = false;
        let effort = self.thinking_config(all)?;
        for Member { key, value } in all {
            let path = JsonPath::ROOT;
            let path = path.key(key);
            match &**key {
                "model" | "stream" => self.ours(key, *value),
                key if self.options.count_tokens && FIELDS_NOT_COUNTED.contains(&key) => {
                    self.left_out.insert(key.to_owned());
                }
                "anthropic_beta" => {
                    let betas: Option<List<JsonStr<'t>>> = read(*value, path)?;
                    for beta in betas.unwrap_or_default().0 {
                        self.add_beta(beta.0);
                    }
                }
                "max_tokens" => has_max_tokens = self.max_tokens(*value, path)?,
                "service_tier" => self.service_tier(*value, path)?,
                "metadata" => self.metadata(*value),
                "temperature" | "top_p" | "top_k" => self.sampling(all, key, path),
                "output_config" => self.output_config(*value, effort.as_deref(), path),
                "context_management" => self.context_management(*value),
                "tools" => self.tools(*value, all, path)?,
                "messages" => self.messages(*value, path)?,
                "cache_control" if !self.options.is_messages() => {
                    self.automatic_cache(*value, all, path);
                }
                key if IGNORED_FIELDS.contains(&key) => {
                    self.left_out.insert(key.to_owned());
                    self.diagnostics.adjusted(path, IGNORED);
                }
                key if URL_FIELDS.contains(&key) => {
                    self.diagnostics.unsupported(path, "Extra inputs are not permitted");
                }
                safeguards::FIELD => self.safeguards(*value, path),
                key if self.is_unsupported(key) && REQUIRED_FIELDS.contains(&key) => {
                    self.diagnostics.unsupported(path, "Extra inputs are not permitted");
                }
                key if self.is_unsupported(key) => {
                    self.leave_out(path, key, "this model has rejected it");
                }
                _ => {}
            }
        }
        if !has_max_tokens && !self.options.count_tokens {
            let most = self.capabilities.max_output_tokens.unwrap_or(u64::MAX);
            let default = self.options.options.default_max_tokens.min(most);
            self.diagnostics
                .adjusted(JsonPath::ROOT.key("max_tokens"), format!("not given; {default} was used"));
            let default = self.raised_max_tokens.unwrap_or(default);
            self.sent_max_tokens = Some(default);
            // There may be a `null`.
            self.left_out.insert("max_tokens".to_owned());
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

    /// Sets `model` and `stream`, or leaves them out where the URL has them.
    fn ours(&mut self, key: &str, value: RawJson<'t>) {
        match key {
            "model" if self.options.is_messages() => {
                self.edit.replace(value, quoted(self.options.model));
            }
            "stream" if self.options.is_messages() && !self.options.count_tokens => {
                self.edit.replace(value, self.options.stream.to_string());
            }
            _ => {
                self.left_out.insert(key.to_owned());
            }
        }
    }

    fn finish(mut self, object: &'t str, all: &[Member<'t>]) -> Result<InvokeCall, InvalidRequest> {
        let mut added = self.added_first(all);
        added.append(&mut self.added);
        let left_out = std::mem::take(&mut self.left_out);
        let moved = ["anthropic_beta", "service_tier", "anthropic_version"];
        self.edit.edit_object(object, all, |key| moved.contains(&key) || left_out.contains(key), &added);
        self.betas.report(&mut self.diagnostics);
        let betas = if self.options.is_messages() { self.header_betas()? } else { Vec::new() };
        let (unsupported, notices) = self.diagnostics.finish(self.options.options.strict);
        Ok(InvokeCall {
            body: self.edit.apply(),
            max_tokens: self.sent_max_tokens,
            betas,
            service_tier: self.service_tier,
            unsupported,
            notices,
        })
    }

    /// Members that this format of the body requires, unless the client set them.
    fn added_first(&self, all: &[Member<'t>]) -> Vec<String> {
        let given = |name: &str| all.iter().any(|member| &*member.key == name);
        let mut added = Vec::new();
        if self.options.is_messages() && !given("model") {
            added.push(format!(r#""model":{}"#, quoted(self.options.model)));
        }
        let streams = self.options.stream && !self.options.count_tokens;
        if self.options.is_messages() && streams && !given("stream") {
            added.push(r#""stream":true"#.to_owned());
        }
        if !self.options.is_messages() {
            added.push(VERSION.to_owned());
            if !self.betas.names().is_empty() {
                let betas = serde_json::to_string(self.betas.names());
                added.push(format!(r#""anthropic_beta":{}"#, betas.unwrap_or_default()));
            }
        }
        added
    }

    /// The betas, which have to be legal in a header.
    fn header_betas(&self) -> Result<Vec<String>, InvalidRequest> {
        let legal = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
        match self.betas.names().iter().find(|name| !legal(name)) {
            Some(_) => Err(InvalidRequest::new("anthropic_beta", "Input should be names of betas")),
            None => Ok(self.betas.names().iter().map(|name| name.clone().into_owned()).collect()),
        }
    }

    fn add_beta(&mut self, beta: Cow<'_, str>) {
        let requested = self.options.betas;
        self.betas.add(beta.into_owned(), |name| requested.is_unsupported(name));
    }

    fn is_unsupported(&self, path: &str) -> bool {
        self.unsupported.contains(path)
    }

    fn leave_out(&mut self, path: JsonPath<'_>, key: &str, why: &str) {
        self.left_out.insert(key.to_owned());
        self.diagnostics.dropped(path, format!("left out: {why}"));
    }

    fn max_tokens(&mut self, value: RawJson<'t>, path: JsonPath<'_>) -> Result<bool, InvalidRequest> {
        let wanted: Option<u64> = read(value, path)?;
        let Some(wanted) = wanted else {
            return Ok(false);
        };
        let most = self.capabilities.max_output_tokens.unwrap_or(u64::MAX);
        self.sent_max_tokens = Some(wanted.min(most));
        if wanted > most {
            self.edit.replace(value, most.to_string());
            self.diagnostics.adjusted(path, format!("lowered to {most}, the maximum of the model"));
        }
        Ok(true)
    }

    fn service_tier(&mut self, value: RawJson<'t>, path: JsonPath<'_>) -> Result<(), InvalidRequest> {
        self.service_tier = match &*read::<String>(value, path)? {
            "auto" => None,
            "standard_only" => Some("default".to_owned()),
            tier @ ("default" | "priority" | "flex" | "reserved") => Some(tier.to_owned()),
            _ => return Err(InvalidRequest::new(path, "Input should be 'auto' or 'standard_only'")),
        };
        // The tier changes the latency only.
        if self.options.is_messages() && self.service_tier.take().is_some_and(|tier| tier != "default") {
            self.diagnostics.dropped(path, "left out: this route has no tiers");
        }
        Ok(())
    }

    /// Bedrock takes letters, digits and a few signs; clients put JSON there.
    fn metadata(&mut self, value: RawJson<'t>) {
        for member in members(value) {
            let Ok(Some(user_id)) = member.value.read::<Option<String>>() else { continue };
            if &*member.key == "user_id" && !super::to_converse::is_legal_metadata(&user_id) {
                self.edit.replace(member.value, format!("\"user_{:016x}\"", fingerprint(&user_id)));
                let path = JsonPath::ROOT;
                let path = path.key("metadata");
                self.diagnostics.adjusted(
                    path.key("user_id"),
                    "sent as a fingerprint: Bedrock does not accept these characters",
                );
            }
        }
    }

    fn sampling(&mut self, all: &[Member<'t>], key: &str, path: JsonPath<'_>) {
        let both =
            || ["temperature", "top_p"].iter().all(|name| all.iter().any(|member| member.key.0 == *name));
        let is_default = |name: &str| {
            let member = all.iter().find(|member| &*member.key == name);
            let value = member.and_then(|member| member.value.read::<f64>().ok());
            value.is_some_and(|value| Sampling::is_default(name, value))
        };
        match self.capabilities.sampling {
            Sampling::None => self.leave_out(path, key, "the model does not support sampling parameters"),
            Sampling::Defaults if !is_default(key) => {
                self.leave_out(path, key, "the model takes its default only");
            }
            Sampling::OneOf if key == "top_p" && both() => {
                self.leave_out(path, key, "the model takes temperature or top_p, not both");
            }
            Sampling::Defaults if key == "top_p" && is_default("temperature") => {
                self.leave_out(path, key, "the model takes temperature or top_p, not both");
            }
            _ if self.is_unsupported(key) => {
                self.leave_out(path, key, "this model has rejected it");
            }
            Sampling::Defaults | Sampling::OneOf | Sampling::All => {}
        }
    }

    /// The member and its beta travel together.
    fn context_management(&mut self, value: RawJson<'t>) {
        if value.get() == "null" {
            return;
        }
        self.betas.require(betas::CONTEXT_MANAGEMENT);
        if value.get().contains("\"compact_20260112\"") {
            self.betas.require(betas::COMPACTION);
        }
    }

    /// The member and its beta travel together. The client learns from the response that its tool calls are not checked.
    fn safeguards(&mut self, value: RawJson<'t>, path: JsonPath<'_>) {
        if value.get() == "null" || self.options.count_tokens {
            self.left_out.insert(safeguards::FIELD.to_owned());
        } else if self.is_unsupported(safeguards::FIELD) || self.options.betas.is_safeguards_unsupported() {
            self.left_out.insert(safeguards::FIELD.to_owned());
            self.diagnostics.adjusted(path, "left out: this model has rejected it");
        } else {
            self.betas.require_safeguards();
        }
    }

    fn tools(
        &mut self,
        value: RawJson<'t>,
        all: &[Member<'t>],
        path: JsonPath<'_>,
    ) -> Result<(), InvalidRequest> {
        let tools = items(value);
        let text = |tool: RawJson<'t>, name: &str| {
            let member = members(tool).into_iter().find(|member| &*member.key == name);
            member.and_then(|member| member.value.read::<JsonStr<'t>>().ok())
        };
        let names: Vec<_> = tools.iter().map(|tool| (text(*tool, "type"), text(*tool, "name"))).collect();
        let offered: Vec<Offered<'_>> = names
            .iter()
            .map(|(kind, name)| Offered { kind: kind.as_deref(), name: name.as_deref() })
            .collect();
        let choice = all.iter().find(|member| &*member.key == "tool_choice").map(|member| member.value);
        let forced = choice.and_then(|choice| text(choice, "name"));
        let left_out = server_tools::left_out(&offered, forced.as_deref())?;
        for out in &left_out {
            self.diagnostics.dropped(path.index(out.index), out.what.clone());
        }
        let out: HashSet<usize> = left_out.iter().map(|out| out.index).collect();
        let is_out = |index: usize| out.contains(&index);
        self.edit.remove_items(value, &tools, is_out);
        for (index, tool) in tools.into_iter().enumerate().filter(|(index, _)| !is_out(*index)) {
            self.tool(tool, path.index(index));
        }
        Ok(())
    }

    fn tool(&mut self, tool: RawJson<'t>, path: JsonPath<'_>) {
        let all = members(tool);
        let is = |value: RawJson<'_>, json: &str| value.get() == json;
        let invoke = !self.options.is_messages();
        // A set, as members may be repeated.
        let mut left_out: HashSet<&str> = HashSet::new();
        for Member { key, value } in &all {
            let path = path.key(key);
            match &**key {
                // InvokeModel rejects the type of custom tools.
                "type" if invoke && is(*value, "\"custom\"") => drop(left_out.insert("type")),
                "type" if value.get().starts_with("\"tool_search_tool_") => {
                    self.betas.require(betas::TOOL_SEARCH);
                }
                "type" if value.get().starts_with("\"memory_") => {
                    self.betas.require(betas::CONTEXT_MANAGEMENT);
                }
                "type" if value.get().starts_with("\"computer_") => self.computer(*value, path),
                "eager_input_streaming" if invoke => {
                    left_out.insert("eager_input_streaming");
                    if is(*value, "true") {
                        self.betas.require(betas::FINE_GRAINED_STREAMING);
                    }
                }
                "defer_loading" if self.capabilities.tool_search && is(*value, "true") => {
                    self.betas.require(betas::TOOL_SEARCH);
                }
                "defer_loading" => {
                    left_out.insert("defer_loading");
                    self.diagnostics
                        .adjusted(path, "left out: the model cannot search for tools, so it gets them all");
                }
                // Some models reject it with any value.
                "strict" if is(*value, "false") => drop(left_out.insert("strict")),
                "strict" if !self.capabilities.strict_tools || self.is_unsupported("tools.strict") => {
                    left_out.insert("strict");
                    if is(*value, "true") {
                        self.diagnostics
                            .dropped(path, "left out: the model cannot be held to a schema on Bedrock");
                    }
                }
                "allowed_callers" if is(*value, "[\"direct\"]") => drop(left_out.insert("allowed_callers")),
                _ => {}
            }
        }
        if !left_out.is_empty() {
            self.edit.edit_object(tool.get(), &all, |key| left_out.contains(key), &[]);
        }
    }

    fn computer(&mut self, kind: RawJson<'t>, path: JsonPath<'_>) {
        if !self.options.options.computer_use {
            self.diagnostics
                .unsupported(path, "computer use is switched off here (AWS_BEDROCK_ENABLE_COMPUTER_USE)");
        }
        let betas = betas::COMPUTER_USE.iter().find(|(tool, _)| kind.get().contains(tool));
        betas.iter().for_each(|(_, beta)| self.betas.require(*beta));
    }

    fn messages(&mut self, value: RawJson<'t>, path: JsonPath<'_>) -> Result<(), InvalidRequest> {
        // Few conversations hold any of this, and looking into each message costs more than looking for the words.
        let holds = |word: &str| memchr::memmem::find(value.get().as_bytes(), word.as_bytes()).is_some();
        let has_addresses = holds("\"source\"") && (holds("\"url\"") || holds("\"file\""));
        if !has_addresses && !holds("\"system\"") && !holds("\"output_config\"") {
            return Ok(());
        }
        for (index, message) in items(value).into_iter().enumerate() {
            let path = path.index(index);
            for Member { key, value } in members(message) {
                match &*key {
                    "role" if value.get() == "\"system\"" && !self.capabilities.mid_conversation_system => {
                        self.diagnostics
                            .unsupported(path.key("role"), "Input should be 'user' or 'assistant'");
                    }
                    "output_config" => self.betas.require(betas::TURN_OUTPUT_CONFIG),
                    "content" if has_addresses => url_sources::check(value, path.key("content"), false)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Automatic caching: InvokeModel does not know it, so the last block gets the marker.
    fn automatic_cache(&mut self, control: RawJson<'t>, all: &[Member<'t>], path: JsonPath<'_>) {
        self.left_out.insert("cache_control".to_owned());
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
                self.edit.edit_object(block.get(), &all, |_| false, &[marker]);
            }
        }
        self.diagnostics.adjusted(path, "put on the last block: Bedrock does not cache automatically");
    }

    /// Takes `scope` out of every `cache_control`, wherever it stands, but not out of what a tool is given.
    fn strip_scope(&mut self, value: RawJson<'t>) {
        for marker in scope::scoped_markers(value) {
            self.edit.edit_object(marker.get(), &members(marker), |key| key == "scope", &[]);
            self.diagnostics.adjusted(
                JsonPath::ROOT.key("cache_control.scope"),
                "left out: Bedrock keeps one cache for the account",
            );
        }
    }
}

/// Rejects members that are given twice: each of them would be looked at for each of the others.
fn check_duplicates(all: &[Member<'_>]) -> Result<(), InvalidRequest> {
    let mut names = HashSet::with_capacity(all.len());
    match all.iter().find(|member| !names.insert(&*member.key)) {
        Some(member) => Err(InvalidRequest::new("", format!("duplicate field `{}`", member.key))),
        None => Ok(()),
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn read<'t, T: Deserialize<'t>>(value: RawJson<'t>, path: JsonPath<'_>) -> Result<T, InvalidRequest> {
    json_error::read(value, path, Wording::Anthropic)
}

/// FNV-1a: a pseudonym of the user id in valid characters. Not a protection of secrets.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
