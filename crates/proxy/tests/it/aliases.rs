//! Paths of base URLs that clients commonly get wrong.

use http::{Method, Request};
use serde_json::json;

use crate::harness::tokens::{authenticated_server, token};
use crate::harness::{captured_logs, full, log_line, message_body, test_server};

#[tokio::test]
async fn alias_paths_serve_messages() {
    let server = test_server().await;
    let body = message_body("Hello", false).to_string();
    for path in [
        "/messages",
        "/v1/v1/messages",
        "/v1/messages/v1/messages",
        "/v1/messages/messages",
        "/anthropic/v1/messages",
        "/anthropic/messages",
    ] {
        let request = Request::post(format!("{path}?beta=true")).body(full(body.clone().into())).unwrap();
        assert_eq!(server.fetch(request).await.json()["type"], "message", "{path}");
        let counting = Request::post(format!("{path}/count_tokens")).body(full(body.clone().into())).unwrap();
        assert!(server.fetch(counting).await.json()["input_tokens"].is_u64(), "{path}");
        assert_eq!(server.get(path).await.error().0, 405, "{path}");
    }
}

#[tokio::test]
async fn hello_and_models_answer_on_alias_paths() {
    let server = test_server().await;
    for path in ["/v1/api/hello", "/v1/messages/api/hello"] {
        for method in [Method::GET, Method::HEAD] {
            let request = Request::builder().method(method).uri(path).body(full("".into())).unwrap();
            assert_eq!(server.fetch(request).await.status, 200, "{path}");
        }
    }
    let list = server.get("/v1/models").await.body;
    for path in ["/models", "/v1/messages/models", "/openai/v1/models"] {
        assert_eq!(server.get(path).await.body, list, "{path}");
    }
}

#[tokio::test]
async fn paths_of_other_servers_are_404_with_hint() {
    let server = test_server().await;
    for path in ["/api/v1/models", "/api/tags"] {
        let (status, kind, text) = server.get(path).await.error();
        assert_eq!((status, kind.as_str()), (404, "not_found_error"));
        assert!(text.contains("/v1/models"), "{text}");
    }
}

#[tokio::test]
async fn responses_api_is_404_with_alternatives() {
    let server = test_server().await;
    for path in ["/v1/responses", "/responses", "/openai/v1/responses"] {
        let response = server.request("POST", path, &[], r#"{"model":"x","input":"Hello"}"#).await;
        assert_eq!(response.status, 404, "{path}");
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("Responses API is not supported"), "{message}");
        assert!(message.contains("/v1/chat/completions") && message.contains("/v1/messages"), "{message}");
    }
}

#[tokio::test]
async fn nothing_is_guessed_about_other_paths() {
    let server = test_server().await;
    for path in [
        "/v1/v1/v1/messages",
        "/x/messages",
        "/messages/messages",
        "/v2/messages",
        "/bedrock/v1/messages",
        "/anthropic/models",
    ] {
        let request = Request::post(path).body(full("{}".into())).unwrap();
        assert_eq!(server.fetch(request).await.error().0, 404, "{path}");
    }
}

#[tokio::test]
async fn alias_path_is_logged_once() {
    let server = test_server().await;
    let client = "alias-test/1.0";
    for _ in 0..3 {
        let request = Request::get("/models").header("user-agent", client).body(full("".into())).unwrap();
        assert_eq!(server.fetch(request).await.status, 200);
    }
    let log = captured_logs();
    assert_eq!(log.lines().filter(|line| line.contains(client) && line.contains("non-canonical")).count(), 1);
}

#[tokio::test]
async fn extra_slashes_lead_to_the_same_route() {
    let server = authenticated_server().await;
    let token = token("ana", &json!({}));
    let (headers, none) = ([("x-api-key", token.as_str())], &[] as &[_]);
    let body = message_body("Hello", false).to_string();
    let bedrock = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).to_string();
    for (method, path, body) in [
        ("POST", "/v1/messages", body.as_str()),
        ("POST", "/anthropic/v1/messages", &body),
        ("POST", "/v1/messages/count_tokens", &body),
        ("POST", "/v1/chat/completions", &body),
        ("POST", "/model/claude-sonnet-4-5/converse", &bedrock),
        ("POST", "/bedrock/model/claude-sonnet-4-5/converse", &bedrock),
        ("GET", "/v1/models", ""),
        ("GET", "/v1/models/claude-sonnet-4-5", ""),
        ("GET", "/inference-profiles", ""),
        ("GET", "/v1/me", ""),
    ] {
        for path in [format!("/{path}"), format!("{path}/"), format!("//{}//", path.replace('/', "//"))] {
            let response =
                server.request(method, &format!("{path}?beta=true"), &headers, body.to_owned()).await;
            assert_eq!(response.status, 200, "{path}: {}", response.body);
            let unknown = server.request(method, &path, none, body.to_owned()).await;
            assert!([401, 403].contains(&unknown.status.as_u16()), "{path}: {}", unknown.body);
            if method == "POST" {
                assert_eq!(
                    server.request("PUT", &path, &headers, body.to_owned()).await.status,
                    405,
                    "{path}"
                );
            }
        }
    }
    for path in ["//health", "/livez/", "/api//hello"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let response = server.request("POST", "//v1/messages", &headers, body).await;
    let line = log_line(response.request_id()).await;
    assert_eq!((&line["route"], &line["path"]), (&json!("/v1/messages"), &json!("//v1/messages")));
}
