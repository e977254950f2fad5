use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{ask, post, world, world_with};

#[tokio::test]
async fn a_body_above_the_limit_is_a_413_the_sender_gets_to_read() {
    let world = world().await;
    let answer = world.post(vec![b' '; 33 << 20]).await;
    let (status, kind, _) = answer.error();
    assert_eq!((status, kind.as_str()), (413, "request_too_large"));
    assert_eq!(world.ask("Hello", false).await.status, 200);
}

#[tokio::test]
async fn a_body_without_a_length_is_limited_while_it_is_read() {
    let world = world_with(&[("MAX_BODY_BYTES", "4096")], |_| {}).await;
    let pieces = (0..100).map(|_| Ok(Frame::data(Bytes::from(vec![b' '; 1024]))));
    let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
    let answer = world.send(Request::post("/v1/messages").body(body).unwrap()).await;
    assert_eq!(answer.error().0, 413);
}

#[tokio::test]
async fn a_body_in_many_pieces_arrives_whole() {
    let world = world().await;
    let text = ask("Hello", false).to_string();
    let pieces: Vec<_> =
        text.as_bytes().chunks(7).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    let body = BodyExt::boxed(StreamBody::new(stream::iter(pieces)));
    let answer = world.send(Request::post("/v1/messages").body(body).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[tokio::test]
async fn nesting_without_end_is_refused_and_harms_nothing() {
    let world = world().await;
    let depth = 100_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let anywhere = format!(r#"{{"model":"claude-sonnet-4-5","x":{nested},"messages":[]}}"#);
    let in_content =
        format!(r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"user","content":{nested}}}]}}"#);
    for body in [nested.clone(), anywhere, in_content] {
        assert_eq!(world.post(body).await.error().0, 400);
    }
    assert_eq!(world.ask("Hello", false).await.status, 200);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let world = world_with(&[], |config| config.server.body_timeout = Duration::from_millis(50)).await;
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    socket.write_all(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{").await.unwrap();
    let mut answer = Vec::new();
    socket.read_buf(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn malformed_framing_is_refused_before_anything_is_sent_to_bedrock() {
    let world = world().await;
    let heads = [
        "content-length: +5",
        "content-length: -1",
        "content-length: 99999999999999999999",
        "content-length: 5\r\ncontent-length: 6",
        "transfer-encoding: xchunked",
        "bad header: 1",
    ];
    for head in heads {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        let request = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{{}}");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{head}: {}", String::from_utf8_lossy(&answer));
    }
    assert!(world.bedrock.requests().is_empty());
}

#[tokio::test]
async fn a_request_that_does_not_stream_has_a_deadline() {
    let world = world_with(&[], |config| config.relay.request_timeout = Duration::from_millis(100)).await;
    let (status, kind, _) = world.ask("[slow 5000]", false).await.error();
    assert_eq!((status, kind.as_str()), (504, "timeout_error"));
    let response = world.begin(post(ask("[slow 300]", true).to_string())).await;
    assert_eq!(response.status(), 200, "a stream has none");
}
