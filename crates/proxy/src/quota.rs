//! Quotas: a request reserves the tokens that it may use before it is sent; when it ends, the tokens that it used are
//! settled.
//!
//! A [`Grant`] is the permission. It holds a slot of the usage queue, so that settling can neither wait nor fail, and it
//! is settled once. The reservation behind it is a row in the database with a lease that this process renews; the
//! reservations of a killed process expire.
//!
//! Not here: authentication (`auth`), prices (`catalog`), and statements (`store`).

mod maintenance;
mod period;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::clock::Clock;
use crate::config::{self, FailMode};
use crate::ids;
use crate::store::{
    AuditEvent, CallerTotals, OutageLog, Reservation, ReserveOutcome, Store, StoreError, TokenLimit,
    UsageRecord,
};
use crate::usage::{BATCH_WINDOW, QueuePermit, SlotError, UsageRecorder};
pub(crate) use period::{Period, Periods};

/// Admission of requests.
#[derive(Debug)]
pub struct Quota {
    store: Store,
    recorder: Arc<UsageRecorder>,
    config: config::QuotaConfig,
    periods: Periods,
    clock: Clock,
    /// Name of this process in the rows of its reservations.
    holder: String,
    /// Ids of the reservations of open requests.
    open: Arc<Mutex<HashSet<String>>>,
    /// Instant of the last event of each limit, epoch milliseconds.
    last_reported: Mutex<HashMap<(LimitScope, String), i64>>,
    /// Requests whose limits were not checked because the database was unavailable.
    unchecked: OutageLog,
    /// Requests whose limits were not checked in time.
    late: OutageLog,
    /// Failed renewals of leases, and failed records of resets.
    renewals: OutageLog,
    resets: OutageLog,
}

/// Shortest time in milliseconds between two events of one limit: clients repeat denied requests every few seconds.
const REPORT_INTERVAL_MS: i64 = 60_000;
/// How long a request that only reservations block waits, once: a client that sends one request after another would be
/// denied for its own last one, which has ended and is in the next batch.
const SETTLE_TIME: Duration = BATCH_WINDOW.saturating_mul(2);
/// Maximum number of limits with events in one interval, so that the map stays below 100 KB.
const MAX_REPORTED: usize = 1000;

/// User, team and token that are charged, with their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QuotaSubject {
    /// User.
    pub(crate) user_id: String,
    /// Team of the user.
    pub(crate) team: Option<String>,
    /// Limit of the user in tokens per period; `None` is unlimited.
    pub(crate) user_limit: Option<i64>,
    /// Limit of the team in tokens per period; `None` is unlimited.
    pub(crate) team_limit: Option<i64>,
    /// Id of the token and its limit, if it has one.
    pub(crate) token_limit: Option<(String, TokenLimit)>,
}

/// Kind of the limit's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LimitScope {
    /// Limit of one user.
    User,
    /// Limit of a team, shared by its users.
    Team,
    /// Limit of one token of a user.
    Token,
}

impl LimitScope {
    /// Name in metrics and events.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Token => "token",
        }
    }
}

impl fmt::Display for LimitScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Usage of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LimitStatus {
    /// Kind of the limit's owner.
    pub(crate) scope: LimitScope,
    /// Name of the user or team, or id of the token.
    pub(crate) name: String,
    /// Label of the token, if it has one.
    pub(crate) label: Option<Box<str>>,
    /// Limit in tokens per period.
    pub(crate) limit: i64,
    /// Tokens charged in the period.
    pub(crate) used: i64,
    /// Tokens reserved by open requests.
    pub(crate) reserved: i64,
}

impl LimitStatus {
    /// Used share of the limit in percent; a limit of 0 is 100 % used.
    #[must_use]
    pub(crate) fn percent(&self) -> i64 {
        if self.limit <= 0 { 100 } else { self.used.saturating_mul(100) / self.limit }
    }

    /// The owner in a sentence, such as `user "ana"` or `token "ci" (tok_1)`.
    #[must_use]
    pub(crate) fn owner(&self) -> String {
        match &self.label {
            Some(label) => format!("{} {label:?} ({})", self.scope, self.name),
            None => format!("{} {:?}", self.scope, self.name),
        }
    }
}

