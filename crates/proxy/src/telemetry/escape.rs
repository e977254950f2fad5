//! Text as it may stand in a line: one line stays one line, and a terminal shows what is there.

use std::fmt::Write as _;

/// Whether a terminal, a reader or a collector of lines could take `c` for something else than a letter: control
/// characters, line breaks of Unicode, and characters that turn the direction of what follows.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'
                | '\u{2029}'
                | '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// Appends `text` as a JSON string, with everything escaped that is hidden.
pub(super) fn quoted(text: &str, out: &mut String) {
    out.push('"');
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push_str(text);
    } else {
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c => letter(c, out),
            }
        }
    }
    out.push('"');
}

/// Appends `text` without quotes, if nobody could take it for more than one word; else with them.
pub(super) fn word(text: &str, out: &mut String) {
    let fits = |c: char| c.is_alphanumeric() || "-_.:/@+,%*#~[]".contains(c);
    if !text.is_empty() && text.chars().all(fits) { out.push_str(text) } else { quoted(text, out) }
}

/// Appends `text` without quotes, if nobody could take a part of it for a field; else with them.
pub(super) fn sentence(text: &str, out: &mut String) {
    if text.contains(['=', '"', '\\']) || text.chars().any(is_hidden) {
        quoted(text, out);
    } else {
        out.push_str(text);
    }
}

fn letter(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hidden(c) => {
            // All of them are in the basic plane; writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(write: impl Fn(&str, &mut String), text: &str) -> String {
        let mut out = String::new();
        write(text, &mut out);
        out
    }

    #[test]
    fn hidden_characters_are_shown() {
        let text = "a\r\nb\u{1b}[31m\u{9b}2J\u{2028}\u{202e}\u{feff}\u{7f}\"\\é";
        assert_eq!(with(quoted, text), r#""a\r\nb\u001b[31m\u009b2J\u2028\u202e\ufeff\u007f\"\\é""#);
    }

    #[test]
    fn what_could_be_taken_for_a_field_is_quoted() {
        assert_eq!(with(word, "claude-sonnet-4-5"), "claude-sonnet-4-5");
        assert_eq!(with(word, "ana level=error"), r#""ana level=error""#);
        assert_eq!(with(word, ""), r#""""#);
        assert_eq!(with(sentence, "GET /v1/messages"), "GET /v1/messages");
        assert_eq!(with(sentence, "GET /x user=root"), r#""GET /x user=root""#);
        assert_eq!(with(sentence, "a\nb"), r#""a\nb""#);
    }

    proptest! {
        #[test]
        fn a_quoted_text_reads_back_as_it_was_and_hides_nothing(text in any::<String>()) {
            let json = with(quoted, &text);
            prop_assert!(!json.chars().any(is_hidden), "{json}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
