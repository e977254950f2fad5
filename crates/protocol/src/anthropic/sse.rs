//! Events as server-sent events.
//!
//! Clients read the `event:` line as well as the `data:` line; some drop an event that lacks the
//! former. See <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

mod reader;

pub use reader::{MAX_EVENT, SseError, SseReader};

use super::Event;

/// Ping event, against idle timeouts of clients.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// Appends a forwarded event: its name and its JSON.
///
/// A line end between members would end the `data:` line; each line of the JSON gets one of its own.
#[inline]
pub fn write_raw(name: &str, json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(json.as_bytes());
        out.extend_from_slice(b"\n\n");
        return;
    }
    // JSON has line ends between its tokens only, where an empty line has no meaning.
    for line in json.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(line.as_bytes());
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends `event` to `out`.
pub fn write(event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.name().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let written = serde_json::to_writer(&mut *out, event);
    debug_assert!(written.is_ok(), "events are plain data and a Vec takes every byte");
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::Delta;

    #[test]
    fn event_is_two_lines_and_a_blank_line() {
        let mut out = Vec::new();
        let delta = Delta::TextDelta { text: "data: a\n\nevent: b\u{2028}\"".into() };
        write(&Event::ContentBlockDelta { index: 3, delta }, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":3,\
             \"delta\":{\"type\":\"text_delta\",\"text\":\"data: a\\n\\nevent: b\u{2028}\\\"\"}}\n\n"
        );
    }

    #[test]
    fn line_ends_in_json_keep_the_event_whole() {
        let mut out = Vec::new();
        write_raw("novel", "{\r\"a\":\r\n\n1}", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "event: novel\ndata: {\ndata: \"a\":\ndata: 1}\n\n");
    }

    #[test]
    fn ping_is_what_the_event_would_be() {
        let mut out = Vec::new();
        write(&Event::Ping, &mut out);
        assert_eq!(out, PING);
    }
}
