//! Bytes into frames of `application/vnd.amazon.eventstream`.
//!
//! A frame, all integers big-endian: total length, length of the headers, CRC-32 of these eight bytes;
//! headers; payload; CRC-32 of everything before it. Frames do not keep to the chunks they arrive in.
//! See <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream>.

use std::fmt;
use std::ops::Range;

const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// Maximum size of a frame, in bytes: headers of 128 KiB and a payload of 24 MiB, as AWS's SDKs accept them. Frames of
/// Bedrock have some kilobytes. <https://github.com/boto/botocore/blob/develop/botocore/eventstream.py>
pub const MAX_FRAME: usize = PRELUDE + (128 << 10) + (24 << 20) + CHECKSUM;

/// Type of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind<'a> {
    /// An event of this type.
    Event(&'a str),
    /// A modelled exception of this type: the request failed although the status was 200.
    Exception(&'a str),
    /// An unmodelled error.
    Error {
        /// Its code.
        code: &'a str,
        /// Its text.
        message: &'a str,
    },
    /// Another kind of message.
    Other(&'a str),
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Content of the frame.
    pub kind: FrameKind<'a>,
    /// Payload; JSON for all known types.
    pub payload: &'a [u8],
}

/// Error of decoding frames. The stream cannot continue after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The lengths contradict each other.
    Length,
    /// The frame is larger than [`MAX_FRAME`].
    TooLarge(usize),
    /// The first twelve bytes were altered.
    PreludeChecksum,
    /// The frame was altered.
    MessageChecksum,
    /// The headers are not headers.
    Headers,
    /// The stream ended inside a frame.
    Truncated,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("a frame with impossible lengths"),
            Self::TooLarge(bytes) => write!(f, "a frame of {bytes} bytes; at most {MAX_FRAME} are accepted"),
            Self::PreludeChecksum => f.write_str("a frame whose prelude checksum is wrong"),
            Self::MessageChecksum => f.write_str("a frame whose checksum is wrong"),
            Self::Headers => f.write_str("a frame with malformed headers"),
            Self::Truncated => f.write_str("the stream ended inside a frame"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Decoder of frames. Buffers at most the bytes of one incomplete frame, beyond the
/// bytes it was fed last.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    read: usize,
}

impl FrameDecoder {
    /// Takes the next bytes. Call [`next_frame`](Self::next_frame) until it returns `None` before the next call.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are not a frame. Every later call returns the same.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let bytes = &self.buffer[self.read..];
        let Some(prelude) = bytes.first_chunk::<PRELUDE>() else {
            return Ok(None);
        };
        let total = check_prelude(prelude)?;
        let Some(bytes) = bytes.get(..total) else {
            return Ok(None);
        };
        let frame = read_frame(bytes)?;
        self.read += total;
        Ok(Some(frame))
    }

    /// Checks that the stream ended between two of them.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when it ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.read == self.buffer.len() { Ok(()) } else { Err(FrameError::Truncated) }
    }
}

/// Checks the first twelve bytes, lengths before anything is buffered, and returns the total length.
fn check_prelude(prelude: &[u8; PRELUDE]) -> Result<usize, FrameError> {
    let [t0, t1, t2, t3, h0, h1, h2, h3, checksum @ ..] = *prelude;
    if crc32fast::hash(&prelude[..8]) != u32::from_be_bytes(checksum) {
        return Err(FrameError::PreludeChecksum);
    }
    let total = u32::from_be_bytes([t0, t1, t2, t3]) as usize;
    let headers = u32::from_be_bytes([h0, h1, h2, h3]) as usize;
    if total > MAX_FRAME {
        return Err(FrameError::TooLarge(total));
    }
    if headers > total.saturating_sub(PRELUDE + CHECKSUM) || total < PRELUDE + CHECKSUM {
        return Err(FrameError::Length);
    }
    Ok(total)
}

/// Reads a whole frame whose prelude is known to be right.
fn read_frame(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(FrameError::Length)?;
    if crc32fast::hash(covered) != u32::from_be_bytes(*checksum) {
        return Err(FrameError::MessageChecksum);
    }
    let headers = covered[4..].first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let (headers, payload) = covered[PRELUDE..].split_at_checked(headers).ok_or(FrameError::Length)?;
    Ok(Frame { kind: read_headers(headers)?, payload })
}

