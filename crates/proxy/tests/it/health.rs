//! Health checks for load balancers and container platforms.

use std::time::Duration;

use bedrock_proxy::testing::Drained;
use http::{Method, Request};

use crate::harness::postgres;
use crate::harness::tokens::authenticated_server;
use crate::harness::{
    TestServer, captured_logs, full, log_line, message_body, test_server, test_server_with, wait_for,
    wait_until,
};

const PROBES: [&str; 5] = ["/health", "/livez", "/healthz", "/readyz", "/startupz"];

/// Requests readiness until its body contains `wanted`.
async fn until_ready_reports(server: &TestServer, wanted: &str) -> u16 {
    wait_for(wanted, async || {
        let response = server.get("/readyz?verbose").await;
        response.body.contains(wanted).then_some(response.status.as_u16())
    })
    .await
}

#[tokio::test]
async fn health_checks_need_no_token_and_no_log() {
    let server = authenticated_server().await;
    for path in PROBES {
        let response = server.get(path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
    }
    assert_eq!(server.get("/livez?x").await.body, "ok\n");
    assert_eq!(server.get("/readyz").await.body, "ok\n");
    // By the time that a later request is in the log, the earlier ones would be.
    log_line(server.get("/v1/models").await.request_id()).await;
    let log = captured_logs();
    let mut lines = log.lines().filter(|line| line.contains("\"event\":\"request\""));
    assert!(!lines.any(|line| PROBES.iter().any(|path| line.contains(path))), "{log}");
    assert!(server.bedrock.requests().is_empty(), "no request reaches Bedrock");
}

#[tokio::test]
async fn readiness_lists_its_checks() {
    let server = test_server().await;
    let text = server.get("/readyz?verbose").await.body;
    assert_eq!(
        text,
        "[+]serving ok\n[+]credentials ok\n[+]aws ok\n[+]database ok\n[+]migrations ok\nreadyz check passed\n"
    );
    assert_eq!(server.get("/startupz?verbose=1").await.body, "[+]migrations ok\nstartupz check passed\n");
}

#[tokio::test]
async fn shutdown_delay_fails_readiness_and_serves_requests() {
    let long =
        |config: &mut bedrock_proxy::testing::Config| config.server.shutdown_delay = Duration::from_secs(60);
    let mut server = test_server_with(&[], long).await;
    server.stop.notify_one();
    assert_eq!(until_ready_reports(&server, "[-]serving failed: the server is shutting down").await, 503);
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.post_message("Hello", false).await.status, 200);
    // A second signal ends the delay and the drain.
    server.force_shutdown.notify_one();
    let drained = tokio::time::timeout(Duration::from_secs(10), &mut server.task).await.unwrap().unwrap();
    assert!(matches!(drained, Drained::Clean | Drained::Aborted(_)));
}

#[tokio::test]
async fn rejected_credentials_fail_health_with_advice() {
    let server = test_server_with(&[("AWS_BEDROCK_SECRET_KEY", "canary-not-the-secret")], |_| {}).await;
    assert_eq!(server.get("/health").await.json()["status"], "healthy", "no request was sent yet");
    server.app.monitor_credentials();
    assert_eq!(until_ready_reports(&server, "[-]credentials failed: AWS rejects them").await, 503);
    let health = server.get("/health").await;
    assert_eq!((health.status.as_u16(), &health.json()["status"]), (503, &"unhealthy".into()));
    let log = captured_logs();
    // Other tests write into the same log.
    let is_ours = |line: &&str| line.contains("aws_credentials_refused") && line.contains("\"row\":\"E17b\"");
    let line = log.lines().find(is_ours).unwrap();
    assert!(line.contains("Compare the secret key"), "{line}");
    assert!(!log.contains("canary-not-the-secret"));
}

#[tokio::test]
async fn rejected_requests_fail_readiness_until_one_passes() {
    let server = test_server_with(&[("AWS_BEDROCK_SECRET_KEY", "not-the-secret")], |_| {}).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    assert_eq!(server.post_message("Hello", false).await.status, 502);
    assert_eq!(until_ready_reports(&server, "[-]credentials failed: AWS rejects them").await, 503);

    let server = test_server().await;
    server.app.bedrock.set_credentials_rejected(true);
    assert_eq!(server.get("/readyz").await.status, 503);
    assert_eq!(server.post_message("Hello", true).await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    let elsewhere = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123";
    let mut body = message_body("Hello", false);
    body["model"] = elsewhere.into();
    assert_eq!(server.post(body.to_string()).await.status, 502, "the fake is in us-east-1");
    assert_eq!(server.get("/readyz").await.status, 200, "a client has chosen the region");
}

#[tokio::test]
async fn unreachable_aws_is_shown_and_stays_ready() {
    let server = test_server_with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], |_| {}).await;
    assert_eq!(server.post_message("Hello", false).await.status, 502);
    let status = until_ready_reports(&server, "[~]aws the last request got no response").await;
    assert_eq!(status, 200, "another replica would do no better");
}

