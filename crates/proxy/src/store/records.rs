//! The rows that other rooms see. Times are epoch milliseconds, money is nano-dollars, days are `YYYY-MM-DD` in UTC.

use serde::{Deserialize, Serialize};

/// Whoever spends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name in the token.
    pub user_id: String,
    /// The team that pays, too.
    pub team: Option<String>,
    /// Tokens in a quota period; `None` is unlimited.
    pub daily_token_limit: Option<i64>,
    /// The inference profile of requests for the model that it serves.
    pub default_inference_profile: Option<String>,
    /// Refused whatever the token says.
    pub disabled: bool,
    /// Tokens that were issued before are refused.
    pub tokens_valid_from: Option<i64>,
    /// What was charged since the last reset.
    pub tokens_used_today: i64,
    /// The day of the last reset.
    pub last_reset_date: Option<String>,
    /// When the row was made.
    pub created_at: i64,
    /// When an operator last changed it.
    pub updated_at: i64,
}

/// Users who share a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Its name.
    pub team: String,
    /// Tokens of all its users in a quota period; `None` is unlimited.
    pub daily_token_limit: Option<i64>,
    /// Refused whatever the token says.
    pub disabled: bool,
    /// When the row was made.
    pub created_at: i64,
    /// When an operator last changed it.
    pub updated_at: i64,
}

/// All that is known about a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerRows {
    /// The user's row.
    pub user: Option<User>,
    /// The row of the user's team: the team in the user's row where there is a row, else the one claimed.
    pub team: Option<Team>,
    /// Whether this very token was revoked.
    pub revoked: bool,
}

/// A token that was issued here, or one of others that was revoked here; never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub jti: String,
    /// Whom it names; empty when only the id is known.
    pub user_id: String,
    /// The team that it claims.
    pub team: Option<String>,
    /// What it opens; empty for inference.
    pub scope: String,
    /// When it was issued.
    pub issued_at: i64,
    /// When it ends by itself.
    pub expires_at: i64,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
    /// Who issued it.
    pub issued_by: String,
}

/// What one attempt of one request came to: a row of `metrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Unique; also the id of the reservation that it settles.
    pub id: String,
    /// The id that the client was told.
    pub request_id: String,
    /// Which try it was, from 1.
    pub attempt: i64,
    /// Who pays.
    pub user_id: String,
    /// The team that pays, too.
    pub team: Option<String>,
    /// The client's session.
    pub session_id: Option<String>,
    /// The model by the catalog's name.
    pub model: String,
    /// What the client asked for.
    pub model_requested: Option<String>,
    /// What Bedrock was asked for: an id, a profile or an ARN.
    pub model_upstream: Option<String>,
    /// `converse` or `invoke`.
    pub route: Option<String>,
    /// The HTTP status that the client got.
    pub status: i64,
    /// How it ended, in one word; `failed` counts as a failure whatever the status.
    pub outcome: String,
    /// The stop reason of the answer.
    pub stop_reason: Option<String>,
    /// Tokens read that were in no cache.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache, with either lifetime.
    pub cache_write_tokens: i64,
    /// Those of them that are kept for an hour.
    pub cache_write_1h_tokens: i64,
    /// What counts against the limits.
    pub charged_tokens: i64,
    /// The start of the quota period that is charged.
    pub period: i64,
    /// What it cost, in nano-dollars.
    pub cost: i64,
    /// The rates that were applied.
    pub rates: serde_json::Value,
    /// Whether the price of the model was known.
    pub priced: bool,
    /// Whether the tokens are a guess.
    pub estimated: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// How long the first token took, in milliseconds.
    pub ttft_ms: Option<i64>,
    /// When it started.
    pub at: i64,
}

/// Something an auditor may ask about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique.
    pub id: String,
    /// What happened, in snake case.
    pub kind: String,
    /// Whom it is about.
    pub user_id: Option<String>,
    /// Which team it is about.
    pub team: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// The particulars.
    pub details: serde_json::Value,
    /// When.
    pub at: i64,
}

/// Which part of a list to give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where the part before ended: its [`ListPage::next`].
    pub after: Option<String>,
    /// How many rows at most, from 1 to 1000; anything else is brought into that range.
    pub limit: i64,
}

impl Page {
    /// How many rows are looked for: one more than are given, which tells whether there is a next part.
    pub(super) fn wanted(&self) -> i64 {
        self.limit.clamp(1, 1000) + 1
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// What to ask for next; `None` at the end.
    pub next: Option<String>,
}

impl<T> ListPage<T> {
    /// Cuts what was found to the page; `key` names the last row of a part.
    pub(super) fn new(mut rows: Vec<T>, page: &Page, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(page.limit.clamp(1, 1000)).unwrap_or(1);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(key) } else { None };
        Self { rows, next }
    }
}
