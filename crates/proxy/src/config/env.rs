//! Typed lookups of environment variables: defaults, origins, and all errors at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::effective::Setting;
use super::verbatim::{self, ValueKind};
use crate::error_text::without_os_codes;
use crate::secret::{REDACTED, Secret, redact_url};

/// Maximum size of a file with a secret, in bytes. Ten times the longest session token of AWS.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// One error in the configuration, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}{}: {reason}", value.as_ref().map(|value| format!("={value:?}")).unwrap_or_default())]
pub struct ConfigError {
    /// The variable (or file) that is wrong.
    pub(crate) variable: String,
    /// Its value; `None` when unset or secret.
    pub(crate) value: Option<String>,
    /// What is wrong, then what to do.
    pub(crate) reason: String,
}

/// Looks variables up, converts them, and collects errors instead of stopping at the first one. It records every variable
/// that was looked up, with its default.
pub(super) struct EnvReader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a variable comes from `.env`, whose parser has removed comments and quotes.
    is_parsed: &'a dyn Fn(&str) -> bool,
    errors: Vec<ConfigError>,
    settings: BTreeMap<&'static str, Setting>,
    secrets: Vec<Secret>,
    stripped: BTreeSet<&'static str>,
    ambiguous: BTreeSet<&'static str>,
}

impl<'a> EnvReader<'a> {
    pub(super) fn new(
        lookup: &'a dyn Fn(&str) -> Option<String>,
        is_parsed: &'a dyn Fn(&str) -> bool,
    ) -> Self {
        Self {
            lookup,
            is_parsed,
            errors: Vec::new(),
            settings: BTreeMap::new(),
            secrets: Vec::new(),
            stripped: BTreeSet::new(),
            ambiguous: BTreeSet::new(),
        }
    }

