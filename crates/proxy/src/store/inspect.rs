//! Read-only inspection of a database, for `migrate` and `doctor`.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::timeout;

use super::pools::Pools;
use super::{BACKGROUND_TIMEOUT, Result, StoreError, migrate};
use crate::config::{DatabaseConfig, DatabaseUrl};
use crate::tasks::Tasks;

/// State of a database.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// Kind of the database: `sqlite` or `postgresql`.
    pub(crate) kind: &'static str,
    /// File or server, without secrets.
    pub(crate) location: String,
    /// Whether the file exists; always true for a server.
    pub(crate) exists: bool,
    /// Migrations that are not applied yet, in their order.
    pub(crate) pending: Vec<&'static str>,
    config: DatabaseConfig,
}

impl Inspection {
    /// Inspects the database of the configuration.
    ///
    /// # Errors
    /// When it cannot be reached or read.
    pub(crate) async fn read(config: &DatabaseConfig) -> Result<Self> {
        let (kind, location) = match &config.url {
            DatabaseUrl::Sqlite(path) => ("sqlite", path.display().to_string()),
            DatabaseUrl::Postgres(_) => ("postgresql", "DATABASE_URL".to_owned()),
            DatabaseUrl::PostgresParts(parts) => {
                ("postgresql", format!("{}@{}:{}/{}", parts.user, parts.host, parts.port, parts.name))
            }
        };
        let last = match &config.url {
            DatabaseUrl::Sqlite(path) => last_of_file(path).await?,
            DatabaseUrl::Postgres(_) | DatabaseUrl::PostgresParts(_) => Some(last_of_server(config).await?),
        };
        let pending = migrate::names_after(last.unwrap_or(0));
        Ok(Self { kind, location, exists: last.is_some(), pending, config: config.clone() })
    }

    /// Applies the pending migrations.
    ///
    /// # Errors
    /// When one of them fails.
    pub(crate) async fn migrate(&self) -> Result<()> {
        let pools = Pools::new(&self.config, &Tasks::default()).await?;
        let result = pools.migrate(&AtomicBool::new(false)).await;
        pools.close().await;
        result
    }
}

/// Version of the SQLite inside this program.
///
/// # Errors
/// Never, unless memory is short.
pub(crate) async fn sqlite_version() -> Result<String> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?)
}

/// Version of the last migration of a file; `None` without a file.
async fn last_of_file(path: &Path) -> Result<Option<i64>> {
    let unavailable =
        |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("{}: {error}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(&error)),
        Ok(_) => {}
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| unavailable(&error))?;
    let exists = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'schema_migrations'";
    let tables: i64 =
        sqlx::query_scalar(exists).fetch_one(&mut connection).await.map_err(|error| unavailable(&error))?;
    if tables == 0 {
        return Ok(Some(0));
    }
    Ok(Some(sqlx::query_scalar(migrate::LAST_VERSION).fetch_one(&mut connection).await?))
}

async fn last_of_server(config: &DatabaseConfig) -> Result<i64> {
    let pools = Pools::new(config, &Tasks::default()).await?;
    let Pools::Postgres { main_pool, .. } = &pools else { return Ok(0) };
    let last_version = async {
        let exists = "SELECT to_regclass('schema_migrations') IS NOT NULL";
        if !sqlx::query_scalar::<_, bool>(exists).fetch_one(main_pool).await? {
            return Ok(0);
        }
        Ok(sqlx::query_scalar(migrate::LAST_VERSION).fetch_one(main_pool).await?)
    };
    let last = async {
        match pools.connection_error().await {
            Some(error) => Err(error),
            None => last_version.await,
        }
    };
    let last = timeout(BACKGROUND_TIMEOUT, last).await;
    pools.close().await;
    last.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!("no response within {} s", BACKGROUND_TIMEOUT.as_secs())))
    })
}
