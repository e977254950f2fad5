//! Users and teams: added, changed, listed.

use serde_json::{Value, json};

use super::{About, Admin, AdminError, Result, listed, view};
use crate::auth::check_name;
use crate::store::{ListPage, Page, StoreError, Team, User};

/// What to change of a user; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The team; `Some(None)` takes the user out of it.
    pub team: Option<Option<String>>,
    /// Tokens in a quota period; `Some(None)` is unlimited.
    pub daily_token_limit: Option<Option<i64>>,
    /// The inference profile; `Some(None)` removes it.
    pub default_inference_profile: Option<Option<String>>,
    /// Whether the user is refused.
    pub disabled: Option<bool>,
}

/// What to change of a team; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TeamChange {
    /// Tokens of all its users in a quota period; `Some(None)` is unlimited.
    pub daily_token_limit: Option<Option<i64>>,
    /// Whether its users are refused.
    pub disabled: Option<bool>,
}

impl Admin {
    /// Users by name, of one team if named.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn users(&self, team: Option<&str>, page: &Page) -> Result<ListPage<Value>> {
        let found = self.store.users(team, page).await;
        Ok(listed(found.map_err(|error| AdminError::of(error, "user"))?, view::user))
    }

    /// One user.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn user(&self, user_id: &str) -> Result<Value> {
        let found = self.store.user(user_id).await;
        Ok(view::user(&found.map_err(|error| AdminError::of(error, &format!("user {user_id:?}")))?))
    }

    /// Adds a user, with the default limit unless `change` has another.
    ///
    /// # Errors
    /// When there is one already, a name is malformed, the team is not known, or the database is away.
    pub async fn add_user(&self, user_id: &str, change: &UserChange, actor: &str) -> Result<Value> {
        let fresh = User {
            user_id: user_id.to_owned(),
            team: None,
            daily_token_limit: self.settings.user_limit,
            default_inference_profile: None,
            disabled: false,
            tokens_valid_from: None,
            tokens_used_today: 0,
            last_reset_date: None,
            created_at: 0,
            updated_at: 0,
        };
        self.put_user(user_id, change, actor, "user_added", |known| match known {
            None => Ok(fresh),
            Some(_) => Err(StoreError::Conflict(String::new())),
        })
        .await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// When there is none, a name is malformed, the team is not known, or the database is away.
    pub async fn set_user(&self, user_id: &str, change: &UserChange, actor: &str) -> Result<Value> {
        self.put_user(user_id, change, actor, "user_changed", |known| known.ok_or(StoreError::NotFound)).await
    }

    async fn put_user(
        &self,
        user_id: &str,
        change: &UserChange,
        actor: &str,
        kind: &str,
        start: impl FnOnce(Option<User>) -> std::result::Result<User, StoreError> + Send,
    ) -> Result<Value> {
        named("user", user_id)?;
        check_limit(change.daily_token_limit)?;
        if let Some(Some(profile)) = &change.default_inference_profile
            && (profile.is_empty()
                || profile.chars().any(|letter| letter.is_whitespace() || letter.is_control()))
        {
            let reason = format!("{profile:?} is not the id or ARN of an inference profile");
            return Err(AdminError::Invalid(reason));
        }
        if let Some(Some(team)) = &change.team {
            named("team", team)?;
            // A slip of the pen would otherwise make a team, and one without a limit.
            let known = self.store.team(team).await;
            known.map_err(|error| AdminError::of(error, &format!("team {team:?}; add it first")))?;
        }
        let put = self.store.put_user(user_id, self.clock.milliseconds(), |known| {
            let before = known.as_ref().map(user_state);
            let mut user = start(known)?;
            if let Some(team) = change.team.clone() {
                user.team = team;
            }
            if let Some(limit) = change.daily_token_limit {
                user.daily_token_limit = limit;
            }
            if let Some(profile) = change.default_inference_profile.clone() {
                user.default_inference_profile = profile;
            }
            user.disabled = change.disabled.unwrap_or(user.disabled);
            let about = About { user: Some(user_id), team: user.team.as_deref() };
            let details = json!({"before": before, "after": user_state(&user)});
            let event = self.event(kind, actor, about, details);
            Ok((user, event))
        });
        let user = put.await.map_err(|error| AdminError::of(error, &format!("user {user_id:?}")))?;
        Ok(view::user(&user))
    }

    /// Teams by name.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn teams(&self, page: &Page) -> Result<ListPage<Value>> {
        let found = self.store.teams(page).await;
        Ok(listed(found.map_err(|error| AdminError::of(error, "team"))?, view::team))
    }

    /// One team.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn team(&self, team: &str) -> Result<Value> {
        let found = self.store.team(team).await;
        Ok(view::team(&found.map_err(|error| AdminError::of(error, &format!("team {team:?}")))?))
    }

    /// Adds a team, with the default limit unless `change` has another.
    ///
    /// # Errors
    /// When there is one already, its name is malformed, or the database is away.
    pub async fn add_team(&self, team: &str, change: &TeamChange, actor: &str) -> Result<Value> {
        let daily_token_limit = self.settings.team_limit;
        let name = team.to_owned();
        let fresh = Team { team: name, daily_token_limit, disabled: false, created_at: 0, updated_at: 0 };
        self.put_team(team, change, actor, "team_added", |known| match known {
            None => Ok(fresh),
            Some(_) => Err(StoreError::Conflict(String::new())),
        })
        .await
    }

    /// Changes a team.
    ///
    /// # Errors
    /// When there is none, or the database is away.
    pub async fn set_team(&self, team: &str, change: &TeamChange, actor: &str) -> Result<Value> {
        self.put_team(team, change, actor, "team_changed", |known| known.ok_or(StoreError::NotFound)).await
    }

    async fn put_team(
        &self,
        team: &str,
        change: &TeamChange,
        actor: &str,
        kind: &str,
        start: impl FnOnce(Option<Team>) -> std::result::Result<Team, StoreError> + Send,
    ) -> Result<Value> {
        named("team", team)?;
        check_limit(change.daily_token_limit)?;
        let put = self.store.put_team(team, self.clock.milliseconds(), |known| {
            let before = known.as_ref().map(team_state);
            let mut row = start(known)?;
            if let Some(limit) = change.daily_token_limit {
                row.daily_token_limit = limit;
            }
            row.disabled = change.disabled.unwrap_or(row.disabled);
            let details = json!({"before": before, "after": team_state(&row)});
            let event = self.event(kind, actor, About { user: None, team: Some(team) }, details);
            Ok((row, event))
        });
        let row = put.await.map_err(|error| AdminError::of(error, &format!("team {team:?}")))?;
        Ok(view::team(&row))
    }
}

/// What an operator can change, for the event.
fn user_state(user: &User) -> Value {
    json!({
        "team": user.team,
        "daily_token_limit": user.daily_token_limit,
        "default_inference_profile": user.default_inference_profile,
        "disabled": user.disabled,
    })
}

fn team_state(team: &Team) -> Value {
    json!({"daily_token_limit": team.daily_token_limit, "disabled": team.disabled})
}

/// Refuses a name that no token could carry.
pub(super) fn named(what: &str, name: &str) -> Result<()> {
    check_name(name).map_err(|wrong| AdminError::Invalid(format!("the {what}'s name {wrong}")))
}

fn check_limit(limit: Option<Option<i64>>) -> Result<()> {
    match limit {
        Some(Some(..0)) => {
            Err(AdminError::Invalid("a limit is a number of tokens from 0, or none".to_owned()))
        }
        _ => Ok(()),
    }
}
