//! Every way in which a request can end, for each client API, streamed and not: what the client receives, what the log
//! contains, and what is charged. One snapshot a client API, one line an ending.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bedrock_proxy::testing::Config;
use bytes::Bytes;
use fake_bedrock::FakeBedrock;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use protocol::converse::{FrameDecoder, FrameKind};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::process::Process;
use crate::harness::tokens::{KEY, authenticated_server_with, token};
use crate::harness::{HALF_CLOSE_MARGIN, SECRET, TestServer, full, log_line_with, spawn, wait_until};

/// Time limit of the endings that are timeouts.
const TIMEOUT: Duration = Duration::from_millis(400);
/// Longer than the proxy needs to read the first half of a response.
const UNSEEN_MIDDLE: Duration = Duration::from_millis(300);
/// Servers that run at the same time: most of their time is waiting.
const PARALLEL: usize = 8;
const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

/// An ending: what the fake does, what the server is configured to, and what the client does.
struct Ending {
    name: &'static str,
    prompt: &'static str,
    model: &'static str,
    daily_tokens: &'static str,
    change: fn(&mut Config),
    client: ClientAction,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ClientAction {
    ReadsToTheEnd,
    DisconnectsBeforeFirstEvent,
    DisconnectsInTheMiddle,
    DisconnectsAfterLastEvent,
    IsAbortedBeforeFirstEvent,
    IsAbortedInTheMiddle,
}

use ClientAction::*;

impl Ending {
    const fn new(name: &'static str, prompt: &'static str) -> Self {
        let change: fn(&mut Config) = |_| {};
        Self { name, prompt, model: SONNET, daily_tokens: "100000", change, client: ReadsToTheEnd }
    }

    const fn with(self, change: fn(&mut Config)) -> Self {
        Self { change, ..self }
    }

