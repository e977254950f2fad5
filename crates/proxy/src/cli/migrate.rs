//! `migrate`: the schema of the database, brought up to date by hand instead of by the next start.

use std::process::ExitCode;

use clap::Args;

use super::say;
use crate::config::Config;
use crate::store::Inspection;

#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy migrate --dry-run")]
pub(super) struct Arguments {
    /// List what would be applied, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(config: Config, arguments: Arguments) -> Result<ExitCode, String> {
    let survey = Inspection::read(&config.database).await.map_err(|error| error.to_string())?;
    let verb = if arguments.dry_run { "pending" } else { "applied" };
    if !arguments.dry_run {
        survey.migrate().await.map_err(|error| error.to_string())?;
    }
    let lines: Vec<_> = survey.pending.iter().map(|name| format!("{verb}: {name}")).collect();
    say(&if lines.is_empty() { "the schema is up to date".to_owned() } else { lines.join("\n") });
    Ok(ExitCode::SUCCESS)
}
