use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::world::{ask, log_line, post, spawn, whole, world, world_with};

const SHORT: Duration = Duration::from_millis(60);

#[tokio::test]
async fn silence_is_filled_with_pings_and_none_follows_the_end() {
    let world = world_with(&[], |config| config.relay.ping_interval = SHORT).await;
    let answer = world.ask("[pause 500] Hello", true).await;
    assert!(answer.body.matches("event: ping").count() >= 3, "{}", answer.body);
    assert_eq!(answer.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn the_head_waits_for_the_first_word() {
    let world = world().await;
    let start = Instant::now();
    let response = world.begin(post(ask("[slow 300] Hello", true).to_string())).await;
    assert!(start.elapsed() >= Duration::from_millis(290));
    let answer = whole(response).await;
    assert_eq!(answer.events().first(), Some(&"message_start"), "no ping was needed");
}

#[tokio::test]
async fn the_head_waits_no_longer_than_its_grace() {
    let world = world_with(&[], |config| config.relay.first_frame_grace = SHORT).await;
    let start = Instant::now();
    let response = world.begin(post(ask("[slow 2000] Hello", true).to_string())).await;
    assert!(start.elapsed() < Duration::from_millis(1500));
    assert_eq!(response.status(), 200);
    let answer = whole(response).await;
    assert_eq!(answer.events()[..2], ["ping", "message_start"]);
    assert_eq!(answer.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn a_failure_after_the_grace_is_an_error_event() {
    let world = world_with(&[], |config| {
        config.relay.first_frame_grace = Duration::ZERO;
    })
    .await;
    let answer = world.ask("[throttle]", true).await;
    assert_eq!((answer.status.as_u16(), answer.events()), (200, vec!["ping", "error"]));
    assert_eq!(answer.last()["error"]["type"], "rate_limit_error");
    assert_eq!(answer.last()["request_id"], answer.request_id());
    assert_eq!(log_line(answer.request_id()).await["outcome"], "failed");
}

#[tokio::test]
async fn bedrock_may_not_be_silent_for_ever() {
    let world = world_with(&[], |config| config.relay.idle_timeout = SHORT).await;
    let (status, kind, _) = world.ask("[slow 5000]", true).await.error();
    assert_eq!((status, kind.as_str()), (504, "timeout_error"));
    let answer = world.ask("[pause 5000] Hello", true).await;
    assert_eq!(answer.last()["error"]["type"], "timeout_error");
    assert_eq!(world.ask("[pause 5000] Hello", false).await.error().0, 504);
}

#[tokio::test]
async fn a_client_that_leaves_is_logged_once_as_cancelled_and_bedrock_is_let_go() {
    let world = world().await;
    let mut response = world.begin(post(ask("[paced 2000 5]", true).to_string())).await;
    let request_id = response.headers()["request-id"].to_str().unwrap().to_owned();
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let line = log_line(&request_id).await;
    assert_eq!(line["outcome"], "cancelled", "{line}");
    assert!(!world.bedrock.requests()[0].complete, "the fake could not play to its end");
}

#[tokio::test]
async fn a_long_stream_arrives_complete() {
    let world = world().await;
    let mut body = ask("[long 3000]", true);
    body["max_tokens"] = 8192.into();
    let answer = world.post(body.to_string()).await;
    assert_eq!(answer.body.matches("event: content_block_delta").count(), 3000);
    assert_eq!(answer.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn tags_are_not_cut_unless_the_operator_wants_them_to_be() {
    let split = "<wri\"";
    let answer = world().await.ask("[xml]", true).await;
    assert!(!answer.body.contains(split), "{}", answer.body);
    let raw = world_with(&[("AWS_BEDROCK_XML_BUFFER", "false")], |_| {}).await;
    assert!(raw.ask("[xml]", true).await.body.contains(split));
}

#[tokio::test]
async fn connections_to_bedrock_are_used_again() {
    let behind = world().await;
    let (url, connections) = counted(behind.fake_address).await;
    let world = world_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    for _ in 0..5 {
        assert_eq!(world.ask("Hello", true).await.status, 200);
        assert_eq!(world.ask("Hello", false).await.status, 200);
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
