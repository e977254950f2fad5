//! Errors as each client API words them: prompts that are too long, places in the client's body, unknown models.

use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::tokens::{authenticated_server, token};
use crate::harness::{TestResponse, TestServer, captured_logs, full, message_body, spawn, test_server_with};

const CHAT: &str = "/v1/chat/completions";
const ROUTES: [&str; 3] = ["converse", "invoke", "messages"];
const CLAUDE_CODE: &str = "claude-cli/2.1.332 (external, cli)";

/// An AWS that rejects every request with this text; its URL.
async fn rejecting_aws(text: &str) -> String {
    rejecting_aws_with("400 Bad Request", "ValidationException", text).await
}

/// The same with this status and exception.
async fn rejecting_aws_with(status: &str, exception: &str, text: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = json!({"message": text}).to_string();
    let (status, exception) = (status.to_owned(), exception.to_owned());
    spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (body, status, exception) = (body.clone(), status.clone(), exception.clone());
            spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"]}") && socket.read_buf(&mut request).await.unwrap_or(0) > 0 {
                    if String::from_utf8_lossy(&request).contains("\r\n\r\n{") && request.ends_with(b"}") {
                        break;
                    }
                }
                let head = format!(
                    "HTTP/1.1 {status}\r\nx-amzn-errortype: {exception}\r\ncontent-type: application/json\r\nconnection: close"
                );
                let response = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _ = socket.write_all(response.as_bytes()).await;
            });
        }
    });
    url
}

async fn send(server: &TestServer, path: &str, body: &Value, user_agent: &str) -> TestResponse {
    let request = Request::post(path).header("user-agent", user_agent);
    server.fetch(request.body(full(body.to_string().into())).unwrap()).await
}

#[expect(clippy::needless_pass_by_value, reason = "callers write the value in place")]
fn chat_body(messages: Value, stream: bool) -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "stream": stream, "messages": messages})
}

/// Wordings of Claude models, which no client API changes, and of other models.
const TOO_LONG: [(&str, bool); 12] = [
    ("Input is too long for requested model.", true),
    ("Input is too long.", true),
    ("The model returned the following errors: Input is too long for requested model.", true),
    ("prompt is too long: 206456 tokens > 200000 maximum", true),
    ("input length and `max_tokens` exceed context limit: 213462 + 8192 > 204698", true),
    (
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
        false,
    ),
    ("This model's maximum context length is 131072 tokens. Please reduce the length of the prompt", false),
    ("This model's maximum context length is 131072 tokens. However, you requested 140000 tokens.", false),
    ("too many total text bytes", false),
    ("Too many input tokens. Max input tokens: 8192, request input token count: 9000", false),
    (
        "Malformed input request: expected maxLength: 50000, actual: 60000, please reformat your input and try again.",
        false,
    ),
    ("The prompt does not fit into the context window of the model", false),
];

#[tokio::test]
async fn prompt_too_long_has_one_code_at_chat() {
    for (text, is_verbatim) in TOO_LONG {
        let url = rejecting_aws(text).await;
        for route in ROUTES {
            let server =
                test_server_with(&[("AWS_ENDPOINT_URL", &url), ("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
            for stream in [true, false] {
                let body = chat_body(json!([{"role": "user", "content": "Hello"}]), stream);
                let response = send(&server, CHAT, &body, CLAUDE_CODE).await;
                let error = &response.json()["error"];
                assert_eq!(response.status, 400, "{route} {text}");
                assert_eq!(error["code"], "context_length_exceeded", "{route} {text}: {error}");
                assert_eq!(
                    (&error["type"], &error["param"]),
                    (&json!("invalid_request_error"), &Value::Null)
                );
                let message = error["message"].as_str().unwrap();
                assert!(
                    !message.contains("capability")
                        && (message.contains("long") || message.contains("exceed")),
                    "{message}"
                );
                let shown = text.trim_start_matches("The model returned the following errors: ");
                assert_eq!(message == shown, is_verbatim, "{message}");
            }
        }
    }
}

#[tokio::test]
async fn only_claude_code_gets_its_private_word() {
    for (text, is_verbatim) in TOO_LONG {
        let url = rejecting_aws(text).await;
        let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
        let shown = text.trim_start_matches("The model returned the following errors: ");
        for (user_agent, stream) in [(CLAUDE_CODE, true), (CLAUDE_CODE, false), ("curl/8", true), ("", false)]
        {
            let body = message_body("Hello", stream);
            let (status, kind, message) = send(&server, "/v1/messages", &body, user_agent).await.error();
            assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
            let is_private = message == "capability_rejected: prompt_too_long";
            let is_counted = message.contains(" tokens > ");
            assert_eq!(is_private, user_agent == CLAUDE_CODE && !is_verbatim && !is_counted, "{message}");
            assert!(is_private || message.contains("is too long") || message == shown, "{message}");
        }
        let body = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]});
        let response = send(&server, "/model/claude-sonnet-4-5/converse", &body, CLAUDE_CODE).await;
        assert_eq!(response.json(), json!({"message": shown}), "clients of AWS read AWS's words");
    }
}

