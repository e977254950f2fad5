//! Failing parts: a handler, a disk, a database, limits of the system. Rows 31, 45 and 49 of `docs/hardening.md`.

mod aws;
mod disk;
mod installation;
mod store;
mod table;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fake_bedrock::FakeBedrock;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use sqlx::Connection;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::postgres;
use crate::harness::process::{self, Process};
use crate::harness::raw_http::{next, status};
use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::{SECRET, captured_logs, full, message_body, spawn, wait_for, wait_until};

/// The URL of a fake Bedrock that lives as long as the test.
async fn bedrock() -> String {
    let fake = FakeBedrock::bind(fake_bedrock::Config::default(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let fake = fake.await.unwrap();
    let url = fake.url();
    spawn(fake.run());
    url
}

fn variables<'a>(bedrock: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let base = [
        ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
        ("AWS_BEDROCK_SECRET_KEY", SECRET),
        ("AWS_ENDPOINT_URL", bedrock),
        ("PORT", "0"),
        ("LOG_OUTPUT", "stdout"),
    ];
    base.into_iter().chain(more.iter().copied()).collect()
}

/// Sends one request to `address`; returns the status.
async fn status_of(address: SocketAddr, prompt: &str) -> u16 {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{address}/v1/messages"))
        .body(full(message_body(prompt, false).to_string().into()))
        .unwrap();
    let response =
        tokio::time::timeout(Duration::from_secs(20), client.request(request)).await.unwrap().unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn panic_fails_only_its_own_request() {
    // No configuration can say so; a time that cannot be added to any other is a mistake that panics.
    for (idle, completed) in [(Duration::MAX, true), (Duration::from_millis(50), false)] {
        let server = authenticated_server_with(&[], |config| {
            config.inference.ping_interval = Duration::MAX;
            config.inference.idle_timeout = idle;
        })
        .await;
        let key = token("ana", &json!({}));
        let body = message_body("[pause 300] canary-of-a-panic", true).to_string();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-api-key: {key}\r\n"
        );
        let response = server.send_raw(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
        if completed {
            assert_eq!(status(&response), "500", "{response}");
            assert!(
                response.contains("internal error in the proxy") && response.contains("request-id: req_")
            );
        }
        assert!(!response.contains("message_stop"), "{response}");
        for inside in ["panicked", "src/", "overflow", "backtrace"] {
            assert!(!response.contains(inside), "{inside}: {response}");
        }
        server.wait_until_idle("ana").await;
        assert_eq!(server.post_as(&key).await.status, 200, "whoever does not stream is served");
    }
    assert!(!captured_logs().contains("canary-of-a-panic"));
}

#[tokio::test]
async fn full_disk_delays_usage_records_only() {
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let all = variables(&bedrock, &[("DATA_DIR", "data")]);
    // First the schema, then no file may grow beyond a little more than that.
    let first = Process::start(home.path(), "", &all);
    assert_eq!(status_of(first.address, "Hello").await, 200);
    first.signal("TERM");
    drop(first);
    let full = "trap '' XFSZ; ulimit -f 300";
    let mut process = Process::start(home.path(), full, &all);
    for _ in 0..60 {
        assert_eq!(status_of(process.address, "Hello").await, 200);
    }
    process.signal("TERM");
    let message = process.end();
    let grew = !message.contains("disk I/O error") && !message.contains("disk is full");
    assert!(!grew, "the database could grow: {message}");
    let kept = std::fs::read_dir(home.path().join("data/journal")).unwrap().count();
    assert!(kept > 1, "what was spent is in the journal");
    let after = Process::start(home.path(), "", &all);
    wait_for("every request is counted", async || (rows(home.path()).await >= 61).then_some(())).await;
    assert_eq!(rows(home.path()).await, 61);
    assert!(!after.output_text().contains("cannot be read"), "no line was spoilt: {}", after.output_text());
}

async fn rows(home: &Path) -> i64 {
    let url = format!("sqlite:{}?mode=ro", home.join("data/bedrock-proxy.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM metrics").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count
}

#[tokio::test]
async fn unavailable_database_and_full_wal_serve_requests() {
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let unavailable = "postgres://nobody@127.0.0.1:1/nowhere?sslmode=disable";
    let all = variables(&bedrock, &[("DATA_DIR", "data"), ("DATABASE_URL", unavailable)]);
    let mut process = Process::start(home.path(), "trap '' XFSZ; ulimit -f 16", &all);
    for _ in 0..25 {
        assert_eq!(status_of(process.address, "Hello").await, 200);
    }
    process.signal("TERM");
    let message = process.end();
    assert!(message.contains("WAL"), "the message names the WAL: {message}");
    // What did fit is stored later, and nothing of it is spoilt by what did not.
    let url = postgres::database().await;
    let all = variables(&bedrock, &[("DATA_DIR", "data"), ("DATABASE_URL", &url), ("DB_MIN_CONNS", "0")]);
    let after = Process::start(home.path(), "", &all);
    let mut connection = postgres::connect(&url).await;
    let count: i64 = wait_for("a usage record", async || {
        let count = sqlx::query_scalar("SELECT count(*) FROM metrics").fetch_one(&mut connection).await;
        count.ok().filter(|count| *count > 0)
    })
    .await;
    assert!((3..25).contains(&count), "{count} of 25 did fit");
    assert!(!after.output_text().contains("cannot be read"), "{}", after.output_text());
}

#[tokio::test]
async fn read_only_database_delays_usage_records_only() {
    let url = postgres::database().await;
    let server = authenticated_server_with(&[("DATABASE_URL", &url), ("DB_MIN_CONNS", "0")], |_| {}).await;
    let (ana, eve) = (token("ana", &json!({})), token("eve", &json!({})));
    assert_eq!(server.post_as(&ana).await.status, 200);
    let read_only = async |on: &str| {
        let mut other = postgres::connect(&url).await;
        // Acts on the transactions after it.
        sqlx::raw_sql("SET default_transaction_read_only = off").execute(&mut other).await.unwrap();
        let alter = format!(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {on}', current_database()); END $$;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE pid <> pg_backend_pid() AND datname = current_database()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(alter)).execute(&mut other).await.unwrap();
    };
    read_only("on").await;
    for _ in 0..10 {
        assert_eq!(server.post_as(&ana).await.status, 200);
        assert_eq!(server.post_as(&eve).await.status, 200, "a new user, too");
    }
    read_only("off").await;
    let mut connection = postgres::connect(&url).await;
    let count = wait_for("every request is counted", async || {
        let count = "SELECT count(*) FROM metrics";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        (count >= 21).then_some(count)
    })
    .await;
    assert_eq!(count, 21, "once");
}

#[tokio::test]
async fn exhausted_file_descriptors_pause_accepting() {
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let all = variables(&bedrock, &[("DATA_DIR", "data")]);
    // Half of those beyond 64 are for connections to AWS.
    let process = Process::start(home.path(), "ulimit -n 128", &all);
    let mut open = TcpStream::connect(process.address).await.unwrap();
    let get = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    open.write_all(get).await.unwrap();
    assert_eq!(next(&mut open, 12).await, "HTTP/1.1 200");
    let connections = join_all((0..100).map(|_| TcpStream::connect(process.address))).await;
    let warning = "the limit of open files is too low";
    wait_until("it is logged", || process.output_text().contains(warning)).await;
    open.write_all(get).await.unwrap();
    let response = async {
        // The rest of the answer before comes first.
        let mut seen = String::new();
        while !seen.contains("HTTP/1.1 200") {
            seen.push_str(&next(&mut open, 1).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), response).await.expect("who is connected is served");
    drop(connections);
    assert_eq!(status_of(process.address, "Hello").await, 200);
    assert!(!process.output_text().contains("connection not accepted"), "the limit is never reached");
}

#[tokio::test]
async fn soft_limit_of_open_files_is_raised() {
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let all = variables(&bedrock, &[("DATA_DIR", "data")]);
    let process = Process::start(home.path(), "ulimit -S -n 100", &all);
    assert_eq!(status_of(process.address, "Hello").await, 200);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.child.id())).unwrap();
    let limits = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
    let [soft, hard] = [3, 4].map(|column| limits.split_whitespace().nth(column).unwrap());
    assert_eq!(soft, hard, "{limits}");
}

#[tokio::test]
async fn idle_streams_take_little_memory() {
    const STREAMS: usize = 150;
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let all = variables(&bedrock, &[("DATA_DIR", "data")]);
    let process = Process::start(home.path(), "", &all);
    assert_eq!(status_of(process.address, "Hello").await, 200);
    let before = process.resident();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let streams = (0..STREAMS).map(|_| {
        let body = full(message_body("[pause 60000] Hello", true).to_string().into());
        client.request(Request::post(format!("http://{}/v1/messages", process.address)).body(body).unwrap())
    });
    let streams = join_all(streams).await;
    assert!(streams.iter().all(|response| response.as_ref().unwrap().status() == 200));
    let each = process.resident().saturating_sub(before) / STREAMS as u64;
    assert!(each < 400_000, "a quiet stream takes {each} bytes");
    assert!(process.resident() < 256 << 20, "{} bytes in all", process.resident());
}

#[tokio::test]
async fn hangup_ends_nothing() {
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let mut process = Process::start(home.path(), "", &variables(&bedrock, &[("DATA_DIR", "data")]));
    let (status, ()) = tokio::join!(status_of(process.address, "[slow 500] Hello"), async {
        for count in 1..=3 {
            process.signal("HUP");
            wait_until("it is logged", || {
                process.output_text().matches(r#""event":"configuration_reloaded""#).count() >= count
            })
            .await;
        }
    });
    assert_eq!(status, 200, "a request in flight");
    assert!(process.child.try_wait().unwrap().is_none());
    assert_eq!(status_of(process.address, "Hello").await, 200);
}

/// A control group whose processes may have a limited number of threads. Dropped, it is removed.
struct ThreadGroup(PathBuf);

impl ThreadGroup {
    /// `None` where this user may make none.
    fn new(name: &str) -> Option<Self> {
        let name = format!("bedrock-proxy-{name}-{}", std::process::id());
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].iter().find_map(|root| {
            let group = Self(Path::new(root).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            group.0.join("pids.max").exists().then_some(group)
        })
    }

    /// A shell command that puts the shell into the group.
    fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.0.display())
    }

    fn threads(&self) -> String {
        std::fs::read_to_string(self.0.join("pids.current")).unwrap()
    }

    fn allow(&self, threads: &str) {
        std::fs::write(self.0.join("pids.max"), threads).unwrap();
    }
}

impl Drop for ThreadGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn running_server_needs_no_more_threads() {
    let Some(group) = ThreadGroup::new("running") else { return };
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    // The name is looked up by a thread for blocking work.
    let bedrock = bedrock.replace("127.0.0.1", "localhost");
    let all = variables(&bedrock, &[("DATA_DIR", "data")]);
    let process = Process::start(home.path(), &group.enter(), &all);
    assert_eq!(status_of(process.address, "Hello").await, 200);
    // Tokio ends threads that were idle for 10 seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    group.allow(group.threads().trim());
    let large = "word ".repeat(80_000);
    for _ in 0..3 {
        let statuses = join_all((0..6).map(|number| {
            let prompt = if number % 2 == 0 { large.as_str() } else { "Hello" };
            status_of(process.address, prompt)
        }));
        let statuses = statuses.await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    assert!(!process.output_text().contains("panic"), "{}", process.output_text());
    group.allow("max");
    assert_eq!(status_of(process.address, &large).await, 200);
    drop(process);
}

#[tokio::test]
async fn start_without_enough_threads_names_the_limit() {
    let Some(group) = ThreadGroup::new("start") else { return };
    let (home, bedrock) = (tempfile::tempdir().unwrap(), bedrock().await);
    let all = variables(&bedrock, &[("DATA_DIR", "data")]);
    let mut command = process::command(home.path(), &group.enter(), &all);
    group.allow("3");
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(20), output).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("threads that are needed") && text.contains("pids.max"), "{text}");
    assert!(!output.status.success());
}
