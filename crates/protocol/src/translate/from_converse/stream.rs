//! What Bedrock answers, into what the client is told: a state machine that never waits.
//!
//! What it has to know, each a way in which streams have broken elsewhere: text and reasoning have no
//! start event; block numbers may skip; usage comes after the stop; redacted reasoning may come in
//! pieces; a call without arguments may have no delta; a stream may simply end.
//!
//! What comes out is always `message_start (start delta* stop)* message_delta message_stop`, or a
//! beginning of that closed by one `error`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::anthropic::{
    BlockStart, CacheCreation, Citation, Delta, Error, ErrorType, Event, MessageEnd, MessageStart,
    OutputTokensDetails, ServiceTier, Usage,
};
use crate::converse::event::{self, TokenUsage};
use crate::converse::request::{DocumentRange, SearchResultRange};
use crate::event_sink::EventSink;
use crate::tag_buffer::TagBuffer;
use crate::translate::diagnostics::Notice;
use crate::translate::to_converse::VERBATIM;
use crate::translate::{MappedError, ToolNames};

/// How many different notices one answer may cause.
const MAX_NOTICES: usize = 32;

/// What is known before the answer begins.
#[derive(Clone, Debug, Default)]
pub struct StreamContext {
    /// `msg_…`, drawn by the caller.
    pub message_id: String,
    /// The model, as the client called it.
    pub model: String,
    /// Names the request in an `error` event; empty for none.
    pub request_id: String,
    /// The names that the request used.
    pub tool_names: ToolNames,
    /// Whether tags in text are kept whole.
    pub tag_buffer: bool,
}

/// Why no more events come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The upstream ended.
    Eof,
    /// It failed: an exception, a bad frame, a broken connection, a deadline.
    Failed(Error),
    /// The client went away: nobody is there to be told anything.
    Cancelled,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With `message_stop`.
    Finished,
    /// With an `error`.
    Failed,
    /// With the client going away.
    Cancelled,
}

/// What an answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// How it ended.
    pub outcome: Outcome,
    /// What it cost, when Bedrock said so.
    pub usage: Option<Usage>,
    /// Why the model stopped, in Anthropic's words.
    pub stop_reason: Option<String>,
    /// What is worth knowing about the answer.
    pub notices: Vec<Notice>,
}

/// Translates the events of one answer.
#[derive(Debug)]
pub struct StreamTranslator {
    context: StreamContext,
    tags: Option<TagBuffer>,
    started: bool,
    open: Option<Open>,
    next_index: u32,
    called_a_tool: bool,
    stop: Option<Stop>,
    usage: Option<Usage>,
    thinking_tokens: Option<u64>,
    complete: bool,
    failure: Option<MappedError>,
    notices: Vec<Notice>,
}

/// The block that is open towards the client.
#[derive(Debug)]
struct Open {
    upstream: u32,
    index: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Thinking,
    /// Comes whole: bytes are collected and nothing is said before the end.
    Redacted(Vec<u8>),
    ToolUse {
        had_input: bool,
    },
}

#[derive(Debug)]
struct Stop {
    reason: String,
    sequence: Option<String>,
}

impl StreamTranslator {
    /// Begins an answer.
    #[must_use]
    pub fn new(context: StreamContext) -> Self {
        let tags = context.tag_buffer.then(TagBuffer::default);
        Self {
            context,
            tags,
            started: false,
            open: None,
            next_index: 0,
            called_a_tool: false,
            stop: None,
            usage: None,
            thinking_tokens: None,
            complete: false,
            failure: None,
            notices: Vec::new(),
        }
    }

