//! Whether a request is valid as it is: the usual case, for which no text is looked at a second time.

use super::{media, output_schema, schema};
use crate::anthropic::Request;
use crate::anthropic::request::{Block, Content, InputMessage, Tool};
use crate::capabilities::Capabilities;
use crate::json::{JsonStr, JsonText, RawJson};
use crate::translate::tool_names::{is_valid_tool_name, is_valid_tool_use_id};

/// Whether normalization would change nothing.
pub(super) fn is_valid(request: &Request<'_>, capabilities: &Capabilities) -> bool {
    let is_system_valid = match &request.system {
        None | Some(Content::Object(_)) => true,
        Some(Content::Text(text)) => !text.is_blank(),
        Some(Content::Blocks(blocks)) => !blocks.iter().any(is_blank),
    };
    let has_valid_name = |name: &Option<JsonStr<'_>>| name.as_deref().is_none_or(is_valid_tool_name);
    let is_tool_valid = |tool: &Tool<'_>| {
        tool.kind.as_deref().is_some_and(|kind| kind != "custom")
            || (has_valid_name(&tool.name)
                && tool.input_schema.is_none_or(|schema| {
                    let is_held_to_it = tool.strict == Some(true) && capabilities.strict_tools;
                    schema::check(schema, capabilities) == schema::Problem::None
                        && (!is_held_to_it || output_schema::is_valid(schema, true))
                }))
    };
    let format = request.output_config.as_ref().and_then(|config| config.format.as_ref());
    let schemas = format.into_iter().chain(&request.output_format).filter_map(|format| format.schema);
    let are_schemas_valid = !capabilities.structured_output
        || schemas.into_iter().all(|schema| output_schema::is_valid(schema, false));
    let messages = request.messages.as_ref().map_or(&[][..], |messages| messages);
    is_system_valid
        && are_schemas_valid
        && request.tools.iter().flat_map(|tools| tools.iter()).all(is_tool_valid)
        && request.tool_choice.as_ref().is_none_or(|choice| has_valid_name(&choice.name))
        && messages.iter().all(|message| is_message_valid(message, capabilities))
        && are_results_first(messages)
        && !(capabilities.claude && messages.last().is_some_and(ends_with_blanks))
}

/// Whether the model is held to a schema.
pub(super) fn has_schema(request: &Request<'_>) -> bool {
    request.output_format.is_some()
        || request.output_config.as_ref().is_some_and(|config| config.format.is_some())
        || request.tools.iter().flat_map(|tools| tools.iter()).any(|tool| tool.strict == Some(true))
}

fn is_message_valid(message: &InputMessage<'_>, capabilities: &Capabilities) -> bool {
    match &message.content {
        None | Some(Content::Object(_)) => true,
        Some(Content::Text(text)) => !text.is_blank(),
        Some(Content::Blocks(blocks)) => {
            !blocks.is_empty() && blocks.iter().all(|block| is_block_valid(block, capabilities))
        }
    }
}

fn is_block_valid(block: &Block<'_>, capabilities: &Capabilities) -> bool {
    let has_valid_id =
        |id: &Option<JsonStr<'_>>| id.as_deref().is_none_or(|id| is_valid_tool_use_id(id, capabilities));
    match block.kind.as_deref() {
        Some("text") => !is_blank(block),
        Some("tool_use") => {
            has_valid_id(&block.id)
                && block.name.as_deref().is_none_or(is_valid_tool_name)
                && block.input.is_some_and(RawJson::is_object)
        }
        Some("tool_result") => {
            let content = match &block.content {
                Some(Content::Blocks(blocks)) => &blocks[..],
                _ => &[],
            };
            has_valid_id(&block.tool_use_id)
                && content.iter().all(|block| !is_blank(block) && media::is_valid(block))
        }
        _ => media::is_valid(block),
    }
}

fn is_blank(block: &Block<'_>) -> bool {
    block.kind.as_deref() == Some("text") && block.text.as_ref().is_some_and(JsonText::is_blank)
}

/// Whether the tool results of each turn come before everything else in it.
fn are_results_first(messages: &[InputMessage<'_>]) -> bool {
    let mut has_other = false;
    for message in messages {
        if message.role.as_deref() != Some("user") {
            has_other = false;
            continue;
        }
        match &message.content {
            Some(Content::Blocks(blocks)) => {
                for block in blocks.iter() {
                    let is_result = block.kind.as_deref() == Some("tool_result");
                    if is_result && has_other {
                        return false;
                    }
                    has_other |= !is_result;
                }
            }
            _ => has_other = true,
        }
    }
    true
}

/// Whether a prefill ends with white space.
fn ends_with_blanks(message: &InputMessage<'_>) -> bool {
    if message.role.as_deref() != Some("assistant") {
        return false;
    }
    let has_blanks = |text: &str| text.ends_with(char::is_whitespace);
    match &message.content {
        Some(Content::Text(text)) => has_blanks(text),
        Some(Content::Blocks(blocks)) => blocks
            .last()
            .filter(|block| block.kind.as_deref() == Some("text"))
            .and_then(|block| block.text.as_ref())
            .is_some_and(|text| has_blanks(&text.text())),
        _ => false,
    }
}
