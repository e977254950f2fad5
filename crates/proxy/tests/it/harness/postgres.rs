//! A PostgreSQL of the test process's own: in a temporary directory, on a unix socket, gone when the process ends.

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// What to do when there is no PostgreSQL; the tests fail with it rather than pass by leaving half of them out.
const MISSING: &str = "no PostgreSQL to test with: install it (Debian: apt-get install postgresql; \
    scripts/test does so as root), or name the directory of initdb and postgres in PG_BIN";

/// A new, empty database in the cluster that the tests share; its URL.
pub(crate) async fn database() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let cluster = tokio::task::spawn_blocking(|| CLUSTER.get_or_init(Cluster::start)).await.unwrap();
    cluster.database().await
}

/// A connection that goes around the store.
pub(crate) async fn connect(url: &str) -> sqlx::PgConnection {
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

/// A server of one's own. Dropped, it ends.
pub(crate) struct Cluster {
    programs: PathBuf,
    directory: PathBuf,
    guard: Option<Child>,
}

impl Cluster {
    /// A new one that serves.
    pub(crate) fn start() -> Self {
        let programs = programs().expect(MISSING);
        // Sockets have short names, and whom root becomes has to get there: a TMPDIR may be neither short nor open.
        let directory =
            tempfile::Builder::new().prefix("bedrock-proxy-pg").tempdir_in("/tmp").unwrap().keep();
        let mut initdb = Command::new(programs.join("initdb"));
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pgdata",
        ]);
        initdb.arg(directory.join("data"));
        unprivileged(&mut initdb, &directory);
        let made = initdb.current_dir(&directory).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut cluster = Self { programs, directory, guard: None };
        cluster.serve();
        cluster
    }

    /// Serves again after a stop.
    // The machine's clock is what a test may ask for.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn serve(&mut self) {
        // The shell waits for the end of its standard input, which is the end of this process, however it ends; then
        // it stops the server and takes the directory away.
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", GUARD, "guard"]).arg(self.programs.join("postgres")).arg(&self.directory);
        unprivileged(&mut guard, &self.directory);
        let mut guard = guard
            .current_dir(&self.directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err()
            || !log(&self.directory).contains("ready to accept connections")
        {
            let ended = guard.try_wait().unwrap();
            let why = log(&self.directory);
            assert!(ended.is_none() && Instant::now() < deadline, "postgres does not start: {why}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.guard = Some(guard);
    }

    /// Stops at once, as if it had crashed, and keeps what is on disk.
    pub(crate) fn stop(&mut self) {
        let mut guard = self.guard.take().unwrap();
        guard.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        guard.wait().unwrap();
    }

    /// The path of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// A new, empty database; its URL.
    pub(crate) async fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let options =
            PgConnectOptions::new_without_pgpass().socket(&self.directory).port(5432).username("postgres");
        let mut connection = options.database("postgres").connect().await.unwrap();
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let host = self.directory.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{host}/{name}?sslmode=disable")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        drop(guard.stdin.take());
        let _ = guard.wait();
    }
}

const GUARD: &str = r#"
"$1" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=1000 \
    >"$2/log" 2>&1 </dev/null &
server=$!
read -r word
kill -QUIT "$server"
wait "$server"
[ "$word" = keep ] || rm -rf "$2"
"#;

fn log(directory: &Path) -> String {
    let mut text = String::new();
    let _ = std::fs::File::open(directory.join("log")).and_then(|mut file| file.read_to_string(&mut text));
    text
}

/// PostgreSQL refuses to be root, so root becomes somebody else who owns the directory.
fn unprivileged(command: &mut Command, directory: &Path) {
    const NOBODY: u32 = 65534;
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Where `initdb` and `postgres` are: `PG_BIN`, the path, or where Debian puts them.
#[allow(clippy::disallowed_methods)]
fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = debian.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let mut places = named.into_iter().chain(std::env::split_paths(&path)).chain(debian.into_iter().rev());
    places.find(|place| place.join("initdb").is_file() && place.join("postgres").is_file())
}
