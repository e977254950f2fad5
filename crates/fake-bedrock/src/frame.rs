//! Frames of `application/vnd.amazon.eventstream` and the padding of their payloads.
//!
//! `aws-smithy-eventstream` encodes; this module sets the headers that Bedrock sends.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use aws_smithy_types::str_bytes::StrBytes;
use bytes::{Bytes, BytesMut};

const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

fn text(name: &'static str, value: impl Into<StrBytes>) -> Header {
    Header::new(name, HeaderValue::String(value.into()))
}

/// Appends an event frame.
pub(crate) fn event(name: impl Into<StrBytes>, payload: impl Into<Bytes>, out: &mut BytesMut) {
    let headers = vec![
        text(":message-type", "event"),
        text(":event-type", name),
        text(":content-type", "application/json"),
    ];
    write(&Message::new_from_parts(headers, payload), out);
}

/// Appends an exception frame; `name` is the camel-case shape name.
pub(crate) fn exception(name: String, payload: impl Into<Bytes>, out: &mut BytesMut) {
    let headers = vec![
        text(":message-type", "exception"),
        text(":exception-type", name),
        text(":content-type", "application/json"),
    ];
    write(&Message::new_from_parts(headers, payload), out);
}

/// Appends an unmodelled error frame with an empty payload.
pub(crate) fn error(code: String, message: String, out: &mut BytesMut) {
    let headers =
        vec![text(":message-type", "error"), text(":error-code", code), text(":error-message", message)];
    write(&Message::new_from_parts(headers, Bytes::new()), out);
}

fn write(message: &Message, out: &mut BytesMut) {
    let before = out.len();
    // Encoding fails only for a fixture's event name of more than 32 KiB; then the frame is left out.
    if write_message_to(message, out).is_err() {
        out.truncate(before);
    }
}

/// Generator of the padding member `p`, with a different length for every frame.
#[derive(Debug)]
pub(crate) struct Padding(u64);

impl Padding {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> &'static str {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Between 1 character and all of them.
        let length = 1 + (self.0 >> 32) as usize % PADDING.len();
        &PADDING[..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::encode_hex;

    const DELTA: &str = "000000a2000000579acad7c80d3a6d6573736167652d747970650700056576656e740b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b22636f6e74656e74426c6f636b496e646578223a302c2264656c7461223a7b2274657874223a2248656c6c6f227d2c2270223a2261626364227d9b1cfb23";
    const EXCEPTION: &str = "000000b0000000614f5086b30d3a6d6573736167652d74797065070009657863657074696f6e0f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b226d657373616765223a22546f6f206d616e7920746f6b656e732c20706c656173652077616974206265666f726520747279696e6720616761696e2e227d3c90a44c";
    const CHUNK: &str = "000000e60000004b23b8750e0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700056368756e6b0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b226279746573223a2265794a306558426c496a6f695932397564475675644639696247396a6131396b5a57783059534973496d6c755a475634496a6f774c434a6b5a5778305953493665794a306558426c496a6f69644756346446396b5a57783059534973496e526c654851694f694a4961534a3966513d3d222c2270223a226162636465666768227d4e00a0f1";
    const METADATA: &str = "0000014b0000004e103909030d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700086d657461646174610d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b226d657472696373223a7b226c6174656e63794d73223a323432317d2c2270223a226162222c227573616765223a7b22636163686544657461696c73223a5b7b22696e707574546f6b656e73223a3130302c2274746c223a223168227d2c7b22696e707574546f6b656e73223a35302c2274746c223a22356d227d5d2c22636163686552656164496e707574546f6b656e73223a323030302c2263616368655772697465496e707574546f6b656e73223a3135302c22696e707574546f6b656e73223a31322c226f7574707574546f6b656e73223a33342c22746f74616c546f6b656e73223a323139367d7d437c6f01";

    fn written(name: &'static str, payload: &'static str) -> String {
        let mut out = BytesMut::new();
        event(name, Bytes::from_static(payload.as_bytes()), &mut out);
        encode_hex(&out)
    }

    #[test]
    fn event_frames_match_the_golden_bytes() {
        assert_eq!(
            written("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hello"},"p":"abcd"}"#),
            DELTA
        );
        assert_eq!(
            written(
                "chunk",
                r#"{"bytes":"eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSIsImluZGV4IjowLCJkZWx0YSI6eyJ0eXBlIjoidGV4dF9kZWx0YSIsInRleHQiOiJIaSJ9fQ==","p":"abcdefgh"}"#
            ),
            CHUNK
        );
        assert_eq!(
            written(
                "metadata",
                r#"{"metrics":{"latencyMs":2421},"p":"ab","usage":{"cacheDetails":[{"inputTokens":100,"ttl":"1h"},{"inputTokens":50,"ttl":"5m"}],"cacheReadInputTokens":2000,"cacheWriteInputTokens":150,"inputTokens":12,"outputTokens":34,"totalTokens":2196}}"#
            ),
            METADATA
        );
    }

    #[test]
    fn exception_frame_matches_the_golden_bytes() {
        let mut out = BytesMut::new();
        exception(
            "throttlingException".into(),
            Bytes::from_static(br#"{"message":"Too many tokens, please wait before trying again."}"#),
            &mut out,
        );
        assert_eq!(encode_hex(&out), EXCEPTION);
    }

    #[test]
    fn padding_lengths_vary() {
        let mut padding = Padding::new(7);
        let lengths: std::collections::HashSet<_> = (0..50).map(|_| padding.next().len()).collect();
        assert!(lengths.len() > 10);
        assert!(lengths.iter().all(|length| (1..=PADDING.len()).contains(length)));
    }
}
