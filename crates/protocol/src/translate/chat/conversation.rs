//! Messages of a chat request → turns.
//!
//! OpenAI's roles become two: instructions go before the conversation, results of tools belong to the user,
//! first in the turn that follows the calls.

use super::data_url;
use super::members::{borrowed, leave_out};
use super::paths::{BlockOrigin, Part};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Block, Content, InputMessage, Source, SourceData};
use crate::capabilities::Capabilities;
use crate::json::{JsonStr, List, RawJson};
use crate::openai::request::{
    self as openai, Arguments, File, FunctionCallParam, ImageUrl, MessageParam, TextOr, ToolCallParam,
};
use crate::translate::diagnostics::{Diagnostics, JsonPath};
use crate::translate::to_converse::EMPTY_TURN;

/// Prefix of the ids of `function_call`, which has no ids in OpenAI's API.
const FUNCTION_CALL: &str = "function_call_";

type Blocks<'a> = Vec<Placed<'a>>;

/// A block, and where it comes from.
struct Placed<'a> {
    block: Block<'a>,
    origin: BlockOrigin,
}

/// The system prompt and the turns, with the origins of their blocks.
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Content<'a>>,
    pub(super) system_origins: Vec<BlockOrigin>,
    pub(super) messages: List<InputMessage<'a>>,
    pub(super) origins: Vec<Vec<BlockOrigin>>,
}

/// One turn: the results of tools come before everything else in it.
struct Turn<'a> {
    role: &'static str,
    results: Blocks<'a>,
    blocks: Blocks<'a>,
}

impl<'a> Turn<'a> {
    fn new(role: &'static str, blocks: Blocks<'a>) -> Self {
        Self { role, results: Vec::new(), blocks }
    }

    /// The message, and where its blocks come from.
    fn into_message(self) -> (InputMessage<'a>, Vec<BlockOrigin>) {
        let mut blocks = self.results;
        blocks.extend(self.blocks);
        let (blocks, origins) = unplaced(blocks);
        let message = InputMessage {
            role: Some(JsonStr::from(self.role)),
            content: Some(Content::Blocks(List(blocks))),
            ..InputMessage::default()
        };
        (message, origins)
    }
}

/// The system prompt and the turns.
pub(super) fn conversation<'a>(
    messages: Option<&'a List<MessageParam<'_>>>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> Result<Conversation<'a>, InvalidRequest> {
    let root = JsonPath::ROOT;
    let path = root.key("messages");
    let Some(messages) = messages else { return Err(InvalidRequest::new(path, "Field required")) };
    let mut builder = ConversationBuilder {
        diagnostics,
        capabilities,
        system: Vec::new(),
        turns: Vec::new(),
        functions: 0,
        before_assistant: before_assistant(messages, capabilities),
    };
    for (index, message) in messages.iter().enumerate() {
        builder.message(index, message, path.index(index))?;
    }
    let ConversationBuilder { system, mut turns, diagnostics, .. } = builder;
    match turns.first() {
        None => return Err(InvalidRequest::new(path, "at least one message of the user is required")),
        Some(Turn { role: "assistant", .. }) => {
            let block = text_block(JsonStr::from(EMPTY_TURN));
            let origin = BlockOrigin { message: 0, part: Part::Added };
            turns.insert(0, Turn::new("user", vec![Placed { block, origin }]));
            let what = "begins with the assistant; a turn of the user, \"(no content)\", was put before it, because Bedrock begins with the user";
            diagnostics.adjusted(path, what);
        }
        Some(_) => {}
    }
    let (messages, origins) = turns.into_iter().map(Turn::into_message).unzip();
    let messages = List(messages);
    let (system, system_origins) = unplaced(system);
    let system = (!system.is_empty()).then_some(Content::Blocks(List(system)));
    Ok(Conversation { system, system_origins, messages, origins })
}

fn unplaced(blocks: Blocks<'_>) -> (Vec<Block<'_>>, Vec<BlockOrigin>) {
    blocks.into_iter().map(|Placed { block, origin }| (block, origin)).unzip()
}

