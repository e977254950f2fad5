//! A Bedrock whose responses do not end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::usage_records::row;
use crate::harness::{spawn, test_server_with};

/// The URL of a Messages API that writes one block with `delta` again and again.
async fn endless(block: Value, delta: Value) -> String {
    counted_endless(block, delta, Arc::default()).await
}

/// The same, which adds the bytes that it writes to `written`.
async fn counted_endless(block: Value, delta: Value, written: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            spawn(write_endlessly(socket, block.clone(), delta.clone(), Arc::clone(&written)));
        }
    });
    url
}

async fn write_endlessly(mut socket: TcpStream, block: Value, delta: Value, bytes: Arc<AtomicUsize>) {
    let mut request = Vec::new();
    socket.read_buf(&mut request).await.unwrap();
    let event = |name: &str, mut event: Value| {
        event["type"] = name.into();
        format!("event: {name}\ndata: {event}\n\n")
    };
    let usage = json!({"input_tokens": 7, "output_tokens": 1});
    let message = json!({"id": "m", "type": "message", "role": "assistant", "content": [], "usage": usage});
    let begin = event("message_start", json!({"message": message}))
        + &event("content_block_start", json!({"index": 0, "content_block": block}));
    let deltas = event("content_block_delta", json!({"index": 0, "delta": delta})).repeat(16);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut written = socket.write_all((head.to_owned() + &chunk(&begin)).as_bytes()).await;
    let deltas = chunk(&deltas);
    while written.is_ok() {
        written = socket.write_all(deltas.as_bytes()).await;
        bytes.fetch_add(deltas.len(), Ordering::Relaxed);
    }
}

/// The URL of an AWS whose document of Converse does not end.
async fn endless_document() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            spawn(async move {
                let mut request = Vec::new();
                socket.read_buf(&mut request).await.unwrap();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"output\":\"";
                let mut written = socket.write_all(head.as_bytes()).await;
                let text = "x".repeat(1 << 20);
                while written.is_ok() {
                    written = socket.write_all(text.as_bytes()).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn too_large_converse_document_is_charged() {
    let url = endless_document().await;
    for streamed in [false, true] {
        let server = test_server_with(&[("AWS_ENDPOINT_URL", url.as_str())], |_| {}).await;
        let body = json!({
            "model": "meta.llama3-1-70b-instruct-v1:0",
            "max_tokens": 4_000,
            "stream": streamed,
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [{"role": "user", "content": "Hello"}],
        });
        let response = server.request("POST", "/v1/messages", &[], body.to_string()).await;
        assert_eq!(response.status, 502, "{}", response.body);
        let row = row(&server).await;
        assert_eq!((&row["output"], &row["estimated"]), (&json!(4_000), &json!(true)), "{row}");
        assert!(row["input"].as_i64().unwrap() > 0, "{row}");
    }
}

/// A body of both client APIs that is not streamed.
fn body() -> String {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 4_000,
        "messages": [{"role": "user", "content": "Hello"}],
    })
    .to_string()
}

#[tokio::test]
async fn endless_response_is_an_error_and_charged() {
    let long = "word ".repeat(2_000);
    let text = (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": long}));
    let thinking = (
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        json!({"type": "thinking_delta", "thinking": long}),
    );
    let call = (
        json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        json!({"type": "input_json_delta", "partial_json": long}),
    );
    for (block, delta) in [text, thinking, call] {
        for path in ["/v1/messages", "/v1/chat/completions"] {
            let url = endless(block.clone(), delta.clone()).await;
            let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_BEDROCK_ROUTE", "messages")];
            let server = test_server_with(&variables, |config| config.inference.max_detached_reads = 0).await;
            let response = server.request("POST", path, &[], body()).await;
            assert_eq!(response.status, 502, "{path} {block}: {}", response.body);
            assert!(response.body.contains("larger than 32 MiB"), "{}", response.body);
            let row = row(&server).await;
            assert_eq!((&row["input"], &row["output"]), (&json!(7), &json!(4_000)), "{row}");
            assert_eq!(row["estimated"], true, "{row}");
        }
    }
}

/// It is read for 128 MiB behind the 32 MiB of the message. Without a bound it would be read until
/// `detached_read_timeout`.
#[tokio::test]
async fn endless_response_without_a_client_is_given_up() {
    let long = "word ".repeat(20_000);
    let written = Arc::new(AtomicUsize::default());
    let (block, delta) = (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": long}));
    let url = counted_endless(block, delta, Arc::clone(&written)).await;
    let variables = [("AWS_ENDPOINT_URL", url.as_str()), ("AWS_BEDROCK_ROUTE", "messages")];
    let server = test_server_with(&variables, |config| {
        config.inference.detached_read_timeout = Duration::from_secs(86_400);
    })
    .await;
    assert_eq!(server.request("POST", "/v1/messages", &[], body()).await.status, 502);
    let row = row(&server).await;
    assert_eq!((&row["output"], &row["estimated"]), (&json!(4_000), &json!(true)), "{row}");
    // What is in the buffers of the connection comes on top.
    let read = written.load(Ordering::Relaxed) >> 20;
    assert!((150..190).contains(&read), "{read} MiB");
}
