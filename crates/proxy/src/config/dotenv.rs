//! The process environment and the `.env` file: the only place that reads either.

use std::collections::BTreeSet;
use std::path::Path;

use super::Problem;

/// What a `.env` file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DotEnv {
    /// The names in it.
    pub(super) names: BTreeSet<String>,
    /// Those that were not set already.
    pub(super) applied: BTreeSet<String>,
}

/// Puts the variables of `file` into the process environment, where those already set win.
///
/// A missing file is fine. Must run before any thread is started, as it changes the environment; the AWS
/// credential chain then sees the file's variables as well.
///
/// # Errors
/// A line that cannot be parsed, named by its number and never by its text, which may hold a secret.
pub(super) fn load_dotenv(file: &Path) -> Result<DotEnv, Problem> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DotEnv::default()),
        Err(error) => return Err(problem(file, format!("cannot be read: {error}"))),
    };
    // All of it is parsed before any of it is applied.
    let mut found = DotEnv::default();
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        let (name, _) = entry.map_err(|error| problem(file, explain(&error, &text)))?;
        found.names.insert(name);
    }
    found.applied = found.names.iter().filter(|name| lookup(name).is_none()).cloned().collect();
    dotenvy::from_read(text.as_bytes()).map_err(|error| problem(file, explain(&error, &text)))?;
    Ok(found)
}

/// The value of a variable of this process; bytes that are not UTF-8 are replaced, and refused by whoever parses.
#[must_use]
#[allow(clippy::disallowed_methods)] // the one place the ban points to
pub(super) fn lookup(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The names of all variables of this process, but for those that are not UTF-8.
pub(super) fn names() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

fn problem(file: &Path, reason: String) -> Problem {
    Problem { variable: file.display().to_string(), value: None, reason }
}

fn explain(error: &dotenvy::Error, text: &str) -> String {
    match error {
        dotenvy::Error::LineParse(broken, _) => {
            let first = broken.lines().next().unwrap_or_default().trim();
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
    fn a_missing_file_is_fine() {
        assert_eq!(load_dotenv(Path::new("/nonexistent/.env")), Ok(DotEnv::default()));
    }

    #[test]
    fn a_broken_line_is_named_by_its_number_and_not_by_its_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(".env");
        std::fs::write(&file, "# fine\nBEDROCK_PROXY_TEST_ONLY=1\nSECRET geheim oops\n").unwrap();
        let problem = load_dotenv(&file).unwrap_err();
        assert!(problem.to_string().contains("line 3"), "{problem}");
        assert!(!problem.to_string().contains("geheim"), "{problem}");
        assert_eq!(lookup("BEDROCK_PROXY_TEST_ONLY"), None, "nothing of a broken file is applied");
    }
}
