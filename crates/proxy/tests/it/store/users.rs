use bedrock_proxy::testing::{CallerRows, ClaimedUser, EventFilter, Page, StoreError, Team, User};
use serde_json::json;

use super::{NOW, ana, both, event};

fn page(after: Option<String>, limit: i64) -> Page {
    Page { after, limit }
}

#[tokio::test]
async fn empty_database_has_no_caller() {
    for place in both().await {
        let store = place.open().await;
        assert_eq!(store.kind(), place.kind);
        assert!(store.is_connected());
        let standing = store.lookup_caller("ana", Some("red"), Some("token-1")).await.unwrap();
        assert_eq!(standing, CallerRows::default());
        assert_eq!(store.user("ana").await, Err(StoreError::NotFound));
        assert_eq!(store.team("red").await, Err(StoreError::NotFound));
    }
}

#[tokio::test]
async fn new_user_is_created_once_with_event() {
    for place in both().await {
        let store = place.open().await;
        ana(&store, Some(500), None).await;
        let again = ClaimedUser {
            user_id: "ana",
            team: Some("blue"),
            profile: None,
            user_limit: None,
            team_limit: Some(7),
        };
        assert!(!store.provision(&again, &event("again", "user_provisioned")).await.unwrap());

        let standing = store.lookup_caller("ana", Some("blue"), None).await.unwrap();
        let user = standing.user.unwrap();
        assert_eq!((user.team.as_deref(), user.daily_token_limit), (Some("red"), Some(500)));
        assert_eq!(user.default_inference_profile.as_deref(), Some("eu.x"));
        assert_eq!((user.disabled, user.tokens_used_today, user.tokens_valid_from), (false, 0, None));
        assert_eq!(user.last_reset_date.as_deref(), Some("2026-11-22"));
        assert_eq!((user.created_at, user.updated_at), (NOW, NOW));
        let team = standing.team.unwrap();
        assert_eq!((team.team.as_str(), team.daily_token_limit, team.disabled), ("red", None, false));
        let events = store.events(&EventFilter::default(), &page(None, 10)).await.unwrap();
        assert_eq!(events.rows, [event("new-ana", "user_provisioned")]);
    }
}

#[tokio::test]
async fn user_row_overrides_the_claimed_team() {
    for place in both().await {
        let store = place.open().await;
        ana(&store, None, None).await;
        let other =
            ClaimedUser { user_id: "ben", team: None, profile: None, user_limit: None, team_limit: None };
        assert!(store.provision(&other, &event("new-ben", "user_provisioned")).await.unwrap());
        let team = |standing: CallerRows| standing.team.map(|team| team.team);
        assert_eq!(team(store.lookup_caller("ana", None, None).await.unwrap()).as_deref(), Some("red"));
        assert_eq!(team(store.lookup_caller("ben", Some("red"), None).await.unwrap()), None);
        assert_eq!(
            team(store.lookup_caller("eve", Some("red"), None).await.unwrap()).as_deref(),
            Some("red")
        );
    }
}

#[tokio::test]
async fn change_and_event_share_one_transaction() {
    for place in both().await {
        let store = place.open().await;
        ana(&store, Some(500), None).await;
        let changed = store
            .put_user("ana", NOW + 5, |before| {
                let before = before.ok_or(StoreError::NotFound)?;
                let after = User { daily_token_limit: None, disabled: true, team: None, ..before.clone() };
                let mut event = event("change", "user_changed");
                event.details = json!({"before": before.daily_token_limit, "after": after.daily_token_limit});
                Ok((after, event))
            })
            .await
            .unwrap();
        assert_eq!((changed.daily_token_limit, changed.disabled, changed.team.clone()), (None, true, None));
        assert_eq!((changed.created_at, changed.updated_at), (NOW, NOW + 5));
        assert_eq!(store.user("ana").await.unwrap(), changed);

        let rejected = store
            .put_user("ana", NOW, |before| {
                let before = before.unwrap();
                Ok((User { daily_token_limit: Some(-1), ..before }, event("bad", "user_changed")))
            })
            .await;
        assert!(matches!(rejected, Err(StoreError::Invalid(_))), "{rejected:?}");
        let rejected =
            store.put_user("ana", NOW, |before| Ok((before.unwrap(), event("bad\0", "user_changed")))).await;
        assert!(matches!(rejected, Err(StoreError::Invalid(_))), "{rejected:?}");
        let missing = store.put_user("eve", NOW, |before| {
            assert!(before.is_none());
            Err(StoreError::NotFound)
        });
        assert_eq!(missing.await, Err(StoreError::NotFound));

        let filter = EventFilter { kind: Some("user_changed".to_owned()), ..EventFilter::default() };
        let events = store.events(&filter, &page(None, 10)).await.unwrap().rows;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].details, json!({"before": 500, "after": null}));
    }
}

#[tokio::test]
async fn users_and_teams_are_created_and_paginated() {
    for place in both().await {
        let store = place.open().await;
        for (number, name) in ["c", "a", "b"].into_iter().enumerate() {
            let team = store.put_team(name, NOW, |before| {
                assert!(before.is_none());
                let team = Team {
                    team: name.to_owned(),
                    daily_token_limit: Some(0),
                    disabled: number == 0,
                    created_at: 0,
                    updated_at: 0,
                };
                Ok((team, event(&format!("team-{name}"), "team_changed")))
            });
            assert_eq!(team.await.unwrap().created_at, NOW);
            let user = store.put_user(name, NOW, |_| {
                let user = User {
                    user_id: name.to_owned(),
                    team: Some(name.to_owned()),
                    daily_token_limit: Some(1),
                    default_inference_profile: None,
                    disabled: false,
                    tokens_valid_from: None,
                    tokens_used_today: 99,
                    last_reset_date: None,
                    created_at: 0,
                    updated_at: 0,
                };
                Ok((user, event(&format!("user-{name}"), "user_changed")))
            });
            assert_eq!(user.await.unwrap().tokens_used_today, 0, "what was used is not an operator's to say");
        }
        let first = store.users(None, &page(None, 2)).await.unwrap();
        assert_eq!(first.rows.iter().map(|user| user.user_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let rest = store.users(None, &page(first.next, 2)).await.unwrap();
        assert_eq!((rest.rows[0].user_id.as_str(), rest.next), ("c", None));
        assert_eq!(store.users(Some("b"), &page(None, 0)).await.unwrap().rows.len(), 1);
        let teams = store.teams(&page(None, 1)).await.unwrap();
        assert_eq!((teams.rows[0].team.as_str(), teams.next.as_deref()), ("a", Some("a")));
        assert!(store.team("c").await.unwrap().disabled);
    }
}

#[tokio::test]
async fn invalid_names_are_rejected_by_both_databases() {
    for place in both().await {
        let store = place.open().await;
        for name in ["", "a\0b", &"x".repeat(256)] {
            let rejected = store.lookup_caller(name, None, None).await;
            assert!(matches!(rejected, Err(StoreError::Invalid(_))), "{rejected:?}");
            let new =
                ClaimedUser { user_id: name, team: None, profile: None, user_limit: None, team_limit: None };
            assert!(matches!(store.provision(&new, &event("e", "x")).await, Err(StoreError::Invalid(_))));
        }
        let quoted = "Robert'); DROP TABLE users; --";
        let new = ClaimedUser {
            user_id: quoted,
            team: Some(quoted),
            profile: None,
            user_limit: None,
            team_limit: None,
        };
        assert!(store.provision(&new, &event("e", "x")).await.unwrap());
        assert_eq!(store.lookup_caller(quoted, None, None).await.unwrap().user.unwrap().user_id, quoted);
    }
}
