//! Errors of AWS and of the proxy, as clients of the Messages API receive them.

use http::{Method, Request};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    SECRET, captured_logs, full, log_line, message_body, spawn, test_server, test_server_with,
};

#[tokio::test]
async fn throttled_request_is_429_after_three_attempts() {
    let server = test_server().await;
    for stream in [true, false] {
        let response = server.post_message(&format!("[throttle] {stream}"), stream).await;
        let (status, kind, _) = response.error();
        assert_eq!((status, kind.as_str()), (429, "rate_limit_error"));
        assert_eq!(response.headers["retry-after"], "10");
        assert_eq!(log_line(response.request_id()).await["retries"], 2);
    }
    assert_eq!(server.bedrock.requests().len(), 6);
}

#[tokio::test]
async fn throttle_in_first_frame_is_an_http_error() {
    let server = test_server().await;
    for stream in [true, false] {
        let response = server.post_message("[throttle-first-frame]", stream).await;
        assert_eq!(response.error().0, 429);
    }
    assert_eq!(server.bedrock.requests().len(), 6, "both were tried three times");
}

#[tokio::test]
async fn a_single_throttle_is_not_noticed() {
    let server = test_server().await;
    let response = server.post_message("[throttle-once]", true).await;
    assert_eq!(response.last(), json!({"type": "message_stop"}));
    let line = log_line(response.request_id()).await;
    assert_eq!((&line["retries"], &line["outcome"]), (&json!(1), &json!("finished")));
}

#[tokio::test]
async fn interrupted_stream_ends_with_one_error_event() {
    let server = test_server().await;
    for prompt in ["[throttle-mid]", "[error-frame]", "[cut]", "[no-stop]"] {
        let response = server.post_message(prompt, true).await;
        assert_eq!(response.status, 200, "{prompt}");
        assert_eq!(response.body.matches("event: error").count(), 1, "{prompt}: {}", response.body);
        assert_eq!(response.last()["type"], "error", "{prompt}");
        assert!(response.body.contains(response.request_id()), "the error names the request");
        assert!(!response.body.contains("message_stop"), "{prompt}");
        assert_eq!(log_line(response.request_id()).await["outcome"], "failed");
    }
    assert_eq!(server.bedrock.requests().len(), 4, "no retry after the client got an event");
}

#[tokio::test]
async fn interrupted_stream_is_a_status_for_json_clients() {
    let server = test_server().await;
    for (prompt, status) in [("[throttle-mid]", 429), ("[cut]", 502), ("[bad-crc]", 502), ("[no-stop]", 502)]
    {
        assert_eq!(server.post_message(prompt, false).await.error().0, status, "{prompt}");
    }
}

#[tokio::test]
async fn invalid_checksum_ends_the_stream_with_an_error() {
    let server = test_server().await;
    let response = server.post_message("[bad-crc]", true).await;
    assert_eq!(response.body.matches("event: error").count(), 1);
    assert!(!response.body.contains("This is never delivered"));
}

#[tokio::test]
async fn closed_connection_without_response_is_502() {
    let server = test_server().await;
    let (status, kind, text) = server.post_message("[cut-before]", true).await.error();
    assert_eq!((status, kind.as_str()), (502, "api_error"));
    assert!(text.contains("closed the connection"), "{text}");
}

#[tokio::test]
async fn unexpected_content_type_is_502_with_its_name() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut requested = Vec::new();
        socket.read_buf(&mut requested).await.unwrap();
        let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
        socket.write_all(page.as_bytes()).await.unwrap();
        let _ = socket.read_buf(&mut requested).await;
    });
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    let (status, _, text) = server.post_message("Hello", true).await.error();
    assert_eq!(status, 502);
    assert!(text.contains("text/html"), "{text}");
}

#[tokio::test]
async fn unreachable_endpoint_is_502_after_three_attempts() {
    // Bound, so that no other test gets the port, and not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    let response = server.post_message("Hello", true).await;
    assert_eq!(response.error().0, 502);
    assert_eq!(log_line(response.request_id()).await["retries"], 2);
}

/// A server that answers once, with `head` and `body`.
async fn one_response(head: &'static str, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut requested = Vec::new();
        socket.read_buf(&mut requested).await.unwrap();
        let response = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(response.as_bytes()).await.unwrap();
        let _ = socket.read_buf(&mut requested).await;
    });
    url
}

