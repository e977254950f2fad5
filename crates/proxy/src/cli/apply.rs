//! `user import` and `apply`: users and teams from a file.

use std::io::{IsTerminal as _, Read as _, Write as _, stderr, stdin};

use clap::Args;
use serde_json::Value;

use super::{ACTOR, print, progress};
use crate::admin::{Admin, AdminError, Declaration, Plan};

/// After the help of `apply`.
const FORMAT: &str = "\
The file is TOML, or JSON if its name ends in .json. What it does not name is left as it is:

  [teams.payments]
  limit = \"5M\"                # tokens per day, or \"unlimited\"

  [users.\"ana@example.com\"]
  team = \"payments\"           # or \"none\"
  limit = 1_000_000
  profile = \"none\"            # inference profile
  disabled = false

Examples:
  bedrock-proxy apply -f teams.toml --dry-run
  bedrock-proxy apply -f teams.toml --yes";

#[derive(Debug, Args)]
#[command(after_help = FORMAT)]
pub(super) struct ApplyArguments {
    /// The file, or - for standard input (TOML, or JSON that starts with {)
    #[arg(short, long)]
    file: String,
    /// Remove users and teams that the file does not name; only of a kind that the file has
    #[arg(long)]
    prune: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Apply the plan without confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The CSV file, or - for standard input. Its header has the column user and any of team, limit, profile, disabled
    file: String,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Imports users from a CSV.
pub(super) async fn import(admin: &Admin, arguments: ImportArguments) -> Result<String, AdminError> {
    let declaration = Declaration::from_csv(&read(&arguments.file)?);
    let plan = admin.plan(&declaration, false).await?;
    if arguments.dry_run || plan.len() == 0 {
        return Ok(finish(&plan, false));
    }
    execute(admin, &plan, "importing users").await?;
    Ok(finish(&plan, true))
}

/// Applies a file of teams and users.
pub(super) async fn apply(admin: &Admin, arguments: ApplyArguments) -> Result<String, AdminError> {
    let ApplyArguments { file, prune, dry_run, yes } = arguments;
    let text = read(&file)?;
    let is_json = file.ends_with(".json") || (file == "-" && text.trim_start().starts_with('{'));
    let document: Value = if is_json {
        serde_json::from_str(&text).map_err(|error| AdminError::Invalid(format!("{file}: {error}")))?
    } else {
        toml::from_str(&text).map_err(|error| AdminError::Invalid(format!("{file}: {error}")))?
    };
    let plan = admin.plan(&Declaration::from_document(&document), prune).await?;
    if dry_run || plan.len() == 0 {
        return Ok(finish(&plan, false));
    }
    if !yes {
        print(&plan.describe());
        if !confirm() {
            return Err(AdminError::Invalid("nothing is changed; use --yes to apply the plan".to_owned()));
        }
    }
    execute(admin, &plan, "applying changes").await?;
    Ok(if yes { finish(&plan, true) } else { "applied".to_owned() })
}

/// The plan, and whether it was applied.
fn finish(plan: &Plan, is_applied: bool) -> String {
    let state = if is_applied { "applied" } else { "nothing is changed" };
    format!("{}\n{state}", plan.describe())
}

async fn execute(admin: &Admin, plan: &Plan, label: &'static str) -> Result<(), AdminError> {
    progress::begin(label, plan.len());
    admin.execute(plan, ACTOR, || progress::advance(1)).await
}

/// The text of a file, or of standard input.
fn read(file: &str) -> Result<String, AdminError> {
    let mut text = String::new();
    let read = if file == "-" {
        stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|content| text = content)
    };
    read.map(|()| text).map_err(|error| AdminError::Invalid(format!("{file}: {error}")))
}

/// Whether the operator confirms the plan on a terminal. Without one, the reply is no.
fn confirm() -> bool {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return false;
    }
    let _ = write!(stderr(), "Apply these changes? [y/N] ").and_then(|()| stderr().flush());
    let mut reply = String::new();
    let is_read = stdin().read_line(&mut reply).is_ok();
    is_read && ["y", "yes"].contains(&reply.trim().to_ascii_lowercase().as_str())
}
