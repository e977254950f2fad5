//! The shape of a request in the debug log, for `AWS_BEDROCK_DEBUG`: counts and reasons, never content.

use bytes::Bytes;
use protocol::anthropic::Request;
use protocol::anthropic::request::{Block, Content};
use protocol::translate::{UnsupportedFeature, UnsupportedField};

use super::request::UpstreamRequest;
use crate::ids::RequestId;

/// Block types that are counted separately.
const BLOCK_TYPES: [&str; 5] = ["text", "image", "document", "tool_use", "tool_result"];
/// A longer path may hold content: clients choose names.
const MAX_PATH_LEN: usize = 80;

/// A request as it came.
pub(super) fn request(id: &RequestId, body: &Bytes, betas: &[String], request: &Request<'_>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let all = || {
        let messages = request.messages.iter().flat_map(|messages| messages.iter());
        messages.filter_map(|message| message.content.as_ref()).flat_map(blocks)
    };
    let [text, image, document, tool_use, tool_result] =
        BLOCK_TYPES.map(|name| all().filter(|block| block.kind.as_deref() == Some(name)).count());
    tracing::debug!(
        request_id = %id,
        bytes = body.len(),
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
        betas = betas.len(),
        max_tokens = request.max_tokens,
        thinking = request.thinking.is_some(),
        "request received",
    );
}

/// The blocks of a content; plain text has none.
fn blocks<'r, 'a>(content: &'r Content<'a>) -> impl Iterator<Item = &'r Block<'a>> {
    let blocks = match content {
        Content::Blocks(blocks) => Some(blocks),
        Content::Text(_) | Content::Object(_) => None,
    };
    blocks.into_iter().flat_map(|blocks| blocks.iter())
}

/// A request as it is sent, with its notices: they name fields and reasons.
pub(super) fn upstream_request(id: &RequestId, upstream: &UpstreamRequest) {
    tracing::debug!(
        request_id = %id,
        upstream_api = upstream.operation.api(),
        operation = ?upstream.operation,
        why = upstream.reason,
        model = upstream.model_id,
        bytes = upstream.request.body().len(),
        notices = upstream.notices.len(),
        "upstream API chosen",
    );
    for notice in &upstream.notices {
        tracing::debug!(request_id = %id, %notice, "request changed");
    }
}

/// Fields that Converse cannot carry. The first path is logged only if it cannot be a sentence.
pub(super) fn unsupported_fields(fields: &[UnsupportedField]) {
    let is_plain = |path: &&str| {
        path.len() <= MAX_PATH_LEN && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b))
    };
    let first = fields.first().map(|field| field.path.as_str()).filter(is_plain);
    tracing::debug!(fields = fields.len(), first, "Converse cannot carry all fields of the request");
}

/// The kind of an unsupported feature, for metrics.
pub(super) fn feature_kind(feature: &UnsupportedFeature) -> &'static str {
    match feature {
        UnsupportedFeature::Beta(_) | UnsupportedFeature::UnprovenBeta(_) => "beta",
        UnsupportedFeature::Field(_) | UnsupportedFeature::Display(_) => "member",
        UnsupportedFeature::Schema(_) => "schema",
        UnsupportedFeature::AllBetas | UnsupportedFeature::Betas(_) => "betas",
        UnsupportedFeature::OnDemandThroughput => "profile",
        UnsupportedFeature::ToolStreaming => "streaming_tools",
    }
}
