//! Messages request → a body that is valid for every upstream API.
//!
//! Bedrock rejects what Anthropic's clients send from time to time: blank text, tool names and ids in other characters,
//! tool results behind other content. What can be corrected without a change of meaning is corrected here, once, before an
//! upstream API is chosen, so that each of them and every fallback sends the same conversation. A valid body is not
//! changed; in another, only the values that are not valid are.

mod conversation;
mod media;
mod output_schema;
mod schema;
#[cfg(test)]
mod tests;
mod valid;

use std::borrow::Cow;
use std::collections::HashMap;

use super::ToolNames;
use super::diagnostics::{Diagnostics, JsonPath, Notice, UnsupportedField};
use crate::anthropic::{InvalidRequest, Request};
use crate::capabilities::Capabilities;
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Edit, Member, checked_members, items, members};
use crate::json_error;

/// Notice for a text that is left out.
const BLANK_TEXT: &str = "left out: Bedrock does not accept blank text";
/// Notice for an id in other characters.
const ID_ALIAS: &str = "sent under another id: Bedrock takes letters, digits, `_` and `-`";
/// Notice for a schema that the model cannot be held to.
const SCHEMA_IN_SYSTEM: &str =
    "sent in the system prompt: Bedrock can make no grammar of it, so the response may differ from it";
/// Notice for a tool with such a schema.
const NO_GRAMMAR: &str =
    "left out: Bedrock can make no grammar of the schema, so arguments may differ from it";
/// Lists of tool names in an edit of `context_management`.
const NAME_LISTS: [&str; 2] = ["exclude_tools", "clear_tool_inputs"];

/// A body after normalization.
#[derive(Debug, Default)]
pub struct Normalized {
    /// The body, JSON.
    pub body: Vec<u8>,
    /// Aliases of tool names, for translating the response.
    pub tool_names: ToolNames,
    /// Changes of the request, with the client's paths.
    pub notices: Vec<Notice>,
    moved: MovedPaths,
}

impl Normalized {
    /// The error with the path of the client's body.
    #[must_use]
    pub fn locate_error(&self, mut error: InvalidRequest) -> InvalidRequest {
        self.moved.restore(&mut error.path);
        error
    }

    /// Changes the paths to those of the client's body.
    pub fn locate(&self, unsupported: &mut [UnsupportedField], notices: &mut [Notice]) {
        let unsupported = unsupported.iter_mut().map(|field| &mut field.path);
        for path in unsupported.chain(notices.iter_mut().map(|notice| &mut notice.path)) {
            self.moved.restore(path);
        }
    }
}

/// Normalizes `body`, which is `request`, for a model with these `capabilities`; `None` when it is valid as it is.
///
/// # Errors
/// When a value is not valid and cannot be corrected; if `strict`, also when that may change the response.
pub fn normalize(
    body: &[u8],
    request: &Request<'_>,
    capabilities: &Capabilities,
    strict: bool,
) -> Result<Option<Normalized>, InvalidRequest> {
    normalize_without_schemas(body, request, capabilities, strict, &[])
}

/// The same, for a model that was seen to reject the schemas with the fingerprints `rejected`: it reads such a schema of
/// structured output in the system prompt instead, and is not held to the schema of a strict tool.
///
/// # Errors
/// As [`normalize`].
pub fn normalize_without_schemas(
    body: &[u8],
    request: &Request<'_>,
    capabilities: &Capabilities,
    strict: bool,
    rejected: &[u64],
) -> Result<Option<Normalized>, InvalidRequest> {
    check_stop_sequences(request, capabilities)?;
    let may_be_rejected = !rejected.is_empty() && valid::has_schema(request);
    if !may_be_rejected && valid::is_valid(request, capabilities) {
        return Ok(None);
    }
    let body =
        std::str::from_utf8(body).map_err(|_| InvalidRequest::new("", "the body is not valid UTF-8"))?;
    edited(body, capabilities, strict, rejected)
}

/// Bedrock rejects blank stop sequences: Claude models those of white space, all models empty ones.
pub(super) fn is_valid_stop_sequence(text: &JsonStr<'_>, capabilities: &Capabilities) -> bool {
    if capabilities.claude { !text.is_blank() } else { !text.is_empty() }
}

