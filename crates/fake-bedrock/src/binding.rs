//! Binding of thinking blocks to the conversation before them (preserved thinking).
//!
//! Newer Claude models sign a block together with `tools`, `system` and everything before the block. The same
//! conversation has the same binding by every API; cache points and markers are not part of it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::converse::items;
use crate::error::AwsError;
use crate::models::Model;
use crate::signatures::{Binding, is_bound_signature, redacted_body};

/// A thinking block of a conversation.
struct BoundBlock {
    /// Path of the block.
    at: String,
    text: String,
    signature: String,
    prefix: [u8; 32],
}

/// Bindings of a request: those of its thinking blocks, and that of its response.
pub(crate) struct ThinkingBindings {
    hasher: Sha256,
    /// Role of the last block; turns may be spread over several messages.
    role: String,
    blocks: Vec<BoundBlock>,
    has_drop_block: bool,
}

impl ThinkingBindings {
    fn new(thinking: &Value) -> Self {
        let behavior = &thinking["block_binding"]["prefix_mismatch_behavior"];
        Self {
            hasher: Sha256::new(),
            role: String::new(),
            blocks: Vec::new(),
            has_drop_block: behavior == "drop_block",
        }
    }

    /// Conversation of a Converse request.
    pub(crate) fn from_converse(body: &Value) -> Self {
        let fields = &body["additionalModelRequestFields"];
        let mut conversation = Self::new(&fields["thinking"]);
        let tools = body.get("toolConfig").map_or(&[][..], |config| items(config, "tools"));
        for spec in tools.iter().filter_map(|tool| tool.get("toolSpec")) {
            conversation.part(
                "tools",
                &json!(["tool", spec["name"], spec["description"], spec["inputSchema"]["json"]]),
            );
        }
        for tool in items(fields, "tools") {
            conversation.part("tools", &json!(["builtin", tool]));
        }
        for text in items(body, "system").iter().filter_map(|block| block.get("text")) {
            conversation.part("system prompt", &json!(["text", text]));
        }
        for (m, message) in items(body, "messages").iter().enumerate() {
            let role = message["role"].as_str().unwrap_or_default();
            for (c, block) in items(message, "content").iter().enumerate() {
                let Some(part) = converse_part(block) else { continue };
                conversation.block(role, &part, || format!("messages.{m}.content.{c}"));
            }
        }
        conversation
    }

    /// Conversation of an Anthropic body.
    pub(crate) fn from_anthropic(body: &Value) -> Self {
        let mut conversation = Self::new(&body["thinking"]);
        let is_custom = |tool: &&Value| tool["type"].as_str().is_none_or(|kind| kind == "custom");
        let tools = items(body, "tools");
        for tool in tools.iter().filter(is_custom) {
            conversation
                .part("tools", &json!(["tool", tool["name"], tool["description"], tool["input_schema"]]));
        }
        for tool in tools.iter().filter(|tool| !is_custom(tool)) {
            conversation.part("tools", &json!(["builtin", without_marker(tool)]));
        }
        for block in crate::anthropic::blocks(body, "system") {
            conversation.part("system prompt", &json!(["text", block["text"]]));
        }
        for (m, message) in items(body, "messages").iter().enumerate() {
            let role = message["role"].as_str().unwrap_or_default();
            for (c, block) in crate::anthropic::blocks(message, "content").iter().enumerate() {
                conversation.block(role, &anthropic_part(block), || format!("messages.{m}.content.{c}"));
            }
        }
        conversation
    }

    /// Adds a block of a message; the path is that of a thinking block.
    fn block(&mut self, role: &str, part: &Value, at: impl FnOnce() -> String) {
        let signed = match part[0].as_str() {
            Some("thinking") => part[1].as_str().zip(part[2].as_str()),
            Some("redacted") => part[1].as_str().and_then(redacted_body),
            _ => None,
        };
        if let Some((text, signature)) = signed {
            let prefix = self.hasher.clone().finalize().into();
            let (text, signature) = (text.to_owned(), signature.to_owned());
            self.blocks.push(BoundBlock { at: at(), text, signature, prefix });
        }
        self.part(role, part);
    }

