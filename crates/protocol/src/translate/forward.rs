//! Events of the Messages API, forwarded byte for byte with six exceptions.
//!
//! The names of the model and of tools are those the client used, ids of calls are unique, the stop reason is `tool_use` if and
//! only if a tool was called, Bedrock's own metrics are left out of the last event, and text is re-cut where the tag buffer
//! has to keep a tag whole.

use std::borrow::Cow;

use serde::Deserialize;

use super::call_ids::CallIds;
use super::diagnostics::Notice;
use super::error::anthropic_error::{self, ErrorBody};
use super::fast_path::{self, DeltaShape};
use super::from_converse::{End, Outcome, StreamContext, StreamSummary};
use super::{MappedError, ToolNames, safeguards};
use crate::anthropic::event_sink::EventSink;
use crate::anthropic::{Delta, Error, ErrorType, Event, PartialUsage, Usage};
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Edit, Member, items, members};
use crate::tag_buffer::TagBuffer;

/// Maximum of bytes before `message_start`, which begins every response: they are held until it comes.
const MAX_BYTES_BEFORE_START: usize = 1 << 20;

/// Forwarder of the events of one response.
#[derive(Debug)]
pub(super) struct EventForwarder {
    context: StreamContext,
    tags: Option<TagBuffer>,
    /// The text block that is open.
    text_index: Option<u32>,
    started: bool,
    /// Bytes of the events before `message_start`.
    bytes_before_start: usize,
    complete: bool,
    usage: Option<Usage>,
    stop_reason: Option<String>,
    /// Whether a tool of the client was called.
    called_a_tool: bool,
    call_ids: CallIds,
    /// Whether a result of the platform's check of tool calls has passed.
    has_safeguard_results: bool,
    failure: Option<MappedError>,
    notices: Vec<Notice>,
}

/// What has to be known of an event to pass it on.
#[derive(Deserialize)]
struct EventHeader<'a> {
    #[serde(borrow, rename = "type")]
    kind: JsonStr<'a>,
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    content_block: Option<RawJson<'a>>,
    #[serde(borrow, default)]
    delta: Option<DeltaHeader<'a>>,
    #[serde(default)]
    usage: Option<PartialUsage>,
    #[serde(borrow, default)]
    message: Option<MessageHeader<'a>>,
    #[serde(default)]
    error: Option<ErrorBody>,
    #[serde(borrow, default, rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<RawJson<'a>>,
}

#[derive(Deserialize)]
struct BlockHeader<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    id: Option<RawJson<'a>>,
}

#[derive(Deserialize)]
struct DeltaHeader<'a> {
    #[serde(borrow, default)]
    text: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<RawJson<'a>>,
    #[serde(borrow, default)]
    safeguard_results: Option<RawJson<'a>>,
}

#[derive(Deserialize)]
struct MessageHeader<'a> {
    #[serde(borrow, default)]
    model: Option<RawJson<'a>>,
    #[serde(default)]
    usage: Option<PartialUsage>,
}

impl EventForwarder {
    pub(super) fn new(context: StreamContext) -> Self {
        let tags = context.tag_buffer.then(TagBuffer::default);
        Self {
            context,
            tags,
            text_index: None,
            started: false,
            bytes_before_start: 0,
            complete: false,
            usage: None,
            stop_reason: None,
            called_a_tool: false,
            call_ids: CallIds::default(),
            has_safeguard_results: false,
            failure: None,
            notices: Vec::new(),
        }
    }

    pub(super) fn is_started(&self) -> bool {
        self.started
    }

    /// Whether no more events are wanted.
    pub(super) fn is_over(&self) -> bool {
        self.complete || self.failure.is_some()
    }

    pub(super) fn failure(&self) -> Option<&MappedError> {
        self.failure.as_ref()
    }

    /// Forwards the next event, or stores the error.
    pub(super) fn take(&mut self, json: Result<&[u8], MappedError>, sink: &mut (impl EventSink + ?Sized)) {
        let passed = json.and_then(|json| {
            let text =
                std::str::from_utf8(json).map_err(|error| MappedError::unreadable(error.to_string()))?;
            self.pass(text, sink)
        });
        if let Err(failure) = passed {
            self.failure = Some(failure);
        }
    }