/// Chat requests with one mistake each, and the place of it.
fn misplaced() -> Vec<(&'static str, Value, &'static str)> {
    let call = |id: &str| {
        json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]})
    };
    let user = |text: &str| json!({"role": "user", "content": text});
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let system = json!({"role": "system", "content": "Be brief."});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    let tool = |schema: Value| json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    let say = |messages: Value| chat_body(messages, false);
    let with = |name: &str, value: Value| {
        let mut body = say(json!([system, user("go")]));
        body[name] = value;
        body
    };
    vec![
        (
            "a result without a call",
            say(json!([system, user("a"), {"role": "assistant", "content": "b"}, user("c"), result("c9")])),
            "messages.4",
        ),
        (
            "a result without a call in the fifth message",
            say(json!([system, user("a"), {"role": "assistant", "content": "b"}, user("c"),
                {"role": "assistant", "content": "d"}, result("c9"), user("e")])),
            "messages.5",
        ),
        ("a call without its result", say(json!([system, user("a"), call("c1"), user("b")])), "messages.2"),
        (
            "an unknown kind of part",
            say(
                json!([system, user("a"), {"role": "assistant", "content": "b"}, {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "video"}]}]),
            ),
            "messages.3.content.1.type",
        ),
        (
            "an image of another kind behind a blank part",
            say(
                json!([system, {"role": "user", "content": [{"type": "text", "text": " "}, image("data:image/tiff;base64,SUkqAA==")]}]),
            ),
            "messages.1.content.1",
        ),
        ("a temperature", with("temperature", json!(7)), "temperature"),
        ("a top_p", with("top_p", json!(7)), "top_p"),
        (
            "a limit",
            {
                let mut body = with("max_completion_tokens", json!(3_000_000_000_u64));
                body.as_object_mut().unwrap().remove("max_tokens");
                body
            },
            "max_completion_tokens",
        ),
        ("a schema", with("tools", tool(json!("x"))), "tools.0.function.parameters"),
        (
            "a combinator in a schema",
            with("tools", tool(json!({"type": "object", "anyOf": [{"required": ["a"]}]}))),
            "tools.0.function.parameters",
        ),
        (
            "a schema of the answer",
            with(
                "response_format",
                json!({"type": "json_schema", "json_schema": {"name": "x", "schema": 5}}),
            ),
            "response_format.json_schema.schema",
        ),
        ("a choice without tools", with("tool_choice", json!("required")), "tool_choice"),
    ]
}

#[tokio::test]
async fn param_is_the_place_in_the_clients_body() {
    for route in ["auto", "converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for (what, mut body, expected) in misplaced() {
            for stream in [true, false] {
                body["stream"] = json!(stream);
                let response = send(&server, CHAT, &body, "").await;
                // InvokeModel and the Messages API get the limit of the model.
                if what == "a limit" && response.status == 200 {
                    assert!(matches!(route, "invoke" | "messages"), "{route}");
                    continue;
                }
                assert_eq!(response.status, 400, "{route}: {what}: {}", response.body);
                let error = &response.json()["error"];
                let param = error["param"].as_str();
                assert!(param.is_none_or(|param| param == expected), "{route}: {what}: {error}");
                assert_eq!(param.is_none(), is_known_by_aws_alone(route, what), "{route}: {what}: {error}");
                let message = error["message"].as_str().unwrap();
                let named = message.split_once(": ").map_or("", |(path, _)| path);
                assert!(!named.starts_with("messages.") || named == expected, "{message}");
            }
        }
    }
}

/// Whether the proxy sends the mistake: then AWS's error has no place in the client's body.
fn is_known_by_aws_alone(route: &str, what: &str) -> bool {
    let checked_for_converse = [
        "a result without a call",
        "a result without a call in the fifth message",
        "a call without its result",
        "an image of another kind behind a blank part",
    ];
    matches!(route, "invoke" | "messages") && checked_for_converse.contains(&what)
}

