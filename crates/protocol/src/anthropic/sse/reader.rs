//! Decoder of server-sent events, as Bedrock's Messages API sends them.
//!
//! Only the data of an event is used: its JSON has the type as well. See
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>.

use std::fmt;

/// Maximum size of an event, in bytes: that of the payload of a frame of AWS's event stream.
pub const MAX_EVENT: usize = 24 << 20;

/// Error of decoding events. The stream cannot continue after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SseError {
    /// The event is larger than [`MAX_EVENT`].
    TooLarge,
    /// The stream ended inside an event.
    Truncated,
}

impl fmt::Display for SseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "an event of more than {MAX_EVENT} bytes"),
            Self::Truncated => f.write_str("the stream ended inside an event"),
        }
    }
}

impl std::error::Error for SseError {}

/// Decoder of server-sent events. Buffers at most the bytes of one incomplete event, beyond the bytes it was
/// fed last.
#[derive(Debug, Default)]
pub struct SseReader {
    buffer: Vec<u8>,
    read: usize,
    /// How much of the buffer behind `read` is known to hold no line end.
    searched: usize,
    /// Whether the last line ended with a carriage return, which a line feed may belong to.
    returned: bool,
    /// The data of the event so far.
    data: Vec<u8>,
    has_data: bool,
    /// Whether that event was returned.
    returned_event: bool,
}

impl SseReader {
    /// Takes the next bytes. Call [`next_event`](Self::next_event) until it returns `None` before the next call.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.read);
        self.read = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The data of the next whole event, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the event is too large. Every later call returns the same.
    pub fn next_event(&mut self) -> Result<Option<&[u8]>, SseError> {
        if std::mem::take(&mut self.returned_event) {
            self.data.clear();
            self.has_data = false;
        }
        loop {
            let rest = &self.buffer[self.read..];
            let unsearched = rest.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr2(b'\n', b'\r', unsearched) else {
                self.searched = rest.len();
                let size = self.data.len() + rest.len();
                return if size > MAX_EVENT { Err(SseError::TooLarge) } else { Ok(None) };
            };
            let at = self.searched + at;
            let (line, returned) = (&rest[..at], rest[at] == b'\r');
            let is_second_half = self.returned && line.is_empty() && !returned;
            self.read += at + 1;
            self.searched = 0;
            self.returned = returned;
            if line.is_empty() {
                if self.has_data && !is_second_half {
                    self.returned_event = true;
                    return Ok(Some(&self.data));
                }
            } else if let Some(value) = value(line) {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                if self.data.len() > MAX_EVENT {
                    return Err(SseError::TooLarge);
                }
            }
        }
    }

    /// Checks that the stream ended between two of them.
    ///
    /// # Errors
    /// [`SseError::Truncated`] when it ended inside an event.
    pub fn finish(&self) -> Result<(), SseError> {
        let between = (!self.has_data || self.returned_event) && self.read == self.buffer.len();
        if between { Ok(()) } else { Err(SseError::Truncated) }
    }
}

/// Data of a line; `None` for other fields and comments.
fn value(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data")?;
    match value {
        [] => Some(value),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of `text`, fed in pieces of `size` bytes.
    fn events(text: &str, size: usize) -> (Vec<String>, Result<(), SseError>) {
        let mut reader = SseReader::default();
        let mut events = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            reader.feed(piece);
            while let Some(data) = reader.next_event().unwrap() {
                events.push(String::from_utf8(data.to_vec()).unwrap());
            }
        }
        (events, reader.finish())
    }

    #[test]
    fn every_line_end_and_cut_is_decoded() {
        let text = "event: a\ndata: {\"a\":1}\n\n:comment\n\nid: 7\ndata:{\ndata\ndata:  }\nnovel: x\n\nevent: b\n\ndata: é\n\n";
        for end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', end);
            for size in 1..=text.len() {
                let (events, ended) = events(&text, size);
                assert_eq!(events, ["{\"a\":1}", "{\n\n }", "é"], "{end:?} in pieces of {size}");
                assert_eq!(ended, Ok(()));
            }
        }
    }

    #[test]
    fn truncated_event_is_detected() {
        for text in ["data: a\n\ndata: b\n", "data: a\n\nda"] {
            assert_eq!(events(text, 3), (vec!["a".to_owned()], Err(SseError::Truncated)));
        }
    }

    #[test]
    fn too_large_event_is_not_held() {
        let line = [&b"data: "[..], &[b'x'; 1024 * 1024], b"\n"].concat();
        for piece in [&line[..], &line[..line.len() - 1]] {
            let mut reader = SseReader::default();
            let refused = (0..30).any(|_| {
                reader.feed(piece);
                reader.next_event() == Err(SseError::TooLarge)
            });
            assert!(refused && reader.buffer.len() + reader.data.len() < MAX_EVENT + 3 * line.len());
        }
    }
}
