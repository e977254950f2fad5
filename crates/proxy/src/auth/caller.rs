//! Who sent a request, and what they may spend: what their token says, and what the database knows about them.
//!
//! Rows win over claims, as a token can be old: the team, the limits, whether somebody is disabled or a token revoked.
//! A row is looked up at most every two seconds for each token, so that a change acts within that time on every
//! replica, and a request costs no round trip. While the database is away, the last that was known counts.
//!
//! Not here: the token itself (`auth`), how headers carry it (`http::caller`), and the spending (`quota`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::cache::Recent;
use super::{Access, Claims, ConcurrencyLimiter, Credential, JwtKeys, RateLimiter, Scope, TokenError};
use crate::clock::Clock;
use crate::config;
use crate::ids;
use crate::store::{CallerRows, Event, NewUser, Store, StoreError};

/// How long a row is believed.
const FRESH: Duration = Duration::from_secs(2);
/// How many tokens are remembered.
const TOKENS: usize = 20_000;
/// Who pays when authentication is off.
const ANONYMOUS: &str = "anonymous";

/// Whoever a request is served for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who pays.
    pub user_id: String,
    /// The team that pays, too.
    pub team: Option<String>,
    /// Tokens in a quota period; `None` is unlimited.
    pub user_limit: Option<i64>,
    /// Tokens of the whole team in a quota period; `None` is unlimited.
    pub team_limit: Option<i64>,
    /// The inference profile of requests for the model that it serves.
    pub default_inference_profile: Option<String>,
    /// What the token is for.
    pub scope: Scope,
    /// The token's own name.
    pub jti: Option<String>,
    /// When the token ends, in seconds since the epoch; `None` without authentication.
    pub expires_at: Option<i64>,
}

impl Caller {
    /// Whether the caller was not authenticated because authentication is off.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.expires_at.is_none()
    }
}

/// Why somebody is not served. The text is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The credential is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// This token was taken back.
    #[error("the token was revoked; get a new one")]
    Revoked,
    /// All tokens of this user were taken back, and this one is of then.
    #[error("all tokens of this user that were issued earlier were revoked; get a new one")]
    Superseded,
    /// The user may not.
    #[error("the user {0:?} is disabled; the gateway's operator can enable it")]
    UserDisabled(String),
    /// The team may not.
    #[error("the team {0:?} is disabled; the gateway's operator can enable it")]
    TeamDisabled(String),
    /// Nobody has added the user.
    #[error("the user {0:?} is not known here; the gateway's operator can add it")]
    UnknownUser(String),
    /// It cannot be looked up, and is not to be guessed.
    #[error("the gateway cannot look up who may pass, because its database is away; try again in a moment")]
    StoreUnavailable,
    /// The token's scope does not allow the operation.
    #[error("{}", insufficient_scope(*.scope, *.access))]
    InsufficientScope {
        /// The token's scope.
        scope: Scope,
        /// The permission that the operation requires.
        access: Access,
    },
    /// Administration over HTTP is only offered when callers are authenticated.
    #[error("the admin API needs authentication; set JWT_SECRET_KEY, or use the command line")]
    AuthenticationDisabled,
}

fn insufficient_scope(scope: Scope, access: Access) -> &'static str {
    match (scope, access) {
        (Scope::AdminRead, Access::Admin) => {
            "this token is read-only (scope admin:read); use a token with scope admin"
        }
        (_, Access::Admin) => "this token has no admin scope; use a token with scope admin",
        (_, Access::Inference | Access::AnyToken) => {
            "this is an admin token, which does not allow inference; use a token without an admin scope"
        }
    }
}

impl AccessError {
    /// The check that failed, in one word, for the log and the events.
    #[must_use]
    pub fn check(&self) -> &'static str {
        match self {
            Self::Token(refusal) => refusal.check(),
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::UserDisabled(_) => "user_disabled",
            Self::TeamDisabled(_) => "team_disabled",
            Self::UnknownUser(_) => "unknown_user",
            Self::StoreUnavailable => "database_unavailable",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::AuthenticationDisabled => "authentication_disabled",
        }
    }
}

