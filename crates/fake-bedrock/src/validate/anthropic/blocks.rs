//! Content blocks: types, members and roles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::super::conversation::{
    MAX_IMAGE_BASE64_BYTES, check_signature, detect_image_format, invalid_tool_use_id, is_valid_tool_use_id,
};
use super::super::fields::extra_input;
use super::{Request, ValidationResult};
use crate::converse::items;
use crate::error::AwsError;
use crate::signatures::is_issued_data;

/// Type, role, required members, optional members.
type Kind = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
static KINDS: &[Kind] = &[
    ("text", "", &["text"], &["cache_control", "citations"]),
    ("image", "user", &["source"], &["cache_control"]),
    ("document", "", &["source"], &["cache_control", "title", "context", "citations"]),
    ("search_result", "user", &["source", "title", "content"], &["cache_control", "citations"]),
    ("thinking", "assistant", &["thinking", "signature"], &[]),
    ("redacted_thinking", "assistant", &["data"], &[]),
    ("tool_use", "assistant", &["id", "name", "input"], &["cache_control", "caller", "toolset_name"]),
    ("tool_result", "user", &["tool_use_id"], &["content", "is_error", "cache_control", "toolset_name"]),
];

/// Block types of tool search.
static SEARCH: &[Kind] = &[
    ("server_tool_use", "assistant", &["id", "name", "input"], &["cache_control", "caller"]),
    ("tool_search_tool_result", "assistant", &["tool_use_id", "content"], &["cache_control"]),
];

/// Block type of compaction.
static COMPACTION: Kind = ("compaction", "assistant", &[], &["content", "cache_control", "signature"]);

/// Block types of system messages, with the beta for changing tools.
static CHANGES: &[Kind] = &[
    ("tool_addition", "system", &["tool"], &["cache_control"]),
    ("tool_removal", "system", &["tool"], &["cache_control"]),
];

/// Maximum width and height of an image, in pixels.
/// <https://platform.claude.com/docs/en/build-with-claude/vision>
const MAX_IMAGE_SIDE_PIXELS: u32 = 8_000;

/// Checks the top-level system prompt.
pub(super) fn system(request: &Request<'_>) -> ValidationResult {
    match request.members.get("system") {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(Value::Array(blocks)) => blocks.iter().enumerate().try_for_each(|(b, block)| {
            let at = format!("system.{b}");
            if block["type"] != "text" {
                return Err(AwsError::model(format!("{at}.type: Input should be 'text'")));
            }
            let allowed = ["type", "text", "cache_control", "citations"];
            if let Some(key) = keys(block).find(|key| !allowed.contains(key)) {
                return Err(extra_input(&format!("{at}.{key}")));
            }
            match block["text"].as_str() {
                None => Err(AwsError::model(format!("{at}.text: Field required"))),
                Some("") => Err(AwsError::model("system: text content blocks must be non-empty")),
                Some(_) => Ok(()),
            }
        }),
        Some(_) => Err(AwsError::model("system: Input should be a valid list")),
    }
}

fn keys(block: &Value) -> impl Iterator<Item = &str> {
    block.as_object().into_iter().flat_map(Map::keys).map(String::as_str)
}

/// Checks one block of a message.
pub(super) fn check(request: &Request<'_>, role: &str, block: &Value, at: &str) -> ValidationResult {
    let mut kinds: Vec<&Kind> = KINDS.iter().collect();
    if request.supports_tool_search() {
        kinds.extend(SEARCH);
    }
    if request.has_beta("compact-2026-01-12") {
        kinds.push(&COMPACTION);
    }
    if request.has_beta("mid-conversation-tool-changes-2026-07-01") {
        kinds.extend(CHANGES);
    }
    shape(block, &kinds, at)?;
    let kind = block["type"].as_str().unwrap_or_default();
    let expected_role =
        kinds.iter().find(|block_type| block_type.0 == kind).map_or("", |block_type| block_type.1);
    if role == "system" && !matches!(kind, "text" | "tool_addition" | "tool_removal") {
        return Err(AwsError::model(format!("{at}.type: Input should be 'text'")));
    }
    // The old API version accepts documents in assistant messages.
    let misplaced = (kind == "document" && role == "assistant" && request.version == super::Version::V2026)
        || (!expected_role.is_empty() && expected_role != role);
    if misplaced {
        let expected_role = if expected_role.is_empty() { "user" } else { expected_role };
        return Err(AwsError::model(format!(
            "{at}: `{kind}` blocks can only be in `{expected_role}` messages"
        )));
    }
    content(request, block, kind, at)
}

