//! The `.env` file and the process environment: the only place that reads either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::ConfigError;

/// The variables in a `.env` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DotEnv {
    /// All names in the file.
    pub(super) names: BTreeSet<String>,
    /// The names that the environment did not set already.
    pub(super) applied: BTreeSet<String>,
}

/// Copies the variables of `file` into the process environment; variables that are set already win.
///
/// A missing file is no error. Must run before any thread starts, because it changes the environment; the AWS
/// credential chain then reads the file's variables too.
///
/// # Errors
/// Every line that cannot be parsed, named by its number and never by its value, which may be a secret.
pub(super) fn load_dotenv(file: &Path) -> Result<DotEnv, Vec<ConfigError>> {
    let (text, mut dotenv) = read(file)?;
    dotenv.applied = dotenv.names.iter().filter(|name| lookup(name).is_none()).cloned().collect();
    let applied = dotenvy::from_read(text.as_bytes());
    applied.map_err(|error| vec![file_error(file, format!("cannot be read: {error}"))])?;
    Ok(dotenv)
}

/// Reads `file` again, without changing the process environment, which has the variables `from_file` from the first time.
/// Returns the values that the file has now, too. A reference to another variable has its value of the start.
///
/// # Errors
/// As [`load_dotenv`].
pub(super) fn read_again(
    file: &Path,
    from_file: &BTreeSet<String>,
) -> Result<(DotEnv, BTreeMap<String, String>), Vec<ConfigError>> {
    let (text, mut dotenv) = read(file)?;
    let mut values = BTreeMap::new();
    for (name, value) in dotenvy::from_read_iter(text.as_bytes()).flatten() {
        if from_file.contains(&name) || lookup(&name).is_none() {
            values.entry(name).or_insert(value);
        }
    }
    dotenv.applied = values.keys().cloned().collect();
    Ok((dotenv, values))
}

/// The text of `file`, which is valid, and its names; a missing file is empty.
fn read(file: &Path) -> Result<(String, DotEnv), Vec<ConfigError>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(vec![file_error(file, format!("cannot be read: {error}"))]),
    };
    // The whole file is parsed before any variable is set.
    let invalid = invalid_lines(&text);
    if !invalid.is_empty() {
        return Err(invalid.into_iter().map(|reason| file_error(file, reason)).collect());
    }
    let entries = dotenvy::from_read_iter(text.as_bytes()).flatten();
    let dotenv = DotEnv { names: entries.map(|(name, _)| name).collect(), ..DotEnv::default() };
    if let Some((name, reference)) = unset_reference(&text, &dotenv.names) {
        let reason = format!(
            "contains ${reference}, which does not refer to a variable that is set; write \\$ for a dollar sign, or put the value in single quotes (a reference is ${{NAME}})"
        );
        return Err(vec![ConfigError { variable: name, value: None, reason }]);
    }
    Ok((text, dotenv))
}

/// The reason for each line of the text that cannot be parsed.
fn invalid_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut reasons = Vec::new();
    while let Some(index) = first_invalid_line(&lines) {
        let line = lines.get(index).copied().unwrap_or_default();
        reasons.push(describe(index + 1, line));
        // The parser ends at an invalid line; without it, the parser shows the next.
        match lines.get_mut(index) {
            Some(line) => *line = "",
            None => break,
        }
    }
    reasons
}

/// The index of the line at which the first entry that cannot be parsed begins.
fn first_invalid_line(lines: &[&str]) -> Option<usize> {
    let is_valid =
        |lines: &[&str]| dotenvy::from_read_iter(lines.join("\n").as_bytes()).all(|entry| entry.is_ok());
    if is_valid(lines) {
        return None;
    }
    // A value in quotes may have several lines, so the text before a valid line may end in the middle of a value.
    (0..lines.len()).rev().find(|&count| lines.get(..count).is_some_and(is_valid))
}

