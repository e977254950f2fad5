//! Callers: the claims of a token combined with the rows of its user and team, cached.
//!
//! Rows take precedence over claims, because a token can be old: team, limits, disabled users, revoked tokens. The rows of
//! a token are looked up at most every two seconds, so that a change takes effect within that time on every replica,
//! and most requests need no round trip. While the database is unavailable, the last decision stays in force, or with
//! `AUTH_ON_OUTAGE=closed` none does.
//!
//! Not here: signatures (`jwt`), headers (`credential`), and limits (`quota`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::lru::LruCache;
use super::{
    AccessError, AuditEventLimiter, Claims, ConcurrencyLimiter, ConcurrencyPermit, Credential, JwtKeys,
    Known, RejectionList, Scope, TokenError, TokenUse,
};
use crate::clock::Clock;
use crate::config::{self, AuthOnOutage};
use crate::store::{AuditEvent, CallerRows, ClaimedUser, OutageLog, Store, StoreError, TokenLimit};

/// How long a decision is cached: the delay until a revocation takes effect, which `docs/operations.md` promises.
const DECISION_TTL: Duration = Duration::from_secs(2);
/// Maximum number of cached tokens: some 10 MB.
const MAX_CACHED_TOKENS: usize = 20_000;
/// Maximum number of users whose last rows are cached: some 10 MB.
const MAX_CACHED_USERS: usize = 20_000;
/// Longest time before the expiry of a token in which responses warn of it: three days.
const MAX_EXPIRY_WARNING_SECONDS: i64 = 3 * 86_400;
/// User that is charged when authentication is off.
const ANONYMOUS: &str = "anonymous";

/// Authenticated sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// User that is charged.
    pub(crate) user_id: String,
    /// Team that is charged as well.
    pub(crate) team: Option<String>,
    /// Limit of the user in tokens per quota period; `None` is unlimited.
    pub(crate) user_limit: Option<i64>,
    /// Limit of the team in tokens per quota period; `None` is unlimited.
    pub(crate) team_limit: Option<i64>,
    /// Limit of the token itself; `None` is unlimited.
    pub(crate) token_limit: Option<TokenLimit>,
    /// Inference profile used for requests to the model that it serves.
    pub(crate) default_inference_profile: Option<String>,
    /// Scope of the token.
    pub(crate) scope: Scope,
    /// Id of the token.
    pub(crate) jti: Option<String>,
    /// Issue of the token in seconds since the epoch, if it states that.
    pub(crate) issued_at: Option<i64>,
    /// Expiry of the token in seconds since the epoch; `None` without authentication.
    pub(crate) expires_at: Option<i64>,
}

impl Caller {
    /// Whether the caller was not authenticated because authentication is off.
    #[must_use]
    pub(crate) fn is_anonymous(&self) -> bool {
        self.expires_at.is_none()
    }

    /// Expiry of the token in seconds since the epoch, if it is near `now`: in the last tenth of the token's life.
    #[must_use]
    pub(crate) fn near_expiry(&self, now: i64) -> Option<i64> {
        let (issued_at, expires_at) = (self.issued_at?, self.expires_at?);
        let warning = (expires_at.saturating_sub(issued_at) / 10).min(MAX_EXPIRY_WARNING_SECONDS);
        (expires_at.saturating_sub(now) <= warning).then_some(expires_at)
    }
}

/// Caller of one request, with its permit.
#[derive(Debug)]
pub(crate) struct Authenticated {
    /// The caller.
    pub(crate) caller: Arc<Caller>,
    /// Permit of a request for inference; `None` without authentication and for other requests.
    #[expect(dead_code, reason = "its drop ends the request")]
    pub(crate) permit: Option<ConcurrencyPermit>,
}

/// The caller, or the reason why the request is rejected.
pub(crate) type AccessDecision = Result<Arc<Caller>, AccessError>;

