//! Typed lookups of environment variables: defaults, origins, and all errors at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::effective::EffectiveValue;
use super::settings::{self, Kind};
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

impl ConfigError {
    /// An error of a whole file.
    pub(crate) fn of_file(file: &str, reason: String) -> Self {
        Self { variable: file.to_owned(), value: None, reason }
    }
}

/// Looks variables up, converts them, and collects errors instead of stopping at the first one. It records every variable
/// that was looked up, with its default.
pub(super) struct EnvReader<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a variable comes from `.env`, whose parser has removed comments and quotes.
    is_parsed: &'a dyn Fn(&str) -> bool,
    errors: Vec<ConfigError>,
    values: BTreeMap<&'static str, EffectiveValue>,
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
            values: BTreeMap::new(),
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
    pub(super) fn finish(self) -> (Vec<ConfigError>, BTreeMap<&'static str, EffectiveValue>) {
        (self.errors, self.values)
    }

    pub(super) fn error(&mut self, variable: &str, value: Option<&str>, reason: impl Into<String>) {
        let value = value.map(|value| redact_url(value).into_owned());
        let variable = self.source(variable).to_owned();
        let error = ConfigError { variable, value, reason: without_os_codes(&reason.into()) };
        // Variables for both signals of telemetry are checked for each of them.
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// The variable that has the value of `name`: itself, or the first of its alternatives that is set.
    pub(super) fn source<'n>(&self, name: &'n str) -> &'n str {
        let is_set = |name: &str| (self.lookup)(name).is_some_and(|value| !value.trim().is_empty());
        let alternatives = settings::setting(name).map_or(&[][..], |setting| setting.alternatives);
        let alternative = alternatives.iter().find(|other| !is_set(name) && is_set(other));
        alternative.copied().unwrap_or(name)
    }

    /// The trimmed value, or `None`. Unset and empty are the same, because `--env-file` writes unset values empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let kind = match settings::setting(name).map(|setting| setting.kind) {
            Some(Kind::Text(_)) | None => ValueKind::Text,
            Some(Kind::Secret(_)) => ValueKind::Opaque,
            Some(_) => ValueKind::Word,
        };
        let source = self.source(name);
        let raw = (self.lookup)(source).unwrap_or_default();
        let value = if (self.is_parsed)(source) { Ok(raw.trim()) } else { verbatim::strip(&raw, kind) };
        let value = value.unwrap_or_else(|ambiguity| {
            if self.ambiguous.insert(source) {
                self.error(source, None, ambiguity.reason());
            }
            raw.trim()
        });
        if value != raw.trim() {
            self.stripped.insert(source);
        }
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        let effective = self.values.entry(name).or_default();
        effective.source = (source != name).then(|| source.to_owned());
        effective.value = value.as_ref().map(|value| match settings::setting(name) {
            Some(setting) if setting.is_secret() => REDACTED.to_owned(),
            _ => redact_url(value).into_owned(),
        });
        value
    }

    /// Replaces the default of `name` in the output of `config print`.
    pub(super) fn set_default(&mut self, name: &'static str, value: impl fmt::Display) {
        self.values.entry(name).or_default().default = Some(value.to_string());
    }

    /// Sets the value that `name` takes from the AWS profile while it is unset.
    pub(super) fn set_profile_value(&mut self, name: &'static str, value: &str) {
        let effective = self.values.entry(name).or_default();
        (effective.default, effective.in_profile) = (Some(value.to_owned()), true);
    }

    /// The value of a variable of the AWS SDKs, which is no setting of the proxy; `None` when it is unset or empty.
    pub(super) fn raw(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The value, or the default of its row.
    pub(super) fn text_or_default(&mut self, name: &'static str) -> String {
        self.text(name).unwrap_or_else(|| default(name).to_owned())
    }

    /// The value without a blank, or the default of its row.
    pub(super) fn word(&mut self, name: &'static str) -> String {
        let value = self.text_or_default(name);
        if value.contains(char::is_whitespace) {
            self.error(name, Some(&value), "contains a blank; write each variable on its own line");
        }
        value
    }

    /// The value of a row of kind `Secret`, from the variable or from the file that the variable with `_FILE` names.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        let file = format!("{name}_FILE");
        let path = (self.lookup)(&file).unwrap_or_default();
        let path =
            if (self.is_parsed)(&file) { Ok(path.trim()) } else { verbatim::strip(&path, ValueKind::Text) };
        let path = path.unwrap_or_else(|ambiguity| {
            self.error(&file, None, ambiguity.reason());
            ""
        });
        let value = match (self.text(name), path) {
            (Some(value), "") => value,
            (None, "") => return None,
            (None, path) => self.secret_in_file(name, &file, path)?,
            (Some(value), path) => {
                self.error(&file, Some(path), format!("set beside {name}; unset one of them"));
                value
            }
        };
        let secret = self.register_secret(value);
        self.values.entry(name).or_default().secret = Some(secret.clone());
        Some(secret)
    }

    /// The text of the file at `path`, without the blanks and line breaks around it.
    fn secret_in_file(&mut self, name: &'static str, file: &str, path: &str) -> Option<String> {
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
                let effective = self.values.entry(name).or_default();
                (effective.value, effective.source) = (Some(REDACTED.to_owned()), Some(file.to_owned()));
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

    /// The value of a variable without a row: a library reads it, and it is checked or followed here too.
    pub(super) fn library_value(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The first of `names` that is set.
    pub(super) fn first_set(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| (self.lookup)(name).is_some_and(|value| !value.trim().is_empty()))
    }

    /// The value, or the default of its row, converted by `parse`, whose error is the reason. `None` without both, and after an
    /// error.
    pub(super) fn parse<T, E: Into<String>>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = Some(self.text_or_default(name)).filter(|value| !value.is_empty())?;
        parse(&value).map_err(|reason| self.error(name, Some(&value), reason)).ok()
    }

    /// The value, or the default of its row, converted by `parse`; `expected` tells what a valid value is.
    fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.parse(name, |value| parse(value).ok_or(expected)).or_else(|| parse(default(name)))
    }

    /// A value of kind `Boolean`.
    pub(super) fn boolean(&mut self, name: &'static str) -> bool {
        let parse = |value: &str| match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        };
        self.parsed(name, "not a boolean; use true or false", parse).unwrap_or_default()
    }

    /// A value of kind `Number`.
    pub(super) fn number<T: TryFrom<u64> + Default>(&mut self, name: &'static str) -> T {
        let (min, max) = match settings::setting(name).map(|setting| setting.kind) {
            Some(Kind::Number(min, max, _)) => (min, max),
            _ => (0, u64::MAX),
        };
        let parse = |value: &str| {
            let number = value.parse().ok().filter(|number| (min..=max).contains(number))?;
            T::try_from(number).ok()
        };
        self.parsed(name, &format!("use a whole number from {min} to {max}"), parse).unwrap_or_default()
    }

    /// A value of kind `Number`, in seconds.
    pub(super) fn seconds(&mut self, name: &'static str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    /// A value of kind `Choice`, in any case; `values` has one for each of the words.
    pub(super) fn choice<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        values: [(&str, T); N],
    ) -> T {
        let words = values.map(|(word, _)| word);
        let find = |value: &str| values.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
        let parse = |value: &str| find(value).map(|(_, value)| *value);
        let first = values[0].1;
        self.parsed(name, &format!("use one of: {}", words.join(", ")), parse).unwrap_or(first)
    }
}

/// The default of a row.
fn default(name: &str) -> &'static str {
    settings::setting(name).map_or("", |setting| setting.default)
}

/// A lookup in `pairs`, for tests.
#[cfg(test)]
pub(super) fn lookup_in<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
    |name| pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
}
