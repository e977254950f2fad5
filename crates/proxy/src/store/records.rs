//! Rows as other rooms see them. Times are epoch milliseconds, money is nano-dollars, days are `YYYY-MM-DD` in UTC.
//!
//! `Serialize` is what operators see: JSON with a `type`, and times in RFC 3339. [`UsageRecord`] and [`AuditEvent`] serialize to
//! lines of the WAL instead.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::datetime;
use crate::config::NewUserConfig;
use crate::ids;

/// A user, who is charged for requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "user")]
pub struct User {
    /// Claim `user_id` of the token.
    pub user_id: String,
    /// Team that is charged as well.
    pub team: Option<String>,
    /// Limit in tokens per quota period; `None` is unlimited.
    pub daily_token_limit: Option<i64>,
    /// Inference profile used for requests to the model that it serves.
    pub default_inference_profile: Option<String>,
    /// Whether requests are rejected, even with a valid token.
    pub disabled: bool,
    /// Tokens issued before this instant are rejected.
    #[serde(serialize_with = "datetime::serialize_option")]
    pub tokens_valid_from: Option<i64>,
    /// Tokens charged since the last reset.
    pub tokens_used_today: i64,
    /// Day of the last reset.
    pub last_reset_date: Option<String>,
    /// Instant at which the row was inserted.
    #[serde(serialize_with = "datetime::serialize")]
    pub created_at: i64,
    /// Instant of the last change by an operator.
    #[serde(serialize_with = "datetime::serialize")]
    pub updated_at: i64,
}

/// A team: users who share a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "team")]
pub struct Team {
    /// Name of the team.
    pub team: String,
    /// Limit in tokens per quota period for all its users; `None` is unlimited.
    pub daily_token_limit: Option<i64>,
    /// Whether requests are rejected, even with a valid token.
    pub disabled: bool,
    /// Instant at which the row was inserted.
    #[serde(serialize_with = "datetime::serialize")]
    pub created_at: i64,
    /// Instant of the last change by an operator.
    #[serde(serialize_with = "datetime::serialize")]
    pub updated_at: i64,
}

/// Rows of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerRows {
    /// Row of the user.
    pub user: Option<User>,
    /// Row of the team: the team in the user's row if there is one, else the claimed team.
    pub team: Option<Team>,
    /// Whether the token was revoked by its id.
    pub revoked: bool,
    /// Limit of the token itself; `None` is unlimited.
    pub token_limit: Option<TokenLimit>,
}

/// Limit of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenLimit {
    /// Label of the token.
    pub name: Option<String>,
    /// Limit in tokens per quota period.
    pub limit: i64,
}

/// An issued token, or a token of another tool that was revoked; never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "token")]
pub struct Token {
    /// Id of the token.
    pub jti: String,
    /// Claim `user_id`; empty when only the id is known.
    pub user_id: String,
    /// Claim `team`.
    pub team: Option<String>,
    /// Claim `scope`; empty when only the id is known.
    pub scope: String,
    /// Instant of issue; 0 when only the id is known.
    #[serde(serialize_with = "datetime::serialize_known")]
    pub issued_at: i64,
    /// Instant of expiry; `i64::MAX` when only the id is known.
    #[serde(serialize_with = "datetime::serialize_known")]
    pub expires_at: i64,
    /// Instant of revocation.
    #[serde(serialize_with = "datetime::serialize_option")]
    pub revoked_at: Option<i64>,
    /// Operator who issued it.
    pub issued_by: String,
    /// Name, for people.
    pub name: Option<String>,
    /// Limit in tokens per quota period, beside those of the user and the team; `None` is unlimited.
    pub daily_token_limit: Option<i64>,
    /// Instant of the last use, up to some minutes late.
    #[serde(serialize_with = "datetime::serialize_option")]
    pub last_used_at: Option<i64>,
}

