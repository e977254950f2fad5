//! Readiness and startup checks, for load balancers. They send no requests: the results of the last requests count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bedrock::{Bedrock, CredentialStatus};
use crate::config::{AuthOnOutage, CallerConfig, FailMode, QuotaConfig};
use crate::store::Store;

/// What the checks read.
#[derive(Debug)]
pub(crate) struct Readiness {
    bedrock: Arc<Bedrock>,
    store: Store,
    /// Whether requests are rejected while the database is unavailable.
    needs_database: bool,
    is_shutting_down: AtomicBool,
}

/// The result of one check. It names no address, no account and no reason that would help an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether requests can be served.
    pub(crate) passed: bool,
    /// What is wrong; empty when nothing is.
    pub(crate) detail: &'static str,
}

impl Check {
    const fn passed(name: &'static str, detail: &'static str) -> Self {
        Self { name, passed: true, detail }
    }

    const fn failed(name: &'static str, detail: &'static str) -> Self {
        Self { name, passed: false, detail }
    }
}

impl Readiness {
    /// Checks of `bedrock` and `store`.
    #[must_use]
    pub(crate) fn new(
        bedrock: Arc<Bedrock>,
        store: Store,
        quota: &QuotaConfig,
        callers: &CallerConfig,
    ) -> Self {
        let needs_database = quota.on_outage == FailMode::Closed || callers.on_outage == AuthOnOutage::Closed;
        Self { bedrock, store, needs_database, is_shutting_down: AtomicBool::new(false) }
    }

    /// Fails `/readyz` from here on, so that load balancers send requests elsewhere.
    pub(crate) fn begin_shutdown(&self) {
        self.is_shutting_down.store(true, Ordering::Relaxed);
    }

    /// The checks of `/readyz`.
    #[must_use]
    pub(crate) fn checks(&self) -> [Check; 5] {
        [self.serving(), self.credentials(), self.aws(), self.database(), self.migrations()]
    }

    /// The checks of `/startupz`.
    #[must_use]
    pub(crate) fn startup_checks(&self) -> [Check; 1] {
        [self.migrations()]
    }

    /// Whether no request can be served, as there are no credentials that AWS accepts.
    #[must_use]
    pub(crate) fn is_unhealthy(&self) -> bool {
        matches!(self.bedrock.credential_status(), CredentialStatus::Missing | CredentialStatus::Rejected)
    }

    fn serving(&self) -> Check {
        if self.is_shutting_down.load(Ordering::Relaxed) {
            Check::failed("serving", "the server is shutting down")
        } else {
            Check::passed("serving", "")
        }
    }

    fn credentials(&self) -> Check {
        const NAME: &str = "credentials";
        match self.bedrock.credential_status() {
            CredentialStatus::Rejected => Check::failed(NAME, "AWS rejects them"),
            CredentialStatus::Unknown => Check::failed(NAME, "they are being looked up"),
            CredentialStatus::Missing => Check::failed(NAME, "there are none"),
            CredentialStatus::ApiKey | CredentialStatus::Keys(_) => Check::passed(NAME, ""),
        }
    }

    /// Shown only: other replicas reach AWS over the same network, and without requests none would find out that it responds
    /// again.
    fn aws(&self) -> Check {
        let is_unreachable = self.bedrock.is_unreachable();
        Check::passed("aws", if is_unreachable { "the last request got no response" } else { "" })
    }

    fn database(&self) -> Check {
        const SERVED: &str = "unavailable; requests are served without it (QUOTA_*_ON_OUTAGE=open)";
        self.storage_check("database", self.store.is_connected(), SERVED, "it is unavailable")
    }

    fn migrations(&self) -> Check {
        const NAME: &str = "migrations";
        if self.store.is_migrating() {
            return Check::failed(NAME, "they are being applied");
        }
        self.storage_check(
            NAME,
            self.store.is_migrated(),
            "not checked, as the database is unavailable",
            "they are not checked, as the database is unavailable",
        )
    }

    /// Requests are served without the database, unless limits deny what they cannot check.
    fn storage_check(
        &self,
        name: &'static str,
        is_fine: bool,
        passed: &'static str,
        failed: &'static str,
    ) -> Check {
        match is_fine {
            true => Check::passed(name, ""),
            false if self.needs_database => Check::failed(name, failed),
            false => Check::passed(name, passed),
        }
    }
}
