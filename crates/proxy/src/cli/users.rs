//! The operator's commands: `token`, `user`, `team`, `usage`, `events`. They act on the database directly, so they
//! work while no server runs, and a running one acts by them within seconds.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::say;
use super::table::{self, Format};
use crate::admin::{Admin, AdminError, TeamChange, TokenRequest, UserChange, parse_ttl};
use crate::auth::Scope;
use crate::clock::Clock;
use crate::config::{Config, parse_limit};
use crate::store::{Dimensions, EventFilter, ListPage, Page, Store, UsageQuery};
use crate::tasks::Tasks;

/// Who did it, in the events of these commands.
const ACTOR: &str = "cli";
/// How many rows are asked for at a time.
const PART: i64 = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Operator {
    /// Tokens of users and operators
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who may ask models, and how much
    #[command(subcommand)]
    User(UserCommand),
    /// Users who share a limit
    #[command(subcommand)]
    Team(TeamCommand),
    /// What was spent
    #[command(subcommand)]
    Usage(UsageCommand),
    /// Limits, and what is gone of them
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// What happened: tokens, changes, refusals
    #[command(after_help = "Example:\n  bedrock-proxy events --kind auth_refused --limit 20")]
    Events {
        /// Of this kind only, as user_changed
        #[arg(long)]
        kind: Option<String>,
        /// About this user only
        #[arg(long)]
        user: Option<String>,
        /// How many at most, the last ones first
        #[arg(long, default_value_t = 100)]
        limit: i64,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and say how to use it
    #[command(after_help = "Example:\n  bedrock-proxy token issue --user ana --ttl 7d")]
    Issue(TokenArguments),
    /// Make a token and print nothing else, as Claude Code's apiKeyHelper wants it
    #[command(after_help = "Example:\n  bedrock-proxy token print --user ana --ttl 1h")]
    Print(TokenArguments),
    /// Tokens that were issued or revoked here; never the tokens themselves
    #[command(after_help = "Example:\n  bedrock-proxy token list --user ana --format json")]
    List {
        /// Of this user only
        #[arg(long)]
        user: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Take back one token by its id, or all of a user; acts within seconds on every replica
    #[command(after_help = "Example:\n  bedrock-proxy token revoke --user ana")]
    Revoke {
        /// The token's id (jti)
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        jti: Option<String>,
        /// All tokens of this user that were issued until now
        #[arg(long)]
        user: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// Whose token it is
    #[arg(long)]
    user: String,
    /// The team; counts only until the user is known
    #[arg(long)]
    team: Option<String>,
    /// An inference profile for requests to the model that it serves
    #[arg(long)]
    profile: Option<String>,
    /// How long it is valid, as 90s, 30m, 24h or 7d; default: JWT_EXPIRY_HOURS
    #[arg(long, value_parser = parse_ttl)]
    ttl: Option<i64>,
    /// inference, admin or admin:read
    #[arg(long, default_value = "inference", value_parser = scope)]
    scope: Scope,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user
    #[command(after_help = "Example:\n  bedrock-proxy user add ana --team payments --limit 1_000_000")]
    Add(UserArguments),
    /// Change a user
    #[command(after_help = "Example:\n  bedrock-proxy user set ana --limit unlimited")]
    Set(UserArguments),
    /// All users
    #[command(after_help = "Example:\n  bedrock-proxy user list --team payments")]
    List {
        /// Of this team only
        #[arg(long)]
        team: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// One user
    #[command(after_help = "Example:\n  bedrock-proxy user show ana")]
    Show { user: String },
    /// Refuse a user, whatever their token says
    #[command(after_help = "Example:\n  bedrock-proxy user disable ana")]
    Disable { user: String },
    /// Let a user come again
    #[command(after_help = "Example:\n  bedrock-proxy user enable ana")]
    Enable { user: String },
}

#[derive(Debug, Args)]
pub(super) struct UserArguments {
    user: String,
    /// The team, or none
    #[arg(long)]
    team: Option<String>,
    /// Tokens a day, or unlimited
    #[arg(long, value_parser = limit)]
    limit: Option<Limit>,
    /// The inference profile for requests to the model that it serves, or none
    #[arg(long)]
    profile: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TeamCommand {
    /// Add a team
    #[command(after_help = "Example:\n  bedrock-proxy team add payments --limit 5_000_000")]
    Add(TeamArguments),
    /// Change a team
    #[command(after_help = "Example:\n  bedrock-proxy team set payments --disabled true")]
    Set(TeamArguments),
    /// All teams
    #[command(after_help = "Example:\n  bedrock-proxy team list --format csv")]
    List {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// One team
    #[command(after_help = "Example:\n  bedrock-proxy team show payments")]
    Show { team: String },
}

#[derive(Debug, Args)]
pub(super) struct TeamArguments {
    team: String,
    /// Tokens a day of all its users, or unlimited
    #[arg(long, value_parser = limit)]
    limit: Option<Limit>,
    /// Whether its users are refused
    #[arg(long)]
    disabled: Option<bool>,
}

#[derive(Debug, Subcommand)]
pub(super) enum UsageCommand {
    /// Sums of requests, tokens and cost
    #[command(
        after_help = "Example:\n  bedrock-proxy usage report --by team,model --from 2026-11-01 --format csv"
    )]
    Report {
        /// One row for each: user, team, model, day, route, with commas
        #[arg(long, default_value = "user", value_parser = Dimensions::parse)]
        by: Dimensions,
        /// The first day (UTC), as 2026-11-22; default: the last
        #[arg(long)]
        from: Option<String>,
        /// The last day (UTC); default: today
        #[arg(long)]
        to: Option<String>,
        /// Of this user only
        #[arg(long)]
        user: Option<String>,
        /// Of this team only
        #[arg(long)]
        team: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum QuotaCommand {
    /// Say how a user stands, and why
    #[command(after_help = "Example:\n  bedrock-proxy quota explain ana")]
    Explain { user: String },
}

/// A daily limit: a number of tokens, or none.
type Limit = Option<i64>;

fn limit(text: &str) -> Result<Limit, String> {
    parse_limit(text).map_err(str::to_owned)
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::from_name(text).ok_or_else(|| "use inference, admin or admin:read".to_owned())
}

/// A value, or the word that takes it away.
fn or_none(text: Option<String>) -> Option<Option<String>> {
    text.map(|text| (text != "none").then_some(text))
}

/// Does what the operator wants.
pub(super) async fn run(config: Config, command: Operator) -> Result<ExitCode, String> {
    let tasks = Tasks::default();
    let store = Store::open(&config.database, &tasks).await.map_err(|error| error.to_string())?;
    let admin = Admin::new(&config, store.clone(), Clock::machine());
    let done = act(&admin, command).await.map_err(|error| error.to_string());
    tasks.stop();
    store.close().await;
    say(&done?);
    Ok(ExitCode::SUCCESS)
}

async fn act(admin: &Admin, command: Operator) -> Result<String, AdminError> {
    match command {
        Operator::Token(command) => token(admin, command).await,
        Operator::User(command) => user(admin, command).await,
        Operator::Team(command) => team(admin, command).await,
        Operator::Usage(UsageCommand::Report { by, from, to, user, team, format }) => {
            let to = to.unwrap_or_else(|| admin.today());
            let from = from.unwrap_or_else(|| to.clone());
            let query = UsageQuery { from, to, by, user_id: user, team, model: None };
            let rows = all(async |page| admin.usage(&query, page).await).await?;
            Ok(table::rows(&rows, format))
        }
        Operator::Quota(QuotaCommand::Explain { user }) => {
            Ok(explained(&admin.user_quota_status(&user).await?))
        }
        Operator::Events { kind, user, limit, format } => {
            let filter = EventFilter { kind, user_id: user, from: None, until: None };
            let found = admin.events(&filter, &Page { after: None, limit }).await?;
            Ok(table::rows(&found.rows, format))
        }
    }
}

async fn token(admin: &Admin, command: TokenCommand) -> Result<String, AdminError> {
    match command {
        TokenCommand::Issue(arguments) => {
            let issued = admin.issue_token(&arguments.into(), ACTOR).await?;
            let (jti, until) = (&issued.record["jti"], &issued.record["expires_at"]);
            let token = issued.token.expose();
            Ok(format!(
                "{token}\n\nIt is shown only now. Its id is {jti} (token revoke), and it ends {until}.\nUse it as \
                 ANTHROPIC_AUTH_TOKEN, as an API key, or in the header Authorization: Bearer <token>."
            ))
        }
        TokenCommand::Print(arguments) => {
            let issued = admin.issue_token(&arguments.into(), ACTOR).await?;
            Ok(issued.token.expose().to_owned())
        }
        TokenCommand::List { user, format } => {
            let rows = all(async |page| admin.tokens(user.as_deref(), page).await).await?;
            Ok(table::rows(&rows, format))
        }
        TokenCommand::Revoke { jti: Some(jti), .. } => {
            let fresh = admin.revoke_token(&jti, ACTOR).await?;
            Ok(format!("{jti} {}", if fresh { "is revoked" } else { "was revoked before" }))
        }
        TokenCommand::Revoke { jti: None, user } => {
            let user = user.unwrap_or_default();
            admin.revoke_user_tokens(&user, ACTOR).await?;
            Ok(format!("all tokens of {user} that were issued until now are revoked"))
        }
    }
}

async fn user(admin: &Admin, command: UserCommand) -> Result<String, AdminError> {
    let disabled = |disabled| UserChange { disabled: Some(disabled), ..UserChange::default() };
    let row = match command {
        UserCommand::List { team, format } => {
            let rows = all(async |page| admin.users(team.as_deref(), page).await).await?;
            return Ok(table::rows(&rows, format));
        }
        UserCommand::Add(arguments) => {
            let (user, change) = arguments.into();
            admin.add_user(&user, &change, ACTOR).await?
        }
        UserCommand::Set(arguments) => {
            let (user, change) = arguments.into();
            admin.set_user(&user, &change, ACTOR).await?
        }
        UserCommand::Show { user } => admin.user(&user).await?,
        UserCommand::Disable { user } => admin.set_user(&user, &disabled(true), ACTOR).await?,
        UserCommand::Enable { user } => admin.set_user(&user, &disabled(false), ACTOR).await?,
    };
    Ok(one(&row))
}

async fn team(admin: &Admin, command: TeamCommand) -> Result<String, AdminError> {
    let row = match command {
        TeamCommand::List { format } => {
            let rows = all(async |page| admin.teams(page).await).await?;
            return Ok(table::rows(&rows, format));
        }
        TeamCommand::Add(arguments) => {
            let (team, change) = arguments.into();
            admin.add_team(&team, &change, ACTOR).await?
        }
        TeamCommand::Set(arguments) => {
            let (team, change) = arguments.into();
            admin.set_team(&team, &change, ACTOR).await?
        }
        TeamCommand::Show { team } => admin.team(&team).await?,
    };
    Ok(one(&row))
}

fn one(row: &Value) -> String {
    serde_json::to_string_pretty(row).unwrap_or_default()
}

/// A standing in sentences.
fn explained(standing: &Value) -> String {
    let mut text = String::new();
    if standing["disabled"] == true {
        text.push_str("Refused: the user or the team is disabled.\n");
    }
    for limit in standing["limits"].as_array().into_iter().flatten() {
        let [scope, name] = ["scope", "name"].map(|key| limit[key].as_str().unwrap_or_default());
        let [used, reserved] = ["used", "reserved"].map(|key| limit[key].as_i64().unwrap_or_default());
        let gone = format!("{used} used, {reserved} reserved by open requests");
        let line = match (limit["limit"].as_i64(), limit["remaining"].as_i64()) {
            (Some(limit), Some(left)) => format!("{left} of {limit} tokens are left ({gone})"),
            _ => format!("no limit ({gone})"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "The {scope} {name}: {line}.");
    }
    let resets = standing["resets_at"].as_str().unwrap_or_default();
    let _ = write!(text, "Limits begin anew at {resets}. A request needs room in each of them.");
    text
}

/// All parts of a list.
async fn all(
    mut part: impl AsyncFnMut(&Page) -> Result<ListPage<Value>, AdminError>,
) -> Result<Vec<Value>, AdminError> {
    let (mut rows, mut page) = (Vec::new(), Page { after: None, limit: PART });
    loop {
        let found = part(&page).await?;
        rows.extend(found.rows);
        if found.next.is_none() {
            return Ok(rows);
        }
        page.after = found.next;
    }
}

impl From<TokenArguments> for TokenRequest {
    fn from(arguments: TokenArguments) -> Self {
        Self {
            user_id: arguments.user,
            team: arguments.team,
            default_inference_profile: arguments.profile,
            scope: arguments.scope,
            ttl: arguments.ttl,
        }
    }
}

impl From<UserArguments> for (String, UserChange) {
    fn from(arguments: UserArguments) -> Self {
        let change = UserChange {
            team: or_none(arguments.team),
            daily_token_limit: arguments.limit,
            default_inference_profile: or_none(arguments.profile),
            disabled: None,
        };
        (arguments.user, change)
    }
}

impl From<TeamArguments> for (String, TeamChange) {
    fn from(arguments: TeamArguments) -> Self {
        let change = TeamChange { daily_token_limit: arguments.limit, disabled: arguments.disabled };
        (arguments.team, change)
    }
}
