//! Invalid HTTP/1.1: rows 13 and 15 to 19 of `docs/hardening.md`.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::raw_http::{next, read_to_end, status};
use crate::harness::tokens::{authenticated_server, authenticated_server_with, token};
use crate::harness::{TestServer, log_line_with, message_body, test_server, test_server_with};

const HEAD: &str = "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\n";

#[tokio::test]
async fn ambiguous_framing_is_rejected_and_closes_the_connection() {
    let server = test_server().await;
    let wrong = [
        "content-length: +5",
        "content-length: -1",
        "content-length: 5, 6",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length: 18446744073709551616",
        "content-length: 5\r\ncontent-length: 6",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding: identity",
        "transfer-encoding : chunked",
        "x-a: 1\r\n folded: 2",
        "x-a: 1\0",
        "x a: 1",
        ": 1",
    ];
    for wrong in wrong {
        let response = server.send_raw(format!("{HEAD}{wrong}\r\n\r\n{{}}")).await;
        assert_eq!(status(&response), "400", "{wrong:?}: {response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{wrong:?}: {response}");
    }
    let old =
        server.send_raw("POST /v1/messages HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert_eq!(status(&old), "400", "{old}");
    for chunk in
        ["x\r\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n", "fffffffffffffffff\r\n{}", "2\r\n{}0\r\n\r\n"]
    {
        let response = server.send_raw(format!("{HEAD}transfer-encoding: chunked\r\n\r\n{chunk}")).await;
        assert_eq!(status(&response), "400", "{chunk:?}: {response}");
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn chunked_encoding_overrides_content_length() {
    let server = test_server().await;
    let body = message_body("Hello", false).to_string();
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let orders = [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
    ];
    for order in orders {
        let response = server.send_raw(format!("{HEAD}{order}\r\n\r\n{chunks}{smuggled}")).await;
        assert_eq!((status(&response), response.matches("HTTP/1.1").count()), ("200", 1), "{response}");
    }
    let requested = server.bedrock.requests();
    assert_eq!(requested.len(), 2);
    for request in requested {
        let lengths = request.headers.iter().filter(|(name, _)| name == "content-length").count();
        let chunked = request.headers.iter().any(|(name, _)| name == "transfer-encoding");
        assert!(lengths == 1 && !chunked, "the length is our own: {:?}", request.headers);
    }
}

#[tokio::test]
async fn oversized_request_heads_are_rejected() {
    let server = test_server().await;
    let many: String = (0..1000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "x".repeat(64 << 10));
    for headers in [many, long] {
        assert_eq!(status(&server.send_raw(format!("{HEAD}{headers}\r\n")).await), "431");
    }
    let path = "x".repeat(70_000);
    let response = server.send_raw(format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    assert!(["414", "431"].contains(&status(&response)), "{response}");
    let path = "x".repeat(32 << 10);
    let response = server
        .send_raw(format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
        .await;
    assert_eq!(status(&response), "404");
}

#[tokio::test]
async fn request_needs_exactly_one_host() {
    let server = test_server().await;
    for hosts in ["", "host: a\r\nhost: a\r\n", "host: a\r\nhost: b\r\n"] {
        let head = format!("GET /v1/models HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let response = server.send_raw(head).await;
        assert!(status(&response) == "400" && response.contains("Host headers"), "{hosts:?}: {response}");
    }
    let old = server.send_raw("GET /v1/models HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&old), "200", "HTTP/1.0 had none: {old}");
}

#[tokio::test]
async fn connection_without_a_request_times_out() {
    let soon = |config: &mut bedrock_proxy::testing::Config| {
        config.server.header_timeout = Duration::from_millis(100);
    };
    let server = test_server_with(&[], soon).await;
    for beginning in ["", "GET /v1/models HTTP/1.1\r\nhos", "PRI * HTTP/2.0\r\n"] {
        assert_eq!(server.send_raw(beginning).await, "", "{beginning:?}");
    }
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn announced_body_that_never_arrives_times_out() {
    let soon = |config: &mut bedrock_proxy::testing::Config| {
        config.server.body_timeout = Duration::from_millis(100);
    };
    let server = authenticated_server_with(&[], soon).await;
    let expects = format!("{HEAD}expect: 100-continue\r\ncontent-length: 10\r\n");
    let unknown = server.send_raw(format!("{expects}\r\n")).await;
    assert_eq!(status(&unknown), "401", "no 100 Continue without a valid token: {unknown}");
    let key = token("ana", &json!({}));
    let known = server.send_raw(format!("{expects}x-api-key: {key}\r\n\r\n")).await;
    assert!(known.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408"), "{known}");
    server.wait_until_idle("ana").await;
}

#[tokio::test]
async fn bytes_after_a_body_are_another_request() {
    let server = test_server().await;
    let body = message_body("Hello", false).to_string();
    let longer = format!("{HEAD}content-length: {}\r\n\r\n{body}more than was announced\r\n\r\n", body.len());
    let response = server.send_raw(longer).await;
    let statuses: Vec<_> = response.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "400"], "{response}");
    assert_eq!(server.bedrock.requests().len(), 1);
}

#[tokio::test]
async fn client_gone_at_any_byte_leaves_nothing_reserved() {
    let server = authenticated_server().await;
    let body = message_body("Hello", true).to_string();
    let key = token("ana", &json!({}));
    let whole = format!("{HEAD}x-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for end in 0..whole.len() {
        let mut socket = server.connect().await;
        socket.write_all(&whole.as_bytes()[..end]).await.unwrap();
    }
    server.wait_until_idle("ana").await;
    assert!(server.bedrock.requests().is_empty(), "no request was whole");
    assert_eq!(server.post_as(&key).await.status, 200);
}

#[tokio::test]
async fn compressed_bodies_are_rejected_without_decompression() {
    let server = test_server().await;
    for encoding in
        ["gzip", "x-gzip", "br", "zstd", "deflate", "compress", "gzip, identity", "identity, gzip"]
    {
        let response = server.request("POST", "/v1/messages", &[("content-encoding", encoding)], "x").await;
        assert_eq!(response.error().0, 415, "{encoding}");
    }
    let body = message_body("Hello", false).to_string();
    let response = server.request("POST", "/v1/messages", &[("content-encoding", "identity")], body).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

#[tokio::test]
async fn no_path_spelling_bypasses_admin_authorization() {
    let server = authenticated_server().await;
    let paths = [
        "/v1/messages%2f..%2fadmin%2fv1%2fusers",
        "/v1/messages/../../admin/v1/users",
        "/v1/./admin/v1/users",
        "/../admin/v1/users",
        "/%61dmin/v1/users",
        "/ADMIN/v1/users",
        "//admin/v1/users",
        "/admin//v1/users",
        "/admin/v1/users%00",
        "/admin/v1/users;a=b",
        "/bedrock/admin/v1/users",
        "/v1/messages;a=b",
        "/V1/Messages",
        "/v1/messages%00",
        "/admin/v1/users/",
        "//metrics",
        "/metrics/",
    ];
    let bearer = |scope: &str| token("eve", &json!({"scope": scope}));
    for path in paths {
        let send_as = async |line: &str, key: &str| {
            let head = format!(
                "{line} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
            );
            server.send_raw(head).await
        };
        for method in [Method::GET, Method::POST] {
            let line = format!("{method} {path}");
            let unknown = send_as(&line, "none").await;
            assert_eq!(status(&unknown), "401", "{line}: {unknown}");
            let user = send_as(&line, &bearer("inference")).await;
            let operators = if path.starts_with("/admin/") { "403" } else { "404" };
            assert!([operators, "405"].contains(&status(&user)), "{line}: {user}");
            let operator = send_as(&line, &bearer("admin")).await;
            assert!(
                ["403", "404"].contains(&status(&operator)),
                "only the exact path will do: {line}: {operator}"
            );
        }
    }
    let absolute = format!(
        "GET http://elsewhere/admin/v1/users HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\nconnection: close\r\n\r\n",
        bearer("inference")
    );
    assert_eq!(status(&server.send_raw(absolute).await), "403");
}

#[tokio::test]
async fn a_connection_is_used_again_after_each_refusal() {
    let server = authenticated_server().await;
    let key = token("ana", &json!({}));
    let mut socket = server.connect().await;
    for (key, expected) in [("none", "401"), (key.as_str(), "200"), ("none", "401"), (key.as_str(), "200")] {
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(next(&mut socket, 12).await, format!("HTTP/1.1 {expected}"));
        let mut response = String::new();
        while !response.ends_with("\r\n\r\n") {
            response.push_str(&next(&mut socket, 1).await);
        }
        let length = response.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        next(&mut socket, length.parse().unwrap()).await;
    }
    socket.write_all(b"x\r\n\r\n").await.unwrap();
    assert_eq!(status(&read_to_end(&mut socket).await), "400");
}

/// Sends a request whose id in the log is `id`, and closes the client's side of the connection behind it.
async fn send_half_closed(server: &TestServer, path: &str, id: &str, body: &str) -> TcpStream {
    let mut socket = server.connect().await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    socket
}

#[tokio::test]
async fn half_closed_connection_gets_its_response() {
    let server = test_server().await;
    let messages = |stream| message_body("[slow 200] Hello", stream).to_string();
    let converse =
        json!({"messages": [{"role": "user", "content": [{"text": "[slow 200] Hello"}]}]}).to_string();
    for (number, (path, body, end)) in [
        ("/v1/messages", messages(false), "\"stop_reason\":\"end_turn\""),
        ("/v1/messages", messages(true), "event: message_stop"),
        ("/v1/chat/completions", messages(false), "\"finish_reason\":\"stop\""),
        ("/v1/chat/completions", messages(true), "data: [DONE]"),
        ("/model/claude-sonnet-4-5/converse", converse.clone(), "\"stopReason\""),
        ("/model/claude-sonnet-4-5/converse-stream", converse, "messageStop"),
        ("/v1/messages", "{".to_owned(), "invalid_request_error"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("half-closed-{number}");
        let mut socket = send_half_closed(&server, path, &id, &body).await;
        let response = read_to_end(&mut socket).await;
        assert!(response.contains(end), "{path}: {response}");
        let outcome = if body == "{" { "failed" } else { "finished" };
        assert_eq!(log_line_with("client_request_id", &id).await["outcome"], outcome, "{path}");
    }
    server.wait_until_idle("anonymous").await;
}

#[tokio::test]
async fn half_closed_client_that_leaves_is_noticed() {
    let server = test_server().await;
    for (id, prompt, stream) in [
        ("left-before", "[slow 300] [paced 500 50]", true),
        ("left-later", "[paced 500 50]", true),
        ("reset-stream", "[slow 1500] Hello", true),
        ("reset-whole", "[slow 1500] Hello", false),
    ] {
        let before = server.bedrock.requests().len();
        let body = message_body(prompt, stream).to_string();
        let mut socket = send_half_closed(&server, "/v1/messages", id, &body).await;
        server.wait_for_upstream(before + 1).await;
        if id == "left-later" {
            next(&mut socket, 200).await;
        }
        if id.starts_with("reset") {
            // As the system does for a client that is killed with unread bytes.
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(socket);
        let line = log_line_with("client_request_id", id).await;
        // A response that was reset before its head has no status.
        let noticed =
            if id.starts_with("reset") { line["status"].is_null() } else { line["outcome"] == "cancelled" };
        assert!(noticed, "{line}");
    }
}

#[tokio::test]
async fn truncated_request_is_not_half_closed() {
    let server = test_server().await;
    let mut socket = server.connect().await;
    socket
        .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
        .await
        .unwrap();
    socket.shutdown().await.unwrap();
    let response = read_to_end(&mut socket).await;
    assert!(response.is_empty() || status(&response) == "400", "{response}");
    assert!(server.bedrock.requests().is_empty());
}
