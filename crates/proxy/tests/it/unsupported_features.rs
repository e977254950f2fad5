//! Features that models were seen not to support: one caller's errors never change the requests of others.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bedrock_proxy::testing::Clock;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::tokens::{KEY, now, token};
use crate::harness::{TestServer, message_body, spawn, test_server_at};

/// What a 400 of AWS about `name` at the top of a body looks like.
fn extraneous(pointer: &str, name: &str) -> String {
    format!(
        "Malformed input request: {pointer}: extraneous key [{name}] is not permitted, please reformat your input and \
         try again."
    )
}

/// An upstream that rejects every request with the message of the test.
#[derive(Clone, Default)]
struct Upstream {
    message: Arc<Mutex<String>>,
    /// Bodies received since the last call of [`Upstream::take_bodies`].
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Upstream {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = Self::default();
        let serving = upstream.clone();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let serving = serving.clone();
                    async move { Ok::<_, Infallible>(serving.respond(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        (upstream, url)
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        self.bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap_or_default());
        let body = json!({"message": *self.message.lock().unwrap()}).to_string();
        let response = Response::builder().status(400).header("content-type", "application/json");
        response.header("x-amzn-errortype", "ValidationException").body(Full::new(body.into())).unwrap()
    }

    fn reject_with(&self, message: &str) {
        message.clone_into(&mut self.message.lock().unwrap());
    }

    fn take_bodies(&self) -> Vec<Value> {
        std::mem::take(&mut self.bodies.lock().unwrap())
    }
}

async fn server(url: &str, route: &str, clock: Clock) -> TestServer {
    let variables = [("AWS_ENDPOINT_URL", url), ("AWS_BEDROCK_ROUTE", route), ("JWT_SECRET_KEY", KEY)];
    test_server_at(clock, &variables, |_| {}).await
}

/// Sends `body` as `user`, with a token that is valid for days.
async fn send(server: &TestServer, path: &str, user: &str, betas: &str, body: &Value) {
    let bearer = format!("Bearer {}", token(user, &json!({"exp": now() + 7 * 86_400})));
    let headers = [("authorization", bearer.as_str()), ("anthropic-beta", betas)];
    assert_eq!(server.request("POST", path, &headers, body.to_string()).await.status, 400);
}

/// A request with every field that a client may send always.
fn full_body() -> Value {
    let mut body = message_body("Hello", false);
    body["system"] = json!("be brief");
    body["temperature"] = json!(0.5);
    body["stop_sequences"] = json!(["END"]);
    body["tools"] = json!([{"name": "t", "description": "d", "input_schema": {"type": "object"}}]);
    body["tool_choice"] = json!({"type": "auto"});
    body
}

#[tokio::test]
async fn nested_fields_change_no_other_request() {
    let (upstream, url) = Upstream::start().await;
    let names = ["system", "temperature", "stop_sequences", "tools", "tool_choice", "max_tokens", "messages"];
    for route in ["invoke", "auto", "messages"] {
        let server = server(&url, route, Clock::machine()).await;
        let victim = async || {
            upstream.reject_with("no");
            upstream.take_bodies();
            send(&server, "/v1/messages", "victim", "", &full_body()).await;
            send(&server, "/v1/chat/completions", "victim", "", &message_body("Hello", false)).await;
            upstream.take_bodies()
        };
        let before = victim().await;
        assert_eq!(before.len(), 2, "{route}");
        for name in names {
            for message in [
                extraneous("#/messages/0", name),
                extraneous("#/tools/0/input_schema", name),
                extraneous("#/toolConfig/tools/1/toolSpec/inputSchema/json", name),
                extraneous("#", name),
                format!("messages.0.{name}: Extra inputs are not permitted"),
                format!("tools.0.custom.input_schema.{name}: Extra inputs are not permitted"),
                format!(
                    "The model returned the following errors: messages.0.content.0.text.{name}: Extra inputs are not permitted"
                ),
                format!("Unexpected value(s) `{name}` for the `anthropic-beta` header"),
            ] {
                upstream.reject_with(&message);
                let mut body = full_body();
                body["messages"][0][name] = json!(1);
                send(&server, "/v1/messages", "teacher", name, &body).await;
            }
        }
        assert_eq!(victim().await, before, "{route}");
    }
}

#[tokio::test]
async fn two_callers_make_a_field_unsupported() {
    let (upstream, url) = Upstream::start().await;
    let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(now().unsigned_abs()));
    let server = server(&url, "invoke", clock.clone()).await;
    let mut body = message_body("Hello", false);
    body["novel"] = json!(1);
    upstream.reject_with(&extraneous("#", "novel"));
    // How many requests have the field until it is left out.
    let sent = async |user: &str| {
        send(&server, "/v1/messages", user, "", &body).await;
        let bodies = upstream.take_bodies();
        assert!(bodies.last().unwrap().get("novel").is_none(), "{user}: {bodies:?}");
        bodies.len() - 1
    };
    assert_eq!((sent("ana").await, sent("ana").await), (1, 0), "at once for the caller itself");
    assert_eq!((sent("ben").await, sent("eve").await), (1, 0), "for all after the second");
    clock.advance(Duration::from_secs(24 * 60 * 60 + 1));
    assert_eq!(
        (sent("eve").await, sent("ana").await, sent("tom").await),
        (1, 1, 0),
        "tried again after a day"
    );
}

/// A server in front of the fake, and the betas of each request that the fake got.
async fn fake_server(route: &str, clock: Clock) -> TestServer {
    // A key needs no clock that is right.
    let variables = [
        ("AWS_BEDROCK_ROUTE", route),
        ("JWT_SECRET_KEY", KEY),
        ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-example"),
        ("AWS_BEDROCK_ACCESS_KEY", ""),
        ("AWS_BEDROCK_SECRET_KEY", ""),
    ];
    test_server_at(clock, &variables, |_| {}).await
}

/// Betas of the requests to the fake since `from`: in the body, in additional fields, or in the header.
fn sent_betas(server: &TestServer, from: usize) -> Vec<Vec<String>> {
    let betas = |request: fake_bedrock::RecordedRequest| -> Vec<String> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let list = body.get("anthropic_beta").or(body["additionalModelRequestFields"].get("anthropic_beta"));
        let in_body = list.and_then(Value::as_array).into_iter().flatten();
        let header = request.headers.iter().find(|(name, _)| name == "anthropic-beta");
        let header = header.map(|(_, betas)| betas.clone()).unwrap_or_default();
        let in_header = header.split(',').map(str::trim).filter(|beta| !beta.is_empty());
        in_body.map(|beta| beta.as_str().unwrap()).chain(in_header).map(str::to_owned).collect()
    };
    server.bedrock.requests().into_iter().skip(from).map(betas).collect()
}

