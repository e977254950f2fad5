//! The SQLite file: one connection that writes, and some that read. A connection that an error has broken is replaced, and
//! so are all of them when the file was deleted or replaced by another. All old ones are closed before the new file is
//! opened: the last connection to a file deletes its write-ahead log by name, and would delete that of the new one.
//! <https://www.sqlite.org/wal.html#persistence_of_wal_mode>

use std::fmt;
use std::fs::{self, DirBuilder};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::{Result, StoreError, migrate};
use crate::tasks::Tasks;

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

/// Uses of the writer between two checkpoints in the background: some megabytes of the write-ahead log.
const USES_PER_CHECKPOINT: u32 = 64;

/// Size of the write-ahead log, in pages of 4 KB, at which the writer makes the checkpoint itself and waits for the disk: the
/// log begins anew only when all of it is copied, and under load a checkpoint beside the writer always leaves a rest.
/// <https://www.sqlite.org/wal.html#avoiding_excessively_large_wal_files>
const WRITER_CHECKPOINT_PAGES: &str = "16000";

/// The one writer of SQLite. Not in a pool, which would ping the connection after each use: a round trip to another
/// thread, for a file.
#[derive(Clone, Debug)]
pub(super) struct Writer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Arc<DatabaseFile>,
    options: SqliteConnectOptions,
    slot: Mutex<Slot>,
    /// Connections that read; another pool for another file.
    readers: std::sync::Mutex<SqlitePool>,
    /// Whether the last use of the connection did not reach its end: it failed, or its future was dropped.
    is_suspect: AtomicBool,
    /// Uses of the writer since the last checkpoint in the background began.
    uses: AtomicU32,
    /// Held by that checkpoint.
    checkpoint: Arc<Mutex<()>>,
    /// Runs that checkpoint.
    tasks: Tasks,
}

struct Slot {
    connection: Option<SqliteConnection>,
    /// Ends of earlier connections.
    closing: Vec<BoxFuture<'static, sqlx::Result<()>>>,
    is_closed: bool,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("is_closed", &self.is_closed).finish_non_exhaustive()
    }
}

impl Slot {
    /// Begins to close the connection.
    fn begin_close(&mut self) {
        self.closing
            .extend(self.connection.take().map(|connection| Box::pin(connection.close()) as BoxFuture<_>));
    }

    /// Waits until all earlier connections are closed.
    async fn closed(&mut self) {
        while let Some(closing) = self.closing.last_mut() {
            // An error means that its thread has ended.
            let _ = closing.await;
            self.closing.pop();
        }
    }
}

/// Exclusive use of the writer. Unless it ends with [`WriterGuard::finish`], the connection is replaced before its next
/// use. SQLite ends a transaction by itself when a disk is full, and sqlx would go on to believe that it is open. A
/// connection that was opened while the file system was read-only would never write.
pub(super) struct WriterGuard<'a> {
    connection: MappedMutexGuard<'a, SqliteConnection>,
    inner: &'a Arc<Inner>,
}

impl WriterGuard<'_> {
    /// Ends the use, after the last statement has succeeded.
    pub(super) fn finish(self) {
        self.inner.is_suspect.store(false, Ordering::Relaxed);
        self.inner.count_use();
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
        let inner = &self.0;
        let mut slot = inner.slot.lock().await;
        if slot.is_closed {
            return Err(StoreError::Unavailable("store closed".to_owned()));
        }
        let is_suspect = inner.is_suspect.swap(true, Ordering::Relaxed);
        let is_replaced = inner.file.is_replaced();
        if is_suspect || is_replaced {
            slot.begin_close();
        }
        if is_replaced {
            inner.close_all(&mut slot).await?;
            slot.connection = Some(inner.reopen().await?);
        } else if slot.connection.is_none() {
            let _ = timeout(CLOSE_TIMEOUT, slot.closed()).await;
            slot.connection = Some(inner.connect().await?);
        }
        let connection = MutexGuard::try_map(slot, |slot| slot.connection.as_mut());
        let connection = connection.map_err(|_| StoreError::Unavailable("store closed".to_owned()))?;
        Ok(WriterGuard { connection, inner })
    }

    /// The connections that read the file that is there now.
    pub(super) async fn readers(&self) -> Result<SqlitePool> {
        if self.0.file.is_replaced() {
            self.lock().await?.finish();
        }
        Ok(self.0.readers())
    }

    /// Numbers of open and of idle connections.
    pub(super) fn connections(&self) -> (u32, usize) {
        let readers = self.0.readers();
        (readers.size() + 1, readers.num_idle() + usize::from(self.0.slot.try_lock().is_ok()))
    }

    /// Replaces the connections that read, each at its next use.
    pub(super) fn renew_readers(&self) {
        self.0.file.lock().readers_since = Some(Instant::now());
    }

    pub(super) async fn close(&self) {
        self.0.readers().close().await;
        let mut slot = self.0.slot.lock().await;
        slot.is_closed = true;
        slot.begin_close();
        slot.closed().await;
    }
}

impl Inner {
    /// Counts a use of the writer. Every [`USES_PER_CHECKPOINT`] uses, one of the connections that read copies the
    /// write-ahead log into the file, so that the writer need not wait for the disk.
    fn count_use(&self) {
        if self.uses.fetch_add(1, Ordering::Relaxed) + 1 < USES_PER_CHECKPOINT {
            return;
        }
        let Ok(running) = Arc::clone(&self.checkpoint).try_lock_owned() else { return };
        self.uses.store(0, Ordering::Relaxed);
        let readers = self.readers();
        self.tasks.spawn(async move {
            let checkpoint = sqlx::raw_sql("PRAGMA wal_checkpoint(PASSIVE)");
            if let Err(error) = checkpoint.execute(&readers).await {
                // The writer makes up for it when its log is long.
                tracing::debug!(%error, "checkpoint failed");
            }
            drop(running);
        });
    }

