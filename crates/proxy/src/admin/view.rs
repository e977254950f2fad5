//! Rows as operators see them: JSON with a `type`, times in RFC 3339, money in whole nano-dollars and in dollars.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::{Event, Team, Token, UsageRow, User};

/// The longest fraction of a dollar that is counted.
const NANO: i64 = 1_000_000_000;

pub(super) fn user(user: &User) -> Value {
    json!({
        "type": "user",
        "user_id": user.user_id,
        "team": user.team,
        "daily_token_limit": user.daily_token_limit,
        "default_inference_profile": user.default_inference_profile,
        "disabled": user.disabled,
        "tokens_valid_from": user.tokens_valid_from.map(time),
        "tokens_used_today": user.tokens_used_today,
        "last_reset_date": user.last_reset_date,
        "created_at": time(user.created_at),
        "updated_at": time(user.updated_at),
    })
}

pub(super) fn team(team: &Team) -> Value {
    json!({
        "type": "team",
        "team": team.team,
        "daily_token_limit": team.daily_token_limit,
        "disabled": team.disabled,
        "created_at": time(team.created_at),
        "updated_at": time(team.updated_at),
    })
}

/// Everything about a token but the token.
pub(super) fn token(token: &Token) -> Value {
    // Of another tool's token that was revoked here only the id is known.
    let known = |time_of: i64| (!token.user_id.is_empty()).then(|| time(time_of));
    json!({
        "type": "token",
        "jti": token.jti,
        "user_id": token.user_id,
        "team": token.team,
        "scope": token.scope,
        "issued_at": known(token.issued_at),
        "expires_at": known(token.expires_at),
        "revoked_at": token.revoked_at.map(time),
        "issued_by": token.issued_by,
    })
}

pub(super) fn event(event: &Event) -> Value {
    json!({
        "type": "event",
        "id": event.id,
        "kind": event.kind,
        "user_id": event.user_id,
        "team": event.team,
        "actor": event.actor,
        "details": event.details,
        "at": time(event.at),
    })
}

pub(super) fn usage(row: &UsageRow) -> Value {
    let mut value = json!({"type": "usage"});
    let of = [
        ("day", &row.day),
        ("user_id", &row.user_id),
        ("team", &row.team),
        ("model", &row.model),
        ("route", &row.route),
    ];
    for (name, text) in of {
        if let Some(text) = text {
            value[name] = text.as_str().into();
        }
    }
    let numbers = [
        ("requests", row.requests),
        ("failed", row.failed),
        ("estimated", row.estimated),
        ("unpriced", row.unpriced),
        ("input_tokens", row.input_tokens),
        ("output_tokens", row.output_tokens),
        ("cache_read_tokens", row.cache_read_tokens),
        ("cache_write_tokens", row.cache_write_tokens),
        ("charged_tokens", row.charged_tokens),
        ("cost_nano_usd", row.cost),
    ];
    for (name, number) in numbers {
        value[name] = number.into();
    }
    value["cost_usd"] = dollars(row.cost).into();
    value
}

/// Nano-dollars as dollars, to the last digit.
pub(crate) fn dollars(nano: i64) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let (whole, rest) =
        (nano.unsigned_abs() / NANO.unsigned_abs(), nano.unsigned_abs() % NANO.unsigned_abs());
    format!("{sign}{whole}.{rest:09}")
}

pub(super) fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact() {
        assert_eq!(dollars(3_333_333), "0.003333333");
        assert_eq!(dollars(-12_000_000_001), "-12.000000001");
        assert_eq!(dollars(i64::MAX), "9223372036.854775807");
        assert_eq!(time(1_795_348_800_000), "2026-11-22T12:00:00Z");
    }
}
