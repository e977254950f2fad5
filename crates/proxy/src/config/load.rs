//! The configuration of this process: `.env`, the environment, and variables that are not known.

use std::collections::BTreeSet;
use std::path::Path;

use super::dotenv::{self, DotEnv};
use super::{Config, ConfigError, Origin, Settings, settings, unknown_variables, verbatim};
use crate::language::Language;

/// The configuration and where its values came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration, or all of its errors.
    pub(crate) config: Result<Config, Vec<ConfigError>>,
    settings: Settings,
    from_file: BTreeSet<String>,
}

impl Loaded {
    /// Each variable with its effective value and origin. Secrets are masked.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, Option<&str>, Origin)> {
        self.settings.rows(|name| self.from_file.contains(name))
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
    let (dotenv, file_errors) = match dotenv::load_dotenv(file) {
        Ok(dotenv) => (dotenv, Vec::new()),
        Err(errors) => (DotEnv::default(), errors),
    };
    let is_parsed = |name: &str| dotenv.applied.contains(name);
    let (config, settings) = Config::read(&dotenv::lookup, &is_parsed);
    let known = settings::names();
    let unknown = unknown_variables::find(&known, &dotenv.names, dotenv::names());
    let mut errors: Vec<_> = file_errors.into_iter().chain(unknown.errors).collect();
    errors.extend(verbatim::errors(&known, &dotenv::lookup, &is_parsed));
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
    Loaded { config, settings, from_file: dotenv.applied }
}
