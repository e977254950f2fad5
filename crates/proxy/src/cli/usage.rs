//! `usage`, `quota` and `events`: what was used, what is left, and what happened.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::table::{self, Format};
use super::{all_pages, first_rows};
use crate::admin::{Admin, AdminError, parse_ttl};
use crate::store::{Dimensions, EventFilter, UsageQuery};

/// Events of a list without a limit and a range.
const DEFAULT_EVENTS: usize = 100;

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
    /// Only events about this team
    #[arg(long)]
    team: Option<String>,
    /// Only events of this operator, as cli:ana, or the user of an admin token
    #[arg(long)]
    actor: Option<String>,
    /// Only events from this time on: 2026-11-22, 2026-11-22T12:00:00Z, or an age such as 24h or 7d
    #[arg(long)]
    since: Option<String>,
    /// Only events before this time; a day includes its last event
    #[arg(long)]
    until: Option<String>,
    /// The maximum number of events, newest first; default: 100, and all with --since or --format csv
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
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
    let EventArguments { kind, user, team, actor, since, until, limit, format } = arguments;
    let now = admin.now();
    let from = since.as_deref().map(|text| parse_instant("--since", text, now, false)).transpose()?;
    let until = until.as_deref().map(|text| parse_instant("--until", text, now, true)).transpose()?;
    if from.zip(until).is_some_and(|(from, until)| from >= until) {
        return Err(AdminError::Invalid("--since is not before --until".to_owned()));
    }
    let reads_all = from.is_some() || format == Format::Csv;
    let max = limit.map_or(if reads_all { usize::MAX } else { DEFAULT_EVENTS }, |limit| limit as usize);
    let filter = EventFilter { kind, user_id: user, team, actor, from, until };
    let rows = first_rows(max, async |page| admin.events(&filter, page).await).await?;
    Ok(table::rows(&rows, format))
}

/// Parses a day, a time or an age into epoch milliseconds. With `is_end`, a day stands for its end.
fn parse_instant(option: &str, text: &str, now: i64, is_end: bool) -> Result<i64, AdminError> {
    if let Ok(age) = parse_ttl(text) {
        return Ok(now - age * 1000);
    }
    let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
    let day = day.and_then(|day| if is_end { day.tomorrow().ok() } else { Some(day) });
    let start = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok()).map(|start| start.timestamp());
    let instant = start.or_else(|| text.parse().ok());
    instant.map(jiff::Timestamp::as_millisecond).ok_or_else(|| {
        AdminError::Invalid(format!(
            "{option}: {text:?} is not a time; use a day such as 2026-11-22, a time such as 2026-11-22T12:00:00Z, or \
             an age such as 24h or 7d"
        ))
    })
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
