use bedrock_proxy::testing::{
    ClaimedUser, DatabaseUrl as Where, EventFilter, NewUserConfig, Page, Reservation, ReserveOutcome,
    StoreError, UsageRecord, UsageTotals, User,
};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::Connection;

use super::{NOW, Place, TODAY, ana, both, event, new_users, usage_record};
use crate::harness::postgres;

const DAY: i64 = 86_400_000;

/// The first column of one row, asked for around the store.
async fn query(place: &Place, request: &'static str) -> String {
    match &place.config.url {
        Where::Sqlite(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query_scalar(request).fetch_one(&mut connection).await.unwrap()
        }
        Where::Postgres(url) => {
            let mut connection = postgres::connect(url.expose()).await;
            sqlx::query_scalar(request).fetch_one(&mut connection).await.unwrap()
        }
        Where::PostgresParts(_) => unreachable!(),
    }
}

#[tokio::test]
async fn usage_record_settles_its_reservation_once() {
    for place in both().await {
        let store = place.open().await;
        ana(&store, Some(100), None).await;
        let wanted = Reservation {
            id: "a",
            holder: "replica-1",
            user_id: "ana",
            team: Some("red"),
            period: TODAY,
            tokens: 90,
            expires_at: NOW + 60_000,
            user_limit: Some(100),
            team_limit: None,
            token: None,
            now: NOW,
        };
        assert!(matches!(store.reserve(&wanted).await.unwrap(), ReserveOutcome::Reserved(_)));
        let batch = [usage_record("a"), usage_record("b"), usage_record("a")];
        let reported = [event("e1", "quota_exceeded")];
        assert_eq!(
            store.write_batch(&batch, &reported, &new_users()).await.unwrap(),
            2,
            "an id counts once in a batch, too"
        );
        assert_eq!(
            store.write_batch(&batch, &reported, &new_users()).await.unwrap(),
            0,
            "and a batch counts once"
        );
        let tallies = store.caller_totals("ana", Some("red"), TODAY, NOW).await.unwrap();
        let tally = UsageTotals { used: 60, reserved: 0 };
        assert_eq!((tallies.user, tallies.team), (tally, tally));
        let user = store.user("ana").await.unwrap();
        assert_eq!((user.tokens_used_today, user.last_reset_date.as_deref()), (60, Some("2026-11-22")));
        let filter = EventFilter { kind: Some("quota_exceeded".to_owned()), ..EventFilter::default() };
        let page = Page { after: None, limit: 10 };
        assert_eq!(store.events(&filter, &page).await.unwrap().rows, [event("e1", "quota_exceeded")]);
        let full = Reservation { id: "c", tokens: 41, ..wanted };
        assert!(
            matches!(store.reserve(&full).await.unwrap(), ReserveOutcome::OverLimit(spent) if spent.user.used == 60)
        );
    }
}

#[tokio::test]
async fn usage_of_an_unknown_user_inserts_its_rows() {
    for provision in [true, false] {
        for place in both().await {
            let store = place.open().await;
            let new_users = NewUserConfig { provision, ..new_users() };
            for id in ["a", "b"] {
                store.write_batch(&[usage_record(id)], &[], &new_users).await.unwrap();
            }
            let user = store.user("ana").await.unwrap();
            assert_eq!((user.daily_token_limit, user.disabled), (Some(5000), !provision));
            assert_eq!((user.team.as_deref(), user.tokens_used_today), (Some("red"), 60));
            let team = store.team("red").await.map(|team| team.daily_token_limit);
            assert_eq!(team, if provision { Ok(Some(70_000)) } else { Err(StoreError::NotFound) });
            let events = store.events(&EventFilter::default(), &Page { after: None, limit: 9 }).await;
            let [event] = events.unwrap().rows.try_into().unwrap();
            let details = if provision {
                json!({"daily_token_limit": 5000})
            } else {
                json!({"daily_token_limit": 5000, "disabled": true})
            };
            assert_eq!((event.kind.as_str(), event.details), ("user_provisioned", details));
            assert_eq!((event.user_id.as_deref(), event.team.as_deref()), (Some("ana"), Some("red")));
        }
    }
}

#[tokio::test]
async fn replayed_batches_charge_each_record_once() {
    for place in both().await {
        let replicas = [place.open().await, place.open().await];
        // 60 usage records of 7 users in 3 teams; each writer stores all of them, in parts that overlap.
        let all: Vec<UsageRecord> = (0..60)
            .map(|number| {
                let (user_id, team) = (format!("user{}", number % 7), format!("team{}", number % 3));
                UsageRecord { user_id, team: Some(team), ..usage_record(&format!("r{number}")) }
            })
            .collect();
        let writes = (0..12).map(|number| {
            let (replica, part) = (&replicas[number % 2], &all[number * 2..number * 2 + 38]);
            async move {
                // A deadlock would be a failure of this, after a second.
                replica.write_batch(part, &[], &new_users()).await.unwrap()
            }
        });
        let fresh: usize = join_all(writes).await.into_iter().sum();
        assert_eq!(fresh, 60);
        let mut total = 0;
        for team in ["team0", "team1", "team2"] {
            total += replicas[0].caller_totals("user0", Some(team), TODAY, NOW).await.unwrap().team.used;
        }
        assert_eq!(total, 60 * 30);
        let users = replicas[1].users(None, &Page { after: None, limit: 100 }).await.unwrap().rows;
        assert_eq!(users.iter().map(|user| user.tokens_used_today).sum::<i64>(), 60 * 30);
        let requests = "SELECT CAST(SUM(requests) AS VARCHAR(20)) FROM usage_daily";
        assert_eq!(query(&place, requests).await, "60");
    }
}

