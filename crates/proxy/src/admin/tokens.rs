//! Tokens: issued, listed, taken back.

use serde_json::{Value, json};

use super::users::named;
use super::{About, Admin, AdminError, Result, listed, view};
use crate::auth::{Claims, Scope};
use crate::ids;
use crate::secret::Secret;
use crate::store::{ListPage, Page, StoreError, Token};

/// The longest life of a token, in seconds: ten years.
const LONGEST: i64 = 10 * 365 * 86_400;

/// A token that is wanted.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Whose it shall be.
    pub user_id: String,
    /// The team that it claims; counts only while the user has no row.
    pub team: Option<String>,
    /// The inference profile that it claims.
    pub default_inference_profile: Option<String>,
    /// What it shall open.
    pub scope: Scope,
    /// How long it shall be valid, in seconds; `None` for as long as configured.
    pub ttl: Option<i64>,
}

/// A token that was issued.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token itself, which is kept nowhere.
    pub token: Secret,
    /// What is known about it from now on.
    pub record: Value,
}

impl Admin {
    /// Issues a token.
    ///
    /// # Errors
    /// When there is no key to sign with, the user may not come or is in another team, or the database is away.
    pub async fn issue_token(&self, wanted: &TokenRequest, actor: &str) -> Result<IssuedToken> {
        let Some(keys) = &self.keys else {
            let reason = "there is no key to sign with; set JWT_SECRET_KEY to that of the gateway";
            return Err(AdminError::Invalid(reason.to_owned()));
        };
        let user_id = wanted.user_id.as_str();
        named("user", user_id)?;
        wanted.team.as_deref().map_or(Ok(()), |team| named("team", team))?;
        let ttl = wanted.ttl.unwrap_or(self.settings.expiry);
        if !(1..=LONGEST).contains(&ttl) {
            return Err(AdminError::Invalid("a token lives from one second to ten years".to_owned()));
        }
        let (team, valid_from) = self.bearer(wanted).await?;
        let now = self.clock.milliseconds();
        // In the second in which all tokens were taken back, a new one is of the next.
        let issued_at =
            now.div_euclid(1000).max(valid_from.map_or(0, |from| from.saturating_add(999) / 1000));
        let claims = Claims {
            user_id: user_id.to_owned(),
            team,
            default_inference_profile: wanted.default_inference_profile.clone(),
            scope: wanted.scope,
            jti: Some(ids::token_id(now)),
            issued_at: Some(issued_at),
            expires_at: issued_at.saturating_add(ttl),
        };
        let token = keys.sign(&claims);
        // What would be refused at the door is refused here.
        let claims = keys
            .verify(token.expose(), issued_at)
            .map_err(|refusal| AdminError::Invalid(refusal.to_string()))?;
        let record = Token {
            jti: claims.jti.unwrap_or_default(),
            user_id: claims.user_id,
            team: claims.team,
            scope: claims.scope.as_str().to_owned(),
            issued_at: issued_at.saturating_mul(1000),
            expires_at: claims.expires_at.saturating_mul(1000),
            revoked_at: None,
            issued_by: actor.to_owned(),
        };
        let about = About { user: Some(user_id), team: record.team.as_deref() };
        let details = json!({"jti": record.jti, "scope": record.scope, "expires_at": record.expires_at});
        let event = self.event("token_issued", actor, about, details);
        self.store.record_token(&record, &event).await.map_err(|error| AdminError::of(error, "token"))?;
        Ok(IssuedToken { token, record: view::token(&record) })
    }

    /// The team of the user, and from when on their tokens count. Operators need no row.
    async fn bearer(&self, wanted: &TokenRequest) -> Result<(Option<String>, Option<i64>)> {
        let user_id = &wanted.user_id;
        let user = match self.store.user(user_id).await {
            Ok(user) => user,
            Err(StoreError::NotFound) if wanted.scope != Scope::Inference || self.settings.provision => {
                return Ok((wanted.team.clone(), None));
            }
            Err(error) => return Err(AdminError::of(error, &format!("user {user_id:?}; add it first"))),
        };
        if user.disabled {
            return Err(AdminError::Invalid(format!("the user {user_id:?} is disabled; enable it first")));
        }
        if wanted.team.is_some() && wanted.team != user.team {
            let team = user.team.as_deref().unwrap_or("none");
            let reason = format!(
                "the team of {user_id:?} is {team:?}, and that counts more than a token; change the user or leave \
                 the team out"
            );
            return Err(AdminError::Invalid(reason));
        }
        Ok((user.team, user.tokens_valid_from))
    }

    /// Tokens, the last ones first, of one user if named.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn tokens(&self, user_id: Option<&str>, page: &Page) -> Result<ListPage<Value>> {
        let found = self.store.tokens(user_id, page).await;
        Ok(listed(found.map_err(|error| AdminError::of(error, "token"))?, view::token))
    }

    /// Takes one token back, by its id. Tells whether it was valid until now.
    ///
    /// # Errors
    /// When the id cannot be one, or the database is away.
    pub async fn revoke_token(&self, jti: &str, actor: &str) -> Result<bool> {
        named("token", jti)?;
        let event = self.event("token_revoked", actor, About::default(), json!({"jti": jti}));
        self.store.revoke_token(jti, &event).await.map_err(|error| AdminError::of(error, "token"))
    }

    /// Takes back all tokens of a user that were issued until now, wherever they were made.
    ///
    /// # Errors
    /// When there is no such user, or the database is away.
    pub async fn revoke_user_tokens(&self, user_id: &str, actor: &str) -> Result<()> {
        let about = About { user: Some(user_id), team: None };
        let event = self.event("tokens_revoked", actor, about, json!({}));
        let revoked = self.store.revoke_user_tokens(user_id, &event).await;
        revoked.map_err(|error| AdminError::of(error, &format!("user {user_id:?}")))
    }
}

/// Reads how long a token shall live, as `90s`, `30m`, `24h` or `7d`; in seconds.
///
/// # Errors
/// When it is none of these.
pub fn parse_ttl(text: &str) -> std::result::Result<i64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let found = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let seconds =
        found.and_then(|(number, seconds)| number.parse::<u32>().ok().map(|n| i64::from(n) * seconds));
    let seconds = seconds.filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.ok_or_else(|| "use a number and one of s, m, h and d, as in 24h; ten years at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_a_number_and_a_unit() {
        assert_eq!(parse_ttl("24h"), Ok(86_400));
        assert_eq!(parse_ttl("7d"), Ok(604_800));
        for wrong in ["", "h", "24", "0s", "-1h", "1.5h", "24 h", "99999d", "1w"] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }
}
