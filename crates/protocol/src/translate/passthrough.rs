//! Usage of responses that are forwarded unchanged, for the Bedrock Runtime API.
//!
//! The bytes are AWS's own, so the usage is read where AWS states it, and nowhere else: in the member `usage` at the top
//! of a Converse document, in `metadata` frames of ConverseStream, in the response headers of InvokeModel, and in
//! `chunk` frames of InvokeModelWithResponseStream. Text that a model wrote is never searched: a client can make a model
//! write any text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::MappedError;
use super::error::anthropic_error::{ErrorBody, map_error_body};
use super::error::frame_error;
use super::fast_path::{self, DeltaShape};
use super::from_converse::{End, Outcome, converse_usage};
use super::from_invoke::decode_chunk;
use crate::anthropic::{CacheCreation, PartialUsage, ServiceTier, Usage};
use crate::converse::event::{self, Event, TokenUsage};
use crate::converse::{FrameDecoder, FrameKind};
use crate::json::{JsonStr, RawJson};
use crate::json_edit::items;

/// Largest document that is translated, or read for its usage, in bytes. The longest outputs of today's models are below
/// 1 MB.
pub const MAX_DOCUMENT_BYTES: usize = 32 << 20;

/// Observer of the bytes of one response.
#[derive(Debug)]
pub struct UsageObserver {
    source: Source,
    usage: Option<Usage>,
    stop_reason: Option<String>,
    output_bytes: u64,
    complete: bool,
    error: Option<MappedError>,
}

/// What the bytes are.
#[derive(Debug)]
enum Source {
    ConverseDocument(Document),
    ConverseFrames(FrameDecoder),
    InvokeDocument(Document),
    InvokeFrames { frames: FrameDecoder, json: Vec<u8>, counts: Option<Usage> },
}

/// Document collected so far.
#[derive(Debug, Default)]
struct Document {
    bytes: Vec<u8>,
    too_large: bool,
}

/// Result of a response that was forwarded unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedResponse {
    /// How the response ended.
    pub outcome: Outcome,
    /// Tokens, when AWS stated them.
    pub usage: Option<Usage>,
    /// Stop reason as the upstream API names it.
    pub stop_reason: Option<String>,
    /// Bytes of text, thinking and tool arguments that were forwarded. Of a document that did not end, all its bytes.
    pub output_bytes: u64,
    /// Error inside the response.
    pub error: Option<MappedError>,
}

impl UsageObserver {
    /// Observer of a Converse document.
    #[must_use]
    pub fn converse() -> Self {
        Self::new(Source::ConverseDocument(Document::default()), None)
    }

    /// Observer of ConverseStream frames.
    #[must_use]
    pub fn converse_stream() -> Self {
        Self::new(Source::ConverseFrames(FrameDecoder::default()), None)
    }

    /// Observer of an InvokeModel document. `counts` are those of the response headers; the document only has how
    /// long the tokens written to the cache are kept. Without headers its own `usage` counts.
    #[must_use]
    pub fn invoke_model(counts: Option<Usage>) -> Self {
        let observer = Self::new(Source::InvokeDocument(Document::default()), counts);
        Self { complete: counts.is_some(), ..observer }
    }

    /// Observer of InvokeModelWithResponseStream frames.
    #[must_use]
    pub fn invoke_model_stream() -> Self {
        let (frames, json) = (FrameDecoder::default(), Vec::new());
        Self::new(Source::InvokeFrames { frames, json, counts: None }, None)
    }

    fn new(source: Source, usage: Option<Usage>) -> Self {
        Self { source, usage, stop_reason: None, output_bytes: 0, complete: false, error: None }
    }