#[tokio::test]
async fn unknown_operation_is_404_although_aws_returns_200() {
    let body =
        r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
    let url = one_response("200 OK\r\ncontent-type: application/json", body).await;
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    let response = server.post_message("Hello", true).await;
    let (status, kind, text) = response.error();
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
    assert!(text.ends_with(&format!("[E46 {}]", response.request_id())), "{text}");
}

#[tokio::test]
async fn unresolved_host_is_502_without_its_name() {
    let server = test_server_with(&[("AWS_ENDPOINT_URL", "http://bedrock.invalid")], |_| {}).await;
    let (status, _, text) = server.post_message("Hello", false).await.error();
    assert_eq!(status, 502);
    assert!(text.contains("(DNS)") && text.contains("[E48 ") && !text.contains("bedrock.invalid"), "{text}");
}

#[tokio::test]
async fn host_without_tls_is_502() {
    let url = one_response("400 Bad Request", "").await.replace("http://", "https://");
    let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
    let (status, _, text) = server.post_message("Hello", false).await.error();
    assert_eq!(status, 502);
    assert!(text.contains("The proxy cannot reach Bedrock") && text.contains("[E48 "), "{text}");
}

#[tokio::test]
async fn every_aws_exception_is_mapped_and_logged() {
    let server = test_server().await;
    for (prompt, status, kind, retry_after, should_retry, code) in [
        ("[refuse ModelNotReadyException]", 529, "overloaded_error", None, None, None),
        ("[refuse ModelTimeoutException]", 504, "timeout_error", None, None, None),
        ("[refuse InternalServerException]", 500, "api_error", None, None, None),
        ("[refuse ServiceUnavailableException]", 529, "overloaded_error", None, None, None),
        ("[refuse ModelErrorException 400]", 400, "invalid_request_error", None, None, None),
        ("[refuse ModelErrorException 413]", 413, "request_too_large", None, None, None),
        ("[refuse ModelErrorException 429]", 429, "rate_limit_error", Some("5"), None, None),
        ("[refuse ModelErrorException 529]", 529, "overloaded_error", None, None, None),
        ("[refuse ModelErrorException 500]", 500, "api_error", None, None, None),
        ("[refuse AccessDeniedException]", 403, "permission_error", None, None, Some("E07")),
        ("[refuse ResourceNotFoundException]", 403, "permission_error", None, None, Some("E04")),
        ("[refuse ServiceQuotaExceededException]", 429, "rate_limit_error", None, Some("false"), Some("E16")),
        ("[refuse ExpiredTokenException]", 502, "api_error", None, Some("false"), Some("E17")),
        ("[refuse ValidationException]", 400, "invalid_request_error", None, None, None),
        ("[exception throttlingException]", 429, "rate_limit_error", Some("10"), None, None),
    ] {
        let response = server.post_message(prompt, false).await;
        let header = |name: &str| response.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!((response.error().0, &*response.error().1), (status, kind), "{prompt}");
        assert_eq!(
            (header("retry-after"), header("x-should-retry")),
            (retry_after, should_retry),
            "{prompt}"
        );
        let text = response.error().2;
        let ending = code.map_or_else(String::new, |code| format!("[{code} {}]", response.request_id()));
        assert!(text.ends_with(&ending) && (code.is_some() || !text.contains("[E")), "{prompt}: {text}");
        log_line(response.request_id()).await;
        let all = captured_logs();
        let line = all
            .lines()
            .find(|line| line.contains("Bedrock returned an error") && line.contains(response.request_id()));
        let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        assert!(line["aws_request_id"].is_string() && line["advice"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn invalid_model_id_blames_client_or_operator() {
    let mappings = ("AWS_BEDROCK_MODEL_MAPPINGS", "mine=us.anthropic.claude-nine-v1:0");
    let server = test_server_with(&[mappings], |_| {}).await;
    for (model, status) in [("mine", 403), ("us.anthropic.claude-nine-v1:0", 404)] {
        let mut body = message_body("Hello", false);
        body["model"] = json!(model);
        let (got, _, text) = server.post(body.to_string()).await.error();
        assert_eq!(got, status, "{model}: {text}");
        assert!(text.contains("[E03 "), "{text}");
    }
}

#[tokio::test]
async fn a_bearer_token_is_enough() {
    let bearer = [
        ("AWS_BEDROCK_ACCESS_KEY", ""),
        ("AWS_BEDROCK_SECRET_KEY", ""),
        ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-example"),
    ];
    let server = test_server_with(&bearer, |_| {}).await;
    assert_eq!(server.post_message("Hello", true).await.status, 200);
}

#[tokio::test]
async fn wrong_aws_secret_is_502_without_details() {
    let wrong = "canary/secret/key";
    let server = test_server_with(&[("AWS_BEDROCK_SECRET_KEY", wrong)], |_| {}).await;
    let response = server.post_message("Hello", false).await;
    let (status, kind, _) = response.error();
    assert_eq!((status, kind.as_str()), (502, "api_error"));
    for secret in [wrong, "AKIDEXAMPLE", SECRET] {
        assert!(!response.body.contains(secret), "{}", response.body);
    }
    log_line(response.request_id()).await;
    assert!(!captured_logs().contains(wrong));
}

#[tokio::test]
async fn unknown_path_method_and_model_use_anthropic_errors() {
    let server = test_server().await;
    let paths = ["/nope", "/v1//message", "/V1/Messages", "/v1/messages/x", "/v1/messages%2f..%2fadmin"];
    for path in paths {
        let (status, kind, _) = server.get(path).await.error();
        assert_eq!((status, kind.as_str()), (404, "not_found_error"), "{path}");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = Request::builder().method(method).uri("/v1/messages").body(full("".into())).unwrap();
        assert_eq!(server.fetch(request).await.error().0, 405);
    }
    let mut body = message_body("Hello", true);
    body["model"] = json!("gpt-4o");
    let (status, kind, text) = server.post(body.to_string()).await.error();
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
    assert!(text.contains("AWS_BEDROCK_MODEL_MAPPINGS"));
    for model in ["../../x", "a b", "anthropic.claude\u{0}"] {
        body["model"] = json!(model);
        assert_eq!(server.post(body.to_string()).await.error().0, 400, "{model}");
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn a_wrong_field_is_refused_by_its_path() {
    let server = test_server().await;
    let cases = [
        (r#"{"model":"m""#, ""),
        (r#"{"model":"claude-sonnet-4-5","messages":[{"role":7,"content":"x"}]}"#, "messages.0.role"),
        (r#"{"model":"claude-sonnet-4-5","stream":"true"}"#, "stream"),
        (r#"{"messages":[]}"#, "model"),
        ("\u{feff}{}", ""),
        ("", ""),
    ];
    for (body, path) in cases {
        let (status, kind, text) = server.post(body).await.error();
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"), "{body}");
        assert!(text.starts_with(path), "{body}: {text}");
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn unsupported_field_is_rejected_with_its_path() {
    let server = test_server().await;
    let mut body = message_body("Hello", true);
    body["mcp_servers"] = json!([{"type": "url", "url": "https://example.com", "name": "x"}]);
    let (status, kind, text) = server.post(body.to_string()).await.error();
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(text.starts_with("mcp_servers"), "{text}");
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let server = test_server().await;
    let request = Request::post("/v1/messages").header("content-encoding", "gzip").body(full("x".into()));
    assert_eq!(server.fetch(request.unwrap()).await.error().0, 415);
}

#[tokio::test]
async fn invalid_body_is_rejected_with_its_json_path() {
    let server = test_server().await;
    let says =
        |message: &str| format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{message}]}}"#);
    for (body, place) in [
        ("{\"model\":".to_owned(), ""),
        (r#"{"model":"a","model":"b"}"#.to_owned(), "model: the field is given twice"),
        (r#"{"max_tokens":"many"}"#.to_owned(), "max_tokens: "),
        (r#"{"max_tokens":1e99}"#.to_owned(), "max_tokens: "),
        (r#"{"max_tokens":123456789012345678901234567890}"#.to_owned(), "max_tokens: "),
        (says(r#"{"role":"user","content":"\ud800"}"#), "messages.0.content: "),
        (says(r#"{"role":"user","content":"a","role":"user"}"#), "messages.0.role: the field is given twice"),
        (says(""), "messages: "),
        (says(r#"{"role":"robot","content":"x"}"#), "messages.0.role: "),
        (says(r#"{"role":"user","content":[{"type":"hologram"}]}"#), "messages.0.content.0"),
        (says(r#"{"role":"user","content":[{"text":"x"}]}"#), "messages.0.content.0.type: "),
        (says(r#"{"role":"user","content":[{"type":"text","text":7}]}"#), "messages.0.content.0.text: "),
    ] {
        let (status, kind, text) = server.post(body.clone()).await.error();
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"), "{body}: {text}");
        assert!(text.starts_with(place), "{body}: {text}");
    }
    assert_eq!(server.post_message("Hello", false).await.status, 200, "and the next request is served");
}
