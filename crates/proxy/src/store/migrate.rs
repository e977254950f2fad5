//! Migrations: brings the schema up to date, in one transaction and under a lock, when several replicas start at once.
//!
//! A schema that is newer than this program is used as it is: migrations only add, so that it is compatible. A schema
//! with other migrations is rejected (`docs/decisions/0011-migrations-only-add.md`).

use sqlx::{Connection as _, raw_sql};

use super::pools::Pools;
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

const MIGRATIONS: [Migration; 2] = [migration!(1, "0001_seed"), migration!(2, "0002_accounting")];

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

/// Applies the missing migrations.
pub(super) async fn run(pools: &Pools) -> Result<()> {
    macro_rules! apply {
        ($tx:ident, $text:ident) => {{
            raw_sql(CREATE_TABLE).execute(&mut *$tx).await?;
            let applied: Vec<(i64, String)> = sqlx::query_as(APPLIED).fetch_all(&mut *$tx).await?;
            for migration in missing(&applied)? {
                raw_sql(migration.$text).execute(&mut *$tx).await?;
                let insert = sqlx::query(INSERT_APPLIED).bind(migration.version).bind(migration.name);
                insert.execute(&mut *$tx).await?;
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
        Pools::Postgres { main_pool, .. } => {
            let mut tx = main_pool.begin().await?;
            // Widening the columns of a large table can take longer than `statement_timeout` allows.
            raw_sql("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(8081, 1)")
                .execute(&mut *tx)
                .await?;
            apply!(tx, postgres);
        }
    }
    Ok(())
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
        assert_eq!(versions(&[]), [1, 2]);
        assert_eq!(versions(&[(1, "0001_seed")]), [2]);
        assert!(versions(&[(1, "0001_seed"), (2, "0002_accounting")]).is_empty());
        assert!(versions(&[(1, "0001_seed"), (2, "0002_accounting"), (9, "later")]).is_empty());
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
