//! What the store costs: time and the process's CPU for each call, on both databases.
//!
//! ```sh
//! cargo bench -p bedrock-proxy --bench store
//! ```

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Duration;

use bedrock_proxy::testing::{Config, NewUserConfig, Reservation, ReserveOutcome, Store, Tasks, UsageRecord};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

#[path = "../tests/it/harness/postgres.rs"]
#[allow(dead_code)]
mod postgres;

const NOW: i64 = 1_795_348_800_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let url = postgres::database().await;
        measure("sqlite", &[]).await;
        measure("postgresql", &[("DATABASE_URL", &url)]).await;
    });
}

async fn measure(kind: &str, variables: &[(&str, &str)]) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().display().to_string();
    let own = [("DATA_DIR", data.as_str())];
    let config = Config::load(|name| {
        let mut all = variables.iter().chain(&own);
        all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    });
    let tasks = Tasks::default();
    let config = config.unwrap();
    let store = Store::open(&config.database, &tasks).await.unwrap();
    let new_users = NewUserConfig { provision: true, user_limit: None, team_limit: None };
    println!("{kind}");
    reserve(&store, "warm", 200, 1).await;
    report("reserve, one after another", 2000, reserve(&store, "one", 2000, 1)).await;
    report("reserve, 32 at once on one user", 8000, reserve(&store, "many", 8000, 32)).await;
    report("standing", 2000, async {
        for _ in 0..2000 {
            store.lookup_caller("ana", Some("red"), Some("jti")).await.unwrap();
        }
    })
    .await;
    for (size, batches) in [(1, 300), (100, 20)] {
        let all: Vec<Vec<UsageRecord>> = (0..batches)
            .map(|batch| (0..size).map(|row| receipt(&format!("{size}-{batch}-{row}"))).collect())
            .collect();
        report(&format!("receipt, in batches of {size}"), size * batches, async {
            for batch in &all {
                assert_eq!(store.write_batch(batch, &[], &new_users).await.unwrap(), size);
            }
        })
        .await;
    }
    tasks.shutdown();
    store.close().await;
}

/// Reserves `count` times, `width` at once, and gives back as it goes, so that few rows are live.
async fn reserve(store: &Store, name: &str, count: usize, width: usize) {
    let workers = (0..width).map(|worker| async move {
        for number in 0..count / width {
            let id = format!("{name}-{worker}-{number}");
            let wanted = Reservation {
                id: &id,
                holder: "bench",
                user_id: "ana",
                team: Some("red"),
                period: i64::try_from(number / 10).unwrap(),
                tokens: 1000,
                expires_at: NOW + 60_000,
                user_limit: Some(i64::MAX / 2),
                team_limit: Some(i64::MAX / 2),
                token: None,
                now: NOW,
            };
            let reserved = store.reserve(&wanted).await.unwrap();
            assert!(matches!(reserved, ReserveOutcome::Reserved(_)));
        }
    });
    join_all(workers).await;
}

async fn report(what: &str, count: usize, work: impl Future<Output = ()>) {
    let (began, spent) = (Instant::now(), cpu());
    work.await;
    let (took, spent) = (began.elapsed(), cpu().saturating_sub(spent));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(u32::try_from(count).unwrap());
    println!("  {what:<34} {:>7.1} µs each, {:>6.1} µs of CPU here", each(took), each(spent));
}

/// The CPU time of this process, in steps of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<i64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().filter_map(|field| field.parse().ok()).collect())
        .unwrap_or_default();
    // Without the state, which is no number, utime is the 11th and stime the 12th.
    let ticks: i64 = fields.iter().skip(10).take(2).sum();
    Duration::from_millis(u64::try_from(ticks).unwrap_or_default() * 10)
}

fn receipt(id: &str) -> UsageRecord {
    UsageRecord {
        id: id.to_owned(),
        request_id: "req_0123456789abcdefghijklmn".to_owned(),
        attempt: 1,
        user_id: "ana".to_owned(),
        team: Some("red".to_owned()),
        jti: None,
        session_id: None,
        model: "claude-sonnet-4-5".to_owned(),
        model_requested: Some("claude-sonnet-4-5".to_owned()),
        model_upstream: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned()),
        route: Some("converse".to_owned()),
        client_api: Some("messages".to_owned()),
        client: Some("claude-code".to_owned()),
        status: 200,
        outcome: "finished".to_owned(),
        stop_reason: Some("end_turn".to_owned()),
        input_tokens: 10,
        output_tokens: 20,
        cache_read_tokens: 0,
        cache_write_tokens: 0,
        cache_write_1h_tokens: 0,
        charged_tokens: 30,
        period: NOW,
        cost: 3_333_333,
        rates: json!({"input": 3000, "output": 15000}),
        priced: true,
        estimated: false,
        duration_ms: 1200,
        ttft_ms: Some(300),
        at: NOW,
    }
}