async fn send_betas(server: &TestServer, user: &str, betas: &str, stream: bool) -> Vec<Vec<String>> {
    let from = server.bedrock.requests().len();
    let bearer = format!("Bearer {}", token(user, &json!({"exp": now() + 7 * 86_400})));
    let headers = [("authorization", bearer.as_str()), ("anthropic-beta", betas)];
    let body = message_body("Hello", stream).to_string();
    let response = server.request("POST", "/v1/messages", &headers, body).await;
    assert_eq!(response.status, 200, "{betas}: {}", response.body);
    sent_betas(server, from)
}

const NOVEL: &str = "novel-2027-01-01";
const OTHER: &str = "other-2027-02-02";
/// Betas that the fake knows and the proxy does not.
const ACCEPTED: [&str; 2] = ["thinking-binding-controls-2026-08-01", "dev-full-thinking-2025-05-14"];
const KNOWN: &str = "context-1m-2025-08-07";

#[tokio::test]
async fn unknown_betas_take_no_others_with_them() {
    for route in ["auto", "invoke", "messages"] {
        for (number, betas) in [
            vec![NOVEL, KNOWN],
            vec![ACCEPTED[0], NOVEL, KNOWN],
            vec![NOVEL, ACCEPTED[0], ACCEPTED[1]],
            vec![NOVEL, OTHER, KNOWN],
            vec![KNOWN, ACCEPTED[0], NOVEL, OTHER],
        ]
        .into_iter()
        .enumerate()
        {
            let server = fake_server(route, Clock::machine()).await;
            let rejected = |beta: &&&str| [NOVEL, OTHER].contains(*beta);
            let accepted: Vec<&str> = betas.iter().filter(|beta| !rejected(beta)).copied().collect();
            let exact = betas.iter().filter(rejected).count() < 2 || betas.len() < 4;
            for stream in [true, false] {
                let sent = send_betas(&server, "ana", &betas.join(","), stream).await;
                let last = sent.last().unwrap();
                let context = format!("{route} {number} {sent:?}");
                assert!(sent.len() <= 7, "{context}");
                assert!(stream || sent.len() == 1, "it is remembered: {context}");
                if exact || route == "messages" {
                    assert_eq!(*last, accepted, "{context}");
                }
                assert!(last.iter().any(|beta| beta == KNOWN) == betas.contains(&KNOWN), "{context}");
            }
        }
    }
}

