//! Tokens: issue, list, revoke.

use serde_json::{Value, json};

use super::similar::suggestion;
use super::users::{UserChange, check_limit, check_name};
use super::{Admin, AdminError, Result, Subject, map_rows, to_json};
use crate::auth::{Claims, Scope};
use crate::ids;
use crate::secret::Secret;
use crate::store::{ListPage, Page, Revoked, StoreError, Token};

/// Maximum lifetime of a token in seconds: ten years, as `JWT_EXPIRY_HOURS`.
const MAX_TTL_SECONDS: i64 = 10 * 365 * 86_400;

/// Message about a token that was revoked by its id alone.
pub(crate) const NOT_ISSUED_HERE: &str = "no token with this id was issued here; it is rejected from now on";

/// Token to issue.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    /// User of the token.
    pub(crate) user_id: String,
    /// Claim `team`, of a new user or an operator; for a user with a row, the team of the row.
    pub(crate) team: Option<String>,
    /// Claim `default_inference_profile`.
    pub(crate) default_inference_profile: Option<String>,
    /// Scope.
    pub(crate) scope: Scope,
    /// Lifetime in seconds; `None` for the configured one.
    pub(crate) ttl: Option<i64>,
    /// Whether a user without a row is added.
    pub(crate) create: bool,
    /// Name of the token, for people.
    pub(crate) name: Option<String>,
    /// Limit of the token in tokens per quota period, beside those of its user and team; `None` is unlimited.
    pub(crate) daily_token_limit: Option<i64>,
}

/// An issued token.
#[derive(Clone, Debug)]
pub(crate) struct IssuedToken {
    /// The token, which is not stored.
    pub(crate) token: Secret,
    /// Its row as JSON.
    pub(crate) record: Value,
}

impl Admin {
    /// Issues a token.
    ///
    /// # Errors
    /// When there is no key to sign with, the user is disabled, unknown or in another team, or the database is
    /// unavailable.
    pub(crate) async fn issue_token(&self, request: &TokenRequest, actor: &str) -> Result<IssuedToken> {
        let Some(keys) = &self.keys else {
            let reason = "there is no key to sign with; set JWT_SECRET_KEY to that of the proxy";
            return Err(AdminError::Invalid(reason.to_owned()));
        };
        let user_id = request.user_id.as_str();
        check_name("user", user_id)?;
        request.team.as_deref().map_or(Ok(()), |team| check_name("team", team))?;
        let ttl = request.ttl.unwrap_or(self.ttl);
        if !(1..=MAX_TTL_SECONDS).contains(&ttl) {
            return Err(AdminError::Invalid("the lifetime of a token is one second to ten years".to_owned()));
        }
        request.name.as_deref().map_or(Ok(()), |name| check_name("token", name))?;
        check_limit(Some(request.daily_token_limit))?;
        let (team, valid_from) = self.resolve_owner(request, actor).await?;
        let now = self.clock.milliseconds();
        // `iat` has whole seconds: in the second of a revocation of all tokens, a new one is dated to the next.
        let issued_at =
            now.div_euclid(1000).max(valid_from.map_or(0, |from| from.saturating_add(999) / 1000));
        let claims = Claims {
            user_id: user_id.to_owned(),
            team,
            default_inference_profile: request.default_inference_profile.clone(),
            scope: request.scope,
            jti: Some(ids::token_id(now)),
            issued_at: Some(issued_at),
            expires_at: issued_at.saturating_add(ttl),
        };
        let token = keys.sign(&claims);
        // A token that the proxy would reject is not issued.
        let claims =
            keys.verify(token.expose(), issued_at).map_err(|error| AdminError::Invalid(error.to_string()))?;
        let record = Token {
            jti: claims.jti.unwrap_or_default(),
            user_id: claims.user_id,
            team: claims.team,
            scope: claims.scope.as_str().to_owned(),
            issued_at: issued_at.saturating_mul(1000),
            expires_at: claims.expires_at.saturating_mul(1000),
            revoked_at: None,
            issued_by: actor.to_owned(),
            name: request.name.clone(),
            daily_token_limit: request.daily_token_limit,
            last_used_at: None,
        };
        let subject = Subject { user: Some(user_id), team: record.team.as_deref() };
        let mut details = json!({"jti": record.jti, "scope": record.scope, "expires_at": record.expires_at});
        if let Some(name) = &record.name {
            details["name"] = name.as_str().into();
        }
        let event = self.event("token_issued", actor, subject, details);
        self.store
            .record_token(&record, &event)
            .await
            .map_err(|error| AdminError::from_store(error, "token"))?;
        Ok(IssuedToken { token, record: to_json(&record) })
    }

