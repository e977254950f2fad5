//! Users and teams: lookup of a caller in one round trip, and an operator's changes, each with its event.

use time::PrimitiveDateTime;

use super::circuit::AccessKind;
use super::from_row::user_columns;
use super::records::ListPage;
use super::{
    AuditEvent, BACKGROUND_TIMEOUT, CallerRows, Page, REQUEST_TIMEOUT, Result, Store, StoreError, Team, User,
    datetime, validate,
};

/// A new user, as the claims and the default limits describe it.
#[derive(Clone, Debug)]
pub struct ClaimedUser<'a> {
    /// Claim `user_id`.
    pub user_id: &'a str,
    /// Claim `team`.
    pub team: Option<&'a str>,
    /// Claim `default_inference_profile`.
    pub profile: Option<&'a str>,
    /// Limit of the user in tokens; `None` is unlimited.
    pub user_limit: Option<i64>,
    /// Limit of the team in tokens, if it has no row yet; `None` is unlimited.
    pub team_limit: Option<i64>,
}

/// Maximum length of an inference profile in characters: the longest ARN that Bedrock accepts.
pub(super) const MAX_PROFILE: usize = 2048;

const FIND_TEAM: &str = "SELECT * FROM teams WHERE team = $1 AND removed_at IS NULL";

/// Result of an operator's change: the new row, and the event that records it.
pub(crate) type RowChange<T> = Result<(T, AuditEvent)>;

/// Condition that a row, with the alias `u`, was neither removed nor renamed.
macro_rules! present {
    () => {
        " AND u.removed_at IS NULL"
    };
}

