//! The table: which fault, in which phase of a request, at which client API, with which database. The next fault is a new
//! row in one of the lists of [`faults`].
//!
//! A small part of the table runs with the tests. `bench/faults` runs all of it, with the release binary.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use http::Request;
use serde_json::json;
use tokio::time::Instant;

use super::installation::{Installation, Outcome, Setup};
use super::{aws, store};
use crate::harness::message_body;

/// A fault and what it may change.
pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) databases: &'static [DatabaseKind],
    pub(super) phases: &'static [Phase],
    /// Before the process starts.
    pub(super) prepare: fn(&mut Setup<'_>),
    pub(super) inject: Step,
    pub(super) heal: Step,
    /// Statuses of requests that begin while the fault lasts.
    pub(super) statuses: &'static [u16],
    /// Longest time of a request that begins while the fault lasts.
    pub(super) max_seconds: u64,
    /// What `/readyz?verbose` reports while the fault lasts; `None` if nothing is wrong for requests.
    pub(super) readiness: Option<&'static str>,
    /// What else holds in the end.
    pub(super) check: Step,
    /// Whether only root can inject it.
    pub(super) needs_root: bool,
}

/// A change of an installation.
pub(super) type Step = for<'a> fn(&'a mut Installation) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

pub(super) fn nothing(_: &mut Installation) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async {})
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DatabaseKind {
    Sqlite,
    Postgres,
}

pub(super) const BOTH: &[DatabaseKind] = &[DatabaseKind::Sqlite, DatabaseKind::Postgres];

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request is open, and none comes until it is healed.
    Idle,
    /// Before a request.
    BeforeRequest,
    /// The upstream has the request, and has sent nothing.
    BeforeFirstEvent,
    /// The client has the first events.
    MidStream,
    /// The client has the whole response; its usage is on the way to the database.
    Settling,
}

pub(super) const ALL_PHASES: &[Phase] =
    &[Phase::Idle, Phase::BeforeRequest, Phase::BeforeFirstEvent, Phase::MidStream, Phase::Settling];

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Messages,
    Chat,
    Bedrock,
}

const APIS: [Api; 3] = [Api::Messages, Api::Chat, Api::Bedrock];

impl Api {
    pub(super) fn request(self, address: SocketAddr, prompt: &str, stream: bool) -> Request<String> {
        let (path, body) = match self {
            Self::Messages => ("/v1/messages", message_body(prompt, stream)),
            Self::Chat => ("/v1/chat/completions", message_body(prompt, stream)),
            Self::Bedrock => {
                let body = json!({
                    "messages": [{"role": "user", "content": [{"text": prompt}]}],
                    "inferenceConfig": {"maxTokens": 256},
                });
                let operation = if stream { "converse-stream" } else { "converse" };
                let path = match operation {
                    "converse" => "/model/claude-sonnet-4-5/converse",
                    _ => "/model/claude-sonnet-4-5/converse-stream",
                };
                (path, body)
            }
        };
        let request =
            Request::post(format!("http://{address}{path}")).header("content-type", "application/json");
        request.body(body.to_string()).unwrap()
    }

    pub(super) fn is_complete(self, body: &str, stream: bool) -> bool {
        match (self, stream) {
            (Self::Messages, true) => body.contains("event: message_stop"),
            (Self::Chat, true) => body.contains("[DONE]"),
            (Self::Bedrock, true) => body.contains("messageStop"),
            (_, false) => body.ends_with('}'),
        }
    }
}

/// One case of the table.
#[derive(Clone, Copy)]
struct Case {
    fault: &'static Fault,
    phase: Phase,
    api: Api,
    database: DatabaseKind,
}

impl Case {
    fn name(&self) -> String {
        format!("{}, {:?}, {:?}, {:?}", self.fault.name, self.phase, self.api, self.database)
    }

