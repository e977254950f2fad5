//! The Bedrock Runtime API for AWS clients.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use protocol::converse::FrameDecoder;
use serde_json::{Value, json};

use crate::harness::{TestServer, full, log_line, test_server, test_server_with};

/// Keys in a strange order and odd spaces: nothing of it may change.
const CONVERSE: &str =
    r#"{ "messages":[{"content":[{"text":"Hello"}],"role":"user"}], "inferenceConfig":{"maxTokens":64} }"#;
const INVOKE: &str = r#"{"max_tokens":64,"anthropic_version":"bedrock-2023-05-31","messages":[{"role":"user","content":"Hello"}]}"#;
const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1";

async fn begin(server: &TestServer, path: &str, body: &str) -> Response<Incoming> {
    let signature = "AWS4-HMAC-SHA256 Credential=AKIDCLIENT/20200101/us-east-1/bedrock/aws4_request, \
                     SignedHeaders=host, Signature=0";
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("x-amzn-bedrock-trace", "DISABLED")
        .header("x-amz-date", "20200101T000000Z")
        .header("x-amz-security-token", "the client's own")
        .header("authorization", signature)
        .header("x-private", "stays here")
        .body(full(Bytes::from(body.to_owned())));
    server.send(request.unwrap()).await
}

async fn json_of(response: Response<Incoming>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

fn header<'a>(response: &'a Response<Incoming>, name: &str) -> &'a str {
    response.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn body_is_forwarded_unchanged_with_our_signature() {
    let server = test_server().await;
    for base in ["", "/bedrock"] {
        let response = begin(&server, &format!("{base}/model/claude-sonnet-4-5/converse"), CONVERSE).await;
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let answer = json_of(response).await;
        assert_eq!(answer["stopReason"], "end_turn", "{answer}");
    }
    for requested in server.bedrock.requests() {
        assert_eq!(requested.body, CONVERSE);
        assert_eq!(requested.path, format!("/model/{SONNET}%3A0/converse"));
        let header = |name: &str| {
            requested.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(header("x-amzn-bedrock-trace"), Some("DISABLED"));
        assert_eq!((header("accept"), header("x-private")), (Some("application/json"), None));
        assert_eq!(header("x-amz-security-token"), None);
        assert_ne!(header("x-amz-date"), Some("20200101T000000Z"));
    }
}

#[tokio::test]
async fn project_header_is_forwarded_and_signed() {
    let server = test_server().await;
    let arn = "arn:aws:bedrock:us-east-1:123456789012:project/payments";
    for (operation, body) in [
        ("converse", CONVERSE),
        ("converse-stream", CONVERSE),
        ("invoke", INVOKE),
        ("invoke-with-response-stream", INVOKE),
    ] {
        let request = Request::post(format!("/model/claude-sonnet-4-5/{operation}"))
            .header("X-Amzn-Bedrock-ProjectIdentifier", arn)
            .body(full(Bytes::from(body)))
            .unwrap();
        // The fake rejects the header where it is not signed.
        let response = server.send(request).await;
        assert_eq!(response.status(), 200, "{operation}");
        let sent = server.bedrock.requests().pop().unwrap();
        assert!(sent.headers.contains(&("x-amzn-bedrock-projectidentifier".to_owned(), arn.to_owned())));
    }
}

#[tokio::test]
async fn ids_are_decoded_once_and_encoded_once() {
    let mapping = format!("my/model={SONNET}:0");
    let variables = [("AWS_BEDROCK_MODEL_MAPPINGS", mapping.as_str())];
    let server = test_server_with(&variables, |_| {}).await;
    let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123";
    for (typed, sent) in [
        (format!("{SONNET}:0"), format!("{SONNET}%3A0")),
        (format!("{SONNET}%3A0"), format!("{SONNET}%3A0")),
        (format!("{SONNET}%3a0"), format!("{SONNET}%3A0")),
        ("my%2Fmodel".to_owned(), format!("{SONNET}%3A0")),
        (arn.to_owned(), arn.to_owned()),
        (format!("arn:aws:bedrock:us-east-1::inference-profile%2F{SONNET}:0"), format!("{SONNET}%3A0")),
    ] {
        let response = begin(&server, &format!("/model/{typed}/invoke"), INVOKE).await;
        assert_eq!(response.status(), 200, "{typed}");
        let requested = server.bedrock.requests().pop().unwrap();
        assert_eq!(requested.path, format!("/model/{sent}/invoke"), "{typed}");
    }
    let twice = begin(&server, &format!("/model/{SONNET}%253A0/invoke"), INVOKE).await;
    assert_eq!(twice.status(), 400, "a second layer of encoding is part of the name");
}

#[tokio::test]
async fn frames_are_forwarded_and_their_cost_is_logged() {
    let server = test_server().await;
    for (operation, body) in [("converse-stream", CONVERSE), ("invoke-with-response-stream", INVOKE)] {
        let response = begin(&server, &format!("/model/claude-sonnet-4-5/{operation}"), body).await;
        assert_eq!(header(&response, "content-type"), "application/vnd.amazon.eventstream");
        let request_id = header(&response, "request-id").to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut decoder = FrameDecoder::default();
        decoder.feed(&bytes);
        let mut frames = 0;
        while decoder.next_frame().unwrap().is_some() {
            frames += 1;
        }
        decoder.finish().unwrap();
        assert!(frames > 3, "{operation}: {frames}");
        let (line, usage) = (log_line(&request_id).await, server.bedrock.requests().pop().unwrap().usage);
        let cost = (line["in_tok"].as_u64(), line["out_tok"].as_u64());
        assert_eq!(cost, (Some(usage.input_tokens), Some(usage.output_tokens)), "{operation}: {line}");
        assert_eq!((&line["stream"], &line["outcome"]), (&json!(true), &json!("finished")));
    }
    let response = begin(&server, "/model/claude-sonnet-4-5/invoke", INVOKE).await;
    let request_id = header(&response, "request-id").to_owned();
    assert!(response.headers().contains_key("x-amzn-bedrock-input-token-count"));
    assert_eq!(json_of(response).await["type"], "message");
    assert!(log_line(&request_id).await["out_tok"].is_u64());
}

#[tokio::test]
async fn tokens_are_counted_for_the_bare_model() {
    let server = test_server().await;
    let body = r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}}}"#;
    let response = begin(&server, "/bedrock/model/claude-sonnet-4-5/count-tokens", body).await;
    assert!(json_of(response).await["inputTokens"].is_u64());
    let path = "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/count-tokens";
    assert_eq!(server.bedrock.requests()[0].path, path);
}

