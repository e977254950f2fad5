//! What handlers share: built once from the configuration, read by every request.
//!
//! Not here: routes and listening (`server`), and what a request does with all this (`http`).

mod counts;
mod discovery;
mod drains;
mod resolution;

pub use counts::Counts;
pub use drains::{Abandonable, Drains};

use crate::auth::Keys;
use crate::bedrock::{Bedrock, NoTransport};
use crate::callers::Callers;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::learned::Learned;
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;

/// Why handlers cannot be given what they need.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// There is no way to Bedrock.
    #[error(transparent)]
    Transport(#[from] NoTransport),
    /// The database cannot be opened.
    #[error("{0}; the database is where DATA_DIR, DATABASE_URL or DB_HOST say")]
    Store(#[from] StoreError),
}

/// What handlers share.
#[derive(Debug)]
pub struct App {
    /// Who may pass.
    pub callers: Callers,
    /// Names to models.
    pub catalog: Catalog,
    /// The way to AWS.
    pub bedrock: Bedrock,
    /// What models were seen to refuse.
    pub learned: Learned,
    /// What is asked of the control plane.
    pub control: config::Control,
    /// Prompts that were counted a moment ago.
    pub counts: Counts,
    /// Where abandoned answers are read to their end.
    pub drains: Drains,
    /// Users, quotas, usage.
    pub store: Store,
    /// How one request is served.
    pub relay: config::Relay,
    /// Sizes and times of the server itself.
    pub limits: config::Server,
    /// The wall clock.
    pub clock: Clock,
    /// Everything that runs for requests.
    pub tasks: Tasks,
    /// What outlives the last request.
    pub upkeep: Tasks,
}

impl App {
    /// Everything but the listener.
    ///
    /// # Errors
    /// When there is no way to Bedrock, or no place for what has to be kept.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, CannotOpen> {
        let (tasks, upkeep) = (Tasks::default(), Tasks::default());
        let store = Store::open(&config.database, &upkeep).await?;
        Ok(Self {
            callers: Callers::new(
                Keys::new(&config.auth),
                store.clone(),
                config.callers.clone(),
                clock.clone(),
            ),
            catalog: Catalog::new(&config.catalog),
            bedrock: Bedrock::new(&config.bedrock, clock.clone())?,
            learned: Learned::new(clock.clone()),
            control: config.bedrock.control.clone(),
            counts: Counts::default(),
            drains: Drains::new(&config.relay, &tasks),
            store,
            relay: config.relay.clone(),
            limits: config.server.clone(),
            clock,
            tasks,
            upkeep,
        })
    }
}