    /// Takes the next bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self { source, usage, stop_reason, output_bytes, complete, error } = self;
        let mut seen = Seen { usage, stop_reason, output_bytes, complete, error };
        match source {
            Source::ConverseDocument(document) | Source::InvokeDocument(document) => {
                document.push(bytes);
                *seen.output_bytes += bytes.len() as u64;
            }
            Source::ConverseFrames(frames) => seen.converse_frames(frames, bytes),
            Source::InvokeFrames { frames, json, counts } => seen.invoke_frames(frames, json, counts, bytes),
        }
    }

    /// Bytes of output that were forwarded so far.
    #[must_use]
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes
    }

    /// Ends the observation. `end` is the reason why no more bytes come.
    #[must_use]
    pub fn finish(mut self, end: &End) -> ObservedResponse {
        match std::mem::replace(&mut self.source, Source::ConverseFrames(FrameDecoder::default())) {
            Source::ConverseDocument(document) if *end == End::Eof => self.converse_document(&document),
            Source::InvokeDocument(document) if *end == End::Eof => self.invoke_document(&document),
            Source::InvokeFrames { counts, .. } => {
                self.usage = match (self.usage, counts) {
                    // Only the model's usage has the lifetimes of the cache.
                    (Some(metrics), Some(counts)) => {
                        let larger =
                            if counts.total_tokens() > metrics.total_tokens() { counts } else { metrics };
                        // An interrupted model states its output in the metrics only.
                        let output_tokens = counts.output_tokens.max(metrics.output_tokens);
                        Some(with_split(Usage { output_tokens, ..larger }, counts.cache_creation))
                    }
                    (metrics, counts) => metrics.or(counts),
                };
            }
            Source::ConverseDocument(_) | Source::InvokeDocument(_) | Source::ConverseFrames(_) => {}
        }
        let outcome = match (&self.error, end) {
            (None, _) if self.complete => Outcome::Finished,
            (_, End::Cancelled) => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        let Self { usage, stop_reason, output_bytes, error, .. } = self;
        ObservedResponse { outcome, usage, stop_reason, output_bytes, error }
    }

    fn converse_document(&mut self, document: &Document) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ConverseDocument<'a> {
            #[serde(borrow, default)]
            output: Option<&'a RawValue>,
            #[serde(borrow, default)]
            stop_reason: Option<JsonStr<'a>>,
            #[serde(borrow, default)]
            usage: Option<&'a RawValue>,
            #[serde(borrow, default)]
            service_tier: Option<&'a RawValue>,
        }

        let Some(fields) = document.read::<ConverseDocument<'_>>() else {
            self.complete = document.too_large;
            return;
        };
        self.complete = true;
        self.stop_reason = fields.stop_reason.map(|reason| reason.0.into_owned());
        let tier: Option<crate::converse::request::ServiceTier> = read(fields.service_tier);
        let service_tier = tier.and_then(|tier| ServiceTier::from_bedrock(&tier.r#type));
        let usage: Option<TokenUsage> = read(fields.usage);
        self.usage = usage.map(|usage| Usage { service_tier, ..converse_usage(&usage) });
        if let Some(bytes) = fields.output.and_then(converse_output_bytes) {
            self.output_bytes = bytes;
        }
    }

    fn invoke_document(&mut self, document: &Document) {
        #[derive(Deserialize)]
        struct InvokeDocument<'a> {
            #[serde(borrow, default)]
            content: Option<&'a RawValue>,
            #[serde(borrow, default)]
            stop_reason: Option<&'a RawValue>,
            #[serde(borrow, default)]
            usage: Option<&'a RawValue>,
        }

        let Some(fields) = document.read::<InvokeDocument<'_>>() else {
            self.complete |= document.too_large;
            return;
        };
        self.complete = true;
        self.stop_reason = read(fields.stop_reason);
        let stated: Option<PartialUsage> = read(fields.usage);
        self.usage = match (self.usage, stated) {
            (Some(counts), Some(stated)) => {
                Some(with_split(counts, stated.cache_creation.unwrap_or_default()))
            }
            (Some(counts), None) => Some(with_split(counts, CacheCreation::default())),
            (None, Some(stated)) if stated.input_tokens.is_some() => {
                let mut usage = Usage::default();
                usage.update(&stated);
                Some(usage)
            }
            // Amazon's models write their usage as Converse does.
            (None, _) => read::<TokenUsage>(fields.usage).map(|usage| converse_usage(&usage)),
        };
        if let Some(content) = fields.content {
            self.output_bytes = content.get().len() as u64;
        }
    }
}

impl Document {
    fn push(&mut self, bytes: &[u8]) {
        if self.too_large || self.bytes.len() + bytes.len() > MAX_DOCUMENT_BYTES {
            self.too_large = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn read<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_slice(&self.bytes).ok()
    }
}

fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

/// What the frames of one response have stated so far.
struct Seen<'o> {
    usage: &'o mut Option<Usage>,
    stop_reason: &'o mut Option<String>,
    output_bytes: &'o mut u64,
    complete: &'o mut bool,
    error: &'o mut Option<MappedError>,
}

/// Event of a model in a `chunk` frame, as far as its usage needs it.
#[derive(Deserialize)]
struct ChunkEvent<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    delta: Option<ChunkDelta<'a>>,
    #[serde(default)]
    usage: Option<PartialUsage>,
    #[serde(default)]
    message: Option<ChunkMessage>,
    #[serde(default)]
    error: Option<ErrorBody>,
    #[serde(default, rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<InvocationMetrics>,
}

#[derive(Deserialize)]
struct ChunkDelta<'a> {
    #[serde(borrow, default)]
    text: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    thinking: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<JsonStr<'a>>,
}

#[derive(Deserialize)]
struct ChunkMessage {
    #[serde(default)]
    usage: Option<PartialUsage>,
}

/// Bedrock's own counts, beside the last event of a model.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InvocationMetrics {
    input_token_count: u64,
    output_token_count: u64,
    cache_read_input_token_count: u64,
    cache_write_input_token_count: u64,
}