#[tokio::test]
async fn notices_name_places_in_the_clients_body() {
    for route in ROUTES {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let mut body = chat_body(
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": "\n", "tool_calls": [
                    {"id": "call.1", "type": "function", "function": {"name": "a tool", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "call.1", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": " "}]},
            ]),
            false,
        );
        body["tools"] = json!([{"type": "function", "function": {"name": "a tool", "parameters": {"properties": {}, "required": []}}}]);
        let response = send(&server, CHAT, &body, "").await;
        assert_eq!(response.status, 200, "{route}: {}", response.body);
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        for place in [
            "messages.2.content: left out",
            "messages.2.tool_calls.0.id: ",
            "messages.2.tool_calls.0.function.name: ",
            "messages.3.tool_call_id: ",
            "messages.3.content.1: left out",
            "tools.0.function.name: ",
            "tools.0.function.parameters: ",
        ] {
            assert!(notice.contains(place), "{route}: {place} in {notice}");
        }
    }
}

/// The log lines about a request that are no part of the access log.
fn log_levels(request_id: &str) -> Vec<String> {
    let logs = captured_logs();
    let lines = logs.lines().filter(|line| line.contains(request_id));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| line["event"] != "request");
    lines.map(|line| line["level"].as_str().unwrap().to_lowercase()).collect()
}

#[tokio::test]
async fn unknown_model_is_404_with_a_suggestion() {
    for route in ["auto", "converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for (model, suggestion) in [
            ("claude-sonnet-9", Some("claude-sonnet-")),
            ("claude-sonet-4-5", Some("claude-sonnet-4-5")),
            ("claude-sonnet-4.5", Some("claude-sonnet-4-5")),
            (
                "us.anthropic.claude-sonet-4-5-20250929-v1:0",
                Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ),
            ("sonnet-4-5", None),
            ("gpt-4o", None),
        ] {
            for stream in [true, false] {
                let mut body = message_body("Hello", stream);
                body["model"] = json!(model);
                let response = send(&server, "/v1/messages", &body, CLAUDE_CODE).await;
                let (status, kind, message) = response.error();
                assert_eq!((status, kind.as_str()), (404, "not_found_error"), "{route} {model}");
                assert!(
                    suggestion.is_none_or(|known| message.contains(&format!("id you mean {known}"))),
                    "{message}"
                );
                assert!(message.contains(model), "{message}");
                assert!(
                    log_levels(response.request_id()).iter().all(|level| level == "info"),
                    "{route} {model}"
                );

                let response = send(&server, CHAT, &body, "").await;
                let error = &response.json()["error"];
                assert_eq!(
                    (response.status.as_u16(), &error["code"]),
                    (404, &json!("model_not_found")),
                    "{error}"
                );
                assert_eq!(
                    (&error["type"], &error["param"]),
                    (&json!("invalid_request_error"), &json!("model"))
                );
                let message = error["message"].as_str().unwrap();
                assert!(
                    suggestion.is_none_or(|known| message.contains(&format!("id you mean {known}"))),
                    "{message}"
                );
            }
            let body = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]});
            let path = format!("/model/{}/converse", model.replace(':', "%3A"));
            let response = send(&server, &path, &body, "").await;
            let code = response.headers["x-amzn-errortype"].to_str().unwrap();
            assert!(
                [(404, "ResourceNotFoundException"), (400, "ValidationException")]
                    .contains(&(response.status.as_u16(), code)),
                "{model}: {} {code}",
                response.status
            );
        }
    }
}

#[tokio::test]
async fn rejected_model_of_the_operator_is_an_error() {
    let mapping = ("AWS_BEDROCK_MODEL_MAPPINGS", "house=us.anthropic.claude-nine-v1:0");
    let server = test_server_with(&[mapping], |_| {}).await;
    let mut body = message_body("Hello", false);
    body["model"] = json!("house");
    let response = server.post(body.to_string()).await;
    assert_eq!(response.error().0, 403);
    assert_eq!(log_levels(response.request_id()), ["error"]);
}

/// Words of Rust and of its JSON parser.
const RUST_WORDS: [&str; 14] = [
    "u64",
    "i64",
    "f64",
    "usize",
    "struct",
    "enum",
    "variant",
    "invalid type",
    "at line",
    "serde",
    "EOF",
    "a sequence",
    "missing field",
    "unknown field",
];

fn assert_plain(place: &str, body: &str) {
    for word in RUST_WORDS {
        assert!(!body.contains(word), "`{word}` at {place}: {body}");
    }
}

