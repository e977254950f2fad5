//! How a process ends: SIGTERM under a hundred streams, on both databases and on none.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::clients::{Outcome, Plan};
use super::reconcile::Place;
use super::{Installation, audit, settled, spawn, until, user};
use crate::harness::postgres::{self, Cluster};
use crate::harness::tokens::token;

const STREAMS: usize = 100;
const GRACE: Duration = Duration::from_secs(4);
/// What the server may take beyond the grace: last words, the last batch, and the machine's own slowness.
const REST: Duration = Duration::from_secs(15);

/// Every other stream ends soon; the others would go on for more than a minute.
fn plan(number: usize) -> Plan {
    let words = if number.is_multiple_of(2) { "[paced 80 10]" } else { "[paced 90 1000]" };
    Plan { number, words: words.to_owned(), stream: true, disconnects_after: None, disconnects_in: None }
}

/// SIGTERM while a hundred streams are open, and `meanwhile` just before. Returns what became of them.
async fn ended(
    installation: &Installation,
    place: &Place,
    meanwhile: impl FnOnce(),
) -> (super::Replica, Vec<(Plan, Outcome)>) {
    let grace = GRACE.as_secs().to_string();
    let mut replica = installation.replica("replica0", place, &[("SHUTDOWN_GRACE_SECONDS", &grace)]);
    let address = replica.address;
    let requests: Vec<_> = (0..STREAMS)
        .map(|number| {
            let (clients, plan) = (installation.clients.clone(), plan(number));
            let token = token(&user(number), &json!({"team": "red"}));
            spawn(async move { (plan.clone(), clients.send(address, &token, &plan).await) })
        })
        .collect();
    // Each has a word of its answer: Bedrock was asked, and its head is there.
    until("all are answered", || {
        installation
            .bedrock
            .requests()
            .iter()
            .filter(|requested| requested.status == 200 && requested.path.starts_with("/model/"))
            .count()
            == STREAMS
    })
    .await;
    meanwhile();
    let start = Instant::now();
    replica.signal("-TERM");
    let mut rejected = false;
    while !rejected && start.elapsed() < GRACE {
        rejected = TcpStream::connect(address).await.is_err();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(rejected, "new connections are taken during the drain");
    let mut outcomes = Vec::new();
    for one in requests {
        outcomes.push(one.await.unwrap());
    }
    assert!(replica.ended().await.success());
    assert!(start.elapsed() < GRACE + REST, "{:?}", start.elapsed());
    (replica, outcomes)
}

/// Checks that requests ended if they could, and that the others got one error.
fn check_outcomes(outcomes: &[(Plan, Outcome)]) {
    for (plan, outcome) in outcomes {
        if plan.number.is_multiple_of(2) {
            assert!(matches!(outcome, Outcome::Finished(_)), "{plan:?}: {outcome:?}");
            continue;
        }
        let Outcome::Failed(_, 200, text) = outcome else { panic!("{plan:?}: {outcome:?}") };
        assert_eq!(text.matches("event: error").count(), 1, "{text}");
        assert!(text.contains("overloaded_error") && !text.contains("message_stop"), "{text}");
    }
}

async fn a_hundred_streams_and_sigterm(place: Place) {
    let installation = Installation::new().await;
    let (_replica, outcomes) = ended(&installation, &place, || {}).await;
    check_outcomes(&outcomes);
    let place = match place {
        Place::Sqlite(_) => Place::Sqlite(installation.home.path().join("replica0/data/bedrock-proxy.db")),
        other => other,
    };
    // At once: whoever ends has written everything down.
    let mut database = super::reconcile::Database::open(&place).await;
    let rows = database.rows().await;
    assert_eq!((rows.len(), database.held(0).await), (STREAMS, 0));
    assert!(rows.values().all(|rows| rows.len() == 1));
    audit(&installation, &place, &outcomes, rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_streams_and_flushes_to_sqlite() {
    a_hundred_streams_and_sigterm(Place::Sqlite("".into())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_streams_and_flushes_to_postgres() {
    a_hundred_streams_and_sigterm(Place::Postgres(postgres::database().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_during_outage_keeps_usage_for_restart() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let place = Place::Postgres(cluster.database().await);
    let installation = Installation::new().await;
    let mut unavailable = None;
    let (mut replica, outcomes) = ended(&installation, &place, || {
        let mut cluster = cluster;
        cluster.stop();
        unavailable = Some(cluster);
    })
    .await;
    check_outcomes(&outcomes);
    assert!(replica.journal() >= STREAMS, "{} lines are kept", replica.journal());

    let mut cluster = unavailable.unwrap();
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.serve();
        cluster
    });
    let cluster = cluster.await.unwrap();
    // Twice, as a restart does: a stored record counts once.
    for _ in 0..2 {
        replica.revive();
        let rows = settled(&place, &outcomes).await;
        assert!(rows.len() == STREAMS && rows.values().all(|rows| rows.len() == 1));
        audit(&installation, &place, &outcomes, rows).await;
        replica.signal("-TERM");
        assert!(replica.ended().await.success());
    }
    drop(cluster);
}
