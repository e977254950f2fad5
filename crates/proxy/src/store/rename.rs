//! New names of users and teams, removal, and erasure of names.
//!
//! The row of a removed or renamed name stays, disabled: no token adds the name again, and usage records keep their user.
//! Usage records are moved to a new name in parts, after the change is committed; the same call again goes on where another
//! one ended.

use serde_json::Value;

use super::circuit::AccessKind;
use super::users::write_event;
use super::{AuditEvent, BACKGROUND_TIMEOUT, Result, Store, StoreError, datetime, validate};

/// Usage records moved by one statement: some 100 ms.
const ROWS_PER_PART: i64 = 5_000;
/// Ids of usage records that one statement looks through for a team, which has no index.
const IDS_PER_PART: i64 = 50_000;

/// Statements of a kind of name. $1 is the old name, $2 the new one, $3 the instant in epoch milliseconds.
struct Statements {
    /// Instant of removal and new name of the row.
    find: &'static str,
    find_locked: &'static str,
    /// Inserts the new row as a copy.
    copy: &'static str,
    /// Marks the old row, and rows that were renamed to it.
    mark: [&'static str; 2],
    /// Moves all that is small.
    moves: &'static [&'static str],
}

/// Adds the sums of days to those of another name.
macro_rules! move_days {
    ($user:literal, $team:literal, $where:literal) => {
        concat!(
            insert_days!(),
            "SELECT day, ",
            $user,
            ", ",
            $team,
            ", model, route, requests, failed, estimated, unpriced, input_tokens, output_tokens, cache_read_tokens, \
             cache_write_tokens, charged_tokens, cost FROM usage_daily WHERE ",
            $where,
            add_days!()
        )
    };
}

/// Adds the counters of a scope to those of another name.
macro_rules! move_counters {
    ($scope:literal) => {
        concat!(
            "INSERT INTO counters (scope, name, period, used, cost)
             SELECT scope, CAST($2 AS VARCHAR(255)), period, used, cost FROM counters
             WHERE scope = '",
            $scope,
            "' AND name = $1",
            add_counters!()
        )
    };
}

const USER: Statements = Statements {
    find: "SELECT removed_at, renamed_to FROM users WHERE user_id = $1",
    find_locked: "SELECT removed_at, renamed_to FROM users WHERE user_id = $1 FOR UPDATE",
    copy: "INSERT INTO users (user_id, team, daily_token_limit, tokens_used_today, last_reset_date, \
           default_inference_profile, created_at, updated_at, disabled, tokens_valid_from, used_period)
           SELECT $2, team, daily_token_limit, tokens_used_today, last_reset_date, default_inference_profile, created_at, \
           updated_at, disabled, tokens_valid_from, used_period FROM users WHERE user_id = $1
           ON CONFLICT (user_id) DO UPDATE SET team = excluded.team, daily_token_limit = excluded.daily_token_limit,
             tokens_used_today = excluded.tokens_used_today, last_reset_date = excluded.last_reset_date,
             default_inference_profile = excluded.default_inference_profile, created_at = excluded.created_at,
             disabled = excluded.disabled, tokens_valid_from = excluded.tokens_valid_from,
             used_period = excluded.used_period, removed_at = NULL, renamed_to = NULL",
    mark: [
        "UPDATE users SET renamed_to = $2 WHERE renamed_to = $1 AND user_id <> $2",
        "UPDATE users SET disabled = TRUE, removed_at = COALESCE(removed_at, $3), renamed_to = $2 WHERE user_id = $1",
    ],
    moves: &[
        "UPDATE tokens SET user_id = $2 WHERE user_id = $1",
        "UPDATE reservations SET user_id = $2 WHERE user_id = $1",
        move_counters!("user"),
        "DELETE FROM counters WHERE scope = 'user' AND name = $1",
        move_days!("CAST($2 AS VARCHAR(255))", "team", "user_id = $1"),
        "DELETE FROM usage_daily WHERE user_id = $1",
    ],
};