    /// Ends the stream: writes the last events, and returns the summary. `truncated`: the bytes ended inside
    /// an event.
    pub(super) fn finish(
        mut self,
        truncated: Option<MappedError>,
        end: End,
        sink: &mut (impl EventSink + ?Sized),
    ) -> StreamSummary {
        let failure = match (self.failure.take().or(truncated), end) {
            _ if self.complete => return self.summary(Outcome::Finished),
            (_, End::Cancelled) => return self.summary(Outcome::Cancelled),
            (_, End::Failed(error)) => error,
            (Some(failure), End::Eof) => failure.error,
            (None, End::Eof) => {
                Error::new(ErrorType::Api, "Bedrock ended the response before it was complete")
            }
        };
        self.flush_text(sink);
        let request_id =
            Some(self.context.request_id.as_str()).filter(|id| !id.is_empty()).map(Cow::Borrowed);
        sink.event(&Event::Error { error: Cow::Owned(failure), request_id });
        self.summary(Outcome::Failed)
    }

    fn summary(self, outcome: Outcome) -> StreamSummary {
        StreamSummary { outcome, usage: self.usage, stop_reason: self.stop_reason, notices: self.notices }
    }

    /// Forwards one event.
    fn pass(&mut self, json: &str, sink: &mut (impl EventSink + ?Sized)) -> Result<(), MappedError> {
        if !self.started {
            self.bytes_before_start += json.len();
            if self.bytes_before_start > MAX_BYTES_BEFORE_START {
                return Err(MappedError::unreadable("no message_start among the first events".to_owned()));
            }
        }
        // Nearly all events are deltas of a known shape with nothing in them to look after.
        if fast_path::delta_shape(json).is_some_and(|delta| self.needs_nothing(delta)) {
            sink.raw("content_block_delta", json);
            return Ok(());
        }
        let header: EventHeader<'_> = serde_json::from_str(json)
            .map_err(|error| MappedError::unreadable(format!("an event: {error}")))?;
        if let Some(counts) = header.usage.or(header.message.as_ref().and_then(|message| message.usage)) {
            self.usage.get_or_insert_default().update(&counts);
        }
        // The name becomes a line of its own.
        if !header.kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        {
            return Err(MappedError::unreadable("an event with an impossible name".to_owned()));
        }
        match &*header.kind {
            "message_start" => {
                self.started = true;
                sink.raw("message_start", &self.with_requested_model(json, &header));
            }
            "content_block_delta" => self.delta(json, &header, sink),
            "ping" => sink.raw("ping", json),
            "error" => return Err(anthropic_error::map_error_body(header.error.unwrap_or_default())),
            kind => {
                self.flush_text(sink);
                self.text_index = None;
                let lacks_verdicts = self.lacks_verdicts(header.delta.as_ref());
                let mut edited = Cow::Borrowed(json);
                match kind {
                    "content_block_start" => {
                        if let Some(unique) = self.with_unique_id(json, header.content_block) {
                            edited = Cow::Owned(unique);
                        }
                        if !self.context.tool_names.is_empty() {
                            edited = Cow::Owned(with_original_names(&edited, &self.context.tool_names));
                        }
                    }
                    "message_delta" => {
                        if let Some(consistent) = self.with_stop_reason(json, header.delta.as_ref()) {
                            edited = Cow::Owned(consistent);
                        }
                        if lacks_verdicts {
                            edited = Cow::Owned(safeguards::with_no_verdicts(&edited));
                        }
                    }
                    _ => {}
                }
                if header.metrics.is_some() {
                    edited = Cow::Owned(without_metrics(&edited));
                }
                sink.raw(kind, &edited);
                self.complete = kind == "message_stop";
            }
        }
        Ok(())
    }

