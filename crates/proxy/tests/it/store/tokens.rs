use bedrock_proxy::testing::{Page, RejectedUser, Rejections, Revoked, StoreError, Team, Token, TokenLimit};

use super::{NOW, ana, both, event};

fn token(jti: &str) -> Token {
    Token {
        jti: jti.to_owned(),
        user_id: "ana".to_owned(),
        team: Some("red".to_owned()),
        scope: String::new(),
        issued_at: NOW,
        expires_at: NOW + 1000,
        revoked_at: None,
        issued_by: "operator".to_owned(),
        name: None,
        daily_token_limit: None,
        last_used_at: None,
    }
}

#[tokio::test]
async fn revoked_token_is_seen_by_next_lookup() {
    for place in both().await {
        let store = place.open().await;
        store.record_token(&token("t1"), &event("issued", "token_issued")).await.unwrap();
        let taken = store.record_token(&token("t1"), &event("issued-2", "token_issued")).await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
        let revoked = async |jti: &str| store.lookup_caller("ana", None, Some(jti)).await.unwrap().revoked;
        assert!(!revoked("t1").await);
        let revoke = async |jti: &str, id: &str| {
            let Revoked { was_valid, was_issued } =
                store.revoke_token(jti, &event(id, "token_revoked")).await.unwrap();
            (was_valid, was_issued)
        };
        assert_eq!(revoke("t1", "revoked").await, (true, true));
        assert_eq!(revoke("t1", "revoked-2").await, (false, true));
        assert_eq!(revoke("foreign", "revoked-3").await, (true, false));
        assert_eq!(revoke("foreign", "revoked-4").await, (false, false));
        assert!(revoked("t1").await && revoked("foreign").await && !revoked("t2").await);
        let events = store.events(&Default::default(), &Page { after: None, limit: 9 }).await.unwrap().rows;
        assert_eq!(
            events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(),
            ["revoked-3", "revoked", "issued"]
        );
    }
}

#[tokio::test]
async fn store_revokes_all_tokens_of_a_user() {
    for place in both().await {
        let store = place.open().await;
        ana(&store, None, None).await;
        for jti in ["t1", "t2"] {
            store.record_token(&token(jti), &event(jti, "token_issued")).await.unwrap();
        }
        store.revoke_user_tokens("ana", None, &event("all", "token_revoked")).await.unwrap();
        let standing = store.lookup_caller("ana", None, Some("t2")).await.unwrap();
        assert!(standing.revoked && standing.user.unwrap().tokens_valid_from == Some(NOW));
        let missing = store.revoke_user_tokens("eve", Some(0), &event("none", "token_revoked")).await;
        assert_eq!(missing, Err(StoreError::NotFound));
        let operator = Token { user_id: "eve".to_owned(), ..token("t3") };
        store.record_token(&operator, &event("t3", "token_issued")).await.unwrap();
        store.revoke_user_tokens("eve", Some(0), &event("some", "token_revoked")).await.unwrap();
        let standing = store.lookup_caller("eve", None, Some("t3")).await.unwrap();
        let eve = standing.user.unwrap();
        assert!(standing.revoked && eve.tokens_valid_from == Some(NOW) && !eve.disabled);
        assert_eq!((eve.daily_token_limit, eve.team), (Some(0), None));
        let first = store.tokens(Some("ana"), &Page { after: None, limit: 1 }).await.unwrap();
        assert_eq!((first.rows[0].jti.as_str(), first.rows[0].revoked_at), ("t2", Some(NOW)));
        let rest = store.tokens(Some("ana"), &Page { after: first.next, limit: 1 }).await.unwrap();
        assert_eq!((rest.rows[0].jti.as_str(), rest.next), ("t1", None));
    }
}

#[tokio::test]
async fn token_has_name_limit_and_last_use() {
    for place in both().await {
        let store = place.open().await;
        let named = Token { name: Some("ci-bot".to_owned()), daily_token_limit: Some(100), ..token("t1") };
        store.record_token(&named, &event("issued", "token_issued")).await.unwrap();
        store.record_token(&token("t2"), &event("issued-2", "token_issued")).await.unwrap();
        let limit = async |jti: &str| store.lookup_caller("ana", None, Some(jti)).await.unwrap().token_limit;
        let own = TokenLimit { name: named.name.clone(), limit: 100 };
        assert_eq!((limit("t1").await, limit("t2").await, limit("t3").await), (Some(own), None, None));
        let used = [("t1".to_owned(), NOW + 5), ("unknown".to_owned(), NOW)];
        store.record_token_use(&used).await.unwrap();
        store.record_token_use(&[("t1".to_owned(), NOW)]).await.unwrap();
        store.record_token_use(&[]).await.unwrap();
        let listed = store.tokens(None, &Page { after: None, limit: 9 }).await.unwrap().rows;
        let uses: Vec<_> = listed.iter().map(|token| (token.jti.as_str(), token.last_used_at)).collect();
        assert_eq!(uses, [("t2", None), ("t1", Some(NOW + 5))], "the later use stays");
        assert_eq!(listed[1].name.as_deref(), Some("ci-bot"));
    }
}

#[tokio::test]
async fn rejections_hold_what_lookups_reject() {
    for place in both().await {
        let store = place.open().await;
        assert_eq!(store.rejections(NOW, 100).await.unwrap(), Rejections::default());
        for (jti, expires_at) in [("t1", NOW + 1000), ("expired", NOW)] {
            let issued = Token { expires_at, ..token(jti) };
            store.record_token(&issued, &event(jti, "token_issued")).await.unwrap();
        }
        for jti in ["t1", "expired", "foreign"] {
            store.revoke_token(jti, &event(&format!("revoked-{jti}"), "token_revoked")).await.unwrap();
        }
        ana(&store, None, None).await;
        store.revoke_user_tokens("ana", None, &event("all", "tokens_revoked")).await.unwrap();
        let team = Team {
            team: "red".to_owned(),
            daily_token_limit: None,
            disabled: true,
            created_at: 0,
            updated_at: 0,
        };
        store.put_team("red", NOW, |_| Ok((team, event("team", "team_changed")))).await.unwrap();
        let found = store.rejections(NOW, 100).await.unwrap();
        let mut tokens = found.tokens.clone();
        tokens.sort();
        assert_eq!(tokens, ["foreign", "t1"]);
        let user = RejectedUser { user_id: "ana".to_owned(), disabled: false, tokens_valid_from: Some(NOW) };
        assert_eq!((found.users, found.teams), (vec![user], vec!["red".to_owned()]));
        assert_eq!(found.members, [("ana".to_owned(), "red".to_owned())]);
        assert!(store.rejections(NOW, 1).await.unwrap().is_cut(1));
    }
}
