//! Limits through the running server: concurrent requests, periods, messages, and outages of the database.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_proxy::testing::{
    CallerTotals, Clock, Config, EventFilter, Page, Store, Tasks, UsageRecorder, User,
};
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::postgres;
use crate::harness::tokens::{KEY, authenticated_server, authenticated_server_with, now, token};
use crate::harness::{
    TestResponse, TestServer, capture_this_thread, full, message_body, test_server_at, wait_for,
};

/// What is left of one request's own needs, in tokens: a short prompt, and no answer longer than this.
const ANSWER: i64 = 20;

/// A question by the bearer of `token` with a short answer.
async fn ask_short(server: &TestServer, token: &str, prompt: &str, stream: bool) -> TestResponse {
    let mut body = message_body(prompt, stream);
    body["max_tokens"] = ANSWER.into();
    let bearer = format!("Bearer {token}");
    server.request("POST", "/v1/messages", &[("authorization", &bearer)], body.to_string()).await
}

async fn tallies(server: &TestServer, user: &str, team: Option<&str>) -> CallerTotals {
    let period = server.app.quota.period();
    server.app.store.caller_totals(user, team, period.start, server.app.clock.milliseconds()).await.unwrap()
}

/// Waits until nothing is reserved for `user`.
async fn settled(server: &TestServer, user: &str, team: Option<&str>) -> CallerTotals {
    wait_for("nothing is reserved", async || {
        let tallies = tallies(server, user, team).await;
        (tallies.user.reserved == 0 && tallies.team.reserved == 0).then_some(tallies)
    })
    .await
}

fn charged(server: &TestServer) -> i64 {
    let totals = server.bedrock.totals();
    i64::try_from(totals.input_tokens + totals.output_tokens + totals.cache_write_tokens).unwrap()
}

/// Limits would not be enforced for as long as the migration of a large database takes.
#[tokio::test]
async fn no_request_is_served_unlimited_during_migrations() {
    let url = postgres::database().await;
    let mut other = postgres::connect(&url).await;
    // Another replica migrates.
    sqlx::raw_sql("SELECT pg_advisory_lock(8081, 1)").execute(&mut other).await.unwrap();
    let variables =
        [("DATABASE_URL", url.as_str()), ("DB_MIN_CONNS", "0"), ("DEFAULT_USER_DAILY_TOKENS", "0")];
    let server = authenticated_server_with(&variables, |_| {}).await;
    wait_for("the migration waits", async || (server.get("/startupz").await.status == 503).then_some(()))
        .await;
    let token = token("ana", &json!({}));
    let response = ask_short(&server, &token, "Hello", false).await;
    assert_eq!(response.status, 529, "{}", response.body);
    assert!(response.headers.contains_key("retry-after"), "{:?}", response.headers);
    sqlx::raw_sql("SELECT pg_advisory_unlock(8081, 1)").execute(&mut other).await.unwrap();
    wait_for("the start is over", async || (server.get("/startupz").await.status == 200).then_some(())).await;
    let response = ask_short(&server, &token, "Hello", false).await;
    assert_eq!(response.status, 429, "{}", response.body);
}

#[tokio::test]
async fn concurrent_requests_never_exceed_the_limit() {
    let url = postgres::database().await;
    for database in [vec![], vec![("DATABASE_URL", url.as_str())]] {
        let mut variables = vec![("DEFAULT_USER_DAILY_TOKENS", "700"), ("DEFAULT_TEAM_DAILY_TOKENS", "1000")];
        variables.extend(database);
        let server = authenticated_server_with(&variables, |_| {}).await;
        let tokens = ["ana", "ben", "cleo"].map(|user| token(user, &json!({"team": "red"})));
        let all =
            (0..200).map(|number| ask_short(&server, &tokens[number % 3], "[paced 5 2]", number % 2 == 0));
        let responses = join_all(all).await;
        let mut statuses = BTreeMap::new();
        for response in &responses {
            *statuses.entry(response.status.as_u16()).or_insert(0) += 1;
        }
        assert!(statuses.keys().all(|status| [200, 429].contains(status)), "{statuses:?}");
        assert!(statuses[&200] > 10 && statuses[&429] > 10, "{statuses:?}");
        let mut users = 0;
        for user in ["ana", "ben", "cleo"] {
            let tallies = settled(&server, user, Some("red")).await;
            assert!(tallies.user.used <= 700 && tallies.team.used <= 1000, "{tallies:?}");
            assert_eq!(tallies.team.used, charged(&server), "what Bedrock counted");
            users += tallies.user.used;
        }
        assert_eq!(users, charged(&server));
    }
}