/// Checks the type and the members of a block.
fn shape(block: &Value, kinds: &[&Kind], at: &str) -> ValidationResult {
    let Some(kind) = block["type"].as_str() else {
        return Err(AwsError::model(format!("{at}: Unable to extract tag using discriminator 'type'")));
    };
    let Some((_, _, required, optional)) = kinds.iter().find(|block_type| block_type.0 == kind) else {
        let tags: Vec<String> = kinds.iter().map(|block_type| format!("'{}'", block_type.0)).collect();
        return Err(AwsError::model(format!(
            "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
            tags.join(", ")
        )));
    };
    if let Some(name) = required.iter().find(|name| block.get(**name).is_none_or(Value::is_null)) {
        return Err(AwsError::model(format!("{at}.{kind}.{name}: Field required")));
    }
    let is_member = |key: &str| key == "type" || required.contains(&key) || optional.contains(&key);
    match keys(block).find(|key| !is_member(key)) {
        Some(key) => Err(extra_input(&format!("{at}.{kind}.{key}"))),
        None => Ok(()),
    }
}

fn content(request: &Request<'_>, block: &Value, kind: &str, at: &str) -> ValidationResult {
    match kind {
        "text" => match block["text"].as_str() {
            None => Err(AwsError::model(format!("{at}.text.text: Input should be a valid string"))),
            Some("") => Err(AwsError::model("messages: text content blocks must be non-empty")),
            Some(text) if text.trim().is_empty() => {
                Err(AwsError::model("messages: text content blocks must contain non-whitespace text"))
            }
            Some(_) => Ok(()),
        },
        "image" => image(request, block, at),
        "document" => document(block, at),
        "thinking" => check_signature(block["thinking"].as_str(), block["signature"].as_str(), at),
        "redacted_thinking" if !block["data"].as_str().is_some_and(is_issued_data) => {
            Err(AwsError::model(format!("{at}: Invalid `data` in `redacted_thinking` block")))
        }
        "tool_use" | "server_tool_use" => {
            if !is_valid_tool_use_id(block["id"].as_str().unwrap_or_default()) {
                return Err(invalid_tool_use_id(&format!("{at}.{kind}.id")));
            }
            if !block["input"].is_object() {
                return Err(AwsError::model(format!(
                    "{at}.{kind}.input: Input should be a valid dictionary"
                )));
            }
            Ok(())
        }
        "tool_result" => result(request, block, at),
        _ => Ok(()),
    }
}

fn result(request: &Request<'_>, block: &Value, at: &str) -> ValidationResult {
    static REFERENCE: Kind = ("tool_reference", "", &["tool_name"], &["cache_control"]);
    if !is_valid_tool_use_id(block["tool_use_id"].as_str().unwrap_or_default()) {
        return Err(invalid_tool_use_id(&format!("{at}.tool_result.tool_use_id")));
    }
    if block.get("is_error").is_some_and(|flag| !flag.is_boolean() && !flag.is_null()) {
        return Err(AwsError::model(format!("{at}.tool_result.is_error: Input should be a valid boolean")));
    }
    let inside = ["text", "image", "search_result", "document"];
    let mut kinds: Vec<&Kind> = KINDS.iter().filter(|block_type| inside.contains(&block_type.0)).collect();
    if request.supports_tool_search() {
        kinds.push(&REFERENCE);
    }
    match block.get("content") {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(Value::Array(parts)) => parts.iter().enumerate().try_for_each(|(p, part)| {
            let at = format!("{at}.tool_result.content.{p}");
            shape(part, &kinds, &at)?;
            content(request, part, part["type"].as_str().unwrap_or_default(), &at)
        }),
        Some(_) => Err(AwsError::model(format!("{at}.tool_result.content: Input should be a valid list"))),
    }
}

