//! Connections: how many, to where, and with which manners.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::{Result, StoreError};
use crate::config::{Database, Parts, Place};

/// Longer than any request waits for a connection, so that the store's own limit is the one that is met.
const ACQUIRE: Duration = Duration::from_secs(2);

/// After so long a connection is tried before it is used: a restart of the server is noticed then.
const STALE: Duration = Duration::from_secs(1);

/// The open ways to the database.
#[derive(Clone, Debug)]
pub(super) enum Pools {
    /// One file.
    Sqlite {
        /// One connection, as SQLite has one writer: whoever writes waits here, in turn, and not in a busy loop.
        write: Writer,
        /// Connections that only read.
        read: SqlitePool,
    },
    /// A server.
    Postgres {
        /// For everything that has to last.
        pool: PgPool,
        /// For reservations: a commit does not wait for the disk, as a crash of the server may forget them.
        fast: PgPool,
    },
}

/// SQLite's one writer. It is not kept in a pool, which would ask the connection after each use whether it is still
/// there: a way to another thread and back, for a file.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Mutex<Option<SqliteConnection>>>);

impl Writer {
    /// The connection, when its turn has come.
    pub(super) async fn lock(&self) -> Result<MappedMutexGuard<'_, SqliteConnection>> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        MutexGuard::try_map(self.0.lock().await, Option::as_mut).map_err(closed)
    }

    fn is_idle(&self) -> bool {
        self.0.try_lock().is_ok()
    }

    async fn close(&self) {
        if let Some(connection) = self.0.lock().await.take() {
            let _ = connection.close().await;
        }
    }
}

impl Pools {
    /// Opens the file, or prepares the connections to the server without reaching for it.
    pub(super) async fn new(config: &Database) -> Result<Self> {
        match &config.place {
            Place::File(path) => sqlite(path).await,
            Place::Url(url) => {
                let options = PgConnectOptions::from_str(url.expose());
                Ok(postgres(options.map_err(|_| StoreError::Invalid("DATABASE_URL".to_owned()))?, config))
            }
            Place::Parts(parts) => Ok(postgres(of_parts(parts), config)),
        }
    }

    /// How many reservations the database can be asked for at the same time.
    pub(super) fn turns(&self) -> usize {
        match self {
            Self::Sqlite { .. } => 1,
            Self::Postgres { fast, .. } => usize::try_from(fast.options().get_max_connections()).unwrap_or(1),
        }
    }

    /// How many connections are used, and how many are idle.
    pub(super) fn connections(&self) -> (u32, u32) {
        let idle = |idle: usize| u32::try_from(idle).unwrap_or(u32::MAX);
        let (open, idle) = match self {
            Self::Sqlite { write, read } => {
                (read.size() + 1, idle(read.num_idle()) + u32::from(write.is_idle()))
            }
            Self::Postgres { pool, fast } => {
                (pool.size() + fast.size(), idle(pool.num_idle()) + idle(fast.num_idle()))
            }
        };
        (open.saturating_sub(idle), idle)
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { pool, fast } => {
                fast.close().await;
                pool.close().await;
            }
        }
    }
}

async fn sqlite(path: &Path) -> Result<Pools> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| StoreError::Unavailable(format!("{}: {error}", directory.display())))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    // Fewer interruptions to tidy the log up; it may grow to 16 MB for that.
    let create = options.clone().create_if_missing(true).pragma("wal_autocheckpoint", "4000");
    let mut patience = 250;
    let write = loop {
        match SqliteConnection::connect_with(&create).await {
            Ok(write) => break Writer(Arc::new(Mutex::new(Some(write)))),
            // SQLite does not wait its turn to change to a write-ahead log, which the first of several does.
            Err(error) if patience > 0 && error.to_string().contains("locked") => {
                patience -= 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(StoreError::Unavailable(format!("{}: {error}", path.display()))),
        }
    };
    let read = SqlitePoolOptions::new()
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .max_connections(4)
        .connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Pools::Sqlite { write, read })
}

fn of_parts(parts: &Parts) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&parts.host)
        .port(parts.port)
        .database(&parts.name)
        .username(&parts.user)
        .ssl_mode(parts.ssl_mode);
    match &parts.password {
        Some(password) => options.password(password.expose()),
        None => options,
    }
}

fn postgres(options: PgConnectOptions, config: &Database) -> Pools {
    let mut options = options.application_name("bedrock-proxy").disable_statement_logging();
    if let Some(certificate) = &config.ssl_root_cert {
        options = options.ssl_root_cert(certificate);
    }
    // A fifth of the connections is for reservations, which are short.
    let fast = (config.max_connections / 5).max(1);
    let calm = (config.max_connections - fast).max(1);
    let kept_fast = config.min_connections.min(1);
    let kept = config.min_connections.saturating_sub(kept_fast).min(calm);
    Pools::Postgres {
        pool: pool(calm, kept, "SELECT set_config('statement_timeout', '15s', false)")
            .connect_lazy_with(options.clone()),
        fast: pool(
            fast,
            kept_fast,
            "SELECT set_config('statement_timeout', '2s', false), set_config('synchronous_commit', 'off', false)",
        )
        .connect_lazy_with(options),
    }
}

/// `manners` is said to each new connection, rather than with its start, where poolers in between refuse it.
fn pool(most: u32, least: u32, manners: &'static str) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(most)
        .min_connections(least)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut PgConnection, known| {
            Box::pin(async move {
                if known.idle_for > STALE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::query(manners).execute(connection).await.map(drop) })
        })
}
