//! Shared by the tests: a running fake, a client and a frame decoder.

#![allow(dead_code, unreachable_pub, reason = "no test file needs all of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use aws_smithy_eventstream::frame::read_message_from;
use bytes::Bytes;
use fake_bedrock::{Config, FakeBedrock, Log};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub(crate) const SONNET: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0";

pub(crate) struct TestServer {
    pub(crate) addr: SocketAddr,
    pub(crate) log: Arc<Log>,
    pub(crate) tasks: JoinSet<()>,
}

pub(crate) async fn start(config: Config) -> TestServer {
    let fake = FakeBedrock::bind(config, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert_eq!(fake.url(), format!("http://{}", fake.addr()));
    let (addr, log) = (fake.addr(), fake.log());
    let mut tasks = JoinSet::new();
    tasks.spawn(fake.run());
    TestServer { addr, log, tasks }
}

impl TestServer {
    pub(crate) fn request(&self, operation: &str, body: &Value) -> Request<Full<Bytes>> {
        self.post(&format!("/model/{SONNET}/{operation}"), body)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Request<Full<Bytes>> {
        Request::post(format!("http://{}{path}", self.addr))
            .header("host", self.addr.to_string())
            .header("authorization", "Bearer bedrock-api-key-example")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap()
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        sender.send_request(request).await
    }

    pub(crate) async fn send_text(
        &mut self,
        operation: &str,
        text: &str,
    ) -> hyper::Result<Response<Incoming>> {
        let request = self.request(operation, &user_message(text));
        self.send(request).await
    }
}

pub(crate) fn user_message(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": text}]}]})
}

pub(crate) async fn bytes(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Event types and payloads of a complete stream.
pub(crate) fn events(mut stream: Bytes) -> Vec<(String, Value)> {
    let mut events = Vec::new();
    while !stream.is_empty() {
        let message = read_message_from(&mut stream).unwrap();
        let header = |name: &str| {
            let header = message.headers().iter().find(|header| header.name().as_str() == name);
            header.map(|header| header.value().as_string().unwrap().as_str().to_owned())
        };
        let kind = header(":event-type").or_else(|| header(":exception-type")).unwrap_or_default();
        events.push((kind, serde_json::from_slice(message.payload()).unwrap_or_default()));
    }
    events
}
