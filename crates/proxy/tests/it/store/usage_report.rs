use bedrock_proxy::testing::{
    Dimensions, Page, Store, StoreError, UsageQuery, UsageRecord, UsageReport, UsageRow,
};
use futures_util::future::join;

use super::{NOW, both, new_users, usage_record};

const DAY: i64 = 86_400_000;

fn query(by: Dimensions) -> UsageQuery {
    UsageQuery { from: "2026-11-22".to_owned(), to: "2026-11-23".to_owned(), by, ..UsageQuery::default() }
}

async fn filled(store: &Store) {
    let of = |id: &str, user_id: &str, team: Option<&str>, at: i64| UsageRecord {
        user_id: user_id.to_owned(),
        team: team.map(str::to_owned),
        at,
        ..usage_record(id)
    };
    let batch = [
        of("a", "ana", Some("red"), NOW),
        of("b", "ana", Some("red"), NOW + DAY),
        UsageRecord { status: 500, priced: false, estimated: true, route: None, ..of("c", "ben", None, NOW) },
        of("d", "ben", Some("red"), NOW + 2 * DAY),
    ];
    store.write_batch(&batch, &[], &new_users()).await.unwrap();
}

#[tokio::test]
async fn usage_report_groups_by_requested_dimensions() {
    for place in both().await {
        let store = place.open().await;
        filled(&store).await;
        let all = Page { after: None, limit: 100 };
        let total = store.usage_report(&query(Dimensions::default()), &all).await.unwrap().rows;
        let expected = UsageRow {
            requests: 3,
            failed: 1,
            estimated: 1,
            unpriced: 1,
            input_tokens: 30,
            output_tokens: 60,
            cache_read_tokens: 9,
            cache_write_tokens: 12,
            charged_tokens: 90,
            cost: 9_999_999,
            ..UsageRow::default()
        };
        assert_eq!(total, std::slice::from_ref(&expected));

        let by = Dimensions { day: true, team: true, ..Dimensions::default() };
        let rows = store.usage_report(&query(by), &all).await.unwrap().rows;
        let named: Vec<_> = rows
            .iter()
            .map(|row| (row.day.as_deref().unwrap(), row.team.as_deref().unwrap(), row.requests))
            .collect();
        assert_eq!(named, [("2026-11-22", "", 1), ("2026-11-22", "red", 1), ("2026-11-23", "red", 1)]);
        assert!(rows.iter().all(|row| row.user_id.is_none() && row.model.is_none()));
        // The totals are those of all pages, on each of them.
        for after in [None, Some("2"), Some("9")] {
            let page = Page { after: after.map(str::to_owned), limit: 1 };
            assert_eq!(store.usage_report(&query(by), &page).await.unwrap().totals, expected, "{after:?}");
        }
        let whole = store.whole_usage_report(&query(by), 3).await.unwrap();
        assert_eq!((whole.rows, whole.next, &whole.totals), (rows, None, &expected));
        assert!(store.whole_usage_report(&query(by), 2).await.unwrap().next.is_some());

        let by = Dimensions { user: true, model: true, route: true, ..Dimensions::default() };
        let of_ben = UsageQuery { user_id: Some("ben".to_owned()), ..query(by) };
        let rows = store.usage_report(&of_ben, &all).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].model.as_deref(), rows[0].route.as_deref()),
            (Some("claude-sonnet-4-5"), Some(""))
        );
    }
}

#[tokio::test]
async fn rows_and_totals_are_of_one_read() {
    for place in both().await {
        let store = place.open().await;
        let write = async {
            for number in 0..100 {
                let id = number.to_string();
                let record = UsageRecord { user_id: format!("user{id}"), ..usage_record(&id) };
                store.write_batch(&[record], &[], &new_users()).await.unwrap();
            }
        };
        let by = query(Dimensions { user: true, ..Dimensions::default() });
        let read = async {
            let mut requests = 0;
            while requests < 100 {
                let UsageReport { rows, totals, .. } =
                    store.whole_usage_report(&by, usize::MAX).await.unwrap();
                requests = rows.iter().map(|row| row.requests).sum();
                assert_eq!(requests, totals.requests, "{}", place.kind);
            }
        };
        join(write, read).await;
    }
}

