//! What Bedrock rejects and what can be corrected: each kind by every client API and every upstream API, streamed and not.
//! The fake rejects what AWS rejects.

mod rows;

use http::Request;
use http_body_util::BodyExt;
use rows::{CHAT, MESSAGES, Outcome, Row};
use serde_json::json;

use crate::harness::{TestResponse, TestServer, full, test_server_with};

const ROUTES: [&str; 3] = ["converse", "invoke", "messages"];

async fn send(server: &TestServer, row: &Row, stream: bool) -> TestResponse {
    let mut body = row.body.clone();
    body["stream"] = json!(stream);
    server.fetch(Request::post(row.path).body(full(body.to_string().into())).unwrap()).await
}

/// Sends each row by each upstream API, streamed and not, and returns what went wrong.
async fn failures(rows: &[Row], is_rejected_by_us: impl Fn(&str) -> bool) -> Vec<String> {
    let mut failures = Vec::new();
    for route in ROUTES {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for row in rows {
            for stream in [true, false] {
                let before = server.bedrock.refused();
                let response = send(&server, row, stream).await;
                let refused = server.bedrock.refused() - before;
                let notice = response
                    .headers
                    .get("x-bedrock-proxy-notice")
                    .map_or("", |notice| notice.to_str().unwrap());
                let is_right = match row.outcome {
                    Outcome::Mended => {
                        response.status == 200 && refused == 0 && notice.contains(row.mentions)
                    }
                    Outcome::Rejected(text) => {
                        response.status == 400
                            && response.body.contains(text)
                            && (refused == 0 || !is_rejected_by_us(route))
                    }
                };
                if !is_right {
                    let body: String = response.body.chars().take(300).collect();
                    failures.push(format!(
                        "{} {} {route} stream={stream}: {} refused {refused}, {notice}\n    {body}",
                        row.kind, row.path, response.status
                    ));
                }
            }
        }
    }
    failures
}

async fn check(rows: Vec<Row>) {
    let failures = failures(&rows, |_| true).await;
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn blank_text_loses_no_request() {
    check(rows::blank_text()).await;
}

#[tokio::test]
async fn odd_names_lose_no_request() {
    check(rows::odd_names()).await;
}

#[tokio::test]
async fn blank_ends_of_prefills_lose_no_request() {
    check(rows::prefills()).await;
}

#[tokio::test]
async fn blank_stop_sequences_are_handled_by_client_api() {
    check(rows::stop_sequences()).await;
}

#[tokio::test]
async fn schemas_are_mended_or_rejected_by_tool() {
    check(rows::schemas()).await;
}

#[tokio::test]
async fn invalid_schemas_are_rejected_with_their_place() {
    // Most of them by Bedrock, with its words.
    let failures = failures(&rows::invalid_schemas(), |_| false).await;
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn order_of_conversations_loses_no_request() {
    check(rows::conversations()).await;
}

#[tokio::test]
async fn unpaired_calls_are_rejected_with_their_place() {
    // By the other APIs, Bedrock rejects them with the same words.
    let failures = failures(&rows::unpaired_calls(), |route| route == "converse").await;
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The client reads the names that it sent.
#[tokio::test]
async fn responses_have_the_names_of_the_client() {
    for route in ROUTES {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for row in rows::odd_names() {
            let name = match row.path {
                CHAT => &row.body["tools"][0]["function"]["name"],
                _ => &row.body["tools"][0]["name"],
            };
            for stream in [true, false] {
                let response = send(&server, &row, stream).await;
                let member = format!("\"name\":{name}");
                assert!(response.body.contains(&member), "{} {route} {stream}: {}", row.kind, response.body);
            }
        }
    }
}

/// The same Claude bodies by the Bedrock API, except those whose names need an alias: AWS's response is forwarded.
#[tokio::test]
async fn claude_bodies_of_bedrock_api_are_mended() {
    let server = test_server_with(&[], |_| {}).await;
    let rows = [rows::blank_text(), rows::prefills(), rows::schemas(), rows::conversations()].concat();
    let mut failures = Vec::new();
    for row in rows.iter().filter(|row| row.path == MESSAGES && matches!(row.outcome, Outcome::Mended)) {
        let mut body = row.body.clone();
        let members = body.as_object_mut().unwrap();
        let model = members.remove("model").unwrap();
        members.insert("anthropic_version".to_owned(), json!("bedrock-2023-05-31"));
        for operation in ["invoke", "invoke-with-response-stream"] {
            let before = server.bedrock.refused();
            let path = format!("/model/{}/{operation}", model.as_str().unwrap());
            let request = Request::post(path).body(full(body.to_string().into())).unwrap();
            let response = server.send(request).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let notice = head.headers.get("x-bedrock-proxy-notice");
            let notice = notice.map_or("", |notice| notice.to_str().unwrap());
            let refused = server.bedrock.refused() - before;
            if head.status != 200 || refused != 0 || !notice.contains(row.mentions) {
                failures.push(format!("{} {operation}: {} {notice} {body:?}", row.kind, head.status));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
