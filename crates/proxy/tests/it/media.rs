//! Images and documents: wrong media types, spellings of base64, and more of them than Converse takes.

use http::Request;
use serde_json::{Value, json};

use crate::harness::{TestServer, full, test_server_with};
use crate::tool_calls::{last_sent, send};

const CHAT: &str = "/v1/chat/completions";
const ROUTES: [&str; 3] = ["converse", "invoke", "messages"];

const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const JPEG: &str = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA=";
const GIF: &str = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
const WEBP: &str = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAwA0JaQAA3AA/vuUAAA=";

async fn server(route: &str) -> TestServer {
    test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await
}

fn image(media_type: &str, data: &str) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}})
}

fn messages(content: &Value, stream: bool) -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 99, "stream": stream,
        "messages": [{"role": "user", "content": content}]})
}

fn chat(content: &Value, stream: bool) -> Value {
    json!({"model": "claude-sonnet-4-5", "stream": stream, "messages": [{"role": "user", "content": content}]})
}

/// Format and data of the first image that is sent.
fn sent_image(server: &TestServer) -> (String, String) {
    let sent = last_sent(server);
    let blocks = sent["messages"][0]["content"].as_array().unwrap();
    let image = blocks.iter().find(|block| block["type"] == "image" || block.get("image").is_some()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match image.get("image") {
        Some(image) => (format!("image/{}", text(&image["format"])), text(&image["source"]["bytes"])),
        None => (text(&image["source"]["media_type"]), text(&image["source"]["data"])),
    }
}

#[tokio::test]
async fn wrong_media_type_is_corrected() {
    for route in ROUTES {
        let server = server(route).await;
        for (data, media_type) in
            [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")]
        {
            for label in [
                "image/png",
                "image/jpeg",
                "image/webp",
                "IMAGE/PNG",
                "image/jpg",
                "application/octet-stream",
            ] {
                for stream in [true, false] {
                    let content = json!([image(label, data), {"type": "text", "text": "Look"}]);
                    let response = send(&server, "/v1/messages", &messages(&content, stream)).await;
                    assert_eq!(response.status, 200, "{route} {label}: {}", response.body);
                    assert_eq!(
                        sent_image(&server),
                        (media_type.to_owned(), data.to_owned()),
                        "{route} {label}"
                    );
                    let notice = response.headers.get("x-bedrock-proxy-notice");
                    let notice = notice.map_or("", |notice| notice.to_str().unwrap());
                    let is_noticed = notice.contains("messages.0.content.0.source.media_type");
                    assert_eq!(is_noticed, label != media_type, "{route} {label}: {notice}");

                    let url = format!("data:{label};base64,{data}");
                    let content = json!([{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Look"}]);
                    let response = send(&server, CHAT, &chat(&content, stream)).await;
                    assert_eq!(response.status, 200, "{route} {label}: {}", response.body);
                    assert_eq!(sent_image(&server).0, media_type, "{route} {label}");
                }
            }
        }
    }
}

#[tokio::test]
async fn media_inside_tool_results_is_corrected() {
    for route in ROUTES {
        let server = server(route).await;
        let body = json!({
            "model": "claude-sonnet-4-5", "max_tokens": 99,
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "messages": [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [image("image/jpeg", PNG)]}]},
            ],
        });
        let response = send(&server, "/v1/messages", &body).await;
        assert_eq!(response.status, 200, "{route}: {}", response.body);
        let sent = last_sent(&server).to_string();
        assert!(sent.contains("png") && !sent.contains("jpeg"), "{route}: {sent}");
    }
}

#[tokio::test]
async fn bedrock_client_gets_its_image_relabelled() {
    let server = server("auto").await;
    let body = format!(
        r#"{{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{{"role":"user","content":[{}]}}]}}"#,
        image("image/jpeg", PNG)
    );
    for operation in ["invoke", "invoke-with-response-stream"] {
        let path = format!("/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/{operation}");
        let request = Request::post(path).header("content-type", "application/json");
        let response = server.send(request.body(full(body.clone().into())).unwrap()).await;
        assert_eq!(response.status(), 200);
        let sent = server.bedrock.requests().pop().unwrap().body;
        let expected = body.replace("image/jpeg", "image/png");
        assert_eq!(String::from_utf8(sent.to_vec()).unwrap(), expected, "only this value changes");
    }
}

#[tokio::test]
async fn base64_and_urls_are_taken_in_every_spelling() {
    let wrapped = PNG
        .as_bytes()
        .chunks(20)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect::<Vec<_>>()
        .join("\r\n");
    let url_safe = PNG.replace('+', "-").replace('/', "_");
    let unpadded = PNG.trim_end_matches('=');
    let escaped = PNG.replace('+', "%2B").replace('=', "%3D");
    for route in ROUTES {
        let server = server(route).await;
        for url in [
            format!("DATA:IMAGE/PNG;BASE64,{PNG}"),
            format!("data:image/png;charset=utf-8;base64,{PNG}"),
            format!("data:image/png;base64,{wrapped}"),
            format!("data:image/png;base64,{url_safe}"),
            format!("data:image/png;base64,{unpadded}"),
            format!("data:image/png;base64,{escaped}"),
            format!("data:;base64,{PNG}"),
        ] {
            for stream in [true, false] {
                let content = json!([{"type": "image_url", "image_url": {"url": url}}]);
                let response = send(&server, CHAT, &chat(&content, stream)).await;
                assert_eq!(response.status, 200, "{route} {url}: {}", response.body);
                assert_eq!(sent_image(&server), ("image/png".to_owned(), PNG.to_owned()), "{route} {url}");
            }
        }
        for data in [&*wrapped, &url_safe, unpadded] {
            let response =
                send(&server, "/v1/messages", &messages(&json!([image("image/png", data)]), false)).await;
            assert_eq!(response.status, 200, "{route} {data}: {}", response.body);
            assert_eq!(sent_image(&server).1, PNG, "{route} {data}");
        }
    }
}

#[tokio::test]
async fn media_beyond_converse_goes_to_invoke() {
    let document = |n: usize| {
        json!({"type": "document", "title": format!("D {n}"), "citations": {"enabled": true},
            "source": {"type": "text", "media_type": "text/plain", "data": format!("Text {n}")}})
    };
    let many = |make: &dyn Fn(usize) -> Value, count: usize| {
        let mut blocks: Vec<Value> = (0..count).map(make).collect();
        blocks.push(json!({"type": "text", "text": "Compare"}));
        Value::Array(blocks)
    };
    let picture = |_: usize| image("image/png", PNG);
    let auto = server("auto").await;
    let converse = server("converse").await;
    for (content, route) in [
        (many(&picture, 20), "converse"),
        (many(&picture, 21), "invoke"),
        (many(&document, 5), "converse"),
        (many(&document, 6), "invoke"),
    ] {
        for stream in [true, false] {
            let response = send(&auto, "/v1/messages", &messages(&content, stream)).await;
            assert_eq!(response.status, 200, "{}", response.body);
            assert_eq!(response.headers["x-bedrock-proxy-route"], route);
            let response = send(&converse, "/v1/messages", &messages(&content, stream)).await;
            if route == "converse" {
                assert_eq!(response.status, 200, "{}", response.body);
                continue;
            }
            let (status, _, message) = response.error();
            assert!(status == 400 && message.starts_with("messages.0: Converse takes at most"), "{message}");
        }
    }
    // Turns of one role are one message of Converse.
    let halves = json!([{"role": "user", "content": many(&picture, 11)}, {"role": "user", "content": many(&picture, 11)}]);
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": halves});
    let response = send(&auto, "/v1/messages", &body).await;
    assert_eq!(
        (response.status.as_u16(), &response.headers["x-bedrock-proxy-route"]),
        (200, &"invoke".parse().unwrap())
    );
    let pictures: Vec<Value> = (0..21)
        .map(|_| json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}}))
        .collect();
    let response = send(&auto, CHAT, &chat(&json!(pictures), false)).await;
    assert_eq!(
        (response.status.as_u16(), &response.headers["x-bedrock-proxy-route"]),
        (200, &"invoke".parse().unwrap())
    );
    let mut body = messages(&many(&picture, 21), false);
    body["model"] = json!("amazon.nova-pro-v1:0");
    let (status, _, message) = send(&auto, "/v1/messages", &body).await.error();
    assert!(
        status == 400 && message.starts_with("messages.0: Converse takes at most 20 images"),
        "{message}"
    );
}
