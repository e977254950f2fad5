//! Users and teams: add, change, list.

use serde_json::{Value, json};

use super::{Admin, AdminError, Result, Subject, map_rows, to_json};
use crate::auth;
use crate::store::{ListPage, Page, StoreError, Team, User};

/// Changes of a user; `None` keeps a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserChange {
    /// Team; `Some(None)` removes the user from it.
    pub(crate) team: Option<Option<String>>,
    /// Limit in tokens per quota period; `Some(None)` is unlimited.
    pub(crate) daily_token_limit: Option<Option<i64>>,
    /// Inference profile; `Some(None)` removes it.
    pub(crate) default_inference_profile: Option<Option<String>>,
    /// Whether requests are rejected.
    pub(crate) disabled: Option<bool>,
}

/// Changes of a team; `None` keeps a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TeamChange {
    /// Limit of all its users in tokens per quota period; `Some(None)` is unlimited.
    pub(crate) daily_token_limit: Option<Option<i64>>,
    /// Whether requests of its users are rejected.
    pub(crate) disabled: Option<bool>,
}

impl UserChange {
    fn apply(&self, mut user: User) -> User {
        if let Some(team) = self.team.clone() {
            user.team = team;
        }
        if let Some(limit) = self.daily_token_limit {
            user.daily_token_limit = limit;
        }
        if let Some(profile) = self.default_inference_profile.clone() {
            user.default_inference_profile = profile;
        }
        user.disabled = self.disabled.unwrap_or(user.disabled);
        user
    }
}

impl TeamChange {
    fn apply(&self, mut team: Team) -> Team {
        if let Some(limit) = self.daily_token_limit {
            team.daily_token_limit = limit;
        }
        team.disabled = self.disabled.unwrap_or(team.disabled);
        team
    }
}

