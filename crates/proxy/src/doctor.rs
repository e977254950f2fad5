//! The doctor: checks everything that a server with this configuration needs, with advice for each failure. It changes
//! nothing and leaves no files behind; a request to a model costs one token.
//!
//! `cli` prints the findings; the codes are those of the table of known errors.

mod aws;
mod host;
mod models;

use std::time::Duration;

use protocol::translate::{self, known_error};
use serde::Serialize;

use crate::bedrock::{Bedrock, UpstreamError};
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::tasks::Tasks;

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// No problem.
    Ok,
    /// Information, no failure.
    Note,
    /// A failure.
    Fail,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The subject: a few words, or the name of a model.
    pub(crate) name: String,
    /// How severe it is; `state` in JSON.
    #[serde(rename = "state")]
    pub(crate) severity: Severity,
    /// What was found; `said` in JSON.
    #[serde(rename = "said")]
    pub(crate) detail: String,
    /// The code of the known error that explains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Finding {
    fn new(name: &str, severity: Severity, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), severity, detail: detail.into(), code: None, fix: None }
    }

    fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Severity::Ok, detail)
    }

    fn note(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Severity::Note, detail)
    }

    fn advice(name: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::note(name, detail) }
    }

    fn fail(name: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(name, Severity::Fail, detail) }
    }

    /// An upstream error, with the cause and advice of its known error. The operator sees the whole AWS message.
    fn from_upstream_error(name: &str, error: UpstreamError) -> Self {
        let detail = error.to_string();
        Self::from_known_error(name, &detail, error.into_mapped().known_error)
    }

    /// As [`Finding::from_upstream_error`], from the code of the known error.
    fn from_code(name: &str, detail: String, code: Option<&'static str>) -> Self {
        match code.and_then(known_error) {
            // The advice is printed once, as the fix.
            Some(row) => Self::from_known_error(name, detail.trim_end_matches(row.advice).trim_end(), row),
            None => Self::fail(name, detail, "Look at the server's log."),
        }
    }

    fn from_known_error(name: &str, detail: &str, row: &'static translate::KnownError) -> Self {
        let detail = format!("{}: {detail}", row.cause);
        let fix = Some(row.advice.to_owned());
        Self { name: name.to_owned(), severity: Severity::Fail, detail, code: Some(row.code), fix }
    }

    fn into_note(self) -> Self {
        Self { severity: Severity::Note, ..self }
    }
}

/// Which models to check.
#[derive(Clone, Debug)]
pub(crate) struct DoctorOptions {
    /// Models to check beside those of the configuration.
    pub(crate) models: Vec<String>,
    /// Send one request to each model, which costs a little.
    pub(crate) calls: bool,
}

/// Runs all checks and passes each finding to `report` as soon as it is known.
pub(crate) async fn examine(
    config: &Config,
    options: &DoctorOptions,
    clock: &Clock,
    report: &mut (dyn FnMut(Finding) + Send),
) {
    report(Finding::ok("Configuration", "no errors"));
    for warning in &config.warnings {
        report(Finding::note("Configuration", warning));
    }
    report(host::authentication(config));
    for finding in models::lifecycles(config, options, clock) {
        report(finding);
    }
    match Bedrock::new(&config.bedrock, clock, &Tasks::default()) {
        Ok(bedrock) => aws::examine(&bedrock, config, options, clock, report).await,
        Err(error) => {
            report(Finding::fail(
                "AWS",
                error.to_string(),
                "Fix this error; without it no request can be sent to AWS.",
            ));
        }
    }
    report(host::database(config).await);
    report(host::open_files(config));
    for finding in host::directories(config) {
        report(finding);
    }
    report(host::port(config).await);
    for finding in host::collectors(config).await {
        report(finding);
    }
}

/// The errors of an invalid configuration as findings.
#[must_use]
pub(crate) fn config_findings(errors: &[ConfigError]) -> Vec<Finding> {
    let finding = |error: &ConfigError| Finding {
        fix: Some("bedrock-proxy config print shows each value and its origin.".to_owned()),
        ..Finding::new("Configuration", Severity::Fail, error.to_string())
    };
    errors.iter().map(finding).collect()
}

/// A duration in seconds, minutes or hours.
fn humanize_duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_humanized() {
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (3480, "58 min"), (7200, "2 h")] {
            assert_eq!(humanize_duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn code_adds_cause_and_fix() {
        let finding = Finding::from_code("m", "AWS's words".to_owned(), Some("E07"));
        assert!(
            finding.detail.starts_with("the model is not enabled") && finding.detail.ends_with("AWS's words")
        );
        assert!(finding.fix.unwrap().contains("Model access"));
        assert_eq!(Finding::from_code("m", "words".to_owned(), None).detail, "words");
    }
}
