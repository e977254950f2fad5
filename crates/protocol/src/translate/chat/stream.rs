//! Stream events into chat completion chunks.
//!
//! The output is always one chunk with the role, deltas, one chunk with the finish reason, a chunk with the usage if
//! the client requested it, and `[DONE]`; or a beginning of that closed by one error. That holds for every order of
//! events.

use serde::Deserialize;

use super::completion::multiple_functions_error;
use super::{chat_error, finish_reason, openai_usage, update_usage};
use crate::anthropic::event_sink::{Encoder, EventSink};
use crate::anthropic::{
    BlockStart, Delta, Error, Event, OutputTokensDetails, PartialOutputTokensDetails, PartialUsage, Usage,
};
use crate::json::JsonStr;
use crate::openai::{ChunkWriter, CompletionHead, DONE, PING};
use crate::translate::fast_path::{self, DeltaShape};

const CONTENT: &str = "content";
const REASONING: &str = "reasoning_content";

/// Encoder of the events of one response as chunks.
#[derive(Debug)]
pub struct ChatStream {
    head: CompletionHead,
    writer: ChunkWriter,
    out: Vec<u8>,
    state: State,
    /// Number of tool calls so far.
    calls: u32,
    call: Option<OpenCall>,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Initial,
    Started,
    /// The finish reason was written.
    Stopped,
    Closed,
}

/// Tool call whose arguments are being written.
#[derive(Clone, Copy, Debug)]
struct OpenCall {
    number: u32,
    has_arguments: bool,
}

/// What an event means for the chunks.
#[derive(Clone, Copy)]
enum Change<'e> {
    /// The message begins, with these counts.
    Start(PartialUsage),
    Text(&'e str),
    Thinking(&'e str),
    ToolCall {
        id: &'e str,
        name: &'e str,
    },
    Arguments(&'e str),
    BlockStop,
    Stop {
        reason: Option<&'e str>,
        usage: PartialUsage,
    },
    End,
    Ping,
    Error(&'e Error),
}

/// Event as JSON, as far as chunks need it.
#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(default)]
    message: Option<RawMessage>,
    #[serde(borrow, default)]
    content_block: Option<RawBlock<'a>>,
    #[serde(borrow, default)]
    delta: Option<RawDelta<'a>>,
    #[serde(default)]
    usage: Option<PartialUsage>,
    #[serde(default)]
    error: Option<Error>,
}

#[derive(Deserialize)]
struct RawMessage {
    #[serde(default)]
    usage: Option<PartialUsage>,
}

#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: JsonStr<'a>,
    #[serde(borrow, default)]
    id: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    name: Option<JsonStr<'a>>,
}

#[derive(Deserialize)]
struct RawDelta<'a> {
    #[serde(borrow, default)]
    text: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    thinking: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<JsonStr<'a>>,
}

impl ChatStream {
    /// Encoder of the response that begins with `head`.
    #[must_use]
    pub fn new(head: CompletionHead) -> Self {
        let writer = ChunkWriter::new(&head);
        Self {
            head,
            writer,
            out: Vec::new(),
            state: State::Initial,
            calls: 0,
            call: None,
            usage: Usage::default(),
        }
    }

    fn apply(&mut self, change: Change<'_>) {
        match change {
            Change::Start(usage) if self.state == State::Initial => {
                update_usage(&mut self.usage, &usage);
                self.ensure_role_sent();
            }
            Change::Start(_) => {}
            Change::Text(text) => self.text(CONTENT, text),
            Change::Thinking(_) if self.head.exclude_reasoning => {}
            Change::Thinking(text) => self.text(REASONING, text),
            Change::ToolCall { id, name } => self.start_tool_call(id, name),
            Change::Arguments(json) => self.arguments(json),
            Change::BlockStop => self.end_tool_call(),
            Change::Stop { reason, usage } => self.stop(reason, &usage),
            Change::End => self.close(),
            Change::Ping => self.ping(),
            Change::Error(error) => self.close_with(error),
        }
    }

    /// Ends the response with an error, unless it has ended.
    fn close_with(&mut self, error: &Error) {
        if self.state != State::Closed {
            ChunkWriter::error(&chat_error(error), &mut self.out);
            self.state = State::Closed;
        }
    }

    /// Whether deltas may be written; writes the role first, once.
    fn ensure_role_sent(&mut self) -> bool {
        if self.state == State::Initial {
            self.writer.role(&mut self.out);
            self.state = State::Started;
        }
        self.state == State::Started
    }

    fn text(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() && self.ensure_role_sent() {
            self.writer.text(name, text, &mut self.out);
        }
    }

    fn start_tool_call(&mut self, id: &str, name: &str) {
        self.end_tool_call();
        if !self.ensure_role_sent() {
            return;
        }
        let number = self.calls;
        self.calls += 1;
        if !self.head.functions {
            self.writer.call(number, id, name, &mut self.out);
        } else if number == 0 {
            self.writer.function(name, &mut self.out);
        } else {
            return self.close_with(&multiple_functions_error());
        }
        self.call = Some(OpenCall { number, has_arguments: false });
    }

    fn arguments(&mut self, json: &str) {
        if self.state != State::Started || json.is_empty() {
            return;
        }
        let Some(call) = &mut self.call else { return };
        call.has_arguments = true;
        if self.head.functions {
            self.writer.function_arguments(json, &mut self.out);
        } else {
            self.writer.arguments(call.number, json, &mut self.out);
        }
    }

