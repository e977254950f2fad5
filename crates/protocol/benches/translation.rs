//! How fast the translation is: frame → event → SSE or chat chunk, the tag buffer letter by letter, a long conversation.
//!
//! `cargo bench -p bedrock-protocol`. Allocations per event are counted once, before the timing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::base64;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::anthropic::event_sink::Encoder;
use protocol::anthropic::{MessagesEncoder, Request};
use protocol::capabilities::Capabilities;
use protocol::openai::CompletionHead;
use protocol::tag_buffer::TagBuffer;
use protocol::translate::{
    self, ChatStream, ConverseStream, End, InvokeOptions, InvokeStream, RequestedBetas, StreamContext,
    TranslationOptions,
};

const DELTAS: u64 = 10_000;
/// What hyper hands on at once: a read buffer, not a frame.
const CHUNK: usize = 8 * 1024;

fn event(kind: &'static str, payload: &str, out: &mut Vec<u8>) {
    let header =
        |name: &'static str, value: &'static str| Header::new(name, HeaderValue::String(value.into()));
    let headers = vec![
        header(":message-type", "event"),
        header(":event-type", kind),
        header(":content-type", "application/json"),
    ];
    write_message_to(&Message::new_from_parts(headers, payload.as_bytes().to_vec()), out).unwrap();
}

/// An answer of 10,000 text deltas.
fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    event("messageStart", r#"{"role":"assistant","p":"abcdef"}"#, &mut bytes);
    for n in 0..DELTAS {
        // Prose and code have a line end in every few deltas; those are the ones that cost an allocation.
        let end = if n % 4 == 0 { "\\n" } else { " " };
        let payload = format!(
            r#"{{"contentBlockIndex":0,"delta":{{"text":"word {n} and{end}more"}},"p":"abcdefghijklmnopqrstuvwx"}}"#
        );
        event("contentBlockDelta", &payload, &mut bytes);
    }
    event("contentBlockStop", r#"{"contentBlockIndex":0,"p":"ab"}"#, &mut bytes);
    event("messageStop", r#"{"stopReason":"end_turn"}"#, &mut bytes);
    let metadata =
        r#"{"usage":{"inputTokens":1,"outputTokens":2,"totalTokens":3},"metrics":{"latencyMs":4}}"#;
    event("metadata", metadata, &mut bytes);
    bytes
}

/// The same answer as InvokeModel sends it: Anthropic's events in chunks.
fn chunks() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chunk = |json: &str| {
        let payload = format!(r#"{{"bytes":"{}","p":"abcdefgh"}}"#, base64::encode(json));
        event("chunk", &payload, &mut bytes);
    };
    chunk(
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}"#,
    );
    chunk(r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#);
    for n in 0..DELTAS {
        let end = if n % 4 == 0 { "\\n" } else { " " };
        chunk(&format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"word {n} and{end}more"}}}}"#
        ));
    }
    chunk(r#"{"type":"content_block_stop","index":0}"#);
    chunk(
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}"#,
    );
    chunk(r#"{"type":"message_stop"}"#);
    bytes
}

/// Runs chunks through, taking the output after each as the server does.
fn pass_on(bytes: &[u8], encoder: &mut impl Encoder) -> usize {
    let (mut stream, mut written) = (InvokeStream::new(opening()), 0);
    for chunk in bytes.chunks(CHUNK) {
        stream.push(chunk, encoder);
        written += encoder.take().len();
    }
    stream.finish(End::Eof, encoder);
    written + encoder.take().len()
}

/// Runs frames through, taking the output after each chunk as the server does.
fn translate_stream(bytes: &[u8], encoder: &mut impl Encoder) -> usize {
    let (mut stream, mut written) = (ConverseStream::new(opening()), 0);
    for chunk in bytes.chunks(CHUNK) {
        stream.push(chunk, encoder);
        written += encoder.take().len();
    }
    stream.finish(End::Eof, encoder);
    written + encoder.take().len()
}

fn opening() -> StreamContext {
    StreamContext {
        message_id: "msg_1".to_owned(),
        model: "m".to_owned(),
        tag_buffer: true,
        ..StreamContext::default()
    }
}

