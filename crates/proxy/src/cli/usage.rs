//! `usage`, `quota` and `events`: what was used, what is left, and what happened.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::table::{self, Format};
use super::{first_rows, usage_table};
use crate::admin::{Admin, AdminError, UsageReportView, csv, empty_usage_row, parse_ttl};
use crate::catalog::{Catalog, PriceRow};
use crate::config::Config;
use crate::store::{Dimensions, EVENT_KINDS, EventFilter, ListPage, UsageQuery};

/// Events of a list without a limit and a range.
const DEFAULT_EVENTS: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum UsageCommand {
    /// Report requests, tokens and cost; by default of this month, by user, with totals
    #[command(after_help = EXAMPLE, after_long_help = COLUMNS)]
    Report(ReportArguments),
    /// Print the prices that costs are computed with, in US dollars for a million tokens
    #[command(after_help = PRICES)]
    Prices(PriceArguments),
}

/// After the help of the prices.
const PRICES: &str = "\
The cost of a request is the sum over its kinds of tokens: tokens x price / 1,000,000. The prices are those of the region and
of the inference profile in model_id. prompt_above: the prices of a request whose prompt has more tokens than this. An empty
price is not known; it is estimated high, and such requests are marked as unpriced. Your own prices: AWS_BEDROCK_MODELS_FILE.

Examples:
  bedrock-proxy usage prices
  bedrock-proxy usage prices claude-sonnet --format csv";

/// After the short help of a report.
const EXAMPLE: &str =
    "Example:\n  bedrock-proxy usage report --by team,model --from 2026-11 --to 2026-11 --format csv";

/// After the long help of a report.
const COLUMNS: &str = "\
Dimensions of --by:
  user, team          who is charged; a team is the one at the time of the request
  model               the foundation model
  month, day          when the request started (UTC)
  route               the API of Bedrock: converse, invoke or messages
  client_api          the API of the client: messages, chat_completions or bedrock
  client              the client program, such as claude-code
  session             the session of a client program, by the id that it sends
Reports by client_api, client or session go back USAGE_RETENTION_DAYS; others to the first request.

Columns:
  requests            requests, failed ones included
  failed              requests that ended with a status of 400 or above, or failed after their response had begun
  estimated           requests whose tokens are estimated, because Bedrock did not report them: for example, a stream
                      that was interrupted
  unpriced            requests of a model without a known price; they cost as much as the most expensive model
  input_tokens        input tokens that were neither read from nor written to the cache
  output_tokens       output tokens, thinking included
  cache_read_tokens   input tokens that were read from the cache
  cache_write_tokens  input tokens that were written to the cache
  charged_tokens      tokens that counted towards limits: input, cache writes and output, and of cache reads the share
                      QUOTA_CACHE_READ_PERCENT
  cost_usd            cost in US dollars, by the prices at the time of each request; see bedrock-proxy usage prices
  cost_nano_usd       the same cost in billionths of a dollar (JSON and CSV only)

