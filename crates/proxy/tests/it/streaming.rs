//! Streams: pings, timeouts, and clients that leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bedrock_proxy::testing::Config;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::harness::{
    HALF_CLOSE_MARGIN, TestServer, log_line, log_line_with, message_body, post, read_response, spawn,
    test_server, test_server_with,
};

const SHORT: Duration = Duration::from_millis(60);

#[tokio::test]
async fn idle_stream_gets_pings_until_its_end() {
    let server = test_server_with(&[], |config| config.inference.ping_interval = SHORT).await;
    let response = server.post_message("[pause 500] Hello", true).await;
    assert!(response.body.matches("event: ping").count() >= 3, "{}", response.body);
    assert_eq!(response.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn the_head_waits_for_the_first_word() {
    let server = test_server().await;
    let start = Instant::now();
    let response = server.send(post(message_body("[slow 300] Hello", true).to_string())).await;
    assert!(start.elapsed() >= Duration::from_millis(290));
    let answer = read_response(response).await;
    assert_eq!(answer.events().first(), Some(&"message_start"), "no ping was needed");
}

#[tokio::test]
async fn the_head_waits_no_longer_than_its_grace() {
    let server = test_server_with(&[], |config| config.inference.max_head_delay = SHORT).await;
    let start = Instant::now();
    let response = server.send(post(message_body("[slow 2000] Hello", true).to_string())).await;
    assert!(start.elapsed() < Duration::from_millis(1500));
    assert_eq!(response.status(), 200);
    let answer = read_response(response).await;
    assert_eq!(answer.events()[..2], ["ping", "message_start"]);
    assert_eq!(answer.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn error_after_the_head_is_an_event() {
    let server = test_server_with(&[], |config| {
        config.inference.max_head_delay = Duration::ZERO;
    })
    .await;
    let response = server.post_message("[throttle]", true).await;
    assert_eq!((response.status.as_u16(), response.events()), (200, vec!["ping", "error"]));
    assert_eq!(response.last()["error"]["type"], "rate_limit_error");
    assert_eq!(response.last()["request_id"], response.request_id());
    assert_eq!(log_line(response.request_id()).await["outcome"], "failed");
}

#[tokio::test]
async fn bedrock_may_not_be_silent_for_ever() {
    let server = test_server_with(&[], |config| config.inference.idle_timeout = SHORT).await;
    let (status, kind, _) = server.post_message("[slow 5000]", true).await.error();
    assert_eq!((status, kind.as_str()), (504, "timeout_error"));
    let response = server.post_message("[pause 5000] Hello", true).await;
    assert_eq!(response.last()["error"]["type"], "timeout_error");
    assert_eq!(server.post_message("[pause 5000] Hello", false).await.error().0, 504);
}

#[tokio::test]
async fn detached_response_is_read_to_its_end() {
    for (name, stream) in [("claude-gone-streaming", true), ("claude-gone-whole", false)] {
        let (server, line) = abandon(name, "[paced 100 5]", stream, &[], |_| {}).await;
        assert_eq!(line["outcome"], "cancelled", "{line}");
        let requested = &server.bedrock.requests()[0];
        assert!(requested.complete, "the fake played to its end");
        assert!(requested.usage.output_tokens > 50);
        assert_eq!(line["out_tok"], requested.usage.output_tokens, "{line}");
    }
}

#[tokio::test]
async fn detached_reads_beyond_the_maximum_are_dropped() {
    let none = |config: &mut Config| config.inference.max_detached_reads = 0;
    let (server, line) = abandon("claude-gone-crowd", "[paced 2000 5]", true, &[], none).await;
    assert_eq!(line["outcome"], "cancelled", "{line}");
    assert!(!server.bedrock.requests()[0].complete, "the fake could not play to its end");
}

#[tokio::test]
async fn detached_read_has_a_timeout() {
    let soon = |config: &mut Config| config.inference.detached_read_timeout = SHORT;
    let (server, line) = abandon("claude-gone-long", "[paced 2000 5]", true, &[], soon).await;
    assert_eq!(line["outcome"], "cancelled", "{line}");
    assert!(!server.bedrock.requests()[0].complete);
}

/// Sends `prompt`, disconnects once Bedrock has the request, and returns the line of the log.
async fn abandon(
    name: &str,
    prompt: &str,
    stream: bool,
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut Config),
) -> (TestServer, Value) {
    let mapping = format!("{name}=us.anthropic.claude-sonnet-4-5-20250929-v1:0");
    let mut all = vec![("AWS_BEDROCK_MODEL_MAPPINGS", mapping.as_str())];
    all.extend(variables);
    let server = test_server_with(&all, change).await;
    let mut body = message_body(prompt, stream);
    body["model"] = name.into();
    tokio::select! {
        mut response = server.send(post(body.to_string())) => drop(response.body_mut().frame().await),
        () = async {
            server.wait_for_upstream(1).await;
            tokio::time::sleep(HALF_CLOSE_MARGIN).await;
        } => {}
    }
    let line = log_line_with("model_requested", name).await;
    (server, line)
}

#[tokio::test]
async fn a_long_stream_arrives_complete() {
    let server = test_server().await;
    let mut body = message_body("[long 3000]", true);
    body["max_tokens"] = 8192.into();
    let response = server.post(body.to_string()).await;
    assert_eq!(response.body.matches("event: content_block_delta").count(), 3000);
    assert_eq!(response.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn tags_are_never_cut_between_deltas() {
    let split = "<wri\"";
    let response = test_server().await.post_message("[xml]", true).await;
    assert!(!response.body.contains(split), "{}", response.body);
    let raw = test_server_with(&[("AWS_BEDROCK_XML_BUFFER", "false")], |_| {}).await;
    assert!(raw.post_message("[xml]", true).await.body.contains(split));
}

#[tokio::test]
async fn connections_to_bedrock_are_used_again() {
    let behind = test_server().await;
    let (url, connections) = counted(behind.fake_address).await;
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    for _ in 0..5 {
        assert_eq!(server.post_message("Hello", true).await.status, 200);
        assert_eq!(server.post_message("Hello", false).await.status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// A way to `address` that counts the connections made.
async fn counted(address: SocketAddr) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counting.fetch_add(1, Ordering::SeqCst);
            let mut far = TcpStream::connect(address).await.unwrap();
            spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    });
    (url, count)
}

#[tokio::test]
async fn event_of_a_megabyte_arrives_complete() {
    const BYTES: usize = 1_000_000;
    for route in ["converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for stream in [true, false] {
            let mut body = message_body(&format!("[size {BYTES}]"), stream);
            body["model"] = "claude-opus-4-8".into();
            body["max_tokens"] = 128_000.into();
            let response = server.post(body.to_string()).await;
            assert_eq!(response.status, 200, "{route} {stream}: {:.300}", response.body);
            assert!(response.body.len() > BYTES, "{route} {stream}: {} bytes", response.body.len());
            let end = if stream {
                response.events().last() == Some(&"message_stop")
            } else {
                response.json().is_object()
            };
            assert!(end, "{route} {stream}");
        }
    }
}
