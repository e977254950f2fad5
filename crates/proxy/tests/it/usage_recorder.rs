//! The usage recorder: each record reaches the database once, through kills and outages.

use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_proxy::testing::{Clock, Config, SlotError, Store, Tasks, UsageRecord, UsageRecorder};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::wait_for;
use crate::store::{NOW, TODAY};

/// A usage recorder in a folder of its own, with its store.
struct TestRecorder {
    folder: TempDir,
    config: Config,
    tasks: Tasks,
    store: Store,
    usage: UsageRecorder,
}

impl TestRecorder {
    async fn new() -> Self {
        Self::with(1000).await
    }

    async fn with(queue: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_str().unwrap().to_owned();
        let set = [("DATA_DIR", data.as_str())];
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut config = Config::load(lookup).unwrap();
        config.usage.queue = queue;
        let tasks = Tasks::default();
        let store = Store::open(&config.database, &tasks).await.unwrap();
        let usage = open(folder.path(), &config, &store);
        Self { folder, config, tasks, store, usage }
    }

    /// The process is killed, and the next begins.
    async fn killed(self) -> Self {
        let Self { folder, config, tasks, store, usage } = self;
        drop(usage);
        tasks.shutdown();
        tasks.wait().await;
        store.close().await;
        let tasks = Tasks::default();
        let store = Store::open(&config.database, &tasks).await.unwrap();
        let usage = open(folder.path(), &config, &store);
        Self { folder, config, tasks, store, usage }
    }

    async fn used(&self) -> i64 {
        self.store.caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used
    }

    /// Waits until so many tokens are charged.
    async fn until(&self, tokens: i64) {
        wait_for(&format!("{tokens} tokens are charged"), async || {
            let used = self.used().await;
            assert!(used <= tokens, "{used} tokens are more than were spent");
            (used == tokens).then_some(())
        })
        .await;
    }

    fn quarantined(&self) -> usize {
        let path = self.folder.path().join("journal/quarantine.jsonl");
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }
}

fn open(folder: &Path, config: &Config, store: &Store) -> UsageRecorder {
    UsageRecorder::open(
        &folder.join("journal"),
        &config.usage,
        store.clone(),
        Clock::machine(),
        std::sync::Arc::default(),
    )
    .unwrap()
}

