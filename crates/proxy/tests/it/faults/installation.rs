//! One process with its database and its fake Bedrock, and the checks that hold for every fault.

use std::any::Any;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use fake_bedrock::{FakeBedrock, Log};
use http::Request;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::disk::{Disk, DiskFault};
use super::table::{Api, DatabaseKind, Fault};
use crate::harness::postgres::{self, Cluster};
use crate::harness::process::Process;
use crate::harness::tokens::{KEY, now, token};
use crate::harness::{SECRET, full, spawn, wait_for, wait_until};
use crate::quota_under_load::reconcile::{Database, Place, Row};

/// Longest time until everything is as before a fault.
const HEALING_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest time of a request that has no answer; far above what a fault allows.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What a fault may change before the process starts.
pub(super) struct Setup<'a> {
    /// Folder of this case alone.
    pub(super) home: &'a Path,
    /// Variables of the process; later ones win.
    pub(super) variables: Vec<(String, String)>,
    /// Shell commands before the process, such as `ulimit`.
    pub(super) shell: String,
    /// What the fake Bedrock is.
    pub(super) fake: fake_bedrock::Config,
    /// Folder whose disk may fail.
    pub(super) faulty_folder: Option<PathBuf>,
    /// Whether the PostgreSQL is of this case alone, so that it can be stopped.
    pub(super) own_cluster: bool,
    /// What lives as long as the case.
    pub(super) keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl Setup<'_> {
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }
}

/// The installation of one case.
pub(super) struct Installation {
    pub(super) process: Process,
    pub(super) place: Place,
    pub(super) cluster: Option<Cluster>,
    pub(super) bedrock: Arc<Log>,
    /// Whether AWS has deleted the access key.
    pub(super) key_deleted: Arc<AtomicBool>,
    /// What an injection holds until it is healed.
    pub(super) held: Option<Box<dyn Any + Send + Sync>>,
    /// Requests before this number need no rows.
    first_counted: usize,
    pub(super) home: TempDir,
    disk: Option<Disk>,
    client: Client<HttpConnector, BoxBody<Bytes, std::convert::Infallible>>,
    sent: usize,
    outcomes: Vec<Outcome>,
    upstream: JoinHandle<()>,
    _keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.upstream.abort();
    }
}

/// What a client got.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) number: usize,
    /// `request-id`, if a head came.
    pub(super) id: Option<String>,
    /// 0 when the connection broke before a head.
    pub(super) status: u16,
    /// Whether the response had its end.
    pub(super) complete: bool,
    pub(super) elapsed: Duration,
    pub(super) body: String,
}

/// A request on its way.
pub(super) struct Sending {
    pub(super) number: usize,
    /// Notified at the first bytes of the body.
    pub(super) first_bytes: Arc<Notify>,
    task: JoinHandle<Outcome>,
}

impl Sending {
    pub(super) async fn outcome(self) -> Outcome {
        self.task.await.unwrap()
    }
}

impl Installation {
    pub(super) async fn new(fault: &Fault, kind: DatabaseKind) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut setup = Setup {
            home: home.path(),
            variables: Vec::new(),
            shell: "trap '' XFSZ".to_owned(),
            fake: fake_bedrock::Config::default(),
            faulty_folder: None,
            own_cluster: false,
            keep: Vec::new(),
        };
        let data = home.path().join("data");
        for (name, value) in [
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
            ("AWS_BEDROCK_SECRET_KEY", SECRET),
            ("JWT_SECRET_KEY", KEY),
            ("PORT", "0"),
            ("LOG_OUTPUT", "stdout"),
            ("DB_MIN_CONNS", "0"),
            ("DATA_DIR", data.to_str().unwrap()),
        ] {
            setup.set(name, value);
        }
        (fault.prepare)(&mut setup);
        let Setup { mut variables, shell, fake, faulty_folder, own_cluster, keep, .. } = setup;
        let upstream = FakeBedrock::bind(fake, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let (bedrock, key_deleted) = (upstream.log(), upstream.key_deleted());
        variables.insert(0, ("AWS_ENDPOINT_URL".to_owned(), upstream.url()));
        let (place, cluster) = match kind {
            DatabaseKind::Sqlite => {
                let url = variables.iter().rev().find(|(name, _)| name == "DATABASE_URL");
                let file = url.map(|(_, url)| PathBuf::from(url.trim_start_matches("sqlite:")));
                (Place::Sqlite(file.unwrap_or(data.join("bedrock-proxy.db"))), None)
            }
            DatabaseKind::Postgres => {
                let cluster = if own_cluster {
                    Some(tokio::task::spawn_blocking(Cluster::start).await.unwrap())
                } else {
                    None
                };
                let url = match &cluster {
                    Some(cluster) => cluster.database().await,
                    None => postgres::database().await,
                };
                variables.push(("DATABASE_URL".to_owned(), url.clone()));
                (Place::Postgres(url), cluster)
            }
        };
        let disk = faulty_folder.map(|folder| Disk::new(home.path(), &folder));
        variables.extend(disk.iter().flat_map(Disk::variables));
        let upstream = spawn(upstream.run());
        let process = {
            let home = home.path().to_owned();
            let start = move || {
                let variables: Vec<_> =
                    variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                Process::start(&home, &shell, &variables)
            };
            tokio::task::spawn_blocking(start).await.unwrap()
        };
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self {
            process,
            place,
            cluster,
            bedrock,
            key_deleted,
            held: None,
            first_counted: 0,
            home,
            disk,
            client,
            sent: 0,
            outcomes: Vec::new(),
            upstream,
            _keep: keep,
        }
    }

