//! `doctor`: prints each finding as soon as it is known.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{EX_CONFIG, in_runtime, print};
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::doctor::{self, DoctorOptions, Finding, Severity};

/// Width of the names of findings, in characters.
const NAME_WIDTH: usize = 20;

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  bedrock-proxy doctor --model claude-sonnet-5\n\nIt requests one token from every configured \
                        model, which costs a little; --no-calls skips that."
)]
pub(super) struct DoctorArguments {
    /// Print JSON after all checks
    #[arg(long)]
    json: bool,
    /// A further model to check; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Send no request to a model
    #[arg(long)]
    no_calls: bool,
}

pub(super) fn run(arguments: DoctorArguments, loaded: Loaded) -> ExitCode {
    match loaded.config {
        Ok(config) => in_runtime(examine(config, arguments)),
        Err(errors) => {
            let findings = doctor::config_findings(&errors);
            if arguments.json {
                print(&as_json(&findings));
            } else {
                findings.iter().for_each(|finding| print(&as_text(finding)));
            }
            ExitCode::from(EX_CONFIG)
        }
    }
}

async fn examine(config: Config, arguments: DoctorArguments) -> Result<ExitCode, String> {
    let DoctorArguments { json, models, no_calls } = arguments;
    let mut findings = Vec::new();
    let mut report = |finding: Finding| {
        if !json {
            print(&as_text(&finding));
        }
        findings.push(finding);
    };
    doctor::examine(&config, &DoctorOptions { models, calls: !no_calls }, &Clock::machine(), &mut report)
        .await;
    let failed = findings.iter().filter(|finding| finding.severity == Severity::Fail).count();
    if json {
        print(&as_json(&findings));
    } else if failed > 0 {
        print(&format!("\n{failed} of {} checks failed", findings.len()));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(findings: &[Finding]) -> String {
    let passed = findings.iter().all(|finding| finding.severity != Severity::Fail);
    serde_json::to_string_pretty(&json!({"passed": passed, "checks": findings})).unwrap_or_default()
}

fn as_text(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Fail => "FAIL",
    };
    let fix = match (&finding.fix, finding.code) {
        (Some(fix), Some(code)) => format!("\n{:30}→ {fix} [{code}]", ""),
        (Some(fix), None) => format!("\n{:30}→ {fix}", ""),
        (None, _) => String::new(),
    };
    // A long name, such as the id of a model, has a line of its own, so that the columns stay.
    let name = match finding.name.chars().count() {
        0..=NAME_WIDTH => finding.name.clone(),
        _ => format!("{}\n  {:NAME_WIDTH$}", finding.name, ""),
    };
    format!("  {name:<NAME_WIDTH$} {severity:<6} {}{fix}", finding.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_the_columns() {
        let line = |name: &str| {
            let detail = "200".to_owned();
            as_text(&Finding { name: name.to_owned(), severity: Severity::Ok, detail, code: None, fix: None })
        };
        assert_eq!(line("Port"), "  Port                 ok     200");
        let id = "a-name-that-is-longer-than-its-column";
        assert_eq!(line(id), format!("  {id}\n                       ok     200"));
    }
}
