//! Text made safe for a log line: secrets are removed, and control characters are escaped.
//!
//! This is the second line of defence against secrets in the log: configured ones are of the type [`Secret`], which
//! prints nothing. A value can neither end its line nor pass for another field.

use std::borrow::Cow;
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use crate::secret::Secret;

/// Replacement of a secret.
const REDACTED: &str = "[redacted]";
/// Shortest configured secret that is searched for, in bytes: a shorter one would match ordinary words.
const MIN_SECRET_BYTES: usize = 8;
/// Bytes beyond a cut that are enough to recognize a secret by its pattern.
const MIN_LOOKAHEAD_BYTES: usize = 512;
/// Prefixes of secrets, and what follows them. A URL holds its secret before the `@`.
const SECRET_PATTERNS: [(&str, SecretPattern); 10] = [
    ("eyJ", SecretPattern { is_part: is_token, min_bytes: 20, is_secret: is_jwt }),
    ("AKIA", SecretPattern { is_part: is_key_id, min_bytes: 20, is_secret: always }),
    ("ASIA", SecretPattern { is_part: is_key_id, min_bytes: 20, is_secret: always }),
    ("ABSK", SecretPattern { is_part: is_token, min_bytes: 24, is_secret: always }),
    ("bedrock-api-key-", SecretPattern { is_part: is_token, min_bytes: 24, is_secret: always }),
    ("sk-ant-", SecretPattern { is_part: is_token, min_bytes: 16, is_secret: always }),
    ("Bearer ", SecretPattern { is_part: is_token, min_bytes: 23, is_secret: always }),
    ("bearer ", SecretPattern { is_part: is_token, min_bytes: 23, is_secret: always }),
    ("BEARER ", SecretPattern { is_part: is_token, min_bytes: 23, is_secret: always }),
    ("://", SecretPattern { is_part: is_authority, min_bytes: 0, is_secret: always }),
];

#[derive(Clone, Copy)]
struct SecretPattern {
    /// Whether a byte after the prefix is a part of the secret.
    is_part: fn(u8) -> bool,
    /// Shortest length, prefix included; 0 for the part of a URL before the `@`.
    min_bytes: usize,
    /// Whether text with the prefix and this length is a secret.
    is_secret: fn(&[u8]) -> bool,
}

fn always(_: &[u8]) -> bool {
    true
}

/// Whether `text` begins with the header and the payload of a JSON Web Token: `eyJ` alone is in some ids by chance. The
/// signature may be cut off, or missing.
fn is_jwt(text: &[u8]) -> bool {
    /// The shortest header, `{"alg":"none"}`, has 19 characters; no claims that anybody needs are shorter than 16.
    const MIN_PART_BYTES: usize = 16;
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let mut parts = text.splitn(3, |byte| *byte == b'.');
    let (Some(header), Some(payload)) = (parts.next(), parts.next()) else { return false };
    let is_part = |part: &[u8]| {
        let length = part.iter().take_while(|byte| is_base64url(byte)).count();
        length >= MIN_PART_BYTES
    };
    let has_signature = parts.next().is_some();
    is_part(header) && is_part(payload) && (has_signature || payload.starts_with(b"eyJ"))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

fn is_key_id(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_authority(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"/?#\"'<>".contains(&byte)
}

/// Removes secrets from texts.
#[derive(Debug)]
pub(super) struct Scrubber {
    secrets: AhoCorasick,
    prefixes: AhoCorasick,
    lookahead: usize,
}

impl Scrubber {
    /// Creates a scrubber for the values of `secrets` and for [`SECRET_PATTERNS`].
    ///
    /// # Errors
    /// When the secrets are too long for one automaton.
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, BuildError> {
        let values = secrets.iter().map(Secret::expose).filter(|value| value.len() >= MIN_SECRET_BYTES);
        let values: Vec<&str> = values.collect();
        Ok(Self {
            secrets: AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&values)?,
            prefixes: AhoCorasick::new(SECRET_PATTERNS.map(|(prefix, _)| prefix))?,
            lookahead: values.iter().map(|value| value.len()).max().unwrap_or(0).max(MIN_LOOKAHEAD_BYTES),
        })
    }

    /// Bytes beyond a cut that must be scrubbed too: a secret may lie across the cut.
    pub(super) fn lookahead(&self) -> usize {
        self.lookahead
    }

    /// Replaces the secrets in `text` by `[redacted]`.
    pub(super) fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let has_secrets = self.secrets.patterns_len() > 0 && self.secrets.is_match(text);
        let text = if has_secrets { Cow::Owned(self.scrub_values(text)) } else { Cow::Borrowed(text) };
        match scrub_patterns(&self.prefixes, &text) {
            Some(scrubbed) => Cow::Owned(scrubbed),
            None => text,
        }
    }

    fn scrub_values(&self, text: &str) -> String {
        let mut scrubbed = String::with_capacity(text.len());
        self.secrets.replace_all_with(text, &mut scrubbed, |_, _, out| {
            out.push_str(REDACTED);
            true
        });
        scrubbed
    }
}