    /// The start of a call with another id, if another call of the response has its id.
    fn with_unique_id(&mut self, json: &str, block: Option<RawJson<'_>>) -> Option<String> {
        let block = block.and_then(|block| block.read::<BlockHeader<'_>>().ok());
        let block = block.filter(|block| block.kind.as_deref() == Some("tool_use"))?;
        self.called_a_tool = true;
        let value = block.id?;
        let id: JsonStr<'_> = value.read().ok()?;
        match self.call_ids.unique(&id) {
            Cow::Borrowed(_) => None,
            Cow::Owned(unique) => Some(replaced(json, value, &unique)),
        }
    }

    /// Takes the stop reason; the event with another one, if it does not match the blocks of the response: clients wait for
    /// a call that never comes, or do not make one that has come.
    fn with_stop_reason(&mut self, json: &str, delta: Option<&DeltaHeader<'_>>) -> Option<String> {
        let value = delta?.stop_reason?;
        let reason: JsonStr<'_> = value.read().ok()?;
        let consistent = match &*reason {
            "tool_use" if !self.called_a_tool => "end_turn",
            "end_turn" if self.called_a_tool => "tool_use",
            other => other,
        };
        self.stop_reason = Some(consistent.to_owned());
        (consistent != &*reason).then(|| replaced(json, value, consistent))
    }

    /// Whether `delta` has to get a result of the check of tool calls: the client expects one, and Bedrock makes no checks,
    /// or the response ends without.
    fn lacks_verdicts(&mut self, delta: Option<&DeltaHeader<'_>>) -> bool {
        let Some(delta) = delta.filter(|_| self.context.expects_safeguard_results) else { return false };
        if let Some(results) = delta.safeguard_results {
            self.has_safeguard_results = true;
            return safeguards::is_unsupported(results);
        }
        delta.stop_reason.is_some() && !self.has_safeguard_results
    }

    /// Whether nothing in `delta` has to be kept back.
    fn needs_nothing(&self, delta: DeltaShape<'_>) -> bool {
        match (delta, &self.tags) {
            (DeltaShape::Other, _) | (DeltaShape::Text(_), None) => true,
            (DeltaShape::Text(text), Some(tags)) => tags.is_empty() && memchr::memchr(b'<', text).is_none(),
        }
    }

    /// Sends text that may contain the begin of a tag through the buffer; forwards everything else unchanged.
    fn delta(&mut self, json: &str, header: &EventHeader<'_>, sink: &mut (impl EventSink + ?Sized)) {
        let text = header.delta.as_ref().and_then(|delta| delta.text.as_deref());
        if let (Some(tags), Some(text), Some(index)) = (&mut self.tags, text, header.index)
            && (!tags.is_empty() || memchr::memchr(b'<', text.as_bytes()).is_some())
        {
            self.text_index = Some(index);
            tags.push(text, |text| sink.event(&text_delta(index, text)));
            return;
        }
        sink.raw("content_block_delta", json);
    }

    fn flush_text(&mut self, sink: &mut (impl EventSink + ?Sized)) {
        if let (Some(tags), Some(index)) = (&mut self.tags, self.text_index) {
            tags.flush(|text| sink.event(&text_delta(index, text)));
        }
    }

    /// Replaces the model: clients compare the model of a response with the one they requested.
    fn with_requested_model(&self, json: &str, header: &EventHeader<'_>) -> String {
        let Some(model) = header.message.as_ref().and_then(|message| message.model) else {
            return json.to_owned();
        };
        replaced(json, model, &self.context.model)
    }
}

/// `json` with the string `text` in the place of `value`.
fn replaced<'t>(json: &'t str, value: RawJson<'t>, text: &str) -> String {
    let mut edit = Edit::new(json);
    edit.replace(value, serde_json::to_string(text).unwrap_or_default());
    String::from_utf8(edit.apply()).unwrap_or_default()
}

fn text_delta(index: u32, text: &str) -> Event<'_> {
    Event::ContentBlockDelta { index, delta: Delta::TextDelta { text: Cow::Borrowed(text) } }
}

/// Replaces the aliases of tools in a block by the client's names: that of a call, and those of found tools.
fn with_original_names(json: &str, tool_names: &ToolNames) -> String {
    let Ok(event) = serde_json::from_str::<RawJson<'_>>(json) else { return json.to_owned() };
    let inside = |all: &[Member<'_>], name: &str| all.iter().position(|member| &*member.key == name);
    let all = members(event);
    let block = inside(&all, "content_block").map(|at| members(all[at].value)).unwrap_or_default();
    let content = inside(&block, "content").map(|at| members(block[at].value)).unwrap_or_default();
    let found = inside(&content, "tool_references").map(|at| items(content[at].value)).unwrap_or_default();
    let mut edit = Edit::new(json);
    let found = found.into_iter().flat_map(members).filter(|member| &*member.key == "tool_name");
    for member in found.chain(block.into_iter().filter(|member| &*member.key == "name")) {
        let Ok(alias) = member.value.read::<JsonStr<'_>>() else { continue };
        let name = tool_names.original(&alias);
        if name != &*alias {
            edit.replace(member.value, serde_json::to_string(name).unwrap_or_default());
        }
    }
    String::from_utf8(edit.apply()).unwrap_or_default()
}

fn without_metrics(json: &str) -> String {
    let Ok(object) = serde_json::from_str::<RawJson<'_>>(json) else { return json.to_owned() };
    let mut edit = Edit::new(json);
    edit.edit_object(object.get(), &members(object), |key| key == "amazon-bedrock-invocationMetrics", &[]);
    String::from_utf8(edit.apply()).unwrap_or_default()
}
