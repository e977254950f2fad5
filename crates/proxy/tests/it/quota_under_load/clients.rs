//! Many clients who know what they saw.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::harness::full;

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(150);
/// The most tokens that an answer may have.
const MOST: u64 = 100;

/// The request of a client, and when it disconnects.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Different for each request; stands in the prompt, so that the upstream's records can be distinguished.
    pub(super) number: usize,
    /// The magic words for the upstream.
    pub(super) words: String,
    pub(super) stream: bool,
    /// After so many pieces of the answer the client is gone.
    pub(super) disconnects_after: Option<usize>,
    /// After so long the client is gone, answer or not.
    pub(super) disconnects_in: Option<Duration>,
}

/// Outcome of a request for its client, with its id if the client got one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered to the end.
    Finished(String),
    /// Over a limit.
    Denied,
    /// An error, with its status and message.
    Failed(String, u16, String),
    /// The client left.
    Left(Option<String>),
    /// The connection broke.
    Lost,
}

impl Outcome {
    /// What to count it as.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Finished(_) => "finished".to_owned(),
            Self::Denied => "refused".to_owned(),
            Self::Failed(_, status, _) => format!("failed {status}"),
            Self::Left(_) => "left".to_owned(),
            Self::Lost => "lost".to_owned(),
        }
    }
}

impl Plan {
    /// One of many kinds, chosen by the number.
    pub(super) fn mixed(number: usize) -> Self {
        // A fixed sequence without a pattern.
        let dice = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let (latency, pace) = (dice % 400, dice % 13);
        let stream = !number.is_multiple_of(5);
        let disconnects_in = (number % 20 == 15).then(|| Duration::from_millis(100 + dice % 200));
        let (words, disconnects_after) = match number % 20 {
            3 => ("[throttle-mid]".to_owned(), None),
            7 => ("[refuse ValidationException]".to_owned(), None),
            11 => ("[cut]".to_owned(), None),
            13 => ("[throttle-once]".to_owned(), None),
            15 => ("[paced 20 1] [slow 500]".to_owned(), None),
            1 | 6 | 17 => (format!("[paced 30 {pace}] [slow {latency}]"), Some(number % 9)),
            _ => (format!("[paced {} {pace}] [slow {latency}]", dice % 40), None),
        };
        Self { number, words, stream, disconnects_after, disconnects_in }
    }

    /// What the upstream's record of this request contains.
    pub(super) fn mark(&self) -> String {
        format!("#{}.", self.number)
    }

    fn body(&self) -> Value {
        let prompt = format!("{} {}", self.words, self.mark());
        json!({
            "model": "claude-sonnet-4-5",
            "max_tokens": MOST,
            "stream": self.stream,
            "messages": [{"role": "user", "content": prompt}],
        })
    }
}

/// Connections for all of them.
#[derive(Clone)]
pub(super) struct Clients(Client<HttpConnector, BoxBody<Bytes, std::convert::Infallible>>);

impl Clients {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Sends the request and reads the response to its end, or until the plan is to disconnect.
    pub(super) async fn send(&self, address: SocketAddr, token: &str, plan: &Plan) -> Outcome {
        let requested = self.send_in_full(address, token, plan);
        if let Some(time) = plan.disconnects_in {
            return tokio::time::timeout(time, requested).await.unwrap_or(Outcome::Left(None));
        }
        let outcome = tokio::time::timeout(PATIENCE, requested).await;
        outcome.unwrap_or_else(|_| panic!("request {} hung", plan.number))
    }

    /// Repeats the request for a while when it was denied or there were too many.
    pub(super) async fn send_until_served(&self, address: SocketAddr, token: &str, plan: &Plan) -> Outcome {
        for pause in [100, 200, 400, 800] {
            let outcome = self.send(address, token, plan).await;
            if outcome != Outcome::Denied && !matches!(outcome, Outcome::Failed(_, 529, _)) {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.send(address, token, plan).await
    }

    async fn send_in_full(&self, address: SocketAddr, token: &str, plan: &Plan) -> Outcome {
        let request = Request::post(format!("http://{address}/v1/messages"))
            .header("authorization", format!("Bearer {token}"))
            .body(full(plan.body().to_string().into()));
        let Ok(response) = self.0.request(request.unwrap()).await else { return Outcome::Lost };
        let status = response.status().as_u16();
        let id = response.headers().get("request-id").map(|id| id.to_str().unwrap().to_owned());
        let (mut text, mut pieces) = (String::new(), 0);
        let mut body = response.into_body();
        loop {
            if status == 200 && plan.disconnects_after.is_some_and(|after| pieces >= after) {
                return Outcome::Left(id);
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    pieces += 1;
                    text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap_or(&Bytes::new())));
                }
                Some(Err(_)) => return Outcome::Lost,
                None => break,
            }
        }
        let whole = if plan.stream { text.contains("event: message_stop") } else { text.ends_with('}') };
        match (status, id) {
            (200, Some(id)) if whole => Outcome::Finished(id),
            (200, Some(id)) if text.contains("event: error") => Outcome::Failed(id, status, text),
            (429, _) if is_over_limit(&text) => Outcome::Denied,
            (400.., Some(id)) => Outcome::Failed(id, status, text),
            _ => Outcome::Lost,
        }
    }
}

/// Whether a 429 is about a limit: used up, or its rest reserved by others.
fn is_over_limit(text: &str) -> bool {
    text.contains(" of its limit of ") || text.contains("are reserved by requests that are still running")
}