Examples:
  bedrock-proxy usage report
  bedrock-proxy usage report --by month,team --from 2026-01-01
  bedrock-proxy usage report --by team,model --from 2026-11 --to 2026-11 --format csv";

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// Group by user, team, model, month, day, route, client_api, client, session, separated by commas
    #[arg(long, default_value = "user", value_parser = Dimensions::parse)]
    by: Dimensions,
    /// The first day (UTC): 2026-11-22, or 2026-11 for the first of that month; default: the first of the month of --to
    #[arg(long)]
    from: Option<String>,
    /// The last day (UTC): 2026-11-22, or 2026-11 for the last of that month; default: today
    #[arg(long)]
    to: Option<String>,
    /// Only this user
    #[arg(long)]
    user: Option<String>,
    /// Only this team
    #[arg(long)]
    team: Option<String>,
    /// Only this model
    #[arg(long)]
    model: Option<String>,
    /// Only this client program, such as claude-code
    #[arg(long)]
    client: Option<String>,
    /// Only this session of a client program
    #[arg(long)]
    session: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct PriceArguments {
    /// Only models whose id or name contains this
    model: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum QuotaCommand {
    /// Explain the limits of a user and what is left of them
    #[command(after_help = "Example:\n  bedrock-proxy quota explain ana")]
    Explain {
        /// The name of the user
        user: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct EventArguments {
    /// Only events of this kind, such as user_changed
    #[arg(long)]
    kind: Option<String>,
    /// Only events about this user
    #[arg(long)]
    user: Option<String>,
    /// Only events about this team
    #[arg(long)]
    team: Option<String>,
    /// Only events of this operator, such as cli:ana, or the user of an admin token
    #[arg(long)]
    actor: Option<String>,
    /// Only events from this time on: 2026-11-22, 2026-11-22T12:00:00Z, or an age such as 24h or 7d
    #[arg(long)]
    since: Option<String>,
    /// Only events before this time; a day includes its last event
    #[arg(long)]
    until: Option<String>,
    /// The maximum number of events, newest first; default: 100, and all with --since or --format csv
    #[arg(long, value_parser = positive_number)]
    limit: Option<u32>,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) async fn report(admin: &Admin, arguments: ReportArguments) -> Result<String, AdminError> {
    let ReportArguments { by, from, to, user, team, model, client, session, format } = arguments;
    let (from, to) = admin.report_days(from, to)?;
    let query = UsageQuery { from, to, by, user_id: user, team, model, client, session_id: session };
    let UsageReportView { page: ListPage { rows, .. }, totals } =
        admin.whole_usage_report(&query, usize::MAX).await?;
    let is_empty = rows.iter().all(|row| row["requests"] == 0);
    if is_empty && let Some(user) = &query.user_id {
        admin.user(user).await?;
    }
    if is_empty && let Some(team) = &query.team {
        admin.team(team).await?;
    }
    match format {
        Format::Table if is_empty => Ok(format!("no usage from {} to {}", query.from, query.to)),
        Format::Table => {
            let table = usage_table::render(&rows, &totals, usage_table::terminal_width());
            Ok(format!("Usage from {} to {} (UTC)\n\n{table}", query.from, query.to))
        }
        Format::Csv => Ok(csv(&empty_usage_row(by), &rows)),
        Format::Json => Ok(table::rows(&rows, format)),
    }
}

/// The prices in this configuration.
///
/// # Errors
/// When no model with a price matches.
pub(super) fn prices(config: &Config, arguments: &PriceArguments) -> Result<String, String> {
    let filter = arguments.model.as_deref();
    let rows = Catalog::new(&config.catalog).price_list(&config.bedrock.region, filter);
    match filter {
        Some(filter) if rows.is_empty() => {
            Err(format!("no model with a price has {filter:?} in its id or name"))
        }
        _ => Ok(table::rows(&rows.iter().map(price_row).collect::<Vec<_>>(), arguments.format)),
    }
}

fn price_row(row: &PriceRow) -> Value {
    let PriceRow { model_id, name, prompt_above, rates } = row;
    json!({
        "type": "price",
        "model_id": model_id,
        "name": name,
        "prompt_above": prompt_above,
        "input": dollars_per_million(rates.input),
        "output": dollars_per_million(rates.output),
        "cache_read": dollars_per_million(rates.cache_read),
        "cache_write_5m": dollars_per_million(rates.cache_write_5m),
        "cache_write_1h": dollars_per_million(rates.cache_write_1h),
        "version": rates.version,
    })
}

/// Pico-dollars per token as dollars for a million tokens, such as `3.75`; `None` for 0, which stands for an unknown price.
fn dollars_per_million(rate: u64) -> Option<String> {
    let text = format!("{}.{:06}", rate / 1_000_000, rate % 1_000_000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    (rate > 0).then(|| text.to_owned())
}

fn positive_number(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "use a whole number from 1 on".to_owned())
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
    if rows.is_empty() && filter.kind.is_none() {
        if let Some(user) = &filter.user_id {
            admin.user(user).await?;
        }
        if let Some(team) = &filter.team {
            admin.team(team).await?;
        }
    }
    match &filter.kind {
        Some(kind) if rows.is_empty() && !EVENT_KINDS.contains(&kind.as_str()) => {
            let kinds = EVENT_KINDS.join(", ");
            Err(AdminError::Invalid(format!(
                "there are no events of the kind {kind:?}; the kinds are {kinds}"
            )))
        }
        _ => Ok(table::rows(&rows, format)),
    }
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
    let cost = status["cost_usd"].as_str().unwrap_or_default();
    let _ = writeln!(text, "Cost of the user since the last reset: ${cost}.");
    let resets_at = status["resets_at"].as_str().unwrap_or_default();
    let _ = write!(text, "Limits reset at {resets_at}. A request must fit into each of them.");
    text
}
