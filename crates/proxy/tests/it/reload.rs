//! Reload of the configuration: by SIGHUP and by the admin API, all or nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use fake_bedrock::{FakeBedrock, Log};
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::Process;
use crate::harness::tokens::{KEY, authenticated_server, token};
use crate::harness::{SECRET, full, message_body, spawn, wait_for, wait_until};

/// A process with its `.env`.
struct Reloadable {
    process: Process,
    bedrock: Arc<Log>,
    home: TempDir,
}

impl Reloadable {
    async fn start(dotenv: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let fake = FakeBedrock::bind(fake_bedrock::Config::default(), address).await.unwrap();
        let (url, bedrock) = (fake.url(), fake.log());
        spawn(fake.run());
        let home = tempfile::tempdir().unwrap();
        write(home.path(), ".env", dotenv);
        let variables = [
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
            ("AWS_BEDROCK_SECRET_KEY", SECRET),
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("JWT_SECRET_KEY", KEY),
            ("PORT", "0"),
            ("DATA_DIR", "data"),
        ];
        Self { process: Process::start(home.path(), "", &variables), bedrock, home }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.home.path(), name, text);
    }

    async fn request(&self, method: &str, path: &str, token: &str, body: String) -> (u16, Value) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.process.address))
            .header("authorization", format!("Bearer {token}"));
        let response = client.request(request.body(full(body.into())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn reload(&self) -> (u16, Value) {
        self.request("POST", "/admin/v1/reload", &operator(), String::new()).await
    }

    /// The cost of a request of `user`, from its log line.
    async fn cost(&self, user: &str, prompt: &str) -> String {
        let body = message_body(prompt, false).to_string();
        let (status, response) = self.request("POST", "/v1/messages", &token(user, &json!({})), body).await;
        assert_eq!(status, 200, "{response}");
        let line = wait_for("its log line", async || {
            self.lines().into_iter().find(|line| line["user"] == user && !line["cost_usd"].is_null())
        });
        line.await["cost_usd"].to_string()
    }

    fn lines(&self) -> Vec<Value> {
        self.process.output_text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn count(&self, text: &str) -> usize {
        self.process.output_text().matches(text).count()
    }
}

fn write(home: &Path, name: &str, text: &str) {
    std::fs::write(home.join(name), text).unwrap();
}

fn operator() -> String {
    token("op", &json!({"scope": "admin"}))
}

/// A row of the model of [`message_body`] with this price.
fn prices(input: &str) -> String {
    json!([{
        "id": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "prices": {"basis": "global", "input": input, "output": input},
    }])
    .to_string()
}

#[tokio::test]
async fn reload_applies_and_reports_changes() {
    let server = Reloadable::start("LOG_LEVEL=info\nDEFAULT_USER_DAILY_TOKENS=1000000\n").await;
    assert_eq!(
        server.reload().await,
        (200, json!({"type": "configuration_reloaded", "changed": [], "needs_restart": []}))
    );
    server.write(".env", "LOG_LEVEL=debug\nDEFAULT_USER_DAILY_TOKENS=0\nMAX_BODY_BYTES=2048\n");
    let change = |name: &str, from: &str, to: &str| json!({"name": name, "from": from, "to": to});
    let changed = [change("DEFAULT_USER_DAILY_TOKENS", "1000000", "0"), change("LOG_LEVEL", "info", "debug")];
    let (status, response) = server.reload().await;
    assert_eq!((status, &response["changed"]), (200, &json!(changed)), "{response}");
    assert_eq!(response["needs_restart"], json!(["MAX_BODY_BYTES"]));
    assert!(server.count("LOG_LEVEL: info -> debug") > 0);

    let body = message_body("Hello", false).to_string();
    let (status, _) = server.request("POST", "/v1/messages", &token("new", &json!({})), body).await;
    assert_eq!(status, 429, "the new default limit");
    wait_until("debug lines", || server.lines().iter().any(|line| line["level"] == "debug")).await;

    let events = wait_for("the audit events", async || {
        let path = "/admin/v1/events?kind=configuration_reloaded";
        let events = server.request("GET", path, &operator(), String::new()).await.1;
        (events["data"].as_array()?.len() == 2).then_some(events)
    });
    let event = events.await["data"][0].clone();
    assert_eq!((&event["actor"], &event["details"]["changed"]), (&json!("op"), &json!(changed)));
    let (_, again) = server.reload().await;
    assert_eq!((&again["changed"], &again["needs_restart"]), (&json!([]), &json!(["MAX_BODY_BYTES"])));
}

#[tokio::test]
async fn new_price_applies_to_later_requests() {
    const SLOW: &str = "[slow 1500] Hello";
    let server = Reloadable::start("").await;
    server.write("models.json", &prices("1"));
    server.write(".env", "AWS_BEDROCK_MODELS_FILE=models.json\n");
    assert_eq!(server.reload().await.0, 200);
    let old = server.cost("before", SLOW).await;
    let sent = server.bedrock.requests().len();
    let (in_flight, ()) = tokio::join!(server.cost("during", SLOW), async {
        wait_until("the request is sent", || server.bedrock.requests().len() > sent).await;
        server.write("models.json", &prices("1000"));
        let (status, response) = server.reload().await;
        assert_eq!((status, &response["changed"][0]["name"]), (200, &json!("AWS_BEDROCK_MODELS_FILE")));
    });
    assert_eq!(in_flight, old, "a request in flight keeps its price");
    assert_ne!(server.cost("after", SLOW).await, old);
}

#[tokio::test]
async fn invalid_configuration_changes_nothing() {
    let mut server = Reloadable::start("LOG_LEVEL=info\n").await;
    server.write("models.json", "no JSON");
    server
        .write(".env", "LOG_LEVEL=loud\nAWS_BEDROCK_MODELS_FILE=models.json\nDEFAULT_USER_DAILY_TOKENS=0\n");
    let (status, response) = server.reload().await;
    let message = response["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    for name in ["2 to fix", "LOG_LEVEL", "AWS_BEDROCK_MODELS_FILE"] {
        assert!(message.contains(name), "{message}");
    }
    server.process.signal("HUP");
    wait_until("it is logged", || server.count("configuration_refused") == 2).await;
    server.cost("ana", "Hello").await;
    assert!(server.process.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn secrets_need_a_restart_and_stay_secret() {
    let server = Reloadable::start("JWT_PREVIOUS_SECRET_KEYS=canary-of-old-0123456789abcdefghij\n").await;
    server.write(".env", "JWT_PREVIOUS_SECRET_KEYS=canary-of-new-0123456789abcdefghij\n");
    let (status, response) = server.reload().await;
    assert_eq!((status, &response["needs_restart"]), (200, &json!(["JWT_PREVIOUS_SECRET_KEYS"])));
    assert!(!response.to_string().contains("canary") && server.count("canary-of") == 0);
}

#[tokio::test]
async fn only_operators_reload() {
    let server = authenticated_server().await;
    let reader = token("op", &json!({"scope": "admin:read"}));
    for (token, status) in
        [(String::new(), 401), (token("ana", &json!({})), 403), (reader, 403), (operator(), 400)]
    {
        let bearer = format!("Bearer {token}");
        let response = server.request("POST", "/admin/v1/reload", &[("authorization", &bearer)], "").await;
        assert_eq!(response.status.as_u16(), status, "{}", response.body);
    }
}
