//! Events of megabytes, up to what AWS's SDKs accept in one frame, and beyond.

use std::net::SocketAddr;

use fake_bedrock::FakeBedrock;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::process::Process;
use crate::harness::usage_records::{row, rows};
use crate::harness::{SECRET, TestServer, full, message_body, spawn, test_server_with};

const ROUTES: [&str; 3] = ["converse", "invoke", "messages"];
const MEGABYTE: usize = 1_000_000;

/// A body for one event of `bytes` bytes.
fn body(bytes: usize, stream: bool) -> String {
    let mut body = message_body(&format!("[size {bytes}]"), stream);
    body["model"] = "claude-opus-4-8".into();
    body["max_tokens"] = 4_000.into();
    body.to_string()
}

/// A body of the Bedrock API for the same, with its path.
fn bedrock_call(bytes: usize, operation: &str) -> (String, String) {
    let prompt = format!("[size {bytes}]");
    let body = if operation.starts_with("converse") {
        let content = json!([{"text": prompt}]);
        json!({
            "messages": [{"role": "user", "content": content}], "inferenceConfig": {"maxTokens": 4_000},
        })
    } else {
        json!({
            "anthropic_version": "bedrock-2023-05-31", "max_tokens": 4_000,
            "messages": [{"role": "user", "content": prompt}],
        })
    };
    (format!("/model/us.anthropic.claude-opus-4-8/{operation}"), body.to_string())
}

