//! System prompt, turns and content blocks.
//!
//! What Bedrock wants and Anthropic does not: roles that alternate, tool results first in their turn, no
//! blank text, names of a certain form. All of that is arranged here without changing the meaning.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ConverseRequestBuilder;
use super::turns::{Turn, between_turns, check_order};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Block, Content, InputMessage, Source};
use crate::converse::request::{
    Bytes, CachePoint, ContentBlock, ConversationRole, Image, Message, ReasoningContentBlock, SystemBlock,
    ToolResult, ToolResultBlock, ToolUse,
};
use crate::json::{JsonStr, JsonText, List, RawJson};
use crate::translate::cache::{close_prefix, remove_points_beside_tools};
use crate::translate::diagnostics::JsonPath;
use crate::translate::diagnostics::required;
use crate::translate::tool_names;

/// Placeholder for a blank turn: Bedrock takes none.
pub(in crate::translate) const EMPTY_TURN: &str = "(no content)";
/// Placeholder for an empty tool result.
pub(in crate::translate) const EMPTY_TOOL_RESULT: &str = "(no output)";

/// Maximum of images in a message.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html>
const MAX_IMAGES: usize = 20;
/// Maximum of documents in a message, as documented there.
const MAX_DOCUMENTS: usize = 5;

/// Placeholder in a tool result for an image behind it.
const IMAGE_FOLLOWS: &str = "(the image follows)";

/// Prefix of redacted reasoning that is not text, so that it can be sent back unchanged.
pub(in crate::translate) const VERBATIM: &str = "bedrock:";

/// Blocks of one message, and the images of its tool results that the model accepts only behind them.
struct MessageContent<'a> {
    blocks: Vec<ContentBlock<'a>>,
    moved_images: Vec<Image<'a>>,
}