#[tokio::test]
async fn zero_limit_denies_all_and_none_denies_nothing() {
    let zero = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "0")], |_| {}).await;
    let response = ask_short(&zero, &token("ana", &json!({})), "Hello", true).await;
    let (status, kind, message) = response.error();
    assert_eq!((status, kind.as_str()), (429, "billing_error"));
    assert!(message.contains(r#"the user "ana" has used 0 of its limit of 0 tokens"#), "{message}");
    assert_eq!(response.headers["x-should-retry"], "false");
    assert_eq!(response.headers["anthropic-ratelimit-unified-status"], "rejected");
    assert!(zero.bedrock.requests().is_empty(), "nothing was sent");
    let page = Page { after: None, limit: 100 };
    wait_for("the events are stored", async || {
        let events = zero.app.store.events(&EventFilter::default(), &page).await.unwrap().rows;
        let stored = |kind| events.iter().any(|event| event.kind == kind);
        (stored("user_provisioned") && stored("config_loaded")).then_some(())
    })
    .await;

    let none = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "unlimited")], |_| {}).await;
    let response = ask_short(&none, &token("ana", &json!({})), "Hello", false).await;
    assert_eq!(response.status, 200);
    assert!(!response.headers.contains_key("anthropic-ratelimit-unified-status"), "no cap, no headers");
}

#[tokio::test]
async fn responses_report_the_most_used_limit() {
    let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "1000")], |_| {}).await;
    let token = token("ana", &json!({}));
    let mut seen = Vec::new();
    loop {
        let response = ask_short(&server, &token, "Hello", false).await;
        if response.status != 200 {
            break;
        }
        let header = |name: &str| {
            let value = response.headers.get(format!("anthropic-ratelimit-unified-{name}"));
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let percent: u32 = header("overage-utilization").unwrap()[2..].parse().unwrap();
        let expected = match percent {
            95.. => ("allowed_warning", Some("0.95")),
            75..95 => ("allowed_warning", Some("0.75")),
            _ => ("allowed", None),
        };
        assert_eq!(header("status").as_deref(), Some(expected.0));
        assert_eq!(header("overage-surpassed-threshold").as_deref(), expected.1);
        assert_eq!(header("representative-claim").as_deref(), Some("overage"));
        seen.push(percent);
        settled(&server, "ana", None).await;
    }
    assert!(seen.first() == Some(&0) && seen.iter().any(|percent| *percent >= 75), "{seen:?}");
}

#[tokio::test]
async fn request_is_charged_to_its_starting_period() {
    let start =
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(now() / 60 * 60 + 30).unwrap());
    let clock = Clock::manual(start);
    let variables =
        [("JWT_SECRET_KEY", KEY), ("QUOTA_RESET_CRON", "* * * * *"), ("DEFAULT_USER_DAILY_TOKENS", "60")];
    let server = test_server_at(clock.clone(), &variables, |_| {}).await;
    let token = token("ana", &json!({}));
    let first = server.app.quota.period();
    let crossing = async {
        server.wait_for_upstream(1).await;
        clock.advance(Duration::from_secs(60));
    };
    let (response, ()) = tokio::join!(ask_short(&server, &token, "[paced 10 20]", true), crossing);
    assert_eq!(response.status, 200, "{}", response.body);
    let next = server.app.quota.period();
    assert_eq!(first.end, next.start);
    let at = clock.milliseconds();
    let used =
        async |period| server.app.store.caller_totals("ana", None, period, at).await.unwrap().user.used;
    wait_for("the request is charged", async || (used(first.start).await >= charged(&server)).then_some(()))
        .await;
    assert_eq!((used(first.start).await, used(next.start).await), (charged(&server), 0));
    let response = ask_short(&server, &token, "Hello", false).await;
    assert_eq!(response.status, 200, "the new period is free: {}", response.body);
}