impl AccessError {
    /// Who was refused, when that is known for certain.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::UserDisabled(user) | Self::UnknownUser(user) => Some(user),
            Self::Token(_)
            | Self::Revoked
            | Self::Superseded
            | Self::TeamDisabled(_)
            | Self::StoreUnavailable
            | Self::InsufficientScope { .. }
            | Self::AuthenticationDisabled => None,
        }
    }
}

/// A verdict about a caller.
pub type AccessDecision = Result<Arc<Caller>, AccessError>;

/// Everybody who may come.
#[derive(Debug)]
pub struct Authenticator {
    keys: Option<JwtKeys>,
    store: Store,
    settings: config::Callers,
    clock: Clock,
    anonymous: Arc<Caller>,
    /// By the hash of the whole token.
    known: Mutex<Recent<[u8; 32], Arc<Known>>>,
    /// How many refusals may be written down.
    pub event_limiter: RateLimiter,
    /// Requests that are open.
    pub concurrency: ConcurrencyLimiter,
}

/// A token whose signature was good, and what was last known about its bearer.
#[derive(Debug)]
struct Known {
    claims: Claims,
    /// Held while the database is asked, so that it is asked once.
    seen: tokio::sync::Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the database was last asked, whatever came of it.
    asked: Option<Instant>,
    /// What follows from its last answer.
    verdict: Option<AccessDecision>,
}

impl Authenticator {
    /// Authenticator by `settings`; without `keys` everybody is the same one.
    #[must_use]
    pub fn new(keys: Option<JwtKeys>, store: Store, settings: config::Callers, clock: Clock) -> Self {
        let anonymous = Arc::new(Caller {
            user_id: ANONYMOUS.to_owned(),
            team: None,
            user_limit: None,
            team_limit: None,
            default_inference_profile: None,
            scope: Scope::Inference,
            jti: None,
            expires_at: None,
        });
        Self {
            concurrency: ConcurrencyLimiter::new(settings.most_requests),
            keys,
            store,
            settings,
            clock,
            anonymous,
            known: Mutex::new(Recent::new(TOKENS)),
            event_limiter: RateLimiter::default(),
        }
    }

    /// Who everybody is when authentication is off; `None` when it is on.
    #[must_use]
    pub fn anonymous(&self) -> Option<&Arc<Caller>> {
        self.keys.is_none().then_some(&self.anonymous)
    }

    /// Who bears `token`, and whether they may pass.
    ///
    /// # Errors
    /// When they may not.
    pub async fn authenticate(&self, credential: Credential<'_>) -> AccessDecision {
        let Some(keys) = &self.keys else { return Ok(Arc::clone(&self.anonymous)) };
        let known = self.verified(keys, credential.token())?;
        let mut seen = known.seen.lock().await;
        if seen.asked.is_some_and(|asked| asked.elapsed() < FRESH)
            && let Some(verdict) = &seen.verdict
        {
            return verdict.clone();
        }
        let asked_in_vain = seen.asked.is_some_and(|asked| asked.elapsed() < FRESH);
        if !asked_in_vain {
            let looked = self.look(&known.claims).await;
            seen.asked = Some(Instant::now());
            match looked {
                Ok(verdict) => seen.verdict = Some(verdict),
                Err(error) => {
                    tracing::warn!(%error, "who may pass cannot be looked up; the last that was known counts");
                }
            }
        }
        seen.verdict.clone().unwrap_or_else(|| self.guessed(&known.claims))
    }

