//! The doctor: looks at everything that a server of this configuration will need, and says what to do about what is not
//! as it should be. It changes nothing and leaves nothing behind; asking a model costs what one token costs.
//!
//! Not here: how the findings are printed (`cli`), and what the codes mean (the table of errors).

mod aws;
mod host;
mod models;

use std::time::Duration;

use protocol::translate::{self, known_error};
use serde::Serialize;

use crate::bedrock::{Bedrock, Failure};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not a fault, but good to know.
    Note,
    /// Not as it should be.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about: a few words, or the name of a model.
    pub name: String,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub said: String,
    /// The row of `docs/errors.md` that explains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn new(name: &str, state: State, said: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state, said: said.into(), code: None, fix: None }
    }

    fn ok(name: &str, said: impl Into<String>) -> Self {
        Self::new(name, State::Ok, said)
    }

    fn note(name: &str, said: impl Into<String>) -> Self {
        Self::new(name, State::Note, said)
    }

    fn fail(name: &str, said: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(name, State::Fail, said) }
    }

    /// A failure of AWS, or on the way there, with what the table of errors knows about it. The operator may read all
    /// of AWS's own words.
    fn failure(name: &str, failure: Failure) -> Self {
        let said = failure.to_string();
        Self::row(name, &said, failure.meaning().known_error)
    }

    /// The same, when only the code of the row is known.
    fn coded(name: &str, said: String, code: Option<&'static str>) -> Self {
        match code.and_then(known_error) {
            // The fix is told once, below.
            Some(row) => Self::row(name, said.trim_end_matches(row.advice).trim_end(), row),
            None => Self::fail(name, said, "Look at the server's log."),
        }
    }

    fn row(name: &str, said: &str, row: &'static translate::KnownError) -> Self {
        let said = format!("{}: {said}", row.cause);
        let fix = Some(row.advice.to_owned());
        Self { name: name.to_owned(), state: State::Fail, said, code: Some(row.code), fix }
    }

    fn not_a_fault(self) -> Self {
        Self { state: State::Note, ..self }
    }
}

/// What to look at beside the configuration.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Models to ask beside those that the configuration names.
    pub models: Vec<String>,
    /// Whether models are asked at all, which costs a little.
    pub calls: bool,
}

/// Looks at everything and hands each finding to `tell` when it is there.
pub async fn examine(config: &Config, wishes: &Wishes, clock: &Clock, tell: &mut (dyn FnMut(Check) + Send)) {
    tell(Check::ok("Configuration", "no mistakes"));
    for warning in &config.warnings {
        tell(Check::note("Configuration", warning));
    }
    tell(host::authentication(config));
    match Bedrock::new(&config.bedrock, clock.clone()) {
        Ok(bedrock) => aws::examine(&bedrock, config, wishes, clock, tell).await,
        Err(error) => {
            tell(Check::fail("AWS", error.to_string(), "Mend what it says; nothing can be sent to AWS."));
        }
    }
    tell(host::database(config).await);
    for check in host::folders(config) {
        tell(check);
    }
    tell(host::port(config).await);
}

/// What is wrong with a configuration that cannot be used.
#[must_use]
pub fn of_problems(problems: &[ConfigError]) -> Vec<Check> {
    let check = |problem: &ConfigError| Check {
        fix: Some("bedrock-proxy config print shows what was read, and from where.".to_owned()),
        ..Check::new("Configuration", State::Fail, problem.to_string())
    };
    problems.iter().map(check).collect()
}

/// A time for people: seconds, minutes or hours.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        for (seconds, told) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (3480, "58 min"), (7200, "2 h")] {
            assert_eq!(span(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn a_code_brings_its_cause_and_its_fix() {
        let check = Check::coded("m", "AWS's words".to_owned(), Some("E07"));
        assert!(check.said.starts_with("the model is not enabled") && check.said.ends_with("AWS's words"));
        assert!(check.fix.unwrap().contains("Model access"));
        assert_eq!(Check::coded("m", "words".to_owned(), None).said, "words");
    }
}
