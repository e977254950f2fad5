//! The only room with SQL: users, teams, tokens, reservations, usage and events, in SQLite or in PostgreSQL.
//!
//! One text of each query serves both databases; where they differ (admission), both texts stand side by side. What a
//! row *means* is decided elsewhere: who may pass by `auth` and `callers`, how much by `quota`, when rows are written
//! by the ledger. Each call is bounded in time, so that a database that hangs never hangs a request.
//!
//! Values are checked before they are written, so that both databases refuse the same ones: SQLite would take a NUL, or
//! a name that is longer than its column.

/// The body once for each driver, reading.
macro_rules! reading {
    ($store:expr, |$pool:ident| $body:expr) => {
        match $store.pools()? {
            $crate::store::pools::Pools::Sqlite { read: $pool, .. } => $body,
            $crate::store::pools::Pools::Postgres { pool: $pool, .. } => $body,
        }
    };
}

/// The body once for each driver, inside of a transaction that may write; it is committed when the body ends, and
/// rolled back when it returns early.
macro_rules! writing {
    ($store:expr, |$tx:ident| $body:expr) => {
        match $store.pools()? {
            $crate::store::pools::Pools::Sqlite { write, .. } => {
                // Immediate: a transaction that begins by reading could not become a writer beside another process.
                let mut connection = write.lock().await?;
                let mut $tx = sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE").await?;
                let result = $body;
                $tx.commit().await?;
                result
            }
            $crate::store::pools::Pools::Postgres { pool, .. } => {
                let mut $tx = pool.begin().await?;
                let result = $body;
                $tx.commit().await?;
                result
            }
        }
    };
}

mod datetime;
mod error;
mod events;
mod from_row;
mod inspect;
mod maintenance;
mod migrate;
mod pools;
mod records;
mod reservation_guard;
mod reservations;
mod tokens;
mod usage;
mod usage_report;
mod users;
mod validate;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

pub use error::StoreError;
pub use events::EventFilter;
pub use inspect::{Inspection, sqlite_version};
pub use records::{CallerRows, Event, ListPage, Page, Team, Token, UsageRecord, User};
pub use reservations::{CallerTotals, Reservation, ReserveOutcome, UsageTotals};
pub use usage_report::{Dimensions, UsageQuery, UsageRow};
pub use users::{NewUser, RowChange};

use crate::config;
use crate::tasks::Tasks;
use pools::Pools;

type Result<T> = std::result::Result<T, StoreError>;

/// What a request waits for the database at most.
const HOT: Duration = Duration::from_secs(1);

/// What a request waits for its turn at most, while the database answers others.
const TURN: Duration = Duration::from_secs(5);

/// What everything else waits for it: batches, lists, an operator's acts.
const CALM: Duration = Duration::from_secs(20);

/// How long the first attempt may hold up a start.
const START: Duration = Duration::from_secs(5);

/// How long to wait before the next attempt to reach PostgreSQL at start.
const AGAIN: Duration = Duration::from_secs(1);

