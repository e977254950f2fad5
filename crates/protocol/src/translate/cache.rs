//! `cache_control` on a block into a `cachePoint` after it.

use super::JsonPath;
use super::to_converse::ConverseRequestBuilder;
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::CacheControl;
use crate::capabilities::PromptCache;
use crate::converse::request::{CachePoint, ContentBlock, Message};

/// How many places a request may end a cached prefix at; Anthropic's limit and Bedrock's.
const MAX_POINTS: usize = 4;

impl ConverseRequestBuilder<'_> {
    /// The cache point that the request asks for as a whole: Bedrock has no automatic caching.
    pub(super) fn automatic_point(
        &mut self,
        control: Option<CacheControl<'_>>,
    ) -> Result<Option<CachePoint>, InvalidRequest> {
        let path = JsonPath::ROOT.key("cache_control");
        let point = self.cache_point(control, path)?;
        if point.is_some() {
            self.diagnostics.adjusted(path, "sent as one cache point at the end of the conversation");
        }
        Ok(point)
    }

    /// Leaves out the cache points beside tool content when the model takes none there.
    pub(super) fn no_points_beside_tools(&mut self, content: &mut Vec<ContentBlock<'_>>, path: JsonPath<'_>) {
        let is_point = |block: &ContentBlock<'_>| matches!(block, ContentBlock::CachePoint(_));
        let is_tool = |block: &ContentBlock<'_>| {
            matches!(block, ContentBlock::ToolUse(_) | ContentBlock::ToolResult(_))
        };
        if self.capabilities.cache_with_tools || !content.iter().any(is_tool) || !content.iter().any(is_point)
        {
            return;
        }
        self.diagnostics
            .adjusted(path, "cache points left out: the model takes none beside tool calls and results");
        content.retain(|block| !is_point(block));
    }

    /// The cache point that `control` asks for, when the model takes one.
    pub(super) fn cache_point(
        &mut self,
        control: Option<CacheControl<'_>>,
        path: JsonPath<'_>,
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
            self.diagnostics.adjusted(path.key("scope"), "left out: Bedrock keeps one cache for the account");
        }
        self.diagnostics.unknown_fields(path, control.left_over());

        self.cache_markers += 1;
        if self.capabilities.prompt_cache == PromptCache::None {
            self.diagnostics.adjusted(path, "left out: the model takes no cache points");
            return Ok(None);
        }
        if ttl == Some("1h") && self.capabilities.prompt_cache == PromptCache::FiveMinutes {
            self.diagnostics.adjusted(path.key("ttl"), "left out: the model caches for five minutes only");
        }
        // A model that knows one lifetime refuses to be told which.
        let ttl = ttl.filter(|_| self.capabilities.prompt_cache == PromptCache::OneHour);
        Ok(Some(CachePoint { r#type: "default", ttl }))
    }

    /// Refuses a request with more markers than the API allows.
    pub(super) fn check_cache_markers(&self) -> Result<(), InvalidRequest> {
        if self.cache_markers <= MAX_POINTS {
            return Ok(());
        }
        let message = format!(
            "A maximum of {MAX_POINTS} blocks with cache_control may be provided. Found {}.",
            self.cache_markers
        );
        Err(InvalidRequest::new("", message))
    }
}

/// Puts a cache point behind the last block that can be cached, unless there is one.
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
