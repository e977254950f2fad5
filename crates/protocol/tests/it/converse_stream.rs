//! Bounds of ConverseStream responses.

use aws_smithy_types::base64;
use protocol::anthropic::MessagesEncoder;
use protocol::anthropic::event_sink::Encoder;
use protocol::translate::{ConverseStream, End, Outcome, Step};
use serde_json::json;

use crate::wire;

/// Redacted reasoning is held until its block ends.
#[test]
fn redacted_reasoning_is_bounded() {
    let piece = base64::encode("x".repeat(1 << 20));
    let delta = json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": piece}}});
    let delta = wire::event("contentBlockDelta", delta.to_string().as_bytes());
    let start = wire::event("messageStart", br#"{"role":"assistant"}"#);
    for (pieces, is_too_much) in [(32, false), (33, true)] {
        let mut out = MessagesEncoder::default();
        let mut stream = ConverseStream::new(wire::opening());
        assert_eq!(stream.push(&start, &mut out), Step::More);
        let steps: Vec<Step> = (0..pieces).map(|_| stream.push(&delta, &mut out)).collect();
        assert_eq!(steps.contains(&Step::Ended), is_too_much, "{pieces}");
        assert_eq!(stream.failure().is_some(), is_too_much, "{pieces}");
        assert_eq!(stream.finish(End::Eof, &mut out).outcome, Outcome::Failed);
        let out = String::from_utf8(out.take()).unwrap();
        assert_eq!(out.contains("redacted reasoning of more than"), is_too_much, "{pieces}");
    }
}
