//! Messages and content blocks.

use std::borrow::Cow;

use super::{BLANK_TEXT, ID_ALIAS, Normalizer, find, media, quoted, string};
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Edit, Member, items, members};
use crate::translate::diagnostics::JsonPath;
use crate::translate::to_converse::{EMPTY_TOOL_RESULT, EMPTY_TURN};
use crate::translate::tool_names::tool_use_id_alias;

/// The blocks that remain of a list.
#[derive(Default)]
pub(super) struct Blocks<'t> {
    pub(super) blocks: Vec<Block<'t>>,
    /// Whether they are not what the client sent.
    pub(super) is_changed: bool,
}

/// A block on its way into the body.
pub(super) struct Block<'t> {
    /// Its JSON.
    json: Cow<'t, str>,
    kind: Kind,
    /// Whether it ends a prefix to cache.
    has_marker: bool,
    /// Index of its message.
    message: usize,
    /// Index in the list that it was sent in.
    pub(super) index: usize,
    /// Indexes of the blocks that remain inside it, where some were left out.
    kept_inside: Option<Vec<usize>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    /// Content of a message that is a string.
    String,
    Result,
    Thinking,
    Other,
}

impl Blocks<'_> {
    /// The JSON of the list.
    pub(super) fn render(&self) -> String {
        let mut json = String::from("[");
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            match block.kind {
                Kind::String => json.push_str(&text_block(&block.json)),
                _ => json.push_str(&block.json),
            }
        }
        json.push(']');
        json
    }

    /// Puts the cache marker of a blank block on the block before it, where a prefix ends that is as long.
    fn inherit_marker(&mut self, marker: RawJson<'_>) -> bool {
        let Some(last) = self.blocks.last_mut().filter(|last| last.kind != Kind::Thinking) else {
            return false;
        };
        if !last.has_marker {
            last.json = Cow::Owned(with_marker(&last.json, marker));
            last.has_marker = true;
            self.is_changed = true;
        }
        true
    }
}

/// A message on its way into the body.
struct Message<'t> {
    index: usize,
    role: Option<JsonStr<'t>>,
    /// The content as it was sent; `None` for what is not looked into.
    content: Option<RawJson<'t>>,
    blocks: Blocks<'t>,
    /// Whether it has members beside role and content.
    has_more: bool,
    is_removed: bool,
}