/// One token, spent by ana.
fn usage_record(number: usize) -> UsageRecord {
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
async fn settled_records_are_stored_in_batches() {
    let recorder = TestRecorder::new().await;
    recorder.usage.start(&recorder.tasks);
    for number in 0..1500 {
        recorder.usage.reserve_slot().await.unwrap().settle(usage_record(number));
    }
    recorder.until(1500).await;
}

#[tokio::test]
async fn killed_process_replays_each_record_once() {
    let recorder = TestRecorder::new().await;
    recorder.usage.start(&recorder.tasks);
    for number in 0..10 {
        recorder.usage.reserve_slot().await.unwrap().settle(usage_record(number));
    }
    recorder.until(10).await;
    let recorder = recorder.killed().await;
    // Never started: its records are in the WAL only.
    for number in 5..30 {
        recorder.usage.reserve_slot().await.unwrap().settle(usage_record(number));
    }
    let recorder = recorder.killed().await;
    recorder.usage.start(&recorder.tasks);
    recorder.until(30).await;
}

#[tokio::test]
async fn invalid_record_is_quarantined_without_blocking_others() {
    let recorder = TestRecorder::new().await;
    recorder.usage.start(&recorder.tasks);
    let places = [
        recorder.usage.reserve_slot().await,
        recorder.usage.reserve_slot().await,
        recorder.usage.reserve_slot().await,
    ];
    for (number, place) in places.into_iter().enumerate() {
        // Only a mistake of the program makes such a record.
        let user_id = if number == 1 { "" } else { "ana" }.to_owned();
        place.unwrap().settle(UsageRecord { user_id, ..usage_record(number) });
    }
    recorder.until(2).await;
    assert_eq!(recorder.quarantined(), 1);
}

#[tokio::test]
async fn absurd_record_is_clamped_and_charged() {
    let recorder = TestRecorder::new().await;
    recorder.usage.start(&recorder.tasks);
    let long = || "m\0\u{e9}".repeat(1000);
    recorder.usage.reserve_slot().await.unwrap().settle(UsageRecord {
        model: long(),
        model_requested: Some(long()),
        stop_reason: Some(long()),
        session_id: Some(long()),
        input_tokens: i64::MAX,
        cost: i64::MAX,
        charged_tokens: 2_000_000_000_000,
        ..usage_record(0)
    });
    recorder.until(1_000_000_000_000).await;
    assert_eq!(recorder.quarantined(), 0);
}

#[tokio::test]
async fn unreadable_segment_does_not_hold_up_others() {
    let recorder = TestRecorder::new().await;
    recorder.usage.reserve_slot().await.unwrap().settle(usage_record(1));
    let wal = recorder.folder.path().join("journal");
    // Reading a directory fails, as a broken disk does.
    std::fs::rename(wal.join("00000001.jsonl"), wal.join("00000002.jsonl")).unwrap();
    std::fs::create_dir(wal.join("00000001.jsonl")).unwrap();
    let recorder = recorder.killed().await;
    recorder.usage.start(&recorder.tasks);
    recorder.until(1).await;
    wait_for("the segment is deleted", async || (!wal.join("00000002.jsonl").exists()).then_some(())).await;
    assert!(wal.join("00000001.unreadable").is_dir() && !wal.join("00000001.jsonl").exists());
}

#[tokio::test]
async fn unreadable_wal_lines_are_quarantined() {
    let recorder = TestRecorder::new().await;
    for number in 1..=2 {
        recorder.usage.reserve_slot().await.unwrap().settle(usage_record(number));
    }
    let wal = recorder.folder.path().join("journal");
    let segment = wal.join("00000001.jsonl");
    let text = std::fs::read_to_string(&segment).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    let broken = [first.as_bytes(), b"\n\xff{broken\n", second.as_bytes(), b"{\"receipt\":{\"id\""].concat();
    std::fs::write(&segment, broken).unwrap();
    let recorder = recorder.killed().await;
    recorder.usage.start(&recorder.tasks);
    recorder.until(2).await;
    wait_for("the segment is deleted", async || (!segment.exists()).then_some(())).await;
    let quarantine = std::fs::read_to_string(wal.join("quarantine.jsonl")).unwrap();
    let lines: Vec<Value> = quarantine.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bytes: Vec<_> =
        lines.iter().map(|line| STANDARD.decode(line["base64"].as_str().unwrap()).unwrap()).collect();
    assert_eq!(bytes, [&b"\xff{broken\n"[..], b"{\"receipt\":{\"id\""]);
    assert!(
        lines.iter().all(|line| line["reason"].as_str().unwrap().contains("not readable")),
        "{quarantine}"
    );
}

#[tokio::test]
async fn full_queue_delays_admission() {
    let recorder = TestRecorder::with(10).await;
    let mut places = Vec::new();
    for _ in 0..10 {
        places.push(recorder.usage.reserve_slot().await.unwrap());
    }
    let mut eleventh = pin!(recorder.usage.reserve_slot());
    let polled = poll_fn(|context| Poll::Ready(eleventh.as_mut().poll(context))).await;
    assert!(polled.is_pending(), "the eleventh waits");
    recorder.usage.start(&recorder.tasks);
    for (number, place) in places.into_iter().enumerate() {
        place.settle(usage_record(number));
    }
    let place = tokio::time::timeout(Duration::from_secs(5), eleventh).await;
    place.unwrap().unwrap().settle(usage_record(10));
    recorder.until(11).await;
}

#[tokio::test]
async fn unavailable_database_never_fills_the_queue() {
    let recorder = TestRecorder::with(10).await;
    recorder.usage.start(&recorder.tasks);
    recorder.store.close().await;
    for number in 0..200 {
        let place = tokio::time::timeout(Duration::from_secs(10), recorder.usage.reserve_slot()).await;
        place.unwrap().unwrap().settle(usage_record(number));
    }
    let recorder = recorder.killed().await;
    recorder.usage.start(&recorder.tasks);
    recorder.until(200).await;
}

#[tokio::test]
async fn retention_runs_beside_the_writer() {
    let recorder = TestRecorder::new().await;
    let old = "INSERT INTO users (user_id) VALUES ('old');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO metrics (user_id, model, receipt_id, created_at)
         SELECT 'old', 'm', 'old' || i, '2020-01-01 00:00:00' FROM n";
    let path = recorder.folder.path().join("bedrock-proxy.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql(old).execute(&mut connection).await.unwrap();
    recorder.usage.start(&recorder.tasks);
    recorder.usage.reserve_slot().await.unwrap().settle(usage_record(1));
    recorder.until(1).await;
    let mut left = async || -> i64 {
        let count = "SELECT COUNT(*) FROM metrics WHERE user_id = 'old'";
        sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap()
    };
    assert!(left().await > 0, "a record waits for no deletion");
    wait_for("old rows are deleted", async || (left().await == 0).then_some(())).await;
}

#[tokio::test]
async fn full_queue_is_an_error_in_time() {
    let recorder = TestRecorder::with(10).await;
    let mut slots = Vec::new();
    for _ in 0..10 {
        slots.push(recorder.usage.reserve_slot().await.unwrap());
    }
    tokio::time::pause();
    let waited = tokio::time::timeout(Duration::from_secs(10), recorder.usage.reserve_slot()).await;
    assert!(matches!(waited, Ok(Err(SlotError::Full))), "{waited:?}");
    slots.pop();
    assert!(recorder.usage.reserve_slot().await.is_ok());
}