/// Replaces secrets that match a pattern; `None` when there are none.
fn scrub_patterns(prefixes: &AhoCorasick, text: &str) -> Option<String> {
    let (mut scrubbed, mut copied) = (None::<String>, 0);
    for found in prefixes.find_iter(text) {
        let Some((_, pattern)) = SECRET_PATTERNS.get(found.pattern().as_usize()) else { continue };
        if found.start() < copied {
            continue;
        }
        let rest = text.as_bytes().get(found.end()..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| (pattern.is_part)(**byte)).count();
        let (start, end) = if pattern.min_bytes == 0 {
            // Only the part before the last @ of a URL is a user name and a password.
            let Some(length) = rest.iter().take(length).rposition(|byte| *byte == b'@') else { continue };
            (found.end(), found.end() + length)
        } else {
            let end = found.end() + length;
            let secret = text.as_bytes().get(found.start()..end).unwrap_or_default();
            if secret.len() < pattern.min_bytes || !(pattern.is_secret)(secret) {
                continue;
            }
            (found.start(), end)
        };
        let scrubbed = scrubbed.get_or_insert_default();
        scrubbed.push_str(text.get(copied..start).unwrap_or_default());
        scrubbed.push_str(REDACTED);
        copied = end;
    }
    let mut scrubbed = scrubbed?;
    scrubbed.push_str(text.get(copied..).unwrap_or_default());
    Some(scrubbed)
}

/// Whether a terminal or a log reader could take `c` for something else than a letter: control characters, line breaks
/// of Unicode, and characters that change the text direction.
fn is_control(c: char) -> bool {
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

/// Appends `text` as a JSON string, with all control characters escaped.
pub(super) fn push_quoted(text: &str, out: &mut String) {
    out.push('"');
    let is_plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push_str(text);
    } else {
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c => push_escaped(c, out),
            }
        }
    }
    out.push('"');
}

/// Appends `text` as the value of a text field: quoted, unless it is one word.
pub(super) fn push_word(text: &str, out: &mut String) {
    let fits = |c: char| c.is_alphanumeric() || "-_.:/@+,%*#~[]".contains(c);
    if !text.is_empty() && text.chars().all(fits) { out.push_str(text) } else { push_quoted(text, out) }
}

/// Appends `text` as the message of a text line: quoted, if a part of it could pass for a field.
pub(super) fn push_message(text: &str, out: &mut String) {
    if text.contains(['=', '"', '\\']) || text.chars().any(is_control) {
        push_quoted(text, out);
    } else {
        out.push_str(text);
    }
}