#[tokio::test]
async fn many_unknown_betas_lose_no_request() {
    for route in ["auto", "invoke", "messages"] {
        let server = fake_server(route, Clock::machine()).await;
        let many: Vec<String> = (0..12).map(|number| format!("novel-{number}-2027-01-01")).collect();
        for stream in [true, false] {
            let sent = send_betas(&server, "ana", &format!("{KNOWN},{}", many.join(",")), stream).await;
            assert!(sent.len() <= 7 && (stream || sent.len() == 1), "{route}: {sent:?}");
            assert_eq!(sent.last().unwrap(), &[KNOWN], "{route}: {sent:?}");
        }
    }
}

#[tokio::test]
async fn rejected_betas_concern_others_after_two_callers() {
    let betas = format!("{NOVEL},{},{KNOWN}", ACCEPTED[0]);
    for route in ["auto", "invoke", "messages"] {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(now().unsigned_abs()));
        let server = fake_server(route, clock.clone()).await;
        let has_novel = async |user: &str| {
            let sent = send_betas(&server, user, &betas, true).await;
            assert_eq!(sent.last().unwrap(), &[ACCEPTED[0], KNOWN], "{route}: {sent:?}");
            sent[0].iter().any(|beta| beta == NOVEL)
        };
        assert!(has_novel("ana").await && !has_novel("ana").await, "{route}: at once for the caller itself");
        assert!(has_novel("ben").await && !has_novel("eve").await, "{route}: for all after the second");
        clock.advance(Duration::from_secs(24 * 60 * 60 + 1));
        assert!(
            has_novel("eve").await && has_novel("ana").await && !has_novel("tom").await,
            "{route}: after a day"
        );
    }
}

#[tokio::test]
async fn core_fields_are_never_left_out() {
    let (upstream, url) = Upstream::start().await;
    for route in ["invoke", "auto", "messages"] {
        let server = server(&url, route, Clock::machine()).await;
        for name in
            ["model", "messages", "system", "tools", "tool_choice", "max_tokens", "stop_sequences", "stream"]
        {
            for message in [
                extraneous("#", name),
                format!("{name}: Extra inputs are not permitted"),
                format!("`{name}` is deprecated for this model."),
            ] {
                upstream.reject_with(&message);
                for user in ["ana", "ben", "eve"] {
                    send(&server, "/v1/messages", user, "", &full_body()).await;
                }
                let bodies = upstream.take_bodies();
                assert!(
                    bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]),
                    "{route} {message}"
                );
            }
        }
    }
}

#[tokio::test]
async fn rejected_display_loses_no_request() {
    for route in ["auto", "converse", "invoke", "messages"] {
        let server = fake_server(route, Clock::machine()).await;
        let mut body = message_body("Hello", true);
        body["model"] = json!("claude-opus-5-5");
        body["max_tokens"] = json!(4000);
        body["thinking"] = json!({"type": "adaptive", "display": "later"});
        let bearer = format!("Bearer {}", token("ana", &json!({})));
        for sent in [2, 1] {
            let from = server.bedrock.requests().len();
            let headers = [("authorization", bearer.as_str())];
            let response = server.request("POST", "/v1/messages", &headers, body.to_string()).await;
            assert_eq!(response.status, 200, "{route}: {}", response.body);
            assert_eq!(server.bedrock.requests().len() - from, sent, "{route}");
        }
    }
}
