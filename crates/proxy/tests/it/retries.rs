//! Requests that are sent to Bedrock again, and those that are not.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::usage_records::rows;
use crate::harness::{
    TestResponse, TestServer, full, log_line, message_body, post, spawn, test_server, test_server_with,
    wait_for,
};

/// What a relay does with the first bytes of a second request on a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Closes the connection, as a peer whose idle timeout ends at this moment.
    Close,
    /// Resets it.
    Reset,
    /// Sends the beginning of a response, then closes it.
    PartOfAHead,
}

/// A relay in front of the fake of `server` that serves one exchange on each connection. Returns its URL.
async fn relay(fake: std::net::SocketAddr, end: End) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            spawn(relay_connection(client, fake, end));
        }
    });
    url
}

async fn relay_connection(mut client: TcpStream, fake: std::net::SocketAddr, end: End) {
    let mut upstream = TcpStream::connect(fake).await.unwrap();
    let (mut sent, mut received) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut has_responded = false;
    loop {
        tokio::select! {
            read = client.read(&mut sent) => match read {
                Ok(length) if length > 0 && !has_responded => upstream.write_all(&sent[..length]).await.unwrap(),
                Ok(length) if length > 0 => break,
                _ => return,
            },
            read = upstream.read(&mut received) => match read {
                Ok(length) if length > 0 => {
                    has_responded = true;
                    client.write_all(&received[..length]).await.unwrap();
                }
                _ => return,
            },
        }
    }
    match end {
        End::Close => {}
        End::Reset => client.set_zero_linger().unwrap(),
        End::PartOfAHead => client.write_all(b"HTTP/1.1 200 OK\r\ncontent-ty").await.unwrap(),
    }
}

/// A server behind a relay, and the log of the fake behind both.
async fn server_behind_relay(end: End) -> (TestServer, Arc<fake_bedrock::Log>) {
    let fake = fake_bedrock::FakeBedrock::bind(fake_bedrock::Config::default(), ([127, 0, 0, 1], 0).into());
    let fake = fake.await.unwrap();
    let (log, address) = (fake.log(), fake.addr());
    spawn(fake.run());
    let url = relay(address, end).await;
    (test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await, log)
}

async fn send(server: &TestServer, path: &str, body: impl Into<Bytes>) -> TestResponse {
    let request = Request::post(path).header("content-type", "application/json");
    server.fetch(request.body(full(body.into())).unwrap()).await
}

/// The same request by each client API, streamed and whole.
async fn send_everywhere(server: &TestServer) -> Vec<TestResponse> {
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}"#;
    let mut responses = Vec::new();
    for stream in [true, false] {
        responses.push(server.post_message("Hello", stream).await);
        responses.push(send(server, "/v1/chat/completions", message_body("Hello", stream).to_string()).await);
    }
    let invoke = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"messages":[{"role":"user","content":"Hello"}]}"#;
    for (operation, body) in [("converse", converse), ("invoke", invoke)] {
        responses.push(send(server, &format!("/model/claude-sonnet-4-5/{operation}"), body).await);
    }
    responses
}

#[tokio::test]
async fn request_on_a_closed_connection_is_sent_again() {
    for end in [End::Close, End::Reset] {
        let (server, log) = server_behind_relay(end).await;
        let mut sent = 0;
        for _ in 0..5 {
            for response in send_everywhere(&server).await {
                assert_eq!(response.status, 200, "{end:?}: {}", response.body);
                sent += 1;
            }
        }
        let large = message_body(&"many words ".repeat(20_000), true).to_string();
        assert_eq!(server.post(large).await.status, 200, "{end:?}: a large body");
        sent += 1;
        assert_eq!(log.requests().len(), sent, "{end:?}: each reached Bedrock once");
        let stored = wait_for("all usage records", async || {
            let stored = rows(&server).await;
            (stored.len() >= sent).then_some(stored)
        });
        let stored = stored.await;
        assert_eq!(stored.len(), sent, "{end:?}: each is charged once");
        assert!(stored.iter().all(|row| row["estimated"] == json!(false)), "{end:?}: {stored:?}");
    }
}