fn push_escaped(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_control(c) => {
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

    fn scrub(text: &str) -> String {
        let secrets = ["hunter2-hunter2", "hunter2-hunter2-and-more", "short"].map(Secret::new);
        Scrubber::new(&secrets).unwrap().scrub(text).into_owned()
    }

    #[test]
    fn texts_with_a_secret_pattern_are_redacted() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiYW5hIn0.c2lnbmF0dXJl-_";
        for (text, wanted) in [
            (format!("token {jwt} expired"), "token [redacted] expired"),
            (jwt.to_owned(), "[redacted]"),
            (format!("{}.", jwt.rsplit_once('.').unwrap().0), "[redacted]"),
            (jwt.rsplit_once('.').unwrap().0.to_owned(), "[redacted]"),
            (format!("req_eyJhbGciOiJIUzI1NiJ9abcd {jwt}"), "req_eyJhbGciOiJIUzI1NiJ9abcd [redacted]"),
            (format!("req_eyJhbGciOiJIUzI1NiJ9abcd={jwt}"), "req_[redacted]"),
            ("key AKIAIOSFODNN7EXAMPLE is not known".to_owned(), "key [redacted] is not known"),
            ("ASIAIOSFODNN7EXAMPLE,AKIAIOSFODNN7EXAMPLE".to_owned(), "[redacted],[redacted]"),
            ("Authorization: Bearer abcdefgh12345678".to_owned(), "Authorization: [redacted]"),
            ("ABSKQmVkcm9ja0FQSUtleS1hYmNk".to_owned(), "[redacted]"),
            ("bedrock-api-key-YmVkcm9jay5hbWF6b25hd3M=".to_owned(), "[redacted]"),
            ("x-api-key sk-ant-api03-abcdefghijk".to_owned(), "x-api-key [redacted]"),
            ("postgres://ana:p@ss@db:5432/x?y=1".to_owned(), "postgres://[redacted]@db:5432/x?y=1"),
            ("to https://user:pw@h/ and http://h/".to_owned(), "to https://[redacted]@h/ and http://h/"),
        ] {
            assert_eq!(scrub(&text), wanted);
        }
    }

    #[test]
    fn texts_with_only_a_secret_prefix_stay() {
        for text in [
            "",
            "Bearer authentication is missing",
            "eyJ and AKIA alone",
            "eyJhbGciOiJIUzI1NiJ9",
            "req_eyJhbGciOiJIUzI1NiJ9abcd",
            "msg_01eyJhbGciOiJIUzI1NiJ9ab; chatcmpl-eyJhbGciOiJIUzI1NiJ9abcd. Next",
            "req_abeyJhbGciOiJIUzI1NiJ9ab.json",
            "eyJhbGciOiJIUzI1NiJ9.example.com",
            "AKIAshort",
            "https://example.com/a@b",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "ana@example.com",
            "short",
            "ünï → é",
        ] {
            assert!(matches!(Scrubber::new(&[]).unwrap().scrub(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn configured_secrets_are_redacted_anywhere() {
        assert_eq!(scrub("a=hunter2-hunter2-and-more;b=hunter2-hunter2"), "a=[redacted];b=[redacted]");
        assert_eq!(scrub("too short to look for"), "too short to look for");
    }

    fn pushed(push: impl Fn(&str, &mut String), text: &str) -> String {
        let mut out = String::new();
        push(text, &mut out);
        out
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = "a\r\nb\u{1b}[31m\u{9b}2J\u{2028}\u{202e}\u{feff}\u{7f}\"\\é";
        let quoted = r#""a\r\nb\u001b[31m\u009b2J\u2028\u202e\ufeff\u007f\"\\é""#;
        assert_eq!(pushed(push_quoted, text), quoted);
    }

    #[test]
    fn text_that_could_pass_for_a_field_is_quoted() {
        assert_eq!(pushed(push_word, "claude-sonnet-4-5"), "claude-sonnet-4-5");
        assert_eq!(pushed(push_word, "ana level=error"), r#""ana level=error""#);
        assert_eq!(pushed(push_word, ""), r#""""#);
        assert_eq!(pushed(push_message, "GET /v1/messages"), "GET /v1/messages");
        assert_eq!(pushed(push_message, "GET /x user=root"), r#""GET /x user=root""#);
        assert_eq!(pushed(push_message, "a\nb"), r#""a\nb""#);
    }

    proptest! {
        #[test]
        fn quoted_text_parses_to_the_same_text(text in any::<String>()) {
            let json = pushed(push_quoted, &text);
            prop_assert!(!json.chars().any(is_control), "{json}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn no_secret_survives_in_any_text(before in any::<String>(), after in any::<String>()) {
            let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiYW5hIn0.c2ln";
            for secret in ["hunter2-hunter2", jwt] {
                let text = format!("{before}{secret}{after}");
                prop_assert!(!scrub(&text).contains(secret));
            }
        }
    }
}