/// The first variable of the file whose value refers to a variable that is not set, and that reference. Passwords contain
/// dollar signs, and the parser removes such a reference without an error.
fn unset_reference(text: &str, in_file: &BTreeSet<String>) -> Option<(String, String)> {
    // Parsed with the dollar signs masked, a value has all of its references.
    const MASK: char = '\u{e000}';
    const ESCAPED: char = '\u{e001}';
    let masked = text.replace("\\$", &ESCAPED.to_string()).replace('$', &MASK.to_string());
    let unmask = |value: &str| value.replace([MASK, ESCAPED], "$");
    let (masked, parsed) =
        (dotenvy::from_read_iter(masked.as_bytes()), dotenvy::from_read_iter(text.as_bytes()));
    for ((name, masked), (_, parsed)) in masked.flatten().zip(parsed.flatten()) {
        // Equal in single quotes, where no reference is replaced.
        if unmask(&masked) == parsed {
            continue;
        }
        for reference in masked.split(MASK).skip(1) {
            let is_braced = reference.starts_with('{');
            let reference = reference.trim_start_matches('{');
            let end = reference.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let name_in_value = &reference[..end.unwrap_or(reference.len())];
            let is_set = lookup(name_in_value).is_some() || in_file.contains(name_in_value);
            // Without braces, the parser ends the name at an underscore.
            if !is_set || (!is_braced && name_in_value.contains('_')) {
                return Some((name, name_in_value.to_owned()));
            }
        }
    }
    None
}

/// The value of a variable of this process. Bytes that are not UTF-8 are replaced, and rejected by the parser of the value.
#[must_use]
#[allow(clippy::disallowed_methods)] // the one place the ban points to
pub(super) fn lookup(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The names of all variables of this process that have a value, without those that are not UTF-8.
pub(super) fn names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter(|(_, value)| !value.is_empty()).filter_map(|(name, _)| name.into_string().ok())
}

fn file_error(file: &Path, reason: String) -> ConfigError {
    ConfigError::of_file(&file.display().to_string(), reason)
}

/// What is wrong with a line, without its value.
fn describe(number: usize, line: &str) -> String {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let name = line.split_once('=').map(|(name, _)| name.trim());
    let is_name = |name: &&str| {
        !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    match name.filter(is_name) {
        Some(name) => format!(
            "line {number}: put the value of {name} in single quotes, because it contains a space, a quote, a backslash or a dollar sign"
        ),
        None => format!("line {number} is not NAME=value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_is_no_error() {
        assert_eq!(load_dotenv(Path::new("/nonexistent/.env")), Ok(DotEnv::default()));
    }

    #[test]
    fn unset_references_are_named() {
        let names = BTreeSet::from(["HOME_DIR".to_owned(), "A".to_owned()]);
        let found = |text| unset_reference(text, &names);
        for (text, reference) in
            [("A=pa$word1", "word1"), ("A=\"x${nothing}y\"", "nothing"), ("A=$HOME_DIR", "HOME_DIR")]
        {
            assert_eq!(found(text), Some(("A".to_owned(), reference.to_owned())), "{text}");
        }
        for text in ["A='pa$word1'", "A=pa\\$word1", "HOME_DIR=x\nA=${HOME_DIR}/logs", "A=x # costs $nothing"]
        {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn invalid_line_is_named_by_number_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".env");
        std::fs::write(&file, "# fine\nBEDROCK_PROXY_TEST_ONLY=1\nSECRET geheim oops\n").unwrap();
        let errors = load_dotenv(&file).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<String>();
        assert!(text.contains("line 3 is not NAME=value"), "{text}");
        assert!(!text.contains("geheim"), "{text}");
        assert_eq!(lookup("BEDROCK_PROXY_TEST_ONLY"), None, "an invalid file sets no variable");
    }

    #[test]
    fn each_invalid_line_is_named() {
        let text = "A=1\n\n# a comment\nCRON=0 0 * * *\nB=\"two\nlines\"\nPASSWORD=\"a$b\"\nexport C=geheim oops\n\
                    D E=1\nOPEN='no end\nF=1\n";
        let reasons = invalid_lines(text);
        let expected = [(4, "CRON"), (7, "PASSWORD"), (8, "C"), (9, "is not NAME=value"), (10, "OPEN")];
        assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
        for (reason, (line, part)) in reasons.iter().zip(expected) {
            assert!(reason.starts_with(&format!("line {line}")) && reason.contains(part), "{reason}");
            assert!(!reason.contains("geheim"), "{reason}");
        }
        for text in ["", "A=1", "A='a b'\r\nB=\"x\ny\"\r\n", "# only a comment"] {
            assert_eq!(invalid_lines(text), Vec::<String>::new(), "{text}");
        }
    }
}