/// How long to wait before a database that fell silent is asked again.
const LISTEN: Duration = Duration::from_millis(250);

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pools: Pools,
    /// Whether the schema is known to be there, or why not.
    schema: watch::Receiver<Result<()>>,
    /// Whether the last call reached the database.
    connected: AtomicBool,
    /// How many calls it answered.
    answers: AtomicU64,
    /// Whether it let requests wait for nothing, and has not answered since.
    silent: AtomicBool,
    /// For those who reserve.
    turns: Semaphore,
    tasks: Tasks,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// SQLite works when this returns. PostgreSQL may be away: then this returns after its first attempt, one of
    /// `tasks` goes on trying, and until it succeeds every call is [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// When the file cannot be opened, the address of the server makes no sense, or the schema is not one to serve.
    pub async fn open(config: &config::Database, tasks: &Tasks) -> Result<Self> {
        let pools = Pools::new(config).await?;
        let (said, mut schema) =
            watch::channel(Err(StoreError::Unavailable("it was not reached yet".to_owned())));
        if matches!(pools, Pools::Sqlite { .. }) {
            migrate::run(&pools).await?;
            let _ = said.send(Ok(()));
        } else {
            let (pools, ending) = (pools.clone(), tasks.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = ending.stopping() => {}
                    () = migrate_in_the_end(&pools, &said) => {}
                }
            });
            let _ = timeout(START, schema.changed()).await;
            if let Err(error @ StoreError::Schema(_)) = &*schema.borrow() {
                return Err(error.clone());
            }
        }
        let connected = AtomicBool::new(schema.borrow().is_ok());
        let (answers, silent, tasks) = (AtomicU64::new(0), AtomicBool::new(false), tasks.clone());
        let turns = Semaphore::new(pools.turns());
        Ok(Self(Arc::new(Inner { pools, schema, connected, answers, silent, turns, tasks })))
    }

    /// Which database it is: `sqlite` or `postgresql`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.0.pools {
            Pools::Sqlite { .. } => "sqlite",
            Pools::Postgres { .. } => "postgresql",
        }
    }

    /// Whether the schema is known to be up to date.
    #[must_use]
    pub fn is_migrated(&self) -> bool {
        self.0.schema.borrow().is_ok()
    }

    /// Whether the last call reached the database; [`Store::ping`] finds out anew.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    /// How many connections are used, and how many are idle.
    #[must_use]
    pub fn connections(&self) -> (u32, u32) {
        self.0.pools.connections()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not, within a second.
    pub async fn ping(&self) -> Result<()> {
        self.within(HOT, self.probe()).await
    }

    /// Closes all connections; what is under way is finished before.
    pub async fn close(&self) {
        self.0.pools.close().await;
    }

    /// The connections, once the schema is there.
    fn pools(&self) -> Result<&Pools> {
        self.0.schema.borrow().clone().map(|()| &self.0.pools)
    }

    /// Bounds `work` in time and remembers whether the database was there.
    ///
    /// Once a request has waited for nothing, and nobody else was answered meanwhile, no other request waits: all are
    /// told at once that the database is away, until it answers again.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let inner = &*self.0;
        if limit == HOT && inner.silent.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("it has stopped answering".to_owned()));
        }
        let answers = inner.answers.load(Ordering::Relaxed);
        let result = timeout(limit, work).await;
        let answered = matches!(&result, Ok(result) if !matches!(result, Err(StoreError::Unavailable(_))));
        inner.connected.store(answered, Ordering::Relaxed);
        if answered {
            inner.answers.fetch_add(1, Ordering::Relaxed);
        }
        result.unwrap_or_else(|_| {
            let words = format!("no answer within {} s", limit.as_secs());
            if limit == HOT && inner.answers.load(Ordering::Relaxed) != answers {
                return Err(StoreError::Busy(words));
            }
            if limit == HOT {
                self.fall_silent();
            }
            Err(StoreError::Unavailable(words))
        })
    }

    /// Waits for a turn to reserve. There are as many turns as connections, so that the time that a database may take
    /// to answer does not pass while nobody has even asked it.
    async fn turn(&self) -> Result<SemaphorePermit<'_>> {
        let busy = || StoreError::Busy(format!("no turn within {} s", TURN.as_secs()));
        match timeout(TURN, self.0.turns.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    /// Lets nobody wait any more, and listens in the background for the first answer.
    fn fall_silent(&self) {
        if self.0.silent.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(event = "database_silent", "requests no longer wait for it");
        let store = self.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = store.0.tasks.stopping() => {}
                () = store.first_answer() => tracing::info!(event = "database_back"),
            }
            store.0.silent.store(false, Ordering::Relaxed);
        });
    }

    async fn first_answer(&self) {
        loop {
            tokio::time::sleep(LISTEN).await;
            if matches!(timeout(HOT, self.probe()).await, Ok(Ok(()))) {
                self.0.connected.store(true, Ordering::Relaxed);
                return;
            }
        }
    }

    async fn probe(&self) -> Result<()> {
        reading!(self, |pool| sqlx::query("SELECT 1").execute(pool).await.map(drop)?);
        Ok(())
    }
}

/// Tries until the schema is up to date; each failure is told to whoever asks the store meanwhile.
async fn migrate_in_the_end(pools: &Pools, said: &watch::Sender<Result<()>>) {
    loop {
        match migrate::run(pools).await {
            Ok(()) => {
                let _ = said.send(Ok(()));
                return;
            }
            Err(error) => {
                let error = match error {
                    StoreError::Schema(_) | StoreError::Unavailable(_) => error,
                    StoreError::Invalid(reason) => StoreError::Unavailable(reason),
                    other => StoreError::Unavailable(other.to_string()),
                };
                if said.borrow().as_ref().err() != Some(&error) {
                    tracing::warn!(event = "database_unavailable", %error, "trying again every second");
                }
                let _ = said.send(Err(error));
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
