use bedrock_proxy::testing::{
    CallerTotals, Reservation, ReserveOutcome, Store, StoreError, UsageRecord, UsageTotals,
};
use futures_util::future::join_all;

use super::{NOW, TODAY, both, new_users, usage_record};

const LEASE: i64 = 60_000;

fn wanted(id: &str, tokens: i64) -> Reservation<'_> {
    Reservation {
        id,
        holder: "replica-1",
        user_id: "ana",
        team: Some("red"),
        period: TODAY,
        tokens,
        expires_at: NOW + LEASE,
        user_limit: Some(100),
        team_limit: Some(1000),
        token: None,
        now: NOW,
    }
}

async fn is_granted(store: &Store, wanted: Reservation<'_>) -> bool {
    matches!(store.reserve(&wanted).await.unwrap(), ReserveOutcome::Reserved(_))
}

#[tokio::test]
async fn concurrent_reservations_fill_the_limit_exactly() {
    for place in both().await {
        // Two replicas of three users in one team; the team's limit is the tighter one, and 3 does not divide it.
        let replicas = [place.open().await, place.open().await];
        let names: Vec<_> =
            (0..200).map(|number| (format!("r{number}"), format!("user{}", number % 3))).collect();
        let all = names.iter().enumerate().map(|(number, (id, user_id))| {
            let replica = &replicas[number % 2];
            let limits = Reservation { user_limit: Some(100), team_limit: Some(250), ..wanted(id, 3) };
            is_granted(replica, Reservation { user_id, ..limits })
        });
        let granted = join_all(all).await.into_iter().filter(|granted| *granted).count();
        assert_eq!(granted, 83, "{}", place.kind);
        let tallies = replicas[0].caller_totals("user0", Some("red"), TODAY, NOW).await.unwrap();
        assert_eq!(tallies.team, UsageTotals { used: 0, reserved: 249 });
        assert!(tallies.user.reserved <= 99);
    }
}

/// Nothing used, and so much reserved by the user and by the team.
fn reserved(user: i64, team: i64) -> CallerTotals {
    CallerTotals {
        user: UsageTotals { used: 0, reserved: user },
        team: UsageTotals { used: 0, reserved: team },
        token: UsageTotals::default(),
    }
}

#[tokio::test]
async fn each_limit_is_exact_to_the_token() {
    for place in both().await {
        let store = place.open().await;
        let first = store.reserve(&wanted("a", 60)).await.unwrap();
        assert_eq!(first, ReserveOutcome::Reserved(reserved(0, 0)));
        let over = store.reserve(&wanted("b", 41)).await.unwrap();
        assert_eq!(over, ReserveOutcome::OverLimit(reserved(60, 60)));
        let exact = store.reserve(&wanted("b", 40)).await.unwrap();
        assert_eq!(exact, ReserveOutcome::Reserved(reserved(60, 60)));
        let other = Reservation { user_id: "ben", team_limit: Some(100), ..wanted("c", 1) };
        assert_eq!(store.reserve(&other).await.unwrap(), ReserveOutcome::OverLimit(reserved(0, 100)));
        let unlimited = Reservation { user_limit: None, team_limit: None, ..wanted("d", 1_000_000) };
        assert!(is_granted(&store, unlimited).await);
        let lowered = Reservation { user_limit: Some(50), ..wanted("e", 1) };
        assert_eq!(
            store.reserve(&lowered).await.unwrap(),
            ReserveOutcome::OverLimit(reserved(1_000_100, 1_000_100))
        );
        let alone = Reservation { user_id: "cleo", team: None, team_limit: Some(0), ..wanted("f", 100) };
        assert_eq!(store.reserve(&alone).await.unwrap(), ReserveOutcome::Reserved(reserved(0, 0)));
        let nothing = Reservation { user_id: "dora", user_limit: Some(0), ..wanted("g", 1) };
        assert!(!is_granted(&store, nothing).await);
        let tomorrow = Reservation { period: TODAY + 86_400_000, ..wanted("h", 100) };
        assert!(is_granted(&store, tomorrow).await, "each period has its own");
    }
}

#[tokio::test]
async fn reservation_expires_unless_renewed_or_released() {
    for place in both().await {
        let store = place.open().await;
        for id in ["a", "b", "c"] {
            assert!(is_granted(&store, wanted(id, 30)).await);
        }
        assert!(!is_granted(&store, wanted("d", 30)).await);
        store.release(&["c".to_owned(), "unknown".to_owned()]).await.unwrap();
        assert!(is_granted(&store, wanted("d", 30)).await);

        assert_eq!(store.renew(&["a".to_owned(), "gone".to_owned()], NOW + 3 * LEASE).await.unwrap(), 1);
        let later = NOW + LEASE;
        let tallies = store.caller_totals("ana", Some("red"), TODAY, later).await.unwrap();
        let tally = UsageTotals { used: 0, reserved: 30 };
        let expected = CallerTotals { user: tally, team: tally, token: UsageTotals::default() };
        assert_eq!(tallies, expected, "only the renewed one is left");
        let after = Reservation { now: later, expires_at: later + LEASE, ..wanted("e", 70) };
        assert!(is_granted(&store, after).await);
        assert_eq!(store.caller_totals("eve", None, TODAY, NOW).await.unwrap(), CallerTotals::default());
        assert_eq!(store.renew(&[], NOW).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_an_id_serves_once() {
    for place in both().await {
        let store = place.open().await;
        for tokens in [-1, i64::MAX] {
            assert!(matches!(store.reserve(&wanted("a", tokens)).await, Err(StoreError::Invalid(_))));
        }
        assert!(matches!(store.reserve(&wanted("", 1)).await, Err(StoreError::Invalid(_))));
        assert!(is_granted(&store, wanted("a", 1)).await);
        assert!(matches!(store.reserve(&wanted("a", 1)).await, Err(StoreError::Conflict(_))));
    }
}

#[tokio::test]
async fn token_limit_applies_beside_the_others() {
    for place in both().await {
        let store = place.open().await;
        let limited = |id, tokens| Reservation { token: Some(("tok_1", 50)), ..wanted(id, tokens) };
        assert!(is_granted(&store, limited("a", 30)).await);
        let over = store.reserve(&limited("b", 21)).await.unwrap();
        let ReserveOutcome::OverLimit(totals) = over else { panic!("{}: {over:?}", place.kind) };
        assert_eq!(totals.token, UsageTotals { used: 0, reserved: 30 });
        assert_eq!(totals.user, UsageTotals { used: 0, reserved: 30 });
        assert!(is_granted(&store, wanted("c", 21)).await, "another token of the user");
        assert!(!is_granted(&store, limited("d", 50)).await, "the limit of the user applies as well");
        assert!(is_granted(&store, limited("e", 20)).await, "{}: exact to the token", place.kind);
        let settled = UsageRecord { jti: Some("tok_1".to_owned()), charged_tokens: 25, ..usage_record("a") };
        store.write_batch(&[settled], &[], &new_users()).await.unwrap();
        let totals = store.token_totals("tok_1", TODAY, NOW).await.unwrap();
        assert_eq!(totals, UsageTotals { used: 25, reserved: 20 });
        assert!(is_granted(&store, limited("f", 5)).await && !is_granted(&store, limited("g", 1)).await);
        let tomorrow = Reservation { period: TODAY + 86_400_000, ..limited("h", 50) };
        assert!(is_granted(&store, tomorrow).await, "each period has its own");
        assert_eq!(store.token_totals("tok_2", TODAY, NOW).await.unwrap(), UsageTotals::default());
    }
}