    /// Takes the next event. After the answer is complete or has failed, nothing more comes out.
    pub fn push(&mut self, event: event::Event<'_>, sink: &mut (impl EventSink + ?Sized)) {
        if self.complete || self.failure.is_some() {
            return;
        }
        if let event::Event::Unknown(kind) = event {
            return self.note("event", format!("Bedrock sent an event of the unknown kind `{kind}`"));
        }
        self.start(sink);
        match event {
            event::Event::MessageStart | event::Event::Unknown(_) => {}
            event::Event::ContentBlockStart(start) => self.block_start(start, sink),
            event::Event::ContentBlockDelta(delta) => self.block_delta(delta, sink),
            event::Event::ContentBlockStop(stop) => {
                if self.open.as_ref().is_some_and(|open| open.upstream == stop.content_block_index) {
                    self.close(sink);
                }
            }
            event::Event::MessageStop(stop) => self.message_stop(stop, sink),
            event::Event::Metadata(metadata) => {
                self.metadata(&metadata);
                self.end_if_known(sink);
            }
        }
    }

    /// Whether `message_stop` has been said.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether anything has been said.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// What went wrong in the answer itself. Said to the client by [`finish`](Self::finish).
    #[must_use]
    pub fn failure(&self) -> Option<&MappedError> {
        self.failure.as_ref()
    }

    /// Ends the answer: says what has to be said last, and what it came to.
    pub fn finish(mut self, end: End, sink: &mut (impl EventSink + ?Sized)) -> StreamSummary {
        let failure = match (self.failure.take(), end) {
            _ if self.complete => None,
            (_, End::Cancelled) => return self.summary(Outcome::Cancelled),
            (Some(MappedError { error, .. }), _) | (None, End::Failed(error)) => Some(error),
            (None, End::Eof) if self.stop.is_some() => None,
            (None, End::Eof) => {
                Some(Error::new(ErrorType::Api, "Bedrock ended the answer before it was complete"))
            }
        };
        if let Some(error) = failure {
            self.flush_text(sink);
            let request_id =
                Some(self.context.request_id.as_str()).filter(|id| !id.is_empty()).map(Cow::Borrowed);
            sink.event(&Event::Error { error: Cow::Owned(error), request_id });
            return self.summary(Outcome::Failed);
        }
        if !self.complete {
            self.note("usage", "Bedrock ended the answer without saying what it cost".to_owned());
            self.end(Usage::default(), sink);
        }
        self.summary(Outcome::Finished)
    }

    fn summary(self, outcome: Outcome) -> StreamSummary {
        let stop_reason = self.stop.map(|stop| stop.reason);
        StreamSummary { outcome, usage: self.usage, stop_reason, notices: self.notices }
    }

    fn start(&mut self, sink: &mut (impl EventSink + ?Sized)) {
        if !std::mem::replace(&mut self.started, true) {
            let message = MessageStart::new(&self.context.message_id, &self.context.model);
            sink.event(&Event::MessageStart { message });
        }
    }

    fn block_start(&mut self, start: event::ContentBlockStart<'_>, sink: &mut (impl EventSink + ?Sized)) {
        self.close(sink);
        let Some(tool) = start.start.tool_use else {
            return self.note("content", "Bedrock began a block of an unknown kind".to_owned());
        };
        self.called_a_tool = true;
        let index = self.open(start.content_block_index, Kind::ToolUse { had_input: false });
        let name = self.context.tool_names.original(&tool.name);
        let content_block = BlockStart::ToolUse {
            id: Cow::Borrowed(&tool.tool_use_id),
            name: Cow::Borrowed(name),
            input: crate::anthropic::EmptyObject {},
        };
        sink.event(&Event::ContentBlockStart { index, content_block });
    }

    fn block_delta(&mut self, delta: event::ContentBlockDelta<'_>, sink: &mut (impl EventSink + ?Sized)) {
        let upstream = delta.content_block_index;
        let event::Delta { text, tool_use, reasoning_content, citation } = delta.delta;
        if let Some(text) = text {
            self.text(upstream, &text, sink);
        } else if let Some(tool_use) = tool_use {
            self.tool_input(upstream, &tool_use.input, sink);
        } else if let Some(reasoning) = reasoning_content {
            self.reasoning(upstream, reasoning, sink);
        } else if let Some(citation) = citation {
            self.citation(upstream, *citation, sink);
        } else {
            self.note("content", "Bedrock sent a delta of an unknown kind".to_owned());
        }
    }

