//! The other door: arbitrary chat requests become Messages requests that can be read again, and arbitrary events are
//! told in chunks that end once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::anthropic::Request;
use protocol::capabilities::Capabilities;
use protocol::anthropic::event_sink::{Encoder, EventSink};
use protocol::openai::{self, CompletionHead};
use protocol::translate::{self, RequestedBetas, ChatOptions, ChatStream, TranslationOptions};

fn ask(body: &[u8], capabilities: &Capabilities, options: &ChatOptions) {
    let Ok(chat) = openai::Request::parse(body) else { return };
    let Ok(call) = translate::chat_to_messages(&chat, body.len(), capabilities, options) else { return };
    let request = Request::parse(&call.body).expect("what is printed can be read");
    if let Some(meant) = &call.request {
        assert_eq!(request, *meant, "what is printed is what is meant");
    }
    let asked = RequestedBetas::default();
    if let Ok(road) = translate::to_converse(request, asked, call.body.len(), capabilities, &TranslationOptions::new(8192)) {
        serde_json::from_slice::<serde::de::IgnoredAny>(&road.body).expect("what is sent is JSON");
    }
}

fuzz_target!(|input: (&[u8], bool, bool, Vec<(&str, &str)>)| {
    let (body, auto_cache, strict, events) = input;
    for capabilities in [Capabilities::NEWEST_CLAUDE, Capabilities::CLASSIC_CLAUDE, Capabilities::UNKNOWN] {
        ask(body, &capabilities, &ChatOptions { auto_cache, strict });
    }
    let (include_usage, functions) = (auto_cache, strict);
    let head = CompletionHead { id: "id".to_owned(), created: 7, model: "m".to_owned(), include_usage, functions, exclude_reasoning: false };
    let mut chat = ChatStream::new(head);
    for (name, json) in events {
        chat.raw(name, json);
    }
    let text = String::from_utf8(chat.take()).expect("chunks are text");
    let done = text.matches("data: [DONE]\n").count();
    assert!(done <= 1, "the end comes once");
    for line in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]") {
        serde_json::from_str::<serde::de::IgnoredAny>(line).expect("a chunk is JSON");
    }
});
