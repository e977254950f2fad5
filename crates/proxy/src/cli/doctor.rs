//! `doctor`: prints what the doctor finds, each finding as soon as it is there.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{EX_CONFIG, in_runtime, say};
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::doctor::{self, Check, State, Wishes};

#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  bedrock-proxy doctor --model claude-sonnet-4-5\n\nIt asks every model that is configured \
                        for one token, which costs a little; --no-calls leaves that out."
)]
pub(super) struct Arguments {
    /// As JSON, once everything was looked at
    #[arg(long)]
    json: bool,
    /// A model to ask beside those of the configuration; may be repeated
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Ask no model
    #[arg(long)]
    no_calls: bool,
}

pub(super) fn run(arguments: Arguments, loaded: Loaded) -> ExitCode {
    match loaded.config {
        Ok(config) => in_runtime(examine(config, arguments)),
        Err(problems) => {
            let checks = doctor::of_problems(&problems);
            if arguments.json {
                say(&as_json(&checks));
            } else {
                checks.iter().for_each(|check| say(&as_text(check)));
            }
            ExitCode::from(EX_CONFIG)
        }
    }
}

async fn examine(config: Config, arguments: Arguments) -> Result<ExitCode, String> {
    let Arguments { json, models, no_calls } = arguments;
    let mut checks = Vec::new();
    let mut tell = |check: Check| {
        if !json {
            say(&as_text(&check));
        }
        checks.push(check);
    };
    doctor::examine(&config, &Wishes { models, calls: !no_calls }, &Clock::machine(), &mut tell).await;
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    if json {
        say(&as_json(&checks));
    } else if failed > 0 {
        say(&format!("\n{failed} of {} checks failed", checks.len()));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(checks: &[Check]) -> String {
    let passed = checks.iter().all(|check| check.state != State::Fail);
    serde_json::to_string_pretty(&json!({"passed": passed, "checks": checks})).unwrap_or_default()
}

fn as_text(check: &Check) -> String {
    let state = match check.state {
        State::Ok => "ok",
        State::Note => "note",
        State::Fail => "FAIL",
    };
    let fix = match (&check.fix, check.code) {
        (Some(fix), Some(code)) => format!("\n{:30}→ {fix} [{code}]", ""),
        (Some(fix), None) => format!("\n{:30}→ {fix}", ""),
        (None, _) => String::new(),
    };
    format!("  {:<20} {state:<6} {}{fix}", check.name, check.said)
}