    /// Requests until now need no rows: the fault destroyed them.
    pub(super) fn forget_earlier_requests(&mut self) {
        self.first_counted = self.sent + 1;
    }

    /// Lets the disk fail, or work again.
    pub(super) fn set_disk(&self, fault: DiskFault) {
        self.disk.as_ref().unwrap().set(fault);
    }

    /// Begins a request; `words` are directives for the fake.
    pub(super) fn begin(&mut self, api: Api, user: &str, words: &str, stream: bool) -> Sending {
        self.sent += 1;
        let number = self.sent;
        let request = api.request(self.process.address, &format!("{words} #{number}."), stream);
        let (mut head, body) = request.into_parts();
        let bearer = format!("Bearer {}", token(user, &json!({})));
        head.headers.insert("authorization", bearer.parse().unwrap());
        let response = self.client.request(Request::from_parts(head, full(body.into())));
        let first_bytes = Arc::new(Notify::new());
        let notify = Arc::clone(&first_bytes);
        let task = spawn(async move {
            let started = Instant::now();
            let mut outcome = Outcome {
                number,
                id: None,
                status: 0,
                complete: false,
                elapsed: Duration::ZERO,
                body: String::new(),
            };
            let reading = async {
                let Ok(response) = response.await else { return };
                outcome.status = response.status().as_u16();
                let id = ["request-id", "x-amzn-requestid", "x-request-id"]
                    .iter()
                    .find_map(|name| response.headers().get(*name));
                outcome.id = id.map(|id| id.to_str().unwrap().to_owned());
                let mut body = response.into_body();
                while let Some(frame) = body.frame().await {
                    let Ok(frame) = frame else { return };
                    outcome
                        .body
                        .push_str(&String::from_utf8_lossy(frame.data_ref().unwrap_or(&Bytes::new())));
                    notify.notify_one();
                }
                outcome.complete = api.is_complete(&outcome.body, stream);
            };
            assert!(timeout(REQUEST_TIMEOUT, reading).await.is_ok(), "request {number} got no answer");
            notify.notify_one();
            outcome.elapsed = started.elapsed();
            outcome
        });
        Sending { number, first_bytes, task }
    }

    /// Sends a request, and reads its response to the end.
    pub(super) async fn send(&mut self, api: Api, user: &str, words: &str, stream: bool) -> Outcome {
        let sending = self.begin(api, user, words, stream);
        self.record(sending.outcome().await)
    }

    /// Remembers what became of a request.
    pub(super) fn record(&mut self, outcome: Outcome) -> Outcome {
        self.outcomes.push(outcome.clone());
        outcome
    }

    /// Returns when the fake has received request `number`.
    pub(super) async fn wait_for_upstream(&self, number: usize) {
        let mark = format!("#{number}.");
        wait_until("the request is upstream", || {
            let requests = self.bedrock.requests();
            requests.iter().any(|request| String::from_utf8_lossy(&request.body).contains(&mark))
        })
        .await;
    }

    /// Tokens that the fake sent, by request.
    fn sent_tokens(&self) -> HashMap<usize, i64> {
        let mut tokens = HashMap::new();
        for request in self.bedrock.requests() {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let number = body.split('#').skip(1).find_map(|rest| rest.split_once('.')?.0.parse().ok());
            let Some(number) = number else { continue };
            *tokens.entry(number).or_default() += i64::try_from(request.usage.total()).unwrap();
        }
        tokens
    }

