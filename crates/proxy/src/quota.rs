//! What a request may spend: it reserves what it may need before anything is sent, and what it really took is
//! settled when its answer ends.
//!
//! A [`Grant`] is the permission. It holds a place in the ledger, so that settling it can neither wait nor fail, and
//! it can be settled only once. The reservation behind it is a row in the database, alive as long as this process
//! keeps renewing it; a process that was killed frees what it had reserved by doing nothing.
//!
//! Not here: who the caller is (`callers`), prices (`catalog`), and the statements (`store`).

mod maintenance;
mod period;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::clock::Clock;
use crate::config::{self, Outage};
use crate::ids;
use crate::store::{CallerTotals, Event, Reservation, ReserveOutcome, Store, StoreError, UsageRecord};
use crate::usage::{QueuePermit, UsageRecorder};
pub use period::{Period, Periods};

/// Admits requests.
#[derive(Debug)]
pub struct Quota {
    store: Store,
    recorder: Arc<UsageRecorder>,
    settings: config::Quota,
    periods: Periods,
    clock: Clock,
    /// What this process calls itself in the rows of its reservations.
    holder: String,
    /// The reservations of requests that are open.
    open: Arc<Mutex<HashSet<String>>>,
    /// Whose refusal was recorded when, epoch milliseconds.
    told: Mutex<HashMap<(LimitScope, String), i64>>,
}

/// A refusal is recorded at most once in this many milliseconds for each limit.
const QUIET: i64 = 60_000;
/// How many limits are minded for that.
const MOST_TOLD: usize = 1000;

/// Who pays, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSubject {
    /// The user.
    pub user_id: String,
    /// The user's team.
    pub team: Option<String>,
    /// Tokens a period; `None` is without limit.
    pub user_limit: Option<i64>,
    /// Tokens a period for the whole team; `None` is without limit.
    pub team_limit: Option<i64>,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// One user's.
    User,
    /// That of a team, shared by its members.
    Team,
}

impl LimitScope {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
        }
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of a limit is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// Whose limit.
    pub scope: LimitScope,
    /// The user's or the team's name.
    pub name: String,
    /// Tokens a period.
    pub limit: i64,
    /// Tokens charged in this period.
    pub used: i64,
    /// Tokens reserved by requests that are open.
    pub reserved: i64,
}

impl LimitStatus {
    /// The part of the limit that was used, in hundredths; a limit of 0 is used up.
    #[must_use]
    pub fn percent(&self) -> i64 {
        if self.limit <= 0 { 100 } else { self.used.saturating_mul(100) / self.limit }
    }
}

/// What a request may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEstimate {
    /// Tokens of the prompt, guessed high.
    pub input_tokens: i64,
    /// The most tokens the answer may have.
    pub output_tokens: i64,
}

/// Why a request may not spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitError {
    /// A limit does not allow it.
    LimitExceeded {
        /// The limit. Of two, the one with less room.
        status: LimitStatus,
        /// Tokens the request may need.
        need: i64,
        /// When the limit resets.
        period: Period,
        /// The present, epoch milliseconds.
        now: i64,
    },
    /// The limit cannot be looked up, and is to be closed then.
    StoreUnavailable(LimitScope),
    /// Too many ask at the same time; the limit is there, and so nobody passes without it.
    StoreBusy,
    /// The server ends.
    ShuttingDown,
}

impl AdmitError {
    /// Whether only requests that are open stand in the way: it may pass once they have ended.
    #[must_use]
    pub fn is_blocked_by_reservations(&self) -> bool {
        match self {
            Self::LimitExceeded { status, need, .. } => status.used.saturating_add(*need) <= status.limit,
            Self::StoreUnavailable(_) | Self::StoreBusy | Self::ShuttingDown => false,
        }
    }
}

/// Permission to spend. Settled once, by [`Grant::settle`].
#[derive(Debug)]
pub struct Grant {
    place: QueuePermit,
    /// The id of the receipt and of the reservation.
    id: String,
    payer: QuotaSubject,
    need: TokenEstimate,
    period: Period,
    cache_read_percent: u32,
    at: i64,
    standings: Vec<LimitStatus>,
    /// Only what was really reserved has to be kept alive.
    _hold: Option<LeaseGuard>,
}

/// A reservation that is kept alive for as long as this is.
#[derive(Debug)]
struct LeaseGuard {
    open: Arc<Mutex<HashSet<String>>>,
    id: String,
}

