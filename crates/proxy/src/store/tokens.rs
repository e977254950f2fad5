//! Issued and revoked tokens. The tokens themselves are never stored.

use sqlx::types::Json;

use super::circuit::AccessKind;
use super::records::ListPage;
use super::users::write_event;
use super::{AuditEvent, BACKGROUND_TIMEOUT, Page, Result, Store, StoreError, Token, datetime, validate};

/// What a revocation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Whether the token was valid until now.
    pub was_valid: bool,
    /// Whether it was issued here; of another tool's token only the id is known.
    pub was_issued: bool,
}

impl Store {
    /// Records an issued token and its event.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when its id is taken, or when the database is unavailable.
    pub async fn record_token(&self, token: &Token, event: &AuditEvent) -> Result<()> {
        validate::key("the token's id", &token.jti)?;
        validate::text("the user", &token.user_id, validate::MAX_NAME)?;
        validate::optional("the team", token.team.as_deref(), validate::MAX_NAME)?;
        validate::text("the scope", &token.scope, validate::MAX_WORD)?;
        validate::text("the issuer", &token.issued_by, validate::MAX_NAME)?;
        validate::optional("the token's name", token.name.as_deref(), validate::MAX_NAME)?;
        validate::limit("the limit", token.daily_token_limit)?;
        validate::event(event)?;
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| {
                sqlx::query(
                    "INSERT INTO tokens (jti, user_id, team, scope, issued_at, expires_at, revoked_at, issued_by, \
                     name, daily_token_limit)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                )
                .bind(&token.jti)
                .bind(&token.user_id)
                .bind(&token.team)
                .bind(&token.scope)
                .bind(token.issued_at)
                .bind(token.expires_at)
                .bind(token.revoked_at)
                .bind(&token.issued_by)
                .bind(&token.name)
                .bind(token.daily_token_limit)
                .execute(&mut *tx)
                .await?;
                write_event!(tx, event);
            });
            Ok(())
        })
        .await
    }

    /// Revokes one token by its id, at `event.at`. An unknown id is revoked as well: another tool may have issued the
    /// token.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn revoke_token(&self, jti: &str, event: &AuditEvent) -> Result<Revoked> {
        validate::key("the token's id", jti)?;
        validate::event(event)?;
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            Ok(transaction!(self, |tx| {
                // Of a foreign token only the id is known, not its expiry: the row is never pruned.
                let changed = sqlx::query(
                    "INSERT INTO tokens (jti, user_id, team, scope, issued_at, expires_at, revoked_at, issued_by)
                     VALUES ($1, '', NULL, '', 0, $3, $2, '')
                     ON CONFLICT (jti) DO UPDATE SET revoked_at = excluded.revoked_at
                     WHERE tokens.revoked_at IS NULL",
                )
                .bind(jti)
                .bind(event.at)
                .bind(i64::MAX)
                .execute(&mut *tx)
                .await?;
                let was_valid = changed.rows_affected() > 0;
                if was_valid {
                    write_event!(tx, event);
                }
                let owner = sqlx::query_scalar("SELECT user_id FROM tokens WHERE jti = $1");
                let owner: String = owner.bind(jti).fetch_one(&mut *tx).await?;
                Revoked { was_valid, was_issued: !owner.is_empty() }
            }))
        })
        .await
    }

    /// Revokes all tokens of a user that were issued before `event.at`, also by other tools. An operator has tokens
    /// without a row; it gets one with the limit `new_user_limit`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a user without a row and without a recorded token, or when the database is
    /// unavailable.
    pub async fn revoke_user_tokens(
        &self,
        user_id: &str,
        new_user_limit: Option<i64>,
        event: &AuditEvent,
    ) -> Result<()> {
        validate::key("the user", user_id)?;
        validate::event(event)?;
        let now = datetime::timestamp(event.at)?;
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| {
                let changed = sqlx::query("UPDATE users SET tokens_valid_from = $2 WHERE user_id = $1")
                    .bind(user_id)
                    .bind(event.at)
                    .execute(&mut *tx)
                    .await?;
                if changed.rows_affected() == 0 {
                    let inserted = sqlx::query(
                        "INSERT INTO users (user_id, daily_token_limit, tokens_valid_from, tokens_used_today, \
                         used_period, last_reset_date, created_at, updated_at)
                         SELECT $1, $3, $2, 0, 0, $5, $4, $4
                         WHERE EXISTS (SELECT 1 FROM tokens WHERE user_id = $1)
                         ON CONFLICT (user_id) DO UPDATE SET tokens_valid_from = excluded.tokens_valid_from",
                    )
                    .bind(user_id)
                    .bind(event.at)
                    .bind(new_user_limit)
                    .bind(now)
                    .bind(now.date())
                    .execute(&mut *tx)
                    .await?;
                    if inserted.rows_affected() == 0 {
                        return Err(StoreError::NotFound);
                    }
                }
                sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL")
                    .bind(user_id)
                    .bind(event.at)
                    .execute(&mut *tx)
                    .await?;
                write_event!(tx, event);
            });
            Ok(())
        })
        .await
    }

    /// Records when tokens were used last, by their ids (epoch milliseconds). Ids without a row are ignored.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn record_token_use(&self, used: &[(String, i64)]) -> Result<()> {
        const SQLITE: &str = "UPDATE tokens SET last_used_at = used.value ->> 1
             FROM json_each($1) AS used
             WHERE jti = used.value ->> 0 AND COALESCE(last_used_at, 0) < used.value ->> 1";
        // Locked in the order of the ids, so that replicas cannot deadlock.
        const POSTGRES: &str = "UPDATE tokens SET last_used_at = used.at FROM (
                 SELECT t.jti, (u.value ->> 1)::BIGINT AS at FROM tokens t
                 JOIN jsonb_array_elements($1::jsonb) AS u(value) ON t.jti = u.value ->> 0
                 ORDER BY t.jti FOR UPDATE OF t) AS used
             WHERE tokens.jti = used.jti AND COALESCE(tokens.last_used_at, 0) < used.at";
        if used.is_empty() {
            return Ok(());
        }
        let statement = self.query_for_driver(SQLITE, POSTGRES);
        self.with_deadline(AccessKind::Write, BACKGROUND_TIMEOUT, async {
            transaction!(self, |tx| sqlx::query(statement)
                .bind(Json(used))
                .execute(&mut *tx)
                .await
                .map(drop)?);
            Ok(())
        })
        .await
    }

    /// Lists tokens by id, newest first, of one user if given.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn tokens(&self, user_id: Option<&str>, page: &Page) -> Result<ListPage<Token>> {
        const QUERY: &str =
            "SELECT * FROM tokens WHERE ($1 IS NULL OR jti < $1) AND ($2 IS NULL OR user_id = $2)
             ORDER BY jti DESC LIMIT $3";
        validate::optional("the cursor", page.after.as_deref(), validate::MAX_NAME)?;
        validate::optional("the user", user_id, validate::MAX_NAME)?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            let rows = read!(self, |pool| {
                let query = sqlx::query_as(QUERY).bind(&page.after).bind(user_id);
                query.bind(page.fetch_limit()).fetch_all(pool).await?
            });
            Ok(ListPage::new(rows, page, |token: &Token| token.jti.clone()))
        })
        .await
    }
}