    fn readers(&self) -> SqlitePool {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes every connection to a file that was deleted or replaced.
    ///
    /// # Errors
    /// When one of them is still in use: another file cannot be opened yet.
    async fn close_all(&self, slot: &mut Slot) -> Result<()> {
        self.file.report_replaced();
        let readers = self.readers();
        let closed = async {
            readers.close().await;
            slot.closed().await;
        };
        timeout(CLOSE_TIMEOUT, closed).await.map_err(|_| {
            let path = self.file.path.display();
            StoreError::Unavailable(format!("{path}: the file that was there before is still in use"))
        })
    }

    async fn connect(&self) -> Result<SqliteConnection> {
        let connection = SqliteConnection::connect_with(&self.options).await;
        connection.map_err(|error| StoreError::Unavailable(format!("{}: {error}", self.file.path.display())))
    }

    /// Opens the file that is there now, or a new one, with the schema.
    async fn reopen(&self) -> Result<SqliteConnection> {
        self.file.prepare_reopening()?;
        let mut connection = self.connect().await?;
        migrate::run_on_sqlite(&mut connection).await?;
        self.file.remember();
        *self.readers.lock().unwrap_or_else(PoisonError::into_inner) = readers(&self.options, &self.file);
        tracing::info!(event = "database_reopened", path = %self.file.path.display(), "database file opened");
        Ok(connection)
    }
}

/// Which file is open.
#[derive(Debug)]
struct DatabaseFile {
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
            return true;
        }
        if now - state.checked_at >= FILE_CHECK_INTERVAL {
            state.open = self.ids();
            state.checked_at = now;
        }
        false
    }

    fn report_replaced(&self) {
        if !std::mem::replace(&mut self.lock().is_reported, true) {
            tracing::error!(
                event = "database_replaced",
                path = %self.path.display(),
                "database file was deleted or replaced; opening the file that is there now"
            );
        }
    }

    /// Prepares the opening of another file. If the log and the shared memory of the file that was open are still there,
    /// they are deleted: SQLite would apply them to the new one.
    fn prepare_reopening(&self) -> Result<()> {
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

    /// Whether a connection of this age may still be used.
    fn may_read(&self, age: Duration) -> bool {
        self.lock().readers_since.is_none_or(|since| age < since.elapsed())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file; it and its folder are created if missing.
pub(super) async fn open(path: &Path, tasks: &Tasks) -> Result<Writer> {
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
    let create =
        options.clone().create_if_missing(true).pragma("wal_autocheckpoint", WRITER_CHECKPOINT_PAGES);
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
    Ok(Writer(Arc::new(Inner {
        readers: readers(&create, &file).into(),
        file,
        options: create,
        slot: Mutex::new(Slot { connection: Some(connection), closing: Vec::new(), is_closed: false }),
        is_suspect: AtomicBool::new(false),
        uses: AtomicU32::new(0),
        checkpoint: Arc::default(),
        tasks: tasks.clone(),
    })))
}

/// Connections that read `file`, opened when they are needed.
fn readers(options: &SqliteConnectOptions, file: &Arc<DatabaseFile>) -> SqlitePool {
    let file = Arc::clone(file);
    SqlitePoolOptions::new()
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .max_connections(READ_CONNECTIONS)
        .before_acquire(move |_, metadata| {
            let may_read = file.may_read(metadata.age);
            Box::pin(async move { Ok(may_read) })
        })
        .connect_lazy_with(options.clone().create_if_missing(false).pragma("query_only", "on"))
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

    #[tokio::test]
    async fn log_is_copied_beside_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let writer = opened(folder.path()).await;
        let size = || fs::metadata(folder.path().join("x.db")).unwrap().len();
        let before = size();
        for _ in 0..USES_PER_CHECKPOINT {
            insert(&writer, 10_000).await.unwrap();
        }
        drop(writer.0.checkpoint.lock().await);
        assert!(size() > before + 500_000, "{before} {}", size());
    }

    async fn opened(folder: &Path) -> Writer {
        let writer = open(&folder.join("x.db"), &Tasks::default()).await.unwrap();
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

    #[tokio::test]
    async fn old_file_is_closed_before_the_new_one_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let writer = opened(folder.path()).await;
        let mut reading = writer.readers().await.unwrap().acquire().await.unwrap();
        sqlx::query("SELECT COUNT(*) FROM blobs").execute(&mut *reading).await.unwrap();
        fs::remove_file(&path).unwrap();
        let in_use = writer.lock().await.err().unwrap().to_string();
        assert!(in_use.contains("still in use") && !path.exists(), "{in_use}");
        assert!(writer.readers().await.is_err());
        drop(reading);
        wait_until_free(&writer).await;
        insert(&writer, 1).await.unwrap();
        let mut other = SqliteConnection::connect_with(&writer.0.options).await.unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM blobs").fetch_one(&mut other).await.unwrap();
        assert_eq!(rows, 1, "its write-ahead log is still there");
        let pool = writer.readers().await.unwrap();
        assert!(sqlx::query("SELECT blob FROM blobs").fetch_one(&pool).await.is_ok(), "readers follow");
    }

    /// Opens the new file, with a table.
    async fn wait_until_free(writer: &Writer) {
        let mut connection = loop {
            if let Ok(connection) = writer.lock().await {
                break connection;
            }
        };
        sqlx::raw_sql("CREATE TABLE blobs (blob BLOB)").execute(&mut *connection).await.unwrap();
        connection.finish();
    }
}
