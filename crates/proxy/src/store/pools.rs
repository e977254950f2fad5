//! Connection pools and their session settings.

use std::io;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

use super::sqlite::{self, Writer};
use super::{Result, StoreError, migrate};
use crate::config::{DatabaseConfig, DatabaseUrl, PostgresParts};
use crate::error_text::without_os_codes;
use crate::tasks::Tasks;

/// Timeout of the pool for a connection. Longer than [`super::REQUEST_TIMEOUT`], so that the store's own limit applies.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Idle time after which a connection is pinged before it is used, so that a restart of the server is noticed.
const IDLE_CHECK_AFTER: Duration = Duration::from_secs(1);

/// Open connections.
#[derive(Clone, Debug)]
pub(super) enum Pools {
    /// One file.
    Sqlite {
        /// One connection, because SQLite has one writer: writers queue here and not in a busy loop. Beside it are the
        /// connections that read.
        write: Writer,
    },
    /// A server.
    Postgres {
        /// Everything that must survive a crash of the server.
        main_pool: PgPool,
        /// Reservations: a commit does not wait for the disk, because a crash of the server may lose them.
        reservation_pool: PgPool,
    },
}

impl Pools {
    /// Opens the file, or prepares the pools of the server without connecting.
    pub(super) async fn new(config: &DatabaseConfig, tasks: &Tasks) -> Result<Self> {
        match &config.url {
            DatabaseUrl::Sqlite(path) => Ok(Self::Sqlite { write: sqlite::open(path, tasks).await? }),
            DatabaseUrl::Postgres(url) => {
                let options = PgConnectOptions::from_str(url.expose());
                Ok(postgres(options.map_err(|_| StoreError::Invalid("DATABASE_URL".to_owned()))?, config))
            }
            DatabaseUrl::PostgresParts(parts) => Ok(postgres(options_from_parts(parts), config)),
        }
    }

    /// Applies the missing migrations. Sets `is_migrating` once a server is reached.
    pub(super) async fn migrate(&self, is_migrating: &AtomicBool) -> Result<()> {
        match self {
            Self::Sqlite { write, .. } => {
                let mut connection = write.lock().await?;
                migrate::run_on_sqlite(&mut connection).await?;
                connection.finish();
                Ok(())
            }
            Self::Postgres { main_pool, .. } => migrate::run_on_postgres(main_pool, is_migrating).await,
        }
    }

    /// Error of one connection attempt, which the pool does not report: `connection refused`, no TLS, a wrong password.
    /// `None` when it succeeds, and for SQLite.
    pub(super) async fn connection_error(&self) -> Option<StoreError> {
        let Self::Postgres { main_pool, .. } = self else { return None };
        let options = main_pool.connect_options();
        let server = format!("{}:{}", options.get_host(), options.get_port());
        match timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
                None
            }
            Ok(Err(error)) => Some(describe_connection_error(&server, error)),
            Err(_) => Some(StoreError::Unavailable(format!("{server} does not respond"))),
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
            Self::Sqlite { write } => {
                let (open, idle) = write.connections();
                (open, count(idle))
            }
            Self::Postgres { main_pool, reservation_pool } => (
                main_pool.size() + reservation_pool.size(),
                count(main_pool.num_idle()) + count(reservation_pool.num_idle()),
            ),
        };
        (open.saturating_sub(idle), idle)
    }

    /// Replaces the connections that read a SQLite file, after an error; the pools of PostgreSQL find out by themselves.
    pub(super) fn renew_readers(&self) {
        if let Self::Sqlite { write } = self {
            write.renew_readers();
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { write } => write.close().await,
            Self::Postgres { main_pool, reservation_pool } => {
                reservation_pool.close().await;
                main_pool.close().await;
            }
        }
    }
}

fn describe_connection_error(server: &str, error: sqlx::Error) -> StoreError {
    let reason = match error {
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        sqlx::Error::Io(error) => without_os_codes(&error.to_string()),
        // The text is sqlx's.
        sqlx::Error::Tls(error) if error.to_string().contains("does not support TLS") => {
            return StoreError::Unavailable(format!(
                "PostgreSQL at {server} responded, but has no TLS; set DB_SSLMODE=disable (in DATABASE_URL: sslmode=disable), \
                 or switch TLS on"
            ));
        }
        error => match StoreError::from(error) {
            StoreError::Unavailable(reason) => reason,
            error => return error,
        },
    };
    StoreError::Unavailable(format!("cannot connect to {server}: {reason}"))
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