impl Admin {
    /// Lists users by name, of one team if given.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub(crate) async fn users(&self, team: Option<&str>, page: &Page) -> Result<ListPage<Value>> {
        let result = self.store.users(team, page).await;
        let page = result.map_err(|error| AdminError::from_store(error, "user"))?;
        Ok(map_rows(&page, to_json))
    }

    /// Looks up one user.
    ///
    /// # Errors
    /// When it does not exist, or the database is unavailable.
    pub(crate) async fn user(&self, user_id: &str) -> Result<Value> {
        let result = self.store.user(user_id).await;
        match result {
            Ok(row) => Ok(to_json(&row)),
            Err(error) => Err(self.user_error(error, user_id).await),
        }
    }

    /// Adds a user, with the default limit unless `change` has another.
    ///
    /// # Errors
    /// When it exists already, a name is malformed, the team does not exist, or the database is unavailable.
    pub(crate) async fn add_user(&self, user_id: &str, change: &UserChange, actor: &str) -> Result<Value> {
        let new = User {
            user_id: user_id.to_owned(),
            team: None,
            daily_token_limit: self.new_users.get().user_limit,
            default_inference_profile: None,
            disabled: false,
            tokens_valid_from: None,
            tokens_used_today: 0,
            last_reset_date: None,
            created_at: 0,
            updated_at: 0,
        };
        self.put_user(user_id, change, actor, "user_added", |current| match current {
            None => Ok(new),
            Some(_) => Err(StoreError::Conflict(String::new())),
        })
        .await
    }

    /// Changes a user. A change to the values that it has writes nothing, and no event.
    ///
    /// # Errors
    /// When it does not exist, a name is malformed, the team does not exist, or the database is unavailable.
    pub(crate) async fn set_user(&self, user_id: &str, change: &UserChange, actor: &str) -> Result<Value> {
        if let Ok(user) = self.store.user(user_id).await
            && change.apply(user.clone()) == user
        {
            return Ok(to_json(&user));
        }
        self.put_user(user_id, change, actor, "user_changed", |current| current.ok_or(StoreError::NotFound))
            .await
    }

    async fn put_user(
        &self,
        user_id: &str,
        change: &UserChange,
        actor: &str,
        kind: &str,
        start: impl FnOnce(Option<User>) -> std::result::Result<User, StoreError> + Send,
    ) -> Result<Value> {
        check_name("user", user_id)?;
        check_limit(change.daily_token_limit)?;
        check_profile(change.default_inference_profile.as_ref())?;
        if let Some(Some(team)) = &change.team {
            check_name("team", team)?;
            // Otherwise a typo would create a team without a limit.
            if let Err(error) = self.store.team(team).await {
                return Err(self.team_error(error, team, "; add it first").await);
            }
        }
        let put = self.store.put_user(user_id, self.clock.milliseconds(), |current| {
            let before = current.as_ref().map(user_state);
            let user = change.apply(start(current)?);
            let subject = Subject { user: Some(user_id), team: user.team.as_deref() };
            let details = json!({"before": before, "after": user_state(&user)});
            let event = self.event(kind, actor, subject, details);
            Ok((user, event))
        });
        let user = match put.await {
            Ok(user) => user,
            Err(error) => return Err(self.user_error(error, user_id).await),
        };
        if change.disabled.is_some() {
            self.refresh_rejections().await;
        }
        Ok(to_json(&user))
    }

    /// Lists teams by name.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub(crate) async fn teams(&self, page: &Page) -> Result<ListPage<Value>> {
        let result = self.store.teams(page).await;
        let page = result.map_err(|error| AdminError::from_store(error, "team"))?;
        Ok(map_rows(&page, to_json))
    }

    /// Looks up one team.
    ///
    /// # Errors
    /// When it does not exist, or the database is unavailable.
    pub(crate) async fn team(&self, team: &str) -> Result<Value> {
        let result = self.store.team(team).await;
        match result {
            Ok(row) => Ok(to_json(&row)),
            Err(error) => Err(self.team_error(error, team, "").await),
        }
    }

    /// Adds a team, with the default limit unless `change` has another.
    ///
    /// # Errors
    /// When it exists already, its name is malformed, or the database is unavailable.
    pub(crate) async fn add_team(&self, team: &str, change: &TeamChange, actor: &str) -> Result<Value> {
        let daily_token_limit = self.new_users.get().team_limit;
        let name = team.to_owned();
        let new = Team { team: name, daily_token_limit, disabled: false, created_at: 0, updated_at: 0 };
        self.put_team(team, change, actor, "team_added", |current| match current {
            None => Ok(new),
            Some(_) => Err(StoreError::Conflict(String::new())),
        })
        .await
    }

    /// Changes a team, as [`Admin::set_user`] does a user.
    ///
    /// # Errors
    /// When it does not exist, or the database is unavailable.
    pub(crate) async fn set_team(&self, team: &str, change: &TeamChange, actor: &str) -> Result<Value> {
        if let Ok(row) = self.store.team(team).await
            && change.apply(row.clone()) == row
        {
            return Ok(to_json(&row));
        }
        self.put_team(team, change, actor, "team_changed", |current| current.ok_or(StoreError::NotFound))
            .await
    }

    async fn put_team(
        &self,
        team: &str,
        change: &TeamChange,
        actor: &str,
        kind: &str,
        start: impl FnOnce(Option<Team>) -> std::result::Result<Team, StoreError> + Send,
    ) -> Result<Value> {
        check_name("team", team)?;
        check_limit(change.daily_token_limit)?;
        let put = self.store.put_team(team, self.clock.milliseconds(), |current| {
            let before = current.as_ref().map(team_state);
            let row = change.apply(start(current)?);
            let details = json!({"before": before, "after": team_state(&row)});
            let event = self.event(kind, actor, Subject { user: None, team: Some(team) }, details);
            Ok((row, event))
        });
        let row = match put.await {
            Ok(row) => row,
            Err(error) => return Err(self.team_error(error, team, "").await),
        };
        if change.disabled.is_some() {
            self.refresh_rejections().await;
        }
        Ok(to_json(&row))
    }
}

/// Values that an operator can change, for the event.
pub(super) fn user_state(user: &User) -> Value {
    json!({
        "team": user.team,
        "daily_token_limit": user.daily_token_limit,
        "default_inference_profile": user.default_inference_profile,
        "disabled": user.disabled,
    })
}

/// As [`user_state`], of a team.
pub(super) fn team_state(team: &Team) -> Value {
    json!({"daily_token_limit": team.daily_token_limit, "disabled": team.disabled})
}

/// Rejects a name that no token could contain.
pub(super) fn check_name(kind: &str, name: &str) -> Result<()> {
    auth::check_name(name).map_err(|reason| AdminError::Invalid(format!("the {kind}'s name {reason}")))
}

/// Rejects what cannot be an inference profile: an ARN, or an id with a prefix such as `us.`.
pub(super) fn check_profile(profile: Option<&Option<String>>) -> Result<()> {
    let is_blank = |letter: char| letter.is_whitespace() || letter.is_control();
    match profile {
        Some(Some(profile)) if !profile.contains(['.', ':']) || profile.chars().any(is_blank) => {
            Err(AdminError::Invalid(format!(
                "{profile:?} is not the id or ARN of an inference profile, such as us.anthropic.claude-sonnet-5"
            )))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_limit(limit: Option<Option<i64>>) -> Result<()> {
    match limit {
        Some(Some(..0)) => {
            Err(AdminError::Invalid("a limit is a number of tokens from 0, or none".to_owned()))
        }
        _ => Ok(()),
    }
}
