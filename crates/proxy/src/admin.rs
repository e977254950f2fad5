//! Operations of operators: users, teams, tokens, reports. Used by the command line and by `api::admin`.
//!
//! Each change writes its event, with the state before and after and the operator, in the same transaction, so that there
//! is no change without an event. Not here: authorization of the operator.

mod csv;
mod declaration;
mod plan;
mod quota_status;
mod removal;
mod similar;
mod tokens;
mod usage;
mod users;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::auth::{JwtKeys, RejectionList};
use crate::clock::Clock;
use crate::config::{Config, SharedNewUsers};
use crate::ids;
use crate::quota::Periods;
use crate::store::{AuditEvent, EventFilter, ListPage, Page, Store, StoreError, rfc3339};
pub(crate) use csv::{cell, columns, csv};
pub(crate) use plan::{Declaration, Entry, Plan};
pub(crate) use tokens::{NOT_ISSUED_HERE, TokenRequest, parse_ttl};
pub(crate) use usage::{UsageReportView, empty_usage_row};
pub(crate) use users::{TeamChange, UserChange};

/// Operations of operators.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    store: Store,
    keys: Option<JwtKeys>,
    clock: Clock,
    periods: Arc<Periods>,
    /// Lifetime of a token in seconds, by default.
    ttl: i64,
    new_users: SharedNewUsers,
    rejections: Arc<RejectionList>,
}

/// Failure of an operation. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdminError {
    /// A value is invalid.
    #[error("{0}")]
    Invalid(String),
    /// The object does not exist.
    #[error("there is no {0}")]
    NotFound(String),
    /// The object exists already.
    #[error("{0}")]
    Conflict(String),
    /// The token with this id is revoked, but was not issued here.
    #[error("{0}: {message}", message = NOT_ISSUED_HERE)]
    NotIssued(String),
    /// The database is unavailable.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

impl AdminError {
    /// Converts an error of the store about `object`.
    fn from_store(error: StoreError, object: &str) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound(object.to_owned()),
            StoreError::Conflict(_) => Self::Conflict(format!("there is a {object} already")),
            StoreError::Invalid(reason) => Self::Invalid(reason),
            StoreError::Unavailable(reason) | StoreError::Busy(reason) | StoreError::Schema(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

type Result<T> = std::result::Result<T, AdminError>;

impl Admin {
    /// Operations on `store`.
    #[must_use]
    pub(crate) fn new(config: &Config, store: Store, rejections: Arc<RejectionList>, clock: Clock) -> Self {
        let ttl = i64::try_from(config.auth.expiry.as_secs()).unwrap_or(i64::MAX);
        let new_users = config.callers.new_users.clone();
        let keys = JwtKeys::new(&config.auth);
        if let Some(keys) = keys.clone() {
            store.set_name_digests(move |name| keys.name_digests(name));
        }
        let periods = Arc::new(Periods::new(config.quota.schedule.clone()));
        Self { store, keys, clock, periods, ttl, new_users, rejections }
    }

    /// Lists events, newest first.
    ///
    /// # Errors
    /// When the cursor is invalid, or the database is unavailable.
    pub(crate) async fn events(&self, filter: &EventFilter, page: &Page) -> Result<ListPage<Value>> {
        let rows = self.store.events(filter, page).await;
        let page = rows.map_err(|error| AdminError::from_store(error, "event"))?;
        let view = |event: &AuditEvent| {
            json!({
                "type": "event",
                "id": event.id,
                "kind": event.kind,
                "user_id": event.user_id,
                "team": event.team,
                "actor": event.actor,
                "details": event.details,
                "at": rfc3339(event.at),
            })
        };
        Ok(map_rows(&page, view))
    }

    /// Refreshes the list of what is rejected after a change of it, so that it holds also for a process that starts without
    /// a database.
    async fn refresh_rejections(&self) {
        if let Err(error) = self.rejections.refresh(&self.store).await {
            tracing::warn!(%error, "list of revoked tokens and disabled users not read");
        }
    }

    /// Current day in UTC, such as `2026-11-22`.
    #[must_use]
    pub(crate) fn today(&self) -> String {
        self.clock.rfc3339().chars().take(10).collect()
    }

    /// Current instant in epoch milliseconds.
    #[must_use]
    pub(crate) fn now(&self) -> i64 {
        self.clock.milliseconds()
    }

    /// Event of an operation of `actor`.
    fn event(&self, kind: &str, actor: &str, subject: Subject<'_>, details: Value) -> AuditEvent {
        AuditEvent {
            id: ids::event_id(),
            kind: kind.to_owned(),
            user_id: subject.user.map(str::to_owned),
            team: subject.team.map(str::to_owned),
            actor: Some(actor.to_owned()),
            details,
            at: self.clock.milliseconds(),
        }
    }
}

/// User and team that an event is about.
#[derive(Clone, Copy, Debug, Default)]
struct Subject<'a> {
    user: Option<&'a str>,
    team: Option<&'a str>,
}

/// JSON of a row, which always serializes.
fn to_json(row: &impl Serialize) -> Value {
    serde_json::to_value(row).unwrap_or_default()
}

fn map_rows<T>(page: &ListPage<T>, view: impl Fn(&T) -> Value) -> ListPage<Value> {
    ListPage { rows: page.rows.iter().map(view).collect(), next: page.next.clone() }
}
