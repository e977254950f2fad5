//! Faults of disks and databases.

use std::path::Path;
use std::pin::Pin;
use std::process::Command;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::disk::DiskFault;
use super::installation::{Installation, Setup};
use super::table::{ALL_PHASES, BOTH, DatabaseKind, Fault, Phase, nothing};
use crate::harness::postgres;
use crate::quota_under_load::reconcile::Place;

const SQLITE: &[DatabaseKind] = &[DatabaseKind::Sqlite];
const POSTGRES: &[DatabaseKind] = &[DatabaseKind::Postgres];
const UNAVAILABLE: Option<&str> = Some("[~]database unavailable; requests are served without it");

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A fault that changes nothing for clients.
const BASE: Fault = Fault {
    name: "",
    databases: SQLITE,
    phases: ALL_PHASES,
    prepare: |_| {},
    inject: nothing,
    heal: nothing,
    statuses: &[200],
    max_seconds: 5,
    readiness: None,
    check: nothing,
    needs_root: false,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "disk of the database full",
        prepare: database_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Full),
        heal: heal_disk,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "small disk of the database full",
        prepare: database_on_small_disk,
        inject: |installation| fill(installation, "database"),
        heal: |installation| empty(installation, "database"),
        readiness: UNAVAILABLE,
        needs_root: true,
        ..BASE
    },
    Fault {
        name: "disk of the database read-only",
        prepare: database_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::ReadOnly),
        heal: heal_disk,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "disk of the database with errors",
        prepare: database_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Errors),
        heal: heal_disk,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "disk of the database syncs slowly",
        prepare: database_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::SlowSync),
        heal: heal_disk,
        ..BASE
    },
    Fault {
        name: "disk of the WAL full",
        databases: BOTH,
        prepare: wal_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Full),
        heal: heal_disk,
        ..BASE
    },
    Fault {
        name: "disk of the WAL read-only",
        databases: BOTH,
        prepare: wal_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::ReadOnly),
        heal: heal_disk,
        ..BASE
    },
    Fault {
        name: "disk of database and WAL full",
        prepare: data_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Full),
        heal: heal_disk,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "disk of database and WAL with errors",
        prepare: data_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Errors),
        heal: heal_disk,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "disk of the log full",
        databases: SQLITE,
        prepare: log_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Full),
        heal: heal_disk,
        check: check_log_file,
        ..BASE
    },
    Fault {
        name: "disk of the log read-only",
        databases: SQLITE,
        prepare: log_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::ReadOnly),
        heal: heal_disk,
        check: check_log_file,
        ..BASE
    },
    Fault { name: "folder of the WAL deleted", databases: BOTH, inject: delete_wal_folder, ..BASE },
    Fault {
        name: "no temporary folder",
        prepare: temporary_folder_on_faulty_disk,
        inject: |installation| set(installation, DiskFault::Missing),
        heal: heal_disk,
        ..BASE
    },
    Fault {
        name: "database file locked by another process",
        inject: lock_file,
        heal: unlock,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "database file deleted",
        // What is on its way to the deleted file is lost with it.
        phases: &[Phase::Idle, Phase::BeforeRequest],
        inject: delete_file,
        ..BASE
    },
    Fault {
        name: "database file replaced by a backup",
        phases: &[Phase::Idle, Phase::BeforeRequest],
        inject: replace_file,
        ..BASE
    },
    Fault {
        name: "database server stopped",
        databases: POSTGRES,
        prepare: |setup| setup.own_cluster = true,
        inject: stop_server,
        heal: start_server,
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault {
        name: "database tables locked",
        databases: POSTGRES,
        inject: lock_tables,
        heal: unlock,
        readiness: UNAVAILABLE,
        max_seconds: 8,
        ..BASE
    },
    Fault {
        name: "database read-only",
        databases: POSTGRES,
        inject: |installation| set_read_only(installation, "on"),
        heal: |installation| set_read_only(installation, "off"),
        readiness: UNAVAILABLE,
        ..BASE
    },
    Fault { name: "connections to the database cut", databases: POSTGRES, inject: cut_connections, ..BASE },
];

fn database_on_faulty_disk(setup: &mut Setup<'_>) {
    let folder = setup.home.join("database");
    setup.set("DATABASE_URL", format!("sqlite:{}", folder.join("proxy.db").display()));
    setup.faulty_folder = Some(folder);
}

fn data_on_faulty_disk(setup: &mut Setup<'_>) {
    setup.faulty_folder = Some(setup.home.join("data"));
}

fn wal_on_faulty_disk(setup: &mut Setup<'_>) {
    setup.faulty_folder = Some(setup.home.join("data/journal"));
}

