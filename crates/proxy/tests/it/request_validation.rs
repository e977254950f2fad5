//! Request bodies that must do no harm: rows 20 to 27 of `docs/hardening.md`, for every client API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{TestResponse, TestServer, message_body, test_server, test_server_with};

/// Every path that reads a body.
const PATHS: [&str; 6] = [
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/chat/completions",
    "/model/claude-sonnet-4-5/converse",
    "/model/claude-sonnet-4-5/invoke",
    "/model/claude-sonnet-4-5/count-tokens",
];

impl TestServer {
    async fn post_json(&self, path: &str, body: impl Into<bytes::Bytes>) -> TestResponse {
        self.request("POST", path, &[("content-type", "application/json")], body).await
    }
}

fn text(message: &str) -> String {
    format!(
        r#"{{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{{"role":"user","content":{message}}}]}}"#
    )
}

#[tokio::test]
async fn invalid_json_is_400_for_every_client_api() {
    let server = test_server().await;
    let fine = text("\"x\"");
    let bodies: Vec<Vec<u8>> = vec![
        Vec::new(),
        b" ".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"x\"".to_vec(),
        b"{".to_vec(),
        b"model=claude&x=1".to_vec(),
        [b"\xef\xbb\xbf", fine.as_bytes()].concat(),
        [fine.as_bytes(), b"}"].concat(),
        [fine.as_bytes(), fine.as_bytes()].concat(),
        [b"/* a comment */", fine.as_bytes()].concat(),
        [fine.as_bytes(), b"\0"].concat(),
        [&fine.as_bytes()[..20], b"\xff\xfe", &fine.as_bytes()[20..]].concat(),
        fine.replace("\"x\"", "'x'").into_bytes(),
        fine.replace(":9", ":09").into_bytes(),
        fine.replace(":9", ":NaN").into_bytes(),
    ];
    for path in PATHS {
        for body in &bodies {
            let response = server.post_json(path, body.clone()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            assert_eq!(response.status, 400, "{path} {shown:?}: {}", response.body);
            assert!(response.json().is_object(), "{path} {shown:?}");
        }
    }
    assert!(server.bedrock.requests().iter().all(|request| request.status == 400), "nothing was answered");
}

#[tokio::test]
async fn extreme_bodies_never_cause_a_server_error() {
    let server = test_server().await;
    let many_keys: Vec<_> = (0..1_000_000).map(|n| format!(r#""a{n}":1"#)).collect();
    let messages = vec![r#"{"role":"user","content":"x"}"#; 200_000].join(",");
    let tools: Vec<_> =
        (0..5000).map(|n| json!({"name": format!("t{n}"), "input_schema": {"type": "object"}})).collect();
    let sane = |members: &str| format!(r#"{{"model":"claude-sonnet-4-5",{members}}}"#);
    let bodies = [
        ("keys", format!("{{{}}}", many_keys.join(",")), 400),
        ("messages", sane(&format!(r#""messages":[{messages}]"#)), 400),
        (
            "tools",
            sane(&format!(r#""tools":{},"messages":[{{"role":"user","content":"x"}}]"#, json!(tools))),
            200,
        ),
        ("an infinite number", sane(r#""temperature":1e400,"messages":[]"#), 400),
        ("a long number", sane(&format!(r#""max_tokens":{},"messages":[]"#, "9".repeat(100_000))), 400),
        ("a long name", sane(&format!(r#""{}":1,"messages":[]"#, "k".repeat(1 << 20))), 400),
        ("a long string", text(&format!("\"{}\"", "x".repeat(1 << 18))), 200),
    ];
    for (what, body, expected) in bodies {
        let response = server.post_json("/v1/messages", body).await;
        let message = &response.body[..response.body.len().min(300)];
        assert_eq!(response.status, expected, "{what}: {message}");
        assert!(response.body.len() < 10_000 || expected == 200, "{what}: a refusal is short");
    }
    assert_eq!(server.post_message("Hello", false).await.status, 200);
}

#[tokio::test]
async fn duplicate_members_are_rejected() {
    let server = test_server().await;
    let twice = [
        (r#""model":"claude-sonnet-4-5","model":"claude-opus-4-5","messages":[]"#, "model"),
        (r#""messages":[],"messages":[]"#, "messages"),
        (r#""mod\u0065l":"claude-opus-4-5","model":"claude-sonnet-4-5","messages":[]"#, "model"),
        (r#""max_tokens":1,"messages":[],"max_tokens":9"#, "max_tokens"),
    ];
    for path in &PATHS[..3] {
        for (members, name) in twice {
            let response = server.post_json(path, format!("{{{members}}}")).await;
            assert_eq!(response.status, 400, "{path} {members}: {}", response.body);
            assert!(
                response.body.contains("given twice") && response.body.contains(name),
                "{}",
                response.body
            );
        }
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn wrong_type_anywhere_is_400() {
    let server = test_server().await;
    let request = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 256, "stream": false, "temperature": 0.5, "top_k": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": ["x"], "metadata": {"user_id": "u"},
        "tools": [{"name": "t", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "t", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "r"}]},
        ],
    });
    assert_eq!(
        server.post_json("/v1/messages", request.to_string()).await.status,
        200,
        "as it is, it is fine"
    );
    let mut places = Vec::new();
    collect(&request, String::new(), &mut places);
    let wrong =
        [json!(null), json!(true), json!([]), json!({}), json!(-1), json!(1e30), json!("wrong"), json!([[]])];
    let mut rejected = 0;
    for place in &places {
        for value in &wrong {
            let mut body = request.clone();
            *body.pointer_mut(place).unwrap() = value.clone();
            let response = server.post_json("/v1/messages", body.to_string()).await;
            let status = response.status.as_u16();
            assert!([200, 400, 404].contains(&status), "{place} = {value}: {status} {}", response.body);
            rejected += usize::from(status == 400);
        }
    }
    assert!(rejected * 2 > places.len() * wrong.len(), "most of it is refused, not passed over: {rejected}");
}

/// The JSON pointer of everything in `value`.
fn collect(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                collect(value, format!("{path}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                collect(value, format!("{path}/{index}"), places);
            }
        }
        _ => {}
    }
    if !path.is_empty() {
        places.push(path);
    }
}

#[tokio::test]
async fn model_name_never_changes_the_upstream_path() {
    let server = test_server().await;
    let names = [
        "../../admin".to_owned(),
        "anthropic.claude/../../foundation-models".to_owned(),
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0/../x".to_owned(),
        "claude-sonnet-4-5?x=1".to_owned(),
        "claude-sonnet-4-5#x".to_owned(),
        "claude sonnet".to_owned(),
        "claude-sonnet-4-5\r\nx-smuggled: 1".to_owned(),
        "\u{0}\u{1b}[2J".to_owned(),
        "%2e%2e%2f".to_owned(),
        "http://169.254.169.254/".to_owned(),
        "m".repeat(64 << 10),
    ];
    for name in names {
        let mut body = message_body("Hello", false);
        body["model"] = json!(name);
        for path in PATHS.iter().take(3) {
            let response = server.post_json(path, body.to_string()).await;
            let status = response.status.as_u16();
            let guessed = status == 200 && path.ends_with("count_tokens");
            assert!(
                guessed || [400, 403, 404].contains(&status),
                "{path} {name:.60}: {status} {}",
                response.body
            );
            assert!(response.body.len() < 70_000);
        }
    }
    let arn = "arn:aws:bedrock:us-east-1:999999999999:application-inference-profile/x/../y";
    let mut body = message_body("Hello", false);
    body["model"] = json!(arn);
    server.post_json("/v1/messages", body.to_string()).await;
    for request in server.bedrock.requests() {
        let segments: Vec<_> = request.path.split('/').collect();
        assert!(segments.len() == 4 && segments[1] == "model", "one segment is the model: {}", request.path);
        assert!(!request.headers.iter().any(|(name, _)| name == "x-smuggled"));
    }
}

#[tokio::test]
async fn invalid_tools_are_renamed_or_rejected() {
    let server = test_server().await;
    let tool = |name: &str, schema: Value| json!({"name": name, "description": "d", "input_schema": schema});
    let object = json!({"type": "object"});
    let recursive = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    let long = json!({"type": "object", "description": "d".repeat(1 << 20)});
    for tools in [
        vec![tool("búsqueda \"x\"", object.clone())],
        vec![tool("", object.clone())],
        vec![tool(&"n".repeat(1000), object.clone())],
        vec![tool("t", recursive)],
        vec![tool("t", long)],
        vec![tool("t", json!("not a schema"))],
        vec![tool("t", object.clone()), tool("t", object.clone())],
    ] {
        let mut body = message_body("Hello", false);
        body["tools"] = json!(tools);
        let response = server.post_json("/v1/messages", body.to_string()).await;
        assert!([200, 400].contains(&response.status.as_u16()), "{tools:.200?}: {}", response.body);
    }
    let orphan = json!([{"type": "tool_result", "tool_use_id": "nobodys", "content": "r"}]);
    let response = server.post_json("/v1/messages", text(&orphan.to_string())).await;
    assert_eq!(response.error().0, 400);
}

#[tokio::test]
async fn images_and_documents_are_forwarded_unread() {
    let server = test_server().await;
    let block = |kind: &str, media: &str, data: &str| {
        let block = json!([{"type": kind, "source": {"type": "base64", "media_type": media, "data": data}},
            {"type": "text", "text": "Hello"}]);
        text(&block.to_string())
    };
    // A picture of 65,500 x 65,500 points in a few bytes: whoever unpacked it would need gigabytes.
    let bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xdc\0\0\xff\xdc\x08\x06\0\0\0";
    let bomb = STANDARD.encode(bomb);
    for (kind, media, data) in [
        ("image", "image/png", bomb.as_str()),
        ("image", "image/png", "!!! not base64 !!!"),
        ("image", "image/png", ""),
        ("image", "text/html", &bomb),
        ("image", "image/svg+xml", &bomb),
        ("document", "application/pdf", &bomb),
        ("document", "application/x-evil", &bomb),
    ] {
        let response = server.post_json("/v1/messages", block(kind, media, data)).await;
        assert!([200, 400].contains(&response.status.as_u16()), "{kind} {media}: {}", response.body);
    }
    let small = test_server_with(&[("MAX_BODY_BYTES", "1000000")], |_| {}).await;
    let large = block("image", "image/png", &"A".repeat(2 << 20));
    assert_eq!(small.post_json("/v1/messages", large).await.error().0, 413);
}

#[tokio::test]
async fn prompt_text_cannot_break_the_stream() {
    let server = test_server().await;
    let message = "data: {}\n\nevent: message_stop\r\ndata: [DONE]\n\n: x \u{2028}\u{85} </script> \u{1b}[2J";
    for (path, terminal) in [("/v1/messages", "message_stop"), ("/v1/chat/completions", "[DONE]")] {
        let response = server.post_json(path, message_body(message, true).to_string()).await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert!(response.body.contains("</script>"), "the text is repeated: {}", response.body);
        for line in response.body.lines().filter(|line| !line.is_empty()) {
            let json = line.strip_prefix("data: ").filter(|data| *data != "[DONE]");
            let fine = match json {
                Some(json) => serde_json::from_str::<Value>(json).is_ok(),
                None => line.starts_with("event: ") || line == "data: [DONE]",
            };
            assert!(fine, "{path}: {line:?}");
        }
        let ends =
            response.body.lines().filter(|line| line.contains(terminal) && !line.contains('{')).count();
        assert_eq!(ends, 1, "{path}: {}", response.body);
        assert!(!response.body.contains('\r') && !response.body.contains('\u{1b}'), "{path}");
    }
}

#[tokio::test]
async fn urls_in_requests_are_never_fetched() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = trap.local_addr().unwrap().port();
    let server = test_server().await;
    let urls = [
        format!("http://127.0.0.1:{port}/x.png"),
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://user@127.0.0.1:{port}/"),
        format!("gopher://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
    ];
    for url in &urls {
        for kind in ["image", "document"] {
            let block = json!([{"type": kind, "source": {"type": "url", "url": url}}]);
            let (status, _, message) =
                server.post_json("/v1/messages", text(&block.to_string())).await.error();
            assert_eq!(status, 400);
            assert!(message.starts_with("messages.0.content.0"), "{message}");
        }
        let part = json!([{"type": "image_url", "image_url": {"url": url}}]);
        let response = server.post_json("/v1/chat/completions", text(&part.to_string())).await;
        assert_eq!(response.status, 400, "{}", response.body);
        assert!(response.body.contains("messages.0.content.0"), "{}", response.body);
        let mut servers = message_body("Hello", false);
        servers["mcp_servers"] = json!([{"type": "url", "url": url, "name": "x"}]);
        let response = server.post_json("/v1/messages", servers.to_string()).await;
        assert_eq!(response.status, 400, "{}", response.body);
    }
    assert!(server.bedrock.requests().is_empty(), "no request reaches Bedrock");
    let connection = tokio::time::timeout(std::time::Duration::from_millis(50), trap.accept()).await;
    assert!(connection.is_err(), "the URL was fetched");
}

#[tokio::test]
async fn invented_fields_never_affect_other_requests() {
    let server = test_server_with(&[("AWS_BEDROCK_ROUTE", "invoke")], |_| {}).await;
    let made_up = [
        "x system",
        "x: system",
        "system: Extra inputs are not permitted",
        "`system` is deprecated for this model",
        "invalid beta flag",
        "output_config.format",
        "tools.0.custom.input_schema",
    ];
    for name in made_up {
        let mut body = message_body("Hello", false);
        body[name] = json!(1);
        server.post_json("/v1/messages", body.to_string()).await;
    }
    let requested = server.bedrock.requests().len();
    assert!(
        requested >= made_up.len(),
        "Bedrock was asked, so that there was something to learn: {requested}"
    );
    let mut body = message_body("Hello", false);
    body["system"] = json!("be kind");
    body["tools"] = json!([{"name": "t", "input_schema": {"type": "object"}}]);
    body["output_config"] = json!({"format": {"type": "json_schema", "schema": {"type": "object",
        "properties": {}, "additionalProperties": false}}});
    let response = server.post_json("/v1/messages", body.to_string()).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let sent: Value = serde_json::from_slice(&server.bedrock.requests().last().unwrap().body).unwrap();
    for kept in ["/system", "/tools/0/input_schema", "/output_config/format"] {
        assert_eq!(sent.pointer(kept), body.pointer(kept), "{kept} is what it was: {sent}");
    }
}
