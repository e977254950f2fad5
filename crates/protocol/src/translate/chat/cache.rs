//! Cache points for clients that set none: OpenAI's models cache by themselves, Claude models at cache points only.
//!
//! Behind the tools, behind the system prompt, and behind the last two turns of the user: the last one is written, the
//! one before is what the previous request wrote. See
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html>.

use crate::anthropic::request::{Block, CacheControl, Content, InputMessage, Request};
use crate::capabilities::{Capabilities, PromptCache};
use crate::json::JsonStr;
use crate::translate::diagnostics::{Diagnostics, JsonPath};

/// Number of user turns that end a prefix.
const TURNS: usize = 2;
/// Bytes that make a token, at the least.
const BYTES: usize = 2;
/// Assumed size of an image or a document, whose bytes are unrelated to its tokens.
const MEDIUM: usize = 3_000;
/// A prefix shorter than this is not cached by any model whose own minimum is not known.
const USUAL_MINIMUM: u64 = 1024;

/// Sets the points, unless the client has set some or the model takes none.
pub(super) fn set_points(
    request: &mut Request<'_>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) {
    if capabilities.prompt_cache == PromptCache::None || is_marked(request) {
        return;
    }
    let minimum = capabilities.min_cache_tokens.unwrap_or(USUAL_MINIMUM);
    let minimum = usize::try_from(minimum).unwrap_or(usize::MAX).saturating_mul(BYTES);
    let with_tools = capabilities.cache_with_tools;
    let (mut bytes, mut points) = (0, 0);

    let tools = request.tools.as_mut().map_or(&mut [][..], |tools| &mut tools.0);
    for tool in &*tools {
        let schema = tool.input_schema.map_or(0, |schema| schema.get().len());
        bytes += length(tool.name.as_deref()) + length(tool.description.as_deref()) + schema;
    }
    if let Some(last) = tools.last_mut().filter(|_| with_tools && bytes >= minimum) {
        last.cache_control = Some(point());
        points += 1;
    }
    if let Some(Content::Blocks(blocks)) = &mut request.system {
        bytes += blocks.iter().map(weight).sum::<usize>();
        points += usize::from(bytes >= minimum && mark(&mut blocks.0));
    }
    points += turns(request, bytes, minimum, with_tools);
    if points > 0 {
        let what = format!("not given; set by the proxy at {points} places (AWS_BEDROCK_AUTO_CACHE)");
        diagnostics.adjusted(JsonPath::ROOT.key("cache_control"), what);
    }
}

/// Marks the last turns of the user; `before` is how many bytes stand in front of the conversation.
fn turns(request: &mut Request<'_>, before: usize, minimum: usize, with_tools: bool) -> usize {
    let messages = request.messages.as_mut().map_or(&mut [][..], |messages| &mut messages.0);
    let mut bytes = before + messages.iter().map(weight_of).sum::<usize>();
    let (mut points, mut seen) = (0, 0);
    for message in messages.iter_mut().rev() {
        if seen == TURNS || bytes < minimum {
            break;
        }
        let own = weight_of(message);
        if let (Some("user"), Some(Content::Blocks(blocks))) = (message.role.as_deref(), &mut message.content)
        {
            seen += 1;
            if with_tools || !blocks.iter().any(is_result) {
                points += usize::from(mark(&mut blocks.0));
            }
        }
        bytes -= own;
    }
    points
}

/// Whether the client has set a point of its own.
fn is_marked(request: &Request<'_>) -> bool {
    let in_blocks = |content: &Content<'_>| match content {
        Content::Blocks(blocks) => blocks.iter().any(|block| block.cache_control.is_some()),
        Content::Text(_) | Content::Object(_) => false,
    };
    request.system.as_ref().is_some_and(in_blocks)
        || request.tools.iter().any(|tools| tools.iter().any(|tool| tool.cache_control.is_some()))
        || request
            .messages
            .iter()
            .any(|messages| messages.iter().filter_map(|message| message.content.as_ref()).any(in_blocks))
}

/// Marks the last block that can be; blank text cannot.
fn mark(blocks: &mut [Block<'_>]) -> bool {
    let can_be = |block: &&mut Block<'_>| block.text.as_ref().is_none_or(|text| !text.is_blank());
    let last = blocks.iter_mut().rev().find(can_be);
    last.is_some_and(|block| block.cache_control.replace(point()).is_none())
}

fn point() -> CacheControl<'static> {
    CacheControl { kind: Some(JsonStr::from("ephemeral")), ..CacheControl::default() }
}

fn is_result(block: &Block<'_>) -> bool {
    block.tool_use_id.is_some()
}

fn length(text: Option<&str>) -> usize {
    text.map_or(0, str::len)
}

fn weight_of(message: &InputMessage<'_>) -> usize {
    message.content.as_ref().map_or(0, weight_of_content)
}

fn weight_of_content(content: &Content<'_>) -> usize {
    match content {
        Content::Text(text) => text.len(),
        Content::Blocks(blocks) => blocks.iter().map(weight).sum(),
        Content::Object(_) => 0,
    }
}

fn weight(block: &Block<'_>) -> usize {
    let medium = if block.source.is_some() { MEDIUM } else { 0 };
    let inside = block.content.as_ref().map_or(0, weight_of_content);
    let input = block.input.map_or(0, |input| input.get().len());
    let text = block.text.as_ref().map_or(0, |text| text.text().len());
    medium + inside + input + text + length(block.name.as_deref())
}