#[tokio::test]
async fn long_response_renews_its_reservation() {
    let lease = Duration::from_millis(300);
    let server = authenticated_server_with(&[], |config| config.quota.lease = lease).await;
    let bearer = format!("Bearer {}", token("ana", &json!({})));
    let request = Request::post("/v1/messages").header("authorization", bearer);
    let body = full(message_body("[paced 60 25]", true).to_string().into());
    let mut response = server.send(request.body(body).unwrap()).await;
    let began = Instant::now();
    while began.elapsed() < 3 * lease {
        response.body_mut().frame().await.unwrap().unwrap();
        assert!(tallies(&server, "ana", None).await.user.reserved > 0, "after {:?}", began.elapsed());
    }
    drop(response);
    settled(&server, "ana", None).await;
}

#[tokio::test]
async fn reset_event_is_recorded_once() {
    let server = authenticated_server_with(&[], |_| {}).await;
    ask_short(&server, &token("ana", &json!({})), "Hello", false).await;
    settled(&server, "ana", None).await;
    let ana = server.app.store.user("ana").await.unwrap();
    assert_eq!(ana.tokens_used_today, charged(&server));
    let (mut one, mut two) = (None, None);
    tokio::join!(server.app.quota.record_reset(&mut one), server.app.quota.record_reset(&mut two));
    assert_eq!((one, two), (Some(server.app.quota.period()), Some(server.app.quota.period())));
    let page = Page { after: None, limit: 100 };
    let events = server.app.store.events(&EventFilter::default(), &page).await.unwrap().rows;
    assert_eq!(events.iter().filter(|event| event.kind == "quota_reset").count(), 1);
    let used: User = server.app.store.user("ana").await.unwrap();
    assert_eq!(used.tokens_used_today, charged(&server), "a reset of the same period takes nothing away");
}

#[tokio::test]
async fn fail_open_limit_charges_after_the_outage() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let mut server = authenticated_server_with(&[("DATA_DIR", data)], |_| {}).await;
    let token = token("ana", &json!({}));
    assert_eq!(ask_short(&server, &token, "Hello", false).await.status, 200);
    settled(&server, "ana", None).await;
    let before = charged(&server);
    server.app.store.close().await;
    for _ in 0..20 {
        assert_eq!(ask_short(&server, &token, "Hello", false).await.status, 200);
    }
    let (total, period) = (charged(&server), server.app.quota.period());
    assert!(total > before);
    server.stop.notify_one();
    (&mut server.task).await.unwrap();
    drop(server);
    // The next process finds the WAL.
    let config = Config::load(|name| (name == "DATA_DIR").then(|| data.to_owned())).unwrap();
    let tasks = Tasks::default();
    let store = Store::open(&config.database, &tasks).await.unwrap();
    let recorder = UsageRecorder::open(
        &folder.path().join("journal"),
        &config.usage,
        store.clone(),
        Clock::machine(),
        std::sync::Arc::default(),
    )
    .unwrap();
    recorder.start(&tasks);
    wait_for("the log on disk is stored", async || {
        let spent = store.caller_totals("ana", None, period.start, period.end).await.unwrap();
        assert!(spent.user.used <= total, "counted twice");
        (spent.user.used == total).then_some(())
    })
    .await;
}

