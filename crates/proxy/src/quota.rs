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
use crate::store::{Event, Receipt, Reservation, Reserved, Store, StoreError, Tallies};
use crate::usage::{Ledger, Place};
pub use period::{Period, Periods};

/// Admits requests.
#[derive(Debug)]
pub struct Quota {
    store: Store,
    ledger: Arc<Ledger>,
    settings: config::Quota,
    periods: Periods,
    clock: Clock,
    /// What this process calls itself in the rows of its reservations.
    holder: String,
    /// The reservations of requests that are open.
    open: Arc<Mutex<HashSet<String>>>,
    /// Whose refusal was recorded when, epoch milliseconds.
    told: Mutex<HashMap<(Scope, String), i64>>,
}

/// A refusal is recorded at most once in this many milliseconds for each limit.
const QUIET: i64 = 60_000;
/// How many limits are minded for that.
const MOST_TOLD: usize = 1000;

/// Who pays, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payer {
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
pub enum Scope {
    /// One user's.
    User,
    /// That of a team, shared by its members.
    Team,
}

impl Scope {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of a limit is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose limit.
    pub scope: Scope,
    /// The user's or the team's name.
    pub name: String,
    /// Tokens a period.
    pub limit: i64,
    /// Tokens charged in this period.
    pub used: i64,
    /// Tokens reserved by requests that are open.
    pub reserved: i64,
}

impl Standing {
    /// The part of the limit that was used, in hundredths; a limit of 0 is used up.
    #[must_use]
    pub fn percent(&self) -> i64 {
        if self.limit <= 0 { 100 } else { self.used.saturating_mul(100) / self.limit }
    }
}

/// What a request may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Tokens of the prompt, guessed high.
    pub input: i64,
    /// The most tokens the answer may have.
    pub output: i64,
}

/// Why a request may not spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A limit does not allow it.
    Exhausted {
        /// The limit. Of two, the one with less room.
        standing: Standing,
        /// Tokens the request may need.
        need: i64,
        /// When the limit resets.
        period: Period,
        /// The present, epoch milliseconds.
        now: i64,
    },
    /// The limit cannot be looked up, and is to be closed then.
    Away(Scope),
    /// Too many ask at the same time; the limit is there, and so nobody passes without it.
    Busy,
    /// The server ends.
    Ending,
}

impl Denied {
    /// Whether only requests that are open stand in the way: it may pass once they have ended.
    #[must_use]
    pub fn passes_soon(&self) -> bool {
        match self {
            Self::Exhausted { standing, need, .. } => standing.used.saturating_add(*need) <= standing.limit,
            Self::Away(_) | Self::Busy | Self::Ending => false,
        }
    }
}

/// Permission to spend. Settled once, by [`Grant::settle`].
#[derive(Debug)]
pub struct Grant {
    place: Place,
    /// The id of the receipt and of the reservation.
    id: String,
    payer: Payer,
    need: Need,
    period: Period,
    cache_read_percent: u32,
    at: i64,
    standings: Vec<Standing>,
    /// Only what was really reserved has to be kept alive.
    _hold: Option<Hold>,
}

/// A reservation that is kept alive for as long as this is.
#[derive(Debug)]
struct Hold {
    open: Arc<Mutex<HashSet<String>>>,
    id: String,
}

