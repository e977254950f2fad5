//! Answers of InvokeModel: passed on as they came, cut anywhere, ended once.

use aws_smithy_types::base64;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::anthropic::event_sink::{Encoder, EventSink};
use protocol::anthropic::{MessageAccumulator, MessagesEncoder, sse};
use protocol::translate::{End, InvokeStream, MessagesApiStream, Outcome, Step, StreamSummary};
use serde_json::json;

use crate::wire;

pub(crate) fn chunk(event: &str) -> Vec<u8> {
    let payload = json!({"bytes": base64::encode(event), "p": "abcd"}).to_string();
    wire::event("chunk", payload.as_bytes())
}

fn run<'c>(chunks: impl IntoIterator<Item = &'c [u8]>, end: End) -> (String, StreamSummary) {
    let mut out = MessagesEncoder::default();
    let mut pipeline = InvokeStream::new(wire::opening());
    for chunk in chunks {
        if pipeline.push(chunk, &mut out) == Step::Ended {
            break;
        }
    }
    let summary = pipeline.finish(end, &mut out);
    (String::from_utf8(out.take()).unwrap(), summary)
}

/// The same for the answer of the Messages API.
fn run_sse<'c>(pieces: impl IntoIterator<Item = &'c [u8]>) -> (String, StreamSummary) {
    let mut out = MessagesEncoder::default();
    let mut pipeline = MessagesApiStream::new(wire::opening());
    for piece in pieces {
        if pipeline.push(piece, &mut out) == Step::Ended {
            break;
        }
    }
    let summary = pipeline.finish(End::Eof, &mut out);
    (String::from_utf8(out.take()).unwrap(), summary)
}

/// An event of the Messages API.
fn sent(event: &str) -> Vec<u8> {
    let mut out = Vec::new();
    sse::write_raw("any", event, &mut out);
    out
}

const START: &str = r#"{"type":"message_start","message":{"model":"claude-on-bedrock","id":"msg_bdrk_1","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":150,"cache_read_input_tokens":20,"cache_creation":{"ephemeral_5m_input_tokens":50,"ephemeral_1h_input_tokens":100},"output_tokens":1,"novel":1.0}}}"#;
const NOVEL: &str =
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"novel_block","z":1.0,"a":1e3}}"#;
const STOP_0: &str = r#"{"type":"content_block_stop","index":0 }"#;
const TEXT: &str = r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#;
const STOP_1: &str = r#"{"type":"content_block_stop","index":1}"#;
const END: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}"#;
const LAST: &str = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":9}}"#;