    const fn client(self, client: ClientAction) -> Self {
        Self { client, ..self }
    }
}

fn endings() -> Vec<Ending> {
    let idle: fn(&mut Config) = |config| config.inference.idle_timeout = TIMEOUT;
    let request: fn(&mut Config) = |config| config.inference.request_timeout = TIMEOUT;
    let no_detached_read: fn(&mut Config) = |config| config.inference.max_detached_reads = 0;
    let short_detached_read: fn(&mut Config) = |config| config.inference.detached_read_timeout = TIMEOUT;
    let no_grace: fn(&mut Config) = |config| config.server.shutdown_grace = Duration::from_millis(50);
    let no_head_delay: fn(&mut Config) = |config| config.inference.max_head_delay = Duration::ZERO;
    vec![
        Ending::new("finished", "Hello"),
        Ending::new("finished by a tool call", "[tool]"),
        Ending::new("finished without usage", "[no-metadata]"),
        Ending::new("4xx upstream", "[refuse ValidationException]"),
        Ending::new("4xx upstream, access denied", "[refuse AccessDeniedException]"),
        Ending::new("5xx upstream", "[refuse InternalServerException]"),
        Ending::new("5xx upstream, unavailable", "[refuse ServiceUnavailableException]"),
        Ending::new("throttled to the last attempt", "[throttle]"),
        Ending::new("throttled after the head", "[throttle]").with(no_head_delay),
        Ending::new("throttled, then served", "[throttle-once]"),
        Ending::new("throttled in the first frame", "[throttle-first-frame]"),
        Ending { model: "anthropic.claude-opus-4-8", ..Ending::new("fallback served", "Hello") },
        Ending::new("connection closed before the head", "[cut-before]"),
        Ending::new("exception in the middle", "[throttle-mid]"),
        Ending::new("connection closed in the middle", "[cut]"),
        Ending::new("stream without its end", "[no-stop]"),
        Ending::new("frame with a wrong checksum", "[bad-crc]"),
        Ending::new("idle timeout before the first event", "[slow 3000] Hello").with(idle),
        Ending::new("idle timeout after the head", "[slow 3000] Hello").with(|config| {
            (config.inference.max_head_delay, config.inference.idle_timeout) = (Duration::ZERO, TIMEOUT);
        }),
        Ending::new("idle timeout in the middle", "[pause 3000] Hello").with(idle),
        Ending::new("request timeout before the first event", "[slow 1500] Hello").with(request),
        Ending::new("request timeout in the middle", "[pause 1500] Hello").with(request),
        Ending::new("client gone before the first event", "[slow 600] Hello")
            .client(DisconnectsBeforeFirstEvent),
        Ending::new("client gone in the middle", "[pause 600] Hello").client(DisconnectsInTheMiddle),
        Ending::new("client gone after the last event", "Hello").client(DisconnectsAfterLastEvent),
        Ending::new("client gone, throttled afterwards", "[slow 600] [throttle-first-frame]")
            .client(DisconnectsBeforeFirstEvent),
        Ending::new("client gone before, detached read refused", "[slow 60000] Hello")
            .with(no_detached_read)
            .client(DisconnectsBeforeFirstEvent),
        Ending::new("client gone in the middle, detached read refused", "[pause 60000] Hello")
            .with(no_detached_read)
            .client(DisconnectsInTheMiddle),
        Ending::new("client gone in the middle, detached read timeout", "[pause 60000] Hello")
            .with(short_detached_read)
            .client(DisconnectsInTheMiddle),
        Ending::new("shutdown before the first event", "[slow 60000] Hello")
            .with(no_grace)
            .client(IsAbortedBeforeFirstEvent),
        Ending::new("shutdown in the middle", "[pause 60000] Hello")
            .with(no_grace)
            .client(IsAbortedInTheMiddle),
        Ending { daily_tokens: "10", ..Ending::new("limit reached", "Hello") },
        Ending { model: "claude-unknown", ..Ending::new("model denied by AWS", "Hello") },
        Ending { model: "gpt-4o", ..Ending::new("unknown model", "Hello") },
    ]
}

/// A client API, and for the Bedrock API its operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Api {
    /// The Messages API by this upstream API.
    Messages(&'static str),
    ChatCompletions,
    Converse,
    InvokeModel,
}

impl Api {
    /// The request of `ending`, with its number for the log.
    fn request(self, ending: &Ending, streamed: bool, id: &str) -> Request<BoxBody<Bytes, Infallible>> {
        let messages = json!([{"role": "user", "content": ending.prompt}]);
        let model = ending.model.replace(':', "%3A");
        let (path, body) = match self {
            Self::Messages(_) => (
                "/v1/messages".to_owned(),
                json!({"model": ending.model, "max_tokens": 256, "stream": streamed, "messages": messages, "tools": [
                    {"name": "read_file", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
                ]}),
            ),
            Self::ChatCompletions => (
                "/v1/chat/completions".to_owned(),
                json!({"model": ending.model, "max_tokens": 256, "stream": streamed, "messages": messages, "tools": [
                    {"type": "function", "function": {"name": "read_file",
                        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}},
                ]}),
            ),
            Self::Converse => (
                format!("/model/{model}/{}", if streamed { "converse-stream" } else { "converse" }),
                json!({"messages": [{"role": "user", "content": [{"text": ending.prompt}]}],
                    "inferenceConfig": {"maxTokens": 256}, "toolConfig": {"tools": [{"toolSpec": {"name": "read_file",
                    "inputSchema": {"json": {"type": "object", "properties": {"path": {"type": "string"}}}}}}]}}),
            ),
            Self::InvokeModel => (
                format!("/model/{model}/{}", if streamed { "invoke-with-response-stream" } else { "invoke" }),
                json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 256, "messages": messages, "tools": [
                    {"name": "read_file", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
                ]}),
            ),
        };
        Request::post(path)
            .header("authorization", format!("Bearer {}", token("ana", &json!({}))))
            .header("content-type", "application/json")
            .header("x-request-id", id)
            .body(full(body.to_string().into()))
            .unwrap()
    }

    fn forwards_the_head(self) -> bool {
        matches!(self, Self::Converse | Self::InvokeModel)
    }

