//! What the tests share: a server, a fake Bedrock, a client, and the captured logs.

pub(crate) mod credential_service;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod raw_http;
pub(crate) mod tokens;
pub(crate) mod usage_records;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bedrock_proxy::testing::{App, Clock, Config, Drained, LogLayer, LogWriter, Server, Tls};
use bytes::Bytes;
use fake_bedrock::FakeBedrock;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Longest time that a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(20);
/// Time after which a client that closes its connection is not taken for one that only ends its request so.
pub(crate) const HALF_CLOSE_MARGIN: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A proxy and the fake behind it. Dropped, both end.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) fake_address: SocketAddr,
    pub(crate) app: Arc<App>,
    pub(crate) bedrock: Arc<fake_bedrock::Log>,
    pub(crate) stop: Arc<Notify>,
    pub(crate) force_shutdown: Arc<Notify>,
    pub(crate) tls: Option<Tls>,
    pub(crate) task: JoinHandle<Drained>,
    fake: JoinHandle<()>,
    /// Where the proxy keeps its database.
    data: TempDir,
    client: Client<HttpConnector, BoxBody<Bytes, Infallible>>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
        self.fake.abort();
    }
}

/// A response and its whole body.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[allow(clippy::disallowed_methods)] // tests end their tasks themselves
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

pub(crate) async fn test_server() -> TestServer {
    test_server_with(&[], |_| {}).await
}

/// A server with more variables, and a configuration changed where variables are too coarse.
pub(crate) async fn test_server_with(
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut Config),
) -> TestServer {
    test_server_at(Clock::machine(), variables, change).await
}

/// A server by this clock.
pub(crate) async fn test_server_at(
    clock: Clock,
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut Config),
) -> TestServer {
    captured();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fake = FakeBedrock::bind(fake_bedrock::Config::default(), anywhere).await.unwrap();
    let (bedrock, url, fake_address) = (fake.log(), fake.url(), fake.addr());
    let data = tempfile::tempdir().unwrap();
    let base = [
        ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
        ("AWS_BEDROCK_SECRET_KEY", SECRET),
        ("AWS_ENDPOINT_URL", &url),
        ("PORT", "0"),
        ("DATA_DIR", data.path().to_str().unwrap()),
    ];
    let lookup = |name: &str| {
        let mut all = variables.iter().chain(&base);
        all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let mut config = Config::load(lookup).unwrap();
    change(&mut config);
    let server = Server::bind(&config, clock).await.unwrap();
    let (address, app, tls) = (server.address(), Arc::clone(server.app()), server.tls().cloned());
    let (stop, force_shutdown) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stopped, forced) = (Arc::clone(&stop), Arc::clone(&force_shutdown));
    TestServer {
        address,
        app,
        fake_address,
        bedrock,
        stop,
        force_shutdown,
        tls,
        task: spawn(async move { server.run(stopped.notified(), forced.notified()).await }),
        fake: spawn(fake.run()),
        data,
        client: Client::builder(TokioExecutor::new()).build_http(),
    }
}

/// A body with `prompt`.
pub(crate) fn message_body(prompt: &str, stream: bool) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 256,
        "stream": stream,
        "messages": [{"role": "user", "content": prompt}],
    })
}

impl TestServer {
    /// Where the proxy keeps its database and its journal.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Sends a request and returns when the response head is there.
    pub(crate) async fn send(
        &self,
        request: Request<BoxBody<Bytes, Infallible>>,
    ) -> http::Response<Incoming> {
        let (mut head, body) = request.into_parts();
        head.uri = format!("http://{}{}", self.address, head.uri).parse().unwrap();
        let response = self.client.request(Request::from_parts(head, body));
        tokio::time::timeout(DEADLINE, response).await.unwrap().unwrap()
    }