macro_rules! write_event {
    ($tx:ident, $event:expr) => {{
        let event: &AuditEvent = $event;
        sqlx::query(
            "INSERT INTO events (event_id, event_type, user_id, team, actor, details, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(&event.id)
        .bind(&event.kind)
        .bind(&event.user_id)
        .bind(&event.team)
        .bind(&event.actor)
        .bind(sqlx::types::Json(&event.details))
        .bind($crate::store::datetime::timestamp(event.at)?)
        .execute(&mut *$tx)
        .await?;
    }};
}
pub(super) use write_event;

impl Store {
    /// Looks up the rows of a caller. Where the user has a row, the team is the one in that row, or none. Names that were
    /// changed lead to their new rows.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn lookup_caller(
        &self,
        user_id: &str,
        claimed_team: Option<&str>,
        jti: Option<&str>,
    ) -> Result<CallerRows> {
        const QUERY: &str = concat!(
            "SELECT ",
            user_columns!(),
            ", t.team AS t_team, t.daily_token_limit AS t_daily_token_limit, t.disabled AS t_disabled,
               t.created_at AS t_created_at, t.updated_at AS t_updated_at,
               k.revoked_at IS NOT NULL AS revoked, k.daily_token_limit AS token_limit, k.name AS token_name
             FROM (SELECT 1 AS one) AS always
             LEFT JOIN tokens k ON k.jti = $3
             LEFT JOIN users u ON u.user_id = COALESCE((SELECT renamed_to FROM users WHERE user_id = $1), $1)
             LEFT JOIN teams t ON t.team = CASE WHEN u.user_id IS NULL
                THEN COALESCE((SELECT renamed_to FROM teams WHERE team = $2), $2) ELSE u.team END"
        );
        // For names that no row can have, SQLite would find no row, and PostgreSQL would fail.
        validate::key("the user", user_id)?;
        validate::optional("the team", claimed_team, validate::MAX_NAME)?;
        validate::optional("the token's id", jti, validate::MAX_NAME)?;
        self.with_deadline(AccessKind::Read, REQUEST_TIMEOUT, async {
            Ok(read!(self, |pool| {
                sqlx::query_as(QUERY).bind(user_id).bind(claimed_team).bind(jti).fetch_one(pool).await?
            }))
        })
        .await
    }

    /// Inserts the missing rows of a user and its team; the event is written if the user is new. Returns whether it is.
    ///
    /// # Errors
    /// When the database is unavailable, or a name is too long.
    pub async fn provision(&self, new: &ClaimedUser<'_>, event: &AuditEvent) -> Result<bool> {
        validate::key("the user", new.user_id)?;
        validate::optional("the profile", new.profile, MAX_PROFILE)?;
        validate::event(event)?;
        let now = datetime::timestamp(event.at)?;
        self.with_deadline(AccessKind::Write, REQUEST_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                let inserted = sqlx::query(
                    "INSERT INTO users (user_id, team, daily_token_limit, default_inference_profile, \
                     tokens_used_today, used_period, last_reset_date, created_at, updated_at)
                     VALUES ($1, COALESCE((SELECT renamed_to FROM teams WHERE team = $2), $2), $3, $4, 0, 0, $5, $6, $6)
                     ON CONFLICT (user_id) DO NOTHING",
                )
                .bind(new.user_id)
                .bind(new.team)
                .bind(new.user_limit)
                .bind(new.profile)
                .bind(now.date())
                .bind(now)
                .execute(&mut *tx)
                .await?;
                if let Some(team) = new.team {
                    validate::key("the team", team)?;
                    sqlx::query(
                        "INSERT INTO teams (team, daily_token_limit, disabled, created_at, updated_at)
                         VALUES (COALESCE((SELECT renamed_to FROM teams WHERE team = $1), $1), $2, FALSE, $3, $3)
                         ON CONFLICT (team) DO NOTHING",
                    )
                    .bind(team)
                    .bind(new.team_limit)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                }
                let is_new = inserted.rows_affected() > 0;
                if is_new {
                    write_event!(tx, event);
                }
                is_new
            }))
        })
        .await
    }

    /// Looks up one user.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also of a removed or renamed one, or when the database is unavailable.
    pub async fn user(&self, user_id: &str) -> Result<User> {
        const QUERY: &str =
            concat!("SELECT ", user_columns!(), " FROM users u WHERE u.user_id = $1", present!());
        validate::key("the user", user_id)?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            Ok(read!(self, |pool| sqlx::query_as(QUERY).bind(user_id).fetch_one(pool).await?))
        })
        .await
    }

    /// Lists users by name, of one team if given. Removed ones are left out.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn users(&self, team: Option<&str>, page: &Page) -> Result<ListPage<User>> {
        const QUERY: &str = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u WHERE u.user_id > $1 AND ($2 IS NULL OR u.team = $2)",
            present!(),
            " ORDER BY u.user_id LIMIT $3"
        );
        let after = page.after.as_deref().unwrap_or_default();
        validate::text("the cursor", after, validate::MAX_NAME)?;
        validate::optional("the team", team, validate::MAX_NAME)?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            let rows = read!(self, |pool| {
                sqlx::query_as(QUERY).bind(after).bind(team).bind(page.fetch_limit()).fetch_all(pool).await?
            });
            Ok(ListPage::new(rows, page, |user: &User| user.user_id.clone()))
        })
        .await
    }

    /// Changes or inserts a user. `decide` gets the current row and returns the new one; its event is written in the same
    /// transaction. Operators cannot change `tokens_used_today` and `last_reset_date`, which are kept, nor the times,
    /// which are set from `now`.
    ///
    /// # Errors
    /// The error of `decide`, [`StoreError::Conflict`] if another replica inserted the user meanwhile, or when the
    /// database is unavailable.
    pub async fn put_user(
        &self,
        user_id: &str,
        now: i64,
        decide: impl FnOnce(Option<User>) -> RowChange<User> + Send,
    ) -> Result<User> {
        const FIND: &str =
            concat!("SELECT ", user_columns!(), " FROM users u WHERE u.user_id = $1", present!());
        const LOCK: &str = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u WHERE u.user_id = $1",
            present!(),
            " FOR UPDATE"
        );
        const REMOVED: &str =
            "SELECT EXISTS (SELECT 1 FROM users WHERE user_id = $1 AND removed_at IS NOT NULL)";
        validate::key("the user", user_id)?;
        let find = self.query_for_driver(FIND, LOCK);
        let (at, now) = (now, datetime::timestamp(now)?);
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                let before: Option<User> =
                    sqlx::query_as(find).bind(user_id).fetch_optional(&mut *tx).await?;
                let exists = before.is_some();
                let was_removed: bool = sqlx::query_scalar(REMOVED).bind(user_id).fetch_one(&mut *tx).await?;
                let (mut user, event) = decide(before)?;
                check_user(&user, user_id)?;
                validate::event(&event)?;
                let statement = if was_removed {
                    // Tokens of the user who had the name before are not those of this one.
                    user.tokens_valid_from = Some(at);
                    "UPDATE users SET team = $2, daily_token_limit = $3, default_inference_profile = $4, \
                     disabled = $5, tokens_valid_from = $6, created_at = $7, updated_at = $7, removed_at = NULL, \
                     renamed_to = NULL WHERE user_id = $1"
                } else if exists {
                    "UPDATE users SET team = $2, daily_token_limit = $3, default_inference_profile = $4, \
                     disabled = $5, tokens_valid_from = $6, updated_at = $7 WHERE user_id = $1"
                } else {
                    "INSERT INTO users (user_id, team, daily_token_limit, default_inference_profile, disabled, \
                     tokens_valid_from, created_at, updated_at, tokens_used_today, used_period, last_reset_date)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 0, 0, CURRENT_DATE)"
                };
                sqlx::query(statement)
                    .bind(user_id)
                    .bind(&user.team)
                    .bind(user.daily_token_limit)
                    .bind(&user.default_inference_profile)
                    .bind(user.disabled)
                    .bind(user.tokens_valid_from)
                    .bind(now)
                    .execute(&mut *tx)
                    .await?;
                write_event!(tx, &event);
                sqlx::query_as(FIND).bind(user_id).fetch_one(&mut *tx).await?
            }))
        })
        .await
    }

    /// Looks up one team.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database is unavailable.
    pub async fn team(&self, team: &str) -> Result<Team> {
        validate::key("the team", team)?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            Ok(read!(self, |pool| sqlx::query_as(FIND_TEAM).bind(team).fetch_one(pool).await?))
        })
        .await
    }

    /// Lists teams by name.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn teams(&self, page: &Page) -> Result<ListPage<Team>> {
        const QUERY: &str =
            "SELECT * FROM teams WHERE team > $1 AND removed_at IS NULL ORDER BY team LIMIT $2";
        let after = page.after.as_deref().unwrap_or_default();
        validate::text("the cursor", after, validate::MAX_NAME)?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            let rows = read!(self, |pool| {
                sqlx::query_as(QUERY).bind(after).bind(page.fetch_limit()).fetch_all(pool).await?
            });
            Ok(ListPage::new(rows, page, |team: &Team| team.team.clone()))
        })
        .await
    }

    /// Changes or inserts a team, as [`Store::put_user`] does with a user.
    ///
    /// # Errors
    /// As [`Store::put_user`].
    pub async fn put_team(
        &self,
        team: &str,
        now: i64,
        decide: impl FnOnce(Option<Team>) -> RowChange<Team> + Send,
    ) -> Result<Team> {
        const LOCK: &str = "SELECT * FROM teams WHERE team = $1 AND removed_at IS NULL FOR UPDATE";
        const REMOVED: &str =
            "SELECT EXISTS (SELECT 1 FROM teams WHERE team = $1 AND removed_at IS NOT NULL)";
        validate::key("the team", team)?;
        let find = self.query_for_driver(FIND_TEAM, LOCK);
        let now: PrimitiveDateTime = datetime::timestamp(now)?;
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                let before: Option<Team> = sqlx::query_as(find).bind(team).fetch_optional(&mut *tx).await?;
                let exists = before.is_some();
                let was_removed: bool = sqlx::query_scalar(REMOVED).bind(team).fetch_one(&mut *tx).await?;
                let (row, event) = decide(before)?;
                validate::limit("the limit", row.daily_token_limit)?;
                validate::event(&event)?;
                let statement = if was_removed {
                    "UPDATE teams SET daily_token_limit = $2, disabled = $3, created_at = $4, updated_at = $4, \
                     removed_at = NULL, renamed_to = NULL WHERE team = $1"
                } else if exists {
                    "UPDATE teams SET daily_token_limit = $2, disabled = $3, updated_at = $4 WHERE team = $1"
                } else {
                    "INSERT INTO teams (team, daily_token_limit, disabled, created_at, updated_at)
                     VALUES ($1, $2, $3, $4, $4)"
                };
                let change = sqlx::query(statement).bind(team).bind(row.daily_token_limit).bind(row.disabled);
                change.bind(now).execute(&mut *tx).await?;
                write_event!(tx, &event);
                sqlx::query_as(FIND_TEAM).bind(team).fetch_one(&mut *tx).await?
            }))
        })
        .await
    }

    /// The text for the database in use. SQLite needs no row locks: only one transaction writes.
    pub(super) fn query_for_driver(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        if self.kind() == "sqlite" { sqlite } else { postgres }
    }
}

fn check_user(user: &User, user_id: &str) -> Result<()> {
    if user.user_id != user_id {
        return Err(StoreError::Invalid("the row has another name".to_owned()));
    }
    validate::optional("the team", user.team.as_deref(), validate::MAX_NAME)?;
    validate::optional("the profile", user.default_inference_profile.as_deref(), MAX_PROFILE)?;
    validate::limit("the limit", user.daily_token_limit)
}
