//! Usage records of requests, in the database.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;

use crate::harness::tokens::{authenticated_server, token};
use crate::harness::usage_records::{row, rows};
use crate::harness::{full, message_body, post, test_server, test_server_with, wait_for};

#[tokio::test]
async fn chat_usage_record_includes_cache_tokens() {
    let server = test_server().await;
    let prompt = "You are careful and kind. ".repeat(800);
    let body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": "Hello"}]});
    let send = || {
        let request = Request::post("/v1/chat/completions").body(full(body.to_string().into()));
        server.fetch(request.unwrap())
    };
    let first = send().await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let written = row(&server).await["write"].as_i64().unwrap();
    let second = send().await;
    let find = async |id: &str| {
        wait_for(id, async || rows(&server).await.into_iter().find(|row| row["request_id"] == id)).await
    };
    let (before, after) = (find(first.request_id()).await, find(second.request_id()).await);
    assert!(
        written > 0 && after["read"].as_i64() >= Some(written) && after["write"] == 0,
        "{before} {after}"
    );
    assert!(after["cost"].as_i64() < before["cost"].as_i64(), "{before} {after}");
    assert_eq!(after["outcome"], "finished");
}

#[tokio::test]
async fn every_response_leaves_one_usage_record() {
    for (prompt, stream, route) in [
        ("Hello", true, "converse"),
        ("Hello", false, "converse"),
        ("Hello", true, "invoke"),
        ("Hello", true, "messages"),
    ] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let response = server.post_message(prompt, stream).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.body);
        let (row, truth) = (row(&server).await, server.bedrock.totals());
        let counted = json!([truth.input_tokens, truth.output_tokens]);
        assert_eq!(json!([row["input"], row["output"]]), counted, "{route} {stream}: {row}");
        assert_eq!(row["charged"], json!(truth.input_tokens + truth.output_tokens));
        // Sonnet 4.5 by its us. profile: 3.30 and 16.50 dollars a million.
        let cost = truth.input_tokens * 3300 + truth.output_tokens * 16_500;
        assert_eq!(row["cost"], json!(cost), "{row}");
        assert!((row["total_cost"].as_f64().unwrap() * 1e9 - cost as f64).abs() < 0.5, "{row}");
        let facts =
            json!([row["user"], row["route"], row["status"], row["outcome"], row["stop"], row["estimated"]]);
        assert_eq!(facts, json!(["anonymous", route, 200, "finished", "end_turn", false]));
        assert_eq!(row["model"], "anthropic.claude-sonnet-4-5-20250929-v1:0");
        assert_eq!(row["request_id"], response.request_id());
    }
}

#[tokio::test]
async fn disconnected_client_pays_for_the_whole_response() {
    let server = test_server().await;
    let mut response = server.send(post(message_body("[paced 60 5]", true).to_string())).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let row = row(&server).await;
    assert_eq!(row["output"], json!(server.bedrock.totals().output_tokens));
    assert_eq!(json!([row["outcome"], row["estimated"]]), json!(["cancelled", false]));
}

#[tokio::test]
async fn refused_detached_read_charges_the_worst_case() {
    let server = test_server_with(&[], |config| config.inference.max_detached_reads = 0).await;
    let mut response = server.send(post(message_body("[paced 2000 5]", true).to_string())).await;
    response.body_mut().frame().await.unwrap().unwrap();
    drop(response);
    let row = row(&server).await;
    assert_eq!(json!([row["output"], row["outcome"], row["estimated"]]), json!([256, "cancelled", true]));
    assert!(row["input"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn broken_response_charges_at_least_delivered_tokens() {
    for route in ["converse", "invoke"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let response = server.post_message("[cut]", true).await;
        assert_eq!(response.events().last(), Some(&"error"));
        let row = row(&server).await;
        assert_eq!(json!([row["outcome"], row["estimated"]]), json!(["failed", true]), "{row}");
        assert!(row["output"].as_u64().unwrap() > 0 && row["input"].as_u64().unwrap() > 0, "{row}");
    }
}

#[tokio::test]
async fn response_without_usage_is_charged_an_estimate() {
    let server = test_server().await;
    server.post_message("[no-metadata]", true).await;
    let row = row(&server).await;
    assert_eq!(row["estimated"], true, "{row}");
    let counts = ["input", "output", "cost", "charged"].map(|name| row[name].as_u64().unwrap());
    assert!(counts.iter().all(|count| *count > 0), "{row}");
}

#[tokio::test]
async fn rejected_requests_are_free() {
    for prompt in ["[throttle]", "[throttle-first-frame]"] {
        let server = test_server().await;
        assert_eq!(server.post_message(prompt, true).await.status, StatusCode::TOO_MANY_REQUESTS);
        let row = row(&server).await;
        let facts = json!([row["status"], row["outcome"], row["charged"], row["cost"], row["estimated"]]);
        assert_eq!(facts, json!([429, "failed", 0, 0, false]), "{prompt}: {row}");
        assert!(row["attempt"].as_i64().unwrap() > 1, "{prompt}: it was tried again");
    }
}

#[tokio::test]
async fn unsent_request_leaves_no_usage_record() {
    let server = test_server().await;
    assert_eq!(server.post("{").await.status, StatusCode::BAD_REQUEST);
    server.post_message("Hello", false).await;
    row(&server).await;
}

#[tokio::test]
async fn bedrock_clients_are_charged_by_upstream_usage() {
    let model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let messages = json!([{"role": "user", "content": "[paced 60 5]"}]);
    let invoke = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 256, "messages": messages});
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "[paced 60 5]"}]}]});
    for (operation, body, disconnect) in [
        ("invoke", &invoke, false),
        ("invoke-with-response-stream", &invoke, false),
        ("invoke-with-response-stream", &invoke, true),
        ("converse", &converse, false),
        ("converse-stream", &converse, false),
        ("converse-stream", &converse, true),
    ] {
        let server = test_server().await;
        let path = format!("/model/{}/{operation}", model.replace(':', "%3A"));
        let request = Request::post(&path).body(full(body.to_string().into())).unwrap();
        let mut response = server.send(request).await;
        if disconnect {
            response.body_mut().frame().await.unwrap().unwrap();
            drop(response);
        } else {
            response.into_body().collect().await.unwrap();
        }
        let (row, truth) = (row(&server).await, server.bedrock.totals());
        assert!(truth.output_tokens > 30);
        let counted = json!([truth.input_tokens, truth.output_tokens, false]);
        assert_eq!(
            json!([row["input"], row["output"], row["estimated"]]),
            counted,
            "{operation} {disconnect}: {row}"
        );
        assert_eq!(row["outcome"], if disconnect { "cancelled" } else { "finished" }, "{operation}: {row}");
        assert_eq!(row["model"], "anthropic.claude-sonnet-4-5-20250929-v1:0");
    }
}

