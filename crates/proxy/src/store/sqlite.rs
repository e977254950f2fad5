//! The SQLite file: one connection that writes, and some that read. A connection that an error has broken is replaced, and
//! so are all of them when the file was deleted or replaced by another.

use std::fs::{self, DirBuilder};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::{Result, StoreError, migrate};

/// How long a statement of SQLite waits for the lock of another process, such as a backup: the default of
/// sqlx.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for one of the read connections of SQLite. The deadlines of the store are shorter, so that they apply.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that read a SQLite file at the same time: reads take microseconds, more would only use memory.
const READ_CONNECTIONS: u32 = 4;

/// Attempts and pause of the change to a write-ahead log while another process does it: five seconds in total.
const MAX_OPEN_RETRIES: u32 = 250;
const OPEN_RETRY_DELAY: Duration = Duration::from_millis(20);

/// How long a broken connection may take to close, as its thread may hang in a system call.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Interval at which the files beside the database are looked at.
const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The one writer of SQLite. Not in a pool, which would ping the connection after each use: a round trip to another
/// thread, for a file.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<DatabaseFile>,
    options: SqliteConnectOptions,
    slot: Mutex<Slot>,
    /// Whether the last use of the connection did not reach its end: it failed, or its future was dropped.
    is_suspect: AtomicBool,
}

#[derive(Debug)]
struct Slot {
    connection: Option<SqliteConnection>,
    is_closed: bool,
}

/// Exclusive use of the writer. Unless it ends with [`WriterGuard::finish`], the connection is replaced before its next
/// use. SQLite ends a transaction by itself when a disk is full, and sqlx would go on to believe that it is open. A
/// connection that was opened while the file system was read-only would never write.
pub(super) struct WriterGuard<'a> {
    connection: MappedMutexGuard<'a, SqliteConnection>,
    is_suspect: &'a AtomicBool,
}

impl WriterGuard<'_> {
    /// Ends the use, after the last statement has succeeded.
    pub(super) fn finish(self) {
        self.is_suspect.store(false, Ordering::Relaxed);
    }
}

impl Deref for WriterGuard<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for WriterGuard<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

impl Writer {
    /// Waits for the connection; replaces it if necessary.
    pub(super) async fn lock(&self) -> Result<WriterGuard<'_>> {
        let inner = &*self.0;
        let mut slot = inner.slot.lock().await;
        if slot.is_closed {
            return Err(StoreError::Unavailable("store closed".to_owned()));
        }
        let is_suspect = inner.is_suspect.swap(true, Ordering::Relaxed);
        let is_replaced = inner.file.is_replaced();
        if (is_suspect || is_replaced)
            && let Some(connection) = slot.connection.take()
        {
            let _ = timeout(CLOSE_TIMEOUT, connection.close()).await;
        }
        if slot.connection.is_none() {
            slot.connection = Some(self.connect(is_replaced).await?);
        }
        let connection = MutexGuard::try_map(slot, |slot| slot.connection.as_mut());
        let connection = connection.map_err(|_| StoreError::Unavailable("store closed".to_owned()))?;
        Ok(WriterGuard { connection, is_suspect: &inner.is_suspect })
    }

    /// Opens a connection; in a new file with the schema.
    async fn connect(&self, is_replaced: bool) -> Result<SqliteConnection> {
        let file = &self.0.file;
        if is_replaced {
            file.prepare_reopening()?;
        }
        let unavailable = |error| StoreError::Unavailable(format!("{}: {error}", file.path.display()));
        let mut connection = SqliteConnection::connect_with(&self.0.options).await.map_err(unavailable)?;
        if is_replaced {
            migrate::run_on_sqlite(&mut connection).await?;
            file.remember();
            tracing::info!(event = "database_reopened", path = %file.path.display(), "database file opened");
        }
        Ok(connection)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.slot.try_lock().is_ok()
    }

    pub(super) async fn close(&self) {
        let mut slot = self.0.slot.lock().await;
        slot.is_closed = true;
        if let Some(connection) = slot.connection.take() {
            let _ = connection.close().await;
        }
    }
}

/// Which file is open.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    state: std::sync::Mutex<FileState>,
}

#[derive(Debug)]
struct FileState {
    /// The file, its write-ahead log and the shared memory of its connections.
    open: [Option<FileId>; 3],
    checked_at: Instant,
    /// Connections for reading that are older than this are not used any more.
    readers_since: Option<Instant>,
    /// Whether it was logged that the file was replaced.
    is_reported: bool,
}

/// Device and inode.
type FileId = (u64, u64);

impl DatabaseFile {
    fn new(path: &Path) -> Arc<Self> {
        let state = FileState {
            open: [None; 3],
            checked_at: Instant::now(),
            readers_since: None,
            is_reported: false,
        };
        Arc::new(Self { path: path.to_owned(), state: state.into() })
    }

    fn id(&self, suffix: &str) -> Option<FileId> {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
    }

    fn ids(&self) -> [Option<FileId>; 3] {
        ["", "-wal", "-shm"].map(|suffix| self.id(suffix))
    }

    /// Remembers the files that are open now.
    fn remember(&self) {
        let mut state = self.lock();
        state.open = self.ids();
        state.checked_at = Instant::now();
        state.is_reported = false;
    }

