//! Whether requests can be served, as far as that is known without asking anybody: for load balancers, who look often.

use std::sync::atomic::{AtomicBool, Ordering};

use super::App;
use crate::bedrock::Known;
use crate::config::{FailMode, QuotaConfig};

/// What health checks need to know and nothing else tells them.
#[derive(Debug, Default)]
pub struct Readiness {
    stopping: AtomicBool,
    refused: AtomicBool,
}

impl Readiness {
    /// The server is about to stop: load balancers are to look elsewhere.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether AWS has said that it does not accept the credentials.
    pub fn refuse(&self, refused: bool) {
        self.refused.store(refused, Ordering::Relaxed);
    }
}

/// One thing that was looked at. The words are for everybody: they name no address, no account and no reason that would
/// help an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub name: &'static str,
    /// Whether requests can be served in spite of it.
    pub passed: bool,
    /// What is to be said beside that.
    pub said: &'static str,
}

impl Check {
    const fn passed(name: &'static str, said: &'static str) -> Self {
        Self { name, passed: true, said }
    }

    const fn failed(name: &'static str, said: &'static str) -> Self {
        Self { name, passed: false, said }
    }
}

impl App {
    /// Whether requests may come: `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> [Check; 4] {
        [self.serving(), self.credentials(), self.database(), self.migrations()]
    }

    /// Whether the start is over: `/startupz`.
    #[must_use]
    pub fn startup(&self) -> [Check; 1] {
        [self.migrations()]
    }

    /// Whether no request can be served at all, as there is nothing that AWS accepts.
    #[must_use]
    pub fn is_ill(&self) -> bool {
        self.readiness.refused.load(Ordering::Relaxed) || self.bedrock.known() == Known::Missing
    }

    fn serving(&self) -> Check {
        if self.readiness.stopping.load(Ordering::Relaxed) {
            Check::failed("serving", "the server is shutting down")
        } else {
            Check::passed("serving", "")
        }
    }

    fn credentials(&self) -> Check {
        const NAME: &str = "credentials";
        match self.bedrock.known() {
            _ if self.readiness.refused.load(Ordering::Relaxed) => {
                Check::failed(NAME, "AWS does not accept them")
            }
            Known::Nothing => Check::failed(NAME, "they are being looked for"),
            Known::Missing => Check::failed(NAME, "there are none"),
            Known::ApiKey | Known::Keys(_) => Check::passed(NAME, ""),
        }
    }

    fn database(&self) -> Check {
        self.stored("database", self.store.is_connected(), "it is away")
    }

    fn migrations(&self) -> Check {
        self.stored("migrations", self.store.is_migrated(), "they are not done yet")
    }

    /// Without the database requests are served all the same, unless limits refuse what they cannot judge.
    fn stored(&self, name: &'static str, fine: bool, said: &'static str) -> Check {
        match fine {
            true => Check::passed(name, ""),
            false if self.outages_are_closed => Check::failed(name, said),
            false => Check::passed(name, said),
        }
    }
}

/// Whether any limit refuses requests while the database is away.
pub(super) fn closed(quota: &QuotaConfig) -> bool {
    [quota.user_on_outage, quota.team_on_outage].contains(&FailMode::Closed)
}