    /// Team of the user, and the instant before which tokens are rejected. Operators need no row.
    async fn resolve_owner(
        &self,
        request: &TokenRequest,
        actor: &str,
    ) -> Result<(Option<String>, Option<i64>)> {
        let user_id = &request.user_id;
        let user = match self.store.user(user_id).await {
            Ok(user) => user,
            Err(StoreError::NotFound) if request.scope != Scope::Inference => {
                return Ok((request.team.clone(), None));
            }
            Err(StoreError::NotFound) if request.create => {
                let change = UserChange { team: Some(request.team.clone()), ..UserChange::default() };
                self.add_user(user_id, &change, actor).await?;
                return Ok((request.team.clone(), None));
            }
            Err(StoreError::NotFound) => {
                let meant = match suggestion(&self.similar_users(user_id).await) {
                    meant if meant.is_empty() => ".".to_owned(),
                    meant => meant,
                };
                return Err(AdminError::NotFound(format!(
                    "user {user_id:?}{meant} To issue the token and add the user, use --create (in the admin API: \
                     \"create\": true)"
                )));
            }
            Err(error) => return Err(AdminError::from_store(error, "user")),
        };
        if user.disabled {
            return Err(AdminError::Invalid(format!("the user {user_id:?} is disabled; enable it first")));
        }
        if request.team.is_some() && request.team != user.team {
            let team = user.team.as_deref().unwrap_or("none");
            let reason = format!(
                "the team of {user_id:?} is {team:?}, which takes precedence over a token; change the user, or omit \
                 the team"
            );
            return Err(AdminError::Invalid(reason));
        }
        Ok((user.team, user.tokens_valid_from))
    }

    /// Lists tokens, newest first, of one user if given.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub(crate) async fn tokens(&self, user_id: Option<&str>, page: &Page) -> Result<ListPage<Value>> {
        let result = self.store.tokens(user_id, page).await;
        let page = result.map_err(|error| AdminError::from_store(error, "token"))?;
        Ok(map_rows(&page, to_json))
    }

    /// Revokes one token by its id, also one of another tool.
    ///
    /// # Errors
    /// When the id is malformed, or the database is unavailable.
    pub(crate) async fn revoke_token(&self, jti: &str, actor: &str) -> Result<Revoked> {
        check_name("token", jti)?;
        let event = self.event("token_revoked", actor, Subject::default(), json!({"jti": jti}));
        let revoked = self.store.revoke_token(jti, &event).await;
        let revoked = revoked.map_err(|error| AdminError::from_store(error, "token"))?;
        self.refresh_rejections().await;
        Ok(revoked)
    }

    /// Revokes all tokens of a user that were issued until now, also by other tools.
    ///
    /// # Errors
    /// When the user does not exist, or the database is unavailable.
    pub(crate) async fn revoke_user_tokens(&self, user_id: &str, actor: &str) -> Result<()> {
        let subject = Subject { user: Some(user_id), team: None };
        let event = self.event("tokens_revoked", actor, subject, json!({}));
        // With closed registration, the row of an operator must not let the name use models.
        let limit = if self.new_users.get().provision { self.new_users.get().user_limit } else { Some(0) };
        let revoked = self.store.revoke_user_tokens(user_id, limit, &event).await;
        let unknown = || {
            format!(
                "user {user_id:?}, and no token was issued to it here; to revoke tokens of another tool, add the user first"
            )
        };
        if let Err(error) = revoked {
            let similar = self.similar_users(user_id).await;
            return Err(match error {
                StoreError::NotFound if !similar.is_empty() => AdminError::NotFound(format!(
                    "user {user_id:?}, and no token was issued to it here{} To revoke tokens of another tool, add the user first",
                    suggestion(&similar)
                )),
                error => AdminError::from_store(error, &unknown()),
            });
        }
        self.refresh_rejections().await;
        Ok(())
    }
}

/// Parses a lifetime such as `90s`, `30m`, `24h` or `7d` into seconds.
///
/// # Errors
/// When it has another form or is longer than ten years.
pub(crate) fn parse_ttl(text: &str) -> std::result::Result<i64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let seconds =
        unit.and_then(|(number, seconds)| number.parse::<u32>().ok().map(|n| i64::from(n) * seconds));
    let seconds = seconds.filter(|seconds| (1..=MAX_TTL_SECONDS).contains(seconds));
    seconds.ok_or_else(|| "use a number and one of s, m, h and d, as in 24h; ten years at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_a_number_and_a_unit() {
        assert_eq!(parse_ttl("24h"), Ok(86_400));
        assert_eq!(parse_ttl("7d"), Ok(604_800));
        for wrong in ["", "h", "24", "0s", "-1h", "1.5h", "24 h", "99999d", "1w"] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