fn log_on_faulty_disk(setup: &mut Setup<'_>) {
    let folder = setup.home.join("logs");
    setup.set("LOG_OUTPUT", "both");
    setup.set("LOG_FILE_PATH", folder.join("proxy.json").display().to_string());
    setup.faulty_folder = Some(folder);
}

fn temporary_folder_on_faulty_disk(setup: &mut Setup<'_>) {
    let folder = setup.home.join("temporary");
    std::fs::create_dir(&folder).unwrap();
    setup.set("TMPDIR", folder.display().to_string());
    setup.faulty_folder = Some(folder);
}

/// A file system of its own, which is gone with the case.
fn database_on_small_disk(setup: &mut Setup<'_>) {
    let folder = setup.home.join("database");
    std::fs::create_dir(&folder).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&folder).status();
    assert!(mounted.unwrap().success());
    setup.set("DATABASE_URL", format!("sqlite:{}", folder.join("proxy.db").display()));
    setup.keep.push(Box::new(Mounted(folder)));
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn set(installation: &mut Installation, fault: DiskFault) -> Done<'_> {
    Box::pin(async move { installation.set_disk(fault) })
}

fn heal_disk(installation: &mut Installation) -> Done<'_> {
    set(installation, DiskFault::Nothing)
}

fn filler(installation: &Installation, folder: &str) -> std::path::PathBuf {
    installation.home.path().join(folder).join("filler")
}

/// Writes until there is no room.
fn fill<'a>(installation: &'a mut Installation, folder: &str) -> Done<'a> {
    use std::io::Write;
    let path = filler(installation, folder);
    Box::pin(async move {
        let mut file = std::fs::File::create(path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    })
}

fn empty<'a>(installation: &'a mut Installation, folder: &str) -> Done<'a> {
    let path = filler(installation, folder);
    Box::pin(async move { std::fs::remove_file(path).unwrap() })
}

/// The log file has lines of requests after the fault.
fn check_log_file(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move {
        let outcome = installation.send(super::table::Api::Messages, "ana", "", false).await;
        let path = installation.home.path().join("logs/proxy.json");
        crate::harness::wait_until("the request is in the log file", || {
            let id = outcome.id.as_deref().unwrap();
            std::fs::read_to_string(&path).is_ok_and(|text| text.contains(id))
        })
        .await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    })
}

fn delete_wal_folder(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move { std::fs::remove_dir_all(installation.home.path().join("data/journal")).unwrap() })
}

fn file(installation: &Installation) -> &Path {
    match &installation.place {
        Place::Sqlite(file) => file,
        Place::Postgres(_) => unreachable!(),
    }
}

fn url(installation: &Installation) -> &str {
    match &installation.place {
        Place::Postgres(url) => url,
        Place::Sqlite(_) => unreachable!(),
    }
}

fn lock_file(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move {
        let options = SqliteConnectOptions::new().filename(file(installation));
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        installation.held = Some(Box::new(connection));
    })
}

fn unlock(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move { installation.held = None })
}

fn delete_file(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move {
        std::fs::remove_file(file(installation)).unwrap();
        installation.forget_earlier_requests();
    })
}

fn replace_file(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move {
        let backup = installation.home.path().join("backup.db");
        let mut connection =
            SqliteConnectOptions::new().filename(file(installation)).connect().await.unwrap();
        let copy = AssertSqlSafe(format!("VACUUM INTO '{}'", backup.display()));
        sqlx::raw_sql(copy).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        std::fs::rename(backup, file(installation)).unwrap();
    })
}

fn stop_server(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move { tokio::task::block_in_place(|| installation.cluster.as_mut().unwrap().stop()) })
}

fn start_server(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move { tokio::task::block_in_place(|| installation.cluster.as_mut().unwrap().serve()) })
}

fn lock_tables(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move {
        let mut connection = postgres::connect(url(installation)).await;
        let lock =
            "BEGIN; LOCK TABLE users, reservations, metrics, schema_migrations IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
        installation.held = Some(Box::new(connection));
    })
}

fn set_read_only<'a>(installation: &'a mut Installation, on: &str) -> Done<'a> {
    let alter = format!(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {on}', current_database()); END $$;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND datname = current_database()"
    );
    Box::pin(async move {
        let mut connection = postgres::connect(url(installation)).await;
        // Acts on the transactions after it.
        sqlx::raw_sql("SET default_transaction_read_only = off").execute(&mut connection).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&mut connection).await.unwrap();
    })
}

fn cut_connections(installation: &mut Installation) -> Done<'_> {
    Box::pin(async move {
        let mut connection = postgres::connect(url(installation)).await;
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND datname = current_database()";
        sqlx::raw_sql(cut).execute(&mut connection).await.unwrap();
    })
}
