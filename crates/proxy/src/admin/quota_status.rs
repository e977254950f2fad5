//! Quota status: limits, used and reserved tokens, and the reset.

use serde_json::{Value, json};

use super::{Admin, AdminError, Result};
use crate::quota::QuotaSubject;
use crate::store::{StoreError, UsageTotals, dollars, rfc3339};

impl Admin {
    /// Status of the limits of `subject` in the current period.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub(crate) async fn quota_status(&self, subject: &QuotaSubject) -> Result<Value> {
        let now = self.clock.milliseconds();
        let period = self.periods.at(now);
        let totals =
            self.store.caller_totals(&subject.user_id, subject.team.as_deref(), period.start, now).await;
        let totals = totals.map_err(|error| AdminError::from_store(error, "user"))?;
        let cost = self.store.period_cost(&subject.user_id, period.start).await;
        let cost = cost.map_err(|error| AdminError::from_store(error, "user"))?;
        let mut limits = vec![limit_status("user", &subject.user_id, subject.user_limit, &totals.user)];
        if let Some(team) = &subject.team {
            limits.push(limit_status("team", team, subject.team_limit, &totals.team));
        }
        if let Some((jti, token)) = &subject.token_limit {
            let totals = self.store.token_totals(jti, period.start, now).await;
            let totals = totals.map_err(|error| AdminError::from_store(error, "token"))?;
            limits.push(limit_status("token", jti, Some(token.limit), &totals));
        }
        Ok(json!({
            "type": "standing",
            "user_id": subject.user_id,
            "team": subject.team,
            "limits": limits,
            "cost_usd": dollars(cost),
            "period_starts_at": rfc3339(period.start),
            "resets_at": rfc3339(period.end),
        }))
    }

    /// Status of the limits of user `user_id`, by its row.
    ///
    /// # Errors
    /// When the user does not exist, or the database is unavailable.
    pub(crate) async fn user_quota_status(&self, user_id: &str) -> Result<Value> {
        let user = match self.store.user(user_id).await {
            Ok(user) => user,
            Err(error) => return Err(self.user_error(error, user_id).await),
        };
        let (mut team_limit, mut team_disabled) = (self.new_users.get().team_limit, false);
        if let Some(team) = &user.team {
            match self.store.team(team).await {
                Ok(team) => (team_limit, team_disabled) = (team.daily_token_limit, team.disabled),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(AdminError::from_store(error, "team")),
            }
        }
        let (user_id, team, user_limit) = (user.user_id, user.team, user.daily_token_limit);
        let mut status = self
            .quota_status(&QuotaSubject { user_id, team, user_limit, team_limit, token_limit: None })
            .await?;
        status["disabled"] = (user.disabled || team_disabled).into();
        Ok(status)
    }
}

fn limit_status(scope: &str, name: &str, limit: Option<i64>, totals: &UsageTotals) -> Value {
    let remaining =
        limit.map(|limit| limit.saturating_sub(totals.used).saturating_sub(totals.reserved).max(0));
    json!({
        "type": "limit",
        "scope": scope,
        "name": name,
        "limit": limit,
        "used": totals.used,
        "reserved": totals.reserved,
        "remaining": remaining,
    })
}
