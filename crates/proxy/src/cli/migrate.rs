//! `migrate`: applies pending migrations, or lists them.

use std::process::ExitCode;

use clap::Args;

use super::{print, progress};
use crate::config::Config;
use crate::store::Inspection;

#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy migrate --dry-run")]
pub(super) struct MigrateArguments {
    /// List pending migrations and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(config: Config, arguments: MigrateArguments) -> Result<ExitCode, String> {
    let inspection = Inspection::read(&config.database).await.map_err(|error| error.to_string())?;
    let verb = if arguments.dry_run { "pending" } else { "applied" };
    if !arguments.dry_run {
        progress::begin("applying migrations", 0);
        progress::show(Box::pin(inspection.migrate())).await.map_err(|error| error.to_string())?;
    }
    let lines: Vec<_> = inspection.pending.iter().map(|name| format!("{verb}: {name}")).collect();
    print(&if lines.is_empty() { "the schema is up to date".to_owned() } else { lines.join("\n") });
    Ok(ExitCode::SUCCESS)
}
