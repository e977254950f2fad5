//! The ledger: what it is told reaches the database once, whatever happens on the way.

use std::path::Path;
use std::time::Duration;

use bedrock_proxy::clock::Clock;
use bedrock_proxy::config::Config;
use bedrock_proxy::store::{Store, UsageRecord};
use bedrock_proxy::tasks::Tasks;
use bedrock_proxy::usage::UsageRecorder;
use tempfile::TempDir;

use crate::store::{NOW, TODAY};

/// A ledger in a folder of its own, and the store behind it.
struct TestRecorder {
    folder: TempDir,
    config: Config,
    tasks: Tasks,
    store: Store,
    ledger: UsageRecorder,
}

impl TestRecorder {
    async fn new() -> Self {
        Self::with("1000").await
    }

    async fn with(queue: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap().to_owned();
        let set = [("DATA_DIR", data.as_str()), ("LEDGER_QUEUE", queue)];
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let config = Config::load(lookup).unwrap();
        let tasks = Tasks::default();
        let store = Store::open(&config.database, &tasks).await.unwrap();
        let ledger = open(folder.path(), &config, &store);
        Self { folder, config, tasks, store, ledger }
    }

    /// The process ends without a word, and the next begins.
    async fn killed(self) -> Self {
        let Self { folder, config, tasks, store, ledger } = self;
        drop(ledger);
        tasks.stop();
        tasks.ended().await;
        store.close().await;
        let tasks = Tasks::default();
        let store = Store::open(&config.database, &tasks).await.unwrap();
        let ledger = open(folder.path(), &config, &store);
        Self { folder, config, tasks, store, ledger }
    }

    async fn used(&self) -> i64 {
        self.store.caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used
    }

    /// Waits until so many tokens are charged.
    async fn until(&self, tokens: i64) {
        for _ in 0..500 {
            let used = self.used().await;
            if used == tokens {
                return;
            }
            assert!(used < tokens, "{used} tokens are more than were spent");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {tokens} tokens are charged", self.used().await);
    }

    fn quarantined(&self) -> usize {
        let path = self.folder.path().join("journal/quarantine.jsonl");
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }
}

fn open(folder: &Path, config: &Config, store: &Store) -> UsageRecorder {
    UsageRecorder::open(
        &folder.join("journal"),
        &config.ledger,
        store.clone(),
        Clock::machine(),
        std::sync::Arc::default(),
    )
    .unwrap()
}

/// One token, spent by ana.
fn receipt(number: usize) -> UsageRecord {
    UsageRecord {
        id: format!("r{number}"),
        request_id: format!("r{number}"),
        attempt: 1,
        user_id: "ana".to_owned(),
        model: "m".to_owned(),
        outcome: "finished".to_owned(),
        status: 200,
        charged_tokens: 1,
        period: TODAY,
        at: NOW,
        ..UsageRecord::default()
    }
}

#[tokio::test]
async fn what_is_settled_is_stored_in_batches() {
    let recorder = TestRecorder::new().await;
    recorder.ledger.start(&recorder.tasks);
    for number in 0..1500 {
        recorder.ledger.reserve_slot().await.unwrap().settle(receipt(number));
    }
    recorder.until(1500).await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_and_its_successor_counts_once() {
    let recorder = TestRecorder::new().await;
    recorder.ledger.start(&recorder.tasks);
    for number in 0..10 {
        recorder.ledger.reserve_slot().await.unwrap().settle(receipt(number));
    }
    recorder.until(10).await;
    let recorder = recorder.killed().await;
    // Never started: what it is told stands in the journal only.
    for number in 5..30 {
        recorder.ledger.reserve_slot().await.unwrap().settle(receipt(number));
    }
    let recorder = recorder.killed().await;
    recorder.ledger.start(&recorder.tasks);
    recorder.until(30).await;
}

#[tokio::test]
async fn a_row_that_the_database_will_never_take_is_set_aside_and_holds_up_nobody() {
    let recorder = TestRecorder::new().await;
    recorder.ledger.start(&recorder.tasks);
    let places = [
        recorder.ledger.reserve_slot().await,
        recorder.ledger.reserve_slot().await,
        recorder.ledger.reserve_slot().await,
    ];
    for (number, place) in places.into_iter().enumerate() {
        let poison = if number == 1 { "m\0" } else { "m" };
        place.unwrap().settle(UsageRecord { model: poison.to_owned(), ..receipt(number) });
    }
    recorder.until(2).await;
    assert_eq!(recorder.quarantined(), 1);
}

#[tokio::test]
async fn a_queue_without_room_holds_requests_up_until_there_is_some() {
    let recorder = TestRecorder::with("10").await;
    let mut places = Vec::new();
    for _ in 0..10 {
        places.push(recorder.ledger.reserve_slot().await.unwrap());
    }
    let waiting = tokio::time::timeout(Duration::from_millis(50), recorder.ledger.reserve_slot()).await;
    assert!(waiting.is_err(), "the eleventh waits");
    recorder.ledger.start(&recorder.tasks);
    for (number, place) in places.into_iter().enumerate() {
        place.settle(receipt(number));
    }
    let place = tokio::time::timeout(Duration::from_secs(5), recorder.ledger.reserve_slot()).await;
    place.unwrap().unwrap().settle(receipt(10));
    recorder.until(11).await;
}

#[tokio::test]
async fn while_the_database_is_away_the_queue_never_fills_up() {
    let recorder = TestRecorder::with("10").await;
    recorder.ledger.start(&recorder.tasks);
    recorder.store.close().await;
    for number in 0..200 {
        let place = tokio::time::timeout(Duration::from_secs(10), recorder.ledger.reserve_slot()).await;
        place.unwrap().unwrap().settle(receipt(number));
    }
    let recorder = recorder.killed().await;
    recorder.ledger.start(&recorder.tasks);
    recorder.until(200).await;
}
