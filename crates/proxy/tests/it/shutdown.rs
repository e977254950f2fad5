//! Shutdown: drain, abort, and the open requests.

use std::time::Duration;

use bedrock_proxy::testing::{Clock, Drained};
use http_body_util::BodyExt;
use tokio::net::TcpStream;

use crate::harness::{
    log_line, message_body, post, read_response, test_server, test_server_at, test_server_with,
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
    let (responses, ()) = tokio::join!(futures_util::future::join_all(responses), stop);
    for answer in responses {
        assert_eq!(answer.error().0, 529);
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