/// Estimate of the tokens of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenEstimate {
    /// Maximum tokens of the prompt.
    pub(crate) input_tokens: i64,
    /// Minimum tokens of the prompt: less than the maximum where it holds documents whose length cannot be seen.
    pub(crate) min_input_tokens: i64,
    /// Maximum tokens of the response.
    pub(crate) output_tokens: i64,
}

/// Reason why a request is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdmitError {
    /// A limit would be exceeded.
    LimitExceeded {
        /// Status of the limit; of two, the one with fewer tokens left.
        status: LimitStatus,
        /// Tokens that the request may use.
        need: i64,
        /// Tokens that have to be left for the request to be admitted.
        min_need: i64,
        /// Period of the limit.
        period: Period,
        /// Current time, epoch milliseconds.
        now: i64,
    },
    /// The limit cannot be checked, and is configured to deny then.
    StoreUnavailable(LimitScope),
    /// The database responds, but not in time: the limit exists, so the request cannot be admitted without it.
    StoreBusy,
    /// No more usage records can wait for the database.
    QueueFull,
    /// The server is shutting down.
    ShuttingDown,
}

impl AdmitError {
    /// Whether the limit is exceeded only by reservations, so that the request may be admitted once they are settled.
    #[must_use]
    pub(crate) fn is_blocked_by_reservations(&self) -> bool {
        match self {
            Self::LimitExceeded { status, min_need, .. } => {
                status.used.saturating_add(*min_need) <= status.limit
            }
            Self::StoreUnavailable(_) | Self::StoreBusy | Self::QueueFull | Self::ShuttingDown => false,
        }
    }
}

/// Permission to use tokens. Settled once, by [`Grant::settle`].
#[derive(Debug)]
pub(crate) struct Grant {
    permit: QueuePermit,
    /// Id of the usage record and of the reservation.
    id: String,
    subject: QuotaSubject,
    period: Period,
    cache_read_percent: u32,
    /// Instant of admission, epoch milliseconds.
    at: i64,
    limits: Vec<LimitStatus>,
    /// `None` when nothing was reserved.
    _lease: Option<LeaseGuard>,
}

