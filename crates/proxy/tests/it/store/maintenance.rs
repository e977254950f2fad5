use bedrock_proxy::testing::{
    ClaimedUser, EventFilter, Page, Reservation, StoreError, UsageQuery, UsageRecord,
};
use futures_util::future::join_all;

use super::{NOW, TODAY, ana, both, event, new_users, usage_record};

const DAY: i64 = 86_400_000;

#[tokio::test]
async fn two_replicas_record_one_reset() {
    for place in both().await {
        let replicas = [place.open().await, place.open().await];
        ana(&replicas[0], None, None).await;
        replicas[0].write_batch(&[usage_record("a")], &[], &new_users()).await.unwrap();
        let tomorrow = TODAY + DAY;
        let events = [event("r0", "quota_reset"), event("r1", "quota_reset")];
        let resets =
            (0..2).map(|number| replicas[number].record_reset(tomorrow, "2026-11-23", &events[number]));
        let firsts: Vec<bool> = join_all(resets).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(firsts.iter().filter(|first| **first).count(), 1);
        let user = replicas[1].user("ana").await.unwrap();
        assert_eq!((user.tokens_used_today, user.last_reset_date.as_deref()), (0, Some("2026-11-23")));
        let filter = EventFilter { kind: Some("quota_reset".to_owned()), ..EventFilter::default() };
        let written = replicas[0].events(&filter, &Page { after: None, limit: 9 }).await.unwrap().rows;
        assert_eq!(written.len(), 1);
        let wrong = replicas[0].record_reset(tomorrow, "23/11/2026", &events[0]).await;
        assert!(matches!(wrong, Err(StoreError::Invalid(_))));
    }
}

#[tokio::test]
async fn late_reset_keeps_usage_of_the_new_period() {
    for place in both().await {
        let store = place.open().await;
        let next = UsageRecord { period: TODAY + DAY, ..usage_record("a") };
        store.write_batch(&[usage_record("b"), next], &[], &new_users()).await.unwrap();
        assert!(store.record_reset(TODAY + DAY, "2026-11-23", &event("r", "quota_reset")).await.unwrap());
        assert_eq!(store.user("ana").await.unwrap().tokens_used_today, 30);
        // The clock of a replica that lags behind.
        assert!(store.record_reset(TODAY, "2026-11-22", &event("r2", "quota_reset")).await.unwrap());
        assert_eq!(store.user("ana").await.unwrap().tokens_used_today, 30);
    }
}

#[tokio::test]
async fn old_rows_go_and_their_sums_stay() {
    for place in both().await {
        let store = place.open().await;
        let old = UsageRecord { at: NOW - 40 * DAY, period: TODAY - 100 * DAY, ..usage_record("old") };
        let mut early = event("early", "x");
        early.at = NOW - 40 * DAY;
        store
            .write_batch(&[old, usage_record("new")], &[early, event("late", "x")], &new_users())
            .await
            .unwrap();
        let reservation = |id, expires_at| Reservation {
            id,
            holder: "h",
            user_id: "ana",
            team: None,
            period: TODAY,
            tokens: 1,
            expires_at,
            user_limit: None,
            team_limit: None,
            token: None,
            now: NOW,
        };
        store.reserve(&reservation("long-gone", NOW - DAY)).await.unwrap();
        store.reserve(&reservation("just-gone", NOW - 1)).await.unwrap();
        let before = Some(NOW - 30 * DAY);
        assert_eq!(store.prune(None, None, NOW).await.unwrap(), 3, "a reservation and two counters");
        assert_eq!(store.prune(before, before, NOW).await.unwrap(), 3);
        assert_eq!(store.prune(before, before, NOW).await.unwrap(), 0);
        assert_eq!(store.renew(&["just-gone".to_owned()], NOW + DAY).await.unwrap(), 1);
        let events = store.events(&EventFilter::default(), &Page { after: None, limit: 9 }).await.unwrap();
        assert_eq!(events.rows, [event("late", "x")]);
        let all = UsageQuery {
            from: "2026-01-01".to_owned(),
            to: "2026-12-31".to_owned(),
            ..UsageQuery::default()
        };
        let usage = store.usage_report(&all, &Page { after: None, limit: 9 }).await.unwrap().rows;
        assert_eq!(usage[0].requests, 2);
    }
}

#[tokio::test]
async fn reset_reaches_every_user() {
    const USERS: usize = 700;
    for place in both().await {
        let store = place.open().await;
        let records: Vec<_> = (0..USERS)
            .map(|number| UsageRecord {
                user_id: format!("user{number}"),
                ..usage_record(&number.to_string())
            })
            .collect();
        store.write_batch(&records, &[], &new_users()).await.unwrap();
        let idle =
            ClaimedUser { user_id: "zoe", team: None, profile: None, user_limit: None, team_limit: None };
        store.provision(&idle, &event("new-zoe", "user_provisioned")).await.unwrap();
        assert!(store.record_reset(TODAY + DAY, "2026-11-23", &event("r", "quota_reset")).await.unwrap());
        let users = store.users(None, &Page { after: None, limit: 1000 }).await.unwrap().rows;
        assert_eq!(users.len(), USERS + 1);
        for user in users {
            let reset = (user.tokens_used_today, user.last_reset_date.as_deref());
            assert_eq!(reset, (0, Some("2026-11-23")), "{}", user.user_id);
        }
    }
}
