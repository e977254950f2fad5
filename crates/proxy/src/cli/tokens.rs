//! `token`: issue, list and revoke tokens.

use clap::{ArgGroup, Args, Subcommand};

use super::table::{self, Format};
use super::{ACTOR, all_pages};
use crate::admin::{Admin, AdminError, TokenRequest, parse_ttl};
use crate::auth::Scope;
use crate::config::parse_limit;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Issue a token and explain how to use it
    #[command(after_help = "Example:\n  bedrock-proxy token issue --user ana --ttl 7d")]
    Issue(TokenArguments),
    /// Issue a token and print nothing else, as Claude Code's apiKeyHelper needs it
    #[command(after_help = "Example:\n  bedrock-proxy token print --user ana --ttl 1h")]
    Print(TokenArguments),
    /// List issued and revoked tokens, without the tokens themselves
    #[command(after_help = "Example:\n  bedrock-proxy token list --user ana --format json")]
    List {
        /// Only tokens of this user
        #[arg(long)]
        user: Option<String>,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Revoke a token, or all tokens of a user; every replica rejects them within seconds
    #[command(
        after_help = "Example:\n  bedrock-proxy token revoke --user ana",
        group = ArgGroup::new("revoked").args(["jti", "user"]).required(true)
    )]
    Revoke {
        /// The token's id (jti)
        jti: Option<String>,
        /// All tokens issued to this user until now
        #[arg(long)]
        user: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct TokenArguments {
    /// The user of the token
    #[arg(long)]
    user: String,
    /// The team of a new user (--create)
    #[arg(long)]
    team: Option<String>,
    /// An inference profile for requests to its model
    #[arg(long)]
    profile: Option<String>,
    /// Lifetime, such as 90s, 30m, 24h or 7d; default: JWT_EXPIRY_HOURS
    #[arg(long, value_parser = parse_ttl)]
    ttl: Option<i64>,
    /// inference, admin or admin:read
    #[arg(long, default_value = "inference", value_parser = scope)]
    scope: Scope,
    /// A name for the token, such as ci-bot
    #[arg(long)]
    name: Option<String>,
    /// A daily limit of the token itself, in tokens, or unlimited; those of the user and the team apply as well
    #[arg(long, default_value = "unlimited", value_parser = limit)]
    limit: Limit,
    /// Add the user if it does not exist
    #[arg(long)]
    create: bool,
}

/// A daily limit; `None` is unlimited. Not an `Option` itself, which clap would take for an optional argument.
#[derive(Clone, Copy, Debug)]
struct Limit(Option<i64>);

fn limit(text: &str) -> Result<Limit, &'static str> {
    parse_limit(text).map(Limit)
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::from_name(text).ok_or_else(|| "use inference, admin or admin:read".to_owned())
}

pub(super) async fn run(admin: &Admin, command: TokenCommand) -> Result<String, AdminError> {
    match command {
        TokenCommand::Issue(arguments) => {
            let issued = admin.issue_token(&arguments.into(), ACTOR).await?;
            let text = |name: &str| issued.record[name].as_str().unwrap_or_default();
            let (jti, expires_at, user) = (text("jti"), text("expires_at"), text("user_id"));
            Ok(format!(
                "{}\n\nSave it: it is not shown again. It expires at {expires_at}.\n\
                 Use it as ANTHROPIC_AUTH_TOKEN, as an API key, or in the header Authorization: Bearer <token>.\n\
                 Revoke it:        bedrock-proxy token revoke {jti}\n\
                 Set up a client:  bedrock-proxy connect claude-code --user {user}",
                issued.token.expose(),
            ))
        }
        TokenCommand::Print(arguments) => {
            let issued = admin.issue_token(&arguments.into(), ACTOR).await?;
            Ok(issued.token.expose().to_owned())
        }
        TokenCommand::List { user, format } => {
            let rows = all_pages(async |page| admin.tokens(user.as_deref(), page).await).await?;
            if rows.is_empty()
                && let Some(user) = &user
            {
                admin.user(user).await?;
            }
            Ok(table::rows(&rows, format))
        }
        TokenCommand::Revoke { jti: Some(jti), .. } => {
            let revoked = admin.revoke_token(&jti, ACTOR).await?;
            if !revoked.was_issued {
                return Err(AdminError::NotIssued(jti));
            }
            Ok(format!("{jti} {}", if revoked.was_valid { "is revoked" } else { "was revoked before" }))
        }
        TokenCommand::Revoke { jti: None, user } => {
            let user = user.unwrap_or_default();
            admin.revoke_user_tokens(&user, ACTOR).await?;
            Ok(format!("all tokens issued to {user} until now are revoked"))
        }
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
            create: arguments.create,
            name: arguments.name,
            daily_token_limit: arguments.limit.0,
        }
    }
}
