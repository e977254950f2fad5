//! The fake in the process of a test: HTTP, streams, log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod harness;

use std::time::Duration;

use aws_smithy_eventstream::frame::read_message_from;
use bytes::Bytes;
use fake_bedrock::Config;
use harness::{SONNET, bytes, events, start, user_message};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn stream_is_served_and_logged() {
    let mut fake = start(Config::default()).await;
    let response = fake.send_text("converse-stream", "hello").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
    let events = events(bytes(response).await);
    let (last, metadata) = events.last().unwrap();
    assert_eq!(last, "metadata");
    assert!(events.iter().all(|(_, payload)| payload["p"].is_string()));

    let logged = fake.log.requests().pop().unwrap();
    assert_eq!(logged.method, "POST");
    assert_eq!(logged.path, format!("/model/{SONNET}/converse-stream"));
    assert_eq!(logged.body, user_message("hello").to_string());
    assert!(logged.headers.contains(&("authorization".into(), "[redacted]".into())));
    assert!(logged.complete);
    assert_eq!(logged.status, 200);
    assert_eq!(logged.usage.output_tokens, metadata["usage"]["outputTokens"].as_u64().unwrap());
    assert_eq!(fake.log.totals(), logged.usage);
}

#[tokio::test]
async fn http_2_is_served() {
    let mut fake = start(Config::default()).await;
    let stream = TcpStream::connect(fake.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    fake.tasks.spawn(async move {
        let _ = connection.await;
    });
    let response =
        sender.send_request(fake.request("converse-stream", &user_message("[long 300]"))).await.unwrap();
    let events = events(bytes(response).await);
    assert_eq!(events.iter().filter(|(kind, _)| kind == "contentBlockDelta").count(), 300);
}

#[tokio::test]
async fn unknown_route_returns_200() {
    let mut fake = start(Config::default()).await;
    let response = fake.send_text("sing", "hello").await.unwrap();
    assert_eq!(response.status(), 200);
    let body: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(body["Output"]["__type"], "com.amazon.coral.service#UnknownOperationException");
}

#[tokio::test]
async fn unauthenticated_request_is_rejected_without_its_body() {
    let mut fake = start(Config::default()).await;
    let mut request = fake.request("converse", &user_message("hello"));
    request.headers_mut().remove("authorization");
    let response = fake.send(request).await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(
        response.headers()["x-amzn-errortype"]
            .to_str()
            .unwrap()
            .starts_with("MissingAuthenticationTokenException:")
    );
    assert!(fake.log.requests()[0].body.is_empty());
}

#[tokio::test]
async fn delay_flushes_the_frames_before_it() {
    let mut fake = start(Config::default()).await;
    let started_at = Instant::now();
    let response = fake.send_text("converse-stream", "[pause 300] [long 40]").await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!events(first).is_empty());
    assert!(started_at.elapsed() < Duration::from_millis(250));
    body.collect().await.unwrap();
    assert!(started_at.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn paced_response_arrives_event_by_event() {
    let mut fake = start(Config::default()).await;
    let response = fake.send_text("converse-stream", "[paced 5 20]").await.unwrap();
    let mut body = response.into_body();
    let mut chunks = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(events(data).len() <= 4);
        chunks += 1;
    }
    assert!(chunks >= 5);
}

#[tokio::test]
async fn abandoned_stream_is_logged_as_incomplete() {
    let mut fake = start(Config::default()).await;
    let response = fake.send_text("converse-stream", "[paced 1000 10]").await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let logged = fake.log.requests().pop().unwrap();
    assert!(!logged.complete);
    assert_eq!(fake.log.totals().output_tokens, 0);
}

#[tokio::test]
async fn cut_drops_the_connection() {
    let mut fake = start(Config::default()).await;
    let response = fake.send_text("converse-stream", "[cut]").await.unwrap();
    let mut body = response.into_body();
    let mut received = Vec::new();
    let error = loop {
        match body.frame().await {
            Some(Ok(frame)) => received.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(error.is_some(), "the stream ended as if nothing had happened");
    let mut rest = Bytes::from(received);
    for _ in 0..3 {
        read_message_from(&mut rest).unwrap();
    }
    assert!(!rest.is_empty(), "half a frame should be left");
    assert!(fake.send_text("converse-stream", "[cut-before]").await.is_err());
}

#[tokio::test]
async fn fixture_is_replayed_verbatim() {
    let directory = std::env::temp_dir().join(format!("fake-bedrock-fixtures-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let script = json!({"match": "replay this", "events": [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "as recorded"}, "contentBlockIndex": 0, "odd": [1]}},
        {"exception": "modelStreamErrorException", "message": "told so", "originalStatusCode": 503},
    ]});
    let counted = json!({"match": "now count", "events": [
        {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 77, "totalTokens": 82}, "metrics": {"latencyMs": 1}}},
    ]});
    std::fs::write(directory.join("two.json"), counted.to_string()).unwrap();
    std::fs::write(directory.join("one.json"), script.to_string()).unwrap();
    let config = Config { fixtures: Some(directory.clone()), ..Config::default() };
    let mut fake = start(config).await;
    std::fs::remove_dir_all(&directory).unwrap();
    let response = fake.send_text("converse-stream", "please replay this").await.unwrap();
    let events = events(bytes(response).await);
    assert_eq!(events[1].1, script["events"][1]["contentBlockDelta"]);
    assert_eq!(events[2].0, "modelStreamErrorException");
    assert_eq!(events[2].1["message"], "told so");
    assert_eq!(events[2].1["originalStatusCode"], 503);
    let full_body = fake.send_text("converse", "please replay this").await.unwrap();
    assert_eq!(full_body.status(), 424);

    fake.send_text("converse-stream", "now count").await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(fake.log.totals().output_tokens, 77);
}