const TEAM: Statements = Statements {
    find: "SELECT removed_at, renamed_to FROM teams WHERE team = $1",
    find_locked: "SELECT removed_at, renamed_to FROM teams WHERE team = $1 FOR UPDATE",
    copy: "INSERT INTO teams (team, daily_token_limit, disabled, created_at, updated_at)
           SELECT $2, daily_token_limit, disabled, created_at, updated_at FROM teams WHERE team = $1
           ON CONFLICT (team) DO UPDATE SET daily_token_limit = excluded.daily_token_limit,
             disabled = excluded.disabled, created_at = excluded.created_at, removed_at = NULL, renamed_to = NULL",
    mark: [
        "UPDATE teams SET renamed_to = $2 WHERE renamed_to = $1 AND team <> $2",
        "UPDATE teams SET disabled = TRUE, removed_at = COALESCE(removed_at, $3), renamed_to = $2 WHERE team = $1",
    ],
    moves: &[
        "UPDATE users SET team = $2 WHERE team = $1",
        "UPDATE tokens SET team = $2 WHERE team = $1",
        "UPDATE reservations SET team = $2 WHERE team = $1",
        move_counters!("team"),
        "DELETE FROM counters WHERE scope = 'team' AND name = $1",
        move_days!("user_id", "CAST($2 AS VARCHAR(255))", "team = $1"),
        "DELETE FROM usage_daily WHERE team = $1",
    ],
};

/// State of a row: when it was removed, and its new name.
type RowState = Option<(Option<i64>, Option<String>)>;

impl Store {
    /// Renames a user: its tokens, usage and reservations belong to the new name. Tokens that name the old one stay valid.
    /// `event` is written.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`] when the new name is or was in use, or when the database is
    /// unavailable; then the call may be repeated.
    pub async fn rename_user(&self, from: &str, to: &str, event: &AuditEvent) -> Result<()> {
        self.rename(&USER, from, to, event, false).await?;
        self.move_user_records(from, to).await
    }

    /// Renames a team, as [`Store::rename_user`] does with a user.
    ///
    /// # Errors
    /// As [`Store::rename_user`].
    pub async fn rename_team(&self, from: &str, to: &str, event: &AuditEvent) -> Result<()> {
        self.rename(&TEAM, from, to, event, false).await?;
        self.move_team_records(from, to).await
    }

