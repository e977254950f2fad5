//! Rows as other rooms see them. Times are epoch milliseconds, money is nano-dollars, days are `YYYY-MM-DD` in UTC.
//!
//! `Serialize` is what operators see: JSON with a `type`, and times in RFC 3339. [`UsageRecord`] and [`Event`] serialize to
//! lines of the WAL instead.

use serde::{Deserialize, Serialize};

use super::datetime;

/// A user, who is charged for requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "user")]
pub struct User {
    /// Claim `user_id` of the token.
    pub(crate) user_id: String,
    /// Team that is charged as well.
    pub(crate) team: Option<String>,
    /// Limit in tokens per quota period; `None` is unlimited.
    pub(crate) daily_token_limit: Option<i64>,
    /// Inference profile used for requests to the model that it serves.
    pub(crate) default_inference_profile: Option<String>,
    /// Whether requests are rejected, even with a valid token.
    pub(crate) disabled: bool,
    /// Tokens issued before this instant are rejected.
    #[serde(serialize_with = "datetime::serialize_option")]
    pub(crate) tokens_valid_from: Option<i64>,
    /// Tokens charged since the last reset.
    pub(crate) tokens_used_today: i64,
    /// Day of the last reset.
    pub(crate) last_reset_date: Option<String>,
    /// Instant at which the row was inserted.
    #[serde(serialize_with = "datetime::serialize")]
    pub(crate) created_at: i64,
    /// Instant of the last change by an operator.
    #[serde(serialize_with = "datetime::serialize")]
    pub(crate) updated_at: i64,
}

/// A team: users who share a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "team")]
pub struct Team {
    /// Name of the team.
    pub(crate) team: String,
    /// Limit in tokens per quota period for all its users; `None` is unlimited.
    pub(crate) daily_token_limit: Option<i64>,
    /// Whether requests are rejected, even with a valid token.
    pub(crate) disabled: bool,
    /// Instant at which the row was inserted.
    #[serde(serialize_with = "datetime::serialize")]
    pub(crate) created_at: i64,
    /// Instant of the last change by an operator.
    #[serde(serialize_with = "datetime::serialize")]
    pub(crate) updated_at: i64,
}

/// Rows of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerRows {
    /// Row of the user.
    pub(crate) user: Option<User>,
    /// Row of the team: the team in the user's row if there is one, else the claimed team.
    pub(crate) team: Option<Team>,
    /// Whether the token was revoked by its id.
    pub(crate) revoked: bool,
}

/// An issued token, or a token of another tool that was revoked; never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "token")]
pub struct Token {
    /// Id of the token.
    pub(crate) jti: String,
    /// Claim `user_id`; empty when only the id is known.
    pub(crate) user_id: String,
    /// Claim `team`.
    pub(crate) team: Option<String>,
    /// Claim `scope`; empty when only the id is known.
    pub(crate) scope: String,
    /// Instant of issue; 0 when only the id is known.
    #[serde(serialize_with = "datetime::serialize_known")]
    pub(crate) issued_at: i64,
    /// Instant of expiry; `i64::MAX` when only the id is known.
    #[serde(serialize_with = "datetime::serialize_known")]
    pub(crate) expires_at: i64,
    /// Instant of revocation.
    #[serde(serialize_with = "datetime::serialize_option")]
    pub(crate) revoked_at: Option<i64>,
    /// Operator who issued it.
    pub(crate) issued_by: String,
}

/// Usage and cost of one request: a row of `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Unique id, also of the reservation that it settles.
    pub(crate) id: String,
    /// Request id in the response to the client.
    pub(crate) request_id: String,
    /// Number of the attempt that ended the request, from 1.
    pub(crate) attempt: i64,
    /// User that is charged.
    pub(crate) user_id: String,
    /// Team that is charged as well.
    pub(crate) team: Option<String>,
    /// Session id from the client.
    pub(crate) session_id: Option<String>,
    /// Foundation model, or the requested model if that is unknown.
    pub(crate) model: String,
    /// Model name in the request.
    pub(crate) model_requested: Option<String>,
    /// Model id sent to Bedrock: an id, a profile or an ARN.
    pub(crate) model_upstream: Option<String>,
    /// Upstream API: `converse`, `invoke` or `messages`.
    pub(crate) route: Option<String>,
    /// HTTP status of the response to the client.
    pub(crate) status: i64,
    /// Outcome in one word; `failed` counts as a failure with any status.
    pub(crate) outcome: String,
    /// Stop reason of the response.
    pub(crate) stop_reason: Option<String>,
    /// Input tokens that were not cached.
    pub(crate) input_tokens: i64,
    /// Output tokens.
    pub(crate) output_tokens: i64,
    /// Tokens read from the cache.
    pub(crate) cache_read_tokens: i64,
    /// Tokens written to the cache, for five minutes or an hour.
    pub(crate) cache_write_tokens: i64,
    /// Tokens written to the cache for an hour.
    pub(crate) cache_write_1h_tokens: i64,
    /// Tokens that count towards limits.
    pub(crate) charged_tokens: i64,
    /// Start of the quota period that is charged.
    pub(crate) period: i64,
    /// Cost in nano-dollars.
    pub(crate) cost: i64,
    /// Rates that were applied.
    pub(crate) rates: serde_json::Value,
    /// Whether the price of the model is known.
    pub(crate) priced: bool,
    /// Whether the tokens are estimated.
    pub(crate) estimated: bool,
    /// Duration of the request in milliseconds.
    pub(crate) duration_ms: i64,
    /// Time to the first token in milliseconds.
    pub(crate) ttft_ms: Option<i64>,
    /// Instant at which the request started.
    pub(crate) at: i64,
}

/// An entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique id.
    pub(crate) id: String,
    /// Kind of the event, in snake case.
    pub(crate) kind: String,
    /// User that it is about.
    pub(crate) user_id: Option<String>,
    /// Team that it is about.
    pub(crate) team: Option<String>,
    /// Operator or task that caused it.
    pub(crate) actor: Option<String>,
    /// Details, by kind.
    pub(crate) details: serde_json::Value,
    /// Instant of the event.
    pub(crate) at: i64,
}

/// Position and size of a page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Cursor: [`ListPage::next`] of the page before.
    pub(crate) after: Option<String>,
    /// Maximum number of rows; clamped to 1..=1000.
    pub(crate) limit: i64,
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
pub(crate) struct ListPage<T> {
    /// Rows of the page.
    pub(crate) rows: Vec<T>,
    /// Cursor of the next page; `None` at the end.
    pub(crate) next: Option<String>,
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