impl ConverseRequestBuilder {
    pub(super) fn system<'a>(
        &mut self,
        content: Option<Content<'a>>,
        path: JsonPath<'_>,
    ) -> Result<Vec<SystemBlock<'a>>, InvalidRequest> {
        let mut system = Vec::new();
        let blocks = match content {
            None => return Ok(system),
            Some(Content::Text(text)) => vec![text_block(text)],
            Some(Content::Blocks(blocks)) => blocks.0,
            Some(Content::Object(_)) => return Err(not_content(path)),
        };
        for (index, mut block) in blocks.into_iter().enumerate() {
            let path = path.index(index);
            let kind = required(block.kind.take(), path.key("type"))?;
            if &*kind != "text" {
                return Err(InvalidRequest::new(path.key("type"), "Input should be 'text'"));
            }
            system.extend(self.text(&mut block, path)?.map(SystemBlock::Text));
            if let Some(point) = self.cache_point(block.cache_control.take(), path.key("cache_control"))? {
                // A prefix of nothing cannot be cached.
                if !system.is_empty() {
                    system.push(SystemBlock::CachePoint(point));
                }
            }
            self.diagnostics.unknown_fields(path, block.left_over());
        }
        Ok(system)
    }

    pub(super) fn messages<'a>(
        &mut self,
        messages: Option<List<InputMessage<'a>>>,
        automatic: Option<CachePoint>,
        path: JsonPath<'_>,
    ) -> Result<Vec<Message<'a>>, InvalidRequest> {
        let messages = required(messages, path)?.0;
        if messages.is_empty() {
            return Err(InvalidRequest::new(path, "at least one message is required"));
        }
        let system_fits = match self.capabilities.mid_conversation_system {
            true => between_turns(&messages),
            false => vec![false; messages.len()],
        };
        let mut turns: Vec<Turn<'a>> = Vec::with_capacity(messages.len());
        for ((index, message), system_fits) in messages.into_iter().enumerate().zip(system_fits) {
            let path = path.index(index);
            let Some((role, content)) = self.message(message, system_fits, path)? else {
                continue;
            };
            match turns.last_mut() {
                Some(turn) if turn.message.role == role => turn.message.content.extend(content),
                _ => turns.push(Turn { index, message: Message { role, content } }),
            }
        }
        // A request that loses something goes another way; what is left of it here proves nothing.
        if self.diagnostics.unsupported.is_empty() {
            check_order(&turns, path)?;
        }
        for turn in &mut turns {
            let path = path.index(turn.index);
            self.results_first(&mut turn.message.content, path);
            self.text_beside_documents(&mut turn.message.content, path);
            self.check_media(&turn.message.content, path);
            if turn.message.content.is_empty() {
                self.diagnostics.adjusted(
                    path,
                    "blank; sent as \"(no content)\", because Bedrock does not accept a blank turn",
                );
                turn.message.content.push(ContentBlock::Text(EMPTY_TURN.into()));
            }
        }
        if let Some(point) = automatic {
            close_prefix(turns.iter_mut().map(|turn| &mut turn.message), point);
        }
        for turn in &mut turns {
            remove_points_beside_tools(
                &mut turn.message.content,
                path.index(turn.index),
                &self.capabilities,
                &mut self.diagnostics,
            );
        }
        Ok(turns.into_iter().map(|turn| turn.message).collect())
    }

    /// Checks the number of images and documents in a turn.
    fn check_media(&mut self, content: &[ContentBlock<'_>], path: JsonPath<'_>) {
        let count =
            |is_kind: fn(&ContentBlock<'_>) -> bool| content.iter().filter(|block| is_kind(block)).count();
        let images = count(|block| matches!(block, ContentBlock::Image(_)));
        let documents = count(|block| matches!(block, ContentBlock::Document(_)));
        for (found, max, what) in [(images, MAX_IMAGES, "images"), (documents, MAX_DOCUMENTS, "documents")] {
            if found > max {
                let reason = format!("Converse takes at most {max} {what} in a turn; this one has {found}");
                self.diagnostics.unsupported(path, reason);
            }
        }
    }

    /// Role and content of one message; `None` when its role is unsupported.
    fn message<'a>(
        &mut self,
        mut message: InputMessage<'a>,
        system_fits: bool,
        path: JsonPath<'_>,
    ) -> Result<Option<(ConversationRole, Vec<ContentBlock<'a>>)>, InvalidRequest> {
        let at_role = path.key("role");
        let role = match &*required(message.role.take(), at_role)? {
            "user" => ConversationRole::User,
            "assistant" => ConversationRole::Assistant,
            "system" if system_fits => ConversationRole::System,
            "system" => {
                // The wording lets clients fall back to a conversation without such messages.
                self.diagnostics.unsupported(at_role, "Input should be 'user' or 'assistant'");
                return Ok(None);
            }
            _ => {
                return Err(InvalidRequest::new(at_role, "Input should be 'user' or 'assistant'"));
            }
        };
        let at_content = path.key("content");
        let blocks = match required(message.content.take(), at_content)? {
            Content::Text(text) => vec![text_block(text)],
            Content::Blocks(blocks) => blocks.0,
            Content::Object(_) => return Err(not_content(at_content)),
        };
        let mut content =
            MessageContent { blocks: Vec::with_capacity(blocks.len()), moved_images: Vec::new() };
        for (index, block) in blocks.into_iter().enumerate() {
            self.block(role, block, at_content.index(index), &mut content)?;
        }
        let content = content.with_images_after_results();
        self.diagnostics.unknown_fields(path, message.left_over());
        // A blank system message is left out: it is no turn.
        let is_blank = role == ConversationRole::System && content.is_empty();
        Ok((!is_blank).then_some((role, content)))
    }

    fn block<'a>(
        &mut self,
        role: ConversationRole,
        mut block: Block<'a>,
        path: JsonPath<'_>,
        content: &mut MessageContent<'a>,
    ) -> Result<(), InvalidRequest> {
        let MessageContent { blocks: out, moved_images } = content;
        let kind = required(block.kind.take(), path.key("type"))?;
        let mut cache_control = None;
        match (&*kind, role) {
            ("text", ConversationRole::System) => {
                out.extend(self.text(&mut block, path)?.map(ContentBlock::Text));
            }
            ("text", ConversationRole::User) => {
                out.extend(self.text(&mut block, path)?.map(ContentBlock::Text));
                cache_control = block.cache_control.take();
            }
            ("text", ConversationRole::Assistant) => {
                out.extend(self.assistant_text(&mut block, path)?);
                cache_control = block.cache_control.take();
            }
            ("image", ConversationRole::User) => {
                out.extend(self.image(&mut block, path)?.map(ContentBlock::Image));
                cache_control = block.cache_control.take();
            }
            ("document", ConversationRole::User) => {
                out.extend(self.document(&mut block, path)?.map(ContentBlock::Document));
                cache_control = block.cache_control.take();
            }
            ("search_result", ConversationRole::User) => {
                out.extend(self.search_result(&mut block, path)?.map(ContentBlock::SearchResult));
                cache_control = block.cache_control.take();
            }
            ("tool_use", ConversationRole::Assistant) if self.takes_tools(path) => {
                out.push(ContentBlock::ToolUse(self.tool_use(&mut block, path)?));
                cache_control = block.cache_control.take();
            }
            ("tool_result", ConversationRole::User) if self.takes_tools(path) => {
                let (result, nested) = self.tool_result(&mut block, path, moved_images)?;
                out.push(ContentBlock::ToolResult(result));
                cache_control = block.cache_control.take().or(nested);
            }
            ("tool_use", ConversationRole::Assistant) | ("tool_result", ConversationRole::User) => {
                return Ok(());
            }
            ("thinking", ConversationRole::Assistant) => out.extend(self.thinking(&mut block, path)?),
            ("redacted_thinking", ConversationRole::Assistant) => {
                out.extend(self.redacted_thinking(&mut block, path)?);
            }
            _ => {
                let role = match role {
                    ConversationRole::User => "user",
                    ConversationRole::Assistant => "assistant",
                    ConversationRole::System => "system",
                };
                let reason = format!(
                    "Input tag '{kind}' found using 'type' is not supported here: Converse carries no such block in a message of role '{role}'"
                );
                self.diagnostics.unsupported(path, reason);
                return Ok(());
            }
        }
        if let Some(point) = self.cache_point(cache_control, path.key("cache_control"))? {
            if out.is_empty() {
                self.diagnostics.adjusted(
                    path.key("cache_control"),
                    "left out: there is nothing before it in its message",
                );
            } else {
                out.push(ContentBlock::CachePoint(point));
            }
        }
        self.diagnostics.unknown_fields(path, block.left_over());
        Ok(())
    }

    fn takes_tools(&mut self, path: JsonPath<'_>) -> bool {
        if !self.capabilities.tools {
            self.diagnostics.unsupported(path, "the model does not support tools");
        }
        self.capabilities.tools
    }

    /// The text of a block; nothing when it is blank.
    pub(super) fn text<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<JsonText<'a>>, InvalidRequest> {
        let text = required(block.text.take(), path.key("text"))?;
        block.citations.take_if(|citations| citations.get() == "[]");
        if text.is_blank() {
            self.diagnostics.adjusted(path, "left out: Bedrock does not accept blank text");
            return Ok(None);
        }
        Ok(Some(text))
    }

    fn image<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<Image<'a>>, InvalidRequest> {
        let path = path.key("source");
        let Source::Data(mut source) = required(block.source.take(), path)? else {
            return Err(InvalidRequest::new(path, "Input should be an object"));
        };
        let kind = required(source.kind.take(), path.key("type"))?;
        if !self.capabilities.images {
            self.diagnostics.unsupported(path, "the model does not support images");
            return Ok(None);
        }
        if &*kind != "base64" {
            // No route to Bedrock fetches anything.
            let message =
                format!("sources of type '{kind}' are not supported by Bedrock; send the image as base64");
            return Err(InvalidRequest::new(path, message));
        }
        let format = match &*required(source.media_type.take(), path.key("media_type"))? {
            "image/png" => "png",
            "image/jpeg" => "jpeg",
            "image/gif" => "gif",
            "image/webp" => "webp",
            _ => {
                let message = "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'";
                return Err(InvalidRequest::new(path.key("media_type"), message));
            }
        };
        let bytes = required(source.data.take(), path.key("data"))?.0;
        self.diagnostics.unknown_fields(path, source.left_over());
        Ok(Some(Image { format, source: Bytes { bytes } }))
    }

    fn tool_use<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<ToolUse<'a>, InvalidRequest> {
        let tool_use_id = tool_names::tool_use_id(required(block.id.take(), path.key("id"))?.0);
        let name = self.tool_names.alias_for(required(block.name.take(), path.key("name"))?.0);
        block.caller.take_if(|caller| is_direct(*caller));
        let input = match block.input.take() {
            // Clients send an empty string for a call without arguments; Bedrock wants an object.
            None => empty_object(),
            Some(input) if input.get() == "\"\"" => empty_object(),
            Some(input) if input.is_object() => input.raw(),
            Some(_) => {
                return Err(InvalidRequest::new(path.key("input"), "Input should be an object"));
            }
        };
        Ok(ToolUse { tool_use_id, name, input })
    }

    /// Translates a tool result and the cache marker inside it: Bedrock takes one only after the result.
    fn tool_result<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
        moved_images: &mut Vec<Image<'a>>,
    ) -> Result<(ToolResult<'a>, Option<crate::anthropic::request::CacheControl<'a>>), InvalidRequest> {
        let tool_use_id =
            tool_names::tool_use_id(required(block.tool_use_id.take(), path.key("tool_use_id"))?.0);
        let status = block.is_error.take().unwrap_or(false).then_some("error");
        let at_content = path.key("content");
        let blocks = match block.content.take() {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![text_block(text)],
            Some(Content::Blocks(blocks)) => blocks.0,
            Some(Content::Object(_)) => return Err(not_content(at_content)),
        };
        let mut content = Vec::with_capacity(blocks.len().max(1));
        let mut cache_control = None;
        for (index, mut inner) in blocks.into_iter().enumerate() {
            let path = at_content.index(index);
            match &*required(inner.kind.take(), path.key("type"))? {
                "text" => content.extend(self.text(&mut inner, path)?.map(ToolResultBlock::Text)),
                "image" => content.extend(self.image_of_result(&mut inner, path, moved_images)?),
                "document" => {
                    content.extend(self.document(&mut inner, path)?.map(ToolResultBlock::Document));
                }
                "search_result" => {
                    content.extend(self.search_result(&mut inner, path)?.map(ToolResultBlock::SearchResult));
                }
                kind => {
                    let reason = format!(
                        "Input tag '{kind}' found using 'type' is not supported here: Converse carries no such block in a tool result"
                    );
                    self.diagnostics.unsupported(path, reason);
                    continue;
                }
            }
            cache_control = inner.cache_control.take().or(cache_control);
            self.diagnostics.unknown_fields(path, inner.left_over());
        }
        if content.is_empty() {
            content.push(ToolResultBlock::Text(EMPTY_TOOL_RESULT.into()));
        }
        Ok((ToolResult { tool_use_id, content, status }, cache_control))
    }

    /// Translates an image of a tool result; where the model takes none, a text that refers to it.
    fn image_of_result<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
        moved_images: &mut Vec<Image<'a>>,
    ) -> Result<Option<ToolResultBlock<'a>>, InvalidRequest> {
        let Some(image) = self.image(block, path)? else {
            return Ok(None);
        };
        if self.capabilities.images_in_results {
            return Ok(Some(ToolResultBlock::Image(image)));
        }
        self.diagnostics
            .adjusted(path, "moved behind the results: the model does not support images inside them");
        moved_images.push(image);
        Ok(Some(ToolResultBlock::Text(IMAGE_FOLLOWS.into())))
    }

    fn thinking<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<ContentBlock<'a>>, InvalidRequest> {
        let text = required(block.thinking.take(), path.key("thinking"))?.0;
        let signature = block.signature.take().filter(|signature| !signature.is_empty());
        match signature {
            _ if !self.capabilities.claude => {
                self.diagnostics
                    .dropped(path, "left out: the model does not accept thinking of earlier turns");
            }
            None => {
                self.diagnostics.dropped(path, "left out: thinking without a signature cannot be sent back");
            }
            Some(JsonStr(signature)) => {
                let reasoning = ReasoningContentBlock::ReasoningText { text, signature };
                return Ok(Some(ContentBlock::ReasoningContent(reasoning)));
            }
        }
        Ok(None)
    }

    fn redacted_thinking<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<ContentBlock<'a>>, InvalidRequest> {
        let data = required(block.data.take(), path.key("data"))?;
        if !self.capabilities.claude {
            self.diagnostics.dropped(path, "left out: the model does not accept thinking of earlier turns");
            return Ok(None);
        }
        let wire =
            data.strip_prefix(VERBATIM).map_or_else(|| STANDARD.encode(data.as_bytes()), str::to_owned);
        Ok(Some(ContentBlock::ReasoningContent(ReasoningContentBlock::RedactedContent(wire.into()))))
    }

    /// Moves tool results to the begin of their turn, as Bedrock requires; cache points stay with their block.
    fn results_first<'a>(&mut self, content: &mut Vec<ContentBlock<'a>>, path: JsonPath<'_>) {
        let is_result = |block: &ContentBlock<'_>| matches!(block, ContentBlock::ToolResult(_));
        let is_point = |block: &ContentBlock<'_>| matches!(block, ContentBlock::CachePoint(_));
        let after_results = content.iter().position(|block| !is_result(block) && !is_point(block));
        let in_order = after_results.is_none_or(|at| !content[at..].iter().any(is_result));
        if in_order {
            return;
        }
        self.diagnostics.adjusted(path, "tool results moved before the rest of their turn");
        let (mut results, mut rest) = (Vec::new(), Vec::new());
        let mut with_results = false;
        for block in content.drain(..) {
            with_results = if is_point(&block) { with_results } else { is_result(&block) };
            if with_results { results.push(block) } else { rest.push(block) }
        }
        content.extend(results.into_iter().chain(rest));
    }
}