    fn text(&mut self, upstream: u32, text: &str, sink: &mut (impl EventSink + ?Sized)) {
        if text.is_empty() {
            return;
        }
        let index = self.open_text(upstream, sink);
        match &mut self.tags {
            Some(tags) => tags.push(text, |text| sink.event(&text_delta(index, text))),
            None => sink.event(&text_delta(index, text)),
        }
    }

    fn citation(
        &mut self,
        upstream: u32,
        citation: event::Citation<'_>,
        sink: &mut (impl EventSink + ?Sized),
    ) {
        let Some(citation) = cited(citation) else {
            return self.note("content", "Bedrock cited a place of an unknown kind".to_owned());
        };
        let index = self.open_text(upstream, sink);
        sink.event(&Event::ContentBlockDelta { index, delta: Delta::CitationsDelta { citation } });
    }

    /// The index of the text block, which begins if it has not.
    fn open_text(&mut self, upstream: u32, sink: &mut (impl EventSink + ?Sized)) -> u32 {
        match self.open_as(upstream, |kind| matches!(kind, Kind::Text)) {
            Some(index) => index,
            None => self.start_block(upstream, Kind::Text, BlockStart::Text { text: "".into() }, sink),
        }
    }

    fn tool_input(&mut self, upstream: u32, input: &str, sink: &mut (impl EventSink + ?Sized)) {
        match &mut self.open {
            Some(Open { upstream: open, index, kind: Kind::ToolUse { had_input } }) if *open == upstream => {
                if !input.is_empty() {
                    *had_input = true;
                    sink.event(&input_delta(*index, input));
                }
            }
            // Arguments without a call: nobody could tell which tool they are for.
            _ => {
                self.failure =
                    Some(MappedError::unreadable("arguments for a tool call that never began".to_owned()));
            }
        }
    }

    fn reasoning(
        &mut self,
        upstream: u32,
        delta: event::ReasoningDelta<'_>,
        sink: &mut (impl EventSink + ?Sized),
    ) {
        if let Some(redacted) = delta.redacted_content {
            return self.redacted(upstream, &redacted, sink);
        }
        let text = delta.text.filter(|text| !text.is_empty());
        let signature = delta.signature.filter(|signature| !signature.is_empty());
        if text.is_none() && signature.is_none() {
            return;
        }
        let index = match self.open_as(upstream, |kind| matches!(kind, Kind::Thinking)) {
            Some(index) => index,
            None => {
                let start = BlockStart::Thinking { thinking: "".into(), signature: "".into() };
                self.start_block(upstream, Kind::Thinking, start, sink)
            }
        };
        if let Some(text) = text {
            sink.event(&Event::ContentBlockDelta { index, delta: Delta::ThinkingDelta { thinking: text.0 } });
        }
        if let Some(signature) = signature {
            sink.event(&Event::ContentBlockDelta {
                index,
                delta: Delta::SignatureDelta { signature: signature.0 },
            });
        }
    }

    fn redacted(&mut self, upstream: u32, base64: &str, sink: &mut (impl EventSink + ?Sized)) {
        let Ok(piece) = STANDARD.decode(base64) else {
            self.failure = Some(MappedError::unreadable("redacted reasoning that is not base64".to_owned()));
            return;
        };
        if self.open_as(upstream, |kind| matches!(kind, Kind::Redacted(_))).is_none() {
            self.close(sink);
            self.open(upstream, Kind::Redacted(Vec::new()));
        }
        if let Some(Open { kind: Kind::Redacted(bytes), .. }) = &mut self.open {
            bytes.extend(piece);
        }
    }

