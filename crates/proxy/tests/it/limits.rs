//! Limits of one request and of a user's parallel requests.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::raw_http::next;
use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::{message_body, post, read_response, test_server, test_server_with, wait_for};

#[tokio::test]
async fn oversized_body_is_413_the_client_reads() {
    let server = test_server().await;
    let response = server.post(vec![b' '; 33 << 20]).await;
    let (status, kind, _) = response.error();
    assert_eq!((status, kind.as_str()), (413, "request_too_large"));
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn chunked_body_is_limited_while_it_is_read() {
    let server = test_server_with(&[("MAX_BODY_BYTES", "4096")], |_| {}).await;
    let pieces = (0..100).map(|_| Ok(Frame::data(Bytes::from(vec![b' '; 1024]))));
    let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
    let response = server.fetch(Request::post("/v1/messages").body(body).unwrap()).await;
    assert_eq!(response.error().0, 413);
}

#[tokio::test]
async fn a_body_in_many_pieces_arrives_whole() {
    let server = test_server().await;
    let text = message_body("Hello", false).to_string();
    let pieces: Vec<_> =
        text.as_bytes().chunks(7).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
    let response = server.fetch(Request::post("/v1/messages").body(body).unwrap()).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

#[tokio::test]
async fn nesting_without_end_is_refused_and_harms_nothing() {
    let server = test_server().await;
    let depth = 100_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let anywhere = format!(r#"{{"model":"claude-sonnet-4-5","x":{nested},"messages":[]}}"#);
    let in_content =
        format!(r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"user","content":{nested}}}]}}"#);
    for body in [nested.clone(), anywhere, in_content] {
        assert_eq!(server.post(body).await.error().0, 400);
    }
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn missing_body_times_out() {
    let server = test_server_with(&[], |config| config.server.body_timeout = Duration::from_millis(50)).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
        .await
        .unwrap();
    let mut response = Vec::new();
    socket.read_buf(&mut response).await.unwrap();
    assert!(response.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&response));
}

#[tokio::test]
async fn concurrency_limit_counts_each_user_alone() {
    let server = authenticated_server_with(&[("MAX_CONCURRENT_REQUESTS_PER_USER", "2")], |_| {}).await;
    let (ana, bob) = (token("ana", &json!({})), token("bob", &json!({})));
    let stream = |key: &str| {
        let (mut head, body) = post(message_body("[paced 100 20]", true).to_string()).into_parts();
        head.headers.insert("x-api-key", key.parse().unwrap());
        Request::from_parts(head, body)
    };
    let open = [server.send(stream(&ana)).await, server.send(stream(&ana)).await];
    let (status, kind, message) = server.post_as(&ana).await.error();
    assert_eq!((status, kind.as_str()), (429, "rate_limit_error"));
    assert!(message.contains("2 requests open"), "{message}");
    let bedrock =
        server.request("POST", "/model/x/converse", &[("authorization", &format!("Bearer {ana}"))], "").await;
    assert_eq!(
        (bedrock.status.as_u16(), &bedrock.headers["x-amzn-errortype"]),
        (429, &"ThrottlingException".parse().unwrap())
    );
    let unsent = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: {ana}\r\ncontent-length: 99999\r\n\r\n"
    );
    let mut socket = server.connect().await;
    socket.write_all(unsent.as_bytes()).await.unwrap();
    assert_eq!(next(&mut socket, 12).await, "HTTP/1.1 429", "before the body is read");
    assert_eq!(server.post_as(&bob).await.status, 200);
    assert_eq!(
        server.request("GET", "/v1/me", &[("x-api-key", &ana)], "").await.status,
        200,
        "asks no model"
    );
    for response in open {
        assert_eq!(read_response(response).await.events().last(), Some(&"message_stop"));
    }
    wait_for("the places are free again", async || (server.post_as(&ana).await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn unstreamed_request_has_a_timeout() {
    let server =
        test_server_with(&[], |config| config.inference.request_timeout = Duration::from_millis(100)).await;
    let (status, kind, _) = server.post_message("[slow 5000]", false).await.error();
    assert_eq!((status, kind.as_str()), (504, "timeout_error"));
    let response = server.send(post(message_body("[slow 300]", true).to_string())).await;
    assert_eq!(response.status(), 200, "a stream has none");
}