    async fn rename(
        &self,
        statements: &Statements,
        from: &str,
        to: &str,
        event: &AuditEvent,
        may_be_removed: bool,
    ) -> Result<()> {
        validate::key("the old name", from)?;
        validate::key("the new name", to)?;
        validate::event(event)?;
        let find = self.query_for_driver(statements.find, statements.find_locked);
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| {
                let old: RowState = sqlx::query_as(find).bind(from).fetch_optional(&mut *tx).await?;
                let new: RowState = sqlx::query_as(find).bind(to).fetch_optional(&mut *tx).await?;
                let is_done = check_states(&old, &new, from, to, may_be_removed)?;
                if !is_done {
                    sqlx::query(statements.copy).bind(from).bind(to).execute(&mut *tx).await?;
                    for mark in statements.mark {
                        let query = sqlx::query(mark).bind(from).bind(to);
                        let query = if mark.contains("$3") { query.bind(event.at) } else { query };
                        query.execute(&mut *tx).await?;
                    }
                    write_event!(tx, event);
                }
                for statement in statements.moves {
                    let query = sqlx::query(*statement).bind(from);
                    let query = if statement.contains("$2") { query.bind(to) } else { query };
                    query.execute(&mut *tx).await?;
                }
            });
            Ok(())
        })
        .await
    }

    async fn move_user_records(&self, from: &str, to: &str) -> Result<()> {
        const MOVE: &str = "UPDATE metrics SET user_id = $2
             WHERE id IN (SELECT id FROM metrics WHERE user_id = $1 LIMIT $3)";
        loop {
            let moved = self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
                Ok(transaction!(self, |tx| {
                    let query = sqlx::query(MOVE).bind(from).bind(to).bind(ROWS_PER_PART);
                    query.execute(&mut *tx).await?.rows_affected()
                }))
            });
            if moved.await? == 0 {
                return Ok(());
            }
        }
    }

    async fn move_team_records(&self, from: &str, to: &str) -> Result<()> {
        const LAST: &str = "SELECT CAST(COALESCE(MAX(id), 0) AS BIGINT) FROM metrics";
        const MOVE: &str = "UPDATE metrics SET team = $2 WHERE team = $1 AND id > $3 AND id <= $4";
        let last: i64 = self
            .with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
                Ok(read!(self, |pool| sqlx::query_scalar(LAST).fetch_one(pool).await?))
            })
            .await?;
        let mut start = 0;
        while start < last {
            let end = start + IDS_PER_PART;
            self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
                transaction!(self, |tx| {
                    let query = sqlx::query(MOVE).bind(from).bind(to).bind(start).bind(end);
                    query.execute(&mut *tx).await.map(drop)?;
                });
                Ok(())
            })
            .await?;
            start = end;
        }
        Ok(())
    }

    /// Removes a user: its tokens are revoked, its usage and events stay. `event` is written.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database is unavailable.
    pub async fn remove_user(&self, user_id: &str, event: &AuditEvent) -> Result<()> {
        const REMOVE: &str =
            "UPDATE users SET disabled = TRUE, removed_at = $2, tokens_valid_from = $2, updated_at = $3
             WHERE user_id = $1 AND removed_at IS NULL";
        const REVOKE: &str = "UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
        validate::key("the user", user_id)?;
        validate::event(event)?;
        let now = datetime::timestamp(event.at)?;
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| {
                let query = sqlx::query(REMOVE).bind(user_id).bind(event.at).bind(now);
                if query.execute(&mut *tx).await?.rows_affected() == 0 {
                    return Err(StoreError::NotFound);
                }
                sqlx::query(REVOKE).bind(user_id).bind(event.at).execute(&mut *tx).await?;
                write_event!(tx, event);
            });
            Ok(())
        })
        .await
    }

    /// Removes a team; its usage and events stay. Its users go to the team `to`, or to none. Returns their number, which
    /// `event` is made of.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when it has users and `to` is `None`; or when the database is
    /// unavailable.
    pub async fn remove_team(
        &self,
        team: &str,
        to: Option<Option<&str>>,
        now: i64,
        event: impl FnOnce(i64) -> AuditEvent + Send,
    ) -> Result<i64> {
        const COUNT: &str = "SELECT COUNT(*) FROM users WHERE team = $1 AND removed_at IS NULL";
        const MOVE: &str =
            "UPDATE users SET team = $2, updated_at = $3 WHERE team = $1 AND removed_at IS NULL";
        const REMOVE: &str = "UPDATE teams SET disabled = TRUE, removed_at = $2, updated_at = $3
             WHERE team = $1 AND removed_at IS NULL";
        validate::key("the team", team)?;
        validate::optional("the new team", to.flatten(), validate::MAX_NAME)?;
        let timestamp = datetime::timestamp(now)?;
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                let remove = sqlx::query(REMOVE).bind(team).bind(now).bind(timestamp);
                if remove.execute(&mut *tx).await?.rows_affected() == 0 {
                    return Err(StoreError::NotFound);
                }
                let users: i64 = sqlx::query_scalar(COUNT).bind(team).fetch_one(&mut *tx).await?;
                match to {
                    None if users > 0 => return Err(StoreError::Conflict(users.to_string())),
                    None => {}
                    Some(to) => {
                        let query = sqlx::query(MOVE).bind(team).bind(to).bind(timestamp);
                        query.execute(&mut *tx).await.map(drop)?;
                    }
                }
                let event = event(users);
                validate::event(&event)?;
                write_event!(tx, &event);
                users
            }))
        })
        .await
    }

    /// Replaces the name of a user by `pseudonym`, everywhere: usage, tokens, events and the names that the user had before.
    /// The user is removed, if it is not yet. Returns the pseudonym. Digests of the names are recorded, so that no token adds the names again; `event` is
    /// written.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database is unavailable; then the call may be repeated with another pseudonym.
    pub async fn erase_user(&self, user_id: &str, pseudonym: &str, event: &AuditEvent) -> Result<String> {
        const PENDING: &str =
            "SELECT renamed_to FROM users WHERE user_id = $1 AND renamed_to LIKE 'erased-%'";
        const NAMES: &str = "SELECT user_id FROM users WHERE renamed_to = $1";
        validate::key("the user", user_id)?;
        // A call that was interrupted has left its pseudonym.
        let pending: Option<String> = self
            .with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
                Ok(read!(self, |pool| sqlx::query_scalar(PENDING).bind(user_id).fetch_optional(pool).await?))
            })
            .await?;
        let pseudonym = pending.as_deref().unwrap_or(pseudonym);
        self.rename(&USER, user_id, pseudonym, event, true).await?;
        let names: Vec<String> = self
            .with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
                Ok(read!(self, |pool| sqlx::query_scalar(NAMES).bind(pseudonym).fetch_all(pool).await?))
            })
            .await?;
        for name in &names {
            self.move_user_records(name, pseudonym).await?;
            self.erase_from_events(name, pseudonym).await?;
        }
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| {
                const REMOVED: &str = "UPDATE users SET disabled = TRUE, removed_at = $2, tokens_valid_from = $2, \
                     default_inference_profile = NULL WHERE user_id = $1";
                const REVOKE: &str =
                    "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2), name = NULL WHERE user_id = $1";
                const DIGEST: &str = "INSERT INTO erased_names (digest, pseudonym, erased_at)
                     VALUES ($1, $2, $3) ON CONFLICT (digest) DO UPDATE SET pseudonym = excluded.pseudonym,
                     erased_at = excluded.erased_at";
                for statement in [REMOVED, REVOKE] {
                    sqlx::query(statement).bind(pseudonym).bind(event.at).execute(&mut *tx).await?;
                }
                for name in &names {
                    for digest in self.name_digests(name) {
                        let query = sqlx::query(DIGEST).bind(digest).bind(pseudonym).bind(event.at);
                        query.execute(&mut *tx).await?;
                    }
                    let issuer = sqlx::query("UPDATE tokens SET issued_by = $2 WHERE issued_by = $1");
                    issuer.bind(name).bind(pseudonym).execute(&mut *tx).await?;
                    let delete = sqlx::query("DELETE FROM users WHERE user_id = $1");
                    delete.bind(name).execute(&mut *tx).await?;
                }
            });
            Ok(())
        })
        .await?;
        Ok(pseudonym.to_owned())
    }

    /// Replaces `name` in all events: as user, as operator, and in details.
    async fn erase_from_events(&self, name: &str, pseudonym: &str) -> Result<()> {
        const FIND: &str = "SELECT CAST(id AS BIGINT), details FROM events WHERE details IS NOT NULL
             AND CAST(details AS TEXT) LIKE $1 ESCAPE '!'";
        // As JSON escapes it. A path has it percent-encoded in many ways.
        let json = Value::from(name).to_string();
        let escaped = json.trim_matches('"').replace('!', "!!").replace('%', "!%").replace('_', "!_");
        let patterns = [format!("%{escaped}%"), "%/users/%".to_owned()];
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| {
                for column in [
                    "UPDATE events SET user_id = $2 WHERE user_id = $1",
                    "UPDATE events SET actor = $2 WHERE actor = $1",
                ] {
                    sqlx::query(column).bind(name).bind(pseudonym).execute(&mut *tx).await?;
                }
                for pattern in &patterns {
                    let found: Vec<(i64, sqlx::types::Json<Value>)> =
                        sqlx::query_as(FIND).bind(pattern).fetch_all(&mut *tx).await?;
                    for (id, sqlx::types::Json(mut details)) in found {
                        if replace(&mut details, name, pseudonym) {
                            let update = sqlx::query("UPDATE events SET details = $2 WHERE id = $1");
                            update.bind(id).bind(sqlx::types::Json(details)).execute(&mut *tx).await?;
                        }
                    }
                }
            });
            Ok(())
        })
        .await
    }

    /// Sets how names are turned into digests, with keys that are not in the database. Later calls change nothing.
    pub(crate) fn set_name_digests(&self, digests: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) {
        let _ = self.0.name_digests.set(Box::new(digests));
    }

    /// Digests of a name, one for each key.
    pub(super) fn name_digests(&self, name: &str) -> Vec<String> {
        self.0.name_digests.get().map(|digests| digests(name)).unwrap_or_default()
    }

    /// Whether the name was erased.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub(crate) async fn is_erased(&self, name: &str) -> Result<bool> {
        const QUERY: &str = "SELECT EXISTS (SELECT 1 FROM erased_names WHERE digest = $1)";
        self.with_deadline(AccessKind::Read, super::REQUEST_TIMEOUT, async {
            Ok(read!(self, |pool| {
                let mut is_erased = false;
                for digest in self.name_digests(name) {
                    let found: bool = sqlx::query_scalar(QUERY).bind(digest).fetch_one(pool).await?;
                    is_erased |= found;
                }
                is_erased
            }))
        })
        .await
    }
}