/// A way to `address` whose responses arrive in pieces of odd sizes. Returns its URL.
async fn pieces_of(address: SocketAddr) -> String {
    const SIZES: [usize; 8] = [1, 2, 3, 1_447, 4_093, 65_537, 7, 9_001];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            near.set_nodelay(true).unwrap();
            let (mut near_read, mut near_write) = near.into_split();
            let (mut far_read, mut far_write) = TcpStream::connect(address).await.unwrap().into_split();
            spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
            spawn(async move {
                let (mut buffer, mut sizes) = (vec![0; 1 << 17], SIZES.into_iter().cycle());
                while let Ok(read @ 1..) = far_read.read(&mut buffer[..sizes.next().unwrap()]).await {
                    if near_write.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// A server whose upstream responds in pieces.
async fn server(route: &str) -> TestServer {
    let fake = FakeBedrock::bind(fake_bedrock::Config::default(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = pieces_of(fake.addr()).await;
    spawn(fake.run());
    test_server_with(&[("AWS_BEDROCK_ROUTE", route), ("AWS_ENDPOINT_URL", &url)], |_| {}).await
}

/// How often the text of the event occurs in a response of any client API.
fn text_bytes(response: &str) -> usize {
    8 * response.matches("abcdefg-").count()
}

#[tokio::test]
async fn large_events_arrive_complete_in_any_pieces() {
    for route in ROUTES {
        let server = server(route).await;
        for bytes in [MEGABYTE, 8 * MEGABYTE] {
            for (path, stream) in [
                ("/v1/messages", true),
                ("/v1/messages", false),
                ("/v1/chat/completions", true),
                ("/v1/chat/completions", false),
            ] {
                let response = server.request("POST", path, &[], body(bytes, stream)).await;
                assert_eq!(response.status, 200, "{route} {path} {stream}: {:.300}", response.body);
                assert_eq!(text_bytes(&response.body), bytes, "{route} {path} {stream}");
                let end = &response.body[response.body.len() - 40..];
                let is_complete = end.contains("message_stop") || end.contains("[DONE]") || !stream;
                assert!(is_complete, "{route} {path}: {end}");
            }
        }
        let charged: Vec<Value> = rows(&server).await;
        assert!(charged.iter().all(|row| row["estimated"] == false), "{charged:?}");
    }
}

/// Calls the Bedrock API of `server` for one event of `bytes` bytes. Returns the number of bytes of the response.
async fn call(server: &TestServer, bytes: usize, operation: &str) -> usize {
    let (path, body) = bedrock_call(bytes, operation);
    let request = Request::post(format!("http://{}{path}", server.address))
        .header("content-type", "application/json")
        .body(full(body.into()));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200, "{operation}");
    response.into_body().collect().await.unwrap().to_bytes().len()
}

#[tokio::test]
async fn bedrock_clients_get_large_events_unchanged() {
    for operation in ["converse-stream", "invoke-with-response-stream"] {
        let server = server("auto").await;
        let length = call(&server, 8 * MEGABYTE, operation).await;
        assert!(length > 8 * MEGABYTE, "{operation}: {length} bytes");
        let row = row(&server).await;
        assert_eq!((&row["estimated"], &row["outcome"]), (&json!(false), &json!("finished")), "{row}");
    }
}

#[tokio::test]
async fn too_large_event_is_an_error_and_charged() {
    for route in ROUTES {
        for (path, stream) in
            [("/v1/messages", true), ("/v1/messages", false), ("/v1/chat/completions", true)]
        {
            let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
            let response = server.request("POST", path, &[], body(30 * MEGABYTE, stream)).await;
            let end = &response.body[response.body.len().saturating_sub(400)..];
            assert_eq!(response.status, if stream { 200 } else { 502 }, "{route} {path}: {end}");
            assert!(end.contains("Bedrock's response cannot be read: a"), "{route} {path}: {end}");
            assert!(!end.contains("message_stop") && !end.contains("[DONE]"), "{route} {path}: {end}");
            let row = row(&server).await;
            assert_eq!((&row["estimated"], &row["output"]), (&json!(true), &json!(4_000)), "{row}");
        }
    }
}

/// The URL of an AWS whose responses begin with an event of more than 24 MiB.
async fn too_large_first_events(content_type: &'static str, start: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            spawn(async move {
                socket.read_buf(&mut Vec::new()).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\r\n");
                let mut written = socket.write_all(&[head.as_bytes(), start].concat()).await;
                let text = "x".repeat(MEGABYTE);
                while written.is_ok() {
                    written = socket.write_all(text.as_bytes()).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn too_large_first_event_is_charged() {
    /// The first bytes of a frame: its size of 30,000,000 bytes, no headers, and the checksum of both.
    const FRAME: &[u8] = b"\x01\xc9\xc3\x80\0\0\0\0\xd6\x97\xd9\x27";
    for route in ROUTES {
        let (content_type, start): (_, &[u8]) = match route {
            "messages" => ("text/event-stream", b"event: message_start\ndata: "),
            _ => ("application/vnd.amazon.eventstream", FRAME),
        };
        let url = too_large_first_events(content_type, start).await;
        for stream in [true, false] {
            let variables = [("AWS_BEDROCK_ROUTE", route), ("AWS_ENDPOINT_URL", url.as_str())];
            let server = test_server_with(&variables, |_| {}).await;
            let response = server.request("POST", "/v1/messages", &[], body(1, stream)).await;
            assert_eq!(response.status, 502, "{route} {stream}: {}", response.body);
            assert!(response.body.contains("Bedrock's response cannot be read: a"), "{}", response.body);
            let row = row(&server).await;
            assert_eq!((&row["output"], &row["estimated"]), (&json!(4_000), &json!(true)), "{route}: {row}");
            assert!(row["input"].as_i64().unwrap() > 0, "{route}: {row}");
        }
    }
}

#[tokio::test]
async fn bedrock_clients_pay_for_too_large_events() {
    for operation in ["converse-stream", "invoke-with-response-stream"] {
        let server = test_server_with(&[], |_| {}).await;
        assert!(call(&server, 30 * MEGABYTE, operation).await > 30 * MEGABYTE, "{operation}");
        let row = row(&server).await;
        assert_eq!(row["estimated"], true, "{operation}: {row}");
        assert!(row["output"].as_i64().unwrap() > 0, "{operation}: {row}");
    }
}

#[tokio::test]
async fn memory_of_large_events_is_bounded() {
    const STREAMS: usize = 4;
    let home = tempfile::tempdir().unwrap();
    let fake = FakeBedrock::bind(fake_bedrock::Config::default(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = fake.url();
    spawn(fake.run());
    for route in ROUTES {
        let process = Process::start(
            home.path(),
            "",
            &[
                ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
                ("AWS_BEDROCK_SECRET_KEY", SECRET),
                ("AWS_ENDPOINT_URL", &url),
                ("AWS_BEDROCK_ROUTE", route),
                ("PORT", "0"),
                ("DATA_DIR", "data"),
            ],
        );
        let client = Client::builder(TokioExecutor::new()).build_http();
        let send = async || {
            let request = Request::post(format!("http://{}/v1/messages", process.address))
                .body(full(body(16 * MEGABYTE, true).into()));
            let response = client.request(request.unwrap()).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes().len()
        };
        send().await;
        let before = process.peak();
        let lengths = join_all((0..STREAMS).map(|_| send())).await;
        assert!(lengths.iter().all(|length| *length > 16 * MEGABYTE), "{route}: {lengths:?}");
        let each = process.peak().saturating_sub(before) / STREAMS as u64 / MEGABYTE as u64;
        assert!(
            each < 100,
            "{route}: {each} MB for each event of 16 MB, {} before",
            before / MEGABYTE as u64
        );
    }
}
