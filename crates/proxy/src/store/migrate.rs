//! Brings the schema up to date, in one transaction and under a lock, however many replicas start at once.
//!
//! A schema that is newer than this program is left alone: migrations only ever add, so that it can still serve.

use sqlx::{Connection as _, raw_sql};

use super::Result;
use super::pools::Pools;

struct Migration {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal) => {
        Migration {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("migrations/postgres/", $name, ".sql")),
        }
    };
}

const MIGRATIONS: [Migration; 2] = [migration!(1, "0001_seed"), migration!(2, "0002_accounting")];

/// What is known to have been applied.
const BOOK: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY, name VARCHAR(255) NOT NULL, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)";
pub(super) const LAST: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_migrations";
const NOTE: &str = "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)";

/// The names of those that come after version `last`.
pub(super) fn after(last: i64) -> Vec<&'static str> {
    MIGRATIONS.iter().filter(|migration| migration.version > last).map(|migration| migration.name).collect()
}

/// Applies what is missing.
pub(super) async fn run(pools: &Pools) -> Result<()> {
    macro_rules! apply {
        ($tx:ident, $text:ident) => {{
            raw_sql(BOOK).execute(&mut *$tx).await?;
            let last: i64 = sqlx::query_scalar(LAST).fetch_one(&mut *$tx).await?;
            for migration in MIGRATIONS.iter().filter(|migration| migration.version > last) {
                raw_sql(migration.$text).execute(&mut *$tx).await?;
                let note = sqlx::query(NOTE).bind(migration.version).bind(migration.name);
                note.execute(&mut *$tx).await?;
                tracing::info!(event = "database_migrated", migration = migration.name);
            }
            $tx.commit().await?;
        }};
    }
    match pools {
        Pools::Sqlite { write, .. } => {
            let mut connection = write.lock().await?;
            let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
            apply!(tx, sqlite);
        }
        Pools::Postgres { pool, .. } => {
            let mut tx = pool.begin().await?;
            // Widening the columns of a large table takes longer than a statement otherwise may.
            raw_sql("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(8081, 1)")
                .execute(&mut *tx)
                .await?;
            apply!(tx, postgres);
        }
    }
    Ok(())
}
