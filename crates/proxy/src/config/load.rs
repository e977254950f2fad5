//! The configuration of this process: `.env`, the environment, and what was left over.

use std::collections::BTreeSet;
use std::path::Path;

use super::dotenv::{self, DotEnv};
use super::{Config, Origin, Problem, Settings, unknown_variables};

/// What was found.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, or everything that is wrong with it.
    pub config: Result<Config, Vec<Problem>>,
    settings: Settings,
    from_file: BTreeSet<String>,
}

impl Loaded {
    /// Each variable with the value that counts and where it came from. Secrets are masked.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, Option<&str>, Origin)> {
        self.settings.rows(|name| self.from_file.contains(name))
    }
}

/// Reads `file`, which need not be there, and the environment. Must come before the first thread.
#[must_use]
pub fn of_process(file: &Path) -> Loaded {
    let (dotenv, broken) = match dotenv::load_dotenv(file) {
        Ok(dotenv) => (dotenv, None),
        Err(problem) => (DotEnv::default(), Some(problem)),
    };
    let (config, settings) = Config::read(dotenv::lookup);
    let left_over = unknown_variables::find(&settings.names(), &dotenv.names, dotenv::names());
    let mut problems: Vec<_> = broken.into_iter().chain(left_over.problems).collect();
    let config = match config {
        Ok(mut config) if problems.is_empty() => {
            config.warnings.extend(left_over.warnings);
            Ok(config)
        }
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    };
    Loaded { config, settings, from_file: dotenv.applied }
}