    /// The token's claims, from memory or checked now. That it has not expired is checked in either case.
    fn verified(&self, keys: &JwtKeys, token: &str) -> Result<Arc<Known>, TokenError> {
        let now = self.clock.milliseconds().div_euclid(1000);
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash);
        if let Some(known) = known {
            return if keys.is_expired(known.claims.expires_at, now) {
                Err(TokenError::Expired)
            } else {
                Ok(known)
            };
        }
        let claims = keys.verify(token, now)?;
        let known = Arc::new(Known { claims, seen: tokio::sync::Mutex::default() });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, Arc::clone(&known));
        Ok(known)
    }

    /// Asks the database.
    async fn look(&self, claims: &Claims) -> Result<AccessDecision, StoreError> {
        let standing =
            || self.store.lookup_caller(&claims.user_id, claims.team.as_deref(), claims.jti.as_deref());
        let found = standing().await?;
        // Operators need no row: they spend nothing.
        if found.user.is_some() || found.revoked || claims.scope != Scope::Inference {
            return Ok(self.judged(claims, found));
        }
        if !self.settings.provision {
            return Ok(Err(AccessError::UnknownUser(claims.user_id.clone())));
        }
        self.provision(claims).await?;
        Ok(self.judged(claims, standing().await?))
    }

    async fn provision(&self, claims: &Claims) -> Result<(), StoreError> {
        let (user_limit, team_limit) = (self.settings.user_limit, self.settings.team_limit);
        let event = Event {
            id: ids::event_id(),
            kind: "user_provisioned".to_owned(),
            user_id: Some(claims.user_id.clone()),
            team: claims.team.clone(),
            actor: None,
            details: json!({"daily_token_limit": user_limit}),
            at: self.clock.milliseconds(),
        };
        let user_id = &claims.user_id;
        // Without the profile: it is looked for in the row first, and a newer token may name another.
        let new = NewUser { user_id, team: claims.team.as_deref(), profile: None, user_limit, team_limit };
        self.store.provision(&new, &event).await.map(drop)
    }

    /// What claims and rows together say.
    fn judged(&self, claims: &Claims, found: CallerRows) -> AccessDecision {
        if found.revoked {
            return Err(AccessError::Revoked);
        }
        let Some(user) = found.user else { return Ok(self.claimed(claims)) };
        if user.disabled {
            return Err(AccessError::UserDisabled(user.user_id));
        }
        // A token that does not say when it was issued could be of any time.
        let issued_at = claims.issued_at.unwrap_or(0).saturating_mul(1000);
        if user.tokens_valid_from.is_some_and(|from| issued_at < from) {
            return Err(AccessError::Superseded);
        }
        if let Some(team) = found.team.as_ref().filter(|team| team.disabled) {
            return Err(AccessError::TeamDisabled(team.team.clone()));
        }
        let team_limit = found.team.map_or(self.settings.team_limit, |team| team.daily_token_limit);
        Ok(Arc::new(Caller {
            user_id: user.user_id,
            team_limit: user.team.is_some().then_some(team_limit).flatten(),
            team: user.team,
            user_limit: user.daily_token_limit,
            default_inference_profile: user
                .default_inference_profile
                .or_else(|| claims.default_inference_profile.clone()),
            scope: claims.scope,
            jti: claims.jti.clone(),
            expires_at: Some(claims.expires_at),
        }))
    }

    /// What the claims say, with the default limits.
    fn claimed(&self, claims: &Claims) -> Arc<Caller> {
        Arc::new(Caller {
            user_id: claims.user_id.clone(),
            team: claims.team.clone(),
            user_limit: self.settings.user_limit,
            team_limit: claims.team.is_some().then_some(self.settings.team_limit).flatten(),
            default_inference_profile: claims.default_inference_profile.clone(),
            scope: claims.scope,
            jti: claims.jti.clone(),
            expires_at: Some(claims.expires_at),
        })
    }

    /// What to make of somebody about whom the database never said anything while it was there.
    fn guessed(&self, claims: &Claims) -> AccessDecision {
        // An operator's token may be revoked, and needs the database anyway.
        let open = self.settings.open_on_outage && claims.scope == Scope::Inference;
        if open { Ok(self.claimed(claims)) } else { Err(AccessError::StoreUnavailable) }
    }
}