    /// Whether the path does not lead to the file that was opened. SQLite would go on writing to a file without a name.
    fn is_replaced(&self) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        if state.open.first() != Some(&self.id("")) {
            state.readers_since = Some(now);
            return true;
        }
        if now - state.checked_at >= FILE_CHECK_INTERVAL {
            state.open = self.ids();
            state.checked_at = now;
        }
        false
    }

    /// Prepares the opening of another file. The log and the shared memory of the file that was open are deleted: SQLite
    /// would apply them to the new one.
    fn prepare_reopening(&self) -> Result<()> {
        if !std::mem::replace(&mut self.lock().is_reported, true) {
            tracing::error!(
                event = "database_replaced",
                path = %self.path.display(),
                "database file was deleted or replaced; opening the file that is there now"
            );
        }
        create_folder(&self.path)?;
        let (open, found) = (self.lock().open, self.ids());
        for (index, suffix) in [(1, "-wal"), (2, "-shm")] {
            if found.get(index) == open.get(index) && found.get(index).is_some_and(Option::is_some) {
                let mut path = self.path.clone().into_os_string();
                path.push(suffix);
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Replaces the connections that read, each at its next use.
    pub(super) fn renew_readers(&self) {
        self.lock().readers_since = Some(Instant::now());
    }

    /// Whether a connection of this age may still be used.
    fn may_read(&self, age: Duration) -> bool {
        self.lock().readers_since.is_none_or(|since| age < since.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file; it and its folder are created if missing.
pub(super) async fn open(path: &Path) -> Result<(Writer, SqlitePool, Arc<DatabaseFile>)> {
    create_folder(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        // Sorting needs no temporary folder.
        .pragma("temp_store", "memory")
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    // A checkpoint every 4000 pages instead of 1000 interrupts writers less often; the log may grow to 16 MB for that.
    // https://www.sqlite.org/pragma.html#pragma_wal_autocheckpoint
    let create = options.clone().create_if_missing(true).pragma("wal_autocheckpoint", "4000");
    let mut retries = MAX_OPEN_RETRIES;
    let connection = loop {
        match SqliteConnection::connect_with(&create).await {
            Ok(connection) => break connection,
            // The busy timeout does not apply to the change to a write-ahead log, which the first of several processes makes.
            Err(error) if retries > 0 && error.to_string().contains("locked") => {
                retries -= 1;
                tokio::time::sleep(OPEN_RETRY_DELAY).await;
            }
            Err(error) => return Err(StoreError::Unavailable(format!("{}: {error}", path.display()))),
        }
    };
    let file = DatabaseFile::new(path);
    file.remember();
    let write = Writer(Arc::new(Inner {
        file: Arc::clone(&file),
        options: create,
        slot: Mutex::new(Slot { connection: Some(connection), is_closed: false }),
        is_suspect: AtomicBool::new(false),
    }));
    let checked = Arc::clone(&file);
    let read = SqlitePoolOptions::new()
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .max_connections(READ_CONNECTIONS)
        .before_acquire(move |_, metadata| {
            let may_read = checked.may_read(metadata.age);
            Box::pin(async move { Ok(may_read) })
        })
        .connect_lazy_with(options.pragma("query_only", "on"));
    Ok((write, read, file))
}

/// Creates the folder of a file if it is missing.
fn create_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.map_err(|error| StoreError::Unavailable(format!("{}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inserts a row, in a transaction.
    async fn insert(writer: &Writer, bytes: i64) -> Result<()> {
        let mut connection = writer.lock().await?;
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO blobs VALUES (zeroblob($1))").bind(bytes).execute(&mut *tx).await?;
        tx.commit().await?;
        connection.finish();
        Ok(())
    }

    async fn opened(folder: &Path) -> Writer {
        let (writer, ..) = open(&folder.join("x.db")).await.unwrap();
        let mut connection = writer.lock().await.unwrap();
        sqlx::raw_sql("CREATE TABLE blobs (blob BLOB)").execute(&mut *connection).await.unwrap();
        connection.finish();
        writer
    }

    #[tokio::test]
    async fn full_database_heals_without_restart() {
        let folder = tempfile::tempdir().unwrap();
        let writer = opened(folder.path()).await;
        // Full for this connection; SQLite then rolls back by itself.
        let mut connection = writer.lock().await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut *connection).await.unwrap();
        connection.finish();
        let full = insert(&writer, 1_000_000).await.unwrap_err();
        assert_eq!(full, StoreError::Unavailable("database or disk is full".to_owned()));
        insert(&writer, 1_000_000).await.unwrap();
    }

    #[tokio::test]
    async fn dropped_transaction_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let writer = opened(folder.path()).await;
        for microseconds in 0..200 {
            let _ = timeout(Duration::from_micros(microseconds), insert(&writer, 10_000)).await;
        }
        insert(&writer, 1).await.unwrap();
        assert!(!writer.lock().await.unwrap().is_in_transaction());
    }

    #[tokio::test]
    async fn writer_follows_a_replaced_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let writer = opened(folder.path()).await;
        fs::remove_file(&path).unwrap();
        let mut connection = writer.lock().await.unwrap();
        let tables = "SELECT COUNT(*) FROM sqlite_master WHERE name IN ('blobs', 'users')";
        let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(tables, 1, "a new file with the schema");
        connection.finish();
        assert!(path.exists());
    }
}