#[tokio::test]
async fn many_requests_survive_connections_that_close() {
    let (server, log) = server_behind_relay(End::Close).await;
    for _ in 0..10 {
        let responses = join_all((0..20).map(|_| server.post_message("Hello", true))).await;
        let failed = responses.iter().filter(|response| response.status != 200);
        assert_eq!(failed.count(), 0);
    }
    assert_eq!(log.requests().len(), 200);
}

#[tokio::test]
async fn begun_response_is_not_requested_again() {
    let (server, log) = server_behind_relay(End::PartOfAHead).await;
    let statuses = [server.post_message("Hello", true).await, server.post_message("Hello", true).await];
    assert_eq!(statuses.map(|response| response.status.as_u16()), [200, 502]);
    assert_eq!(log.requests().len(), 1, "the second one ended at the relay");
}

#[tokio::test]
async fn first_request_of_a_connection_is_not_repeated() {
    let server = test_server().await;
    assert_eq!(server.post_message("[cut-before]", false).await.error().0, 502);
    assert_eq!(server.bedrock.requests().len(), 1);
}

#[tokio::test]
async fn throttling_does_not_triple_the_load() {
    const REQUESTS: usize = 400;
    let server = test_server().await;
    for first in (0..REQUESTS).step_by(50) {
        let prompts = (first..first + 50).map(|number| format!("[throttle] {number}"));
        let responses = prompts.map(async |prompt| server.post_message(&prompt, true).await.status);
        assert!(join_all(responses).await.iter().all(|status| *status == 429));
    }
    let sent = server.bedrock.requests().len();
    assert_eq!(sent, REQUESTS + 100, "the budget of 500 tokens pays 100 retries of 5 tokens");
    assert_eq!(server.post_message("[throttle-once] first", true).await.status, 429, "nothing is left");
    for _ in 0..5 {
        assert_eq!(server.post_message("Hello", true).await.status, 200);
    }
    assert_eq!(
        server.post_message("[throttle-once] second", true).await.status,
        200,
        "successes pay a retry"
    );
}

/// An upstream that throttles with these headers. Returns its URL and the number of its requests.
async fn throttling(headers: &'static [(&'static str, &'static str)]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            let service = service_fn(move |_: Request<Incoming>| {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut response = Response::builder().status(429);
                for (name, value) in headers {
                    response = response.header(*name, *value);
                }
                let response = response.header("x-amzn-errortype", "ThrottlingException");
                let body = r#"{"message":"Too many requests, please wait before trying again."}"#;
                async move { Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap()) }
            });
            spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, count)
}

#[tokio::test]
async fn retry_after_of_aws_is_passed_on() {
    let (url, count) = throttling(&[("retry-after", "37")]).await;
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    let responses = send_everywhere(&server).await;
    assert_eq!(count.load(Ordering::SeqCst), responses.len(), "nothing is sent again before its time");
    for response in responses {
        assert_eq!(response.status, 429);
        assert_eq!(response.headers["retry-after"], "37", "{}", response.body);
    }
}

#[tokio::test]
async fn short_retry_after_is_waited_for() {
    let (url, count) = throttling(&[("x-amz-retry-after", "300")]).await;
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    let begun = tokio::time::Instant::now();
    let response = server.post_message("Hello", true).await;
    assert_eq!((response.status.as_u16(), count.load(Ordering::SeqCst)), (429, 3));
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!(response.headers["retry-after"], "1");
    assert_eq!(log_line(response.request_id()).await["retries"], 2);
}

#[tokio::test]
async fn silent_tls_peer_is_given_up_in_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let response = server.send(post(message_body("Hello", false).to_string())).await;
    assert_eq!(response.status(), 502);
    let waited = begun.elapsed();
    assert!(
        waited > Duration::from_secs(15) && waited < Duration::from_secs(16),
        "three attempts: {waited:?}"
    );
}