fn read_headers(mut bytes: &[u8]) -> Result<FrameKind<'_>, FrameError> {
    let (mut message_type, mut kind, mut code, mut text) = ("", "", "", "");
    while !bytes.is_empty() {
        let (name, value, rest) = read_header(bytes).ok_or(FrameError::Headers)?;
        bytes = rest;
        let Some(value) = value else { continue };
        let value = std::str::from_utf8(value).map_err(|_| FrameError::Headers)?;
        match name {
            b":message-type" => message_type = value,
            b":event-type" | b":exception-type" => kind = value,
            b":error-code" => code = value,
            b":error-message" => text = value,
            _ => {}
        }
    }
    Ok(match message_type {
        "event" => FrameKind::Event(kind),
        "exception" => FrameKind::Exception(kind),
        "error" => FrameKind::Error { code, message: text },
        other => FrameKind::Other(other),
    })
}

/// Name and, when it is a string, value of the first header; and what follows it.
#[allow(clippy::type_complexity)]
fn read_header(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>, &[u8])> {
    const STRING: u8 = 7;
    let (&length, bytes) = bytes.split_first()?;
    let (name, bytes) = bytes.split_at_checked(usize::from(length))?;
    let (&kind, bytes) = bytes.split_first()?;
    let value: Range<usize> = match kind {
        0 | 1 => 0..0,
        2 => 0..1,
        3 => 0..2,
        4 => 0..4,
        5 | 8 => 0..8,
        9 => 0..16,
        6 | STRING => 2..2 + usize::from(u16::from_be_bytes(*bytes.first_chunk()?)),
        _ => return None,
    };
    let rest = bytes.get(value.end..)?;
    let value = bytes.get(value)?;
    Some((name, (kind == STRING).then_some(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text delta "Hello"; checked with botocore's EventStreamBuffer.
    const HELLO: &str = "000000a2000000579acad7c80d3a6d6573736167652d747970650700056576656e740b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b22636f6e74656e74426c6f636b496e646578223a302c2264656c7461223a7b2274657874223a2248656c6c6f227d2c2270223a2261626364227d9b1cfb23";
    /// A throttling exception; checked the same way.
    const THROTTLED: &str = "000000b0000000614f5086b30d3a6d6573736167652d74797065070009657863657074696f6e0f3a657863657074696f6e2d747970650700137468726f74746c696e67457863657074696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b226d657373616765223a22546f6f206d616e7920746f6b656e732c20706c656173652077616974206265666f726520747279696e6720616761696e2e227d3c90a44c";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn golden_frames_are_decoded() {
        let mut decoder = FrameDecoder::default();
        decoder.feed(&[bytes(HELLO), bytes(THROTTLED)].concat());
        assert_eq!(
            decoder.next_frame().unwrap().unwrap(),
            Frame {
                kind: FrameKind::Event("contentBlockDelta"),
                payload: br#"{"contentBlockIndex":0,"delta":{"text":"Hello"},"p":"abcd"}"#
            }
        );
        assert_eq!(decoder.next_frame().unwrap().unwrap().kind, FrameKind::Exception("throttlingException"));
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn every_altered_byte_is_detected() {
        let frame = bytes(HELLO);
        for at in 0..frame.len() {
            let mut altered = frame.clone();
            altered[at] ^= 0x20;
            let mut decoder = FrameDecoder::default();
            decoder.feed(&altered);
            assert!(decoder.next_frame().is_err(), "byte {at}");
        }
    }

    #[test]
    fn truncation_at_any_byte_is_detected() {
        let frame = bytes(HELLO);
        for end in 1..frame.len() {
            let mut decoder = FrameDecoder::default();
            decoder.feed(&frame[..end]);
            assert_eq!(decoder.next_frame(), Ok(None));
            assert_eq!(decoder.finish(), Err(FrameError::Truncated), "cut at {end}");
        }
    }

    #[test]
    fn too_large_frame_is_rejected_before_buffering() {
        let mut prelude = 0x4000_0000_u32.to_be_bytes().to_vec();
        prelude.extend([0; 4]);
        prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
        let mut decoder = FrameDecoder::default();
        decoder.feed(&prelude);
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLarge(0x4000_0000)));
    }
}
