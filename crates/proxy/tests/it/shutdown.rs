//! Shutdown: drain, abort, and the open requests.

use std::time::Duration;

use bedrock_proxy::testing::{Clock, Drained};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::tokens::{authenticated_server, token};
use crate::harness::usage_records::rows;
use crate::harness::{
    TestServer, log_line, message_body, post, read_response, spawn, test_server, test_server_at,
    test_server_with,
};

#[tokio::test]
async fn drain_finishes_streams_and_stops_accepting() {
    let mut server = test_server().await;
    let response = server.send(post(message_body("[paced 50 10]", true).to_string())).await;
    server.stop.notify_one();
    let answer = read_response(response).await;
    assert_eq!(answer.events().last(), Some(&"message_stop"));
    let drained = tokio::time::timeout(Duration::from_secs(10), &mut server.task).await;
    assert_eq!(drained.unwrap().unwrap(), Drained::Clean);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn stream_beyond_the_drain_gets_an_error() {
    let mut server =
        test_server_with(&[], |config| config.server.shutdown_grace = Duration::from_millis(50)).await;
    let response = server.send(post(message_body("[paced 2000 10]", true).to_string())).await;
    server.stop.notify_one();
    let answer = read_response(response).await;
    assert_eq!(answer.last()["error"]["type"], "overloaded_error", "{}", answer.body);
    assert!(matches!((&mut server.task).await.unwrap(), Drained::Aborted(1..)));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let mut server = test_server().await;
    let mut response = server.send(post(message_body("[paced 2000 10]", true).to_string())).await;
    response.body_mut().frame().await.unwrap().unwrap();
    server.stop.notify_one();
    server.force_shutdown.notify_one();
    let drained = tokio::time::timeout(Duration::from_secs(5), &mut server.task).await;
    assert!(matches!(drained.unwrap().unwrap(), Drained::Aborted(1..)));
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let server =
        test_server_with(&[], |config| config.server.write_timeout = Duration::from_millis(100)).await;
    let mut body = message_body("[long 60000]", true);
    body["max_tokens"] = 64_000.into();
    let response = server.send(post(body.to_string())).await;
    let request_id = response.headers()["request-id"].to_str().unwrap().to_owned();
    assert_eq!(log_line(&request_id).await["outcome"], "cancelled");
    drop(response);
}

#[tokio::test]
async fn request_beyond_the_drain_gets_529() {
    let server =
        test_server_with(&[], |config| config.server.shutdown_grace = Duration::from_millis(50)).await;
    let prompts = [("[slow 5000]", false), ("[slow 5000]", true)];
    let responses = prompts.map(|(prompt, stream)| server.post_message(prompt, stream));
    let stop = async {
        server.wait_for_upstream(2).await;
        server.stop.notify_one();
    };
    let (responses, ()) = tokio::join!(join_all(responses), stop);
    for response in responses {
        assert_eq!(response.error().0, 529);
    }
}

#[tokio::test]
async fn a_clock_that_jumps_ends_no_stream() {
    let clock = Clock::manual(Clock::machine().now());
    let server = test_server_at(clock.clone(), &[], |_| {}).await;
    let response = server.send(post(message_body("[paced 30 10]", true).to_string())).await;
    clock.advance(Duration::from_secs(400 * 86_400));
    assert_eq!(read_response(response).await.events().last(), Some(&"message_stop"));
}

const STREAMS: usize = 20;

fn open_stream() -> String {
    message_body("[pause 700] [long 60]", true).to_string()
}

/// Streams on connections of HTTP/1.1, whose heads have arrived.
async fn http1_streams(server: &TestServer, key: &str) -> Vec<TcpStream> {
    let body = open_stream();
    let head = format!("POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let open = (0..STREAMS).map(async |_| {
        let mut socket = server.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.read_u8().await.unwrap();
        socket
    });
    join_all(open).await
}

/// As many streams on one connection of HTTP/2, through a relay that ends when its end of the pipe is dropped.
async fn http2_streams(server: &TestServer, key: &str) -> tokio::io::DuplexStream {
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let (mut relayed, mut socket) = (near, server.connect().await);
    let (stop, stopped) = tokio::io::duplex(1);
    let mut stopped = stopped;
    spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut relayed, &mut socket) => {}
            _ = stopped.read_u8() => {}
        }
        socket.set_zero_linger().unwrap();
    });
    let _ = far.flush().await;
    let (sender, connection) = h2::client::handshake(far).await.unwrap();
    spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    for _ in 0..STREAMS {
        let request =
            Request::post(format!("http://{}/v1/messages", server.address)).header("x-api-key", key);
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from(open_stream()), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        std::mem::forget(response);
    }
    stop
}

/// All streams of a server whose clients reset their connections during the drain.
async fn drain_after_resets(is_http2: bool) {
    let mut server = authenticated_server().await;
    let key = token("ana", &json!({}));
    if is_http2 {
        let stop = http2_streams(&server, &key).await;
        server.stop.notify_one();
        drop(stop);
    } else {
        let sockets = http1_streams(&server, &key).await;
        server.stop.notify_one();
        sockets.iter().for_each(|socket| socket.set_zero_linger().unwrap());
    }
    let drained = tokio::time::timeout(Duration::from_secs(20), &mut server.task).await;
    assert_eq!(drained.unwrap().unwrap(), Drained::Clean);
    let stored = rows(&server).await;
    assert_eq!(stored.len(), STREAMS, "HTTP/2: {is_http2}: every stream is settled before the process ends");
    assert!(stored.iter().all(|row| row["estimated"] == json!(false)), "HTTP/2: {is_http2}: {stored:?}");
}

#[tokio::test]
async fn drain_settles_http1_streams_that_are_reset() {
    drain_after_resets(false).await;
}

#[tokio::test]
async fn drain_settles_http2_streams_that_are_reset() {
    drain_after_resets(true).await;
}
