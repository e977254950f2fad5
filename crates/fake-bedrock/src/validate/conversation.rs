//! Messages of a Converse request: order and content.

use std::collections::HashSet;

use serde_json::Value;

use super::check::extraneous;
use crate::converse::items;
use crate::error::AwsError;
use crate::models::Model;
use crate::signatures::{is_issued_base64, is_valid_signature};

type ValidationResult = Result<(), AwsError>;

/// Maximum number of images of a message.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html>
const MAX_IMAGES: usize = 20;
/// Maximum number of documents of a message, as documented there.
const MAX_DOCUMENTS: usize = 5;
/// Maximum size of an image for Claude, in bytes of base64.
pub(super) const MAX_IMAGE_BASE64_BYTES: usize = 5 * 1024 * 1024;

pub(super) fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

/// Checks all messages, except their tools.
pub(super) fn check(body: &Value, model: &Model) -> ValidationResult {
    let messages = items(body, "messages");
    check_roles(messages, model)?;
    for (at, block) in items(body, "system").iter().enumerate() {
        if is_blank(block.get("text")) {
            return Err(blank_text(&format!("SystemContentBlock object at system.{at}")));
        }
    }
    let mut names = HashSet::new();
    for (m, message) in messages.iter().enumerate() {
        let content = items(message, "content");
        if content.is_empty() {
            return Err(AwsError::validation(format!(
                "The content field in the Message object at messages.{m} is empty. Add a ContentBlock object to the \
                 content field and try again."
            )));
        }
        for (c, block) in content.iter().enumerate() {
            check_block(model, role(message), block, &format!("messages.{m}.content.{c}"))?;
            check_cache_point(model, content, block, m, c)?;
        }
        check_media(content, m, &mut names)?;
    }
    check_prefill(messages, model)
}

fn check_roles(messages: &[Value], model: &Model) -> ValidationResult {
    let Some(first) = messages.first() else {
        return Err(AwsError::validation(
            "A conversation must start with a user message. Try again with a conversation that starts with a user \
             message.",
        ));
    };
    if role(first) != "user" {
        return Err(AwsError::validation(
            "A conversation must start with a user message. Try again with a conversation that starts with a user \
             message.",
        ));
    }
    for (at, message) in messages.iter().enumerate() {
        if role(message) != "system" {
            continue;
        }
        if !model.has("system_turns") {
            return Err(AwsError::model(format!(
                "messages.{at}.role: `system` is not supported on this model"
            )));
        }
        let before = at.checked_sub(1).map(|at| role(&messages[at]));
        if before != Some("user") || messages.get(at + 1).map(role) != Some("assistant") {
            return Err(AwsError::model(format!(
                "messages.{at}: `system` messages must stand between a `user` and an `assistant` message"
            )));
        }
    }
    let roles: Vec<&str> = messages.iter().map(role).filter(|role| *role != "system").collect();
    if roles.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(AwsError::validation(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates \
             between user and assistant roles and try again.",
        ));
    }
    Ok(())
}

fn is_blank(text: Option<&Value>) -> bool {
    text.and_then(Value::as_str).is_some_and(|text| text.trim().is_empty())
}

fn blank_text(location: &str) -> AwsError {
    AwsError::validation(format!(
        "The text field in the {location} is blank. Add text to the text field, and try again."
    ))
}