    pub(crate) async fn fetch(&self, request: Request<BoxBody<Bytes, Infallible>>) -> TestResponse {
        read_response(self.send(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> TestResponse {
        self.fetch(Request::get(path).body(full(Bytes::new())).unwrap()).await
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> TestResponse {
        self.fetch(post(body)).await
    }

    /// Waits until the fake has received `count` requests.
    pub(crate) async fn wait_for_upstream(&self, count: usize) {
        wait_until("the request is upstream", || self.bedrock.requests().len() >= count).await;
    }

    /// Waits until no request is open, no connection is served and nothing is reserved for `user`.
    pub(crate) async fn wait_until_idle(&self, user: &str) {
        let reserved = async || {
            let (period, now) = (self.app.quota.period().start, self.app.clock.milliseconds());
            self.app.store.caller_totals(user, None, period, now).await.unwrap().user.reserved
        };
        wait_for("no open request, no task, nothing reserved", async || {
            let left =
                (self.app.authenticator.concurrency.open_requests(), reserved().await, self.app.tasks.len());
            (left == (0, 0, 0)).then_some(())
        })
        .await;
    }

    /// Sends `prompt` and returns the whole response.
    pub(crate) async fn post_message(&self, prompt: &str, stream: bool) -> TestResponse {
        self.post(message_body(prompt, stream).to_string()).await
    }
}

/// Polls until `attempt` returns something. For conditions in a database, in another process, or behind HTTP, of which
/// nothing can notify a test.
pub(crate) async fn wait_for<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, polling).await;
    found.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Polls until `condition` holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

pub(crate) fn post(body: impl Into<Bytes>) -> Request<BoxBody<Bytes, Infallible>> {
    Request::post("/v1/messages").body(full(body.into())).unwrap()
}

pub(crate) fn full(bytes: Bytes) -> BoxBody<Bytes, Infallible> {
    Full::new(bytes).boxed()
}

pub(crate) async fn read_response(response: http::Response<Incoming>) -> TestResponse {
    let (head, body) = response.into_parts();
    let collected = tokio::time::timeout(DEADLINE, body.collect()).await.unwrap().unwrap();
    let body = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
    TestResponse { status: head.status, headers: head.headers, body }
}

impl TestResponse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn request_id(&self) -> &str {
        self.headers["request-id"].to_str().unwrap()
    }

    /// The names of the events, in order, those that repeat only once.
    pub(crate) fn events(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        names.dedup();
        names
    }

    /// The JSON in the `data:` line of the last event.
    pub(crate) fn last(&self) -> Value {
        let data = self.body.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str(data).unwrap()
    }

    /// The error, which has to be in Anthropic's envelope and name the request.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let json = self.json();
        assert_eq!(json["type"], "error", "{json}");
        assert_eq!(json["request_id"], self.request_id(), "{json}");
        let text = |key: &str| json["error"][key].as_str().unwrap().to_owned();
        (self.status.as_u16(), text("type"), text("message"))
    }
}

/// Everything that was logged in this process, as one text.
pub(crate) fn captured_logs() -> String {
    let captured = captured().content.lock().unwrap();
    String::from_utf8_lossy(&captured.text).into_owned()
}

/// What is logged on this thread until the guard is dropped: the server of a test with one thread, and nothing of others.
#[must_use]
pub(crate) fn capture_this_thread() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let layer = LogLayer::new(true, Clock::machine(), &[], vec![Box::new(lines.clone())]).unwrap();
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO).with(layer);
    (lines, tracing::subscriber::set_default(subscriber))
}

/// The capture of this process, which begins with the first call.
fn captured() -> &'static Captured {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Lines::default();
        let layer = LogLayer::new(true, Clock::machine(), &[], vec![Box::new(lines.clone())]).unwrap();
        tracing_subscriber::registry().with(LevelFilter::INFO).with(layer).init();
        lines
    });
    &lines.0
}

/// The one line in the access log about `request_id`, waited for, as it is written when the response is gone.
pub(crate) async fn log_line(request_id: &str) -> Value {
    log_line_with("request_id", request_id).await
}

/// The one line in the access log whose `field` is `value`.
pub(crate) async fn log_line_with(field: &str, value: &str) -> Value {
    let captured = captured();
    let line = async {
        loop {
            let changed = captured.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found: Vec<Value> = {
                let content = captured.content.lock().unwrap();
                content.requests.iter().filter(|line| line[field] == value).cloned().collect()
            };
            assert!(found.len() < 2, "{value} was logged twice");
            if let Some(line) = found.into_iter().next() {
                return line;
            }
            changed.await;
        }
    };
    let line = tokio::time::timeout(DEADLINE, line).await;
    line.unwrap_or_else(|_| panic!("{value} was never logged"))
}

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Captured>);

impl Lines {
    /// The lines of `level`.
    pub(crate) fn of_level(&self, level: &str) -> Vec<String> {
        let content = self.0.content.lock().unwrap();
        let text = String::from_utf8_lossy(&content.text).into_owned();
        let is_level = |line: &&str| line.contains(&format!(r#""level":"{level}""#));
        text.lines().filter(is_level).map(str::to_owned).collect()
    }
}

#[derive(Default)]
struct Captured {
    content: Mutex<Content>,
    changed: Notify,
}

#[derive(Default)]
struct Content {
    text: Vec<u8>,
    /// The lines of the access log.
    requests: Vec<Value>,
}

impl LogWriter for Lines {
    fn write_line(&self, line: &[u8]) {
        let mut content = self.0.content.lock().unwrap();
        content.text.extend_from_slice(line);
        let parsed: Value = serde_json::from_slice(line).unwrap();
        if parsed["event"] == "request" {
            content.requests.push(parsed);
            self.0.changed.notify_waiters();
        }
    }
}
