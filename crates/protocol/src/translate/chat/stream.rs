//! The events of an answer, told in chunks.
//!
//! What comes out is always one chunk with the role, deltas, one chunk with the reason of the end, if wanted one with
//! the usage, and `[DONE]`; or a beginning of that closed by one error. That holds for every order of events.

use serde::Deserialize;

use super::completion::multiple_functions_error;
use super::{Counts, Details, chat_error, finish_reason};
use crate::anthropic::{self, BlockStart, Delta, Event, Usage};
use crate::json::JsonStr;
use crate::openai::{ChunkWriter, CompletionHead, DONE, PING};
use crate::translate::EventSink;
use crate::translate::fast_path::{self, DeltaShape};

const CONTENT: &str = "content";
const REASONING: &str = "reasoning_content";

/// Tells the events of one answer.
#[derive(Debug)]
pub struct ChatStream {
    head: CompletionHead,
    writer: ChunkWriter,
    out: Vec<u8>,
    state: State,
    /// How many calls have begun.
    calls: u32,
    call: Option<OpenCall>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Nothing,
    Begun,
    /// The reason of the end has been told.
    Stopped,
    Closed,
}

/// The call that is being told.
#[derive(Clone, Copy, Debug)]
struct OpenCall {
    number: u32,
    /// Whether there were arguments.
    has_arguments: bool,
}

/// An event as it came, as far as it matters here.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default)]
    message: Option<RawMessage>,
    #[serde(borrow, default)]
    content_block: Option<RawBlock<'a>>,
    #[serde(borrow, default)]
    delta: Option<RawDelta<'a>>,
    #[serde(default)]
    usage: Option<Counts>,
    #[serde(default)]
    error: Option<anthropic::Error>,
}

#[derive(Deserialize)]
struct RawMessage {
    #[serde(default)]
    usage: Option<Counts>,
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
    /// For the answer that begins with `head`.
    #[must_use]
    pub fn new(head: CompletionHead) -> Self {
        let (writer, counts) = (ChunkWriter::new(&head), Counts::default());
        Self { head, writer, out: Vec::new(), state: State::Nothing, calls: 0, call: None, counts }
    }

    /// Forgets what it took: the answer begins again.
    pub fn forget(&mut self) {
        *self = Self::new(std::mem::take(&mut self.head));
    }

    /// What was told and not yet taken away.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether everything that was told has been taken away.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Says that the answer is still to come.
    pub fn ping(&mut self) {
        if self.state != State::Closed {
            self.out.extend_from_slice(PING);
        }
    }

    /// Closes the answer with an error, unless it is closed.
    pub fn fail(&mut self, error: &anthropic::Error) {
        if self.state != State::Closed {
            ChunkWriter::error(&chat_error(error), &mut self.out);
            self.state = State::Closed;
        }
    }

    /// Whether deltas may be told; says who speaks, if nobody has.
    fn ensure_role_sent(&mut self) -> bool {
        if self.state == State::Nothing {
            self.writer.role(&mut self.out);
            self.state = State::Begun;
        }
        self.state == State::Begun
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
            return self.fail(&multiple_functions_error());
        }
        self.call = Some(OpenCall { number, has_arguments: false });
    }

    fn arguments(&mut self, json: &str) {
        if self.state != State::Begun || json.is_empty() {
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

    /// Clients parse the arguments of every call: none at all are an empty object.
    fn end_tool_call(&mut self) {
        if self.call.is_some_and(|call| !call.has_arguments) {
            self.arguments("{}");
        }
        self.call = None;
    }

    fn stop(&mut self, reason: Option<&str>, counts: Counts) {
        self.end_tool_call();
        if self.ensure_role_sent() {
            self.counts.update(counts);
            self.writer.finish(finish_reason(reason, self.head.functions), &mut self.out);
            self.state = State::Stopped;
        }
    }

    fn close(&mut self) {
        if self.state == State::Closed {
            return;
        }
        if self.state != State::Stopped {
            self.stop(None, Counts::default());
        }
        if self.head.include_usage {
            self.writer.usage(&self.counts.usage(), &mut self.out);
        }
        self.out.extend_from_slice(DONE);
        self.state = State::Closed;
    }
}

impl EventSink for ChatStream {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::MessageStart { .. } => {
                self.ensure_role_sent();
            }
            Event::ContentBlockStart { content_block, .. } => match content_block {
                BlockStart::Text { text } => self.text(CONTENT, text),
                BlockStart::Thinking { thinking, .. } => self.text(REASONING, thinking),
                BlockStart::ToolUse { id, name, .. } => self.start_tool_call(id, name),
                // Opaque, and of no use to who cannot send it back.
                BlockStart::RedactedThinking { .. } => {}
            },
            Event::ContentBlockDelta { delta, .. } => match delta {
                Delta::TextDelta { text } => self.text(CONTENT, text),
                Delta::ThinkingDelta { thinking } => self.text(REASONING, thinking),
                Delta::InputJsonDelta { partial_json } => self.arguments(partial_json),
                // Signatures have no place here, and no chat request asks for citations.
                Delta::SignatureDelta { .. } | Delta::CitationsDelta { .. } => {}
            },
            Event::ContentBlockStop { .. } => self.end_tool_call(),
            Event::MessageDelta { delta, usage } => self.stop(delta.stop_reason.as_deref(), counts(usage)),
            Event::MessageStop => self.close(),
            Event::Ping => self.ping(),
            Event::Error { error, .. } => self.fail(error),
        }
    }

    fn raw(&mut self, name: &str, json: &str) {
        if name == "content_block_delta"
            && let Some(DeltaShape::Text(text)) = fast_path::delta_shape(json)
        {
            if !text.is_empty() && self.ensure_role_sent() {
                self.writer.spelled(CONTENT, text, &mut self.out);
            }
            return;
        }
        // Events of another shape are Anthropic's own, which nobody who chats has asked for.
        let Ok(raw) = serde_json::from_str::<Raw<'_>>(json) else { return };
        match (name, raw) {
            ("message_start", Raw { message, .. }) if self.state == State::Nothing => {
                self.counts.update(message.and_then(|message| message.usage).unwrap_or_default());
                self.ensure_role_sent();
            }
            ("content_block_start", Raw { content_block: Some(block), .. }) if &*block.kind == "tool_use" => {
                self.start_tool_call(&block.id.unwrap_or_default(), &block.name.unwrap_or_default());
            }
            ("content_block_delta", Raw { delta: Some(delta), .. }) => {
                self.text(CONTENT, &delta.text.unwrap_or_default());
                self.text(REASONING, &delta.thinking.unwrap_or_default());
                self.arguments(&delta.partial_json.unwrap_or_default());
            }
            ("content_block_stop", _) => self.end_tool_call(),
            ("message_delta", Raw { delta, usage, .. }) => {
                let reason = delta.and_then(|delta| delta.stop_reason);
                self.stop(reason.as_deref(), usage.unwrap_or_default());
            }
            ("message_stop", _) => self.close(),
            ("ping", _) => self.ping(),
            ("error", Raw { error: Some(error), .. }) => self.fail(&error),
            _ => {}
        }
    }
}

fn counts(usage: &Usage) -> Counts {
    let thinking_tokens = usage.output_tokens_details.map(|details| details.thinking_tokens);
    Counts {
        input_tokens: Some(usage.input_tokens),
        output_tokens: Some(usage.output_tokens),
        cache_read_input_tokens: Some(usage.cache_read_input_tokens),
        cache_creation_input_tokens: Some(usage.cache_creation_input_tokens),
        output_tokens_details: Some(Details { thinking_tokens }),
    }
}
