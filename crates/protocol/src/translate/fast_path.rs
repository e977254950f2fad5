//! Recognition of the shapes that nearly all events have, without parsing.
//!
//! Each function recognizes one spelling, byte for byte, and leaves every other to the parser. What
//! it does recognise is valid JSON.

/// Shape of a delta that needs no parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeltaShape<'a> {
    /// Text, as JSON spells it; a `<` in it stands for itself.
    Text(&'a [u8]),
    /// Thinking, or arguments of a tool.
    Other,
}

/// Shape of `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"…"}}` and its like.
pub(super) fn delta_shape(json: &str) -> Option<DeltaShape<'_>> {
    let rest = json.as_bytes().strip_prefix(br#"{"type":"content_block_delta","index":"#)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // Ten digits may be more than a number of a block can be; a second one after a zero is no JSON.
    if !(1..10).contains(&digits) || (digits > 1 && rest.first() == Some(&b'0')) {
        return None;
    }
    let delta = rest.get(digits..)?.strip_prefix(br#","delta":{"type":""#)?.strip_suffix(br#""}}"#)?;
    if let Some(text) = delta.strip_prefix(br#"text_delta","text":""#) {
        return is_plain(text).then_some(DeltaShape::Text(text));
    }
    let other = delta
        .strip_prefix(br#"input_json_delta","partial_json":""#)
        .or_else(|| delta.strip_prefix(br#"thinking_delta","thinking":""#))?;
    is_plain(other).then_some(DeltaShape::Other)
}

/// The base64 in `{"bytes":"…","p":"…"}`.
pub(super) fn chunk_bytes(payload: &[u8]) -> Option<&[u8]> {
    let rest = payload.strip_prefix(br#"{"bytes":""#)?;
    let (encoded, tail) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
    let padding = match tail {
        br#""}"# => &[],
        _ => tail.strip_prefix(br#"","p":""#)?.strip_suffix(br#""}"#)?,
    };
    padding.iter().all(u8::is_ascii_alphanumeric).then_some(encoded)
}

/// Whether `text` may stand between quotes, and spells no letter by its number.
fn is_plain(text: &[u8]) -> bool {
    let special = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    // Without a way out in the middle, so that many bytes are looked at together.
    if !text.iter().fold(false, |any, byte| any | special(byte)) {
        return true;
    }
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let legal = match byte {
            b'\\' => matches!(bytes.next(), Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')),
            byte => !special(byte),
        };
        if !legal {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{json}"}}}}"#
        )
    }

    #[test]
    fn deltas_of_the_usual_shape_are_recognised() {
        for text_of_delta in ["", "Hello", "héllo \u{1F600}", r#"a\n\"b\"\\ \/"#, "a < b"] {
            assert_eq!(
                delta_shape(&text(text_of_delta)),
                Some(DeltaShape::Text(text_of_delta.as_bytes())),
                "{text_of_delta}"
            );
        }
        for json in [
            r#"{"type":"content_block_delta","index":12,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        ] {
            assert_eq!(delta_shape(json), Some(DeltaShape::Other), "{json}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_parser() {
        for text_of_delta in [r#"a"b"#, r"a\", r"\x", r"\u003c", "a\nb", r#"","more":"x"#, r#"a","text":"b"#]
        {
            assert_eq!(delta_shape(&text(text_of_delta)), None, "{text_of_delta}");
        }
        let usual = text("a");
        for json in [
            "",
            "{}",
            &usual[..usual.len() - 1],
            &usual[1..],
            &usual.replace("0,", "00,"),
            &usual.replace("0,", "-1,"),
            &usual.replace("0,", "9999999999,"),
            &usual.replace("0,", ","),
            &usual.replace(':', ": "),
            &usual.replace("text_delta", "novel_delta"),
            &format!("{usual} "),
        ] {
            assert_eq!(delta_shape(json), None, "{json}");
        }
    }

    #[test]
    fn the_usual_chunks_are_recognised_and_no_others() {
        assert_eq!(chunk_bytes(br#"{"bytes":"YQ==","p":"abcDEF012"}"#), Some(&b"YQ=="[..]));
        assert_eq!(chunk_bytes(br#"{"bytes":"YQ=="}"#), Some(&b"YQ=="[..]));
        assert_eq!(chunk_bytes(br#"{"bytes":"","p":""}"#), Some(&b""[..]));
        for other in [
            &br#"{"p":"a","bytes":"YQ=="}"#[..],
            br#"{"bytes":"YQ==","p":"a\nb"}"#,
            br#"{"bytes":"YQ==","p":"a","q":1}"#,
            br#"{"bytes":"YQ==","p":1}"#,
            br#"{"bytes":"YQ=="#,
            b"",
        ] {
            assert_eq!(chunk_bytes(other), None, "{}", String::from_utf8_lossy(other));
        }
    }
}