/// Checks the rows of both names. Returns whether the rename is recorded already.
fn check_states(old: &RowState, new: &RowState, from: &str, to: &str, may_be_removed: bool) -> Result<bool> {
    let is_renamed_to = |state: &RowState, name: &str| {
        state.as_ref().is_some_and(|(_, renamed_to)| renamed_to.as_deref() == Some(name))
    };
    if from == to {
        return Err(StoreError::Invalid("the old and the new name are the same".to_owned()));
    }
    match old {
        Some(_) if is_renamed_to(old, to) => return Ok(true),
        Some((None, _)) => {}
        Some((Some(_), None)) if may_be_removed => {}
        _ => return Err(StoreError::NotFound),
    }
    // A name may be taken back.
    if new.is_some() && !is_renamed_to(new, from) {
        return Err(StoreError::Conflict(String::new()));
    }
    Ok(false)
}

/// Replaces `name` where it is a whole text, or a segment of a path. Returns whether something changed.
fn replace(value: &mut Value, name: &str, pseudonym: &str) -> bool {
    match value {
        Value::String(text) => {
            let is_name = |part: &str| {
                let decoded = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
                part == name || decoded == name
            };
            let parts = text.split('/').map(|part| if is_name(part) { pseudonym } else { part });
            let changed =
                if text == name { pseudonym.to_owned() } else { parts.collect::<Vec<_>>().join("/") };
            let has_changed = changed != *text;
            *text = changed;
            has_changed
        }
        Value::Array(items) => items.iter_mut().fold(false, |any, item| replace(item, name, pseudonym) | any),
        Value::Object(members) => {
            members.values_mut().fold(false, |any, item| replace(item, name, pseudonym) | any)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_replaced_in_texts_and_paths() {
        let mut details =
            json!({"from": "ana", "path": "/admin/v1/users/a%6Ea", "list": ["ana", "anabel"], "n": 1});
        assert!(replace(&mut details, "ana", "x"));
        assert_eq!(
            details,
            json!({"from": "x", "path": "/admin/v1/users/x", "list": ["x", "anabel"], "n": 1})
        );
        assert!(!replace(&mut details, "ana", "x"));
    }
}
