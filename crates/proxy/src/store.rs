//! SQL: users, teams, tokens, reservations, usage and events, in SQLite or in PostgreSQL. No other room contains SQL.
//!
//! One text of each query serves both databases; where they differ (admission), both texts stand side by side. Policy is
//! decided elsewhere: access by `auth`, limits by `quota`, batching by `usage`. Each call has a deadline, so that a
//! database that does not respond never blocks a request.
//!
//! Values are checked before they are written, so that both databases reject the same ones: SQLite would accept a NUL, or
//! a name that is longer than its column.

/// Runs the body once for each driver, on a connection that reads.
macro_rules! read {
    ($store:expr, |$pool:ident| $body:expr) => {
        match $store.pools()? {
            $crate::store::pools::Pools::Sqlite { write } => {
                let $pool = &write.readers().await?;
                $body
            }
            $crate::store::pools::Pools::Postgres { main_pool: $pool, .. } => $body,
        }
    };
}

/// Runs the body once for each driver, inside a transaction that may write: committed when the body ends, rolled back
/// when it returns early.
macro_rules! transaction {
    ($store:expr, |$tx:ident| $body:expr) => {
        match $store.pools()? {
            $crate::store::pools::Pools::Sqlite { write } => {
                // Immediate: a transaction that begins by reading could not become a writer beside another process.
                let mut connection = write.lock().await?;
                let mut $tx = sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;
                let result = $body;
                $tx.commit().await?;
                connection.finish();
                result
            }
            $crate::store::pools::Pools::Postgres { main_pool, .. } => {
                let mut $tx = main_pool.begin().await?;
                let result = $body;
                $tx.commit().await?;
                result
            }
        }
    };
}

/// Start of a statement that inserts sums of days.
macro_rules! insert_days {
    () => {
        "INSERT INTO usage_daily (day, user_id, team, model, route, requests, failed, estimated, unpriced, input_tokens, \
         output_tokens, cache_read_tokens, cache_write_tokens, charged_tokens, cost) "
    };
}

/// End of that statement: the sums are added to those that are there.
macro_rules! add_days {
    () => {
        " ON CONFLICT (day, user_id, team, model, route) DO UPDATE SET
            requests = usage_daily.requests + excluded.requests,
            failed = usage_daily.failed + excluded.failed,
            estimated = usage_daily.estimated + excluded.estimated,
            unpriced = usage_daily.unpriced + excluded.unpriced,
            input_tokens = usage_daily.input_tokens + excluded.input_tokens,
            output_tokens = usage_daily.output_tokens + excluded.output_tokens,
            cache_read_tokens = usage_daily.cache_read_tokens + excluded.cache_read_tokens,
            cache_write_tokens = usage_daily.cache_write_tokens + excluded.cache_write_tokens,
            charged_tokens = usage_daily.charged_tokens + excluded.charged_tokens,
            cost = usage_daily.cost + excluded.cost"
    };
}

/// End of a statement that adds to counters.
macro_rules! add_counters {
    () => {
        " ON CONFLICT (scope, name, period) DO UPDATE SET
            used = counters.used + excluded.used, cost = counters.cost + excluded.cost"
    };
}

mod circuit;
mod datetime;
mod error;
mod events;
mod from_row;
mod inspect;
mod maintenance;
mod migrate;
mod outage;
mod pace;
mod pools;
mod records;
mod rejections;
mod rename;
mod reservation_guard;
mod reservations;
mod sqlite;
mod tokens;
mod usage;
mod usage_report;
mod users;
mod validate;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

pub(crate) use datetime::rfc3339;
pub use error::StoreError;
pub use events::{EVENT_KINDS, EventFilter};
pub(crate) use inspect::{Inspection, sqlite_version};
pub(crate) use outage::OutageLog;
pub(crate) use records::ListPage;
pub use records::{AuditEvent, CallerRows, Page, Team, Token, TokenLimit, UsageRecord, User};
pub use rejections::{RejectedUser, Rejections};
pub use reservations::{CallerTotals, Reservation, ReserveOutcome, UsageTotals};
pub use tokens::Revoked;
pub(crate) use usage::dollars;
pub use usage_report::{Dimensions, UsageQuery, UsageReport, UsageRow};
pub use users::ClaimedUser;

use crate::config;
use crate::tasks::Tasks;
use circuit::{AccessKind, Circuit};
use pools::Pools;

type Result<T> = std::result::Result<T, StoreError>;

/// Longest wait for connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Query timeout on the request path. A healthy database responds in milliseconds, and a client should not wait longer
/// before `QUOTA_*_ON_OUTAGE` decides.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest wait for a slot to reserve while the database responds to others: a burst ends within seconds, or the limit
/// on connections is too low.
const SLOT_TIMEOUT: Duration = Duration::from_secs(5);