    /// The variables whose comments or quotes were removed.
    pub(super) fn stripped(&self) -> &BTreeSet<&'static str> {
        &self.stripped
    }

    /// The errors, and every variable that was looked up.
    pub(super) fn finish(self) -> (Vec<ConfigError>, BTreeMap<&'static str, Setting>) {
        (self.errors, self.settings)
    }

    pub(super) fn error(&mut self, variable: &str, value: Option<&str>, reason: impl Into<String>) {
        let value = value.map(|value| redact_url(value).into_owned());
        let error =
            ConfigError { variable: variable.to_owned(), value, reason: without_os_codes(&reason.into()) };
        // Variables for both signals of telemetry are checked for each of them.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// A value that may contain blanks.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.value(name, ValueKind::Text)
    }

    /// A value that contains no blank.
    pub(super) fn word(&mut self, name: &'static str) -> Option<String> {
        self.value(name, ValueKind::Word)
    }

    /// The trimmed value. Unset and empty are the same, because `--env-file` writes unset values empty.
    fn value(&mut self, name: &'static str, kind: ValueKind) -> Option<String> {
        let raw = (self.lookup)(name).unwrap_or_default();
        let value = if (self.is_parsed)(name) { Ok(raw.trim()) } else { verbatim::strip(&raw, kind) };
        let value = value.unwrap_or_else(|ambiguity| {
            if self.ambiguous.insert(name) {
                self.error(name, None, ambiguity.reason());
            }
            raw.trim()
        });
        if value != raw.trim() {
            self.stripped.insert(name);
        }
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        let setting = self.settings.entry(name).or_default();
        let shown = |value: &String| {
            if setting.secret { REDACTED.to_owned() } else { redact_url(value).into_owned() }
        };
        setting.value = value.as_ref().map(shown);
        value
    }

    /// Records the default of `name` for `config print`. Methods that take a default do this themselves.
    pub(super) fn set_default(&mut self, name: &'static str, value: impl fmt::Display) {
        self.settings.entry(name).or_default().default = Some(value.to_string());
    }

    /// A value that may be printed, or its default.
    pub(super) fn text_or(&mut self, name: &'static str, default: &str) -> String {
        self.set_default(name, default);
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// As [`EnvReader::text_or`], for a value that contains no blank.
    pub(super) fn word_or(&mut self, name: &'static str, default: &str) -> String {
        self.set_default(name, default);
        let value = self.word(name).unwrap_or_else(|| default.to_owned());
        if value.contains(char::is_whitespace) {
            self.error(name, Some(&value), "contains a blank; write each variable on its own line");
        }
        value
    }

    /// A value of any characters that is never printed, from variable `name` or from the file that variable `file` names.
    pub(super) fn secret(&mut self, name: &'static str, file: &'static str) -> Option<Secret> {
        self.hidden(name, file, ValueKind::Opaque)
    }

    /// As [`EnvReader::secret`], for a value without blanks.
    pub(super) fn secret_word(&mut self, name: &'static str, file: &'static str) -> Option<Secret> {
        self.hidden(name, file, ValueKind::Word)
    }

    fn hidden(&mut self, name: &'static str, file: &'static str, kind: ValueKind) -> Option<Secret> {
        let setting = self.settings.entry(name).or_default();
        (setting.secret, setting.file) = (true, Some(file));
        let (value, path) = (self.value(name, kind), self.value(file, ValueKind::Text));
        self.settings.remove(file);
        let value = match (value, path) {
            (Some(value), None) => value,
            (None, Some(path)) => self.secret_in_file(name, file, &path)?,
            (None, None) => return None,
            (Some(value), Some(path)) => {
                self.error(file, Some(&path), format!("set beside {name}; unset one of them"));
                value
            }
        };
        Some(self.register_secret(value))
    }

    /// The text of the file at `path`, without the blanks and line breaks around it.
    fn secret_in_file(&mut self, name: &'static str, file: &'static str, path: &str) -> Option<String> {
        let mut text = String::new();
        let read =
            File::open(path).and_then(|opened| opened.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text));
        let reason = match read {
            Err(error) => format!("cannot be read ({error}); name a file of text"),
            Ok(_) if text.trim().is_empty() => "is empty; write the secret into this file".to_owned(),
            Ok(bytes) if bytes as u64 > MAX_SECRET_BYTES => {
                format!(
                    "is longer than {MAX_SECRET_BYTES} bytes; name a file that contains nothing but the secret"
                )
            }
            Ok(_) => {
                let setting = self.settings.entry(name).or_default();
                (setting.value, setting.in_file) = (Some(REDACTED.to_owned()), true);
                return Some(text.trim().to_owned());
            }
        };
        self.error(file, Some(path), reason);
        None
    }

    /// Registers a secret that is only a part of a variable's value.
    pub(super) fn register_secret(&mut self, value: impl Into<String>) -> Secret {
        let secret = Secret::new(value);
        self.secrets.push(secret.clone());
        secret
    }

    /// All registered secrets, for the log scrubber.
    pub(super) fn take_secrets(&mut self) -> Vec<Secret> {
        std::mem::take(&mut self.secrets)
    }

    /// The first of `names` that is set.
    pub(super) fn first_set(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| (self.lookup)(name).is_some_and(|value| !value.trim().is_empty()))
    }

    /// The first of `names` that is set, with its name and its value, which contains no blank.
    pub(super) fn first_of(&mut self, names: &[&'static str]) -> Option<(&'static str, String)> {
        // Every name is looked up, so that the list of known names is complete.
        let found: Vec<_> = names.iter().filter_map(|name| Some((*name, self.word(name)?))).collect();
        found.into_iter().next()
    }

    pub(super) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        self.set_default(name, default);
        let Some(value) = self.word(name) else {
            return default;
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            _ => {
                self.error(name, Some(&value), "not a boolean; use true or false");
                default
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn number<T>(&mut self, name: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        self.set_default(name, default);
        let Some(value) = self.word(name) else {
            return default;
        };
        match value.parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let reason = format!("use a whole number from {} to {}", range.start(), range.end());
                self.error(name, Some(&value), reason);
                default
            }
        }
    }

    /// A whole number of seconds within `range`.
    pub(super) fn seconds(
        &mut self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.number(name, default, range))
    }

    /// One word of a closed list, in any case.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        name: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        if let Some((word, _)) = choices.iter().find(|(_, choice)| *choice == default) {
            self.set_default(name, word);
        }
        let Some(value) = self.word(name) else {
            return default;
        };
        let word = value.to_ascii_lowercase();
        if let Some((_, choice)) = choices.iter().find(|(candidate, _)| *candidate == word) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.error(name, Some(&value), format!("use one of: {}", words.join(", ")));
        default
    }
}

/// A lookup in `pairs`, for tests.
#[cfg(test)]
pub(super) fn lookup_in<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
}