#[tokio::test]
async fn outage_is_logged_once_not_per_request() {
    let server = authenticated_server_with(&[], |_| {}).await;
    let tokens = ["ana", "ben"].map(|user| token(user, &json!({})));
    assert_eq!(ask_short(&server, &tokens[0], "Hello", false).await.status, 200);
    let (lines, _guard) = capture_this_thread();
    server.app.store.close().await;
    for number in 0..30 {
        assert_eq!(ask_short(&server, &tokens[number % 2], "Hello", false).await.status, 200);
    }
    let warnings = lines.of_level("warn");
    for message in ["limits are not enforced while", "users and tokens cannot be checked"] {
        let count = warnings.iter().filter(|line| line.contains(message)).count();
        assert_eq!(count, 1, "{message}: {warnings:#?}");
    }
    assert!(warnings.len() < 8, "{warnings:#?}");
}

#[tokio::test]
async fn fail_closed_limit_denies_during_outage() {
    let server = authenticated_server_with(&[("QUOTA_USER_ON_OUTAGE", "closed")], |_| {}).await;
    let token = token("ana", &json!({}));
    assert_eq!(ask_short(&server, &token, "Hello", false).await.status, 200);
    server.app.store.close().await;
    let response = ask_short(&server, &token, "Hello", false).await;
    let (status, kind, message) = response.error();
    assert_eq!((status, kind.as_str()), (429, "billing_error"), "{message}");
    assert!(message.contains("database is unavailable"), "{message}");
    assert_eq!(response.headers["anthropic-ratelimit-unified-overage-disabled-reason"], "fetch_error");
    assert_eq!(response.headers["x-should-retry"], "false");
}

#[tokio::test]
async fn nothing_in_a_request_changes_who_pays() {
    let server = authenticated_server_with(&[], |_| {}).await;
    let bearer = format!("Bearer {}", token("ana", &json!({"team": "red"})));
    let mut body: Value = message_body("Hello", false);
    body["metadata"] = json!({"user_id": "ben"});
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-team", "blue"),
        ("x-user-id", "ben"),
        ("x-claude-code-session-id", "ben"),
        ("x-bedrock-proxy-user", "ben"),
    ];
    let response = server.request("POST", "/v1/messages", &headers, body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let tallies = settled(&server, "ana", Some("red")).await;
    assert_eq!((tallies.user.used, tallies.team.used), (charged(&server), charged(&server)));
    assert!(server.app.store.user("ben").await.is_err());
}

#[tokio::test]
async fn every_client_api_shares_the_limits() {
    let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "0")], |_| {}).await;
    let bearer = format!("Bearer {}", token("ana", &json!({})));
    let headers = [("authorization", bearer.as_str())];
    let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}).to_string();
    for path in ["/model/claude-sonnet-4-5/invoke", "/bedrock/model/claude-sonnet-4-5/converse-stream"] {
        let response = server.request("POST", path, &headers, body.clone()).await;
        assert_eq!(response.status, 429, "{path}: {}", response.body);
        assert_eq!(response.headers["x-amzn-errortype"], "ServiceQuotaExceededException");
        assert_eq!(response.headers["x-should-retry"], "false");
        assert!(response.json()["message"].as_str().unwrap().contains("of its limit of 0 tokens"));
    }
    let body = message_body("Hello", false).to_string();
    let counted = server.request("POST", "/v1/messages/count_tokens", &headers, body).await;
    assert_eq!(counted.status, 200, "counting is free");
    assert_eq!(server.request("GET", "/v1/models", &headers, "").await.status, 200);
}

/// The status of a request with a PDF that may be long, or is.
async fn send_document(server: &TestServer, token: &str, prompt: &str, pdf: &str) -> u16 {
    let data = STANDARD.encode(pdf);
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": data});
    let body = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": ANSWER,
        "messages": [{"role": "user", "content": [
            {"type": "document", "source": source, "citations": {"enabled": true}},
            {"type": "text", "text": prompt},
        ]}],
    });
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    server.request("POST", "/v1/messages", &headers, body.to_string()).await.status.as_u16()
}