fn check_stop_sequences(request: &Request<'_>, capabilities: &Capabilities) -> Result<(), InvalidRequest> {
    let sequences = request.stop_sequences.iter().flat_map(|sequences| sequences.iter());
    match sequences.enumerate().find(|(_, text)| !is_valid_stop_sequence(text, capabilities)) {
        Some((index, _)) => {
            let path = JsonPath::ROOT;
            let path = path.key("stop_sequences");
            let message = "each stop sequence must contain non-whitespace";
            Err(InvalidRequest::new(path.index(index), message))
        }
        None => Ok(()),
    }
}

fn edited(
    body: &str,
    capabilities: &Capabilities,
    strict: bool,
    rejected: &[u64],
) -> Result<Option<Normalized>, InvalidRequest> {
    let all = checked_members(body).map_err(|error| json_error::invalid_body(&error))?;
    let mut normalizer = Normalizer {
        capabilities,
        rejected,
        edit: Edit::new(body),
        diagnostics: Diagnostics::default(),
        tool_names: ToolNames::default(),
        moved: MovedPaths::default(),
    };
    let member = |name: &str| all.iter().find(|member| &*member.key == name).map(|member| member.value);
    if let Some(tools) = member("tools") {
        normalizer.tools(tools)?;
    }
    if let Some(choice) = member("tool_choice") {
        normalizer.tool_choice(choice);
    }
    let format = if capabilities.structured_output { normalizer.output_format(&all) } else { Format::Kept };
    let is_system_sent = match member("system") {
        Some(system) => normalizer.system(system, &format),
        None => false,
    };
    normalizer.top_level(body.trim(), &all, &format, is_system_sent);
    if let Some(messages) = member("messages") {
        normalizer.messages(messages);
    }
    if let Some(management) = member("context_management").filter(|_| !normalizer.tool_names.is_empty()) {
        normalizer.context_management(management);
    }
    let Normalizer { edit, diagnostics, tool_names, moved, .. } = normalizer;
    let is_changed = !edit.is_empty();
    let (unsupported, notices) = diagnostics.finish(strict);
    if let Some(field) = unsupported.into_iter().next() {
        return Err(InvalidRequest { path: field.path, message: field.reason });
    }
    Ok(is_changed.then(|| Normalized { body: edit.apply(), tool_names, notices, moved }))
}

struct Normalizer<'t, 'c> {
    capabilities: &'c Capabilities,
    /// Fingerprints of schemas that the model was seen to reject.
    rejected: &'c [u64],
    edit: Edit<'t>,
    diagnostics: Diagnostics,
    tool_names: ToolNames,
    moved: MovedPaths,
}

