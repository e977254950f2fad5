//! `usage`, `quota` and `events`: what was used, what is left, and what happened.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::all_pages;
use super::table::{self, Format};
use crate::admin::{Admin, AdminError};
use crate::store::{Dimensions, EventFilter, Page, UsageQuery};

#[derive(Debug, Subcommand)]
pub(super) enum UsageCommand {
    /// Report requests, tokens and cost
    #[command(
        after_help = "Example:\n  bedrock-proxy usage report --by team,model --from 2026-11-01 --format csv"
    )]
    Report {
        /// Group by user, team, model, day, route, separated by commas
        #[arg(long, default_value = "user", value_parser = Dimensions::parse)]
        by: Dimensions,
        /// The first day (UTC), as 2026-11-22; default: the last day
        #[arg(long)]
        from: Option<String>,
        /// The last day (UTC); default: today
        #[arg(long)]
        to: Option<String>,
        /// Only this user
        #[arg(long)]
        user: Option<String>,
        /// Only this team
        #[arg(long)]
        team: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum QuotaCommand {
    /// Explain the limits of a user and what is left of them
    #[command(after_help = "Example:\n  bedrock-proxy quota explain ana")]
    Explain { user: String },
}

#[derive(Debug, Args)]
pub(super) struct EventArguments {
    /// Only events of this kind, as user_changed
    #[arg(long)]
    kind: Option<String>,
    /// Only events about this user
    #[arg(long)]
    user: Option<String>,
    /// The maximum number of events, newest first
    #[arg(long, default_value_t = 100)]
    limit: i64,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) async fn report(admin: &Admin, command: UsageCommand) -> Result<String, AdminError> {
    let UsageCommand::Report { by, from, to, user, team, format } = command;
    let to = to.unwrap_or_else(|| admin.today());
    let from = from.unwrap_or_else(|| to.clone());
    let query = UsageQuery { from, to, by, user_id: user, team, model: None };
    let rows = all_pages(async |page| admin.usage_report(&query, page).await).await?;
    Ok(table::rows(&rows, format))
}

pub(super) async fn quota(admin: &Admin, command: QuotaCommand) -> Result<String, AdminError> {
    let QuotaCommand::Explain { user } = command;
    Ok(describe_limits(&admin.user_quota_status(&user).await?))
}

pub(super) async fn events(admin: &Admin, arguments: EventArguments) -> Result<String, AdminError> {
    let EventArguments { kind, user, limit, format } = arguments;
    let filter = EventFilter { kind, user_id: user, from: None, until: None };
    let found = admin.events(&filter, &Page { after: None, limit }).await?;
    Ok(table::rows(&found.rows, format))
}

/// The limits of a user in sentences.
fn describe_limits(status: &Value) -> String {
    let mut text = String::new();
    if status["disabled"] == true {
        text.push_str("Rejected: the user or the team is disabled.\n");
    }
    for limit in status["limits"].as_array().into_iter().flatten() {
        let [scope, name] = ["scope", "name"].map(|key| limit[key].as_str().unwrap_or_default());
        let [used, reserved] = ["used", "reserved"].map(|key| limit[key].as_i64().unwrap_or_default());
        let spent = format!("{used} used, {reserved} reserved by open requests");
        let line = match (limit["limit"].as_i64(), limit["remaining"].as_i64()) {
            (Some(limit), Some(remaining)) => format!("{remaining} of {limit} tokens remain ({spent})"),
            _ => format!("no limit ({spent})"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "The {scope} {name}: {line}.");
    }
    let resets_at = status["resets_at"].as_str().unwrap_or_default();
    let _ = write!(text, "Limits reset at {resets_at}. A request must fit into each of them.");
    text
}
