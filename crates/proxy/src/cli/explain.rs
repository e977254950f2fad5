//! `explain`: prints the table of known errors; `docs/errors.md` contains the same table.

use std::fmt::Write as _;

use protocol::translate::{KNOWN_ERRORS, KnownError, known_error};

/// The explanation of the error with this code.
#[must_use]
pub(crate) fn one(code: &str) -> Option<String> {
    let code = code.trim();
    let row = known_error(code).or_else(|| known_error(&code.replacen(['e', 'E'], "E0", 1)))?;
    let mut text = format!("{}: {}.\n\n{}\n", row.code, row.cause, row.advice);
    if !row.example.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nAWS: {}\n", row.example);
    }
    Some(text)
}

/// All known errors, one line each: code and cause.
#[must_use]
pub(crate) fn list() -> String {
    let mut text = String::new();
    for row in sorted() {
        let _ = writeln!(text, "{:5} {}", row.code, row.cause);
    }
    text + "\nMore about one: bedrock-proxy explain E07\n"
}

fn sorted() -> Vec<&'static KnownError> {
    let mut rows: Vec<&KnownError> = KNOWN_ERRORS.iter().collect();
    rows.sort_by_key(|row| sort_key(row.code));
    rows
}

/// All known errors as a Markdown table.
#[must_use]
pub(crate) fn markdown() -> String {
    let mut text = String::from(
        "| Code | AWS message | Error type for the client | Cause | What to do |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in sorted() {
        let example = row.example.replace('|', "\\|").replace('`', "'");
        let message = if example.is_empty() { String::new() } else { format!("`{}`", truncate(&example)) };
        let kind = match row.code {
            "E15c" => "the error of the model's server",
            _ => row.kind.as_str(),
        };
        let _ = writeln!(text, "| {} | {message} | {kind} | {} | {} |", row.code, row.cause, row.advice);
    }
    text
}

/// For sorting: `E15b` comes after `E15a` and before `E16`.
fn sort_key(code: &str) -> (usize, &str) {
    let digits = code.trim_start_matches('E').bytes().take_while(u8::is_ascii_digit).count();
    let number = code.get(1..=digits).and_then(|digits| digits.parse().ok());
    (number.unwrap_or_default(), code.get(digits + 1..).unwrap_or_default())
}

/// The first characters of a long text.
fn truncate(text: &str) -> String {
    // Keeps a row of the table readable in a terminal.
    const MAX_CHARACTERS: usize = 120;
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../../docs/errors.md");

    #[test]
    fn docs_contain_the_current_table() {
        let start = DOCS.find("| Code |").unwrap_or(DOCS.len());
        assert_eq!(&DOCS[start..], markdown(), "update it with: bedrock-proxy explain --markdown");
    }

    #[test]
    fn list_has_one_short_line_for_each_error() {
        let list = list();
        let lines: Vec<_> = list.lines().filter(|line| line.starts_with('E')).collect();
        assert_eq!(lines.len(), KNOWN_ERRORS.len());
        assert!(lines.iter().all(|line| line.len() < 180 && !line.contains('|')), "{list}");
    }

    #[test]
    fn leading_zero_is_optional() {
        assert_eq!(one("E7"), one("E07"));
        assert_eq!((one("E0"), one("7")), (None, None));
    }

    #[test]
    fn code_is_case_insensitive() {
        let explained = one("e07").unwrap();
        assert!(explained.starts_with("E07: the model is not enabled"), "{explained}");
        assert!(explained.contains("AWS: You don't have access"), "{explained}");
        assert_eq!(one("E00"), None);
    }

    #[test]
    fn codes_are_sorted() {
        let mut codes = ["E16", "E15b", "E02", "E15a"];
        codes.sort_by_key(|code| sort_key(code));
        assert_eq!(codes, ["E02", "E15a", "E15b", "E16"]);
    }
}
