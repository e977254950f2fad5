//! What one process knows and owes, and the next one takes over: requests that were open at `kill -9`, and what was
//! rejected. Each on the databases that it concerns.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fake_bedrock::FakeBedrock;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::harness::postgres::{self, Cluster};
use crate::harness::process::{Process, command};
use crate::harness::tokens::{KEY, token};
use crate::harness::{SECRET, full, message_body, spawn, wait_for, wait_until};
use crate::quota_under_load::reconcile::{Database, Place};

/// Processes that follow each other, with one database and one fake Bedrock.
struct Installation {
    home: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Installation {
    async fn new(database: Option<&str>) -> Self {
        let fake =
            FakeBedrock::bind(fake_bedrock::Config::default(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let fake = fake.await.unwrap();
        let variables = [
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
            ("AWS_BEDROCK_SECRET_KEY", SECRET),
            ("AWS_ENDPOINT_URL", &fake.url()),
            ("JWT_SECRET_KEY", KEY),
            ("PORT", "0"),
            ("DATA_DIR", "data"),
            ("DB_MIN_CONNS", "0"),
            ("DATABASE_URL", database.unwrap_or_default()),
        ];
        let variables = variables.map(|(name, value)| (name, value.to_owned())).to_vec();
        spawn(fake.run());
        Self { home: tempfile::tempdir().unwrap(), variables }
    }

    fn variables<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = self.variables.iter().map(|(name, value)| (*name, value.as_str()));
        own.filter(|(_, value)| !value.is_empty()).chain(more.iter().copied()).collect()
    }

    /// Starts a process; later variables win.
    fn start(&self, more: &[(&str, &str)]) -> Process {
        Process::start(self.home.path(), "", &self.variables(more))
    }

    /// The output of a command.
    fn run(&self, words: &str) -> String {
        let output =
            command(self.home.path(), "", &self.variables(&[])).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

async fn begin(process: &Process, key: &str, prompt: &str, stream: bool) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::post(format!("http://{}/v1/messages", process.address))
        .header("x-api-key", key)
        .body(full(Bytes::from(message_body(prompt, stream).to_string())));
    client.request(request.unwrap()).await.unwrap()
}

async fn status(process: &Process, key: &str) -> u16 {
    let response = begin(process, key, "Hello", false).await;
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

fn place(home: &Path, url: Option<&str>) -> Place {
    url.map_or_else(
        || Place::Sqlite(home.join("data/bedrock-proxy.db")),
        |url| Place::Postgres(url.to_owned()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_open_at_a_kill_are_charged_once() {
    let url = postgres::database().await;
    for url in [None, Some(url.as_str())] {
        let installation = Installation::new(url).await;
        let mut process = installation.start(&[]);
        let ana = token("ana", &json!({}));
        for _ in 0..3 {
            assert_eq!(status(&process, &ana).await, 200);
        }
        // One in the middle of its response, one before it, and one that waits to be sent again.
        let streaming = begin(&process, &ana, "[pause 60000] Hello", true).await;
        let id = streaming.headers()["request-id"].to_str().unwrap().to_owned();
        let mut body = streaming.into_body();
        body.frame().await.unwrap().unwrap();
        let pending: Vec<_> = ["[slow 60000] Hello", "[slow 60000] Hello, again"]
            .map(|prompt| {
                let request = Request::post(format!("http://{}/v1/messages", process.address))
                    .header("x-api-key", ana.clone())
                    .body(full(Bytes::from(message_body(prompt, false).to_string())));
                let client = Client::builder(TokioExecutor::new()).build_http();
                spawn(client.request(request.unwrap()))
            })
            .into_iter()
            .collect();
        let slots = installation.home.path().join("data/journal/open-requests");
        wait_until("all three are at AWS", || {
            let text = std::fs::read(&slots).unwrap_or_default();
            text.windows(8).filter(|window| *window == b"\"killed\"").count() == 3
        })
        .await;
        process.signal("KILL");
        process.end();
        for pending in pending {
            assert!(pending.await.unwrap().is_err(), "its client got no response");
        }

        let place = place(installation.home.path(), url);
        for restart in 0..2 {
            let mut process = installation.start(&[]);
            assert_eq!(
                process.output_text().contains("requests_interrupted"),
                restart == 0,
                "{}",
                process.output_text()
            );
            let rows = wait_for("every request has a row", async || {
                let mut database = Database::open(&place).await;
                let rows = database.rows().await;
                database.close().await;
                (rows.len() >= 6).then_some(rows)
            })
            .await;
            assert!(rows.len() == 6 && rows.values().all(|rows| rows.len() == 1), "{rows:?}");
            let estimated: Vec<_> = rows.values().flatten().filter(|row| row.estimated).collect();
            assert_eq!(estimated.len(), 3, "those that were open");
            for row in &estimated {
                // As many tokens as the request allowed.
                assert!(row.user_id == "ana" && row.charged_tokens > 256 && row.cost > 0, "{row:?}");
            }
            assert!(rows[&id][0].estimated);
            let charged: i64 = rows.values().flatten().map(|row| row.charged_tokens).sum();
            let mut database = Database::open(&place).await;
            let counted = database.charged().await;
            assert_eq!(counted[&("user".to_owned(), "ana".to_owned())], charged);
            database.close().await;
            process.signal("TERM");
            process.end();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settled_requests_leave_nothing_to_the_next_process() {
    let installation = Installation::new(None).await;
    let mut process = installation.start(&[]);
    let ana = token("ana", &json!({}));
    for prompt in ["Hello", "[throttle-once] Hello", "[refuse ValidationException 400]"] {
        begin(&process, &ana, prompt, false).await.into_body().collect().await.unwrap();
    }
    // A client that leaves; its response is read to its end.
    drop(begin(&process, &ana, "[paced 3 50] Hello", true).await);
    let place = place(installation.home.path(), None);
    wait_for("all have rows", async || {
        let mut database = Database::open(&place).await;
        let rows = database.rows().await;
        database.close().await;
        (rows.len() == 4).then_some(())
    })
    .await;
    process.signal("KILL");
    process.end();
    let process = installation.start(&[]);
    assert!(!process.output_text().contains("requests_interrupted"), "{}", process.output_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unwritable_open_requests_are_logged_once() {
    let installation = Installation::new(None).await;
    let mut process = installation.start(&[]);
    let file = installation.home.path().join("data/journal/open-requests");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let ana = token("ana", &json!({}));
    for _ in 0..5 {
        assert_eq!(status(&process, &ana).await, 200);
    }
    process.signal("TERM");
    let output = process.end();
    assert_eq!(output.matches("open requests cannot be written").count(), 1, "{output}");
    assert!(!output.contains("WAL replayed"), "a first start replays nothing: {output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_does_not_wait_for_an_unavailable_database() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let url = cluster.database().await;
    let installation = Installation::new(Some(&url)).await;
    let mut process = installation.start(&[("DB_MIN_CONNS", "5")]);
    let ana = token("ana", &json!({}));
    assert_eq!(status(&process, &ana).await, 200);
    let stopping = tokio::task::spawn_blocking(move || {
        let mut cluster = cluster;
        cluster.stop();
        // A socket without a listener refuses connections, as a machine without a server does.
        drop(std::os::unix::net::UnixListener::bind(cluster.socket()).unwrap());
        cluster
    });
    let cluster = stopping.await.unwrap();
    // A broken connection returns to its pool, which then tries to replace it.
    for _ in 0..3 {
        assert_eq!(status(&process, &ana).await, 200);
    }
    process.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || process.end());
    let output = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(
        output.is_ok_and(|output| output.unwrap().contains("server stopped")),
        "it waits for the database"
    );
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejections_outlive_a_restart_without_database() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let url = cluster.database().await;
    let installation = Installation::new(Some(&url)).await;
    let mut process = installation.start(&[]);
    let [ana, bob, eve] =
        ["ana", "bob", "eve"].map(|user| installation.run(&format!("token print --user {user} --create")));
    for key in [&ana, &bob, &eve] {
        assert_eq!(status(&process, key).await, 200);
    }
    let listed: Value =
        serde_json::from_str(&installation.run("token list --user bob --format json")).unwrap();
    installation.run(&format!("token revoke {}", listed[0]["jti"].as_str().unwrap()));
    installation.run("user disable eve");
    // At once, before this process has read the change.
    process.signal("KILL");
    process.end();
    let cluster = tokio::task::spawn_blocking(move || {
        let mut cluster = cluster;
        cluster.stop();
        cluster
    });
    let cluster = cluster.await.unwrap();
    let statuses = async |process: &Process| {
        [status(process, &ana).await, status(process, &bob).await, status(process, &eve).await]
    };
    let process = installation.start(&[]);
    assert_eq!(statuses(&process).await, [200, 401, 403], "{}", process.output_text());
    assert!(process.output_text().contains("rejections_last_known"));
    drop(process);
    let process = installation.start(&[("AUTH_ON_OUTAGE", "closed")]);
    assert_eq!(statuses(&process).await, [503, 503, 503]);
    drop(process);
    // A new replica knows nothing, and reports it.
    let process = installation.start(&[("DATA_DIR", "other")]);
    assert_eq!(statuses(&process).await, [200, 200, 200]);
    assert!(process.output_text().contains("rejections_unknown"), "{}", process.output_text());
    drop(process);
    std::fs::write(installation.home.path().join("other/rejections.json"), "{").unwrap();
    let process = installation.start(&[("DATA_DIR", "other")]);
    assert_eq!(statuses(&process).await, [503, 503, 503], "a list that cannot be read accepts no token");
    drop(process);
    drop(cluster);
}