#[tokio::test]
async fn interrupted_frames_are_charged_an_estimate() {
    let server = test_server().await;
    let body = json!({"messages": [{"role": "user", "content": [{"text": "[throttle-mid]"}]}]});
    let request = Request::post("/model/claude-sonnet-4-5/converse-stream");
    let response = server.send(request.body(full(body.to_string().into())).unwrap()).await;
    response.into_body().collect().await.unwrap();
    let row = row(&server).await;
    assert_eq!(json!([row["outcome"], row["estimated"]]), json!(["failed", true]), "{row}");
    assert!(row["output"].as_u64().unwrap() > 0 && row["input"].as_u64().unwrap() > 0, "{row}");
}

#[tokio::test]
async fn requests_are_counted_in_metrics() {
    let server = test_server().await;
    server.post_message("Hello", false).await;
    server.post_message("[throttle]", true).await;
    server.post("{").await;
    // Converse does not take it from this model; the next request goes by invoke at once.
    let bare = json!({"model": "anthropic.claude-opus-4-8", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(server.post(bare.to_string()).await.status, StatusCode::OK);
    let truth = server.bedrock.totals();
    let response = server.get("/metrics").await;
    assert_eq!(
        response.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let sonnet = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    for line in [
        r#"bedrock_proxy_http_requests_total{route="/v1/messages",method="POST",status="200",client="other"} 2"#,
        r#"bedrock_proxy_http_requests_total{route="/v1/messages",method="POST",status="429",client="other"} 1"#,
        r#"bedrock_proxy_http_requests_total{route="/v1/messages",method="POST",status="400",client="other"} 1"#,
        r#"bedrock_proxy_inflight_requests{route="/v1/messages"} 0"#,
        r#"bedrock_proxy_inflight_requests{route="/metrics"} 1"#,
        r#"bedrock_proxy_unsupported_features_total{api="converse",feature="profile"} 1"#,
        r#"bedrock_proxy_retries_total{reason="throttled"} 2"#,
        r#"bedrock_proxy_retries_total{reason="access"} 1"#,
        r#"bedrock_proxy_quota_decisions_total{scope="none",decision="allowed",reason="unlimited"} 3"#,
        r#"bedrock_proxy_overhead_seconds_count{phase="translate"} 3"#,
        r#"bedrock_proxy_overhead_seconds_count{phase="stream"} 2"#,
        r#"bedrock_proxy_price_table_info{version="2026-11-22"} 1"#,
        "bedrock_proxy_usage_queue_dropped_total 0",
        "bedrock_proxy_streams_active 0",
        "bedrock_proxy_db_up 1",
        &format!(
            r#"bedrock_proxy_upstream_requests_total{{model="{sonnet}",region="us-east-1",api="converse",outcome="ok"}} 1"#
        ),
        &format!(
            r#"bedrock_proxy_upstream_requests_total{{model="{sonnet}",region="us-east-1",api="converse",outcome="throttled"}} 3"#
        ),
        &format!(r#"bedrock_proxy_time_to_first_token_seconds_count{{model="{sonnet}"}} 1"#),
        &format!(r#"bedrock_proxy_upstream_duration_seconds_count{{model="{sonnet}",region="us-east-1"}} 1"#),
        &format!(r#"bedrock_proxy_tokens_total{{model="{sonnet}",type="output",team=""}}"#),
    ] {
        assert!(response.body.contains(line), "{line} is missing in\n{}", response.body);
    }
    let counted = response.body.lines().filter(|line| line.starts_with("bedrock_proxy_tokens_total"));
    let counted: u64 = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(counted, truth.input_tokens + truth.output_tokens);
}

#[tokio::test]
async fn metrics_are_for_operators() {
    let server = authenticated_server().await;
    let send_as = async |token: &str| {
        let bearer = format!("Bearer {token}");
        server.request("GET", "/metrics", &[("authorization", &bearer)], "").await.status.as_u16()
    };
    assert_eq!(server.get("/metrics").await.status, 401);
    assert_eq!(send_as(&token("ana", &json!({}))).await, 403);
    for scope in ["admin", "admin:read"] {
        assert_eq!(send_as(&token("op", &json!({"scope": scope}))).await, 200);
    }
}

#[tokio::test]
async fn shutdown_stores_the_last_usage_records() {
    let mut server = test_server().await;
    for _ in 0..20 {
        server.post_message("Hello", false).await;
    }
    server.stop.notify_one();
    (&mut server.task).await.unwrap();
    assert_eq!(rows(&server).await.len(), 20);
}