#[tokio::test]
async fn batch_with_an_invalid_record_is_rolled_back() {
    let poison: [fn(&mut UsageRecord); 10] = [
        |usage_record| usage_record.model.push('\0'),
        |usage_record| usage_record.session_id = Some("x".repeat(256)),
        |usage_record| usage_record.rates = json!({"note": "a\0b"}),
        |usage_record| usage_record.rates = json!("x".repeat(100_000)),
        |usage_record| usage_record.id.clear(),
        |usage_record| usage_record.user_id = "\0".to_owned(),
        |usage_record| usage_record.charged_tokens = -1,
        |usage_record| usage_record.output_tokens = i64::MAX,
        |usage_record| usage_record.cost = -1,
        |usage_record| usage_record.at = i64::MAX,
    ];
    for place in both().await {
        let store = place.open().await;
        for spoil in poison {
            let mut spoilt = usage_record("bad");
            spoil(&mut spoilt);
            let written = store.write_batch(&[usage_record("good"), spoilt], &[], &new_users()).await;
            assert!(matches!(written, Err(StoreError::Invalid(_))), "{written:?}");
        }
        let written =
            store.write_batch(&[usage_record("good")], &[event("e", &"k".repeat(51))], &new_users()).await;
        assert!(matches!(written, Err(StoreError::Invalid(_))), "{written:?}");
        assert_eq!(store.caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used, 0);
        assert_eq!(store.user("ana").await, Err(StoreError::NotFound));
        assert_eq!(store.write_batch(&[usage_record("good")], &[], &new_users()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_batch_may_be_larger_than_one_statement() {
    for place in both().await {
        let store = place.open().await;
        let batch: Vec<_> = (0..1203).map(|number| usage_record(&format!("r{number}"))).collect();
        assert_eq!(store.write_batch(&batch, &[], &new_users()).await.unwrap(), 1203);
        assert_eq!(store.caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used, 1203 * 30);
        assert_eq!(store.write_batch(&[], &[], &new_users()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn usage_record_belongs_to_its_starting_period() {
    for place in both().await {
        let store = place.open().await;
        ana(&store, None, None).await;
        let of = |id: &str, period: i64| UsageRecord { period, ..usage_record(id) };
        store.write_batch(&[of("a", TODAY), of("b", TODAY)], &[], &new_users()).await.unwrap();
        assert_eq!(store.user("ana").await.unwrap().tokens_used_today, 60);
        // One batch with yesterday's last and tomorrow's first.
        store
            .write_batch(&[of("c", TODAY - DAY), of("d", TODAY + DAY), of("e", TODAY)], &[], &new_users())
            .await
            .unwrap();
        let user = store.user("ana").await.unwrap();
        assert_eq!((user.tokens_used_today, user.last_reset_date.as_deref()), (30, Some("2026-11-23")));
        store.write_batch(&[of("f", TODAY)], &[], &new_users()).await.unwrap();
        assert_eq!(store.user("ana").await.unwrap().tokens_used_today, 30, "an earlier period is over");
        for (period, used) in [(TODAY - DAY, 30), (TODAY, 120), (TODAY + DAY, 30)] {
            assert_eq!(store.caller_totals("ana", None, period, NOW).await.unwrap().user.used, used);
        }
    }
}

#[tokio::test]
async fn costs_and_times_keep_the_seed_columns() {
    for place in both().await {
        let store = place.open().await;
        store
            .write_batch(
                &[UsageRecord { cost: 1_000_000_009, at: NOW + 123, ..usage_record("a") }],
                &[],
                &new_users(),
            )
            .await
            .unwrap();
        let row = query(
            &place,
            "SELECT CAST(total_cost AS VARCHAR(40)) || ' ' || CAST(request_duration_ms AS VARCHAR(9)) || ' '
             || CAST(cost AS VARCHAR(20)) || ' ' || CAST(created_at AS VARCHAR(40)) FROM metrics",
        );
        assert_eq!(row.await, "1.000000009 1200 1000000009 2026-11-22 12:00:00.123");
    }
}

#[tokio::test]
async fn nano_dollar_costs_add_up_exactly() {
    for place in both().await {
        let store = place.open().await;
        let batch: Vec<_> = (0..1000)
            .map(|number| UsageRecord { cost: 10_007, ..usage_record(&format!("r{number}")) })
            .collect();
        store.write_batch(&batch, &[], &new_users()).await.unwrap();
        let cost = "SELECT CAST(SUM(cost) AS VARCHAR(30)) FROM usage_daily";
        assert_eq!(query(&place, cost).await, "10007000");
    }
}

#[tokio::test]
async fn a_changed_limit_touches_no_usage() {
    for place in both().await {
        let store = place.open().await;
        let new =
            ClaimedUser { user_id: "ana", team: None, profile: None, user_limit: Some(9), team_limit: None };
        assert!(store.provision(&new, &event("e1", "user_provisioned")).await.unwrap());
        store.write_batch(&[usage_record("a")], &[], &new_users()).await.unwrap();
        let lowered = store.put_user("ana", NOW, |before| {
            Ok((User { daily_token_limit: Some(0), ..before.unwrap() }, event("e2", "user_changed")))
        });
        assert_eq!(lowered.await.unwrap().tokens_used_today, 30);
        assert_eq!(store.caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used, 30);
    }
}