/// A delta as the model's server spells it.
fn text(text: &str) -> String {
    let text = json!(text);
    format!(r#"{{"type":"content_block_delta","index":1,"delta":{{"type":"text_delta","text":{text}}}}}"#)
}

/// The same in a spelling that no client uses today.
fn reordered(text: &str) -> String {
    let text = json!(text).to_string().replace('<', "\\u003c");
    format!(r#"{{"delta":{{"text":{text}, "type":"text_delta"}},"index":1,"type":"content_block_delta"}}"#)
}

#[test]
fn events_are_forwarded_except_model_and_metrics() {
    let plain = r#"{"delta":{"text":"a\u00e9","type":"text_delta"},"index":1,"type":"content_block_delta"}"#;
    let events = [START, NOVEL, STOP_0, TEXT, plain, STOP_1, END, LAST];
    let bytes: Vec<u8> = events.iter().flat_map(|event| chunk(event)).collect();
    let (sse, summary) = run([&*bytes], End::Eof);
    let start = START.replace("claude-on-bedrock", "m");
    let expected: String = [
        ("message_start", &*start),
        ("content_block_start", NOVEL),
        ("content_block_stop", STOP_0),
        ("content_block_start", TEXT),
        ("content_block_delta", plain),
        ("content_block_stop", STOP_1),
        ("message_delta", END),
        ("message_stop", r#"{"type":"message_stop"}"#),
    ]
    .iter()
    .map(|(name, json)| format!("event: {name}\ndata: {json}\n\n"))
    .collect();
    assert_eq!(sse, expected);

    let usage = summary.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens), (3, 9, 20));
    assert_eq!(
        (usage.cache_creation.ephemeral_5m_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens),
        (50, 100)
    );
    assert_eq!((summary.outcome, summary.stop_reason.as_deref()), (Outcome::Finished, Some("end_turn")));
}

#[test]
fn tag_in_forwarded_text_is_kept_whole() {
    let pieces = [text("so <write_fi"), text("le>x"), text(" done <b")];
    let events: Vec<&str> = [START, TEXT]
        .into_iter()
        .chain(pieces.iter().map(String::as_str))
        .chain([STOP_1, END, LAST])
        .collect();
    let bytes: Vec<u8> = events.iter().flat_map(|event| chunk(event)).collect();
    let (sse, _) = run([&*bytes], End::Eof);
    let texts: Vec<String> = sse
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(texts, ["so ", "<write_file>x", " done ", "<b"]);
}

#[test]
fn ping_does_not_split_a_tag() {
    let pieces = [text("so <write_fi"), r#"{"type": "ping"}"#.to_owned(), text("le>x")];
    let events: Vec<&str> = [START, TEXT].into_iter().chain(pieces.iter().map(String::as_str)).collect();
    let bytes: Vec<u8> = events.iter().flat_map(|event| chunk(event)).collect();
    let (sse, _) = run([&*bytes], End::Eof);
    assert!(sse.contains("\"<write_file>x\"") && sse.contains("data: {\"type\": \"ping\"}"), "{sse}");
}

#[test]
fn error_chunk_or_exception_ends_with_one_error() {
    let inner = chunk(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    let outer = wire::exception("throttlingException", br#"{"message":"Too many tokens"}"#);
    for (frame, kind) in
        [(inner, "overloaded_error"), (outer, "rate_limit_error"), (b"garbage garbage".to_vec(), "api_error")]
    {
        let bytes = [chunk(START), frame].concat();
        let (sse, summary) = run([&*bytes], End::Eof);
        let last = sse.trim_end().lines().last().unwrap();
        assert!(last.contains(kind) && sse.matches("event: error").count() == 1, "{sse}");
        assert_eq!(summary.outcome, Outcome::Failed);
    }
    let (sse, _) = run([&*chunk(START)], End::Eof);
    assert!(sse.ends_with("\n\n") && sse.contains("ended the response before it was complete"), "{sse}");
}

#[test]
fn messages_api_stream_ends_once() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (more, kind) in
        [(sent(error), "overloaded_error"), (b"data: {\n\n".to_vec(), "api_error"), (Vec::new(), "api_error")]
    {
        let (sse, summary) = run_sse([&*[sent(START), more].concat()]);
        let last = sse.trim_end().lines().last().unwrap();
        assert!(last.contains(kind) && sse.matches("event: error").count() == 1, "{sse}");
        assert_eq!(summary.outcome, Outcome::Failed);
    }
    let (sse, _) = run_sse([&sent(START)[..40]]);
    assert!(sse.starts_with("event: error") && sse.contains("ended inside an event"), "{sse}");
}

/// Both ways a client can get an answer.
#[derive(Default)]
struct Both {
    sse: Vec<u8>,
    fold: MessageAccumulator,
}

impl EventSink for Both {
    fn event(&mut self, event: &protocol::anthropic::Event<'_>) {
        sse::write(event, &mut self.sse);
        self.fold.event(event);
    }

    fn raw(&mut self, name: &str, json: &str) {
        sse::write_raw(name, json, &mut self.sse);
        self.fold.raw(name, json);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_do_not_change_forwarded_events(pieces in vec("(<|</|>|[a-z]{1,3}|[ \n\"é]){0,8}", 0..10), at in vec(any::<Index>(), 0..20), usual in any::<bool>()) {
        let spelled = if usual { text } else { reordered };
        let deltas: Vec<String> = pieces.iter().map(|piece| spelled(piece)).collect();
        let events = [START, NOVEL, STOP_0, TEXT].into_iter().chain(deltas.iter().map(String::as_str)).chain([STOP_1, END, LAST]);
        let events: Vec<&str> = events.collect();
        let bytes: Vec<u8> = events.iter().copied().flat_map(chunk).collect();
        let (whole, summary) = run([&*bytes], End::Eof);
        let mut places: Vec<usize> = at.iter().map(|index| index.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        places.sort_unstable();
        let (cut, cut_summary) = run(places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]), End::Eof);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!(&summary, &cut_summary);

        let sent: Vec<u8> = events.iter().copied().flat_map(sent).collect();
        let by_size = at.first().map_or(7, |index| index.index(sent.len()) + 1);
        prop_assert_eq!(run_sse(sent.chunks(by_size)), (whole.clone(), summary));

        let mut both = Both::default();
        let mut pipeline = InvokeStream::new(wire::opening());
        pipeline.push(&bytes, &mut both);
        pipeline.finish(End::Eof, &mut both);
        prop_assert_eq!(String::from_utf8(both.sse).unwrap(), whole);
        let message: serde_json::Value = serde_json::from_slice(&both.fold.finish().unwrap()).unwrap();
        let reported = message["content"][1]["text"].as_str().unwrap();
        prop_assert_eq!(reported, pieces.concat());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..300), event in "\\PC{0,40}") {
        run([&*bytes], End::Eof);
        run([&*[chunk(&event), bytes.clone()].concat()], End::Eof);
        run_sse([&*[sent(&event), bytes].concat()]);
    }
}

/// Events before `message_start` are held; so are events of one kind or of many.
#[test]
fn events_before_the_start_are_bounded() {
    let event = format!(r#"{{"type":"novel","text":"{}"}}"#, "x".repeat(10_000));
    let (frame, line) = (chunk(&event), sent(&event));
    for (events, is_too_much) in [(90, false), (120, true)] {
        let frames = (0..events).map(|_| frame.as_slice());
        let start = chunk(START);
        let (_, summary) = run(frames.chain([start.as_slice()]), End::Eof);
        assert_eq!(summary.usage.is_none(), is_too_much, "{events}");
        let lines = (0..events).map(|_| line.as_slice());
        let start = sent(START);
        let (_, summary) = run_sse(lines.chain([start.as_slice()]));
        assert_eq!(summary.usage.is_none(), is_too_much, "{events}");
        assert_eq!(summary.outcome, Outcome::Failed);
    }
}
