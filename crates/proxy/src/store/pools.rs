//! Connection pools and their session settings.

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
use crate::config::{DatabaseConfig, DatabaseUrl, PostgresParts};

/// Timeout of the pool for a connection. Longer than [`super::REQUEST_TIMEOUT`], so that the store's own limit applies.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Idle time after which a connection is pinged before it is used, so that a restart of the server is noticed.
const IDLE_CHECK_AFTER: Duration = Duration::from_secs(1);

/// How long a statement of SQLite waits for the lock of another process, such as a backup: the default of
/// sqlx.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for one of the read connections of SQLite. The deadlines of the store are shorter, so that they apply.
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that read a SQLite file at the same time: reads take microseconds, more would only use memory.
const SQLITE_READ_CONNECTIONS: u32 = 4;

/// Attempts and pause of the change to a write-ahead log while another process does it: five seconds in total.
const MAX_SQLITE_OPEN_RETRIES: u32 = 250;
const SQLITE_OPEN_RETRY_DELAY: Duration = Duration::from_millis(20);

/// Open connections.
#[derive(Clone, Debug)]
pub(super) enum Pools {
    /// One file.
    Sqlite {
        /// One connection, because SQLite has one writer: writers queue here and not in a busy loop.
        write: Writer,
        /// Read-only connections.
        read: SqlitePool,
    },
    /// A server.
    Postgres {
        /// Everything that must survive a crash of the server.
        main_pool: PgPool,
        /// Reservations: a commit does not wait for the disk, because a crash of the server may lose them.
        reservation_pool: PgPool,
    },
}

/// The one writer of SQLite. Not in a pool, which would ping the connection after each use: a round trip to another
/// thread, for a file.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Mutex<Option<SqliteConnection>>>);

impl Writer {
    /// Waits for the connection.
    pub(super) async fn lock(&self) -> Result<MappedMutexGuard<'_, SqliteConnection>> {
        let closed = |_| StoreError::Unavailable("store closed".to_owned());
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
    /// Opens the file, or prepares the pools of the server without connecting.
    pub(super) async fn new(config: &DatabaseConfig) -> Result<Self> {
        match &config.url {
            DatabaseUrl::Sqlite(path) => sqlite(path).await,
            DatabaseUrl::Postgres(url) => {
                let options = PgConnectOptions::from_str(url.expose());
                Ok(postgres(options.map_err(|_| StoreError::Invalid("DATABASE_URL".to_owned()))?, config))
            }
            DatabaseUrl::PostgresParts(parts) => Ok(postgres(options_from_parts(parts), config)),
        }
    }

    /// Number of reservations that can run at the same time.
    pub(super) fn reservation_slots(&self) -> usize {
        match self {
            Self::Sqlite { .. } => 1,
            Self::Postgres { reservation_pool, .. } => {
                usize::try_from(reservation_pool.options().get_max_connections()).unwrap_or(1)
            }
        }
    }

    /// Numbers of connections in use and idle.
    pub(super) fn connections(&self) -> (u32, u32) {
        let count = |idle: usize| u32::try_from(idle).unwrap_or(u32::MAX);
        let (open, idle) = match self {
            Self::Sqlite { write, read } => {
                (read.size() + 1, count(read.num_idle()) + u32::from(write.is_idle()))
            }
            Self::Postgres { main_pool, reservation_pool } => (
                main_pool.size() + reservation_pool.size(),
                count(main_pool.num_idle()) + count(reservation_pool.num_idle()),
            ),
        };
        (open.saturating_sub(idle), idle)
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { main_pool, reservation_pool } => {
                reservation_pool.close().await;
                main_pool.close().await;
            }
        }
    }
}

async fn sqlite(path: &Path) -> Result<Pools> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        created.map_err(|error| StoreError::Unavailable(format!("{}: {error}", directory.display())))?;
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .disable_statement_logging();
    // A checkpoint every 4000 pages instead of 1000 interrupts writers less often; the log may grow to 16 MB for that.
    // https://www.sqlite.org/pragma.html#pragma_wal_autocheckpoint
    let create = options.clone().create_if_missing(true).pragma("wal_autocheckpoint", "4000");
    let mut retries = MAX_SQLITE_OPEN_RETRIES;
    let write = loop {
        match SqliteConnection::connect_with(&create).await {
            Ok(write) => break Writer(Arc::new(Mutex::new(Some(write)))),
            // The busy timeout does not apply to the change to a write-ahead log, which the first of several processes makes.
            Err(error) if retries > 0 && error.to_string().contains("locked") => {
                retries -= 1;
                tokio::time::sleep(SQLITE_OPEN_RETRY_DELAY).await;
            }
            Err(error) => return Err(StoreError::Unavailable(format!("{}: {error}", path.display()))),
        }
    };
    let read = SqlitePoolOptions::new()
        .acquire_timeout(SQLITE_ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .max_connections(SQLITE_READ_CONNECTIONS)
        .connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Pools::Sqlite { write, read })
}

fn options_from_parts(parts: &PostgresParts) -> PgConnectOptions {
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

fn postgres(options: PgConnectOptions, config: &DatabaseConfig) -> Pools {
    let mut options = options.application_name("bedrock-proxy").disable_statement_logging();
    if let Some(certificate) = &config.ssl_root_cert {
        options = options.ssl_root_cert(certificate);
    }
    // A fifth of the connections is for reservations, which are short.
    let max_reservation = (config.max_connections / 5).max(1);
    let max_main = (config.max_connections - max_reservation).max(1);
    let min_reservation = config.min_connections.min(1);
    let min_main = config.min_connections.saturating_sub(min_reservation).min(max_main);
    Pools::Postgres {
        main_pool: pool(max_main, min_main, "SELECT set_config('statement_timeout', '15s', false)")
            .connect_lazy_with(options.clone()),
        reservation_pool: pool(
            max_reservation,
            min_reservation,
            "SELECT set_config('statement_timeout', '2s', false), set_config('synchronous_commit', 'off', false)",
        )
        .connect_lazy_with(options),
    }
}

/// `session_settings` run on each new connection: as startup parameters, connection poolers such as PgBouncer would
/// reject them.
fn pool(max: u32, min: u32, session_settings: &'static str) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max)
        .min_connections(min)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut PgConnection, meta| {
            Box::pin(async move {
                if meta.idle_for > IDLE_CHECK_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::query(session_settings).execute(connection).await.map(drop) })
        })
}
