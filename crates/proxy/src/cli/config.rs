//! `config check` and `config print`: the errors and the effective values of the configuration.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::{exit_config_error, print};
use crate::config::{Loaded, Origin};

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report all errors in the environment and .env; exit code 78 if there is one
    #[command(after_help = "Example:\n  bedrock-proxy config check && systemctl restart bedrock-proxy")]
    Check,
    /// Print every variable with its effective value and origin; secrets are masked
    #[command(
        after_help = "Example:\n  bedrock-proxy config print --json | jq '.[] | select(.origin != \"default\")'"
    )]
    Print {
        /// Print an array of objects: name, value, origin
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: ConfigCommand, loaded: &Loaded) -> ExitCode {
    match command {
        ConfigCommand::Check => {}
        ConfigCommand::Print { json: true } => print(&as_json(loaded)),
        ConfigCommand::Print { json: false } => print(&as_table(loaded)),
    }
    match (&loaded.config, command) {
        (Err(errors), _) => exit_config_error(errors),
        (Ok(config), ConfigCommand::Check) => {
            print(&format!("the configuration is valid\n{}", config.warnings.join("\n")));
            ExitCode::SUCCESS
        }
        (Ok(_), ConfigCommand::Print { .. }) => ExitCode::SUCCESS,
    }
}

fn as_json(loaded: &Loaded) -> String {
    let row = |(name, value, origin): (_, _, Origin)| json!({"name": name, "value": value, "origin": origin.to_string()});
    let rows: Vec<_> = loaded.rows().map(row).collect();
    serde_json::to_string_pretty(&rows).unwrap_or_default()
}

fn as_table(loaded: &Loaded) -> String {
    let width = loaded.rows().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value, origin) in loaded.rows() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:width$}  {origin:11}  {}", value.unwrap_or("-"));
    }
    text
}