#[tokio::test]
async fn wrong_types_are_worded_by_client_api() {
    for route in ["auto", "converse", "invoke", "messages"] {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for (member, value, sentence, expected) in [
            ("max_tokens", json!("a"), "Input should be a valid integer", "an integer, but got a string"),
            ("max_tokens", json!(1.5), "Input should be a valid integer", "an integer, but got a decimal"),
            ("temperature", json!("hot"), "Input should be a valid number", "a decimal, but got a string"),
            ("stream", json!(1), "Input should be a valid boolean", "a boolean, but got an integer"),
            ("model", json!([]), "Input should be a valid string", "a string, but got an array"),
            ("messages", json!({}), "Input should be a valid list", "an array, but got an object"),
            ("tools", json!("t"), "Input should be a valid list", "an array, but got a string"),
        ] {
            let mut body = message_body("Hello", false);
            body[member] = value;
            for path in ["/v1/messages", "/v1/messages/count_tokens"] {
                let (status, kind, message) = send(&server, path, &body, "").await.error();
                assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
                assert_eq!(message, format!("{member}: {sentence}"));
            }
            let response = send(&server, CHAT, &body, "").await;
            let error = &response.json()["error"];
            assert_eq!((response.status.as_u16(), &error["code"]), (400, &json!("invalid_type")));
            assert_eq!(error["param"], member);
            assert_eq!(
                error["message"],
                format!("Invalid type for '{member}': expected {expected} instead.")
            );
        }
    }
}

#[tokio::test]
async fn operators_read_plain_words() {
    let server = authenticated_server().await;
    let operator = token("op", &json!({"scope": "admin"}));
    for (method, path, body, expected) in [
        (
            "GET",
            "/usage?x=1",
            json!(null),
            "x: there is no such parameter; use limit, after_id, from, to, by, user_id",
        ),
        ("GET", "/usage?from=2026-01-01&from=2026-01-02", json!(null), "from: the parameter is given twice"),
        ("GET", "/users?limit=a", json!(null), "limit: Input should be a whole number from 1 to 1000"),
        ("GET", "/teams?team=a", json!(null), "team: there is no such parameter; use limit, after_id"),
        ("GET", "/events?from=yesterday", json!(null), "from: use a time such as"),
        ("GET", "/usage?by=colour", json!(null), "by: use a comma-separated list of"),
        ("POST", "/users", json!({"user_id": 5}), "user_id: Input should be a valid string"),
        (
            "POST",
            "/users",
            json!({"user_id": "a", "daily_token_limit": "x"}),
            "daily_token_limit: Input should be a valid integer",
        ),
        (
            "POST",
            "/users",
            json!({"user_id": "a", "disabled": "no"}),
            "disabled: Input should be a valid boolean",
        ),
        (
            "POST",
            "/users",
            json!({"user_id": "a", "limit": 5}),
            "limit: Extra inputs are not permitted; use user_id, team",
        ),
        ("POST", "/users", json!({}), "user_id: Field required"),
        ("POST", "/teams", json!([]), "the body should be a JSON object, not an array"),
        (
            "POST",
            "/tokens",
            json!({"user_id": "a", "scope": "root"}),
            "scope is one of inference, admin and admin:read",
        ),
        (
            "PATCH",
            "/users/a",
            json!({"user_id": "b"}),
            "leave user_id out; POST /admin/v1/users/{user_id}/rename renames a user",
        ),
    ] {
        let response = server.act_as(&operator, method, path, &body).await;
        let (status, kind, message) = response.error();
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"), "{method} {path}: {message}");
        assert!(message.starts_with(expected), "{method} {path}: {message}");
        assert_plain(path, &response.body);
    }
    for broken in ["{", "x", "{\"user_id\":\"a\"} x", "{\"user_id\":}"] {
        let headers = [("authorization", &*format!("Bearer {operator}"))];
        let response = server.request("POST", "/admin/v1/users", &headers, broken).await;
        assert_eq!(response.error().0, 400);
        assert!(response.body.contains("not valid JSON"), "{}", response.body);
        assert_plain(broken, &response.body);
    }
}

/// AWS rejects a model as legacy, or no longer knows its id.
#[tokio::test]
async fn errors_of_retired_models_have_the_date() {
    const SENTENCE: &str = "AWS retired anthropic.claude-opus-4-20250514-v1:0 on 2026-05-31.";
    for (status, exception, text) in [
        ("404 Not Found", "ResourceNotFoundException", "This model version has reached the end of its life."),
        ("400 Bad Request", "ValidationException", "The provided model identifier is invalid."),
    ] {
        let url = rejecting_aws_with(status, exception, text).await;
        let server = test_server_with(&[("AWS_ENDPOINT_URL", &url)], |_| {}).await;
        let body = |model: &str| json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        for path in ["/v1/messages", CHAT] {
            let response = send(&server, path, &body("claude-opus-4"), "test").await;
            assert!(response.body.contains(SENTENCE), "{path}: {}", response.body);
            let response = send(&server, path, &body("claude-opus-5-5"), "test").await;
            assert!(!response.body.contains("AWS retire"), "{path}: {}", response.body);
        }
    }
}
