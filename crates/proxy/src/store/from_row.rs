//! `FromRow` for both drivers.

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use time::{Date, PrimitiveDateTime};

use super::{AuditEvent, CallerRows, Team, Token, TokenLimit, UsageRow, User, datetime};

macro_rules! from_row {
    ($record:ident, |$row:ident| $body:expr) => {
        impl FromRow<'_, SqliteRow> for $record {
            fn from_row($row: &SqliteRow) -> sqlx::Result<Self> {
                $body
            }
        }
        impl FromRow<'_, PgRow> for $record {
            fn from_row($row: &PgRow) -> sqlx::Result<Self> {
                $body
            }
        }
    };
}

/// Columns of a user, in a table with the alias `u`.
macro_rules! user_columns {
    () => {
        "u.user_id, u.team, u.daily_token_limit, u.default_inference_profile, u.disabled, u.tokens_valid_from, \
         u.tokens_used_today, u.last_reset_date, u.created_at, u.updated_at"
    };
}
pub(super) use user_columns;

/// Epoch milliseconds of a TIMESTAMP, which rows written by earlier programs may lack.
fn optional_millis(value: Option<PrimitiveDateTime>) -> i64 {
    value.map_or(0, datetime::millis)
}

from_row!(User, |row| Ok(Self {
    user_id: row.try_get("user_id")?,
    team: row.try_get("team")?,
    daily_token_limit: row.try_get("daily_token_limit")?,
    default_inference_profile: row.try_get("default_inference_profile")?,
    disabled: row.try_get("disabled")?,
    tokens_valid_from: row.try_get("tokens_valid_from")?,
    tokens_used_today: row.try_get::<Option<i64>, _>("tokens_used_today")?.unwrap_or_default(),
    last_reset_date: row.try_get::<Option<Date>, _>("last_reset_date")?.map(datetime::format_date),
    created_at: optional_millis(row.try_get("created_at")?),
    updated_at: optional_millis(row.try_get("updated_at")?),
}));

from_row!(Team, |row| Ok(Self {
    team: row.try_get("team")?,
    daily_token_limit: row.try_get("daily_token_limit")?,
    disabled: row.try_get("disabled")?,
    created_at: optional_millis(row.try_get("created_at")?),
    updated_at: optional_millis(row.try_get("updated_at")?),
}));

// The query returns exactly one row; the columns of the user and of the team are NULL where there is none.
from_row!(CallerRows, |row| {
    let user: Option<String> = row.try_get("user_id")?;
    let user = user.map(|_| User::from_row(row)).transpose()?;
    let team: Option<String> = row.try_get("t_team")?;
    let team = match team {
        None => None,
        Some(team) => Some(Team {
            team,
            daily_token_limit: row.try_get("t_daily_token_limit")?,
            disabled: row.try_get("t_disabled")?,
            created_at: optional_millis(row.try_get("t_created_at")?),
            updated_at: optional_millis(row.try_get("t_updated_at")?),
        }),
    };
    let (revoked, limit) = (row.try_get("revoked")?, row.try_get::<Option<i64>, _>("token_limit")?);
    let name = row.try_get("token_name")?;
    let token_limit = limit.map(|limit| TokenLimit { name, limit });
    Ok(Self { user, team, revoked, token_limit })
});

from_row!(Token, |row| Ok(Self {
    jti: row.try_get("jti")?,
    user_id: row.try_get("user_id")?,
    team: row.try_get("team")?,
    scope: row.try_get("scope")?,
    issued_at: row.try_get("issued_at")?,
    expires_at: row.try_get("expires_at")?,
    revoked_at: row.try_get("revoked_at")?,
    issued_by: row.try_get("issued_by")?,
    name: row.try_get("name")?,
    daily_token_limit: row.try_get("daily_token_limit")?,
    last_used_at: row.try_get("last_used_at")?,
}));

/// An event with the number that orders lists.
pub(super) struct NumberedEvent {
    pub(super) number: i64,
    pub(super) event: AuditEvent,
}

from_row!(NumberedEvent, |row| {
    let number: i64 = row.try_get("id")?;
    let id: Option<String> = row.try_get("event_id")?;
    let details: Option<Json<serde_json::Value>> = row.try_get("details")?;
    Ok(Self {
        number,
        event: AuditEvent {
            id: id.unwrap_or_else(|| number.to_string()),
            kind: row.try_get("event_type")?,
            user_id: row.try_get("user_id")?,
            team: row.try_get("team")?,
            actor: row.try_get("actor")?,
            details: details.map_or(serde_json::Value::Null, |Json(details)| details),
            at: optional_millis(row.try_get("created_at")?),
        },
    })
});

from_row!(UsageRow, |row| Ok(Self {
    month: row.try_get("month")?,
    day: row.try_get("day")?,
    user_id: row.try_get("user_id")?,
    team: row.try_get("team")?,
    model: row.try_get("model")?,
    route: row.try_get("route")?,
    client_api: row.try_get("client_api")?,
    client: row.try_get("client")?,
    session_id: row.try_get("session_id")?,
    requests: row.try_get("requests")?,
    failed: row.try_get("failed")?,
    estimated: row.try_get("estimated")?,
    unpriced: row.try_get("unpriced")?,
    input_tokens: row.try_get("input_tokens")?,
    output_tokens: row.try_get("output_tokens")?,
    cache_read_tokens: row.try_get("cache_read_tokens")?,
    cache_write_tokens: row.try_get("cache_write_tokens")?,
    charged_tokens: row.try_get("charged_tokens")?,
    cost: row.try_get("cost")?,
}));
