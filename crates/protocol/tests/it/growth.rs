//! How the work on responses and errors grows: twice the input takes at most 2.5 times the time. Requests are measured where
//! all parts of their planning are, in the server.

use std::fmt::Write as _;
use std::time::Duration;

use protocol::anthropic::MessageAccumulator;
use protocol::anthropic::event_sink::EventSink;
use protocol::converse::event::Exception;
use protocol::tag_buffer::TagBuffer;
use protocol::translate::{detect_unsupported, map_error};
use rustix::time::{ClockId, clock_gettime};

const MAX_GROWTH: f64 = 2.5;
const NOISE: Duration = Duration::from_millis(1);
const ATTEMPTS: usize = 15;
const COUNT: usize = 20_000;

/// CPU time of this thread for `work`.
fn time(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    };
    let begun = now();
    work();
    now() - begun
}

fn check(name: &str, work: impl Fn(usize)) {
    let mut shortest = (Duration::MAX, Duration::MAX);
    for _ in 0..ATTEMPTS {
        shortest.0 = shortest.0.min(time(|| work(COUNT)));
        shortest.1 = shortest.1.min(time(|| work(2 * COUNT)));
        if shortest.1 <= shortest.0.mul_f64(MAX_GROWTH) + NOISE {
            return;
        }
    }
    panic!("{name} grows faster than its input: {shortest:?}");
}

/// A message with these events after its begin, accumulated.
fn accumulate(events: impl Iterator<Item = (&'static str, String)>) {
    let mut accumulator = MessageAccumulator::default();
    accumulator.raw("message_start", r#"{"message":{"content":[],"usage":{}}}"#);
    for (name, json) in events {
        accumulator.raw(name, &json);
    }
    accumulator.raw("message_stop", "{}");
    accumulator.finish().unwrap();
}

#[test]
fn response_time_grows_with_the_response() {
    check("blocks", |count| {
        let start =
            |at| ("content_block_start", format!(r#"{{"index":{at},"content_block":{{"type":"text"}}}}"#));
        let delta = |_| ("content_block_delta", r#"{"index":0,"delta":{"text":"x"}}"#.to_owned());
        accumulate((0..count).map(start).chain((0..count).map(delta)));
    });
    check("members of the end", |count| {
        accumulate(
            (0..count / 20).map(|at| ("message_delta", format!(r#"{{"m{at}":1,"usage":{{"u{at}":1}}}}"#))),
        );
    });
    check("cut arguments", |count| {
        let block = r#"{"index":0,"content_block":{"type":"tool_use","id":"a","name":"t","input":{}}}"#;
        let json = "[".repeat(count);
        let delta = format!(r#"{{"index":0,"delta":{{"partial_json":"{json}"}}}}"#);
        accumulate([("content_block_start", block.to_owned()), ("content_block_delta", delta)].into_iter());
    });
    check("tags in text", |count| {
        let mut tags = TagBuffer::default();
        (0..count).for_each(|_| tags.push("<a b", |_| {}));
    });
}

#[test]
fn error_time_grows_with_the_text() {
    let map = |text: String| {
        let exception = Exception { message: Some(text), ..Exception::default() };
        let _ = map_error(400, "ValidationException", &exception);
    };
    check("digits", |count| map("7".repeat(count)));
    check("numbers", |count| map("123456789012 ".repeat(count / 13)));
    check("ARNs", |count| map("arn:aws:x ".repeat(count / 10)));
    check("a text of quotes", |count| map("`".repeat(count)));
    let text = "tools.0.custom.strict: Extra inputs are not permitted";
    check("a deep body", |count| {
        let body = format!("{}\"{}\"{}", "[".repeat(100), "x".repeat(10 * count), "]".repeat(100));
        let _ = detect_unsupported(text, &body);
    });
    check("a body of many members", |count| {
        let mut body = r#"{"a":0"#.to_owned();
        (0..count).for_each(|at| write!(body, r#","m{at}":{{"x":[1]}}"#).unwrap());
        let _ = detect_unsupported(text, &(body + "}"));
    });
}