#[tokio::test]
async fn log_names_the_aws_identity() {
    let server = test_server().await;
    server.app.monitor_credentials();
    let arn = "arn:aws:sts::123456789012:assumed-role/gateway/fake";
    server.wait_for_upstream(1).await;
    wait_until("the identity is logged", || captured_logs().contains(arn)).await;
    let requested: Vec<_> = server.bedrock.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(requested, ["/"], "and nothing else was asked");
}

#[tokio::test]
async fn an_api_key_is_not_sent_to_sts() {
    for (key, message) in
        [("bedrock-api-key-example", "[+]credentials ok"), ("wrong", "[-]credentials failed")]
    {
        let keys = [
            ("AWS_BEDROCK_ACCESS_KEY", ""),
            ("AWS_BEDROCK_SECRET_KEY", ""),
            ("AWS_BEARER_TOKEN_BEDROCK", key),
        ];
        let server = test_server_with(&keys, |_| {}).await;
        server.app.monitor_credentials();
        wait_until("the fake has responded", || {
            server.bedrock.requests().first().is_some_and(|request| request.status != 0)
        })
        .await;
        until_ready_reports(&server, message).await;
        assert!(server.bedrock.requests().iter().all(|request| request.path == "/foundation-models"));
    }
}

#[tokio::test]
async fn database_outage_fails_readiness_when_fail_closed() {
    let unavailable = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none?sslmode=disable");
    let servers = [("open", 200), ("closed", 503)].map(|(policy, status)| async move {
        let server = test_server_with(&[unavailable, ("QUOTA_USER_ON_OUTAGE", policy)], |_| {}).await;
        let response = server.get("/readyz?verbose").await;
        assert_eq!(response.status, status, "{}", response.body);
        assert!(response.body.contains("database"), "{}", response.body);
        assert_eq!(server.get("/startupz").await.status, status);
        let health = server.get("/health").await;
        assert_eq!((health.status.as_u16(), &health.json()["status"]), (200, &"degraded".into()));
        assert_eq!(health.json()["database"], "disconnected");
    });
    futures_util::future::join_all(servers).await;
}

#[tokio::test]
async fn running_migrations_fail_startup() {
    let url = postgres::database().await;
    let mut other = postgres::connect(&url).await;
    // Another replica migrates.
    sqlx::raw_sql("SELECT pg_advisory_lock(8081, 1)").execute(&mut other).await.unwrap();
    let server = test_server_with(&[("DATABASE_URL", &url), ("DB_MIN_CONNS", "0")], |_| {}).await;
    for path in ["/startupz", "/readyz"] {
        let response = server.get(path).await;
        assert_eq!(response.status, 503, "{path}: {}", response.body);
        assert!(response.body.contains("[-]migrations failed: they are being applied"), "{}", response.body);
    }
    sqlx::raw_sql("SELECT pg_advisory_unlock(8081, 1)").execute(&mut other).await.unwrap();
    wait_for("the start is over", async || (server.get("/startupz").await.status == 200).then_some(())).await;
    let body = server.get("/startupz?verbose").await.body;
    assert!(body.contains("[+]migrations ok\n"), "{body}");
}

#[tokio::test]
async fn health_has_exactly_four_keys() {
    let server = test_server().await;
    let json = server.get("/health?x=1").await.json();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["status", "timestamp", "database", "version"]);
    assert_eq!((json["status"].as_str(), json["database"].as_str()), (Some("healthy"), Some("connected")));
    assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn hello_paths_return_200() {
    let server = test_server().await;
    for (method, path) in [(Method::GET, "/api/hello"), (Method::HEAD, "/api/hello"), (Method::HEAD, "/")] {
        let request = Request::builder().method(method).uri(path).body(full("".into())).unwrap();
        assert_eq!(server.fetch(request).await.status, 200, "{path}");
    }
}
