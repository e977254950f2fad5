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
