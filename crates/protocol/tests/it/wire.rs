//! Frames as AWS's own library writes them, and answers as clients see them.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use protocol::anthropic::{Event, StreamValidator, sse};
use protocol::translate::{self, ConverseStream, End, Step, StreamContext, StreamSummary};

/// An event frame.
pub(crate) fn event(kind: &str, payload: &[u8]) -> Vec<u8> {
    frame(
        &[(":message-type", "event"), (":event-type", kind), (":content-type", "application/json")],
        payload,
    )
}

/// An exception frame.
pub(crate) fn exception(kind: &str, payload: &[u8]) -> Vec<u8> {
    frame(
        &[(":message-type", "exception"), (":exception-type", kind), (":content-type", "application/json")],
        payload,
    )
}

/// A frame with these headers.
pub(crate) fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let headers = headers.iter().map(|(name, value)| {
        Header::new((*name).to_owned(), HeaderValue::String((*value).to_owned().into()))
    });
    let message = Message::new_from_parts(headers.collect(), payload.to_vec());
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

/// A script of one event a line, `{"contentBlockDelta":{…}}` or `{"exception":{"type":…}}`, into frames.
pub(crate) fn frames(script: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in script.lines().filter(|line| !line.trim().is_empty()) {
        let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let (kind, payload) = value.into_iter().next().unwrap();
        match kind.as_str() {
            "exception" => {
                let name = payload["type"].as_str().unwrap().to_owned();
                bytes.extend(exception(&name, payload.to_string().as_bytes()));
            }
            "error" => {
                let [code, message] = ["code", "message"].map(|key| payload[key].as_str().unwrap());
                let headers =
                    [(":message-type", "error"), (":error-code", code), (":error-message", message)];
                bytes.extend(frame(&headers, b""));
            }
            "raw" => bytes.extend(payload.as_str().unwrap().bytes()),
            _ => bytes.extend(event(&kind, payload.to_string().as_bytes())),
        }
    }
    bytes
}

/// What the answer to a model named `m` is called in the tests.
pub(crate) fn opening() -> StreamContext {
    StreamContext {
        message_id: "msg_test".to_owned(),
        model: "m".to_owned(),
        request_id: "req_test".to_owned(),
        tag_buffer: true,
        ..StreamContext::default()
    }
}

/// Runs chunks through a pipeline. Every stream is held against the grammar on its way.
pub(crate) fn run<'c>(
    opening: StreamContext,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    end: End,
    mut out: impl FnMut(&Event<'_>),
) -> StreamSummary {
    let mut grammar = StreamValidator::default();
    let mut checked = |event: &Event<'_>| {
        grammar.push(event).unwrap();
        out(event);
    };
    let mut pipeline = ConverseStream::new(opening);
    for chunk in chunks {
        if pipeline.push(chunk, &mut checked) == Step::Ended {
            break;
        }
    }
    let cancelled = end == End::Cancelled;
    let summary = pipeline.finish(end, &mut checked);
    assert!(cancelled || grammar.is_closed(), "a stream ends with an outcome");
    summary
}

/// Unfolds a whole answer. It is held against the grammar, too.
pub(crate) fn unfold(response: &[u8], mut out: impl FnMut(&Event<'_>)) -> StreamSummary {
    let mut grammar = StreamValidator::default();
    let summary = translate::translate_response(response, opening(), &mut |event: &Event<'_>| {
        grammar.push(event).unwrap();
        out(event);
    });
    assert!(grammar.is_closed(), "a response ends with an outcome");
    summary
}

/// The bytes a client is sent.
pub(crate) fn sse_of(bytes: &[u8], end: End) -> (String, StreamSummary) {
    let mut out = Vec::new();
    let summary = run(opening(), [bytes], end, |event| sse::write(event, &mut out));
    (String::from_utf8(out).unwrap(), summary)
}
