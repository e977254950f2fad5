//! The configuration of this process: `.env`, the environment, and variables that are not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::dotenv::{self, DotEnv};
use super::{Config, ConfigError, Origin, Settings, settings, unknown_variables, verbatim};
use crate::language::Language;

/// Variables that a reload applies; others need a restart.
const RELOADED: [&str; 8] = [
    "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL",
    "AWS_BEDROCK_DEBUG",
    "AWS_BEDROCK_MODELS_FILE",
    "AWS_BEDROCK_MODEL_MAPPINGS",
    "DEFAULT_TEAM_DAILY_TOKENS",
    "DEFAULT_USER_DAILY_TOKENS",
    "LOG_LEVEL",
    "PROVISION_USERS",
];

/// The configuration and where its values came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration, or all of its errors.
    pub(crate) config: Result<Config, Vec<ConfigError>>,
    /// Where its values came from.
    pub(crate) source: Source,
}

impl Loaded {
    /// Each variable with its effective value and origin. Secrets are masked.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, Option<&str>, Origin)> {
        self.source.settings.rows(|name| self.source.from_file.contains(name))
    }
}

/// Where a configuration came from, with the values of its variables.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: PathBuf,
    settings: Settings,
    /// Variables of the process environment that `file` set at the start.
    from_file: BTreeSet<String>,
}

/// A variable with another value than before. Secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ChangedVariable {
    /// The variable.
    pub(crate) name: &'static str,
    /// The value before, or the default; `None` when unset.
    pub(crate) from: Option<String>,
    /// The value now.
    pub(crate) to: Option<String>,
}

impl Source {
    /// Reads the file and the environment again. The environment itself is not changed, because other threads read it.
    pub(crate) fn load_again(&self) -> Loaded {
        let read = dotenv::read_again(&self.file, &self.from_file);
        let (read, values) = read
            .map_or_else(|errors| (Err(errors), BTreeMap::new()), |(dotenv, values)| (Ok(dotenv), values));
        let lookup = |name: &str| match values.get(name) {
            Some(value) => Some(value.clone()),
            None if self.from_file.contains(name) => None,
            None => dotenv::lookup(name),
        };
        let mut loaded = load(&self.file, read, &lookup);
        loaded.source.from_file.clone_from(&self.from_file);
        loaded
    }

    /// The value of a variable; `None` for a secret, and when unset.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.settings.0.get(name)?.value.clone()
    }

    /// Variables with other values in `later`: those that a reload applies, and those that need a restart.
    pub(crate) fn changes(&self, later: &Self) -> (Vec<ChangedVariable>, Vec<ChangedVariable>) {
        let before: BTreeMap<_, _> =
            self.settings.rows(|_| false).map(|(name, value, _)| (name, value)).collect();
        let secret = |source: &Self, name| source.settings.0.get(name).and_then(|value| value.secret.clone());
        let changed = later.settings.rows(|_| false).filter_map(|(name, value, _)| {
            let from = before.get(name).copied().flatten();
            (from != value || secret(self, name) != secret(later, name)).then(|| ChangedVariable {
                name,
                from: from.map(str::to_owned),
                to: value.map(str::to_owned),
            })
        });
        changed.partition(|changed| RELOADED.contains(&changed.name))
    }

    /// Takes the values of the variables that a reload applies from `later`.
    pub(crate) fn take_reloaded(&mut self, later: &Self) {
        for name in RELOADED {
            if let Some(value) = later.settings.0.get(name) {
                self.settings.0.insert(name, value.clone());
            }
        }
    }
}

/// The language of the locale of this process, for the help of the command line.
#[must_use]
pub(crate) fn locale_language() -> Language {
    Language::from_locale(dotenv::lookup)
}

/// Reads `file`, which may be missing, and the environment. Must run before any thread starts.
#[must_use]
pub(crate) fn load_from_env(file: &Path) -> Loaded {
    load(file, dotenv::load_dotenv(file), &dotenv::lookup)
}

fn load(
    file: &Path,
    dotenv: Result<DotEnv, Vec<ConfigError>>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Loaded {
    let (dotenv, file_errors) = match dotenv {
        Ok(dotenv) => (dotenv, Vec::new()),
        Err(errors) => (DotEnv::default(), errors),
    };
    let is_parsed = |name: &str| dotenv.applied.contains(name);
    let (config, settings) = Config::read(lookup, &is_parsed);
    let known = settings::names();
    let unknown = unknown_variables::find(&known, &dotenv.names, dotenv::names());
    let mut errors: Vec<_> = file_errors.into_iter().chain(unknown.errors).collect();
    errors.extend(verbatim::errors(&known, lookup, &is_parsed));
    let config = match config {
        Ok(mut config) if errors.is_empty() => {
            config.warnings.extend(unknown.warnings);
            Ok(config)
        }
        Ok(_) => Err(errors),
        Err(more) => {
            errors.extend(more);
            Err(errors)
        }
    };
    Loaded { config, source: Source { file: file.to_owned(), settings, from_file: dotenv.applied } }
}
