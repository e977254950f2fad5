//! Invariants of limits and usage, on real processes with real databases under load: no user exceeds a limit, the charge
//! is the upstream's usage, nothing stays reserved, nothing is lost or counted twice. In the middle a process is killed, or
//! the database goes away and comes back.

#![allow(clippy::print_stdout, clippy::print_stderr)] // what a test that failed has seen

mod clients;
mod disconnects;
pub(crate) mod reconcile;
mod replica;
mod shutdown;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bedrock_proxy::testing::Clock;
use fake_bedrock::{FakeBedrock, Log};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::postgres::{self, Cluster};
use crate::harness::spawn;
use crate::harness::tokens::token;
use clients::{Clients, Outcome, Plan};
use reconcile::{Database, Place, Row};
use replica::Replica;

/// Clients that send at the same time.
const CLIENTS: usize = 1000;
const USERS: usize = 8;
const TEAMS: usize = 2;
/// Room for some twenty requests of each user at a time, for fewer in a team than its users together could make, and
/// for less than all of them come to in the end.
const USER_LIMIT: i64 = 20 * NEED;
const TEAM_LIMIT: i64 = 60 * NEED;
/// No request here reserves more.
const NEED: i64 = 150;
/// Longer than anything should take to settle; the reservations of a killed process expire after 60 seconds.
const PATIENCE: Duration = Duration::from_secs(120);

fn now() -> i64 {
    let since = Clock::machine().now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A fake Bedrock with its log, and a directory for the data of all processes.
struct Installation {
    home: TempDir,
    bedrock: Arc<Log>,
    url: String,
    upstream: JoinHandle<()>,
    clients: Clients,
}

impl Drop for Installation {
    fn drop(&mut self) {
        self.upstream.abort();
    }
}

impl Installation {
    async fn new() -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let upstream = FakeBedrock::bind(fake_bedrock::Config::default(), anywhere).await.unwrap();
        let (bedrock, url) = (upstream.log(), upstream.url());
        let home = tempfile::tempdir().unwrap();
        Self { home, bedrock, url, upstream: spawn(upstream.run()), clients: Clients::new() }
    }

    fn replica(&self, name: &str, place: &Place, variables: &[(&str, &str)]) -> Replica {
        let mut all = Vec::<(&str, &str)>::new();
        if let Place::Postgres(url) = place {
            all.push(("DATABASE_URL", url));
        }
        all.extend(variables);
        Replica::start(self.home.path(), name, &self.url, &all)
    }

    /// Tokens that the upstream handed out for each of the requests.
    fn handed_out(&self) -> HashMap<usize, i64> {
        let mut tokens = HashMap::new();
        for record in self.bedrock.requests() {
            let body = String::from_utf8_lossy(&record.body);
            let Some(number) = body.split('#').nth(1).and_then(|rest| rest.split('.').next()?.parse().ok())
            else {
                continue;
            };
            *tokens.entry(number).or_default() += i64::try_from(record.usage.total()).unwrap();
        }
        tokens
    }
}

/// Looks all the time whether anybody has been given more than their limit.
struct Watch {
    over: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
    watching: JoinHandle<Option<String>>,
}

