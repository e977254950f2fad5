//! How somebody stands: their limits, what is gone of them, and when they begin anew.

use serde_json::{Value, json};

use super::view::time;
use super::{Admin, AdminError, Result};
use crate::quota::QuotaSubject;
use crate::store::{StoreError, UsageTotals};

impl Admin {
    /// How `payer` stands in the period that is running.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn quota_status(&self, payer: &QuotaSubject) -> Result<Value> {
        let now = self.clock.milliseconds();
        let period = self.periods.at(now);
        let spent = self.store.caller_totals(&payer.user_id, payer.team.as_deref(), period.start, now).await;
        let spent = spent.map_err(|error| AdminError::of(error, "user"))?;
        let mut limits = vec![row("user", &payer.user_id, payer.user_limit, &spent.user)];
        if let Some(team) = &payer.team {
            limits.push(row("team", team, payer.team_limit, &spent.team));
        }
        Ok(json!({
            "type": "standing",
            "user_id": payer.user_id,
            "team": payer.team,
            "limits": limits,
            "period_starts_at": time(period.start),
            "resets_at": time(period.end),
        }))
    }

    /// How the user `user_id` stands, as the rows say.
    ///
    /// # Errors
    /// When there is no such user, or the database is away.
    pub async fn user_quota_status(&self, user_id: &str) -> Result<Value> {
        let user = self.store.user(user_id).await;
        let user = user.map_err(|error| AdminError::of(error, &format!("user {user_id:?}")))?;
        let (mut team_limit, mut team_disabled) = (self.settings.team_limit, false);
        if let Some(team) = &user.team {
            match self.store.team(team).await {
                Ok(team) => (team_limit, team_disabled) = (team.daily_token_limit, team.disabled),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(AdminError::of(error, "team")),
            }
        }
        let (user_id, team, user_limit) = (user.user_id, user.team, user.daily_token_limit);
        let mut standing = self.quota_status(&QuotaSubject { user_id, team, user_limit, team_limit }).await?;
        standing["disabled"] = (user.disabled || team_disabled).into();
        Ok(standing)
    }
}

fn row(scope: &str, name: &str, limit: Option<i64>, tally: &UsageTotals) -> Value {
    let remaining = limit.map(|limit| limit.saturating_sub(tally.used).saturating_sub(tally.reserved).max(0));
    json!({
        "type": "limit",
        "scope": scope,
        "name": name,
        "limit": limit,
        "used": tally.used,
        "reserved": tally.reserved,
        "remaining": remaining,
    })
}
