//! New names of users and teams, and their removal.

use serde_json::{Value, json};

use super::users::{check_name, team_state, user_state};
use super::{Admin, AdminError, Result, Subject};
use crate::ids;
use crate::store::StoreError;

impl Admin {
    /// Renames a user; its history and its tokens belong to the new name. Returns the user.
    ///
    /// # Errors
    /// When it does not exist, the new name is or was in use or is malformed, or the database is unavailable.
    pub(crate) async fn rename_user(&self, user_id: &str, new_name: &str, actor: &str) -> Result<Value> {
        check_name("user", new_name)?;
        let subject = Subject { user: Some(new_name), team: None };
        let event = self.event("user_renamed", actor, subject, json!({"from": user_id, "to": new_name}));
        let renamed = self.store.rename_user(user_id, new_name, &event).await;
        if let Err(error) = renamed {
            return Err(match error {
                StoreError::Conflict(_) => name_in_use("user", new_name),
                error => self.user_error(error, user_id).await,
            });
        }
        self.refresh_rejections().await;
        self.user(new_name).await
    }

    /// Renames a team, as [`Admin::rename_user`] does with a user.
    ///
    /// # Errors
    /// As [`Admin::rename_user`].
    pub(crate) async fn rename_team(&self, team: &str, new_name: &str, actor: &str) -> Result<Value> {
        check_name("team", new_name)?;
        let subject = Subject { user: None, team: Some(new_name) };
        let event = self.event("team_renamed", actor, subject, json!({"from": team, "to": new_name}));
        let renamed = self.store.rename_team(team, new_name, &event).await;
        if let Err(error) = renamed {
            return Err(match error {
                StoreError::Conflict(_) => name_in_use("team", new_name),
                error => self.team_error(error, team, "").await,
            });
        }
        self.refresh_rejections().await;
        self.team(new_name).await
    }

    /// Removes a user: its tokens are rejected, its history stays. With `erase_name`, a pseudonym takes the place of its
    /// name everywhere, also of a user that was removed before. Returns `user_removed`.
    ///
    /// # Errors
    /// When it does not exist, or the database is unavailable.
    pub(crate) async fn remove_user(&self, user_id: &str, erase_name: bool, actor: &str) -> Result<Value> {
        if erase_name {
            let pseudonym = ids::pseudonym();
            // An operator may remove itself.
            let actor = if actor == user_id { &pseudonym } else { actor };
            let subject = Subject { user: Some(&pseudonym), team: None };
            let event = self.event("user_removed", actor, subject, json!({"erased": true}));
            let erased = self.store.erase_user(user_id, &pseudonym, &event).await;
            let pseudonym = match erased {
                Ok(pseudonym) => pseudonym,
                Err(error) => return Err(self.user_error(error, user_id).await),
            };
            self.refresh_rejections().await;
            return Ok(json!({"type": "user_removed", "user_id": pseudonym, "erased": true}));
        }
        let user = match self.store.user(user_id).await {
            Ok(user) => user,
            Err(error) => return Err(self.user_error(error, user_id).await),
        };
        let subject = Subject { user: Some(user_id), team: user.team.as_deref() };
        let details = json!({"before": user_state(&user), "after": null, "erased": false});
        let event = self.event("user_removed", actor, subject, details);
        if let Err(error) = self.store.remove_user(user_id, &event).await {
            return Err(self.user_error(error, user_id).await);
        }
        self.refresh_rejections().await;
        Ok(json!({"type": "user_removed", "user_id": user_id, "erased": false}))
    }

    /// Removes a team; its history stays. `users_to` is the new team of its users, or none. Returns `team_removed`.
    ///
    /// # Errors
    /// When it does not exist, it has users and `users_to` is `None`, the new team does not exist, or the database is
    /// unavailable.
    pub(crate) async fn remove_team(
        &self,
        team: &str,
        users_to: Option<Option<&str>>,
        actor: &str,
    ) -> Result<Value> {
        let row = match self.store.team(team).await {
            Ok(row) => row,
            Err(error) => return Err(self.team_error(error, team, "").await),
        };
        if let Some(Some(to)) = users_to {
            if to == team {
                return Err(AdminError::Invalid("the new team of the users is the one to remove".to_owned()));
            }
            if let Err(error) = self.store.team(to).await {
                return Err(self.team_error(error, to, "; add it first").await);
            }
        }
        let subject = Subject { user: None, team: Some(team) };
        let event = |users: i64| {
            let details = json!({
                "before": team_state(&row), "after": null, "users_moved": users, "users_to": users_to.flatten(),
            });
            self.event("team_removed", actor, subject, details)
        };
        let removed = self.store.remove_team(team, users_to, self.clock.milliseconds(), event).await;
        let users = removed.map_err(|error| match error {
            StoreError::Conflict(users) => AdminError::Conflict(format!(
                "the team {team:?} has {users} users; name their new team, or none, with --move-users-to (in the admin API: \
                 move_users_to)"
            )),
            error => AdminError::from_store(error, &format!("team {team:?}")),
        })?;
        self.refresh_rejections().await;
        Ok(json!({"type": "team_removed", "team": team, "users_moved": users}))
    }
}

fn name_in_use(kind: &str, name: &str) -> AdminError {
    AdminError::Conflict(format!(
        "the name {name:?} is or was that of another {kind}, whose history it has; use another name"
    ))
}