/// Authentication of requests.
#[derive(Debug)]
pub struct Authenticator {
    keys: Option<JwtKeys>,
    store: Store,
    config: config::CallerConfig,
    clock: Clock,
    anonymous: Arc<Caller>,
    /// Caller of requests without a token, in the demo.
    guest: Option<Arc<Caller>>,
    /// Verified tokens by their SHA-256.
    tokens: Mutex<LruCache<[u8; 32], Arc<CachedToken>>>,
    /// Last rows of users by their name, for their other tokens while the database is unavailable.
    users: Mutex<LruCache<String, CallerRows>>,
    /// Look-ups that failed because the database was unavailable.
    failed_lookups: OutageLog,
    /// What is rejected, for tokens that were not looked up yet while the database is unavailable.
    rejections: Arc<RejectionList>,
    /// When tokens were used last.
    pub(crate) token_use: TokenUse,
    /// Limits the rate of events about rejected requests.
    pub(crate) event_limiter: AuditEventLimiter,
    /// Limits the open requests of each user.
    pub concurrency: ConcurrencyLimiter,
}

/// A verified token, and the last decision about its user.
#[derive(Debug)]
struct CachedToken {
    claims: Claims,
    /// Locked during a lookup, so that concurrent requests wait for the same one.
    decision: tokio::sync::Mutex<CachedDecision>,
}

#[derive(Debug, Default)]
struct CachedDecision {
    /// Instant of the last lookup, successful or not.
    looked_up_at: Option<Instant>,
    /// Decision after the last successful lookup.
    decision: Option<AccessDecision>,
    /// Whether the last lookup failed.
    is_unchecked: bool,
}

impl Authenticator {
    /// Authenticator by `settings`; without `keys` all clients are one caller.
    #[must_use]
    pub(crate) fn new(
        keys: Option<JwtKeys>,
        store: Store,
        rejections: Arc<RejectionList>,
        config: config::CallerConfig,
        clock: Clock,
    ) -> Self {
        if let Some(keys) = keys.clone() {
            store.set_name_digests(move |name| keys.name_digests(name));
        }
        let anonymous = |user_id: &str| {
            Arc::new(Caller {
                user_id: user_id.to_owned(),
                team: None,
                user_limit: None,
                team_limit: None,
                token_limit: None,
                default_inference_profile: None,
                scope: Scope::Inference,
                jti: None,
                issued_at: None,
                expires_at: None,
            })
        };
        let guest = config.guest.as_deref().map(anonymous);
        Self {
            concurrency: ConcurrencyLimiter::new(config.max_concurrent_requests),
            keys,
            store,
            config,
            clock,
            anonymous: anonymous(ANONYMOUS),
            guest,
            tokens: Mutex::new(LruCache::new(MAX_CACHED_TOKENS)),
            users: Mutex::new(LruCache::new(MAX_CACHED_USERS)),
            failed_lookups: OutageLog::concurrent(),
            rejections,
            token_use: TokenUse::default(),
            event_limiter: AuditEventLimiter::default(),
        }
    }

    /// The anonymous caller when authentication is off; `None` when it is on.
    #[must_use]
    pub(crate) fn anonymous(&self) -> Option<&Arc<Caller>> {
        self.keys.is_none().then_some(&self.anonymous)
    }

    /// Whether some requests are served without authentication.
    #[must_use]
    pub(crate) fn serves_anonymous(&self) -> bool {
        self.keys.is_none() || self.guest.is_some()
    }

    /// The guest, when guests are served and the request has nothing that looks like one of our tokens. An invalid token is
    /// never a guest: its request is rejected.
    #[must_use]
    pub(crate) fn guest(&self, credential: &Result<Credential<'_>, TokenError>) -> Option<&Arc<Caller>> {
        let is_token = match credential {
            // As a JWT. API keys that clients want to be set have other shapes.
            Ok(credential) => credential.token().split('.').count() == 3,
            Err(error) => matches!(error, TokenError::Conflicting | TokenError::Repeated(_)),
        };
        self.guest.as_ref().filter(|_| !is_token)
    }

    /// The caller of requests of the proxy itself, such as those of the doctor.
    pub(crate) fn anonymous_caller(&self) -> Arc<Caller> {
        Arc::clone(&self.anonymous)
    }

    /// A permit for one more inference request of `caller`; `None` without authentication, as callers cannot be
    /// distinguished then.
    ///
    /// # Errors
    /// [`AccessError::TooManyRequests`].
    pub(crate) fn acquire(&self, caller: &Caller) -> Result<Option<ConcurrencyPermit>, AccessError> {
        if caller.is_anonymous() {
            return Ok(None);
        }
        let denied = || AccessError::TooManyRequests {
            user_id: caller.user_id.clone(),
            max: self.concurrency.max_per_user(),
        };
        self.concurrency.try_acquire(&caller.user_id).ok_or_else(denied).map(Some)
    }