    /// Whether `bytes` hold the first text of a stream.
    fn has_begun(self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        match self {
            Self::Messages(_) => text.contains("text_delta"),
            Self::ChatCompletions => text.contains(r#""content":"F"#) || text.contains(r#""content":"T"#),
            Self::Converse => frames(bytes).0.iter().any(|(name, _)| name == "contentBlockDelta"),
            Self::InvokeModel => {
                frames(bytes).0.iter().any(|(_, body)| chunk_type(body) == "content_block_delta")
            }
        }
    }

    /// Whether `bytes` hold the last event of a stream, or a whole document.
    fn is_complete(self, streamed: bool, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        match self {
            _ if !streamed => serde_json::from_slice::<Value>(bytes).is_ok(),
            Self::Messages(_) => text.contains("event: message_stop\n"),
            Self::ChatCompletions => text.contains("data: [DONE]\n\n"),
            Self::Converse => frames(bytes).0.last().is_some_and(|(name, _)| name == "metadata"),
            Self::InvokeModel => {
                let (frames, _) = frames(bytes);
                frames.last().is_some_and(|(_, body)| chunk_type(body) == "message_stop")
            }
        }
    }

    /// The end of what the client received, in one phrase.
    fn describe(self, streamed: bool, bytes: &[u8], is_broken: bool) -> String {
        let text = String::from_utf8_lossy(bytes);
        let json = serde_json::from_slice::<Value>(bytes).ok();
        let end = if let Some(json) = json {
            let error = json.get("error").and_then(|error| error["type"].as_str());
            match (error, json["message"].as_str()) {
                (Some(error), _) => format!("JSON {error}"),
                (_, Some(_)) => "JSON error".to_owned(),
                _ => "JSON".to_owned(),
            }
        } else if bytes.is_empty() {
            "nothing".to_owned()
        } else if !streamed {
            "part of JSON".to_owned()
        } else {
            match self {
                Self::Messages(_) => {
                    let event =
                        text.lines().rev().find_map(|line| line.strip_prefix("event: ")).unwrap_or("?");
                    let data = text.lines().rev().find_map(|line| line.strip_prefix("data: "));
                    let data: Value =
                        data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
                    match data["error"]["type"].as_str() {
                        Some(kind) => format!("event {event} {kind}"),
                        None => format!("event {event}"),
                    }
                }
                Self::ChatCompletions => {
                    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                    let error = lines.iter().rev().find_map(|data| {
                        let data: Value = serde_json::from_str(data).ok()?;
                        data["error"]["type"].as_str().map(str::to_owned)
                    });
                    match (error, lines.last()) {
                        (Some(kind), Some(&"[DONE]")) => format!("chunk error {kind}, [DONE]"),
                        (Some(kind), _) => format!("chunk error {kind}"),
                        (None, Some(&"[DONE]")) => "[DONE]".to_owned(),
                        _ => "chunk".to_owned(),
                    }
                }
                Self::Converse | Self::InvokeModel => {
                    let (frames, is_invalid) = frames(bytes);
                    let last = frames.last().map_or_else(
                        || "nothing".to_owned(),
                        |(name, body)| match chunk_type(body) {
                            kind if name == "chunk" => format!("frame chunk {kind}"),
                            _ => format!("frame {name}"),
                        },
                    );
                    if is_invalid { format!("{last}, invalid frame") } else { last }
                }
            }
        };
        if is_broken { format!("{end}, connection closed") } else { end }
    }
}

/// The type of the Anthropic event inside an InvokeModel chunk.
fn chunk_type(body: &[u8]) -> String {
    use base64::Engine as _;
    let chunk: Value = serde_json::from_slice(body).unwrap_or_default();
    let bytes = chunk["bytes"].as_str().map(|text| base64::engine::general_purpose::STANDARD.decode(text));
    let event: Value = bytes.and_then(|bytes| serde_json::from_slice(&bytes.ok()?).ok()).unwrap_or_default();
    event["type"].as_str().unwrap_or_default().to_owned()
}

/// Name and payload of each frame, and whether something after them is no frame.
fn frames(bytes: &[u8]) -> (Vec<(String, Vec<u8>)>, bool) {
    let mut decoder = FrameDecoder::default();
    decoder.feed(bytes);
    let mut frames = Vec::new();
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => {
                let name = match frame.kind {
                    FrameKind::Event(name) => name.to_owned(),
                    FrameKind::Exception(name) => format!("exception {name}"),
                    FrameKind::Error { code, .. } => format!("error {code}"),
                    FrameKind::Other(name) => name.to_owned(),
                };
                frames.push((name, frame.payload.to_vec()));
            }
            Ok(None) => return (frames, decoder.finish().is_err()),
            Err(_) => return (frames, true),
        }
    }
}