impl Seen<'_> {
    fn converse_frames(&mut self, frames: &mut FrameDecoder, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        frames.feed(bytes);
        loop {
            let frame = match frames.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => frame,
                Err(error) => return *self.error = Some(error.into()),
            };
            if let FrameKind::Event(kind) = frame.kind {
                // A payload of another shape has no usage.
                if let Ok(event) = Event::parse(kind, frame.payload) {
                    self.converse_event(event);
                }
            } else if let Some(error) = frame_error(&frame) {
                return *self.error = Some(error);
            }
        }
    }

    fn converse_event(&mut self, event: Event<'_>) {
        match event {
            Event::ContentBlockDelta(event) => {
                let event::ContentBlockDelta { text, tool_use, reasoning_content, citation: _ } = event.delta;
                let reasoning = reasoning_content.and_then(|reasoning| reasoning.text);
                let pieces = [text, tool_use.map(|tool| tool.input), reasoning];
                self.add_output(pieces.iter().flatten().map(|piece| piece.len()).sum());
            }
            Event::MessageStop(stop) => {
                *self.stop_reason = Some(stop.stop_reason.0.into_owned());
                *self.complete = true;
            }
            Event::Metadata(metadata) => {
                let tier = metadata.service_tier.as_ref();
                let service_tier = tier.and_then(|tier| ServiceTier::from_bedrock(&tier.r#type));
                self.state(Usage { service_tier, ..converse_usage(&metadata.usage) });
                *self.complete = true;
            }
            Event::MessageStart
            | Event::ContentBlockStart(_)
            | Event::ContentBlockStop(_)
            | Event::Unknown(_) => {}
        }
    }

    fn invoke_frames(
        &mut self,
        frames: &mut FrameDecoder,
        json: &mut Vec<u8>,
        counts: &mut Option<Usage>,
        bytes: &[u8],
    ) {
        if self.error.is_some() {
            return;
        }
        frames.feed(bytes);
        loop {
            let frame = match frames.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => frame,
                Err(error) => return *self.error = Some(error.into()),
            };
            if frame.kind == FrameKind::Event("chunk") {
                // A chunk of another shape has no usage.
                if decode_chunk(frame.payload, json).is_ok() {
                    self.chunk(json, counts);
                }
            } else if let Some(error) = frame_error(&frame) {
                *self.error = Some(error);
            }
            if self.error.is_some() {
                return;
            }
        }
    }

    fn chunk(&mut self, json: &[u8], counts: &mut Option<Usage>) {
        let Ok(text) = std::str::from_utf8(json) else { return };
        if let Some(DeltaShape::Text(text)) = fast_path::delta_shape(text) {
            return self.add_output(text.len());
        }
        let Ok(event) = serde_json::from_str::<ChunkEvent<'_>>(text) else { return };
        if let Some(delta) = &event.delta {
            let pieces = [&delta.text, &delta.thinking, &delta.partial_json];
            self.add_output(pieces.into_iter().flatten().map(|piece| piece.len()).sum());
            if let Some(reason) = &delta.stop_reason {
                *self.stop_reason = Some(reason.to_string());
            }
        }
        if let Some(stated) = event.usage.or(event.message.and_then(|message| message.usage)) {
            counts.get_or_insert_default().update(&stated);
        }
        if let Some(metrics) = &event.metrics {
            self.state(Usage {
                input_tokens: metrics.input_token_count,
                output_tokens: metrics.output_token_count,
                cache_read_input_tokens: metrics.cache_read_input_token_count,
                cache_creation_input_tokens: metrics.cache_write_input_token_count,
                ..Usage::default()
            });
            *self.complete = true;
        }
        match event.kind.as_deref() {
            Some("message_stop") => *self.complete = true,
            Some("error") => *self.error = Some(map_error_body(event.error.unwrap_or_default())),
            Some(_) => {}
            // Events of other models have no type; all of one is taken for output.
            None => self.add_output(json.len()),
        }
    }

    fn add_output(&mut self, bytes: usize) {
        *self.output_bytes += bytes as u64;
    }

    /// Of several usages the largest counts.
    fn state(&mut self, usage: Usage) {
        if self.usage.is_none_or(|known| known.total_tokens() <= usage.total_tokens()) {
            *self.usage = Some(usage);
        }
    }
}

/// The same counts, with the part of the tokens written to the cache that is kept for an hour.
fn with_split(usage: Usage, split: CacheCreation) -> Usage {
    let written = usage.cache_creation_input_tokens;
    let for_an_hour = split.ephemeral_1h_input_tokens.min(written);
    let cache_creation = CacheCreation {
        ephemeral_5m_input_tokens: written - for_an_hour,
        ephemeral_1h_input_tokens: for_an_hour,
    };
    Usage { cache_creation, ..usage }
}

/// Length of the content of a Converse document.
fn converse_output_bytes(output: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Output<'a> {
        #[serde(borrow)]
        message: Message<'a>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: RawJson<'a>,
    }
    let output: Output<'_> = read(Some(output))?;
    Some(items(output.message.content).iter().map(|block| block.get().len() as u64).sum())
}