/// The same for a client that speaks chat completions.
fn chat() -> ChatStream {
    let (id, model) = ("chatcmpl-0123456789abcdefghijklmn".to_owned(), "claude-sonnet-4-5".to_owned());
    ChatStream::new(CompletionHead {
        id,
        model,
        created: 1_795_348_800,
        include_usage: true,
        functions: false,
        exclude_reasoning: false,
    })
}

/// A conversation of 200 turns with tools in it, about 1 MB.
fn conversation() -> String {
    let code = "fn main() {\\n    println!(\\\"hello\\\");\\n}\\n".repeat(120);
    let turns: Vec<String> = (0..100)
        .map(|n| {
            format!(
                r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_{n}","content":"{code}"}},{{"type":"text","text":"{code}"}}]}},{{"role":"assistant","content":[{{"type":"text","text":"Let me see."}},{{"type":"tool_use","id":"toolu_{}","name":"read_file","input":{{"path":"src/main.rs","line":{n}}}}}]}}"#,
                n + 1
            )
        })
        .collect();
    let tools: Vec<String> = (0..30)
        .map(|n| {
            format!(
                r#"{{"name":"tool_{n}","description":"{}","input_schema":{{"type":"object","properties":{{"path":{{"type":"string"}}}},"additionalProperties":false}}}}"#,
                "Does things. ".repeat(20)
            )
        })
        .collect();
    format!(
        r#"{{"model":"m","max_tokens":64000,"stream":true,"tools":[{}],"messages":[{{"role":"user","content":"go"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"toolu_0","name":"read_file","input":{{}}}}]}},{},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_100","content":"end"}}]}}]}}"#,
        tools.join(","),
        turns.join(",")
    )
}

fn translate_request(body: &str) -> usize {
    let request = Request::parse(body.as_bytes()).unwrap();
    let call = translate::to_converse(
        request,
        RequestedBetas::default(),
        body.len(),
        &Capabilities::CLASSIC_CLAUDE,
        &TranslationOptions::new(8192),
    )
    .unwrap();
    assert!(call.unsupported.is_empty());
    call.body.len()
}

fn edit_request(body: &str) -> usize {
    let options = InvokeOptions::invoke_model(TranslationOptions::new(8192));
    let call = translate::to_invoke(body, &Capabilities::CLASSIC_CLAUDE, &options).unwrap();
    assert!(call.unsupported.is_empty());
    call.body.len()
}

fn benches(criterion: &mut Criterion) {
    let bytes = stream();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    translate_stream(&bytes, &mut MessagesEncoder::default());
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!(
        "stream: {:.3} allocations/event ({allocations} for {DELTAS} events)",
        allocations as f64 / DELTAS as f64
    );

    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(DELTAS));
    group.bench_function("frame to event to SSE, 10,000 deltas", |b| {
        b.iter(|| translate_stream(black_box(&bytes), &mut MessagesEncoder::default()));
    });
    group.bench_function("frame to event to chat chunk, 10,000 deltas", |b| {
        b.iter(|| translate_stream(black_box(&bytes), &mut chat()));
    });
    let bytes = chunks();
    group.bench_function("chunk to SSE, 10,000 deltas", |b| {
        b.iter(|| pass_on(black_box(&bytes), &mut MessagesEncoder::default()));
    });
    group.bench_function("chunk to chat chunk, 10,000 deltas", |b| {
        b.iter(|| pass_on(black_box(&bytes), &mut chat()));
    });
    group.finish();

    let text = "Create the file <write_file><path>src/main.rs</path>now</write_file>, if x < 5. ".repeat(100);
    let letters: Vec<&str> = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect();
    let mut group = criterion.benchmark_group("tags");
    group.throughput(Throughput::Elements(letters.len() as u64));
    group.bench_function("letter by letter", |b| {
        b.iter(|| {
            let (mut buffer, mut length) = (TagBuffer::default(), 0);
            for letter in &letters {
                buffer.push(black_box(letter), |text| length += text.len());
            }
            buffer.flush(|text| length += text.len());
            length
        });
    });
    group.finish();

    let body = conversation();
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("200 turns, 1 MB", |b| b.iter(|| translate_request(black_box(&body))));
    group.bench_function("200 turns, 1 MB, edited in place", |b| b.iter(|| edit_request(black_box(&body))));
    group.finish();
}

criterion_group!(translation, benches);
criterion_main!(translation);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