    fn message_stop(&mut self, stop: event::MessageStop<'_>, sink: &mut (impl EventSink + ?Sized)) {
        self.close(sink);
        let reason = match &*stop.stop_reason {
            // Some models call tools and say that their turn is over.
            "end_turn" if self.called_a_tool => "tool_use",
            reason @ ("end_turn"
            | "tool_use"
            | "max_tokens"
            | "stop_sequence"
            | "model_context_window_exceeded") => reason,
            reason @ ("content_filtered" | "guardrail_intervened") => {
                self.note("stop_reason", format!("Bedrock said `{reason}`"));
                "refusal"
            }
            reason @ ("malformed_model_output" | "malformed_tool_use") if self.next_index == 0 => {
                self.failure = Some(MappedError::malformed(reason));
                return;
            }
            reason @ ("malformed_model_output" | "malformed_tool_use") => {
                self.note("stop_reason", format!("Bedrock said `{reason}`"));
                "end_turn"
            }
            unknown => {
                self.note("stop_reason", format!("Bedrock said `{unknown}`, which is passed on as it is"));
                unknown
            }
        };
        let fields = stop.additional_model_response_fields.unwrap_or_default();
        self.thinking_tokens = fields.thinking_tokens();
        let sequence = fields.into_stop_sequence();
        let sequence = sequence.filter(|_| reason == "stop_sequence").map(Cow::into_owned);
        self.stop = Some(Stop { reason: reason.to_owned(), sequence });
        self.end_if_known(sink);
    }

    fn metadata(&mut self, metadata: &event::Metadata) {
        let tier = metadata.service_tier.as_ref().map(|tier| &*tier.r#type);
        let service_tier = tier.and_then(ServiceTier::from_bedrock);
        if let (Some(unknown), None) = (tier, service_tier) {
            self.note("usage", format!("Bedrock used the unknown service tier `{unknown}`"));
        }
        self.usage = Some(Usage { service_tier, ..converse_usage(&metadata.usage) });
    }

    /// Says the end once both the reason and the cost are known; they come in either order.
    fn end_if_known(&mut self, sink: &mut (impl EventSink + ?Sized)) {
        if let (Some(_), Some(mut usage)) = (&self.stop, self.usage) {
            let details = |thinking_tokens| OutputTokensDetails { thinking_tokens };
            usage.output_tokens_details = self.thinking_tokens.map(details);
            self.usage = Some(usage);
            self.end(usage, sink);
        }
    }

    fn end(&mut self, usage: Usage, sink: &mut (impl EventSink + ?Sized)) {
        self.close(sink);
        let (reason, sequence) = match &self.stop {
            Some(stop) => (Some(Cow::Borrowed(&*stop.reason)), stop.sequence.as_deref().map(Cow::Borrowed)),
            None => (None, None),
        };
        let delta = MessageEnd { stop_reason: reason, stop_sequence: sequence };
        sink.event(&Event::MessageDelta { delta, usage });
        sink.event(&Event::MessageStop);
        self.complete = true;
    }

    /// The index of the open block if it is this one.
    fn open_as(&self, upstream: u32, is_kind: impl Fn(&Kind) -> bool) -> Option<u32> {
        let open = self.open.as_ref()?;
        (open.upstream == upstream && is_kind(&open.kind)).then_some(open.index)
    }

    /// Numbers the next block: Bedrock's numbers may skip, the client's may not.
    fn open(&mut self, upstream: u32, kind: Kind) -> u32 {
        let index = self.next_index;
        self.next_index += 1;
        self.open = Some(Open { upstream, index, kind });
        index
    }

    fn start_block(
        &mut self,
        upstream: u32,
        kind: Kind,
        content_block: BlockStart<'_>,
        sink: &mut (impl EventSink + ?Sized),
    ) -> u32 {
        self.close(sink);
        let index = self.open(upstream, kind);
        sink.event(&Event::ContentBlockStart { index, content_block });
        index
    }

    fn close(&mut self, sink: &mut (impl EventSink + ?Sized)) {
        self.flush_text(sink);
        let Some(Open { index, kind, .. }) = self.open.take() else {
            return;
        };
        match kind {
            Kind::Text | Kind::Thinking | Kind::ToolUse { had_input: true } => {}
            // Clients that parse the joined arguments choke on an empty text.
            Kind::ToolUse { had_input: false } => sink.event(&input_delta(index, "{}")),
            Kind::Redacted(bytes) => {
                let content_block = BlockStart::RedactedThinking { data: opaque(bytes).into() };
                sink.event(&Event::ContentBlockStart { index, content_block });
            }
        }
        sink.event(&Event::ContentBlockStop { index });
    }

    fn flush_text(&mut self, sink: &mut (impl EventSink + ?Sized)) {
        if let (Some(tags), Some(Open { index, kind: Kind::Text, .. })) = (&mut self.tags, &self.open) {
            tags.flush(|text| sink.event(&text_delta(*index, text)));
        }
    }

    fn note(&mut self, path: &str, what: String) {
        if self.notices.len() < MAX_NOTICES && !self.notices.iter().any(|notice| notice.what == what) {
            self.notices.push(Notice { path: path.to_owned(), what, dropped: false });
        }
    }
}

fn text_delta(index: u32, text: &str) -> Event<'_> {
    Event::ContentBlockDelta { index, delta: Delta::TextDelta { text: Cow::Borrowed(text) } }
}

