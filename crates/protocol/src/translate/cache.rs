//! `cache_control` on a block → `cachePoint` after it.

use super::diagnostics::{Diagnostics, JsonPath};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::CacheControl;
use crate::capabilities::{Capabilities, PromptCache};
use crate::converse::request::{CachePoint, ContentBlock, Message};

/// Maximum of cache points of a request, by Anthropic and by Bedrock.
const MAX_POINTS: usize = 4;

/// Counter of the cache markers of a request.
#[derive(Debug, Default)]
pub(super) struct CacheMarkers(usize);

impl CacheMarkers {
    /// Counts a marker that stays as the client wrote it.
    pub(super) fn count(&mut self) {
        self.0 += 1;
    }

    /// Cache point for the marker `control`, when the model takes one.
    ///
    /// # Errors
    /// When the marker is not valid.
    pub(super) fn point(
        &mut self,
        control: Option<CacheControl<'_>>,
        path: JsonPath<'_>,
        capabilities: &Capabilities,
        diagnostics: &mut Diagnostics,
    ) -> Result<Option<CachePoint>, InvalidRequest> {
        let Some(mut control) = control else {
            return Ok(None);
        };
        match control.kind.take().as_deref() {
            Some("ephemeral") => {}
            None => return Err(InvalidRequest::new(path.key("type"), "Field required")),
            Some(_) => {
                return Err(InvalidRequest::new(path.key("type"), "Input should be 'ephemeral'"));
            }
        }
        let ttl = match control.ttl.take().as_deref() {
            None => None,
            Some("5m") => Some("5m"),
            Some("1h") => Some("1h"),
            Some(_) => {
                return Err(InvalidRequest::new(path.key("ttl"), "Input should be '5m' or '1h'"));
            }
        };
        if control.scope.take().is_some() {
            diagnostics.adjusted(path.key("scope"), "left out: Bedrock keeps one cache for the account");
        }
        diagnostics.unknown_fields(path, control.left_over());

        self.count();
        if capabilities.prompt_cache == PromptCache::None {
            diagnostics.adjusted(path, "left out: the model does not support cache points");
            return Ok(None);
        }
        if ttl == Some("1h") && capabilities.prompt_cache == PromptCache::FiveMinutes {
            diagnostics.adjusted(path.key("ttl"), "left out: the model caches for five minutes only");
        }
        // A model with one lifetime rejects a request that names it.
        let ttl = ttl.filter(|_| capabilities.prompt_cache == PromptCache::OneHour);
        Ok(Some(CachePoint { r#type: "default", ttl }))
    }

    /// Cache point for automatic caching, which Bedrock does not have.
    ///
    /// # Errors
    /// When the marker is not valid.
    pub(super) fn automatic_point(
        &mut self,
        control: Option<CacheControl<'_>>,
        capabilities: &Capabilities,
        diagnostics: &mut Diagnostics,
    ) -> Result<Option<CachePoint>, InvalidRequest> {
        let path = JsonPath::ROOT.key("cache_control");
        let point = self.point(control, path, capabilities, diagnostics)?;
        if point.is_some() {
            diagnostics.adjusted(path, "sent as one cache point at the end of the conversation");
        }
        Ok(point)
    }

    /// Rejects a request with more markers than the API allows.
    ///
    /// # Errors
    /// When there are more.
    pub(super) fn check(&self) -> Result<(), InvalidRequest> {
        if self.0 <= MAX_POINTS {
            return Ok(());
        }
        let message =
            format!("A maximum of {MAX_POINTS} blocks with cache_control may be provided. Found {}.", self.0);
        Err(InvalidRequest::new("", message))
    }
}

/// Leaves out cache points beside tool content when the model takes none there.
pub(super) fn remove_points_beside_tools(
    content: &mut Vec<ContentBlock<'_>>,
    path: JsonPath<'_>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) {
    let is_point = |block: &ContentBlock<'_>| matches!(block, ContentBlock::CachePoint(_));
    let is_tool =
        |block: &ContentBlock<'_>| matches!(block, ContentBlock::ToolUse(_) | ContentBlock::ToolResult(_));
    if capabilities.cache_with_tools || !content.iter().any(is_tool) || !content.iter().any(is_point) {
        return;
    }
    diagnostics.adjusted(path, "cache points left out: the model takes none beside tool calls and results");
    content.retain(|block| !is_point(block));
}

/// Adds a cache point after the last block that can be cached, unless there is one.
pub(super) fn close_prefix<'m, 'a: 'm>(
    messages: impl DoubleEndedIterator<Item = &'m mut Message<'a>>,
    point: CachePoint,
) {
    let cacheable = |block: &ContentBlock<'_>| {
        !matches!(block, ContentBlock::ReasoningContent(_) | ContentBlock::CachePoint(_))
    };
    for message in messages.rev() {
        let Some(last) = message.content.iter().rposition(cacheable) else {
            continue;
        };
        if !matches!(message.content.get(last + 1), Some(ContentBlock::CachePoint(_))) {
            message.content.insert(last + 1, ContentBlock::CachePoint(point));
        }
        return;
    }
}