    /// Authenticates `credential`.
    ///
    /// # Errors
    /// When the token is invalid, expired or revoked, the user or team is disabled or unknown, or the database is
    /// unavailable and the configuration denies access then.
    pub(crate) async fn authenticate(&self, credential: Credential<'_>) -> AccessDecision {
        let Some(keys) = &self.keys else { return Ok(Arc::clone(&self.anonymous)) };
        let token = self.verified(keys, credential.token())?;
        let mut cached = token.decision.lock().await;
        let is_fresh = cached.looked_up_at.is_some_and(|at| at.elapsed() < DECISION_TTL);
        if !is_fresh {
            // Boxed: a large and rare future, which the future of every request would have room for.
            let decision = Box::pin(self.look_up(&token.claims)).await;
            cached.looked_up_at = Some(Instant::now());
            cached.is_unchecked = decision.is_err();
            match decision {
                Ok(decision) => {
                    cached.decision = Some(decision);
                    if let Some(lookups) = self.failed_lookups.ended() {
                        tracing::info!(lookups, "users and tokens are checked again; these look-ups failed");
                    }
                }
                Err(error) if self.failed_lookups.failed() => {
                    tracing::warn!(%error, "users and tokens cannot be checked; AUTH_ON_OUTAGE decides");
                }
                Err(_) => {}
            }
        }
        if cached.is_unchecked && self.config.on_outage == AuthOnOutage::Closed {
            return Err(AccessError::StoreUnavailable);
        }
        let decision = cached.decision.clone().unwrap_or_else(|| self.last_known_decision(&token.claims));
        if let (Ok(_), Some(jti)) = (&decision, &token.claims.jti) {
            self.token_use.record(jti, self.clock.milliseconds());
        }
        decision
    }

