//! Tokens, users and teams that are rejected: what a process keeps a copy of, for the time without a database.

use serde::{Deserialize, Serialize};

use super::circuit::AccessKind;
use super::{BACKGROUND_TIMEOUT, Result, Store};

/// Revoked tokens, and users without access.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejections {
    /// Ids of revoked tokens that have not expired, newest revocation first.
    pub tokens: Vec<String>,
    /// Users that are disabled, or whose tokens were revoked together.
    pub users: Vec<RejectedUser>,
    /// Disabled teams.
    pub teams: Vec<String>,
    /// Users of disabled teams, each with its team.
    pub members: Vec<(String, String)>,
}

/// A user without access, or with access for newer tokens only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedUser {
    /// Name of the user.
    pub user_id: String,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// Tokens issued before this instant are rejected, epoch milliseconds.
    pub tokens_valid_from: Option<i64>,
}

impl Rejections {
    /// Whether one of the lists was cut at `max` rows.
    #[must_use]
    pub fn is_cut(&self, max: usize) -> bool {
        let lengths = [self.tokens.len(), self.users.len(), self.teams.len(), self.members.len()];
        lengths.iter().any(|length| *length >= max)
    }
}

impl Store {
    /// Reads all that is rejected at `now` (epoch milliseconds), at most `max` rows of each kind.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn rejections(&self, now: i64, max: i64) -> Result<Rejections> {
        const TOKENS: &str = "SELECT jti FROM tokens WHERE revoked_at IS NOT NULL AND expires_at > $1
             ORDER BY revoked_at DESC, jti LIMIT $2";
        // A token with an old name is one of the new name.
        const USERS: &str = "SELECT user_id, disabled, tokens_valid_from FROM users
             WHERE (disabled OR tokens_valid_from IS NOT NULL) AND renamed_to IS NULL
             UNION ALL SELECT old.user_id, u.disabled, u.tokens_valid_from FROM users old
             JOIN users u ON u.user_id = old.renamed_to
             WHERE old.renamed_to IS NOT NULL AND (u.disabled OR u.tokens_valid_from IS NOT NULL)
             ORDER BY 1 LIMIT $1";
        const TEAMS: &str =
            "SELECT team FROM teams WHERE disabled AND renamed_to IS NULL ORDER BY team LIMIT $1";
        const MEMBERS: &str = "SELECT u.user_id, u.team FROM users u JOIN teams t ON t.team = u.team
             WHERE t.disabled ORDER BY u.user_id LIMIT $1";
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            Ok(read!(self, |pool| {
                let tokens = sqlx::query_scalar(TOKENS).bind(now).bind(max).fetch_all(pool).await?;
                let users: Vec<(String, bool, Option<i64>)> =
                    sqlx::query_as(USERS).bind(max).fetch_all(pool).await?;
                let users = users.into_iter().map(|(user_id, disabled, tokens_valid_from)| RejectedUser {
                    user_id,
                    disabled,
                    tokens_valid_from,
                });
                let teams = sqlx::query_scalar(TEAMS).bind(max).fetch_all(pool).await?;
                let members = sqlx::query_as(MEMBERS).bind(max).fetch_all(pool).await?;
                Rejections { tokens, users: users.collect(), teams, members }
            }))
        })
        .await
    }
}