fn check_block(model: &Model, role: &str, block: &Value, at: &str) -> ValidationResult {
    if is_blank(block.get("text")) {
        return Err(blank_text(&format!("ContentBlock object at {at}")));
    }
    let require_role = |kind: &str, expected_role: &str| {
        if role == expected_role {
            return Ok(());
        }
        Err(AwsError::model(format!("{at}: `{kind}` blocks can only be in `{expected_role}` messages")))
    };
    if let Some(image) = block.get("image") {
        require_role("image", "user")?;
        check_image(model, image, at)?;
    }
    if block.get("document").is_some() {
        require_role("document", "user")?;
        if !model.has("documents") {
            return Err(unsupported("document"));
        }
    }
    for kind in ["document", "searchResult"] {
        let cited = block.get(kind).is_some_and(|source| source["citations"]["enabled"] == true);
        if cited && !model.is_claude() {
            return Err(unsupported(&format!("{kind}.citations")));
        }
    }
    if block.get("citationsContent").is_some() {
        require_role("citations", "assistant")?;
    }
    if role == "system" {
        let accepted = ["text", "cachePoint", "guardContent", "toolAddition", "toolRemoval"];
        if !accepted.iter().any(|kind| block.get(kind).is_some()) {
            return Err(AwsError::model(format!("{at}: `system` messages can only contain text")));
        }
    } else if block.get("toolAddition").or_else(|| block.get("toolRemoval")).is_some() {
        return Err(AwsError::model(format!(
            "{at}: `tool_addition` and `tool_removal` blocks can only be in `system` messages"
        )));
    }
    if let Some(call) = block.get("toolUse") {
        require_role("tool_use", "assistant")?;
        check_tool_use_id(model, call, &format!("{at}.tool_use.id"))?;
    }
    if let Some(result) = block.get("toolResult") {
        require_role("tool_result", "user")?;
        check_tool_use_id(model, result, &format!("{at}.tool_result.tool_use_id"))?;
        for (part, content) in items(result, "content").iter().enumerate() {
            let at = format!("{at}.toolResult.content.{part}");
            if is_blank(content.get("text")) {
                return Err(blank_text(&format!("ToolResultContentBlock object at {at}")));
            }
            if let Some(image) = content.get("image") {
                check_image(model, image, &at)?;
                if !model.is_claude() && !model.is_nova() {
                    return Err(unsupported("toolResult.content.image"));
                }
            }
        }
    }
    if let Some(reasoning) = block.get("reasoningContent") {
        require_role("thinking", "assistant")?;
        if !model.is_claude() && reasoning.get("redactedContent").is_some() {
            return Err(unsupported("reasoningContent.redactedContent"));
        }
        if model.is_claude() {
            check_reasoning(reasoning, at)?;
        }
    }
    Ok(())
}

/// Checks the id of a call or a result: Claude takes fewer characters than Converse.
fn check_tool_use_id(model: &Model, block: &Value, at: &str) -> ValidationResult {
    let id = block["toolUseId"].as_str().unwrap_or_default();
    if !model.is_claude() || is_valid_tool_use_id(id) {
        return Ok(());
    }
    Err(invalid_tool_use_id(at))
}