impl<'t> Normalizer<'t, '_> {
    pub(super) fn messages(&mut self, value: RawJson<'t>) {
        let raw = items(value);
        let mut messages: Vec<Message<'t>> =
            raw.iter().enumerate().map(|(index, message)| self.message(*message, index)).collect();
        let mut start = 0;
        while start < messages.len() {
            let role = messages[start].role.clone();
            let length = messages[start..].iter().take_while(|message| message.role == role).count();
            let turn = start..start + length;
            let is_last = turn.end == messages.len();
            match role.as_deref() {
                Some("user") => {
                    self.results_first(&mut messages[turn.clone()]);
                    self.fill_turn(&mut messages[turn.clone()], false);
                }
                Some("assistant") => self.fill_turn(&mut messages[turn.clone()], is_last),
                Some("system") => self.system_messages(&mut messages[turn.clone()]),
                _ => {}
            }
            start = turn.end;
        }
        if self.capabilities.claude
            && let Some(last) = messages.iter_mut().rfind(|message| !message.is_removed)
        {
            self.trim_prefill(last);
        }
        let mut new_index = 0;
        for message in &messages {
            if !message.is_removed {
                self.write(message, new_index);
                new_index += 1;
            }
        }
        self.edit.remove_items(value, &raw, |index| messages[index].is_removed);
    }

    fn message(&mut self, raw: RawJson<'t>, index: usize) -> Message<'t> {
        let path = JsonPath::ROOT;
        let path = path.key("messages");
        let path = path.index(index);
        let path = path.key("content");
        let all = members(raw);
        let role = string(&all, "role");
        let mut content = find(&all, "content");
        let mut blocks = Blocks::default();
        let takes_role = match role.as_deref() {
            Some("system") => self.capabilities.mid_conversation_system,
            role => matches!(role, Some("user" | "assistant")),
        };
        match content.filter(|_| takes_role) {
            Some(text) if text.get().starts_with('"') => self.string(text, index, path, &mut blocks),
            Some(list) if list.get().starts_with('[') => {
                for (at, block) in items(list).into_iter().enumerate() {
                    self.block(block, role.as_deref(), at, path.index(at), &mut blocks);
                }
                for block in &mut blocks.blocks {
                    block.message = index;
                }
            }
            _ => content = None,
        }
        let has_more = all.iter().any(|member| !matches!(&*member.key, "role" | "content"));
        Message { index, role, content, blocks, has_more, is_removed: false }
    }

    fn string(&mut self, text: RawJson<'t>, message: usize, path: JsonPath<'_>, out: &mut Blocks<'t>) {
        if text.read::<JsonStr<'_>>().is_ok_and(|text| text.is_blank()) {
            self.diagnostics.adjusted(path.index(0), BLANK_TEXT);
            out.is_changed = true;
            return;
        }
        let json = Cow::Borrowed(text.get());
        let block =
            Block { json, kind: Kind::String, has_marker: false, message, index: 0, kept_inside: None };
        out.blocks.push(block);
    }

    /// Adds a block to `out`, unless it is a blank text.
    pub(super) fn block(
        &mut self,
        raw: RawJson<'t>,
        role: Option<&str>,
        index: usize,
        path: JsonPath<'_>,
        out: &mut Blocks<'t>,
    ) {
        let all = members(raw);
        let kind = string(&all, "type");
        let marker = find(&all, "cache_control").filter(|marker| marker.get() != "null");
        if is_blank_text(&all) {
            self.diagnostics.adjusted(path, BLANK_TEXT);
            out.is_changed = true;
            if marker.is_some_and(|marker| !out.inherit_marker(marker)) {
                let what = "left out: there is nothing before it in its message";
                self.diagnostics.adjusted(path.key("cache_control"), what);
            }
            return;
        }
        let mut edit = Edit::new(raw.get());
        let mut kept_inside = None;
        match (kind.as_deref(), role) {
            (Some("tool_use"), Some("assistant")) => self.tool_use(raw, &all, &mut edit, path),
            (Some("tool_result"), Some("user")) => {
                kept_inside = self.tool_result(raw, &all, &mut edit, path);
            }
            (Some("image" | "document"), _) => {
                media::correct(&all, &mut edit, &mut self.diagnostics, path);
            }
            (Some("tool_search_tool_result"), _) => {
                let content = find(&all, "content").map(members).unwrap_or_default();
                for reference in find(&content, "tool_references").map(items).unwrap_or_default() {
                    self.reference(&members(reference), &mut edit, path);
                }
            }
            (Some("tool_addition" | "tool_removal"), _) => {
                let tool = find(&all, "tool").map(members).unwrap_or_default();
                let definition = find(&tool, "definition").map(members).unwrap_or_default();
                self.renamed(find(&tool, "name").or(find(&definition, "name")), &mut edit, path.key("tool"));
            }
            _ => {}
        }
        let kind = match kind.as_deref() {
            Some("text") => Kind::Text,
            Some("tool_result") => Kind::Result,
            Some("thinking" | "redacted_thinking") => Kind::Thinking,
            _ => Kind::Other,
        };
        out.is_changed |= !edit.is_empty();
        let json = applied(edit, raw.get());
        let has_marker = marker.is_some();
        out.blocks.push(Block { json, kind, has_marker, message: 0, index, kept_inside });
    }

    fn tool_use(&mut self, raw: RawJson<'t>, all: &[Member<'t>], edit: &mut Edit<'t>, path: JsonPath<'_>) {
        self.id(find(all, "id"), edit, path.key("id"));
        self.renamed(find(all, "name"), edit, path.key("name"));
        let input = find(all, "input");
        if input.is_none_or(is_no_input) {
            match input {
                Some(input) => edit.replace(input, RawJson::EMPTY_OBJECT),
                None => edit.edit_object(raw.get(), all, |_| false, &[r#""input":{}"#.to_owned()]),
            }
            self.diagnostics.adjusted(path.key("input"), "sent as `{}`, as Bedrock takes an object");
        } else if let Some((input, object)) = input.and_then(|input| Some((input, object_in_text(input)?))) {
            edit.replace(input, object);
            self.diagnostics
                .adjusted(path.key("input"), "sent as the object in the text, as Bedrock takes an object");
        }
    }

    /// Mends a tool result; the indexes of the blocks that remain in it, where some are left out.
    fn tool_result(
        &mut self,
        raw: RawJson<'t>,
        all: &[Member<'t>],
        edit: &mut Edit<'t>,
        path: JsonPath<'_>,
    ) -> Option<Vec<usize>> {
        self.id(find(all, "tool_use_id"), edit, path.key("tool_use_id"));
        let content = find(all, "content")?;
        let at_content = path.key("content");
        let blocks = items(content);
        let mut kept = Vec::with_capacity(blocks.len());
        let mut marker = None;
        for (index, block) in blocks.iter().enumerate() {
            let inner = members(*block);
            let path = at_content.index(index);
            if is_blank_text(&inner) {
                self.diagnostics.adjusted(path, BLANK_TEXT);
                marker = find(&inner, "cache_control").filter(|marker| marker.get() != "null").or(marker);
                continue;
            }
            kept.push(index);
            media::correct(&inner, edit, &mut self.diagnostics, path);
            if string(&inner, "type").as_deref() == Some("tool_reference") {
                self.reference(&inner, edit, path);
            }
        }
        if kept.len() == blocks.len() {
            return None;
        }
        if kept.is_empty() {
            edit.replace(content, format!("[{}]", text_block(&quoted(EMPTY_TOOL_RESULT))));
        } else {
            let mut next = kept.iter().peekable();
            // Called for each index, in order.
            let is_kept: Vec<bool> = (0..blocks.len()).map(|at| next.next_if_eq(&&at).is_some()).collect();
            edit.remove_items(content, &blocks, |index| !is_kept[index]);
        }
        // A marker inside a result ends the same prefix as one on the result.
        if let Some(marker) = marker {
            match find(all, "cache_control") {
                Some(own) if own.get() == "null" => edit.replace(own, marker.get()),
                Some(_) => {}
                None => edit.edit_object(raw.get(), all, |_| false, &[marker_member(marker)]),
            }
        }
        Some(kept)
    }

    fn id(&mut self, id: Option<RawJson<'t>>, edit: &mut Edit<'t>, path: JsonPath<'_>) {
        let Some(value) = id else { return };
        let Ok(id) = value.read::<JsonStr<'_>>() else { return };
        if let Some(alias) = tool_use_id_alias(&id, self.capabilities) {
            edit.replace(value, quoted(&alias));
            self.diagnostics.adjusted(path, ID_ALIAS);
        }
    }

    fn reference(&mut self, all: &[Member<'t>], edit: &mut Edit<'t>, path: JsonPath<'_>) {
        self.renamed(find(all, "tool_name"), edit, path.key("tool_name"));
    }

    fn renamed(&mut self, name: Option<RawJson<'t>>, edit: &mut Edit<'t>, path: JsonPath<'_>) {
        if let Some((value, alias)) = self.alias(name, path) {
            edit.replace(value, alias);
        }
    }

    /// Moves tool results to the begin of their turn, as Bedrock requires.
    fn results_first(&mut self, turn: &mut [Message<'t>]) {
        let kinds = turn.iter().flat_map(|message| message.blocks.blocks.iter().map(|block| block.kind));
        let mut after_results = kinds.skip_while(|kind| *kind == Kind::Result);
        if !after_results.any(|kind| kind == Kind::Result) {
            return;
        }
        let mut results = Vec::new();
        for message in turn.iter_mut() {
            let before = message.blocks.blocks.len();
            let (moved, rest) =
                message.blocks.blocks.drain(..).partition::<Vec<_>, _>(|block| block.kind == Kind::Result);
            results.extend(moved);
            message.blocks.blocks = rest;
            message.blocks.is_changed |= message.blocks.blocks.len() != before;
        }
        let first = &mut turn[0];
        results.append(&mut first.blocks.blocks);
        first.blocks.blocks = results;
        first.blocks.is_changed = true;
        let path = JsonPath::ROOT;
        let path = path.key("messages");
        let what = "tool results moved before the rest of their turn";
        self.diagnostics.adjusted(path.index(first.index), what);
    }

    /// Leaves out messages without content where the turn has other content; else it gets a placeholder, unless it is a
    /// prefill: the last message of the assistant may be empty.
    fn fill_turn(&mut self, turn: &mut [Message<'t>], may_be_empty: bool) {
        if turn.iter().any(|message| message.content.is_none()) {
            return;
        }
        let is_empty = |message: &Message<'_>| message.blocks.blocks.is_empty();
        let has_content = !turn.iter().all(is_empty);
        let path = JsonPath::ROOT;
        let path = path.key("messages");
        for (at, message) in turn.iter_mut().enumerate().filter(|(_, message)| is_empty(message)) {
            if has_content || at > 0 {
                message.is_removed = true;
                if !message.blocks.is_changed {
                    self.diagnostics.adjusted(path.index(message.index), "left out: it has no content");
                }
            } else if !may_be_empty {
                let json = Cow::Owned(text_block(&quoted(EMPTY_TURN)));
                let (kind, index) = (Kind::Text, 0);
                let message_index = message.index;
                message.blocks.blocks.push(Block {
                    json,
                    kind,
                    has_marker: false,
                    message: message_index,
                    index,
                    kept_inside: None,
                });
                message.blocks.is_changed = true;
                self.diagnostics.adjusted(
                    path.index(message_index),
                    "blank; sent as \"(no content)\", because Bedrock does not accept a blank turn",
                );
            }
        }
    }

    /// Leaves out blank system messages: they are no turns.
    fn system_messages(&mut self, turn: &mut [Message<'t>]) {
        for message in turn.iter_mut().filter(|message| message.content.is_some()) {
            if message.blocks.blocks.is_empty() && message.has_more {
                // Its other members are what it is sent for.
                message.blocks.is_changed = false;
            } else {
                message.is_removed = message.blocks.blocks.is_empty();
            }
        }
    }

    /// Cuts white space at the end of a prefill, which Claude models do not take.
    fn trim_prefill(&mut self, last: &mut Message<'t>) {
        let path = JsonPath::ROOT;
        let path = path.key("messages");
        let path = path.index(last.index);
        if last.role.as_deref() != Some("assistant") {
            return;
        }
        let Some(block) = last.blocks.blocks.last_mut() else { return };
        let trimmed = match block.kind {
            Kind::String => trimmed_string(&block.json),
            Kind::Text => trimmed_text(&block.json),
            _ => None,
        };
        if let Some(json) = trimmed {
            block.json = Cow::Owned(json);
            last.blocks.is_changed = true;
            let what = "white space at the end left out: the model continues from a word";
            self.diagnostics.adjusted(path.key("content"), what);
        }
    }

    /// Writes what has changed of a message.
    fn write(&mut self, message: &Message<'t>, new_index: usize) {
        let path = JsonPath::ROOT;
        let path = path.key("messages");
        let (old_path, new_path) = (path.index(message.index), path.index(new_index));
        if message.index != new_index {
            self.moved.insert(new_path, old_path);
        }
        let Some(content) = message.content.filter(|_| message.blocks.is_changed) else { return };
        let blocks = &message.blocks.blocks;
        for (at, block) in blocks.iter().enumerate() {
            let (old_message, new_content) = (path.index(block.message), new_path.key("content"));
            let (old_content, new_block) = (old_message.key("content"), new_content.index(at));
            let old_block = old_content.index(block.index);
            if block.message != message.index || block.index != at {
                self.moved.insert(new_block, old_block);
            }
            let (old_inside, new_inside) = (old_block.key("content"), new_block.key("content"));
            for (new, old) in block.kept_inside.iter().flatten().enumerate().filter(|(new, old)| new != *old)
            {
                self.moved.insert(new_inside.index(new), old_inside.index(*old));
            }
        }
        let json = match (&blocks[..], content.get().starts_with('"')) {
            ([], true) => "\"\"".to_owned(),
            ([Block { kind: Kind::String, json, .. }], true) => json.to_string(),
            _ => message.blocks.render(),
        };
        if json != content.get() {
            self.edit.replace(content, json);
        }
    }
}

/// Whether the input of a call is none: clients send an empty string for a call without arguments.
pub(super) fn is_no_input(input: RawJson<'_>) -> bool {
    let is_blank = || input.read::<JsonStr<'_>>().is_ok_and(|text| text.is_blank());
    input.get() == "null" || (input.get().starts_with('"') && is_blank())
}

/// The object in an input that is a JSON text.
fn object_in_text(input: RawJson<'_>) -> Option<String> {
    let text: JsonStr<'_> = input.read().ok()?;
    let object: RawJson<'_> = serde_json::from_str(&text).ok()?;
    object.is_object().then(|| object.get().to_owned())
}

fn is_blank_text(all: &[Member<'_>]) -> bool {
    string(all, "type").as_deref() == Some("text") && string(all, "text").is_some_and(|text| text.is_blank())
}

/// A text block, from the JSON of its text.
pub(super) fn text_block(text: &str) -> String {
    format!(r#"{{"type":"text","text":{text}}}"#)
}

fn marker_member(marker: RawJson<'_>) -> String {
    format!(r#""cache_control":{}"#, marker.get())
}

/// The block with a cache marker.
fn with_marker(block: &str, marker: RawJson<'_>) -> String {
    let Ok(raw) = serde_json::from_str::<RawJson<'_>>(block) else { return block.to_owned() };
    let all = members(raw);
    let mut edit = Edit::new(block);
    match find(&all, "cache_control") {
        Some(null) => edit.replace(null, marker.get().to_owned()),
        None => edit.edit_object(raw.get(), &all, |_| false, &[marker_member(marker)]),
    }
    applied(edit, block).into_owned()
}

/// The JSON of a string without white space at its end; `None` when there is none.
fn trimmed_string(json: &str) -> Option<String> {
    let text: JsonStr<'_> = serde_json::from_str(json).ok()?;
    let trimmed = text.trim_end();
    (trimmed.len() < text.len()).then(|| quoted(trimmed))
}

/// The same for a text block.
fn trimmed_text(block: &str) -> Option<String> {
    let all = members(serde_json::from_str(block).ok()?);
    let text = find(&all, "text")?;
    let trimmed = trimmed_string(text.get())?;
    let mut edit = Edit::new(block);
    edit.replace(text, trimmed);
    Some(applied(edit, block).into_owned())
}

fn applied<'t>(edit: Edit<'t>, text: &'t str) -> Cow<'t, str> {
    if edit.is_empty() {
        return Cow::Borrowed(text);
    }
    String::from_utf8(edit.apply()).map_or(Cow::Borrowed(text), Cow::Owned)
}