fn input_delta(index: u32, json: &str) -> Event<'_> {
    Event::ContentBlockDelta { index, delta: Delta::InputJsonDelta { partial_json: Cow::Borrowed(json) } }
}

/// The opaque text that Bedrock encoded once more. Bytes that are no text go through marked, so that the
/// way back can tell.
fn opaque(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| format!("{VERBATIM}{}", STANDARD.encode(error.as_bytes())))
}

/// Tokens in Anthropic's terms: both sides count the cache apart from the rest.
pub(in crate::translate) fn converse_usage(upstream: &TokenUsage) -> Usage {
    let written = upstream.cache_write_input_tokens;
    let details = upstream.cache_details.iter().filter(|detail| detail.ttl == "1h");
    let for_an_hour = details.fold(0_u64, |sum, detail| sum.saturating_add(detail.input_tokens)).min(written);
    Usage {
        input_tokens: upstream.input_tokens,
        cache_creation_input_tokens: written,
        cache_read_input_tokens: upstream.cache_read_input_tokens,
        cache_creation: CacheCreation {
            ephemeral_5m_input_tokens: written - for_an_hour,
            ephemeral_1h_input_tokens: for_an_hour,
        },
        output_tokens: upstream.output_tokens,
        output_tokens_details: None,
        service_tier: None,
    }
}

/// A citation in Anthropic's words; nothing when its place is of a kind that this version does not know.
fn cited(citation: event::Citation<'_>) -> Option<Citation> {
    let event::Citation { title, source, source_content, location } = citation;
    let cited_text: String = source_content.iter().filter_map(|piece| piece.text.as_deref()).collect();
    let title = title.map(|title| title.0.into_owned());
    if let Some(DocumentRange { document_index, start, end }) = location.document_char {
        let (document_title, file_id) = (title, None);
        let (start_char_index, end_char_index) = (start, end);
        return Some(Citation::CharLocation {
            cited_text,
            document_index,
            document_title,
            start_char_index,
            end_char_index,
            file_id,
        });
    }
    if let Some(DocumentRange { document_index, start, end }) = location.document_page {
        let (document_title, file_id) = (title, None);
        let (start_page_number, end_page_number) = (start, end);
        return Some(Citation::PageLocation {
            cited_text,
            document_index,
            document_title,
            start_page_number,
            end_page_number,
            file_id,
        });
    }
    if let Some(DocumentRange { document_index, start, end }) = location.document_chunk {
        let (document_title, file_id) = (title, None);
        let (start_block_index, end_block_index) = (start, end);
        return Some(Citation::ContentBlockLocation {
            cited_text,
            document_index,
            document_title,
            start_block_index,
            end_block_index,
            file_id,
        });
    }
    let source = source.map(|source| source.0.into_owned());
    if let Some(SearchResultRange { search_result_index, start, end }) = location.search_result_location {
        return Some(Citation::SearchResultLocation {
            cited_text,
            search_result_index,
            source: source.unwrap_or_default(),
            title,
            start_block_index: start,
            end_block_index: end,
        });
    }
    let url = location.web?.url.map(|url| url.0.into_owned()).or(source).unwrap_or_default();
    Some(Citation::WebSearchResultLocation { cited_text, encrypted_index: String::new(), title, url })
}