/// What the client received.
#[derive(Default)]
struct Received {
    status: Option<StatusCode>,
    bytes: Vec<u8>,
    is_broken: bool,
}

/// Sends a request and ends its response by `ending`.
async fn exchange(server: &TestServer, api: Api, ending: &Ending, streamed: bool, id: &str) -> Received {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (mut head, body) = api.request(ending, streamed, id).into_parts();
    head.uri = format!("http://{}{}", server.address, head.uri).parse().unwrap();
    let response = client.request(Request::from_parts(head, body));
    let mut received = Received::default();
    tokio::pin!(response);
    let leaves = matches!(ending.client, DisconnectsBeforeFirstEvent | DisconnectsInTheMiddle);
    let waits_for_upstream = match ending.client {
        DisconnectsBeforeFirstEvent | IsAbortedBeforeFirstEvent => true,
        // A document has no middle: its client leaves while it waits.
        DisconnectsInTheMiddle | IsAbortedInTheMiddle => !streamed,
        ReadsToTheEnd | DisconnectsAfterLastEvent => false,
    };
    // The Bedrock API hands AWS's head on at once; other heads wait for the first event.
    if waits_for_upstream && !(streamed && api.forwards_the_head()) {
        tokio::select! {
            early = &mut response => panic!("{}: {:?}", ending.name, early.map(|early| early.status())),
            () = server.wait_for_upstream(1) => {}
        }
        if matches!(ending.client, DisconnectsInTheMiddle | IsAbortedInTheMiddle) {
            // The client of a document sees nothing of its middle, and nothing else shows that the proxy has read it.
            tokio::time::sleep(UNSEEN_MIDDLE).await;
        }
        if leaves {
            // A client that closes its side of the connection right behind its request waits for the response.
            tokio::time::sleep(HALF_CLOSE_MARGIN).await;
            return received;
        }
        server.stop.notify_one();
    }
    let response = match response.await {
        Ok(response) => response,
        Err(_) => return Received { is_broken: true, ..received },
    };
    if waits_for_upstream && leaves {
        return received;
    }
    received.status = Some(response.status());
    if waits_for_upstream {
        server.stop.notify_one();
    }
    let mut stops = false;
    let received = read(response, received, |bytes| match ending.client {
        DisconnectsInTheMiddle => api.has_begun(bytes),
        DisconnectsAfterLastEvent => api.is_complete(streamed, bytes),
        IsAbortedInTheMiddle if streamed && !stops && api.has_begun(bytes) => {
            stops = true;
            server.stop.notify_one();
            false
        }
        _ => false,
    });
    received.await
}

/// Reads on until the end, or until `enough` holds for everything so far.
async fn read(
    mut response: http::Response<Incoming>,
    mut received: Received,
    mut enough: impl FnMut(&[u8]) -> bool,
) -> Received {
    while let Some(frame) = response.body_mut().frame().await {
        match frame {
            Ok(frame) => received.bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(_) => received.is_broken = true,
        }
        if received.is_broken || enough(&received.bytes) {
            break;
        }
    }
    received
}

