use bedrock_proxy::testing::{Page, StoreError, Token};

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
        assert!(store.revoke_token("t1", &event("revoked", "token_revoked")).await.unwrap());
        assert!(!store.revoke_token("t1", &event("revoked-2", "token_revoked")).await.unwrap());
        assert!(store.revoke_token("foreign", &event("revoked-3", "token_revoked")).await.unwrap());
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
