//! How a process ends: SIGTERM under a hundred streams, on both databases and on none.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::clients::{Fate, Plan};
use super::reconcile::Place;
use super::{Stage, audit, settled, spawn, until, user};
use crate::harness::postgres::{self, Cluster};
use crate::harness::tokens::token;

const STREAMS: usize = 100;
const GRACE: Duration = Duration::from_secs(4);
/// What the server may take beyond the grace: last words, the last batch, and the machine's own slowness.
const REST: Duration = Duration::from_secs(15);

/// Every other stream ends soon; the others would go on for more than a minute.
fn plan(number: usize) -> Plan {
    let words = if number.is_multiple_of(2) { "[paced 80 10]" } else { "[paced 90 1000]" };
    Plan { number, words: words.to_owned(), stream: true, leaves_after: None, leaves_in: None }
}

/// SIGTERM while a hundred streams are open, and `meanwhile` just before. Returns what became of them.
async fn ended(
    stage: &Stage,
    place: &Place,
    meanwhile: impl FnOnce(),
) -> (super::Replica, Vec<(Plan, Fate)>) {
    let grace = GRACE.as_secs().to_string();
    let mut replica = stage.replica("replica0", place, &[("SHUTDOWN_GRACE_SECONDS", &grace)]);
    let address = replica.address;
    let asking: Vec<_> = (0..STREAMS)
        .map(|number| {
            let (clients, plan) = (stage.clients.clone(), plan(number));
            let token = token(&user(number), &json!({"team": "red"}));
            spawn(async move { (plan.clone(), clients.send(address, &token, &plan).await) })
        })
        .collect();
    // Each has a word of its answer: Bedrock was asked, and its head is there.
    until("all are answered", || {
        stage
            .bedrock
            .requests()
            .iter()
            .filter(|asked| asked.status == 200 && asked.path.starts_with("/model/"))
            .count()
            == STREAMS
    })
    .await;
    meanwhile();
    let start = Instant::now();
    replica.signal("-TERM");
    let mut refused = false;
    while !refused && start.elapsed() < GRACE {
        refused = TcpStream::connect(address).await.is_err();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused, "new connections are taken during the drain");
    let mut fates = Vec::new();
    for one in asking {
        fates.push(one.await.unwrap());
    }
    assert!(replica.ended().await.success());
    assert!(start.elapsed() < GRACE + REST, "{:?}", start.elapsed());
    (replica, fates)
}

/// Those that could end did, and the others were told once that they were cut off.
fn told(fates: &[(Plan, Fate)]) {
    for (plan, fate) in fates {
        if plan.number.is_multiple_of(2) {
            assert!(matches!(fate, Fate::Finished(_)), "{plan:?}: {fate:?}");
            continue;
        }
        let Fate::Failed(_, 200, text) = fate else { panic!("{plan:?}: {fate:?}") };
        assert_eq!(text.matches("event: error").count(), 1, "{text}");
        assert!(text.contains("overloaded_error") && !text.contains("message_stop"), "{text}");
    }
}

async fn a_hundred_streams_and_sigterm(place: Place) {
    let stage = Stage::new().await;
    let (_replica, fates) = ended(&stage, &place, || {}).await;
    told(&fates);
    let place = match place {
        Place::Sqlite(_) => Place::Sqlite(stage.home.path().join("replica0/data/bedrock-proxy.db")),
        other => other,
    };
    // At once: whoever ends has written everything down.
    let mut database = super::reconcile::Database::open(&place).await;
    let rows = database.rows().await;
    assert_eq!((rows.len(), database.held(0).await), (STREAMS, 0));
    assert!(rows.values().all(|rows| rows.len() == 1));
    audit(&stage, &place, &fates, rows).await;
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
    let stage = Stage::new().await;
    let mut away = None;
    let (mut replica, fates) = ended(&stage, &place, || {
        let mut cluster = cluster;
        cluster.stop();
        away = Some(cluster);
    })
    .await;
    told(&fates);
    assert!(replica.journal() >= STREAMS, "{} lines are kept", replica.journal());

    let mut cluster = away.unwrap();
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.serve();
        cluster
    });
    let cluster = cluster.await.unwrap();
    // Twice, as somebody who restarts it would: what is stored counts once.
    for _ in 0..2 {
        replica.revive();
        let rows = settled(&place, &fates).await;
        assert!(rows.len() == STREAMS && rows.values().all(|rows| rows.len() == 1));
        audit(&stage, &place, &fates, rows).await;
        replica.signal("-TERM");
        assert!(replica.ended().await.success());
    }
    drop(cluster);
}
