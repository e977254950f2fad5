//! Events in arbitrary order, ended in an arbitrary way: the grammar holds and the end comes once.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use protocol::anthropic::{Error, ErrorType, Event, MessageAccumulator, StreamValidator};
use protocol::converse;
use protocol::anthropic::event_sink::EventSink;
use protocol::converse::event::{
    ContentBlockDeltaEvent, ContentBlockStartEvent, ContentBlockStopEvent, ContentBlockDelta, MessageStopEvent, MetadataEvent, ReasoningDelta, ContentBlockStart,
    TokenUsage, ToolUseDelta, ToolUseStart,
};
use protocol::translate::{End, StreamContext, Outcome, StreamTranslator};

#[derive(Arbitrary, Debug)]
enum Op<'a> {
    MessageStart,
    ToolUse(u8, &'a str, &'a str),
    UnknownStart(u8),
    Text(u8, &'a str),
    Input(u8, &'a str),
    Thinking(u8, &'a str),
    Signature(u8, &'a str),
    Redacted(u8, &'a str),
    UnknownDelta(u8),
    Stop(u8),
    MessageStop(&'a str),
    Metadata(u64, u64, u64, u64),
    Unknown(&'a str),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How {
    Eof,
    Failed,
    Cancelled,
}

fn event<'a>(op: Op<'a>) -> converse::Event<'a> {
    let delta = |index: u8, delta| {
        converse::Event::ContentBlockDelta(ContentBlockDeltaEvent { content_block_index: index.into(), delta })
    };
    let reasoning = |index, reasoning| delta(index, ContentBlockDelta { reasoning_content: Some(reasoning), ..ContentBlockDelta::default() });
    let start = |index: u8, tool_use| {
        let start = ContentBlockStart { tool_use };
        converse::Event::ContentBlockStart(ContentBlockStartEvent { content_block_index: index.into(), start })
    };
    match op {
        Op::MessageStart => converse::Event::MessageStart,
        Op::ToolUse(i, id, name) => start(i, Some(ToolUseStart { tool_use_id: id.into(), name: name.into() })),
        Op::UnknownStart(i) => start(i, None),
        Op::Text(i, text) => delta(i, ContentBlockDelta { text: Some(text.into()), ..ContentBlockDelta::default() }),
        Op::Input(i, text) => {
            delta(i, ContentBlockDelta { tool_use: Some(ToolUseDelta { input: text.into() }), ..ContentBlockDelta::default() })
        }
        Op::Thinking(i, text) => reasoning(i, ReasoningDelta { text: Some(text.into()), ..Default::default() }),
        Op::Signature(i, text) => reasoning(i, ReasoningDelta { signature: Some(text.into()), ..Default::default() }),
        Op::Redacted(i, text) => {
            reasoning(i, ReasoningDelta { redacted_content: Some(text.into()), ..Default::default() })
        }
        Op::UnknownDelta(i) => delta(i, ContentBlockDelta::default()),
        Op::Stop(i) => converse::Event::ContentBlockStop(ContentBlockStopEvent { content_block_index: i.into() }),
        Op::MessageStop(reason) => converse::Event::MessageStop(MessageStopEvent {
            stop_reason: reason.into(),
            additional_model_response_fields: None,
        }),
        Op::Metadata(input_tokens, output_tokens, read, written) => converse::Event::Metadata(MetadataEvent {
            usage: TokenUsage {
                input_tokens,
                output_tokens,
                cache_read_input_tokens: read,
                cache_write_input_tokens: written,
                cache_details: Vec::new(),
            },
            service_tier: None,
        }),
        Op::Unknown(kind) => converse::Event::Unknown(kind),
    }
}

fuzz_target!(|input: (bool, Vec<Op<'_>>, How)| {
    let (tag_buffer, ops, how) = input;
    let (mut grammar, mut fold, mut last) = (StreamValidator::default(), MessageAccumulator::default(), None);
    let mut out = |event: &Event<'_>| {
        grammar.push(event).expect("the grammar holds");
        fold.event(event);
        last = Some(event.name());
    };
    let mut translator = StreamTranslator::new(StreamContext { tag_buffer, ..StreamContext::default() });
    for op in ops {
        translator.push(event(op), &mut out);
    }
    let end = match how {
        How::Eof => End::Eof,
        How::Failed => End::Failed(Error::new(ErrorType::Api, "failed")),
        How::Cancelled => End::Cancelled,
    };
    match translator.finish(end, &mut out).outcome {
        Outcome::Finished => assert_eq!(last, Some("message_stop")),
        Outcome::Failed => {
            assert_eq!(last, Some("error"));
            assert!(fold.finish().is_err());
        }
        Outcome::Cancelled => assert!(!grammar.is_closed()),
    }
});
