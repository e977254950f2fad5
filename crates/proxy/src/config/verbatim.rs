//! Values in the environment that were written for a `.env` file. `docker run --env-file` and `kubectl create secret
//! --from-env-file` pass on each line as it is, with the comment and the quotes that a parser of `.env` removes.
//!
//! What certainly belongs to the file's syntax is removed. What may belong to the value, as in a password, is an error.

use std::collections::BTreeSet;

use super::ConfigError;

/// Variables of the AWS credential chain, which reads them from the environment itself.
const CREDENTIAL_CHAIN: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// What a variable's value may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// No blank, no quote and no `#` after a blank: numbers, names, URLs, AWS keys.
    Word,
    /// Blanks, as in a path or a list; no comment and no quotes around it.
    Text,
    /// Any character: keys and passwords.
    Opaque,
}

/// Part of the syntax of a `.env` file that may belong to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ambiguity {
    /// A `#` that begins a comment in a `.env` file.
    Comment,
    /// Quotes around the value.
    Quotes,
}

impl Ambiguity {
    /// What is wrong, then what to do.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Comment => {
                "has a # after a blank, which begins a comment in .env; tools such as docker run --env-file do not remove the \
                 comment. Remove it from that line. If it belongs to the value, set the variable in the file .env of the \
                 working directory instead, in single quotes"
            }
            Self::Quotes => {
                "is in quotes, which tools such as docker run --env-file do not remove. Remove the quotes. If they belong to \
                 the value, set the variable in the file .env of the working directory instead, in quotes of the other kind"
            }
        }
    }
}

/// The value without the comment and the quotes of a `.env` file.
///
/// # Errors
/// When either may belong to the value.
pub(super) fn strip(value: &str, kind: ValueKind) -> Result<&str, Ambiguity> {
    let value = value.trim();
    if kind == ValueKind::Opaque {
        let begins_with_comment = value == "#" || value.starts_with("# ") || value.starts_with("#\t");
        return match (begins_with_comment || comment(value).is_some(), is_quoted(value)) {
            (true, _) => Err(Ambiguity::Comment),
            (false, true) => Err(Ambiguity::Quotes),
            (false, false) => Ok(value),
        };
    }
    if let Some(quoted) = quoted(value) {
        return Ok(quoted.trim());
    }
    if value.starts_with('#') {
        return Ok("");
    }
    match comment(value) {
        None => Ok(value),
        // `/data/C #1` may be a path; `/data # the disk` is none.
        Some(start) if kind == ValueKind::Text && !is_prose(&value[start..]) => Err(Ambiguity::Comment),
        Some(start) => Ok(value[..start].trim_end()),
    }
}

/// Where the first `#` after a blank is.
fn comment(value: &str) -> Option<usize> {
    let mut after_blank = false;
    value.char_indices().find_map(|(index, letter)| {
        let found = after_blank && letter == '#';
        after_blank = letter.is_whitespace();
        found.then_some(index)
    })
}

/// Whether a blank or nothing follows the `#`.
fn is_prose(comment: &str) -> bool {
    comment[1..].chars().next().is_none_or(char::is_whitespace)
}

fn is_quoted(value: &str) -> bool {
    ['"', '\''].iter().any(|quote| value.len() >= 2 && value.starts_with(*quote) && value.ends_with(*quote))
}

/// The text between quotes, when nothing but a comment follows it.
fn quoted(value: &str) -> Option<&str> {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let (inner, rest) = value[1..].split_once(quote)?;
    let is_over = rest.trim().is_empty() || comment(rest) == Some(rest.len() - rest.trim_start().len());
    is_over.then_some(inner)
}

/// Errors that concern the whole environment: two variables in one value, and comments or quotes around a variable that the
/// AWS credential chain reads.
pub(super) fn errors(
    known: &BTreeSet<String>,
    lookup: &dyn Fn(&str) -> Option<String>,
    is_parsed: &dyn Fn(&str) -> bool,
) -> Vec<ConfigError> {
    let error =
        |variable: &str, reason: String| ConfigError { variable: variable.to_owned(), value: None, reason };
    let from_environment = |name: &str| lookup(name).filter(|_| !is_parsed(name));
    let joined = known.iter().filter_map(|name| {
        let other = assignment(&from_environment(name)?, known.iter().map(String::as_str))?;
        Some(error(name, format!("contains another variable, {other}; write each variable on its own line")))
    });
    let chain = CREDENTIAL_CHAIN.iter().filter(|name| !known.contains(**name)).filter_map(|name| {
        let ambiguity = strip(&from_environment(name)?, ValueKind::Opaque).err()?;
        Some(error(name, ambiguity.reason().to_owned()))
    });
    joined.chain(chain).collect()
}

/// The first of `known` that is assigned inside the value, as in `localhost  DB_PORT=5432`: two lines that became one.
pub(super) fn assignment<'a>(value: &str, mut known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let value = comment(value).map_or(value, |start| &value[..start]);
    known.find(|name| {
        value
            .split_whitespace()
            .skip(1)
            .any(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_comments_and_quotes() {
        for (value, wanted) in [
            ("info        # debug, info, warn, error", "info"),
            ("info\t#debug", "info"),
            ("\"info\"", "info"),
            ("'info' # \"debug\"", "info"),
            ("  # nothing", ""),
            ("#nothing", ""),
            ("a#b", "a#b"),
            ("\"a\" b", "\"a\" b"),
            ("\"", "\""),
            ("info\r", "info"),
        ] {
            assert_eq!(strip(value, ValueKind::Word), Ok(wanted), "{value:?}");
        }
    }

    #[test]
    fn texts_keep_what_may_be_theirs() {
        let text = |value| strip(value, ValueKind::Text);
        assert_eq!(text("./logs/a.json    # rotated daily: ./logs/a_YYYY.json"), Ok("./logs/a.json"));
        assert_eq!(text("/data/My Files"), Ok("/data/My Files"));
        assert_eq!(text("'/data/C #1'"), Ok("/data/C #1"));
        assert_eq!(text("/data/C #1"), Err(Ambiguity::Comment));
        assert_eq!(text("/data #"), Ok("/data"));
    }

    #[test]
    fn ambiguous_secrets_are_rejected() {
        let secret = |value| strip(value, ValueKind::Opaque);
        for value in ["key   # at least 32 characters", "key #x", "key\t# x", "  # fill in", "'key' # mine"] {
            assert_eq!(secret(value), Err(Ambiguity::Comment), "{value:?}");
        }
        for value in ["\"key\"", "'key'"] {
            assert_eq!(secret(value), Err(Ambiguity::Quotes), "{value:?}");
        }
        for value in ["#key", "k#ey", "k\"ey\"", "two words"] {
            assert_eq!(secret(value), Ok(value), "{value:?}");
        }
    }

    #[test]
    fn second_assignment_is_found() {
        let found = |value| assignment(value, ["DB_PORT", "DB_PORTS"].into_iter());
        assert_eq!(found("localhost  DB_PORT=5432"), Some("DB_PORT"));
        assert_eq!(found("localhost DB_PORTS=1"), Some("DB_PORTS"));
        assert_eq!(found("DB_PORT=5432"), None);
        assert_eq!(found("localhost OTHER=1"), None);
        assert_eq!(found("localhost # or DB_PORT=5432"), None);
    }
}