/// Checks that every tool reference names a tool of the request.
pub(super) fn references(request: &Request<'_>) -> ValidationResult {
    let names: Vec<&str> =
        items(request.body, "tools").iter().filter_map(|tool| tool["name"].as_str()).collect();
    for block in items(request.body, "messages").iter().flat_map(|message| items(message, "content")) {
        let parts = match block["type"].as_str() {
            Some("tool_result") => items(block, "content"),
            Some("tool_search_tool_result") => items(&block["content"], "tool_references"),
            _ => &[],
        };
        for name in parts.iter().filter_map(|part| part["tool_name"].as_str()) {
            if !names.contains(&name) {
                return Err(AwsError::model(format!(
                    "Tool reference '{name}' has no corresponding tool definition"
                )));
            }
        }
    }
    Ok(())
}

/// Type of a source. Bedrock does not fetch URLs and stores no files.
fn source_type<'a>(block: &'a Value, at: &str, kind: &str, accepted: &[&str]) -> Result<&'a str, AwsError> {
    match block["source"]["type"].as_str().unwrap_or_default() {
        "url" => Err(AwsError::model("URL sources not supported")),
        "file" => Err(AwsError::model("File sources not supported")),
        source_type if accepted.contains(&source_type) => Ok(source_type),
        source_type => Err(AwsError::model(format!(
            "{at}.{kind}.source: Input tag '{source_type}' found using 'type' does not match any of the expected tags: {}",
            accepted.iter().map(|tag| format!("'{tag}'")).collect::<Vec<_>>().join(", ")
        ))),
    }
}

fn image(request: &Request<'_>, block: &Value, at: &str) -> ValidationResult {
    if !request.model.has("images") {
        return Err(AwsError::model(format!(
            "'{}' does not support image input.",
            request.model.model_name()
        )));
    }
    source_type(block, at, "image", &["base64"])?;
    let source = &block["source"];
    let media = source["media_type"].as_str().unwrap_or_default();
    let invalid = |text: String| AwsError::model(format!("{at}.image.source.base64{text}"));
    let format = media.strip_prefix("image/").filter(|f| ["jpeg", "png", "gif", "webp"].contains(f));
    let Some(format) = format else {
        return Err(invalid(
            ".media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'".into(),
        ));
    };
    let Some(data) = source["data"].as_str() else {
        return Err(invalid(".data: Field required".into()));
    };
    if data.len() > MAX_IMAGE_BASE64_BYTES {
        return Err(invalid(format!(
            ": image exceeds 5 MB maximum: {} bytes > {MAX_IMAGE_BASE64_BYTES} bytes",
            data.len()
        )));
    }
    let bytes = BASE64.decode(data).map_err(|_| invalid(": Invalid base64 data".into()))?;
    match detect_image_format(data) {
        None => Err(AwsError::model("Could not process image")),
        Some(detected) if detected != format => {
            Err(invalid(format!(": Image does not match the provided media type {media}")))
        }
        Some("png") if max_side(&bytes) > MAX_IMAGE_SIDE_PIXELS => Err(invalid(format!(
            ": At least one of the image dimensions exceed max allowed size: {MAX_IMAGE_SIDE_PIXELS} pixels"
        ))),
        Some(_) => Ok(()),
    }
}

/// The larger of width and height of a PNG, from its first chunk.
fn max_side(png: &[u8]) -> u32 {
    let number = |at: usize| {
        let bytes = png.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    number(16).max(number(20))
}

fn document(block: &Value, at: &str) -> ValidationResult {
    let source = &block["source"];
    let invalid = |text: String| AwsError::model(format!("{at}.document.source.{text}"));
    match source_type(block, at, "document", &["base64", "text", "content"])? {
        "base64" if source["media_type"] != "application/pdf" => {
            Err(invalid("base64.media_type: Input should be 'application/pdf'".into()))
        }
        "base64" => match source["data"].as_str().map(|data| BASE64.decode(data)) {
            Some(Ok(bytes)) if bytes.starts_with(b"%PDF") => Ok(()),
            Some(Ok(_)) => Err(AwsError::model("The PDF specified was not valid.")),
            Some(Err(_)) => Err(invalid("base64: Invalid base64 data".into())),
            None => Err(invalid("base64.data: Field required".into())),
        },
        "text" if source["media_type"] != "text/plain" => {
            Err(invalid("text.media_type: Input should be 'text/plain'".into()))
        }
        "text" if !source["data"].is_string() => Err(invalid("text.data: Field required".into())),
        "content" if !source["content"].is_string() && !source["content"].is_array() => {
            Err(invalid("content.content: Field required".into()))
        }
        _ => Ok(()),
    }
}
