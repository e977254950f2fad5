//! What a request looks like and what was decided about it, for `AWS_BEDROCK_DEBUG`: shapes, counts and reasons, never a
//! word that a client or a model wrote.

use protocol::anthropic::Request;
use protocol::anthropic::request::{Block, Content};
use protocol::translate::UnsupportedField;

use super::call::{Asked, Call};
use crate::ids::RequestId;

/// Kinds of blocks that are counted by themselves.
const KINDS: [&str; 5] = ["text", "image", "document", "tool_use", "tool_result"];

const LONGEST_PATH: usize = 80;

/// What arrived.
pub(super) fn request(id: &RequestId, asked: &Asked, request: &Request<'_>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let all = || {
        let messages = request.messages.iter().flat_map(|messages| messages.iter());
        messages.filter_map(|message| message.content.as_ref()).flat_map(blocks)
    };
    let [text, image, document, tool_use, tool_result] =
        KINDS.map(|kind| all().filter(|block| block.kind.as_deref() == Some(kind)).count());
    tracing::debug!(
        request_id = %id,
        bytes = asked.body.len(),
        messages = request.messages.as_ref().map_or(0, |messages| messages.len()),
        blocks = all().count(),
        text,
        image,
        document,
        tool_use,
        tool_result,
        system_blocks = request.system.iter().flat_map(blocks).count(),
        tools = request.tools.as_ref().map_or(0, |tools| tools.len()),
        cache_points = all().filter(|block| block.cache_control.is_some()).count(),
        betas = asked.betas.len(),
        max_tokens = request.max_tokens,
        thinking = request.thinking.is_some(),
        "a request has arrived",
    );
}

/// The blocks of a content that has some; plain text has none.
fn blocks<'r, 'a>(content: &'r Content<'a>) -> impl Iterator<Item = &'r Block<'a>> {
    let blocks = match content {
        Content::Blocks(blocks) => Some(blocks),
        Content::Text(_) | Content::Object(_) => None,
    };
    blocks.into_iter().flat_map(|blocks| blocks.iter())
}

/// Which way was chosen.
pub(super) fn route(id: &RequestId, call: &Call) {
    tracing::debug!(
        request_id = %id,
        upstream_api = call.route.as_str(),
        operation = ?call.operation,
        why = call.why,
        model = call.model_id,
        bytes = call.body.len(),
        notices = call.notices.len(),
        betas = call.betas.len(),
        "the route is chosen",
    );
}

/// What Converse would have lost. Of the first place only as much as can be no sentence: a client makes names up, too.
pub(super) fn losses(losses: &[UnsupportedField]) {
    let plain = |path: &&str| {
        path.len() <= LONGEST_PATH && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b))
    };
    let first = losses.first().map(|loss| loss.path.as_str()).filter(plain);
    tracing::debug!(losses = losses.len(), first, "Converse cannot carry all of the request");
}