/// A CountTokens question with the body that Claude Code counts in its Bedrock mode.
fn count_of_claude_code() -> String {
    let native = json!({
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["claude-code-20250219"],
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hello there, how are you?"}],
        "metadata": {"user_id": "{\"device_id\":\"d\"}"},
    });
    let native = STANDARD.encode(native.to_string());
    json!({"input": {"invokeModel": {"body": native}}}).to_string()
}

#[tokio::test]
async fn claude_body_is_counted_as_it_is_sent() {
    let server = test_server().await;
    let response =
        begin(&server, "/bedrock/model/claude-sonnet-4-5/count-tokens", &count_of_claude_code()).await;
    let notice = header(&response, "x-bedrock-proxy-notice");
    assert!(notice.contains("user_id") && !notice.contains("estimated"), "{notice}");
    assert!(json_of(response).await["inputTokens"].as_u64().unwrap() > 3);
}

#[tokio::test]
async fn uncountable_body_is_estimated_in_aws_format() {
    let server = test_server().await;
    let converse =
        r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hello there"}]}]}}}"#;
    for body in [count_of_claude_code().as_str(), converse] {
        let response = begin(&server, "/model/us.anthropic.claude-opus-5/count-tokens", body).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "x-bedrock-proxy-notice"), "count_tokens: estimated");
        assert!(json_of(response).await["inputTokens"].as_u64().unwrap() > 3);
    }
    assert!(server.bedrock.requests().is_empty());
    // Of this one only AWS knows.
    for _ in 0..2 {
        let response = begin(&server, "/model/amazon.nova-pro-v1%3A0/count-tokens", converse).await;
        assert_eq!(header(&response, "x-bedrock-proxy-notice"), "count_tokens: estimated");
    }
    assert_eq!(server.bedrock.requests().len(), 1, "it is not asked again");
}

