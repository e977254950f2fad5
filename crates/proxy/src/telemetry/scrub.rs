//! The last net: what looks like a credential, and the values of the configured ones, never get into a line, whoever put
//! them into a text. The first line of defence is the type [`Secret`], which prints nothing.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use crate::secret::Secret;

/// What stands where a credential stood.
const REDACTED: &str = "[redacted]";
/// A configured secret of fewer bytes is not looked for: it would be found in every other word.
const SHORTEST_SECRET: usize = 8;
/// Enough of a credential that is known by its shape.
const SHORTEST_REACH: usize = 512;
/// What a credential can begin with, and how it goes on. An address holds one before the `@`.
const SHAPES: [(&str, Shape); 10] = [
    ("eyJ", Shape { letters: is_token, least: 20 }),
    ("AKIA", Shape { letters: is_key_id, least: 20 }),
    ("ASIA", Shape { letters: is_key_id, least: 20 }),
    ("ABSK", Shape { letters: is_token, least: 24 }),
    ("bedrock-api-key-", Shape { letters: is_token, least: 24 }),
    ("sk-ant-", Shape { letters: is_token, least: 16 }),
    ("Bearer ", Shape { letters: is_token, least: 23 }),
    ("bearer ", Shape { letters: is_token, least: 23 }),
    ("BEARER ", Shape { letters: is_token, least: 23 }),
    ("://", Shape { letters: is_authority, least: 0 }),
];

#[derive(Clone, Copy)]
struct Shape {
    /// What it consists of after its beginning.
    letters: fn(u8) -> bool,
    /// How long all of it is at the least, in bytes.
    least: usize,
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

/// Finds credentials in texts.
#[derive(Debug)]
pub(super) struct Net {
    secrets: AhoCorasick,
    shapes: AhoCorasick,
    reach: usize,
}

impl Net {
    /// A net that knows the values of `secrets`.
    ///
    /// # Errors
    /// When they are too long to look for.
    pub(super) fn new(secrets: &[Secret]) -> Result<Self, BuildError> {
        let values = secrets.iter().map(Secret::expose).filter(|value| value.len() >= SHORTEST_SECRET);
        let values: Vec<&str> = values.collect();
        Ok(Self {
            secrets: AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&values)?,
            shapes: AhoCorasick::new(SHAPES.map(|(start, _)| start))?,
            reach: values.iter().map(|value| value.len()).max().unwrap_or(0).max(SHORTEST_REACH),
        })
    }

    /// How far beyond the place where a text is cut it has to be looked at, in bytes: a credential may stand across it.
    pub(super) fn reach(&self) -> usize {
        self.reach
    }

    /// `text` without credentials.
    pub(super) fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.secrets.patterns_len() > 0 && self.secrets.is_match(text);
        let text = if known { Cow::Owned(self.without_secrets(text)) } else { Cow::Borrowed(text) };
        match without_shapes(&self.shapes, &text) {
            Some(clean) => Cow::Owned(clean),
            None => text,
        }
    }

    fn without_secrets(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        self.secrets.replace_all_with(text, &mut clean, |_, _, out| {
            out.push_str(REDACTED);
            true
        });
        clean
    }
}

/// `None` when there is nothing to leave out.
fn without_shapes(shapes: &AhoCorasick, text: &str) -> Option<String> {
    let (mut clean, mut done) = (None::<String>, 0);
    for found in shapes.find_iter(text) {
        let Some((_, shape)) = SHAPES.get(found.pattern().as_usize()) else { continue };
        if found.start() < done {
            continue;
        }
        let rest = text.as_bytes().get(found.end()..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| (shape.letters)(**byte)).count();
        let (start, end) = if shape.least == 0 {
            // Only what is before the last @ of an address is a name and a password.
            let Some(at) = rest.iter().take(length).rposition(|byte| *byte == b'@') else { continue };
            (found.end(), found.end() + at)
        } else if found.end() - found.start() + length < shape.least {
            continue;
        } else {
            (found.start(), found.end() + length)
        };
        let clean = clean.get_or_insert_default();
        clean.push_str(text.get(done..start).unwrap_or_default());
        clean.push_str(REDACTED);
        done = end;
    }
    let mut clean = clean?;
    clean.push_str(text.get(done..).unwrap_or_default());
    Some(clean)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(text: &str) -> String {
        let secrets = ["hunter2-hunter2", "hunter2-hunter2-and-more", "short"].map(Secret::new);
        Net::new(&secrets).unwrap().clean(text).into_owned()
    }

    #[test]
    fn what_looks_like_a_credential_is_left_out() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiYW5hIn0.c2lnbmF0dXJl-_";
        for (text, wanted) in [
            (format!("token {jwt} expired"), "token [redacted] expired"),
            (jwt.to_owned(), "[redacted]"),
            ("key AKIAIOSFODNN7EXAMPLE is not known".to_owned(), "key [redacted] is not known"),
            ("ASIAIOSFODNN7EXAMPLE,AKIAIOSFODNN7EXAMPLE".to_owned(), "[redacted],[redacted]"),
            ("Authorization: Bearer abcdefgh12345678".to_owned(), "Authorization: [redacted]"),
            ("ABSKQmVkcm9ja0FQSUtleS1hYmNk".to_owned(), "[redacted]"),
            ("bedrock-api-key-YmVkcm9jay5hbWF6b25hd3M=".to_owned(), "[redacted]"),
            ("x-api-key sk-ant-api03-abcdefghijk".to_owned(), "x-api-key [redacted]"),
            ("postgres://ana:p@ss@db:5432/x?y=1".to_owned(), "postgres://[redacted]@db:5432/x?y=1"),
            ("to https://user:pw@h/ and http://h/".to_owned(), "to https://[redacted]@h/ and http://h/"),
        ] {
            assert_eq!(clean(&text), wanted);
        }
    }

    #[test]
    fn what_only_begins_like_one_stays() {
        for text in [
            "",
            "Bearer authentication is missing",
            "eyJ and AKIA alone",
            "AKIAshort",
            "https://example.com/a@b",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "ana@example.com",
            "short",
            "ünï → é",
        ] {
            assert!(matches!(Net::new(&[]).unwrap().clean(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn configured_values_are_left_out_wherever_they_stand() {
        assert_eq!(clean("a=hunter2-hunter2-and-more;b=hunter2-hunter2"), "a=[redacted];b=[redacted]");
        assert_eq!(clean("too short to look for"), "too short to look for");
    }

    proptest! {
        #[test]
        fn no_secret_survives_in_any_text(before in any::<String>(), after in any::<String>()) {
            let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiYW5hIn0.c2ln";
            for secret in ["hunter2-hunter2", jwt] {
                let text = format!("{before}{secret}{after}");
                prop_assert!(!clean(&text).contains(secret));
            }
        }
    }
}
