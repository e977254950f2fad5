//! The table of errors for people: `bedrock-proxy explain` and `docs/errors.md`.

use std::fmt::Write as _;

use protocol::translate::{KNOWN_ERRORS, KnownError, known_error};

/// What is known of the error with this code.
#[must_use]
pub fn one(code: &str) -> Option<String> {
    let row = known_error(code.trim())?;
    let mut text = format!("{}: {}.\n\n{}\n", row.code, row.cause, row.advice);
    if !row.example.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nAWS: {}\n", row.example);
    }
    Some(text)
}

/// All of them, as a table of Markdown.
#[must_use]
pub fn all() -> String {
    let mut rows: Vec<&KnownError> = KNOWN_ERRORS.iter().collect();
    rows.sort_by_key(|row| number(row.code));
    let mut text = String::from(
        "| Code | What AWS says | The client gets | Cause | What to do |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let example = row.example.replace('|', "\\|").replace('`', "'");
        let says = if example.is_empty() { String::new() } else { format!("`{}`", shortened(&example)) };
        let kind = match row.code {
            "E15c" => "what the model's own server said",
            _ => row.kind.as_str(),
        };
        let _ = writeln!(text, "| {} | {says} | {kind} | {} | {} |", row.code, row.cause, row.advice);
    }
    text
}

/// For sorting: `E15b` comes after `E15a` and before `E16`.
fn number(code: &str) -> (usize, &str) {
    let digits = code.trim_start_matches('E').bytes().take_while(u8::is_ascii_digit).count();
    let number = code.get(1..=digits).and_then(|digits| digits.parse().ok());
    (number.unwrap_or_default(), code.get(digits + 1..).unwrap_or_default())
}

/// The beginning of a long text.
fn shortened(text: &str) -> String {
    const ENOUGH: usize = 120;
    match text.char_indices().nth(ENOUGH) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../../docs/errors.md");

    #[test]
    fn the_document_holds_the_table_as_it_is() {
        let start = DOCS.find("| Code |").unwrap_or(DOCS.len());
        assert_eq!(&DOCS[start..], all(), "write it anew with: bedrock-proxy explain");
    }

    #[test]
    fn a_code_is_explained_in_any_case() {
        let explained = one("e07").unwrap();
        assert!(explained.starts_with("E07: the model is not enabled"), "{explained}");
        assert!(explained.contains("AWS: You don't have access"), "{explained}");
        assert_eq!(one("E00"), None);
    }

    #[test]
    fn codes_are_in_order() {
        let mut codes = ["E16", "E15b", "E02", "E15a"];
        codes.sort_by_key(|code| number(code));
        assert_eq!(codes, ["E02", "E15a", "E15b", "E16"]);
    }
}
