//! Migrations: brings the schema up to date, in one transaction and under a lock, when several replicas start at once.
//!
//! A schema that is newer than this program is used as it is: migrations only add, so that it is compatible. A schema
//! with other migrations is rejected (`docs/decisions/0011-migrations-only-add.md`).

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{Connection as _, PgPool, SqliteConnection, raw_sql};

use super::{Result, StoreError};

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

const MIGRATIONS: [Migration; 5] = [
    migration!(1, "0001_seed"),
    migration!(2, "0002_accounting"),
    migration!(3, "0003_maintenance"),
    migration!(4, "0004_tokens"),
    migration!(5, "0005_operators"),
];

/// Version of the migration that widens columns of an adopted database.
const WIDENING: i64 = 2;

/// Table of the applied migrations.
const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY, name VARCHAR(255) NOT NULL, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)";
pub(super) const LAST_VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM schema_migrations";
const APPLIED: &str = "SELECT version, name FROM schema_migrations ORDER BY version";
const INSERT_APPLIED: &str = "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)";

/// Names of the migrations after version `last`.
pub(super) fn names_after(last: i64) -> Vec<&'static str> {
    MIGRATIONS.iter().filter(|migration| migration.version > last).map(|migration| migration.name).collect()
}

/// Applies the missing migrations inside a transaction, and commits it.
macro_rules! apply {
    ($tx:ident, $text:ident) => {{
        raw_sql(CREATE_TABLE).execute(&mut *$tx).await.map_err(schema_error)?;
        let applied = sqlx::query_as(APPLIED).fetch_all(&mut *$tx).await;
        let applied: Vec<(i64, String)> = applied.map_err(schema_error)?;
        for migration in missing(&applied)? {
            raw_sql(migration.$text).execute(&mut *$tx).await.map_err(schema_error)?;
            let insert = sqlx::query(INSERT_APPLIED).bind(migration.version).bind(migration.name);
            insert.execute(&mut *$tx).await.map_err(schema_error)?;
            tracing::info!(event = "database_migrated", migration = migration.name, "migration applied");
        }
        $tx.commit().await?;
        applied
    }};
}

/// Applies the missing migrations to a PostgreSQL database. Sets `is_migrating` once it is reached.
pub(super) async fn run_on_postgres(pool: &PgPool, is_migrating: &AtomicBool) -> Result<()> {
    let mut tx = pool.begin().await?;
    is_migrating.store(true, Ordering::Relaxed);
    // Widening the columns of a large table can take longer than `statement_timeout` allows.
    raw_sql("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(8081, 1)")
        .execute(&mut *tx)
        .await?;
    let applied = apply!(tx, postgres);
    if applied.iter().all(|(version, _)| *version < WIDENING) {
        warn_about_kept_columns(pool).await?;
    }
    Ok(())
}

/// Logs the columns that a migration could not widen: PostgreSQL does not change a column that a view depends on.
async fn warn_about_kept_columns(pool: &PgPool) -> Result<()> {
    const KEPT: &str = "SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = CURRENT_SCHEMA() AND table_name IN ('metrics', 'events')
            AND ((column_name = 'id' AND data_type <> 'bigint') OR (column_name = 'total_cost' AND numeric_scale < 9))
        ORDER BY 1";
    let columns: Vec<String> = sqlx::query_scalar(KEPT).fetch_all(pool).await?;
    if !columns.is_empty() {
        let columns = columns.join(", ");
        tracing::warn!(
            event = "columns_not_widened",
            columns,
            "columns keep their type, because a view depends on them"
        );
    }
    Ok(())
}

/// Applies the missing migrations to a SQLite file.
pub(super) async fn run_on_sqlite(connection: &mut SqliteConnection) -> Result<()> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    apply!(tx, sqlite);
    Ok(())
}

/// Interprets an error of a migration: it cannot succeed later if the tables are not those that it expects.
fn schema_error(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    // PostgreSQL: class 42 is "syntax error or access rule violation" (columns and tables that are missing, or of another
    // kind), 22 and 23 are rows that contradict it. Permissions (42501) can be granted.
    let is_postgres = code.len() == 5 && ["42", "22", "23"].iter().any(|class| code.starts_with(class));
    // SQLite: 1 is "SQL error or missing database", such as a table that exists already.
    let is_sqlite = code == "1";
    match StoreError::from(error) {
        StoreError::Unavailable(reason) | StoreError::Invalid(reason) | StoreError::Conflict(reason)
            if (is_postgres && code != "42501") || is_sqlite =>
        {
            StoreError::Schema(reason)
        }
        other => other,
    }
}

/// Migrations that a schema lacks, in their order.
///
/// # Errors
/// When the schema is not from any version of this program.
fn missing(applied: &[(i64, String)]) -> Result<Vec<&'static Migration>> {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let last = applied.iter().map(|(version, _)| *version).max().unwrap_or(0);
    for migration in &MIGRATIONS {
        let Migration { version, name, .. } = migration;
        match applied.iter().find(|(other, _)| other == version) {
            Some((_, other)) if other != name => {
                return Err(StoreError::Schema(format!(
                    "its migration {version} is {other:?}, and this program's is {name:?}; use the program that \
                     created it, or another database"
                )));
            }
            None if *version < last => {
                return Err(StoreError::Schema(format!(
                    "migration {version} ({name}) is missing, but later migrations are applied; restore a backup, or \
                     use another database"
                )));
            }
            _ => {}
        }
    }
    let newer: Vec<_> = applied.iter().filter(|(version, _)| *version > newest).collect();
    if let Some((version, name)) = newer.last() {
        tracing::warn!(
            event = "database_newer",
            version,
            migration = name,
            "database was migrated by a newer version of this program; it stays compatible"
        );
    }
    Ok(MIGRATIONS.iter().filter(|migration| migration.version > last).collect())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn applied(names: &[(i64, &str)]) -> Vec<(i64, String)> {
        names.iter().map(|(version, name)| (*version, (*name).to_owned())).collect()
    }

    #[test]
    fn missing_migrations_are_applied_in_order() {
        let versions = |names: &[_]| {
            missing(&applied(names)).unwrap().iter().map(|migration| migration.version).collect::<Vec<_>>()
        };
        let all: Vec<_> = MIGRATIONS.iter().map(|migration| (migration.version, migration.name)).collect();
        assert_eq!(versions(&[]), [1, 2, 3, 4, 5]);
        assert_eq!(versions(&all[..1]), [2, 3, 4, 5]);
        assert!(versions(&all).is_empty());
        assert!(versions(&[&all[..], &[(9, "later")]].concat()).is_empty());
    }

    #[test]
    fn foreign_schema_is_rejected() {
        for other in [&[(1, "0001_other")][..], &[(1, "0001_seed"), (3, "0003_later")]] {
            assert!(matches!(missing(&applied(other)), Err(StoreError::Schema(_))), "{other:?}");
        }
    }

    #[test]
    fn released_migrations_never_change() {
        // Databases have applied these: add a migration instead of changing one.
        let released = [
            ("0001_seed", "e2233ac97e32232a", "10fa16c0bb3170e5"),
            ("0002_accounting", "c40da5453c5b7930", "384e7a2ec59b3ba7"),
        ];
        let digest = |text: &str| {
            let hash = Sha256::digest(text.as_bytes());
            hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        for (migration, (name, sqlite, postgres)) in MIGRATIONS.iter().zip(released) {
            let actual = (migration.name, digest(migration.sqlite), digest(migration.postgres));
            assert_eq!(actual, (name, sqlite.to_owned(), postgres.to_owned()));
        }
    }
}
