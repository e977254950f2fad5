//! What an operator can do: users, teams, tokens, reports. Two faces show it, the command line and `http::admin`.
//!
//! Each act that changes something writes its event, with the state before and after and who did it, in the same
//! transaction, so that there is no change without a trace. Not here: how an operator proves to be one.

mod quota_status;
mod tokens;
mod users;
mod view;

use std::sync::Arc;

use serde_json::Value;

use crate::auth::JwtKeys;
use crate::clock::Clock;
use crate::config::Config;
use crate::ids;
use crate::quota::Periods;
use crate::store::{Event, EventFilter, ListPage, Page, Store, StoreError, UsageQuery};
pub use tokens::{IssuedToken, TokenRequest, parse_ttl};
pub use users::{TeamChange, UserChange};
pub(crate) use view::dollars;

/// What an operator can do.
#[derive(Clone, Debug)]
pub struct Admin {
    store: Store,
    keys: Option<JwtKeys>,
    clock: Clock,
    periods: Arc<Periods>,
    settings: Settings,
}

/// What an act goes by when the operator does not say.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// How long a token is valid, in seconds.
    expiry: i64,
    /// Whether a token makes a user.
    provision: bool,
    user_limit: Option<i64>,
    team_limit: Option<i64>,
}

/// Why an act was not done. The text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The operator asked for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It is about something that is not there.
    #[error("there is no {0}")]
    NotFound(String),
    /// It is there already.
    #[error("{0}")]
    Conflict(String),
    /// The database is not there.
    #[error("the database is away: {0}")]
    Unavailable(String),
}

impl AdminError {
    /// What a failure of the store means for an act on `what`.
    fn of(error: StoreError, what: &str) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound(what.to_owned()),
            StoreError::Conflict(_) => Self::Conflict(format!("there is a {what} already")),
            StoreError::Invalid(reason) => Self::Invalid(reason),
            StoreError::Unavailable(reason) | StoreError::Busy(reason) | StoreError::Schema(reason) => {
                Self::Unavailable(reason)
            }
        }
    }
}

type Result<T> = std::result::Result<T, AdminError>;

impl Admin {
    /// The acts on `store`.
    #[must_use]
    pub fn new(config: &Config, store: Store, clock: Clock) -> Self {
        let settings = Settings {
            expiry: i64::try_from(config.auth.expiry.as_secs()).unwrap_or(i64::MAX),
            provision: config.callers.provision,
            user_limit: config.callers.user_limit,
            team_limit: config.callers.team_limit,
        };
        let periods = Arc::new(Periods::new(config.quota.schedule.clone()));
        Self { store, keys: JwtKeys::new(&config.auth), clock, periods, settings }
    }

    /// Usage of some days, summed up; days are UTC and inclusive.
    ///
    /// # Errors
    /// When a day is none, or the database is away.
    pub async fn usage(&self, query: &UsageQuery, page: &Page) -> Result<ListPage<Value>> {
        let rows = self.store.usage_report(query, page).await;
        Ok(listed(rows.map_err(|error| AdminError::of(error, "usage"))?, view::usage))
    }

    /// Events, the last ones first.
    ///
    /// # Errors
    /// When the page is none, or the database is away.
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<ListPage<Value>> {
        let rows = self.store.events(filter, page).await;
        Ok(listed(rows.map_err(|error| AdminError::of(error, "event"))?, view::event))
    }

    /// Today in UTC, as `2026-11-22`.
    #[must_use]
    pub fn today(&self) -> String {
        self.clock.rfc3339().chars().take(10).collect()
    }

    /// The event of an act of `actor`.
    fn event(&self, kind: &str, actor: &str, about: About<'_>, details: Value) -> Event {
        Event {
            id: ids::event_id(),
            kind: kind.to_owned(),
            user_id: about.user.map(str::to_owned),
            team: about.team.map(str::to_owned),
            actor: Some(actor.to_owned()),
            details,
            at: self.clock.milliseconds(),
        }
    }
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    user: Option<&'a str>,
    team: Option<&'a str>,
}

fn listed<T>(found: ListPage<T>, view: impl Fn(&T) -> Value) -> ListPage<Value> {
    ListPage { rows: found.rows.iter().map(view).collect(), next: found.next }
}