impl LeaseGuard {
    fn new(open: &Arc<Mutex<HashSet<String>>>, id: &str) -> Self {
        open.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Self { open: Arc::clone(open), id: id.to_owned() }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Quota {
    /// Quotas by `settings`.
    #[must_use]
    pub fn new(settings: config::Quota, store: Store, recorder: Arc<UsageRecorder>, clock: Clock) -> Self {
        let periods = Periods::new(settings.schedule.clone());
        Self {
            store,
            recorder,
            settings,
            periods,
            clock,
            holder: ids::holder(),
            open: Arc::default(),
            told: Mutex::default(),
        }
    }

    /// The period that is running.
    #[must_use]
    pub fn period(&self) -> Period {
        self.periods.at(self.clock.milliseconds())
    }

    /// Reserves what request `id` may need, within every limit of `payer` at once. One statement, when there is a
    /// limit at all.
    ///
    /// # Errors
    /// When a limit does not allow it, or cannot be looked up and is to be closed then.
    pub async fn admit(
        &self,
        payer: QuotaSubject,
        id: &str,
        need: TokenEstimate,
    ) -> Result<Grant, AdmitError> {
        let place = self.recorder.reserve_slot().await.ok_or(AdmitError::ShuttingDown)?;
        let now = self.clock.milliseconds();
        let period = self.periods.at(now);
        let limited = payer.user_limit.is_some() || payer.team_limit.is_some();
        let standings = if limited { self.reserve(&payer, id, need, period, now).await? } else { Vec::new() };
        let hold = (!standings.is_empty()).then(|| LeaseGuard::new(&self.open, id));
        let cache_read_percent = self.settings.cache_read_percent;
        let id = id.to_owned();
        Ok(Grant { place, id, payer, need, period, cache_read_percent, at: now, standings, _hold: hold })
    }

    async fn reserve(
        &self,
        payer: &QuotaSubject,
        id: &str,
        need: TokenEstimate,
        period: Period,
        now: i64,
    ) -> Result<Vec<LimitStatus>, AdmitError> {
        let tokens = need.tokens();
        let lease = i64::try_from(self.settings.lease.as_millis()).unwrap_or(i64::MAX);
        let reservation = Reservation {
            id,
            holder: &self.holder,
            user_id: &payer.user_id,
            team: payer.team.as_deref(),
            period: period.start,
            tokens,
            expires_at: now.saturating_add(lease),
            user_limit: payer.user_limit,
            team_limit: payer.team_limit,
            now,
        };
        match self.store.reserve(&reservation).await {
            Ok(ReserveOutcome::Reserved(spent)) => Ok(payer.standings(&spent)),
            Ok(ReserveOutcome::OverLimit(spent)) => {
                let tightest = payer.standings(&spent).into_iter().min_by_key(LimitStatus::room);
                let standing = tightest.ok_or(AdmitError::StoreUnavailable(LimitScope::User))?;
                self.record(&standing, payer, tokens, now);
                Err(AdmitError::LimitExceeded { status: standing, need: tokens, period, now })
            }
            Err(error @ StoreError::Busy(_)) => {
                tracing::warn!(%error, user_id = payer.user_id, "a limit could not be looked up in time");
                Err(AdmitError::StoreBusy)
            }
            Err(error) => {
                tracing::warn!(%error, user_id = payer.user_id, "a limit cannot be looked up");
                self.without_database(payer)
            }
        }
    }

    /// The event of a refusal; once in a while for each limit, however often it refuses.
    fn record(&self, standing: &LimitStatus, payer: &QuotaSubject, need: i64, now: i64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now - *at < QUIET);
        let whose = (standing.scope, standing.name.clone());
        if told.len() >= MOST_TOLD || told.contains_key(&whose) {
            return;
        }
        told.insert(whose, now);
        drop(told);
        self.recorder.record_event(Event {
            id: ids::event_id(),
            kind: "quota_exceeded".to_owned(),
            user_id: Some(payer.user_id.clone()),
            team: payer.team.clone(),
            actor: None,
            details: json!({
                "scope": standing.scope.to_string(),
                "limit": standing.limit,
                "used": standing.used,
                "reserved": standing.reserved,
                "need": need,
            }),
            at: now,
        });
    }

    /// What the limits of `payer` do while nobody can look them up.
    fn without_database(&self, payer: &QuotaSubject) -> Result<Vec<LimitStatus>, AdmitError> {
        let closed = |limit: Option<i64>, policy| limit.is_some() && policy == Outage::Closed;
        if closed(payer.user_limit, self.settings.user_on_outage) {
            return Err(AdmitError::StoreUnavailable(LimitScope::User));
        }
        if closed(payer.team_limit, self.settings.team_on_outage) {
            return Err(AdmitError::StoreUnavailable(LimitScope::Team));
        }
        Ok(Vec::new())
    }
}

impl TokenEstimate {
    /// All of it; at least one token, so that a limit of 0 refuses everything.
    #[must_use]
    pub fn tokens(self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens).max(1)
    }
}

impl LimitStatus {
    fn room(&self) -> i64 {
        self.limit.saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

impl QuotaSubject {
    /// What was spent, for every limit there is.
    fn standings(&self, spent: &CallerTotals) -> Vec<LimitStatus> {
        let user = self.user_limit.map(|limit| LimitStatus {
            scope: LimitScope::User,
            name: self.user_id.clone(),
            limit,
            used: spent.user.used,
            reserved: spent.user.reserved,
        });
        let team = self.team_limit.zip(self.team.clone()).map(|(limit, name)| LimitStatus {
            scope: LimitScope::Team,
            name,
            limit,
            used: spent.team.used,
            reserved: spent.team.reserved,
        });
        user.into_iter().chain(team).collect()
    }
}

impl Grant {
    /// How much of the fullest limit was gone when the request was admitted, and when that resets.
    #[must_use]
    pub fn most_used(&self) -> Option<(&LimitStatus, Period)> {
        let fullest = self.standings.iter().max_by_key(|standing| standing.percent());
        fullest.map(|standing| (standing, self.period))
    }

    /// The tokens that were estimated before the request was sent.
    #[must_use]
    pub fn estimate(&self) -> TokenEstimate {
        self.need
    }

    /// The percentage of a token read from the cache that counts towards a limit.
    #[must_use]
    pub fn cache_read_percent(&self) -> u32 {
        self.cache_read_percent
    }

    /// Charges the request: `fill` completes a record of who pays, from which period and since when.
    pub fn settle(self, fill: impl FnOnce(&mut UsageRecord)) {
        let mut record = UsageRecord {
            id: self.id.clone(),
            request_id: self.id,
            attempt: 1,
            user_id: self.payer.user_id,
            team: self.payer.team,
            period: self.period.start,
            at: self.at,
            ..UsageRecord::default()
        };
        fill(&mut record);
        self.place.settle(record);
    }
}