    /// Logs what an outage at the start means for access. Returns a sentence for the operator if tokens are accepted that
    /// may have been revoked.
    pub(crate) fn report_start_without_database(&self) -> Option<&'static str> {
        if self.keys.is_none() || self.config.on_outage == AuthOnOutage::Closed {
            return None;
        }
        match self.rejections.known() {
            Known::Nothing => {
                tracing::error!(
                    event = "rejections_unknown",
                    "the database is unavailable, and DATA_DIR has no list of revoked tokens and disabled users: tokens are \
                     accepted by their signature until the database was read; AUTH_ON_OUTAGE=closed rejects them"
                );
                Some(
                    "the database is unavailable, and revoked tokens and disabled users are not known: they are accepted",
                )
            }
            Known::Unreadable => None,
            Known::List(_) => {
                let age_s = self.rejections.age().unwrap_or_default().as_secs();
                tracing::warn!(
                    event = "rejections_last_known",
                    age_s,
                    "the database is unavailable; revoked tokens and disabled users are those of the list in DATA_DIR"
                );
                None
            }
        }
    }

    /// Verifies a token, or takes it from the cache. Its expiry is checked in both cases.
    fn verified(&self, keys: &JwtKeys, token: &str) -> Result<Arc<CachedToken>, TokenError> {
        let now = self.clock.milliseconds().div_euclid(1000);
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let cached = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&hash);
        if let Some(cached) = cached {
            return if keys.is_expired(cached.claims.expires_at, now) {
                Err(TokenError::Expired)
            } else {
                Ok(cached)
            };
        }
        let claims = keys.verify(token, now)?;
        let cached = Arc::new(CachedToken { claims, decision: tokio::sync::Mutex::default() });
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, Arc::clone(&cached));
        Ok(cached)
    }

    /// Looks up the rows of the user, and inserts them for a new one.
    async fn look_up(&self, claims: &Claims) -> Result<AccessDecision, StoreError> {
        let lookup =
            || self.store.lookup_caller(&claims.user_id, claims.team.as_deref(), claims.jti.as_deref());
        let rows = lookup().await?;
        // Operators need no row: they use no tokens.
        if rows.user.is_some() || rows.revoked || claims.scope != Scope::Inference {
            return Ok(self.remember_and_decide(claims, rows));
        }
        if !self.config.new_users.get().provision {
            return Ok(Err(AccessError::UnknownUser(claims.user_id.clone())));
        }
        if self.store.is_erased(&claims.user_id).await? {
            return Ok(Err(AccessError::Revoked { user_id: None }));
        }
        self.provision(claims).await?;
        Ok(self.remember_and_decide(claims, lookup().await?))
    }

    /// Caches the rows of the user, and decides by them.
    fn remember_and_decide(&self, claims: &Claims, rows: CallerRows) -> AccessDecision {
        if rows.user.is_some() {
            // Only this token is revoked or limited, not the others of the user.
            let rows = CallerRows { revoked: false, token_limit: None, ..rows.clone() };
            self.cached_users().insert(claims.user_id.clone(), rows);
        }
        self.decide(claims, rows)
    }

    fn cached_users(&self) -> MutexGuard<'_, LruCache<String, CallerRows>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn provision(&self, claims: &Claims) -> Result<(), StoreError> {
        let new_users = &self.config.new_users.get();
        let (user_limit, team_limit) = (new_users.user_limit, new_users.team_limit);
        let (user_id, team) = (&claims.user_id, claims.team.as_deref());
        let event = AuditEvent::user_provisioned(user_id, team, new_users, self.clock.milliseconds());
        // Without the profile: the row takes precedence, and a newer token may name another.
        let new = ClaimedUser { user_id, team, profile: None, user_limit, team_limit };
        self.store.provision(&new, &event).await.map(drop)
    }

    /// Decides by claims and rows.
    fn decide(&self, claims: &Claims, rows: CallerRows) -> AccessDecision {
        if rows.revoked {
            return Err(AccessError::Revoked { user_id: rows.user.map(|user| user.user_id) });
        }
        let Some(user) = rows.user else { return Ok(self.caller_from_claims(claims)) };
        if user.disabled {
            return Err(AccessError::UserDisabled(user.user_id));
        }
        // A token without `iat` may be of any age.
        let issued_at = claims.issued_at.unwrap_or(0).saturating_mul(1000);
        if user.tokens_valid_from.is_some_and(|from| issued_at < from) {
            return Err(AccessError::Superseded { user_id: user.user_id });
        }
        if let Some(team) = rows.team.as_ref().filter(|team| team.disabled) {
            return Err(AccessError::TeamDisabled(team.team.clone()));
        }
        let team_limit =
            rows.team.map_or(self.config.new_users.get().team_limit, |team| team.daily_token_limit);
        Ok(Arc::new(Caller {
            user_id: user.user_id,
            team_limit: user.team.is_some().then_some(team_limit).flatten(),
            team: user.team,
            user_limit: user.daily_token_limit,
            token_limit: rows.token_limit,
            default_inference_profile: user
                .default_inference_profile
                .or_else(|| claims.default_inference_profile.clone()),
            scope: claims.scope,
            jti: claims.jti.clone(),
            issued_at: claims.issued_at,
            expires_at: Some(claims.expires_at),
        }))
    }

    /// Makes a caller of the claims, with the default limits.
    fn caller_from_claims(&self, claims: &Claims) -> Arc<Caller> {
        Arc::new(Caller {
            user_id: claims.user_id.clone(),
            team: claims.team.clone(),
            user_limit: self.config.new_users.get().user_limit,
            team_limit: claims.team.is_some().then_some(self.config.new_users.get().team_limit).flatten(),
            token_limit: None,
            default_inference_profile: claims.default_inference_profile.clone(),
            scope: claims.scope,
            jti: claims.jti.clone(),
            issued_at: claims.issued_at,
            expires_at: Some(claims.expires_at),
        })
    }

    /// Decides about a token whose rows were never looked up, while the database is unavailable: by the list of what is
    /// rejected, then by the last rows of its user, else by its claims, if new users are provisioned.
    fn last_known_decision(&self, claims: &Claims) -> AccessDecision {
        // The operations of an admin token need the database anyway.
        if claims.scope != Scope::Inference {
            return Err(AccessError::StoreUnavailable);
        }
        self.rejections.check(claims)?;
        let rows = self.cached_users().get(&claims.user_id);
        match rows {
            Some(rows) => self.decide(claims, rows),
            None if self.config.new_users.get().provision => Ok(self.caller_from_claims(claims)),
            None => Err(AccessError::StoreUnavailable),
        }
    }
}