#[tokio::test]
async fn documents_of_unknown_length_never_run_together() {
    let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "10000")], |_| {}).await;
    let (ana, ben) = (token("ana", &json!({})), token("ben", &json!({})));
    let pages = format!("%PDF-1.4{}", "<</Type/Page>>".repeat(100));
    assert_eq!(send_document(&server, &ben, "Hello", &pages).await, 429, "100 pages are more than the limit");

    let compressed = "%PDF-1.5<</Type/ObjStm>>";
    let all = (0..3).map(|_| send_document(&server, &ana, "[pause 300] Hello", compressed));
    let mut statuses = join_all(all).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429, 429]);
    assert_eq!(settled(&server, "ana", None).await.user.reserved, 0);
    assert_eq!(
        send_document(&server, &ana, "Hello", compressed).await,
        200,
        "what is left is enough for a page"
    );
}

#[tokio::test]
async fn token_has_a_limit_of_its_own() {
    let server = authenticated_server().await;
    let operator = token("op", &json!({"scope": "admin"}));
    let issue = async |limit: Value| {
        let body = json!({"user_id": "ana", "create": true, "name": "ci-bot", "daily_token_limit": limit});
        let issued = server.act_as(&operator, "POST", "/tokens", &body).await;
        assert_eq!(issued.status, 201, "{}", issued.body);
        issued.json()
    };
    let (limited, free) = (issue(json!(10)).await, issue(Value::Null).await);
    let key = |issued: &Value| issued["token"].as_str().unwrap().to_owned();
    let (status, _, message) = server.post_as(&key(&limited)).await.error();
    let jti = limited["jti"].as_str().unwrap();
    assert!(status == 429 && message.contains(&format!("token \"ci-bot\" ({jti}) has used")), "{message}");
    assert_eq!(server.post_as(&key(&free)).await.status, 200, "another token of the user");
    let bearer = format!("Bearer {}", key(&limited));
    let me = server.request("GET", "/v1/me", &[("authorization", &bearer)], "").await.json();
    let limits: Vec<_> = me["limits"].as_array().unwrap().iter().map(|limit| &limit["scope"]).collect();
    assert_eq!(limits, ["user", "token"], "{me}");
    assert_eq!((&me["limits"][1]["limit"], &me["limits"][1]["name"]), (&json!(10), &json!(jti)));
    assert!(me["token_expires_in_seconds"].as_i64().unwrap() > 80_000, "{me}");
    // The use of a token is written once a minute.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    let used = wait_for("the last use is stored", async || {
        let tokens = server.act_as(&operator, "GET", "/tokens?user_id=ana", &Value::Null).await.json();
        let used = |jti: &Value| {
            let found = tokens["data"].as_array().unwrap().iter().find(|token| token["jti"] == *jti).cloned();
            found.unwrap()["last_used_at"].as_str().map(str::to_owned)
        };
        Some((used(&free["jti"])?, used(&limited["jti"])?))
    });
    assert!(used.await.0.starts_with("20"));
}

#[tokio::test]
async fn responses_warn_of_a_token_that_expires_soon() {
    const HEADER: &str = "x-bedrock-proxy-token-expires-at";
    let server = authenticated_server().await;
    let issued = |iat: i64, exp: i64| token("ana", &json!({"iat": now() + iat, "exp": now() + exp}));
    let soon = server.post_as(&issued(-1000, 50)).await;
    assert!(soon.headers[HEADER].to_str().unwrap().ends_with('Z'), "{:?}", soon.headers);
    let later = server.post_as(&issued(-10, 1000)).await;
    assert!(!later.headers.contains_key(HEADER));
}