/// Query timeout of everything else: batches, lists, operator actions. Longer than `statement_timeout` (15 s), so that
/// the database reports its own error first.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the first connection attempt may delay the start. The server starts without the database after that.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between attempts to connect to PostgreSQL at start, as short as a restart of the server.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Interval of the probes while the circuit is open: short, because requests go without limits or fail until it closes.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// Handle on the database. Clones share its connections.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pools: Pools,
    /// Whether the schema is up to date, or the reason why not.
    schema: watch::Receiver<Result<()>>,
    /// Whether migrations are being applied.
    is_migrating: Arc<AtomicBool>,
    read: Circuit,
    write: Circuit,
    /// One permit for each connection that reserves.
    slots: Semaphore,
    tasks: Tasks,
    name_digests: OnceLock<NameDigests>,
}

/// Turns a name into digests, one for each key.
type NameDigests = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// SQLite works when this returns. PostgreSQL may be unavailable: then this returns after its first attempt, one of
    /// `tasks` goes on trying, and until it succeeds every call is [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// When the file cannot be opened, the URL of the server is invalid, or the schema is incompatible.
    pub async fn open(config: &config::DatabaseConfig, tasks: &Tasks) -> Result<Self> {
        let pools = Pools::new(config, tasks).await?;
        let not_connected = StoreError::Unavailable("no connection yet".to_owned());
        let (schema_tx, mut schema) = watch::channel(Err(not_connected));
        let is_migrating = Arc::<AtomicBool>::default();
        if matches!(pools, Pools::Sqlite { .. }) {
            pools.migrate(&is_migrating).await?;
            let _ = schema_tx.send(Ok(()));
        } else {
            let (pools, shutdown, is_migrating) = (pools.clone(), tasks.clone(), Arc::clone(&is_migrating));
            tasks.spawn(async move {
                tokio::select! {
                    () = shutdown.shutdown_begun() => {}
                    () = migrate_with_retries(&pools, &schema_tx, &is_migrating) => {}
                }
            });
            let _ = timeout(STARTUP_TIMEOUT, schema.changed()).await;
            if let Err(error @ StoreError::Schema(_)) = &*schema.borrow() {
                return Err(error.clone());
            }
        }
        let is_connected = schema.borrow().is_ok();
        let (read, write) = (Circuit::new(is_connected), Circuit::new(is_connected));
        let (slots, tasks) = (Semaphore::new(pools.reservation_slots()), tasks.clone());
        Ok(Self(Arc::new(Inner {
            pools,
            schema,
            is_migrating,
            read,
            write,
            slots,
            tasks,
            name_digests: OnceLock::new(),
        })))
    }

    /// Kind of the database: `sqlite` or `postgresql`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.0.pools {
            Pools::Sqlite { .. } => "sqlite",
            Pools::Postgres { .. } => "postgresql",
        }
    }

    /// Whether the schema is known to be up to date.
    #[must_use]
    pub(crate) fn is_migrated(&self) -> bool {
        self.0.schema.borrow().is_ok()
    }

    /// Whether migrations are being applied, by this process or by another whose end it waits for.
    #[must_use]
    pub(crate) fn is_migrating(&self) -> bool {
        self.0.is_migrating.load(Ordering::Relaxed)
    }

    /// Whether the last calls that read and that wrote reached the database, and requests do not fail fast;
    /// [`Store::ping`] finds out anew.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        [&self.0.read, &self.0.write].iter().all(|circuit| circuit.is_connected() && !circuit.is_open())
    }

    /// Numbers of connections in use and idle.
    #[must_use]
    pub(crate) fn connections(&self) -> (u32, u32) {
        self.0.pools.connections()
    }

    /// Checks that the database responds, and stores what is written.
    ///
    /// # Errors
    /// When it does not, within a second each.
    pub async fn ping(&self) -> Result<()> {
        for access in [AccessKind::Read, AccessKind::Write] {
            self.with_deadline(access, REQUEST_TIMEOUT, self.probe(access)).await?;
        }
        Ok(())
    }

    /// Closes all connections after the calls in progress have ended, but no later than after [`CLOSE_TIMEOUT`]: a pool that
    /// tries to restore its minimum of connections to an unavailable server waits for minutes.
    pub async fn close(&self) {
        let _ = timeout(CLOSE_TIMEOUT, self.0.pools.close()).await;
    }

    /// The connections, once the schema is up to date.
    fn pools(&self) -> Result<&Pools> {
        self.0.schema.borrow().clone().map(|()| &self.0.pools)
    }

    /// Bounds `work` in time and remembers whether the database responded.
    ///
    /// A request that times out while the database responds to no other call opens the circuit: until a probe succeeds,
    /// requests fail at once with [`StoreError::Unavailable`].
    async fn with_deadline<T>(
        &self,
        access: AccessKind,
        limit: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let circuit = self.circuit(access);
        if limit == REQUEST_TIMEOUT && circuit.is_open() {
            return Err(StoreError::Unavailable("not tried, because the last call timed out".to_owned()));
        }
        let responses = circuit.responses();
        let result = timeout(limit, work).await;
        let is_busy = result.is_err() && limit == REQUEST_TIMEOUT && circuit.responses() != responses;
        let result = result.unwrap_or_else(|_| {
            let reason = format!("no response within {} s", limit.as_secs());
            if is_busy {
                return Err(StoreError::Busy(reason));
            }
            if limit == REQUEST_TIMEOUT && circuit.open() {
                tracing::warn!(
                    event = "database_circuit_open",
                    "database does not respond; requests do not wait for it until it does"
                );
            }
            Err(StoreError::Unavailable(reason))
        });
        match &result {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Schema(_))) => {
                self.report_failure(access, error);
            }
            Err(StoreError::Busy(_)) => {}
            Ok(_) | Err(_) => {
                self.connection(access).set_connected(true);
                circuit.add_response();
            }
        }
        result
    }

    /// What is known of the connections for this access.
    fn connection(&self, access: AccessKind) -> &Circuit {
        match access {
            AccessKind::Read => &self.0.read,
            AccessKind::Write => &self.0.write,
        }
    }

    /// The circuit of this access: PostgreSQL has one for both, as its writers do not wait for each other.
    fn circuit(&self, access: AccessKind) -> &Circuit {
        match self.0.pools {
            Pools::Sqlite { .. } => self.connection(access),
            Pools::Postgres { .. } => &self.0.read,
        }
    }

    /// Waits for a slot to reserve. There are as many slots as connections, so that the query timeout does not pass
    /// while a request only waits for a connection.
    async fn acquire_slot(&self) -> Result<SemaphorePermit<'_>> {
        match timeout(SLOT_TIMEOUT, self.0.slots.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                Err(StoreError::Busy(format!("no connection free within {} s", SLOT_TIMEOUT.as_secs())))
            }
        }
    }

    /// Records that a call failed, and probes in the background until one of the same kind succeeds.
    fn report_failure(&self, access: AccessKind, error: &StoreError) {
        self.connection(access).set_connected(false);
        if access == AccessKind::Read {
            self.0.pools.renew_readers();
        }
        if !self.connection(access).begin_probing() {
            return;
        }
        let (store, error) = (self.clone(), error.clone());
        self.0.tasks.spawn(async move {
            let error = store.0.pools.connection_error().await.unwrap_or(error);
            tracing::warn!(event = "database_unavailable", %error, access = access.as_str(), "database call failed");
            let is_up = tokio::select! {
                () = store.0.tasks.shutdown_begun() => false,
                () = store.probe_until_up(access) => true,
            };
            store.connection(access).end_probing();
            store.connection(access).set_connected(is_up);
            store.circuit(access).close();
            if is_up {
                tracing::info!(event = "database_recovered", access = access.as_str(), "database responds again");
            }
        });
    }

    async fn probe_until_up(&self, access: AccessKind) {
        loop {
            tokio::time::sleep(PROBE_INTERVAL).await;
            if matches!(timeout(REQUEST_TIMEOUT, self.probe(access)).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Reads, or stores something: a full or read-only disk shows only when a page is written.
    async fn probe(&self, access: AccessKind) -> Result<()> {
        match access {
            AccessKind::Read => {
                read!(self, |pool| sqlx::query("SELECT 1").execute(pool).await.map(drop)?);
            }
            AccessKind::Write => {
                const SQLITE: &str = "PRAGMA user_version = 0";
                const POSTGRES: &str = "UPDATE schema_migrations SET version = version WHERE version = 1";
                let statement = self.query_for_driver(SQLITE, POSTGRES);
                transaction!(self, |tx| sqlx::query(statement).execute(&mut *tx).await.map(drop)?);
            }
        }
        Ok(())
    }
}

/// Migrates until it succeeds; each failure is what calls to the store return meanwhile.
async fn migrate_with_retries(
    pools: &Pools,
    schema_tx: &watch::Sender<Result<()>>,
    is_migrating: &AtomicBool,
) {
    loop {
        match pools.migrate(is_migrating).await {
            Ok(()) => {
                let _ = schema_tx.send(Ok(()));
                is_migrating.store(false, Ordering::Relaxed);
                return;
            }
            Err(error) => {
                let error = match error {
                    StoreError::Schema(_) => error,
                    StoreError::Unavailable(_) => pools.connection_error().await.unwrap_or(error),
                    StoreError::Invalid(reason) => StoreError::Unavailable(reason),
                    other => StoreError::Unavailable(other.to_string()),
                };
                if schema_tx.borrow().as_ref().err() != Some(&error) {
                    tracing::warn!(event = "database_unavailable", %error, "database connection failed; retrying");
                }
                let _ = schema_tx.send(Err(error));
                is_migrating.store(false, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
