//! Messages request → a body that is valid for every upstream API.
//!
//! Bedrock rejects what Anthropic's clients send from time to time: blank text, tool names and ids in other characters,
//! tool results behind other content. What can be corrected without a change of meaning is corrected here, once, before an
//! upstream API is chosen, so that each of them and every fallback sends the same conversation. A valid body is not
//! changed; in another, only the values that are not valid are.

mod conversation;
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
const BLANK_TEXT: &str = "left out: Bedrock takes no blank text";
/// Notice for an id in other characters.
const ID_ALIAS: &str = "sent under another id: Bedrock takes letters, digits, `_` and `-`";
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
    check_stop_sequences(request, capabilities)?;
    if valid::is_valid(request, capabilities) {
        return Ok(None);
    }
    let body =
        std::str::from_utf8(body).map_err(|_| InvalidRequest::new("", "the body is not valid UTF-8"))?;
    edited(body, capabilities, strict)
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
) -> Result<Option<Normalized>, InvalidRequest> {
    let all = checked_members(body).map_err(|error| json_error::invalid_body(&error))?;
    let mut normalizer = Normalizer {
        capabilities,
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
    let is_system_blank = member("system").is_some_and(|system| normalizer.system(system));
    if is_system_blank {
        normalizer.edit.edit_object(body.trim(), &all, |key| key == "system", &[]);
    }
    if let Some(messages) = member("messages") {
        normalizer.messages(messages);
    }
    if capabilities.structured_output {
        normalizer.output_format(&all);
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
                let is_strict = self.capabilities.strict_tools
                    && find(&all, "strict").is_some_and(|strict| strict.get() == "true");
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
                self.diagnostics.adjusted(path.key("type"), "sent as \"object\", as Bedrock takes no other");
            }
        }
        Ok(())
    }

    /// The schemas that the response is held to.
    fn output_format(&mut self, all: &[Member<'t>]) {
        let path = JsonPath::ROOT;
        let config = find(all, "output_config").map(members).unwrap_or_default();
        let formats = [
            (find(&config, "format"), path.key("output_config"), "format"),
            (find(all, "output_format"), path, "output_format"),
        ];
        for (format, path, name) in formats {
            let format = format.map(members).unwrap_or_default();
            if let Some(schema) = find(&format, "schema") {
                let changes = output_schema::rewrite(schema, false, &mut self.edit);
                changes.report(path.key(name).key("schema"), &mut self.diagnostics);
            }
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
        self.diagnostics.adjusted(path, format!("sent as `{alias}`: Bedrock takes no such name"));
        Some((value, quoted(&alias)))
    }

    /// Leaves out blank blocks; whether nothing remains.
    fn system(&mut self, value: RawJson<'t>) -> bool {
        let path = JsonPath::ROOT;
        let path = path.key("system");
        if let Ok(text) = value.read::<JsonStr<'_>>() {
            if text.is_blank() {
                self.diagnostics.adjusted(path, BLANK_TEXT);
            }
            return text.is_blank();
        }
        let blocks = items(value);
        let mut kept = conversation::Blocks::default();
        for (index, block) in blocks.iter().enumerate() {
            self.block(*block, None, index, path.index(index), &mut kept);
        }
        if kept.is_changed && !kept.blocks.is_empty() {
            for (index, block) in kept.blocks.iter().enumerate().filter(|(new, block)| *new != block.index) {
                self.moved.insert(path.index(index), path.index(block.index));
            }
            self.edit.replace(value, kept.render());
        }
        kept.is_changed && kept.blocks.is_empty()
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