impl Watch {
    async fn over(place: &Place) -> Self {
        let mut database = Database::open(place).await;
        let (over, looks) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (end, count) = (Arc::clone(&over), Arc::clone(&looks));
        let watching = spawn(async move {
            while !end.load(Ordering::Relaxed) {
                for ((scope, name), tokens) in database.taken(now()).await {
                    let limit = if scope == "user" { USER_LIMIT } else { TEAM_LIMIT };
                    if tokens > limit {
                        return Some(format!("{scope} {name} has {tokens} of {limit}"));
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            None
        });
        Self { over, looks, watching }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        assert_eq!(self.watching.await.unwrap(), None);
        assert!(self.looks.load(Ordering::Relaxed) > 20, "the totals were read");
    }
}

/// Runs all clients at once; in the middle of it the first process is killed and started again.
async fn run_clients(installation: &Installation, replicas: &mut [Replica]) -> Vec<(Plan, Outcome)> {
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let over = Arc::<AtomicUsize>::default();
    let requests: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (clients, over) = (installation.clients.clone(), Arc::clone(&over));
            let (address, plan) = (addresses[number % addresses.len()], Plan::mixed(number));
            let token = token(&user(number), &json!({"team": team(number)}));
            spawn(async move {
                let outcome = clients.send_until_served(address, &token, &plan).await;
                over.fetch_add(1, Ordering::Relaxed);
                (plan, outcome)
            })
        })
        .collect();
    until("most are over", || over.load(Ordering::Relaxed) > CLIENTS * 7 / 10).await;
    replicas[0].kill();
    replicas[0].revive();
    let mut outcomes = Vec::new();
    for one in requests {
        let (plan, outcome) = one.await.unwrap();
        // The answers that the killed process was reading to their end for clients who had left are lost with it.
        let killed = plan.number % addresses.len() == 0;
        let outcome = if killed && matches!(outcome, Outcome::Left(_)) { Outcome::Lost } else { outcome };
        outcomes.push((plan, outcome));
    }
    outcomes
}

fn user(number: usize) -> String {
    format!("user{}", number / 3 % USERS)
}

fn team(number: usize) -> String {
    format!("team{}", number / 3 % USERS % TEAMS)
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until every request that its client saw to the end has its row, and nothing is held.
async fn settled(place: &Place, outcomes: &[(Plan, Outcome)]) -> HashMap<String, Vec<Row>> {
    let mut database = Database::open(place).await;
    let start = Instant::now();
    loop {
        let rows = database.rows().await;
        let missing = outcomes.iter().find(|(_, outcome)| match outcome {
            Outcome::Finished(id) | Outcome::Left(Some(id)) => !rows.contains_key(id),
            _ => false,
        });
        let held = database.held(now()).await;
        if missing.is_none() && held == 0 {
            return rows;
        }
        assert!(start.elapsed() < PATIENCE, "{held} are still held, and this has no row: {missing:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each request costs what the upstream reports, and the sums are those of the rows.
async fn audit(
    installation: &Installation,
    place: &Place,
    outcomes: &[(Plan, Outcome)],
    mut rows: HashMap<String, Vec<Row>>,
) {
    let mut charged = BTreeMap::new();
    for row in rows.values().flatten() {
        let team = row.team.clone().map(|team| ("team".to_owned(), team));
        for scope in [Some(("user".to_owned(), row.user_id.clone())), team].into_iter().flatten() {
            *charged.entry(scope).or_insert(0) += row.charged_tokens;
        }
        assert!(row.estimated || row.charged_tokens == row.tokens, "{row:?}");
        assert!(row.charged_tokens <= NEED, "more than was reserved: {row:?}");
        assert!((row.cost > 0) == (row.tokens > 0), "{row:?}");
    }
    charged.retain(|_, tokens| *tokens > 0);
    let mut booked = Database::open(place).await.charged().await;
    booked.retain(|_, tokens| *tokens > 0);
    assert_eq!(booked, charged, "the counters are the sums of the rows");

    let handed_out = installation.handed_out();
    let (mut unclear, mut uncertain) = (0, 0);
    for (plan, outcome) in outcomes {
        let real = handed_out.get(&plan.number).copied().unwrap_or(0);
        match outcome {
            Outcome::Finished(id) | Outcome::Failed(id, ..) | Outcome::Left(Some(id)) => {
                let own = rows.remove(id).unwrap_or_default();
                let known = own.iter().all(|row| !row.estimated);
                let tokens: i64 = own.iter().map(|row| row.tokens).sum();
                assert!(known || !matches!(outcome, Outcome::Finished(_)), "{plan:?}: {own:?}");
                assert!(
                    if known { tokens == real } else { tokens >= real },
                    "{plan:?} {outcome:?}: {own:?}, not {real}"
                );
            }
            Outcome::Denied => assert_eq!(real, 0, "{plan:?} was denied and sent all the same"),
            Outcome::Left(None) => unclear += real,
            Outcome::Lost => uncertain += real,
        }
    }
    // What is left are requests whose ids their clients never learnt.
    let others = rows.values().flatten().filter(|row| !row.estimated).map(|row| row.tokens).sum::<i64>();
    assert!(
        (unclear..=unclear + uncertain).contains(&others),
        "{others}: {unclear} and up to {uncertain} more"
    );
}

fn count(outcomes: &[(Plan, Outcome)], wanted: impl Fn(&Outcome) -> bool) -> usize {
    outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count()
}

async fn check_limits_under_load(place: Place, replicas: usize) {
    let installation = Installation::new().await;
    let (users, teams) = (USER_LIMIT.to_string(), TEAM_LIMIT.to_string());
    // A limit that could not be looked up in time is no limit when the policy is "open".
    let limits = [
        ("DEFAULT_USER_DAILY_TOKENS", users.as_str()),
        ("DEFAULT_TEAM_DAILY_TOKENS", teams.as_str()),
        ("QUOTA_USER_ON_OUTAGE", "closed"),
    ];
    let start = |number| installation.replica(&format!("replica{number}"), &place, &limits);
    let mut replicas: Vec<_> = (0..replicas).map(start).collect();
    let place = match place {
        Place::Sqlite(_) => Place::Sqlite(installation.home.path().join("replica0/data/bedrock-proxy.db")),
        other => other,
    };
    let watch = Watch::over(&place).await;
    let mut outcomes = run_clients(&installation, &mut replicas).await;

    let lost = count(&outcomes, |outcome| *outcome == Outcome::Lost);
    let finished = count(&outcomes, |outcome| matches!(outcome, Outcome::Finished(_)));
    let rejected = count(&outcomes, |outcome| *outcome == Outcome::Denied);
    let mut kinds = BTreeMap::<_, usize>::new();
    for (_, outcome) in &outcomes {
        *kinds.entry(outcome.kind()).or_default() += 1;
    }
    println!("what became of the requests: {kinds:?}");
    assert!(lost > 0 && finished > 100 && rejected > 20, "{kinds:?}");

    // The one that came back serves as before.
    let late =
        Plan { words: String::new(), disconnects_after: None, disconnects_in: None, ..Plan::mixed(CLIENTS) };
    let outcome = installation.clients.send(replicas[0].address, &token("late", &json!({})), &late).await;
    assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    outcomes.push((late, outcome));
    let rows = settled(&place, &outcomes).await;
    audit(&installation, &place, &outcomes, rows).await;
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_three_processes_with_postgres() {
    check_limits_under_load(Place::Postgres(postgres::database().await), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_on_one_process_with_sqlite() {
    check_limits_under_load(Place::Sqlite("".into()), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_outage_under_load_loses_no_usage() {
    const WORKERS: usize = 16;
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let place = Place::Postgres(cluster.database().await);
    let installation = Installation::new().await;
    let open = [("QUOTA_USER_ON_OUTAGE", "open"), ("DEFAULT_USER_DAILY_TOKENS", "unlimited")];
    let replicas =
        [installation.replica("replica0", &place, &open), installation.replica("replica1", &place, &open)];
    let (over, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (clients, over, done) = (installation.clients.clone(), Arc::clone(&over), Arc::clone(&done));
            let address = replicas[worker % replicas.len()].address;
            let token = token(&user(worker), &json!({"team": team(worker)}));
            spawn(async move {
                let (mut outcomes, mut slowest) = (Vec::new(), Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    let number = worker + WORKERS * outcomes.len();
                    let plan = Plan {
                        number,
                        words: "[paced 10 5]".to_owned(),
                        stream: number.is_multiple_of(3),
                        disconnects_after: None,
                        disconnects_in: None,
                    };
                    let start = Instant::now();
                    let outcome = clients.send(address, &token, &plan).await;
                    slowest = slowest.max(start.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                    outcomes.push((plan, outcome));
                }
                (outcomes, slowest)
            })
        })
        .collect();
    let more = async |requests: usize| {
        let goal = done.load(Ordering::Relaxed) + requests;
        until("requests go on", || done.load(Ordering::Relaxed) >= goal).await;
    };
    more(10 * WORKERS).await;
    let before: Vec<_> = replicas.iter().map(Replica::resident).collect();
    let mut cluster = tokio::task::spawn_blocking(move || {
        cluster.stop();
        cluster
    })
    .await
    .unwrap();
    more(20 * WORKERS).await;
    let grown: Vec<_> =
        replicas.iter().zip(before).map(|(now, before)| now.resident().saturating_sub(before)).collect();
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.serve();
        cluster
    })
    .await
    .unwrap();
    more(10 * WORKERS).await;
    over.store(true, Ordering::Relaxed);
    let (mut outcomes, mut slowest) = (Vec::new(), Duration::ZERO);
    for worker in workers {
        let (own, its) = worker.await.unwrap();
        outcomes.extend(own);
        slowest = slowest.max(its);
    }
    println!("{} requests, the slowest took {slowest:?}, memory grew by {grown:?} bytes", outcomes.len());
    let failed: Vec<_> =
        outcomes.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Finished(_))).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(grown.iter().all(|bytes| *bytes < 32 << 20), "{grown:?}");
    let rows = settled(&place, &outcomes).await;
    let twice: Vec<_> = rows.values().filter(|rows| rows.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    audit(&installation, &place, &outcomes, rows).await;
    drop(replicas);
    drop(cluster);
}