/// Whether Claude takes the id of a call.
pub(super) fn is_valid_tool_use_id(id: &str) -> bool {
    !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

pub(super) fn invalid_tool_use_id(at: &str) -> AwsError {
    AwsError::model(format!("{at}: String should match pattern '^[a-zA-Z0-9_-]+$'"))
}

fn check_reasoning(reasoning: &Value, at: &str) -> ValidationResult {
    if let Some(data) = reasoning.get("redactedContent").and_then(Value::as_str) {
        if !is_issued_base64(data) {
            return Err(AwsError::model(format!("{at}: Invalid `data` in `redacted_thinking` block")));
        }
        return Ok(());
    }
    let thinking = &reasoning["reasoningText"];
    check_signature(thinking["text"].as_str(), thinking["signature"].as_str(), at)
}

/// Checks that the signature of a thinking block is this fake's.
pub(super) fn check_signature(text: Option<&str>, signature: Option<&str>, at: &str) -> ValidationResult {
    let Some(signature) = signature.filter(|signature| !signature.is_empty()) else {
        return Err(AwsError::model(format!("{at}.thinking.signature: Field required")));
    };
    if is_valid_signature(text.unwrap_or_default(), signature) {
        return Ok(());
    }
    Err(AwsError::model(format!("{at}: Invalid `signature` in `thinking` block")))
}

/// Error for a field that the model does not support.
pub(super) fn unsupported(field: &str) -> AwsError {
    AwsError::validation(format!(
        "This model doesn't support the {field} field. Remove {field} and try again."
    ))
}

fn check_image(model: &Model, image: &Value, at: &str) -> ValidationResult {
    if !model.has("images") {
        return Err(unsupported("image"));
    }
    let Some(data) = image["source"]["bytes"].as_str() else {
        return Ok(());
    };
    if model.is_claude() && data.len() > MAX_IMAGE_BASE64_BYTES {
        return Err(AwsError::model(format!(
            "{at}.image.source.base64: image exceeds 5 MB maximum: {} bytes > {MAX_IMAGE_BASE64_BYTES} bytes",
            data.len()
        )));
    }
    let format = image["format"].as_str().unwrap_or_default();
    match detect_image_format(data) {
        Some(detected) if detected != format => Err(AwsError::model(format!(
            "{at}.image.source.base64: Image does not match the provided media type image/{format}"
        ))),
        _ => Ok(()),
    }
}

/// Image format according to the first bytes, detected in base64.
pub(super) fn detect_image_format(base64: &str) -> Option<&'static str> {
    [("iVBORw0KGg", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp")]
        .iter()
        .find(|(start, _)| base64.starts_with(start))
        .map(|(_, format)| *format)
}

fn check_media(content: &[Value], m: usize, names: &mut HashSet<String>) -> ValidationResult {
    let count = |kind: &str| content.iter().filter(|block| block.get(kind).is_some()).count();
    if count("image") > MAX_IMAGES {
        return Err(AwsError::validation(format!(
            "too many images in messages.{m}: {} > {MAX_IMAGES}",
            count("image")
        )));
    }
    if count("document") > MAX_DOCUMENTS {
        return Err(AwsError::validation(format!(
            "too many documents in messages.{m}: {} > {MAX_DOCUMENTS}",
            count("document")
        )));
    }
    if count("document") > 0 && count("text") == 0 {
        return Err(AwsError::validation(format!(
            "A text block is required in messages.{m} when it has a document block. Add one and try again."
        )));
    }
    for document in content.iter().filter_map(|block| block.get("document")) {
        let name = document["name"].as_str().unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "-()[]".contains(c);
        let mut pairs = name.chars().zip(name.chars().skip(1));
        if !name.chars().all(allowed) || pairs.any(|(a, b)| a.is_whitespace() && b.is_whitespace()) {
            return Err(AwsError::validation(
                "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, \
                 parentheses, and square brackets. The name can't contain more than one consecutive whitespace \
                 character.",
            ));
        }
        if !names.insert(name.to_owned()) {
            return Err(AwsError::validation("Messages can not contain duplicate document names"));
        }
    }
    Ok(())
}

fn check_cache_point(
    model: &Model,
    content: &[Value],
    block: &Value,
    m: usize,
    c: usize,
) -> ValidationResult {
    let Some(point) = block.get("cachePoint") else {
        return Ok(());
    };
    let has_tools =
        content.iter().any(|block| block.get("toolUse").is_some() || block.get("toolResult").is_some());
    if model.is_nova() && has_tools {
        return Err(extraneous(&format!("/messages/{m}/content/{c}"), "cachePoint"));
    }
    check_cache_support(model, point)
}

/// Checks that the model supports prompt caching with this time to live.
pub(super) fn check_cache_support(model: &Model, point: &Value) -> ValidationResult {
    if !model.has("cache") {
        return Err(unsupported("cachePoint"));
    }
    if point["ttl"] == "1h" && !model.has("cache_1h") {
        return Err(unsupported("cachePoint.ttl"));
    }
    Ok(())
}

/// Checks the stop sequences of Claude.
pub(super) fn check_stop_sequences(sequences: &[Value]) -> ValidationResult {
    if sequences.iter().any(|sequence| is_blank(Some(sequence))) {
        return Err(AwsError::model("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    Ok(())
}

fn check_prefill(messages: &[Value], model: &Model) -> ValidationResult {
    let Some(last) = messages.last().filter(|message| role(message) == "assistant") else {
        return Ok(());
    };
    if !model.has("prefill") {
        return Err(AwsError::model(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let text = items(last, "content").last().and_then(|block| block.get("text")).and_then(Value::as_str);
    if model.is_claude() && text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
        return Err(AwsError::model("messages: final assistant content cannot end with trailing whitespace"));
    }
    Ok(())
}