/// The usage records in the database of a server that has shut down, and the tokens that are still reserved.
async fn records(data: &Path) -> (Vec<Value>, i64) {
    const RECORDS: &str =
        "SELECT json_object('charged', charged_tokens, 'estimated', estimated, 'attempt', attempt,
        'outcome', outcome) FROM metrics";
    let options = SqliteConnectOptions::new().filename(data.join("bedrock-proxy.db")).read_only(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let records: Vec<(String,)> = sqlx::query_as(RECORDS).fetch_all(&pool).await.unwrap();
    let reserved: Option<i64> =
        sqlx::query_scalar("SELECT sum(tokens) FROM reservations").fetch_one(&pool).await.unwrap();
    pool.close().await;
    (records.iter().map(|(record,)| serde_json::from_str(record).unwrap()).collect(), reserved.unwrap_or(0))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line of the table.
fn row(columns: [&str; 12]) -> String {
    let widths = [50, 8, 6, 63, 9, 8, 7, 5, 7, 8, 8, 7];
    let cells = columns.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
    cells.collect::<String>().trim_end().to_owned()
}

/// Tries `ending` on a server of its own.
async fn observe(api: Api, ending: Ending, streamed: bool, number: usize) -> String {
    let mut variables = vec![("DEFAULT_USER_DAILY_TOKENS", ending.daily_tokens)];
    if let Api::Messages(upstream) = api {
        variables.push(("AWS_BEDROCK_ROUTE", upstream));
    }
    let mut server = authenticated_server_with(&variables, ending.change).await;
    let id = format!("ending-{api:?}-{number}-{streamed}").replace(['(', ')', '"'], "-");
    let received = exchange(&server, api, &ending, streamed, &id).await;
    let mut line = log_line_with("client_request_id", &id).await;
    if ending.client == DisconnectsAfterLastEvent {
        // Both are true: the end of the body and the end of the connection race.
        assert!(["finished", "cancelled"].contains(&line["outcome"].as_str().unwrap()), "{line}");
        line["outcome"] = "either".into();
    }
    server.stop.notify_one();
    (&mut server.task).await.unwrap();
    let (records, reserved) = records(server.data()).await;
    let upstream: u64 = server.bedrock.requests().iter().map(|request| request.usage.total()).sum();
    describe(ending.name, api, streamed, &received, &line, &records, reserved, upstream)
}

/// Tries a request whose first attempt is rejected for its credentials, which the next read of their source replaces.
/// The source is the container's endpoint, which only a process of its own can be given.
async fn observe_refreshed_credentials(api: Api, streamed: bool) -> String {
    let (old, new) = ("AKIDOLD", "AKIDEXAMPLE");
    let fake = |access_key: &str| fake_bedrock::Config {
        access_key: access_key.to_owned(),
        session_token: Some("session".to_owned()),
        ..fake_bedrock::Config::default()
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bedrock = FakeBedrock::bind(fake(new), anywhere).await.unwrap();
    // STS accepts what was there at the start, so that only the request finds out.
    let sts = FakeBedrock::bind(fake(old), anywhere).await.unwrap();
    let (log, url, sts_url) = (bedrock.log(), bedrock.url(), sts.url());
    let source = TcpListener::bind(anywhere).await.unwrap();
    let source_url = format!("http://{}/", source.local_addr().unwrap());
    let tasks = [spawn(bedrock.run()), spawn(sts.run()), spawn(serve_credentials(source, [old, new]))];
    let home = tempfile::tempdir().unwrap();
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", source_url.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL", &url),
        ("AWS_ENDPOINT_URL_STS", &sts_url),
        ("DEFAULT_USER_DAILY_TOKENS", "100000"),
        ("JWT_SECRET_KEY", KEY),
        ("AWS_BEDROCK_ROUTE", if let Api::Messages(upstream) = api { upstream } else { "auto" }),
        ("DATA_DIR", "data"),
        ("PORT", "0"),
    ];
    let directory = home.path().to_owned();
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let started = tokio::task::spawn_blocking(move || {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Process::start(&directory, "", &variables)
    });
    let mut process = started.await.unwrap();
    wait_until("the identity is known", || process.output_text().contains("\"aws_identity\"")).await;
    let ending = Ending::new("credentials refreshed", "Hello");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (mut head, body) = api.request(&ending, streamed, "refreshed").into_parts();
    head.uri = format!("http://{}{}", process.address, head.uri).parse().unwrap();
    let response = client.request(Request::from_parts(head, body)).await.unwrap();
    let received = Received { status: Some(response.status()), ..Received::default() };
    let received = read(response, received, |_| false).await;
    process.signal("TERM");
    let output = tokio::task::spawn_blocking(move || process.end()).await.unwrap();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["client_request_id"] == "refreshed").unwrap();
    let (records, reserved) = records(&home.path().join("data")).await;
    let statuses: Vec<_> = log.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [403, 200], "the first attempt is rejected");
    let upstream = log.requests().iter().map(|request| request.usage.total()).sum();
    tasks.iter().for_each(JoinHandle::abort);
    describe(ending.name, api, streamed, &received, &line, &records, reserved, upstream)
}