impl<'a> MessageContent<'a> {
    /// The blocks, with the moved images behind the tool results.
    fn with_images_after_results(mut self) -> Vec<ContentBlock<'a>> {
        let last = self.blocks.iter().rposition(|block| matches!(block, ContentBlock::ToolResult(_)));
        let Some(last) = last.filter(|_| !self.moved_images.is_empty()) else {
            return self.blocks;
        };
        let point =
            self.blocks.get(last + 1).is_some_and(|block| matches!(block, ContentBlock::CachePoint(_)));
        let after = last + 1 + usize::from(point);
        self.blocks.splice(after..after, self.moved_images.into_iter().map(ContentBlock::Image));
        self.blocks
    }
}

pub(super) fn not_content(path: JsonPath<'_>) -> InvalidRequest {
    InvalidRequest::new(path, "Input should be a string or an array of content blocks")
}

fn text_block(text: JsonStr<'_>) -> Block<'_> {
    Block { kind: Some("text".into()), text: Some(text.into()), ..Block::default() }
}

/// `{}`, as a value of its own.
fn empty_object() -> &'static RawValue {
    static EMPTY: LazyLock<Box<RawValue>> = LazyLock::new(|| constant(RawJson::EMPTY_OBJECT));
    &EMPTY
}

/// A JSON text that is part of the program, as a value.
pub(super) fn constant(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap_or_default()
}

/// Whether the model itself made the call: what Bedrock takes for granted.
fn is_direct(caller: RawJson<'_>) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Caller<'a> {
        r#type: &'a str,
    }
    caller.read::<Caller<'_>>().is_ok_and(|caller| caller.r#type == "direct")
}