    /// Clients parse the arguments of every call, so a call without arguments gets an empty object.
    fn end_tool_call(&mut self) {
        if self.call.is_some_and(|call| !call.has_arguments) {
            self.arguments("{}");
        }
        self.call = None;
    }

    fn stop(&mut self, reason: Option<&str>, usage: &PartialUsage) {
        self.end_tool_call();
        if self.ensure_role_sent() {
            update_usage(&mut self.usage, usage);
            self.writer.finish(finish_reason(reason, self.head.functions), &mut self.out);
            self.state = State::Stopped;
        }
    }

    fn close(&mut self) {
        if self.state == State::Closed {
            return;
        }
        if self.state != State::Stopped {
            self.stop(None, &PartialUsage::default());
        }
        if self.head.include_usage {
            self.writer.usage(&openai_usage(&self.usage), &mut self.out);
        }
        self.out.extend_from_slice(DONE);
        self.state = State::Closed;
    }
}

impl EventSink for ChatStream {
    fn event(&mut self, event: &Event<'_>) {
        let change = match event {
            Event::MessageStart { .. } => Change::Start(PartialUsage::default()),
            Event::ContentBlockStart { content_block, .. } => match content_block {
                BlockStart::ToolUse { id, name, .. } => Change::ToolCall { id, name },
                // Text and thinking begin empty; redacted thinking cannot be sent back by this API.
                BlockStart::Text { .. }
                | BlockStart::Thinking { .. }
                | BlockStart::RedactedThinking { .. } => return,
            },
            Event::ContentBlockDelta { delta, .. } => match delta {
                Delta::TextDelta { text } => Change::Text(text),
                Delta::ThinkingDelta { thinking } => Change::Thinking(thinking),
                Delta::InputJsonDelta { partial_json } => Change::Arguments(partial_json),
                // Signatures have no field in chunks, and no chat request enables citations.
                Delta::SignatureDelta { .. } | Delta::CitationsDelta { .. } => return,
            },
            Event::ContentBlockStop { .. } => Change::BlockStop,
            Event::MessageDelta { delta, usage } => {
                Change::Stop { reason: delta.stop_reason.as_deref(), usage: all_counts(usage) }
            }
            Event::MessageStop => Change::End,
            Event::Ping => Change::Ping,
            Event::Error { error, .. } => Change::Error(error),
        };
        self.apply(change);
    }

    fn raw(&mut self, name: &str, json: &str) {
        // Nearly all events are text deltas of a known shape: their JSON text is copied and not parsed.
        if name == "content_block_delta"
            && let Some(DeltaShape::Text(text)) = fast_path::delta_shape(json)
        {
            if !text.is_empty() && self.ensure_role_sent() {
                self.writer.spelled(CONTENT, text, &mut self.out);
            }
            return;
        }
        // Events of another shape are Anthropic's own, which no chat request enables.
        let Ok(event) = serde_json::from_str::<RawEvent<'_>>(json) else { return };
        match (name, event) {
            ("message_start", RawEvent { message, .. }) => {
                let usage = message.and_then(|message| message.usage);
                self.apply(Change::Start(usage.unwrap_or_default()));
            }
            ("content_block_start", RawEvent { content_block: Some(block), .. })
                if &*block.kind == "tool_use" =>
            {
                let (id, name) = (block.id.unwrap_or_default(), block.name.unwrap_or_default());
                self.apply(Change::ToolCall { id: &id, name: &name });
            }
            ("content_block_delta", RawEvent { delta: Some(delta), .. }) => {
                self.apply(Change::Text(&delta.text.unwrap_or_default()));
                self.apply(Change::Thinking(&delta.thinking.unwrap_or_default()));
                self.apply(Change::Arguments(&delta.partial_json.unwrap_or_default()));
            }
            ("content_block_stop", _) => self.apply(Change::BlockStop),
            ("message_delta", RawEvent { delta, usage, .. }) => {
                let reason = delta.and_then(|delta| delta.stop_reason);
                self.apply(Change::Stop { reason: reason.as_deref(), usage: usage.unwrap_or_default() });
            }
            ("message_stop", _) => self.apply(Change::End),
            ("ping", _) => self.apply(Change::Ping),
            ("error", RawEvent { error: Some(error), .. }) => self.apply(Change::Error(&error)),
            _ => {}
        }
    }
}

impl Encoder for ChatStream {
    fn ping(&mut self) {
        if self.state != State::Closed {
            self.out.extend_from_slice(PING);
        }
    }

    fn error(&mut self, error: &Error, _request_id: &str) {
        self.close_with(error);
    }

    fn take(&mut self) -> Vec<u8> {
        // The next write is about as long: a buffer that need not grow saves copies.
        let next = Vec::with_capacity(self.out.len());
        std::mem::replace(&mut self.out, next)
    }

    fn len(&self) -> usize {
        self.out.len()
    }
}

fn all_counts(usage: &Usage) -> PartialUsage {
    let details = |details: OutputTokensDetails| PartialOutputTokensDetails {
        thinking_tokens: Some(details.thinking_tokens),
    };
    PartialUsage {
        input_tokens: Some(usage.input_tokens),
        output_tokens: Some(usage.output_tokens),
        cache_read_input_tokens: Some(usage.cache_read_input_tokens),
        cache_creation_input_tokens: Some(usage.cache_creation_input_tokens),
        cache_creation: Some(usage.cache_creation),
        output_tokens_details: usage.output_tokens_details.map(details),
    }
}