/// For each message, whether the assistant speaks next, after instructions at most. Claude speaks after the last message,
/// so that instructions at the end stay what they are when its response follows them; Converse takes none at the end.
fn before_assistant(messages: &[MessageParam<'_>], capabilities: &Capabilities) -> Vec<bool> {
    let mut is_before = capabilities.claude;
    let mut before: Vec<bool> = Vec::with_capacity(messages.len());
    for message in messages.iter().rev() {
        before.push(is_before);
        match message.role.as_deref() {
            None | Some("system" | "developer") => {}
            Some(role) => is_before = role == "assistant",
        }
    }
    before.reverse();
    before
}

struct ConversationBuilder<'a, 'f> {
    diagnostics: &'f mut Diagnostics,
    capabilities: &'f Capabilities,
    system: Blocks<'a>,
    turns: Vec<Turn<'a>>,
    /// Number of calls without an id.
    functions: usize,
    /// For each message, whether the assistant speaks next.
    before_assistant: Vec<bool>,
}

impl<'a> ConversationBuilder<'a, '_> {
    fn message(
        &mut self,
        index: usize,
        message: &'a MessageParam<'_>,
        path: JsonPath<'_>,
    ) -> Result<(), InvalidRequest> {
        let MessageParam {
            role,
            content,
            name,
            tool_calls,
            function_call,
            refusal,
            reasoning_content,
            tool_call_id,
            unknown,
        } = message;
        leave_out(path, unknown, self.diagnostics);
        let at_role = path.key("role");
        let Some(role) = role.as_deref() else { return Err(InvalidRequest::new(at_role, "Field required")) };
        if name.is_some() && role != "function" {
            self.diagnostics.dropped(path.key("name"), "left out: participants have no names here");
        }
        if reasoning_content.is_some() {
            let why = "left out: it has no signature, so it cannot be sent back";
            self.diagnostics.adjusted(path.key("reasoning_content"), why);
        }
        // Indexes fit: a list has at most 100,000 items.
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let place = |block, part| Placed { block, origin: BlockOrigin { message: number, part } };
        let mut blocks = self.content(content.as_ref(), number, path.key("content"))?;
        match role {
            "system" | "developer" => self.instructions(index, blocks, at_role),
            "user" => {
                if blocks.is_empty() {
                    // Normalization decides about a turn without text.
                    blocks.push(place(text_block(JsonStr::default()), Part::Content));
                }
                self.push("user", blocks);
            }
            "assistant" => {
                if let Some(refusal) = refusal.as_ref().filter(|refusal| !refusal.is_empty()) {
                    blocks.push(place(text_block(borrowed(refusal)), Part::Refusal));
                }
                self.calls(tool_calls.as_ref(), function_call.as_ref(), &mut blocks, number, path)?;
                if blocks.is_empty() {
                    self.diagnostics.adjusted(path, "left out: it is empty");
                }
                self.push("assistant", blocks);
            }
            "tool" => {
                let Some(id) = tool_call_id else {
                    return Err(InvalidRequest::new(path.key("tool_call_id"), "Field required"));
                };
                self.result(borrowed(id), content.as_ref(), blocks, number);
            }
            "function" => {
                let id = JsonStr::from(format!("{FUNCTION_CALL}{}", self.functions));
                self.result(id, content.as_ref(), blocks, number);
            }
            _ => {
                let message =
                    "Input should be 'system', 'developer', 'user', 'assistant', 'tool' or 'function'";
                return Err(InvalidRequest::new(at_role, message));
            }
        }
        Ok(())
    }

    /// Instructions before the conversation are the system prompt; later ones stay where they are, as instructions if
    /// the model takes such messages there and else as the user's words.
    fn instructions(&mut self, index: usize, blocks: Blocks<'a>, path: JsonPath<'_>) {
        if self.turns.is_empty() {
            self.system.extend(blocks);
            return;
        }
        // Turns of instructions are joined, so this looks at two turns at most.
        let after_user = self.turns.iter().rev().find(|turn| turn.role != "system");
        let after_user = after_user.is_some_and(|turn| turn.role == "user");
        let before_assistant = self.before_assistant.get(index) == Some(&true);
        if self.capabilities.mid_conversation_system && after_user && before_assistant {
            self.push("system", blocks);
        } else {
            self.diagnostics
                .adjusted(path, "sent as the user's words: instructions stand before the conversation here");
            self.push("user", blocks);
        }
    }

    fn push(&mut self, role: &'static str, blocks: Blocks<'a>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => self.turns.push(Turn::new(role, blocks)),
        }
    }

    /// Adds a tool result before everything else in the turn.
    fn result(
        &mut self,
        id: JsonStr<'a>,
        sent: Option<&TextOr<'_, List<openai::ContentPart<'_>>>>,
        blocks: Blocks<'a>,
        message: u32,
    ) {
        let has_all_parts = matches!(sent, Some(TextOr::More(parts)) if parts.len() == blocks.len());
        let (blocks, _) = unplaced(blocks);
        let content = (!blocks.is_empty()).then_some(Content::Blocks(List(blocks)));
        let block =
            Block { kind: Some("tool_result".into()), tool_use_id: Some(id), content, ..Block::default() };
        let result = Placed { block, origin: BlockOrigin { message, part: Part::Result { has_all_parts } } };
        match self.turns.last_mut() {
            Some(turn) if turn.role == "user" => turn.results.push(result),
            _ => self.turns.push(Turn { role: "user", results: vec![result], blocks: Vec::new() }),
        }
    }

    fn calls(
        &mut self,
        calls: Option<&'a List<ToolCallParam<'_>>>,
        function_call: Option<&'a FunctionCallParam<'_>>,
        blocks: &mut Blocks<'a>,
        message: u32,
        path: JsonPath<'_>,
    ) -> Result<(), InvalidRequest> {
        let at_calls = path.key("tool_calls");
        for (index, call) in calls.map_or(&[][..], |calls| calls).iter().enumerate() {
            let path = at_calls.index(index);
            // The position in the list replaces `index`, which chunks need.
            let ToolCallParam { id, kind, function, index: _, unknown } = call;
            leave_out(path, unknown, self.diagnostics);
            if kind.as_deref().is_some_and(|kind| kind != "function") {
                return Err(InvalidRequest::new(path.key("type"), "Input should be 'function'"));
            }
            let (Some(id), Some(function)) = (id, function) else {
                let missing = if id.is_none() { "id" } else { "function" };
                return Err(InvalidRequest::new(path.key(missing), "Field required"));
            };
            let block = self.call(borrowed(id), function, path.key("function"))?;
            let part = Part::Call(u32::try_from(index).unwrap_or(u32::MAX));
            blocks.push(Placed { block, origin: BlockOrigin { message, part } });
        }
        if let Some(function) = function_call {
            self.functions += 1;
            let id = JsonStr::from(format!("{FUNCTION_CALL}{}", self.functions));
            let block = self.call(id, function, path.key("function_call"))?;
            blocks.push(Placed { block, origin: BlockOrigin { message, part: Part::FunctionCall } });
        }
        Ok(())
    }

    fn call(
        &mut self,
        id: JsonStr<'a>,
        function: &'a FunctionCallParam<'_>,
        path: JsonPath<'_>,
    ) -> Result<Block<'a>, InvalidRequest> {
        let FunctionCallParam { name, arguments, unknown } = function;
        leave_out(path, unknown, self.diagnostics);
        let Some(name) = name else { return Err(InvalidRequest::new(path.key("name"), "Field required")) };
        let (input, is_repaired) = match arguments.as_ref().and_then(Arguments::object) {
            Some((object, is_repaired)) => (Some(object), is_repaired),
            None => (serde_json::from_str(RawJson::EMPTY_OBJECT).ok(), false),
        };
        if is_repaired {
            let what =
                "sent as `{\"_invalid_arguments\": …}`, because they are not the text of a JSON object";
            self.diagnostics.adjusted(path.key("arguments"), what);
        }
        let (id, name) = (Some(id), Some(borrowed(name)));
        Ok(Block { kind: Some("tool_use".into()), id, name, input, ..Block::default() })
    }

    fn content(
        &mut self,
        content: Option<&'a TextOr<'_, List<openai::ContentPart<'_>>>>,
        message: u32,
        path: JsonPath<'_>,
    ) -> Result<Blocks<'a>, InvalidRequest> {
        let place = |block, part| Placed { block, origin: BlockOrigin { message, part } };
        match content {
            None => Ok(Vec::new()),
            // No model accepts an empty text.
            Some(TextOr::Text(text)) if text.is_empty() => Ok(Vec::new()),
            Some(TextOr::Text(text)) => Ok(vec![place(text_block(borrowed(text)), Part::Content)]),
            Some(TextOr::More(parts)) => {
                let mut blocks = Vec::with_capacity(parts.len());
                for (index, part) in parts.iter().enumerate() {
                    let block = self.part(part, path.index(index))?;
                    let part = Part::Item(u32::try_from(index).unwrap_or(u32::MAX));
                    blocks.extend(block.map(|block| place(block, part)));
                }
                Ok(blocks)
            }
        }
    }

    fn part(
        &mut self,
        part: &'a openai::ContentPart<'_>,
        path: JsonPath<'_>,
    ) -> Result<Option<Block<'a>>, InvalidRequest> {
        let openai::ContentPart { kind, text, refusal, image_url, file, cache_control, unknown } = part;
        let required = |name: &str| InvalidRequest::new(path.key(name), "Field required");
        let mut block = match (kind.as_deref(), text, refusal, image_url, file) {
            (Some("text"), Some(text), ..) if text.is_empty() && cache_control.is_none() => return Ok(None),
            (Some("text"), Some(text), ..) => text_block(borrowed(text)),
            (Some("refusal"), _, Some(text), ..) => text_block(borrowed(text)),
            (Some("image_url"), _, _, Some(image), _) => self.image(image, path.key("image_url"))?,
            (Some("file"), .., Some(file)) => self.file(file, path.key("file"))?,
            (Some(kind @ ("text" | "refusal" | "image_url" | "file")), ..) => return Err(required(kind)),
            (Some(kind), ..) => {
                let message = format!(
                    "Input should be 'text', 'image_url' or 'file': models on Bedrock do not support '{kind}'"
                );
                return Err(InvalidRequest::new(path.key("type"), message));
            }
            (None, ..) => return Err(required("type")),
        };
        leave_out(path, unknown, self.diagnostics);
        block.cache_control.clone_from(cache_control);
        Ok(Some(block))
    }

    fn image(
        &mut self,
        image: &'a TextOr<'_, ImageUrl<'_>>,
        path: JsonPath<'_>,
    ) -> Result<Block<'a>, InvalidRequest> {
        let at_url = path.key("url");
        let url = match image {
            TextOr::Text(url) => url,
            TextOr::More(ImageUrl { url, detail, unknown }) => {
                leave_out(path, unknown, self.diagnostics);
                if detail.as_ref().is_some_and(|detail| &**detail != "auto") {
                    self.diagnostics.adjusted(path.key("detail"), "left out: images are seen as they are");
                }
                url.as_ref().ok_or_else(|| InvalidRequest::new(at_url, "Field required"))?
            }
        };
        let source = inline(url, at_url, "image")?;
        Ok(Block { kind: Some("image".into()), source: Some(source), ..Block::default() })
    }

    fn file(&mut self, file: &'a File<'_>, path: JsonPath<'_>) -> Result<Block<'a>, InvalidRequest> {
        let File { file_data, filename, unknown } = file;
        let Some(data) = file_data else {
            let message = "Field required: nothing is kept here that a file_id could name";
            return Err(InvalidRequest::new(path.key("file_data"), message));
        };
        leave_out(path, unknown, self.diagnostics);
        let source = inline(data, path.key("file_data"), "file")?;
        let title = filename.as_ref().map(borrowed);
        Ok(Block { kind: Some("document".into()), source: Some(source), title, ..Block::default() })
    }
}

fn text_block(text: JsonStr<'_>) -> Block<'_> {
    Block { kind: Some("text".into()), text: Some(text.into()), ..Block::default() }
}

/// The bytes of a data URL: `data:image/png;base64,…`.
fn inline<'a>(url: &'a JsonStr<'_>, path: JsonPath<'_>, what: &str) -> Result<Source<'a>, InvalidRequest> {
    let Some((media_type, data)) = data_url::parse(url) else {
        // No route to Bedrock fetches anything.
        let message = format!(
            "Input should be a data URL with base64, as in data:image/png;base64,…: Bedrock fetches nothing, so send the {what} itself"
        );
        return Err(InvalidRequest::new(path, message));
    };
    Ok(Source::Data(Box::new(SourceData {
        kind: Some("base64".into()),
        media_type: Some(JsonStr(media_type)),
        data: Some(JsonStr(data)),
        ..SourceData::default()
    })))
}
