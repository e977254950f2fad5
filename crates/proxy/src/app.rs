//! What handlers share: built once from the configuration, read by every request.
//!
//! Not here: routes and listening (`server`), and what a request does with all this (`http`).

mod counts;
mod discovery;
mod drains;
mod resolution;

pub use counts::Counts;
pub use drains::{Abandonable, Drains};

use crate::bedrock::{Bedrock, NoTransport};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::learned::Learned;
use crate::tasks::Tasks;

/// What handlers share.
#[derive(Debug)]
pub struct App {
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
    /// How one request is served.
    pub relay: config::Relay,
    /// Sizes and times of the server itself.
    pub limits: config::Server,
    /// The wall clock.
    pub clock: Clock,
    /// Everything that runs.
    pub tasks: Tasks,
}

impl App {
    /// Everything but the listener.
    ///
    /// # Errors
    /// When there is no way to Bedrock.
    pub fn new(config: &Config, clock: Clock) -> Result<Self, NoTransport> {
        let tasks = Tasks::default();
        Ok(Self {
            catalog: Catalog::new(&config.catalog),
            bedrock: Bedrock::new(&config.bedrock, clock.clone())?,
            learned: Learned::new(clock.clone()),
            control: config.bedrock.control.clone(),
            counts: Counts::default(),
            drains: Drains::new(&config.relay, &tasks),
            relay: config.relay.clone(),
            limits: config.server.clone(),
            clock,
            tasks,
        })
    }
}
