use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bedrock_proxy::testing::{Reservation, ReserveOutcome, Store, StoreError};
use tokio::time::{Instant, timeout};

use super::{NOW, TODAY, ana, new_users, place, usage_record};
use crate::harness::postgres;

fn wanted(id: &str) -> Reservation<'_> {
    Reservation {
        id,
        holder: "replica-1",
        user_id: "ana",
        team: Some("red"),
        period: TODAY,
        tokens: 1,
        expires_at: NOW + 60_000,
        user_limit: Some(100),
        team_limit: Some(100),
        token: None,
        now: NOW,
    }
}

/// The queries of a request; both within its time limit.
async fn hot(store: &Store, id: &str) -> [Option<StoreError>; 2] {
    let began = Instant::now();
    let standing = store.lookup_caller("ana", None, None).await.err();
    let reserved = store.reserve(&wanted(id)).await.err();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    [standing, reserved]
}

#[tokio::test]
async fn hanging_database_opens_the_circuit_until_it_responds() {
    let url = postgres::database().await;
    let place = place("postgresql", &[("DATABASE_URL", &url)]);
    let store = place.open().await;
    ana(&store, None, None).await;
    let mut other = postgres::connect(&url).await;
    let lock = "BEGIN; LOCK TABLE users, reservations IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    for id in ["a", "b"] {
        for response in hot(&store, id).await {
            assert!(matches!(response, Some(StoreError::Unavailable(_))), "{response:?}");
        }
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    back(&store).await;
}

#[tokio::test]
async fn open_circuit_fails_later_requests_fast() {
    let url = postgres::database().await;
    let (address, name) = url.split_once('@').unwrap().1.split_once('/').unwrap();
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let (way, mute) = (directory.path().join("way"), directory.path().join("mute"));
    std::os::unix::fs::symlink(address.replace("%2F", "/"), &way).unwrap();
    let encoded = way.display().to_string().replace('/', "%2F");
    let by_way = format!("postgres://postgres@{encoded}/{name}");
    let place = place("postgresql", &[("DATABASE_URL", &by_way)]);
    let store = place.open().await;
    ana(&store, None, None).await;

    // From here on the address leads to a server that accepts and sends nothing.
    std::fs::create_dir(&mute).unwrap();
    let _mute = std::os::unix::net::UnixListener::bind(mute.join(".s.PGSQL.5432")).unwrap();
    std::fs::remove_file(&way).unwrap();
    std::os::unix::fs::symlink(&mute, &way).unwrap();
    cut(&url).await;
    // Connections that were cut fail at once; whoever needs a new one waits.
    let mut began = Instant::now();
    timeout(Duration::from_secs(20), async {
        loop {
            let [standing, reserved] = hot(&store, "b").await;
            assert!(standing.is_some() && reserved.is_some());
            if began.elapsed() < Duration::from_millis(200) {
                return;
            }
            began = Instant::now();
        }
    })
    .await
    .unwrap();
    for _ in 0..100 {
        hot(&store, "c").await;
    }
    assert!(began.elapsed() < Duration::from_secs(1), "100 requests waited {:?}", began.elapsed());
    assert!(
        matches!(store.write_batch(&[], &[], &new_users()).await, Err(StoreError::Unavailable(_))),
        "a batch tries in earnest"
    );

    std::fs::remove_file(&way).unwrap();
    std::os::unix::fs::symlink(address.replace("%2F", "/"), &way).unwrap();
    back(&store).await;
}

/// Returns when requests are served again.
async fn back(store: &Store) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let again = async {
        while hot(store, &format!("back{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await != [None, None] {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), again).await.unwrap();
    assert!(store.is_connected());
}

/// Ends all connections to a database but one.
async fn cut(url: &str) {
    let mut other = postgres::connect(url).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND datname = current_database()";
    sqlx::raw_sql(cut).execute(&mut other).await.unwrap();
}

#[tokio::test]
async fn connections_that_the_server_cut_are_replaced() {
    let url = postgres::database().await;
    let place = place("postgresql", &[("DATABASE_URL", &url), ("DB_MAX_CONNS", "25"), ("DB_MIN_CONNS", "5")]);
    let store = place.open().await;
    ana(&store, None, None).await;
    assert_eq!(hot(&store, "a").await, [None, None]);
    cut(&url).await;
    back(&store).await;
    assert_eq!(store.write_batch(&[usage_record("a")], &[], &new_users()).await.unwrap(), 1);
}

#[tokio::test]
async fn cancelled_query_returns_a_clean_connection() {
    let url = postgres::database().await;
    let place = place("postgresql", &[("DATABASE_URL", &url), ("DB_MAX_CONNS", "2")]);
    let store = place.open().await;
    for number in 0..50_u32 {
        let id = format!("given-up-{number}");
        let wanted = wanted(&id);
        // Dropped at every moment of its way.
        let given_up = timeout(Duration::from_micros(u64::from(number) * 40), store.reserve(&wanted));
        let _ = given_up.await;
    }
    for number in 0..20 {
        let id = format!("after-{number}");
        assert!(matches!(store.reserve(&wanted(&id)).await.unwrap(), ReserveOutcome::Reserved(_)));
    }
}

#[tokio::test]
async fn full_pool_is_busy_not_unavailable() {
    let url = postgres::database().await;
    let place = place("postgresql", &[("DATABASE_URL", &url)]);
    let store = place.open().await;
    ana(&store, None, None).await;
    let mut other = postgres::connect(&url).await;
    let lock = "BEGIN; LOCK TABLE reservations IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let requests = ["one", "two"].map(wanted);
    let reserving = futures_util::future::join_all(requests.iter().map(|wanted| store.reserve(wanted)));
    let others = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            store.lookup_caller("ana", None, None).await.unwrap();
        }
    };
    let (reserved, ()) = tokio::join!(reserving, others);
    assert!(reserved.iter().all(|response| matches!(response, Err(StoreError::Busy(_)))), "{reserved:?}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(matches!(store.reserve(&wanted("three")).await, Ok(ReserveOutcome::Reserved(_))));
}