impl Hold {
    fn new(open: &Arc<Mutex<HashSet<String>>>, id: &str) -> Self {
        open.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Self { open: Arc::clone(open), id: id.to_owned() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// The facts of a receipt that come from the payer.
#[derive(Clone, Debug)]
pub struct Bill {
    /// The receipt with everything the grant knows; the rest is for the caller to fill in.
    pub receipt: Receipt,
    /// Tokens that were reserved.
    pub need: Need,
    /// How much of a token read from the cache counts.
    pub cache_read_percent: u32,
}

impl Quota {
    /// Quotas by `settings`.
    #[must_use]
    pub fn new(settings: config::Quota, store: Store, ledger: Arc<Ledger>, clock: Clock) -> Self {
        let periods = Periods::new(settings.schedule.clone());
        Self {
            store,
            ledger,
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
    pub async fn admit(&self, payer: Payer, id: &str, need: Need) -> Result<Grant, Denied> {
        let place = self.ledger.place().await.ok_or(Denied::Ending)?;
        let now = self.clock.milliseconds();
        let period = self.periods.at(now);
        let limited = payer.user_limit.is_some() || payer.team_limit.is_some();
        let standings = if limited { self.reserve(&payer, id, need, period, now).await? } else { Vec::new() };
        let hold = (!standings.is_empty()).then(|| Hold::new(&self.open, id));
        let cache_read_percent = self.settings.cache_read_percent;
        let id = id.to_owned();
        Ok(Grant { place, id, payer, need, period, cache_read_percent, at: now, standings, _hold: hold })
    }

    async fn reserve(
        &self,
        payer: &Payer,
        id: &str,
        need: Need,
        period: Period,
        now: i64,
    ) -> Result<Vec<Standing>, Denied> {
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
            Ok(Reserved::Granted(spent)) => Ok(payer.standings(&spent)),
            Ok(Reserved::Refused(spent)) => {
                let tightest = payer.standings(&spent).into_iter().min_by_key(Standing::room);
                let standing = tightest.ok_or(Denied::Away(Scope::User))?;
                self.record(&standing, payer, tokens, now);
                Err(Denied::Exhausted { standing, need: tokens, period, now })
            }
            Err(error @ StoreError::Busy(_)) => {
                tracing::warn!(%error, user_id = payer.user_id, "a limit could not be looked up in time");
                Err(Denied::Busy)
            }
            Err(error) => {
                tracing::warn!(%error, user_id = payer.user_id, "a limit cannot be looked up");
                self.without_database(payer)
            }
        }
    }

    /// The event of a refusal; once in a while for each limit, however often it refuses.
    fn record(&self, standing: &Standing, payer: &Payer, need: i64, now: i64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now - *at < QUIET);
        let whose = (standing.scope, standing.name.clone());
        if told.len() >= MOST_TOLD || told.contains_key(&whose) {
            return;
        }
        told.insert(whose, now);
        drop(told);
        self.ledger.event(Event {
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
    fn without_database(&self, payer: &Payer) -> Result<Vec<Standing>, Denied> {
        let closed = |limit: Option<i64>, policy| limit.is_some() && policy == Outage::Closed;
        if closed(payer.user_limit, self.settings.user_on_outage) {
            return Err(Denied::Away(Scope::User));
        }
        if closed(payer.team_limit, self.settings.team_on_outage) {
            return Err(Denied::Away(Scope::Team));
        }
        Ok(Vec::new())
    }
}

impl Need {
    /// All of it; at least one token, so that a limit of 0 refuses everything.
    #[must_use]
    pub fn tokens(self) -> i64 {
        self.input.saturating_add(self.output).max(1)
    }
}

impl Standing {
    fn room(&self) -> i64 {
        self.limit.saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

impl Payer {
    /// What was spent, for every limit there is.
    fn standings(&self, spent: &Tallies) -> Vec<Standing> {
        let user = self.user_limit.map(|limit| Standing {
            scope: Scope::User,
            name: self.user_id.clone(),
            limit,
            used: spent.user.used,
            reserved: spent.user.reserved,
        });
        let team = self.team_limit.zip(self.team.clone()).map(|(limit, name)| Standing {
            scope: Scope::Team,
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
    pub fn fullest(&self) -> Option<(&Standing, Period)> {
        let fullest = self.standings.iter().max_by_key(|standing| standing.percent());
        fullest.map(|standing| (standing, self.period))
    }

    /// Ends the permission with what it came to: `fill` completes the receipt.
    pub fn settle(self, fill: impl FnOnce(&mut Bill)) {
        let receipt = Receipt {
            id: self.id.clone(),
            request_id: self.id,
            attempt: 1,
            user_id: self.payer.user_id,
            team: self.payer.team,
            period: self.period.start,
            at: self.at,
            ..Receipt::default()
        };
        let mut bill = Bill { receipt, need: self.need, cache_read_percent: self.cache_read_percent };
        fill(&mut bill);
        self.place.settle(bill.receipt);
    }
}