#[tokio::test]
async fn usage_report_reads_months_clients_and_sessions() {
    for place in both().await {
        let store = place.open().await;
        filled(&store).await;
        let of = |id: &str, client: &str, session: Option<&str>| UsageRecord {
            client: Some(client.to_owned()),
            session_id: session.map(str::to_owned),
            client_api: None,
            at: NOW + DAY,
            ..usage_record(id)
        };
        let more = [of("e", "curl", Some("s1")), of("f", "curl", Some("s2")), of("g", "cline", Some("s1"))];
        store.write_batch(&more, &[], &new_users()).await.unwrap();
        let all = Page { after: None, limit: 100 };
        let rows = async |query: UsageQuery| store.usage_report(&query, &all).await.unwrap().rows;

        let by = Dimensions { client: true, client_api: true, ..Dimensions::default() };
        let by_client = rows(query(by)).await;
        let named: Vec<_> = by_client
            .iter()
            .map(|row| (row.client_api.as_deref().unwrap(), row.client.as_deref().unwrap(), row.requests))
            .collect();
        assert_eq!(
            named,
            [("", "cline", 1), ("", "curl", 2), ("messages", "claude-code", 3)],
            "{}",
            place.kind
        );
        // The records have the same sums as the days.
        let total = rows(query(Dimensions::default())).await.remove(0);
        let sum = |value: fn(&UsageRow) -> i64| by_client.iter().map(value).sum::<i64>();
        assert_eq!(sum(|row| row.cost), total.cost);
        assert_eq!(sum(|row| row.failed + row.estimated + row.unpriced), 3);
        assert_eq!(sum(|row| row.charged_tokens), total.charged_tokens);
        assert_eq!(sum(|row| row.cache_read_tokens), total.cache_read_tokens);

        let by = Dimensions { session: true, month: true, ..Dimensions::default() };
        let filter = UsageQuery { client: Some("curl".to_owned()), ..query(by) };
        let sessions = rows(filter).await;
        let named: Vec<_> =
            sessions.iter().map(|row| (row.month.as_deref(), row.session_id.as_deref())).collect();
        assert_eq!(named, [(Some("2026-11"), Some("s1")), (Some("2026-11"), Some("s2"))]);
        let session = UsageQuery { session_id: Some("s1".to_owned()), ..query(Dimensions::default()) };
        assert_eq!(rows(session).await[0].requests, 2);
        let by = Dimensions { month: true, user: true, ..Dimensions::default() };
        let months = rows(UsageQuery { to: "2026-12-31".to_owned(), ..query(by) }).await;
        assert_eq!((months[0].month.as_deref(), months[0].requests), (Some("2026-11"), 5));
        assert_eq!(store.period_cost("ana", super::TODAY).await.unwrap(), 5 * 3_333_333);
        assert_eq!(store.period_cost("ana", super::TODAY + DAY).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn usage_report_is_paginated_and_rejects_invalid_days() {
    for place in both().await {
        let store = place.open().await;
        filled(&store).await;
        let by = query(Dimensions { user: true, ..Dimensions::default() });
        let first = store.usage_report(&by, &Page { after: None, limit: 1 }).await.unwrap();
        assert_eq!(first.rows[0].user_id.as_deref(), Some("ana"));
        let rest = store.usage_report(&by, &Page { after: first.next, limit: 1 }).await.unwrap();
        assert_eq!((rest.rows[0].user_id.as_deref(), rest.next), (Some("ben"), None));
        let nothing = UsageQuery { team: Some("blue".to_owned()), ..by.clone() };
        let empty = store.usage_report(&nothing, &Page { after: None, limit: 1 }).await.unwrap();
        assert_eq!((empty.rows.len(), empty.totals), (0, UsageRow::default()));
        let reversed = UsageQuery { to: "2026-11-21".to_owned(), ..by.clone() };
        let wrong = UsageQuery { to: "yesterday".to_owned(), ..by.clone() };
        for (query, after) in [(&wrong, None), (&reversed, None), (&by, Some("-1")), (&by, Some("x"))] {
            let page = Page { after: after.map(str::to_owned), limit: 1 };
            assert!(matches!(store.usage_report(query, &page).await, Err(StoreError::Invalid(_))));
        }
    }
}
