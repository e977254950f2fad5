//! What state a database is in, found out without changing it: for `migrate` and `doctor`.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::time::timeout;

use super::pools::Pools;
use super::{CALM, Result, StoreError, migrate};
use crate::config::{Database, Place};

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    /// Which database it is: `sqlite` or `postgresql`.
    pub kind: &'static str,
    /// Where it is, without any secret.
    pub place: String,
    /// Whether there is a file at all; a server always has its database.
    pub exists: bool,
    /// The migrations that were not applied yet, in their order.
    pub pending: Vec<&'static str>,
    config: Database,
}

impl Inspection {
    /// Looks at the database that the configuration names.
    ///
    /// # Errors
    /// When it cannot be reached or read.
    pub async fn read(config: &Database) -> Result<Self> {
        let (kind, place) = match &config.place {
            Place::File(path) => ("sqlite", path.display().to_string()),
            Place::Url(_) => ("postgresql", "DATABASE_URL".to_owned()),
            Place::Parts(parts) => {
                ("postgresql", format!("{}@{}:{}/{}", parts.user, parts.host, parts.port, parts.name))
            }
        };
        let last = match &config.place {
            Place::File(path) => last_of_file(path).await?,
            Place::Url(_) | Place::Parts(_) => Some(last_of_server(config).await?),
        };
        let pending = migrate::after(last.unwrap_or(0));
        Ok(Self { kind, place, exists: last.is_some(), pending, config: config.clone() })
    }

    /// Applies what is pending.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn migrate(&self) -> Result<()> {
        let pools = Pools::new(&self.config).await?;
        let done = migrate::run(&pools).await;
        pools.close().await;
        done
    }
}

/// The version of SQLite that this program contains.
///
/// # Errors
/// Never, unless memory is short.
pub async fn sqlite_version() -> Result<String> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?)
}

/// The last migration in the file; `None` when there is no file.
async fn last_of_file(path: &Path) -> Result<Option<i64>> {
    let away =
        |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("{}: {error}", path.display()));
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(away(&error)),
        Ok(_) => {}
    }
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| away(&error))?;
    let known = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'schema_migrations'";
    let known: i64 =
        sqlx::query_scalar(known).fetch_one(&mut connection).await.map_err(|error| away(&error))?;
    if known == 0 {
        return Ok(Some(0));
    }
    Ok(Some(sqlx::query_scalar(migrate::LAST).fetch_one(&mut connection).await?))
}

async fn last_of_server(config: &Database) -> Result<i64> {
    let pools = Pools::new(config).await?;
    let Pools::Postgres { pool, .. } = &pools else { return Ok(0) };
    let look = async {
        let known = "SELECT to_regclass('schema_migrations') IS NOT NULL";
        if !sqlx::query_scalar::<_, bool>(known).fetch_one(pool).await? {
            return Ok(0);
        }
        Ok(sqlx::query_scalar(migrate::LAST).fetch_one(pool).await?)
    };
    let last = timeout(CALM, look).await;
    pools.close().await;
    last.unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {} s", CALM.as_secs()))))
}