impl<'t> Normalizer<'t, '_> {
    fn tools(&mut self, value: RawJson<'t>) -> Result<(), InvalidRequest> {
        let path = JsonPath::ROOT;
        let path = path.key("tools");
        for (index, tool) in items(value).into_iter().enumerate() {
            let path = path.index(index);
            let all = members(tool);
            let kind = string(&all, "type");
            if kind.is_some_and(|kind| &*kind != "custom") {
                continue;
            }
            let name = string(&all, "name");
            if let Some(schema) = find(&all, "input_schema") {
                let mut is_strict = self.capabilities.strict_tools
                    && find(&all, "strict").is_some_and(|strict| strict.get() == "true");
                if is_strict && self.rejected.contains(&fingerprint(schema)) {
                    self.edit.edit_object(tool.get(), &all, |key| key == "strict", &[]);
                    self.diagnostics.dropped(path.key("strict"), NO_GRAMMAR);
                    is_strict = false;
                }
                let name = name.as_deref().unwrap_or_default();
                self.schema(schema, name, is_strict, path.key("input_schema"))?;
                if is_strict {
                    let changes = output_schema::rewrite(schema, true, &mut self.edit);
                    changes.report(path.key("input_schema"), &mut self.diagnostics);
                }
            }
            self.name_member(&all, path);
        }
        Ok(())
    }

    /// The top of a tool's schema. A `type` is not added if the schema is `rewritten`, which adds it.
    fn schema(
        &mut self,
        schema: RawJson<'t>,
        tool: &str,
        rewritten: bool,
        path: JsonPath<'_>,
    ) -> Result<(), InvalidRequest> {
        match schema::check(schema, self.capabilities) {
            schema::Problem::None => {}
            schema::Problem::Combinator(keyword) => {
                let message = format!(
                    "tool '{tool}': input_schema does not support oneOf, allOf, or anyOf at the top level; move `{keyword}` into a property"
                );
                return Err(InvalidRequest::new(path, message));
            }
            schema::Problem::NoType => {
                if !rewritten {
                    let all = members(schema);
                    self.edit.edit_object(schema.get(), &all, |_| false, &[schema::OBJECT.to_owned()]);
                }
                self.diagnostics.adjusted(path, "`\"type\":\"object\"` added, as Bedrock requires it");
            }
            schema::Problem::OtherType(kind) => {
                self.edit.replace(kind, "\"object\"");
                self.diagnostics
                    .adjusted(path.key("type"), "sent as \"object\", as Bedrock accepts no other type");
            }
        }
        Ok(())
    }

    /// The schema that the response is held to: rewritten, or left out if the model was seen to reject it.
    fn output_format(&mut self, all: &[Member<'t>]) -> Format<'t> {
        let path = JsonPath::ROOT;
        let config = find(all, "output_config");
        let members_of_config = config.map(members).unwrap_or_default();
        let formats = [
            (find(&members_of_config, "format"), path.key("output_config"), "format"),
            (find(all, "output_format"), path, "output_format"),
        ];
        let mut outcome = Format::Kept;
        for (format, path, name) in formats {
            let format = format.map(members).unwrap_or_default();
            let Some(schema) = find(&format, "schema") else { continue };
            if !self.rejected.is_empty() && self.rejected.contains(&fingerprint(schema)) {
                let member = if members_of_config.len() > 1 && name == "format" {
                    let config = config.map(RawJson::get).unwrap_or_default();
                    self.edit.edit_object(config, &members_of_config, |key| key == name, &[]);
                    None
                } else if name == "format" {
                    Some("output_config")
                } else {
                    Some("output_format")
                };
                self.diagnostics.dropped(path.key(name).key("schema"), SCHEMA_IN_SYSTEM);
                outcome = Format::InSystem { schema, member };
                continue;
            }
            let changes = output_schema::rewrite(schema, false, &mut self.edit);
            changes.report(path.key(name).key("schema"), &mut self.diagnostics);
        }
        outcome
    }

    /// Leaves out and adds members of the body.
    fn top_level(&mut self, body: &'t str, all: &[Member<'t>], format: &Format<'t>, is_system_sent: bool) {
        let has_system = find(all, "system").is_some();
        let mut added = Vec::new();
        let mut left_out = Vec::new();
        if has_system && !is_system_sent {
            left_out.push("system");
        }
        if let Format::InSystem { member, .. } = format {
            left_out.extend(member);
        }
        if let Some(block) = format.system_block().filter(|_| !is_system_sent) {
            added.push(format!(r#""system":[{block}]"#));
        }
        if !left_out.is_empty() || !added.is_empty() {
            self.edit.edit_object(body, all, |key| left_out.contains(&key), &added);
        }
    }

    fn tool_choice(&mut self, value: RawJson<'t>) {
        self.name_member(&members(value), JsonPath::ROOT.key("tool_choice"));
    }

    /// Sends the name in the member `name` under its alias.
    fn name_member(&mut self, all: &[Member<'t>], path: JsonPath<'_>) {
        if let Some((value, alias)) = self.alias(find(all, "name"), path.key("name")) {
            self.edit.replace(value, alias);
        }
    }

    /// The value of an invalid name, and its alias as JSON.
    fn alias(&mut self, name: Option<RawJson<'t>>, path: JsonPath<'_>) -> Option<(RawJson<'t>, String)> {
        let value = name?;
        let name: JsonStr<'_> = value.read().ok()?;
        let alias = match self.tool_names.alias_for(Cow::Borrowed(&*name)) {
            Cow::Owned(alias) => alias,
            Cow::Borrowed(_) => return None,
        };
        self.diagnostics.adjusted(path, format!("sent as `{alias}`: Bedrock does not accept this name"));
        Some((value, quoted(&alias)))
    }

    /// Leaves out blank blocks and adds the schema of `format`; whether anything remains.
    fn system(&mut self, value: RawJson<'t>, format: &Format<'t>) -> bool {
        let path = JsonPath::ROOT;
        let path = path.key("system");
        let schema = format.system_block();
        if let Ok(text) = value.read::<JsonStr<'_>>() {
            if text.is_blank() {
                self.diagnostics.adjusted(path, BLANK_TEXT);
            } else if let Some(schema) = schema {
                self.edit.replace(value, format!("[{},{schema}]", conversation::text_block(value.get())));
            }
            return !text.is_blank();
        }
        let blocks = items(value);
        let mut kept = conversation::Blocks::default();
        for (index, block) in blocks.iter().enumerate() {
            self.block(*block, None, index, path.index(index), &mut kept);
        }
        let is_changed = kept.is_changed || (schema.is_some() && !kept.blocks.is_empty());
        if is_changed && !kept.blocks.is_empty() {
            for (index, block) in kept.blocks.iter().enumerate().filter(|(new, block)| *new != block.index) {
                self.moved.insert(path.index(index), path.index(block.index));
            }
            let mut list = kept.render();
            if let Some(schema) = &schema {
                list.truncate(list.len() - 1);
                list.push_str(&format!(",{schema}]"));
            }
            self.edit.replace(value, list);
        }
        !kept.blocks.is_empty() || (!kept.is_changed && schema.is_none())
    }

    fn context_management(&mut self, value: RawJson<'t>) {
        let path = JsonPath::ROOT;
        let path = path.key("context_management");
        let edits = find(&members(value), "edits").map(items).unwrap_or_default();
        for list in edits.into_iter().flat_map(members).filter(|member| NAME_LISTS.contains(&&*member.key)) {
            for name in items(list.value) {
                if let Some((value, alias)) = self.alias(Some(name), path.key(&list.key)) {
                    self.edit.replace(value, alias);
                }
            }
        }
    }
}

/// What becomes of the schema that the response is held to.
enum Format<'t> {
    /// It stays, if there is one.
    Kept,
    /// It goes into the system prompt, and this member of the body is left out.
    InSystem { schema: RawJson<'t>, member: Option<&'static str> },
}

impl Format<'_> {
    /// The block of the system prompt with the schema.
    fn system_block(&self) -> Option<String> {
        let Self::InSystem { schema, .. } = self else { return None };
        let text = format!(
            "Respond with one JSON value that is valid against this JSON schema, and with nothing else: no explanation, no code fence.\n{}",
            schema.get()
        );
        Some(conversation::text_block(&quoted(&text)))
    }
}