/// Guard of a reservation whose lease is renewed until the guard is dropped.
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
    /// Quotas by `config`.
    #[must_use]
    pub(crate) fn new(
        config: config::QuotaConfig,
        store: Store,
        recorder: Arc<UsageRecorder>,
        clock: Clock,
    ) -> Self {
        let periods = Periods::new(config.schedule.clone());
        Self {
            store,
            recorder,
            config,
            periods,
            clock,
            holder: ids::holder(),
            open: Arc::default(),
            last_reported: Mutex::default(),
            unchecked: OutageLog::concurrent(),
            late: OutageLog::concurrent(),
            renewals: OutageLog::serial(),
            resets: OutageLog::serial(),
        }
    }

    /// Current period.
    #[must_use]
    pub fn period(&self) -> Period {
        self.periods.at(self.clock.milliseconds())
    }

    /// Reserves the estimated tokens of request `id` within all limits of `subject` at once. One statement if there is a
    /// limit, none otherwise.
    ///
    /// # Errors
    /// When a limit would be exceeded, or cannot be checked and is configured to deny then.
    pub(crate) async fn admit(
        &self,
        subject: QuotaSubject,
        id: &str,
        estimate: TokenEstimate,
    ) -> Result<Grant, AdmitError> {
        let permit = self.recorder.reserve_slot().await.map_err(|error| match error {
            SlotError::Full => AdmitError::QueueFull,
            SlotError::ShuttingDown => AdmitError::ShuttingDown,
        })?;
        let now = self.clock.milliseconds();
        let period = self.periods.at(now);
        let limits = if subject.is_limited() {
            self.reserve(&subject, id, estimate, period, now).await?
        } else {
            Vec::new()
        };
        let lease = (!limits.is_empty()).then(|| LeaseGuard::new(&self.open, id));
        let cache_read_percent = self.config.cache_read_percent;
        let id = id.to_owned();
        Ok(Grant { permit, id, subject, period, cache_read_percent, at: now, limits, _lease: lease })
    }

    async fn reserve(
        &self,
        subject: &QuotaSubject,
        id: &str,
        estimate: TokenEstimate,
        period: Period,
        now: i64,
    ) -> Result<Vec<LimitStatus>, AdmitError> {
        let lease_ms = i64::try_from(self.config.lease.as_millis()).unwrap_or(i64::MAX);
        let mut reservation = Reservation {
            id,
            holder: &self.holder,
            user_id: &subject.user_id,
            team: subject.team.as_deref(),
            period: period.start,
            tokens: estimate.total(),
            expires_at: now.saturating_add(lease_ms),
            user_limit: subject.user_limit,
            team_limit: subject.team_limit,
            token: subject.token_limit.as_ref().map(|(jti, token)| (jti.as_str(), token.limit)),
            now,
        };
        let mut has_waited = false;
        loop {
            let outcome = self.store.reserve(&reservation).await;
            if outcome.is_ok() {
                self.log_end_of_outages();
            }
            match outcome {
                Ok(ReserveOutcome::Reserved(totals)) => return Ok(subject.limits(&totals)),
                Ok(ReserveOutcome::OverLimit(totals)) => {
                    let tightest = subject.limits(&totals).into_iter().min_by_key(LimitStatus::remaining);
                    let status = tightest.ok_or(AdmitError::StoreUnavailable(LimitScope::User))?;
                    // A guess reserves all that is left, so that no other request runs beside it; each time it is less.
                    let left = status.remaining();
                    if (estimate.min_total()..reservation.tokens).contains(&left) {
                        reservation.tokens = left;
                        continue;
                    }
                    let (need, min_need) = (estimate.total(), estimate.min_total());
                    let denied = AdmitError::LimitExceeded { status, need, min_need, period, now };
                    if denied.is_blocked_by_reservations() && !has_waited {
                        has_waited = true;
                        reservation.tokens = need;
                        tokio::time::sleep(SETTLE_TIME).await;
                        continue;
                    }
                    self.report_exceeded(&denied, subject);
                    return Err(denied);
                }
                // A database that is being migrated is reached and known to come back, so it is no outage.
                Err(error) if matches!(error, StoreError::Busy(_)) || self.store.is_migrating() => {
                    if self.late.failed() {
                        tracing::warn!(%error, "limits cannot be checked in time; requests get a 529");
                    }
                    return Err(AdmitError::StoreBusy);
                }
                Err(error) => {
                    if self.unchecked.failed() {
                        self.log_outage(&error);
                    }
                    return self.outage_decision(subject);
                }
            }
        }
    }

    /// Logs that limits cannot be checked from here on.
    fn log_outage(&self, error: &StoreError) {
        if self.config.on_outage == FailMode::Closed {
            let message = "limits cannot be checked while the database is unavailable; limits that fail closed deny requests";
            tracing::warn!(%error, "{message}");
        } else {
            tracing::warn!(%error, "limits are not enforced while the database is unavailable");
        }
    }

    /// Logs, once, that limits are checked again.
    fn log_end_of_outages(&self) {
        if let Some(requests) = self.unchecked.ended() {
            tracing::info!(requests, "limits are enforced again; these requests were not checked");
        }
        if let Some(requests) = self.late.ended() {
            tracing::info!(requests, "limits are checked in time again; these requests got a 529");
        }
    }

    /// Records an event for an exceeded limit, at most one per limit and [`REPORT_INTERVAL_MS`].
    fn report_exceeded(&self, denied: &AdmitError, subject: &QuotaSubject) {
        let AdmitError::LimitExceeded { status, need, now, .. } = denied else { return };
        let now = *now;
        let mut reported = self.last_reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.retain(|_, at| now - *at < REPORT_INTERVAL_MS);
        let limit = (status.scope, status.name.clone());
        if reported.len() >= MAX_REPORTED || reported.contains_key(&limit) {
            return;
        }
        reported.insert(limit, now);
        drop(reported);
        self.recorder.record_event(AuditEvent {
            id: ids::event_id(),
            kind: "quota_exceeded".to_owned(),
            user_id: Some(subject.user_id.clone()),
            team: subject.team.clone(),
            actor: None,
            details: json!({
                "scope": status.scope.to_string(),
                "limit": status.limit,
                "used": status.used,
                "reserved": status.reserved,
                "need": need,
            }),
            at: now,
        });
    }

    /// Decision for `subject` while its limits cannot be checked.
    fn outage_decision(&self, subject: &QuotaSubject) -> Result<Vec<LimitStatus>, AdmitError> {
        let limits = [
            (LimitScope::User, subject.user_limit.is_some()),
            (LimitScope::Team, subject.team_limit.is_some()),
            (LimitScope::Token, subject.token_limit.is_some()),
        ];
        match limits.into_iter().find(|(_, is_limited)| *is_limited) {
            Some((scope, _)) if self.config.on_outage == FailMode::Closed => {
                Err(AdmitError::StoreUnavailable(scope))
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl TokenEstimate {
    /// Sum of prompt and response; at least one token, so that a limit of 0 denies everything.
    #[must_use]
    pub(crate) fn total(self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens).max(1)
    }

    /// The same with the minimum of the prompt.
    #[must_use]
    pub(crate) fn min_total(self) -> i64 {
        self.min_input_tokens.saturating_add(self.output_tokens).max(1)
    }
}

impl LimitStatus {
    fn remaining(&self) -> i64 {
        self.limit.saturating_sub(self.used).saturating_sub(self.reserved)
    }
}

impl QuotaSubject {
    /// Whether there is a limit.
    #[must_use]
    pub(crate) fn is_limited(&self) -> bool {
        self.user_limit.is_some() || self.team_limit.is_some() || self.token_limit.is_some()
    }

    /// Status of each limit.
    fn limits(&self, totals: &CallerTotals) -> Vec<LimitStatus> {
        let user = self.user_limit.map(|limit| LimitStatus {
            scope: LimitScope::User,
            name: self.user_id.clone(),
            label: None,
            limit,
            used: totals.user.used,
            reserved: totals.user.reserved,
        });
        let team = self.team_limit.zip(self.team.clone()).map(|(limit, name)| LimitStatus {
            scope: LimitScope::Team,
            name,
            label: None,
            limit,
            used: totals.team.used,
            reserved: totals.team.reserved,
        });
        let token = self.token_limit.clone().map(|(jti, token)| LimitStatus {
            scope: LimitScope::Token,
            name: jti,
            label: token.name.map(String::into_boxed_str),
            limit: token.limit,
            used: totals.token.used,
            reserved: totals.token.reserved,
        });
        user.into_iter().chain(team).chain(token).collect()
    }
}

impl Grant {
    /// Status of the most used limit when the request was admitted, and its period.
    #[must_use]
    pub(crate) fn most_used(&self) -> Option<(&LimitStatus, Period)> {
        let most_used = self.limits.iter().max_by_key(|status| status.percent());
        most_used.map(|status| (status, self.period))
    }

    /// Percentage of a token read from the cache that counts towards limits.
    #[must_use]
    pub(crate) fn cache_read_percent(&self) -> u32 {
        self.cache_read_percent
    }

    /// Writes what the request may cost, before it is sent: the next process charges that if this one is killed. `fill`
    /// completes the record as for [`Grant::settle`].
    pub(crate) fn begin(&mut self, fill: impl FnOnce(&mut UsageRecord)) {
        let mut record = self.record();
        fill(&mut record);
        self.permit.begin(record);
    }

    /// Records that AWS bills nothing for the request so far.
    pub(crate) fn end(&mut self) {
        self.permit.end();
    }

    /// Settles the request: `fill` completes a record that has its id, user, team, period and start.
    pub(crate) fn settle(self, fill: impl FnOnce(&mut UsageRecord)) {
        let mut record = self.record();
        fill(&mut record);
        self.permit.settle(record);
    }

    fn record(&self) -> UsageRecord {
        UsageRecord {
            id: self.id.clone(),
            request_id: self.id.clone(),
            attempt: 1,
            user_id: self.subject.user_id.clone(),
            team: self.subject.team.clone(),
            jti: self.subject.token_limit.as_ref().map(|(jti, _)| jti.clone()),
            period: self.period.start,
            at: self.at,
            ..UsageRecord::default()
        }
    }
}