    async fn run(self) {
        let Self { fault, phase, api, database } = self;
        let mut installation = Installation::new(fault, database).await;
        for user in ["ana", "ben"] {
            assert_eq!(installation.send(api, user, "", false).await.status, 200, "before the fault");
        }
        installation.check_accounts().await;
        let sending = match phase {
            Phase::Idle | Phase::BeforeRequest => None,
            Phase::BeforeFirstEvent => {
                let sending = installation.begin(api, "ana", "[slow 700]", true);
                installation.wait_for_upstream(sending.number).await;
                Some(sending)
            }
            Phase::MidStream => {
                let sending = installation.begin(api, "ana", "[paced 20 30]", true);
                sending.first_bytes.notified().await;
                Some(sending)
            }
            Phase::Settling => {
                let outcome = installation.send(api, "ana", "", true).await;
                assert_eq!(outcome.status, 200, "before the fault");
                None
            }
        };
        (fault.inject)(&mut installation).await;
        if let Some(sending) = sending {
            let outcome = sending.outcome().await;
            let outcome = installation.record(outcome);
            assert!(outcome.status == 200 && outcome.complete, "open when the fault began: {outcome:?}");
        }
        if phase != Phase::Idle {
            self.send_during(&mut installation).await;
        }
        (fault.heal)(&mut installation).await;
        installation.wait_until_healed().await;
        installation.check_accounts().await;
        (fault.check)(&mut installation).await;
    }

    /// Sends requests while the fault lasts: by a known user, by a new one, streamed and not.
    async fn send_during(&self, installation: &mut Installation) {
        let users = ["ana", "eve"];
        let sending: Vec<_> =
            (0..4).map(|number| installation.begin(self.api, users[number % 2], "", number < 2)).collect();
        for one in sending {
            let Outcome { status, elapsed, body, complete, .. } = installation.record(one.outcome().await);
            assert!(self.fault.statuses.contains(&status), "{status} during the fault: {body}");
            assert!(status != 200 || complete, "a response without its end: {body}");
            assert!(elapsed < Duration::from_secs(self.fault.max_seconds), "a request took {elapsed:?}");
        }
        match self.fault.readiness {
            Some(text) => installation.wait_until_ready_reports(text).await,
            // A call that failed once is distinguished from an outage within a moment.
            None => installation.wait_until_ready().await,
        }
    }
}

/// All faults.
fn faults() -> impl Iterator<Item = &'static Fault> {
    store::FAULTS.iter().chain(aws::FAULTS)
}

/// All cases, or a few: one for each fault and database, such that every phase and every API has some.
fn cases(all: bool) -> Vec<Case> {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let mut cases = Vec::new();
    for (index, fault) in faults().enumerate() {
        if fault.needs_root && !is_root {
            continue;
        }
        for &database in fault.databases {
            let combinations: Vec<_> = fault
                .phases
                .iter()
                .flat_map(|&phase| APIS.map(|api| Case { fault, phase, api, database }))
                .collect();
            let chosen =
                (index * 7 + 4 * usize::from(database == DatabaseKind::Postgres)) % combinations.len();
            let few = combinations.len() * usize::from(all) + usize::from(!all);
            cases.extend(combinations.iter().cycle().skip(chosen).take(few));
        }
    }
    cases
}

/// A variable of the environment of the tests.
#[allow(clippy::disallowed_methods)] // chooses what runs
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// `FAULTS=all` runs the whole table; `FAULTS=text` those cases whose names contain the text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout)] // the table
async fn service_is_normal_after_every_fault() {
    let selection = variable("FAULTS").unwrap_or_default();
    let mut cases = cases(!selection.is_empty());
    cases.retain(|case| ["", "all"].contains(&selection.as_str()) || case.name().contains(&selection));
    assert!(!cases.is_empty(), "no case has {selection:?} in its name");
    let parallel = variable("FAULTS_PARALLEL").map_or(4, |number| number.parse().unwrap());
    let mut results = Box::pin(
        futures_util::stream::iter(cases)
            .map(|case| async move {
                let started = Instant::now();
                let result = AssertUnwindSafe(case.run()).catch_unwind().await;
                (case, result.is_ok(), started.elapsed().as_secs_f64())
            })
            .buffer_unordered(parallel),
    );
    let mut failed = Vec::new();
    while let Some((case, is_ok, seconds)) = results.next().await {
        println!("{} {seconds:5.1} s  {}", if is_ok { "ok    " } else { "FAILED" }, case.name());
        if !is_ok {
            failed.push(case.name());
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}