    /// What a path without a token responds.
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://{}{path}", self.process.address)).body(full(Bytes::new()));
        let response =
            timeout(REQUEST_TIMEOUT, self.client.request(request.unwrap())).await.unwrap().unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// An operator's request; its status.
    async fn administer(&self, method: &str, path: &str, body: &Value) -> u16 {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/admin/v1{path}", self.process.address))
            .header("authorization", format!("Bearer {}", token("op", &json!({"scope": "admin"}))))
            .body(full(body.to_string().into()));
        let response = timeout(REQUEST_TIMEOUT, self.client.request(request.unwrap())).await.unwrap();
        response.map_or(0, |response| response.status().as_u16())
    }

    /// Waits until `/readyz?verbose` contains `text`.
    pub(super) async fn wait_until_ready_reports(&self, text: &str) {
        wait_for(&format!("readiness reports {text:?}"), async || {
            self.get("/readyz?verbose").await.1.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until all checks of `/readyz` pass without a reservation.
    pub(super) async fn wait_until_ready(&self) {
        wait_for("all checks pass", async || {
            let (status, checks) = self.get("/readyz?verbose").await;
            (status == 200 && !checks.contains("though")).then_some(())
        })
        .await;
    }

    /// Waits until nothing is left of a fault: all checks pass, new users are served and stored, operators can write,
    /// limits deny.
    pub(super) async fn wait_until_healed(&mut self) {
        let started = Instant::now();
        loop {
            let (_, checks) = self.get("/readyz?verbose").await;
            let user = format!("new{}", self.sent);
            let outcome = self.send(Api::Messages, &user, "", false).await;
            let added = json!({"user_id": format!("added{}", self.sent), "daily_token_limit": 1});
            let status = self.administer("POST", "/users", &added).await;
            let is_healthy = !checks.contains("[-]") && !checks.contains("though");
            if is_healthy && outcome.status == 200 && status == 201 {
                // A connection from before may fail once more, and its requests are served without limits.
                let denied = self.send(Api::Messages, &format!("added{}", self.sent), "", false).await;
                if denied.status == 429 {
                    break;
                }
            }
            assert!(
                started.elapsed() < HEALING_TIMEOUT,
                "not healed: POST /users {status}, {checks}, {outcome:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(self.process.child.try_wait().unwrap().is_none(), "the process goes on");
    }

    /// Checks that each request that cost something has one row with what the fake sent, that no other rows exist, that
    /// nothing is reserved, and that the counters are the sums of the rows.
    pub(super) async fn check_accounts(&self) {
        let started = Instant::now();
        loop {
            match self.find_mistake().await {
                None => return,
                Some(mistake) => assert!(started.elapsed() < HEALING_TIMEOUT, "{mistake}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn find_mistake(&self) -> Option<String> {
        let mut database = Database::open(&self.place).await;
        let mistake = self.find_mistake_in(&mut database).await;
        // The last connection to a SQLite file deletes files by name, and a fault may put others there.
        database.close().await;
        mistake
    }

    async fn find_mistake_in(&self, database: &mut Database) -> Option<String> {
        let (rows, sent) = (database.rows().await, self.sent_tokens());
        let held = database.held(1000 * now()).await;
        if held > 0 {
            return Some(format!("{held} reservations are left"));
        }
        for outcome in self.outcomes.iter().filter(|outcome| outcome.number >= self.first_counted) {
            let Some(id) = &outcome.id else { continue };
            let tokens = sent.get(&outcome.number).copied().unwrap_or(0);
            let rows = rows.get(id).map_or(&[][..], Vec::as_slice);
            let is_right = match rows {
                [] => tokens == 0,
                [row] => row.tokens == tokens || row.estimated,
                _ => false,
            };
            if !is_right {
                return Some(format!("the fake sent {tokens} tokens; {rows:?}; {outcome:?}"));
            }
        }
        let all: Vec<&Row> = rows.values().flatten().collect();
        let expected =
            sent.iter().filter(|(number, tokens)| **number >= self.first_counted && **tokens > 0).count();
        if all.iter().filter(|row| row.tokens > 0).count() != expected {
            return Some(format!("{expected} requests cost something; rows: {all:?}"));
        }
        let charged: i64 = all.iter().map(|row| row.charged_tokens).sum();
        let counted = database.charged().await;
        let counted: i64 =
            counted.iter().filter(|((scope, _), _)| scope == "user").map(|(_, used)| used).sum();
        (charged != counted).then(|| format!("rows have {charged} tokens, counters {counted}"))
    }
}