/// Usage and cost of one request: a row of `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Unique id, also of the reservation that it settles.
    pub id: String,
    /// Request id in the response to the client.
    pub request_id: String,
    /// Number of the attempt that ended the request, from 1.
    pub attempt: i64,
    /// User that is charged.
    pub user_id: String,
    /// Team that is charged as well.
    pub team: Option<String>,
    /// Id of the token, if it has a limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Session id from the client.
    pub session_id: Option<String>,
    /// Foundation model, or the requested model if that is unknown.
    pub model: String,
    /// Model name in the request.
    pub model_requested: Option<String>,
    /// Model id sent to Bedrock: an id, a profile or an ARN.
    pub model_upstream: Option<String>,
    /// Upstream API: `converse`, `invoke` or `messages`.
    pub route: Option<String>,
    /// Client API: `messages`, `chat_completions` or `bedrock`.
    pub client_api: Option<String>,
    /// Client program, from a closed list.
    pub client: Option<String>,
    /// HTTP status of the response to the client.
    pub status: i64,
    /// Outcome in one word; `failed` counts as a failure with any status.
    pub outcome: String,
    /// Stop reason of the response.
    pub stop_reason: Option<String>,
    /// Input tokens that were not cached.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache, for five minutes or an hour.
    pub cache_write_tokens: i64,
    /// Tokens written to the cache for an hour.
    pub cache_write_1h_tokens: i64,
    /// Tokens that count towards limits.
    pub charged_tokens: i64,
    /// Start of the quota period that is charged.
    pub period: i64,
    /// Cost in nano-dollars.
    pub cost: i64,
    /// Rates that were applied.
    pub rates: serde_json::Value,
    /// Whether the price of the model is known.
    pub priced: bool,
    /// Whether the tokens are estimated.
    pub estimated: bool,
    /// Duration of the request in milliseconds.
    pub duration_ms: i64,
    /// Time to the first token in milliseconds.
    pub ttft_ms: Option<i64>,
    /// Instant at which the request started.
    pub at: i64,
}

/// An entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Unique id.
    pub id: String,
    /// Kind of the event, in snake case.
    pub kind: String,
    /// User that it is about.
    pub user_id: Option<String>,
    /// Team that it is about.
    pub team: Option<String>,
    /// Operator or task that caused it.
    pub actor: Option<String>,
    /// Details, by kind.
    pub details: serde_json::Value,
    /// Instant of the event.
    pub at: i64,
}

impl AuditEvent {
    /// The event of a new user, whose row is inserted as `new_users` says.
    pub(crate) fn user_provisioned(
        user_id: &str,
        team: Option<&str>,
        new_users: &NewUserConfig,
        at: i64,
    ) -> Self {
        let mut details = json!({"daily_token_limit": new_users.user_limit});
        if !new_users.provision {
            details["disabled"] = true.into();
        }
        Self {
            id: ids::event_id(),
            kind: "user_provisioned".to_owned(),
            user_id: Some(user_id.to_owned()),
            team: team.map(str::to_owned),
            actor: None,
            details,
            at,
        }
    }
}

/// Position and size of a page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Cursor: [`ListPage::next`] of the page before.
    pub after: Option<String>,
    /// Maximum number of rows; clamped to 1..=1000.
    pub limit: i64,
}

/// Maximum rows of a page: a response of about a megabyte.
const MAX_PAGE_ROWS: i64 = 1000;

impl Page {
    /// Rows to fetch: one more than the page has, which shows whether there is a next page.
    pub(super) fn fetch_limit(&self) -> i64 {
        self.limit.clamp(1, MAX_PAGE_ROWS) + 1
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T> {
    /// Rows of the page.
    pub rows: Vec<T>,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

impl<T> ListPage<T> {
    /// Truncates the fetched rows to the page; `key` makes a cursor of a row.
    pub(super) fn new(mut rows: Vec<T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(page.limit.clamp(1, MAX_PAGE_ROWS)).unwrap_or(1);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = if has_more { rows.last().map(key) } else { None };
        Self { rows, next }
    }
}