    fn part(&mut self, role: &str, part: &Value) {
        if self.role != role {
            role.clone_into(&mut self.role);
            self.hasher.update(format!("[{role}]"));
        }
        self.hasher.update(part.to_string());
    }

    /// Binding of the response; `None` for models without.
    pub(crate) fn binding(&self, model: &Model) -> Option<Binding> {
        let reader = model.thinking_reader()?;
        Some(Binding { reader, prefix: self.hasher.clone().finalize().into() })
    }

    /// Checks the thinking blocks and returns how many the model ignores.
    ///
    /// # Errors
    /// For a model that does not ignore them: a `ValidationException` that names the first block.
    pub(crate) fn check(&self, model: &Model) -> Result<usize, AwsError> {
        let Some(reader) = model.thinking_reader() else {
            return Ok(0);
        };
        let is_unbound = |block: &&BoundBlock| {
            let binding = Binding { reader, prefix: block.prefix };
            !is_bound_signature(&block.text, &block.signature, &binding)
        };
        let mut unbound = self.blocks.iter().filter(is_unbound).peekable();
        match unbound.peek() {
            Some(block) if model.has("binding_error") && !self.has_drop_block => {
                Err(AwsError::model(format!(
                    "{}: Invalid `signature` in `thinking` block. The block is bound to a different conversation. \
                     Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\".",
                    block.at
                )))
            }
            _ => Ok(unbound.count()),
        }
    }
}

fn without_marker(block: &Value) -> Value {
    let mut block = block.clone();
    if let Some(members) = block.as_object_mut() {
        members.shift_remove("cache_control");
    }
    block
}

/// The part that a Converse block stands for; `None` for cache points.
fn converse_part(block: &Value) -> Option<Value> {
    let (kind, inner) = block.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "cachePoint" => return None,
        "text" => json!(["text", inner]),
        "image" => json!(["image", inner["source"]["bytes"]]),
        "document" => {
            let source = &inner["source"];
            let texts = items(source, "content").iter().map(|part| part["text"].clone());
            match source.get("bytes").or_else(|| source.get("text")) {
                Some(data) => json!(["document", data]),
                None => json!(["document", texts.collect::<Vec<_>>()]),
            }
        }
        "toolUse" => json!(["tool_use", inner["toolUseId"], inner["name"], inner["input"]]),
        "toolResult" => {
            let content: Vec<Value> = items(inner, "content").iter().filter_map(converse_part).collect();
            json!(["tool_result", inner["toolUseId"], inner["status"] == "error", content])
        }
        "reasoningContent" => match inner.get("reasoningText") {
            Some(thinking) => json!(["thinking", thinking["text"], thinking["signature"]]),
            None => {
                use base64::Engine as _;
                let data = inner["redactedContent"].as_str().unwrap_or_default();
                let data = base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default();
                json!(["redacted", String::from_utf8_lossy(&data)])
            }
        },
        "citationsContent" => {
            let texts: String =
                items(inner, "content").iter().filter_map(|part| part["text"].as_str()).collect();
            json!(["text", texts])
        }
        "searchResult" => json!(["search_result", inner["source"], inner["title"]]),
        _ => json!([kind, inner]),
    })
}

/// The part that an Anthropic block stands for.
fn anthropic_part(block: &Value) -> Value {
    match block["type"].as_str().unwrap_or_default() {
        "text" => json!(["text", block["text"]]),
        "image" => json!(["image", block["source"]["data"]]),
        "document" => {
            let source = &block["source"];
            match source.get("data") {
                Some(data) => json!(["document", data]),
                None => {
                    let texts = crate::anthropic::blocks(source, "content").into_iter();
                    json!(["document", texts.map(|part| part["text"].clone()).collect::<Vec<_>>()])
                }
            }
        }
        "tool_use" => json!(["tool_use", block["id"], block["name"], block["input"]]),
        "tool_result" => {
            let content = crate::anthropic::blocks(block, "content");
            let content: Vec<Value> = content.iter().map(anthropic_part).collect();
            json!(["tool_result", block["tool_use_id"], block["is_error"] == true, content])
        }
        "thinking" => json!(["thinking", block["thinking"], block["signature"]]),
        "redacted_thinking" => json!(["redacted", block["data"]]),
        "search_result" => json!(["search_result", block["source"], block["title"]]),
        _ => without_marker(block),
    }
}
