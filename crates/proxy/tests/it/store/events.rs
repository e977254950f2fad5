use bedrock_proxy::testing::{ClaimedUser, EventFilter, Page, StoreError};

use super::{NOW, both, event};

#[tokio::test]
async fn events_are_paginated_and_filtered_by_subject() {
    for place in both().await {
        let store = place.open().await;
        for (number, user_id) in ["ana", "ben", "cleo"].into_iter().enumerate() {
            let new = ClaimedUser { user_id, team: None, profile: None, user_limit: None, team_limit: None };
            let mut event = event(user_id, "user_provisioned");
            event.user_id = Some(user_id.to_owned());
            event.at = NOW + i64::try_from(number).unwrap();
            assert!(store.provision(&new, &event).await.unwrap());
        }
        let list = async |filter: EventFilter, after: Option<String>| {
            let listed = store.events(&filter, &Page { after, limit: 2 }).await.unwrap();
            (listed.rows.into_iter().map(|event| event.id).collect::<Vec<_>>(), listed.next)
        };
        let (first, next) = list(EventFilter::default(), None).await;
        assert_eq!(first, ["cleo", "ben"]);
        assert_eq!(list(EventFilter::default(), next).await, (vec!["ana".to_owned()], None));
        let of_ben = EventFilter { user_id: Some("ben".to_owned()), ..EventFilter::default() };
        assert_eq!(list(of_ben, None).await.0, ["ben"]);
        let middle = EventFilter { from: Some(NOW + 1), until: Some(NOW + 2), ..EventFilter::default() };
        assert_eq!(list(middle, None).await.0, ["ben"]);
        let by = |actor: &str| EventFilter { actor: Some(actor.to_owned()), ..EventFilter::default() };
        assert_eq!(list(by("operator"), None).await.0, ["cleo", "ben"]);
        assert!(list(by("cli:ana"), None).await.0.is_empty());
        let of_red = EventFilter { team: Some("red".to_owned()), ..EventFilter::default() };
        assert!(list(of_red, None).await.0.is_empty());
        let none = EventFilter { kind: Some("reset".to_owned()), ..EventFilter::default() };
        assert!(list(none, None).await.0.is_empty());
        let page = Page { after: Some("x".to_owned()), limit: 2 };
        let rejected = store.events(&EventFilter::default(), &page).await;
        assert!(matches!(rejected, Err(StoreError::Invalid(_))));
    }
}
