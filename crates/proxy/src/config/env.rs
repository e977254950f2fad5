//! Reads single values and remembers everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::effective::Setting;
use crate::secret::Secret;

/// One mistake in the configuration, in words an operator can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable (or file) that is wrong.
    pub variable: String,
    /// What it was set to; `None` when unset or secret.
    pub value: Option<String>,
    /// What is wrong and what to do.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.variable, self.reason),
            None => write!(f, "{}: {}", self.variable, self.reason),
        }
    }
}

/// What is shown of a secret.
const MASK: &str = "[redacted]";

/// Looks values up, converts them, and collects problems instead of stopping at the first. What was asked for is written
/// down, with what counts when it is not set.
pub(super) struct Reader<L> {
    lookup: L,
    problems: Vec<Problem>,
    settings: BTreeMap<&'static str, Setting>,
    secrets: Vec<Secret>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    pub(super) fn new(lookup: L) -> Self {
        Self { lookup, problems: Vec::new(), settings: BTreeMap::new(), secrets: Vec::new() }
    }

    /// The problems found, and everything that was asked for.
    pub(super) fn finish(self) -> (Vec<Problem>, BTreeMap<&'static str, Setting>) {
        (self.problems, self.settings)
    }

    pub(super) fn problem(&mut self, variable: &str, value: Option<&str>, reason: impl Into<String>) {
        self.problems.push(Problem {
            variable: variable.to_owned(),
            value: value.map(str::to_owned),
            reason: reason.into(),
        });
    }

    /// The trimmed value; unset and empty are the same, as `--env-file` writes unset values empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        let value =
            (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let setting = self.settings.entry(name).or_default();
        let shown = |value: &String| if setting.secret { MASK.to_owned() } else { value.clone() };
        setting.value = value.as_ref().map(shown);
        value
    }

    /// What counts when `name` is not set, for people to read. The other methods that take a default do this themselves.
    pub(super) fn default(&mut self, name: &'static str, value: impl fmt::Display) {
        self.settings.entry(name).or_default().default = Some(value.to_string());
    }

    /// A value that may be printed, or what stands for it when it is not set.
    pub(super) fn text_or(&mut self, name: &'static str, default: &str) -> String {
        self.default(name, default);
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// A value that is never printed.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.settings.entry(name).or_default().secret = true;
        let value = self.text(name)?;
        Some(self.hide(value))
    }

    /// A secret that is only a part of a variable's value.
    pub(super) fn hide(&mut self, value: impl Into<String>) -> Secret {
        let secret = Secret::new(value);
        self.secrets.push(secret.clone());
        secret
    }

    /// Every secret that was read, for whoever has to leave them out.
    pub(super) fn secrets(&mut self) -> Vec<Secret> {
        std::mem::take(&mut self.secrets)
    }

    /// The first of `names` that is set, with its name.
    pub(super) fn first(&mut self, names: &[&'static str]) -> Option<(&'static str, String)> {
        // Every name is asked for, so that the list of known names is complete.
        let found: Vec<_> = names.iter().filter_map(|name| Some((*name, self.text(name)?))).collect();
        found.into_iter().next()
    }

    pub(super) fn boolean(&mut self, name: &'static str, default: bool) -> bool {
        self.default(name, default);
        let Some(value) = self.text(name) else {
            return default;
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            _ => {
                self.problem(name, Some(&value), "not a yes or no; use true or false");
                default
            }
        }
    }

    /// A whole number within `range`.
    pub(super) fn number<T>(
        &mut self,
        name: &'static str,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        self.default(name, default);
        let Some(value) = self.text(name) else {
            return default;
        };
        match value.parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let reason = format!("use a whole number from {} to {}", range.start(), range.end());
                self.problem(name, Some(&value), reason);
                default
            }
        }
    }

    pub(super) fn seconds(
        &mut self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.number(name, default, range))
    }

    /// One word of a closed list.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        name: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        if let Some((word, _)) = choices.iter().find(|(_, choice)| *choice == default) {
            self.default(name, word);
        }
        let Some(value) = self.text(name) else {
            return default;
        };
        let wanted = value.to_ascii_lowercase();
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == wanted) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        self.problem(name, Some(&value), format!("use one of: {}", words.join(", ")));
        default
    }
}
