use std::time::Duration;

use bedrock_proxy::store::{Reservation, Reserved, Store, StoreError};
use tokio::time::{Instant, timeout};

use super::{NOW, TODAY, ana, place, postgres, receipt};

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
        now: NOW,
    }
}

/// What a request asks of the store; both within the time that a request can spare.
async fn hot(store: &Store, id: &str) -> [Option<StoreError>; 2] {
    let began = Instant::now();
    let standing = store.standing("ana", None, None).await.err();
    let reserved = store.reserve(&wanted(id)).await.err();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    [standing, reserved]
}

#[tokio::test]
async fn a_database_that_hangs_is_away_after_a_second_and_serves_again_at_once() {
    let url = postgres::database().await;
    let place = place("postgresql", &[("DATABASE_URL", &url)]);
    let store = place.open().await;
    ana(&store, None, None).await;
    let mut other = postgres::connect(&url).await;
    let lock = "BEGIN; LOCK TABLE users, reservations IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    for id in ["a", "b"] {
        for answer in hot(&store, id).await {
            assert!(matches!(answer, Some(StoreError::Away(_))), "{answer:?}");
        }
    }
    assert!(!store.is_connected());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(hot(&store, "c").await, [None, None]);
    assert!(store.is_connected());
}

#[tokio::test]
async fn connections_that_the_server_cut_are_replaced() {
    let url = postgres::database().await;
    let place = place("postgresql", &[("DATABASE_URL", &url), ("DB_MAX_CONNS", "25"), ("DB_MIN_CONNS", "5")]);
    let store = place.open().await;
    ana(&store, None, None).await;
    assert_eq!(hot(&store, "a").await, [None, None]);
    let mut other = postgres::connect(&url).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND datname = current_database()";
    sqlx::raw_sql(cut).execute(&mut other).await.unwrap();
    let again = async {
        let mut number = 0;
        while hot(&store, &format!("again{number}")).await != [None, None] {
            number += 1;
        }
    };
    timeout(Duration::from_secs(10), again).await.unwrap();
    assert_eq!(store.write(&[receipt("a")], &[]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_connection_in_order() {
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
        assert!(matches!(store.reserve(&wanted(&id)).await.unwrap(), Reserved::Granted(_)));
    }
}