#[tokio::test]
async fn errors_use_aws_format_and_are_not_retried() {
    let server = test_server().await;
    let body = CONVERSE.replace("Hello", "[throttle]");
    let response = begin(&server, "/model/claude-sonnet-4-5/converse", &body).await;
    let request_id = header(&response, "request-id").to_owned();
    assert_eq!(
        (response.status().as_u16(), header(&response, "x-amzn-errortype")),
        (429, "ThrottlingException")
    );
    assert!(json_of(response).await["message"].is_string());
    assert_eq!(server.bedrock.requests().len(), 1);
    let line = log_line(&request_id).await;
    assert_eq!((&line["outcome"], &line["error_type"]), (&json!("failed"), &json!("rate_limit_error")));
    for (id, status, code) in [
        ("gpt-4", 404, "ResourceNotFoundException"),
        ("a%20b", 400, "ValidationException"),
        ("%ff", 400, "ValidationException"),
        ("us.anthropic.claude-opus-99", 400, "ValidationException"),
    ] {
        let response = begin(&server, &format!("/model/{id}/converse"), CONVERSE).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "x-amzn-errortype")),
            (status, code),
            "{id}"
        );
        assert!(json_of(response).await["message"].is_string(), "{id}");
    }
    for path in ["/model/claude-sonnet-4-5/other", "/model/a/b/converse", "/model/converse"] {
        assert_eq!(begin(&server, path, CONVERSE).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn credentials_error_is_hidden_from_aws_clients() {
    let server = test_server_with(&[("AWS_BEDROCK_SECRET_KEY", "wrong")], |_| {}).await;
    let response = begin(&server, "/model/claude-sonnet-4-5/converse", CONVERSE).await;
    let reported = (response.status().as_u16(), header(&response, "x-amzn-errortype"));
    assert_eq!(reported, (500, "InternalServerException"));
}

#[tokio::test]
async fn profiles_come_from_the_catalog() {
    let server = test_server().await;
    for base in ["", "/bedrock"] {
        let list =
            server.get(&format!("{base}/inference-profiles?type=SYSTEM_DEFINED&maxResults=1000")).await;
        let list = list.json();
        let profiles = list["inferenceProfileSummaries"].as_array().unwrap();
        let ids: Vec<_> =
            profiles.iter().map(|profile| profile["inferenceProfileId"].as_str().unwrap()).collect();
        assert!(ids.contains(&format!("{SONNET}:0").as_str()));
        assert!(ids.iter().all(|id| id.starts_with("us.") || id.starts_with("global.")), "{ids:?}");
    }
    let one = server.get(&format!("/inference-profiles/{SONNET}%3A0")).await.json();
    let behind = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(one["models"][0]["modelArn"], behind);
    let missing = server.get("/inference-profiles/us.anthropic.claude-opus-99").await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.headers["x-amzn-errortype"], "ResourceNotFoundException");
    let own = server.get("/inference-profiles?type=APPLICATION").await.json();
    assert_eq!(own, json!({"inferenceProfileSummaries": []}));
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_broken_off() {
    let short = std::time::Duration::from_millis(100);
    let server = test_server_with(&[], |config| config.inference.idle_timeout = short).await;
    let body = CONVERSE.replace("Hello", "[pause 5000] Hello");
    let response = begin(&server, "/model/claude-sonnet-4-5/converse-stream", &body).await;
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn missing_response_is_an_aws_timeout_error() {
    let short = std::time::Duration::from_millis(100);
    let server = test_server_with(&[], |config| config.inference.request_timeout = short).await;
    let body = CONVERSE.replace("Hello", "[slow 5000] Hello");
    let response = begin(&server, "/model/claude-sonnet-4-5/converse", &body).await;
    assert_eq!(header(&response, "x-amzn-errortype"), "ModelTimeoutException");
}

#[tokio::test]
async fn claude_code_bedrock_body_is_normalized() {
    let server = test_server().await;
    let body = json!({
        "anthropic_version": "2026-10-21",
        "anthropic_beta": ["interleaved-thinking-2025-05-14", "thinking-token-count-2026-05-13"],
        "max_tokens": 64,
        "metadata": {"user_id": "{\"device_id\":\"d\"}"},
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let response = begin(&server, "/bedrock/model/claude-sonnet-4-5/invoke", &body.to_string()).await;
    assert_eq!(response.status(), 200, "{}", json_of(response).await);
    let notice = header(&response, "x-bedrock-proxy-notice");
    assert!(notice.contains("metadata.user_id: ") && notice.contains("thinking-token-count"), "{notice}");
    let sent: Value = serde_json::from_slice(&server.bedrock.requests().pop().unwrap().body).unwrap();
    assert_eq!(sent["anthropic_beta"], json!(["interleaved-thinking-2025-05-14"]));
    assert!(sent["metadata"]["user_id"].as_str().unwrap().starts_with("user_"), "{sent}");
    assert_eq!(sent["messages"], body["messages"]);
}

/// What a model rejects is left out of a Claude body, and out of later ones.
#[tokio::test]
async fn unsupported_features_are_left_out_of_bedrock_bodies() {
    let server = test_server().await;
    let tool = json!({"name": "t", "strict": true, "input_schema": {"type": "object", "additionalProperties": false}});
    let format = json!({"type": "json_schema", "schema": {"type": "object", "additionalProperties": false}});
    let features = [
        ("strict", json!({"tools": [tool]})),
        ("output_config.format", json!({"output_config": {"format": format}})),
        ("future_member", json!({"future_member": {"a": 1}})),
    ];
    for (name, members) in features {
        let mut body: Value = serde_json::from_str(INVOKE).unwrap();
        body.as_object_mut().unwrap().append(&mut members.as_object().unwrap().clone());
        let before = server.bedrock.refused();
        for operation in ["invoke", "invoke-with-response-stream", "invoke"] {
            let path = format!("/model/claude-opus-5-5/{operation}");
            let response = begin(&server, &path, &body.to_string()).await;
            assert_eq!(response.status(), 200, "{name} {}", json_of(response).await);
            let notice = header(&response, "x-bedrock-proxy-notice");
            assert!(notice.contains(name), "{notice}");
        }
        assert_eq!(server.bedrock.refused() - before, 1, "{name}: only the first request");
    }
}

#[tokio::test]
async fn only_the_rejected_beta_leaves_bedrock_bodies() {
    let server = test_server().await;
    let mut body: Value = serde_json::from_str(INVOKE).unwrap();
    body["anthropic_beta"] = json!(["interleaved-thinking-2025-05-14", "future-beta-2031-01-01"]);
    for _ in 0..2 {
        let response = begin(&server, "/model/claude-sonnet-4-5/invoke", &body.to_string()).await;
        assert_eq!(response.status(), 200, "{}", json_of(response).await);
        assert!(header(&response, "x-bedrock-proxy-notice").contains("future-beta-2031-01-01"));
        assert_eq!(server.bedrock.refused(), 1, "only the first request");
        let sent: Value = serde_json::from_slice(&server.bedrock.requests().pop().unwrap().body).unwrap();
        assert_eq!(sent["anthropic_beta"], json!(["interleaved-thinking-2025-05-14"]));
    }
}

#[tokio::test]
async fn s3_locations_need_the_operators_permission() {
    let image = json!({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/key.png"}}}});
    let result = json!({"toolResult": {"toolUseId": "t", "content": [image]}});
    let data = json!({"toolUse": {"toolUseId": "t", "name": "f", "input": {"s3Location": 1}}});
    let body =
        |content: &Value| json!({"messages": [{"role": "user", "content": [{"text": "Hello"}, content]}]});
    for allowed in ["false", "true"] {
        let server = test_server_with(&[("AWS_BEDROCK_ENABLE_S3_LOCATIONS", allowed)], |_| {}).await;
        for base in ["", "/bedrock"] {
            for operation in ["converse", "converse-stream", "invoke", "invoke-with-response-stream"] {
                for (content, is_location) in [(&image, true), (&result, true), (&data, false)] {
                    let path = format!("{base}/model/amazon.nova-pro-v1:0/{operation}");
                    let before = server.bedrock.requests().len();
                    let response = begin(&server, &path, &body(content).to_string()).await;
                    let (head, received) = response.into_parts();
                    let received = received.collect().await.unwrap().to_bytes();
                    let received = String::from_utf8_lossy(&received);
                    let is_sent = server.bedrock.requests().len() > before;
                    let is_rejected = received.contains("AWS_BEDROCK_ENABLE_S3_LOCATIONS");
                    assert_eq!(is_rejected, is_location && allowed == "false", "{path}: {received}");
                    assert_eq!(is_sent, !is_rejected, "{path} {content}");
                    if is_rejected {
                        assert_eq!(head.status, 400);
                        assert_eq!(head.headers["x-amzn-errortype"], "ValidationException");
                        assert!(received.contains("messages.0.content.1."), "{received}");
                    }
                }
            }
        }
        let counted = json!({"input": {"converse": body(&image)}}).to_string();
        let response = server.request("POST", "/model/amazon.nova-pro-v1:0/count-tokens", &[], counted).await;
        let is_rejected = response.body.contains("AWS_BEDROCK_ENABLE_S3_LOCATIONS");
        assert_eq!(is_rejected, allowed == "false", "{}", response.body);
    }
}
