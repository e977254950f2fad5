//! The other route: a body edited in place stays JSON, and arbitrary events in frames end once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::anthropic::{MessagesEncoder, Request};
use protocol::capabilities::Capabilities;
use protocol::anthropic::event_sink::Encoder;
use protocol::translate::{self, InvokeStream, End, InvokeOptions, StreamContext, TranslationOptions, Outcome};

/// One frame of `application/vnd.amazon.eventstream` that holds `event`.
fn chunk(event: &[u8]) -> Vec<u8> {
    let payload = format!(r#"{{"bytes":"{}"}}"#, base64::Engine::encode(&base64::engine::general_purpose::STANDARD, event));
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", "event"), (":event-type", "chunk")] {
        headers.push(u8::try_from(name.len()).unwrap_or_default());
        headers.extend(name.bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        headers.extend(value.bytes());
    }
    let total = u32::try_from(16 + headers.len() + payload.len()).unwrap_or_default();
    let mut frame = total.to_be_bytes().to_vec();
    frame.extend(u32::try_from(headers.len()).unwrap_or_default().to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload.bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame
}

fuzz_target!(|input: (&str, Vec<&[u8]>)| {
    let (body, events) = input;
    if Request::parse(body.as_bytes()).is_ok() {
        for capabilities in [Capabilities::NEWEST_CLAUDE, Capabilities::CLASSIC_CLAUDE] {
            let options = InvokeOptions::invoke_model(TranslationOptions::new(8192));
            if let Ok(call) = translate::to_invoke(body, &capabilities, &options) {
                serde_json::from_slice::<serde::de::IgnoredAny>(&call.body).expect("what is sent is JSON");
            }
        }
    }
    let mut out = MessagesEncoder::default();
    let mut pipeline = InvokeStream::new(StreamContext { tag_buffer: true, ..StreamContext::default() });
    for event in events {
        pipeline.push(&chunk(event), &mut out);
    }
    let summary = pipeline.finish(End::Eof, &mut out);
    let text = String::from_utf8(out.take()).expect("events are text");
    let errors = text.lines().filter(|line| *line == "event: error").count();
    match summary.outcome {
        Outcome::Finished => assert_eq!(errors, 0),
        Outcome::Failed => assert_eq!(errors, 1),
        Outcome::Cancelled => unreachable!("nobody cancelled"),
    }
});