/// Fingerprint (FNV-1a) of a schema as the client wrote it, by which it is recognized in later requests.
pub(super) fn fingerprint(schema: RawJson<'_>) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    schema.get().bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// Where a value that moved stood in the client's body: new path → old path. The path of a value without an
/// entry follows from the entry of its parent.
#[derive(Debug, Default)]
struct MovedPaths(HashMap<String, String>);

impl MovedPaths {
    fn insert(&mut self, new: JsonPath<'_>, old: JsonPath<'_>) {
        self.0.insert(new.to_string(), old.to_string());
    }

    /// Changes `path` to the client's.
    fn restore(&self, path: &mut String) {
        // The deepest entries are items of a tool result: `messages.0.content.1.content.2`.
        const MAX_SEGMENTS: usize = 6;
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        let ends: Vec<usize> = ends.take(MAX_SEGMENTS).collect();
        let found = ends.into_iter().rev().find_map(|end| Some((end, self.0.get(&path[..end])?)));
        if let Some((end, old)) = found {
            path.replace_range(..end, old);
        }
    }
}

fn find<'t>(all: &[Member<'t>], name: &str) -> Option<RawJson<'t>> {
    all.iter().find(|member| &*member.key == name).map(|member| member.value)
}

fn string<'t>(all: &[Member<'t>], name: &str) -> Option<JsonStr<'t>> {
    find(all, name)?.read().ok()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
