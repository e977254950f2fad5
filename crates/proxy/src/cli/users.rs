//! `user` and `team`: people, and the limits they share.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::Value;

use super::apply::{self, ImportArguments};
use super::table::{self, Format};
use super::{ACTOR, all_pages};
use crate::admin::{Admin, AdminError, TeamChange, UserChange};
use crate::config::parse_limit;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user
    #[command(after_help = "Example:\n  bedrock-proxy user add ana --team payments --limit 1_000_000")]
    Add(UserArguments),
    /// Change a user
    #[command(
        after_help = "Example:\n  bedrock-proxy user set ana --limit unlimited",
        group = changes(["team", "limit", "profile"])
    )]
    Set(UserArguments),
    /// List users
    #[command(after_help = "Example:\n  bedrock-proxy user list --team payments")]
    List {
        /// Only users of this team
        #[arg(long)]
        team: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show a user
    #[command(after_help = "Example:\n  bedrock-proxy user show ana")]
    Show {
        /// The name of the user
        user: String,
    },
    /// Reject all requests of a user, even with a valid token
    #[command(after_help = "Example:\n  bedrock-proxy user disable ana")]
    Disable {
        /// The name of the user
        user: String,
    },
    /// Accept requests of a disabled user again
    #[command(after_help = "Example:\n  bedrock-proxy user enable ana")]
    Enable {
        /// The name of the user
        user: String,
    },
    /// Add and change users by a CSV file; all mistakes are listed, and one mistake changes nothing
    #[command(after_help = "Example:\n  bedrock-proxy user import users.csv --dry-run")]
    Import(ImportArguments),
    /// Rename a user; history, limits and tokens belong to the new name
    #[command(after_help = "Example:\n  bedrock-proxy user rename ana ana.garcia")]
    Rename {
        /// The current name
        user: String,
        /// The new name
        new_name: String,
    },
    /// Remove a user; tokens stop working, history stays
    #[command(
        after_help = "Examples:\n  bedrock-proxy user remove ana\n  bedrock-proxy user remove ana --erase-name"
    )]
    Remove {
        /// The name of the user
        user: String,
        /// Replace the name by a random pseudonym in users, usage, events and tokens; cannot be undone
        #[arg(long)]
        erase_name: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct UserArguments {
    /// The name of the user
    user: String,
    /// The team, or none
    #[arg(long)]
    team: Option<String>,
    /// Tokens per day, or unlimited
    #[arg(long, value_parser = limit)]
    limit: Option<Limit>,
    /// The inference profile for requests to its model, or none
    #[arg(long)]
    profile: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TeamCommand {
    /// Add a team
    #[command(after_help = "Example:\n  bedrock-proxy team add payments --limit 5_000_000")]
    Add(TeamArguments),
    /// Change a team
    #[command(
        after_help = "Example:\n  bedrock-proxy team set payments --disabled true",
        group = changes(["limit", "disabled"])
    )]
    Set(TeamArguments),
    /// List teams
    #[command(after_help = "Example:\n  bedrock-proxy team list --format csv")]
    List {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show a team
    #[command(after_help = "Example:\n  bedrock-proxy team show payments")]
    Show {
        /// The name of the team
        team: String,
    },
    /// Rename a team; history, limits and users belong to the new name
    #[command(after_help = "Example:\n  bedrock-proxy team rename payments billing")]
    Rename {
        /// The current name
        team: String,
        /// The new name
        new_name: String,
    },
    /// Remove a team; history stays
    #[command(after_help = "Example:\n  bedrock-proxy team remove payments --move-users-to billing")]
    Remove {
        /// The name of the team
        team: String,
        /// The new team of its users, or none; a team with users cannot be removed without it
        #[arg(long)]
        move_users_to: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct TeamArguments {
    /// The name of the team
    team: String,
    /// Tokens per day for all its users together, or unlimited
    #[arg(long, value_parser = limit)]
    limit: Option<Limit>,
    /// Reject all requests of its users
    #[arg(long)]
    disabled: Option<bool>,
}

/// The options of a change, of which one is required at least.
fn changes<const N: usize>(options: [&'static str; N]) -> ArgGroup {
    ArgGroup::new("change").args(options).required(true).multiple(true)
}

/// A daily limit in tokens; `None` is unlimited.
type Limit = Option<i64>;

fn limit(text: &str) -> Result<Limit, String> {
    parse_limit(text).map_err(str::to_owned)
}

/// `Some(None)` for the word `none`, which removes a value.
fn value_or_none(text: Option<String>) -> Option<Option<String>> {
    text.map(|text| (text != "none").then_some(text))
}

pub(super) async fn run_user(admin: &Admin, command: UserCommand) -> Result<String, AdminError> {
    let disabled = |disabled| UserChange { disabled: Some(disabled), ..UserChange::default() };
    let row = match command {
        UserCommand::List { team, format } => {
            let rows = all_pages(async |page| admin.users(team.as_deref(), page).await).await?;
            if rows.is_empty()
                && let Some(team) = &team
            {
                // A typing error, unless the team has no users.
                admin.team(team).await?;
            }
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
        UserCommand::Import(arguments) => return apply::import(admin, arguments).await,
        UserCommand::Rename { user, new_name } => admin.rename_user(&user, &new_name, ACTOR).await?,
        UserCommand::Remove { user, erase_name } => {
            let removed = admin.remove_user(&user, erase_name, ACTOR).await?;
            return Ok(describe_removal(&user, &removed));
        }
    };
    Ok(pretty(&row))
}

pub(super) async fn run_team(admin: &Admin, command: TeamCommand) -> Result<String, AdminError> {
    let row = match command {
        TeamCommand::List { format } => {
            let rows = all_pages(async |page| admin.teams(page).await).await?;
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
        TeamCommand::Rename { team, new_name } => admin.rename_team(&team, &new_name, ACTOR).await?,
        TeamCommand::Remove { team, move_users_to } => {
            let users_to = value_or_none(move_users_to);
            let removed = admin.remove_team(&team, users_to.as_ref().map(Option::as_deref), ACTOR).await?;
            let users = match removed["users_moved"].as_u64().unwrap_or_default() {
                1 => "1 user was moved".to_owned(),
                users => format!("{users} users were moved"),
            };
            return Ok(format!("The team {team} is removed; {users}. Its usage and events stay."));
        }
    };
    Ok(pretty(&row))
}

fn describe_removal(user: &str, removed: &Value) -> String {
    match removed["user_id"].as_str() {
        Some(pseudonym) if removed["erased"] == true => format!(
            "The user is removed and its name is erased: usage and events are those of {pseudonym} now, and the server \
             rejects all its tokens within seconds.\nLog files, the WAL and backups are not changed."
        ),
        _ => format!(
            "The user {user} is removed; the server rejects all its tokens within seconds. Its usage and events stay."
        ),
    }
}

fn pretty(row: &Value) -> String {
    serde_json::to_string_pretty(row).unwrap_or_default()
}

impl From<UserArguments> for (String, UserChange) {
    fn from(arguments: UserArguments) -> Self {
        let change = UserChange {
            team: value_or_none(arguments.team),
            daily_token_limit: arguments.limit,
            default_inference_profile: value_or_none(arguments.profile),
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
