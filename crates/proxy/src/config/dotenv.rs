//! The `.env` file and the process environment: the only place that reads either.

use std::collections::BTreeSet;
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
/// A line that cannot be parsed, named by its number and never by its text, which may contain a secret.
pub(super) fn load_dotenv(file: &Path) -> Result<DotEnv, ConfigError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DotEnv::default()),
        Err(error) => return Err(file_error(file, format!("cannot be read: {error}"))),
    };
    // The whole file is parsed before any variable is set.
    let mut dotenv = DotEnv::default();
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, _) = entry.map_err(|error| file_error(file, describe(&error, &text)))?;
        dotenv.names.insert(name);
    }
    if let Some((name, reference)) = unset_reference(&text, &dotenv.names) {
        let reason = format!(
            "contains ${reference}, which does not refer to a variable that is set; write \\$ for a dollar sign, or put the value in single quotes (a reference is ${{NAME}})"
        );
        return Err(ConfigError { variable: name, value: None, reason });
    }
    dotenv.applied = dotenv.names.iter().filter(|name| lookup(name).is_none()).cloned().collect();
    dotenvy::from_read(text.as_bytes()).map_err(|error| file_error(file, describe(&error, &text)))?;
    Ok(dotenv)
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

/// The names of all variables of this process, without those that are not UTF-8.
pub(super) fn names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn file_error(file: &Path, reason: String) -> ConfigError {
    ConfigError { variable: file.display().to_string(), value: None, reason }
}

fn describe(error: &dotenvy::Error, text: &str) -> String {
    match error {
        dotenvy::Error::LineParse(rest, _) => {
            let first = rest.lines().next().unwrap_or_default().trim();
            let number = text.lines().position(|line| line.trim() == first).map_or(0, |index| index + 1);
            format!("line {number} is not NAME=value; quote values that contain spaces or #")
        }
        other => format!("cannot be read: {other}"),
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
        let error = load_dotenv(&file).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
        assert!(!error.to_string().contains("geheim"), "{error}");
        assert_eq!(lookup("BEDROCK_PROXY_TEST_ONLY"), None, "an invalid file sets no variable");
    }
}
