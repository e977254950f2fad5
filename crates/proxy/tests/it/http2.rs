//! HTTP/2 as it should not be: row 14 of `docs/hardening.md`, frame by frame.
//!
//! <https://www.rfc-editor.org/rfc/rfc9113>

use std::time::Duration;

use bedrock_proxy::testing::Config;
use bytes::Bytes;
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::{TestServer, log_line, message_body, spawn, test_server, test_server_with};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header fields, each as a literal that is not indexed. <https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2>
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A question on stream 1, with these fields beside the usual ones. An own `:path` takes the place of the usual one.
fn question(fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut all = vec![(":method", "POST"), (":scheme", "http"), (":authority", "localhost")];
    if !fields.iter().any(|(name, _)| *name == ":path") {
        all.push((":path", "/v1/messages"));
    }
    all.extend(fields.iter().filter(|(name, _)| name.starts_with(':')));
    all.extend(fields.iter().filter(|(name, _)| !name.starts_with(':')));
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(&all)));
    bytes.extend(frame(DATA, END_STREAM, 1, body.as_bytes()));
    bytes
}

/// One frame: its kind, its stream, and its payload; nothing at the end.
async fn read(socket: &mut TcpStream) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    socket.read_exact(&mut payload).await.ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// What the server makes of `bytes`: the status of stream 1, or why it or the connection was broken off.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The first byte of the answer's head: an index into the table of headers that every HTTP/2 has.
    Answered(u8),
    /// The code of the error.
    Reset(u32),
    /// The code of the error.
    Left(u32),
    Closed,
}

const OK: Verdict = Verdict::Answered(0x88);

async fn verdict(server: &TestServer, bytes: &[u8]) -> Verdict {
    let mut socket = server.connect().await;
    let _ = socket.write_all(bytes).await;
    let code = |payload: &[u8]| payload.first_chunk().map(|code| u32::from_be_bytes(*code)).unwrap();
    let reading = async {
        while let Some((kind, stream, payload)) = read(&mut socket).await {
            match kind {
                HEADERS if stream == 1 => return Verdict::Answered(payload[0]),
                RST_STREAM => return Verdict::Reset(code(&payload)),
                GOAWAY => return Verdict::Left(code(&payload[4..])),
                _ => {}
            }
        }
        Verdict::Closed
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the server decides")
}

#[tokio::test]
async fn ambiguous_http2_streams_are_rejected() {
    let server = test_server().await;
    let body = message_body("Hello", false).to_string();
    let length = body.len().to_string();
    assert_eq!(verdict(&server, &question(&[("content-length", &length)], &body)).await, OK);
    assert_eq!(server.bedrock.requests().len(), 1);
    let shorter = (body.len() - 1).to_string();
    let longer = (body.len() + 1).to_string();
    let wrong: [&[(&str, &str)]; 13] = [
        &[("content-length", &shorter)],
        &[("content-length", &longer)],
        &[("content-length", "x")],
        &[("transfer-encoding", "chunked")],
        &[("connection", "close")],
        &[("X-Upper", "1")],
        &[("x-line", "1\r\nx-smuggled: 1")],
        &[("x-nul", "1\0")],
        &[(":path", "/v1/mess ages")],
        &[(":path", "http://elsewhere/v1/messages")],
        &[(":path", "")],
        &[(":path", "/v1/messages"), (":path", "/admin/v1/users")],
        &[(":status", "200")],
    ];
    for wrong in wrong {
        let verdict = verdict(&server, &question(wrong, &body)).await;
        assert_ne!(verdict, OK, "{wrong:?}");
    }
    assert_eq!(server.bedrock.requests().len(), 1, "none of them was sent on");
}

#[tokio::test]
async fn rapid_resets_close_the_connection() {
    let server = test_server().await;
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/v1/messages")];
    let fields = block(&fields);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..20_001).step_by(2) {
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &fields));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    assert_eq!(verdict(&server, &bytes).await, Verdict::Left(ENHANCE_YOUR_CALM));
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn endless_continuation_frames_are_rejected() {
    let server = test_server().await;
    let field = block(&[("x-more", "0123456789012345678901234567890123456789")]).repeat(300);
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    bytes.extend(frame(HEADERS, 0, 1, &field));
    for _ in 0..1000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let verdict = verdict(&server, &bytes).await;
    assert!(matches!(verdict, Verdict::Left(1..) | Verdict::Closed), "{verdict:?}");
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(100_000);
    let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0, 1, &field), &empty].concat();
    let verdict = self::verdict(&server, &bytes).await;
    assert!(matches!(verdict, Verdict::Left(1..) | Verdict::Closed), "{verdict:?}");
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn unread_acknowledgements_close_the_connection() {
    let soon = |config: &mut Config| config.server.write_timeout = Duration::from_millis(100);
    let server = test_server_with(&[], soon).await;
    let mut socket = server.connect().await;
    socket.write_all(PREFACE).await.unwrap();
    let flood = frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(1000);
    let flooding = async { while socket.write_all(&flood).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), flooding).await.expect("the connection is ended");
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn stalled_http2_stream_is_aborted() {
    let soon = |config: &mut Config| config.server.write_timeout = Duration::from_millis(200);
    let server = authenticated_server_with(&[], soon).await;
    let key = token("ana", &json!({}));
    let socket = server.connect().await;
    let (requests, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(socket).await.unwrap();
    let connection = spawn(connection);
    let request = Request::post(format!("http://{}/v1/messages", server.address)).header("x-api-key", key);
    let (response, mut body) =
        requests.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from(message_body("[paced 100 5]", true).to_string()), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let id = response.headers()["request-id"].to_str().unwrap();
    assert_eq!(log_line(id).await["outcome"], "cancelled");
    tokio::time::timeout(Duration::from_secs(5), connection).await.expect("it ends").unwrap().unwrap();
    server.wait_until_idle("ana").await;
}

#[tokio::test]
async fn slow_http2_response_is_not_stalled() {
    let soon = |config: &mut Config| config.server.write_timeout = Duration::from_millis(100);
    let server = test_server_with(&[], soon).await;
    let (requests, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    spawn(connection);
    let request = Request::post(format!("http://{}/v1/messages", server.address)).body(()).unwrap();
    let (response, mut body) = requests.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(Bytes::from(message_body("[pause 400] Hello", true).to_string()), true).unwrap();
    let mut response = response.await.unwrap().into_body();
    let mut text = String::new();
    while let Some(data) = response.data().await {
        let data = data.unwrap();
        response.flow_control().release_capacity(data.len()).unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    assert!(text.contains("message_stop"), "{text}");
}