/// Serves credentials as a container's agent does: the first key once, and the second from then on.
async fn serve_credentials(listener: TcpListener, keys: [&str; 2]) {
    let mut number = 0;
    while let Ok((mut stream, _)) = listener.accept().await {
        let key = keys[number.min(1)];
        number += 1;
        let _ = stream.read(&mut [0; 4096]).await;
        let body = json!({"AccessKeyId": key, "SecretAccessKey": SECRET, "Token": "session",
            "Expiration": "2099-01-01T00:00:00Z"})
        .to_string();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    }
}

/// The line of one ending.
#[allow(clippy::too_many_arguments)] // one for each source of a column
fn describe(
    name: &str,
    api: Api,
    streamed: bool,
    received: &Received,
    line: &Value,
    records: &[Value],
    reserved: i64,
    upstream: u64,
) -> String {
    let record = records.first().cloned().unwrap_or_default();
    let status = received.status.map_or_else(|| text(&line["status"]), |status| status.as_u16().to_string());
    let end = api.describe(streamed, &received.bytes, received.is_broken);
    row([
        name,
        if streamed { "stream" } else { "whole" },
        &status,
        if received.status.is_some() || received.is_broken { &end } else { "-" },
        &text(&line["outcome"]),
        &text(&line["error_class"]),
        &text(&record["attempt"]),
        &upstream.to_string(),
        &text(&record["charged"]),
        if record["estimated"] == 1 { "estimate" } else { "-" },
        &reserved.to_string(),
        &records.len().to_string(),
    ])
}

async fn table(api: Api) -> String {
    let rows = [true, false]
        .into_iter()
        .flat_map(|streamed| endings().into_iter().map(move |ending| (streamed, ending)));
    let rows =
        rows.enumerate().map(|(number, (streamed, ending))| spawn(observe(api, ending, streamed, number)));
    let rows: Vec<_> = futures_util::stream::iter(rows).buffered(PARALLEL).collect().await;
    with_head(rows.into_iter().map(Result::unwrap).collect())
}

fn with_head(rows: Vec<String>) -> String {
    let head = [
        "ending",
        "response",
        "status",
        "end of what the client received",
        "outcome",
        "class",
        "attempt",
        "usage",
        "charged",
        "by",
        "reserved",
        "records",
    ];
    [vec![row(head)], rows].concat().join("\n")
}

async fn hold(name: &str, api: Api) {
    compare(name, &table(api).await);
}

fn compare(name: &str, table: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("endings");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, table));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_end_as_recorded_with_converse() {
    hold("messages_with_converse", Api::Messages("converse")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_end_as_recorded_with_invoke() {
    hold("messages_with_invoke", Api::Messages("invoke")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_completions_end_as_recorded() {
    hold("chat_completions", Api::ChatCompletions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn converse_requests_end_as_recorded() {
    hold("converse", Api::Converse).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invoke_requests_end_as_recorded() {
    hold("invoke", Api::InvokeModel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshed_credentials_serve_every_client_api() {
    let apis = [
        Api::Messages("converse"),
        Api::Messages("invoke"),
        Api::ChatCompletions,
        Api::Converse,
        Api::InvokeModel,
    ];
    let mut rows = Vec::new();
    for api in apis {
        for streamed in [true, false] {
            let row = observe_refreshed_credentials(api, streamed).await;
            rows.push(format!("{:<24}{row}", format!("{api:?}")));
        }
    }
    compare("credentials_refreshed", &rows.join("\n"));
}
