//! Request ids, client request ids and trace context.

use http::Request;

use crate::harness::{TestResponse, TestServer, full, log_line, message_body, test_server};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

async fn send(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> TestResponse {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.fetch(request.body(full(message_body("Hello", false).to_string().into())).unwrap()).await
}

#[tokio::test]
async fn trace_context_continues_in_response_and_log() {
    let server = test_server().await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let response = send(&server, "/v1/messages", &[("traceparent", &parent)]).await;
    let line = log_line(response.request_id()).await;
    assert_eq!(line["trace_id"], TRACE);
    let span = line["span_id"].as_str().unwrap();
    assert!(span.len() == 16 && span != SPAN, "{line}");
    assert_eq!(response.headers["traceresponse"], format!("00-{TRACE}-{span}-01"));
}

#[tokio::test]
async fn invalid_traceparent_starts_a_new_trace() {
    let server = test_server().await;
    for broken in
        [None, Some(format!("00-{TRACE}-{SPAN}")), Some(format!("00-{TRACE}-{}-01", "0".repeat(16)))]
    {
        let parent = broken.as_deref().map(|parent| ("traceparent", parent));
        let response = send(&server, "/v1/messages", parent.as_slice()).await;
        let line = log_line(response.request_id()).await;
        let trace = line["trace_id"].as_str().unwrap();
        assert!(trace.len() == 32 && trace != TRACE, "{line}");
        assert!(response.headers["traceresponse"].to_str().unwrap().ends_with("-00"));
    }
}

#[tokio::test]
async fn client_ids_and_traces_never_reach_aws() {
    let server = test_server().await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "a=1"), ("x-request-id", "mine")];
    send(&server, "/v1/messages", &headers).await;
    let seen = server.bedrock.requests();
    let names: Vec<_> = seen.iter().flat_map(|request| &request.headers).map(|(name, _)| name).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(!["traceparent", "tracestate", "x-request-id"].contains(&name.as_str()), "{name}");
    }
}

#[tokio::test]
async fn valid_client_request_id_is_returned() {
    let server = test_server().await;
    let longest = "a".repeat(128);
    for path in ["/v1/messages", "/v1/chat/completions", "/nothing-here"] {
        for id in ["build-17.step_2", &longest] {
            let response = send(&server, path, &[("x-request-id", id)]).await;
            assert_eq!(response.headers["x-request-id"], id, "{path}");
            assert!(response.request_id().starts_with("req_"), "{path}");
            assert_eq!(log_line(response.request_id()).await["client_request_id"], id);
        }
        for id in ["", "a b", "<script>", "ä", &format!("{longest}a")] {
            let response = send(&server, path, &[("x-request-id", id)]).await;
            assert_eq!(response.headers["x-request-id"], response.headers["request-id"], "{path} {id}");
            let line = log_line(response.request_id()).await;
            assert!(line.get("client_request_id").is_none(), "{line}");
        }
    }
}

#[tokio::test]
async fn claude_code_request_id_is_only_logged() {
    let server = test_server().await;
    let response = send(&server, "/v1/messages", &[("x-client-request-id", "3f2a")]).await;
    assert_eq!(response.headers["x-request-id"], response.headers["request-id"]);
    assert_eq!(log_line(response.request_id()).await["client_request_id"], "3f2a");
}