#[tokio::test]
async fn dropping_the_server_closes_its_connections() {
    let mut fake = start(Config::default()).await;
    let mut server = std::mem::take(&mut fake.tasks);
    let response = fake.send_text("converse-stream", "[paced 1000 20]").await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    server.shutdown().await;
    let rest = timeout(Duration::from_secs(2), body.collect()).await.unwrap();
    assert!(rest.is_err(), "the stream should have been broken off");
    assert!(TcpStream::connect(fake.addr).await.is_err());
}

#[tokio::test]
async fn project_header_needs_a_system_defined_profile() {
    const HEADER: &str = "x-amzn-bedrock-projectidentifier";
    let mut fake = start(Config::default()).await;
    let profile = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123";
    let arn = "arn:aws:bedrock:us-east-1:123456789012:project/payments_1";
    for (model, project, status) in [
        (SONNET, "payments", 200),
        (SONNET, arn, 200),
        (SONNET, "default", 200),
        (SONNET, "no spaces", 400),
        (SONNET, "arn:aws:bedrock:us-east-1:123456789012:project/", 400),
        (profile, "default", 200),
        (profile, "payments", 400),
    ] {
        let mut request = fake.post(&format!("/model/{model}/converse"), &user_message("hello"));
        request.headers_mut().insert(HEADER, project.parse().unwrap());
        let response = fake.send(request).await.unwrap();
        assert_eq!(response.status(), status, "{model} {project}");
        let logged = fake.log.requests().pop().unwrap();
        assert!(logged.headers.contains(&(HEADER.into(), project.into())));
    }
}

#[tokio::test]
async fn prompt_too_long_has_every_wording() {
    let mut fake = start(Config::default()).await;
    let mut text = async |model: &str, directive: &str| {
        let request = fake.post(&format!("/model/{model}/converse"), &user_message(directive));
        let response = fake.send(request).await.unwrap();
        assert_eq!(response.status(), 400);
        let body: Value = serde_json::from_slice(&bytes(response).await).unwrap();
        let text = body["message"].as_str().unwrap().to_owned();
        text.trim_start_matches("The model returned the following errors: ").to_owned()
    };
    let claude = "prompt is too long: 206456 tokens > 200000 maximum";
    for (model, directive, expected) in [
        (SONNET, "[too-long]", claude),
        ("us.amazon.nova-pro-v1%3A0", "[too-long]", "Input Tokens Exceeded: Number of input tokens exceeds"),
        (
            "us.meta.llama3-3-70b-instruct-v1%3A0",
            "[too-long]",
            "This model's maximum context length is 200000 tokens.",
        ),
        ("us.amazon.nova-pro-v1%3A0", "[too-long prompt]", claude),
        (
            SONNET,
            "[too-long prompt-and-max-tokens]",
            "input length and `max_tokens` exceed context limit: 206456 + 8192 > 200000",
        ),
        (SONNET, "[too-long input]", "Input is too long."),
        (SONNET, "[too-long input-for-model]", "Input is too long for requested model."),
        (SONNET, "[too-long text-bytes]", "too many total text bytes"),
        (SONNET, "[too-long titan]", "400 Bad Request: Too many input tokens. Max input tokens: 200000"),
        (
            SONNET,
            "[too-long max-length]",
            "Malformed input request: expected maxLength: 200000, actual: 206456",
        ),
    ] {
        let found = text(model, directive).await;
        assert!(found.starts_with(expected), "{model} {directive}: {found}");
    }
}
