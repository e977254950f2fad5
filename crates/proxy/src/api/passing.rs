//! AWS's answer on its way to a client that speaks Bedrock: the same bytes, watched for silence and for their cost.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use protocol::anthropic::Usage;
use protocol::translate::{Outcome, StreamSummary};
use serde::Deserialize;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::access_log::{Entry, Waited};
use crate::app::{App, Drains};
use crate::telemetry::metrics::OpenStream;

/// How much of the end is kept: Bedrock says last what an answer cost.
const TAIL: usize = 16 << 10;

/// The body. Ends with an error, which breaks the connection, when AWS is silent for too long or the server ends. A
/// client that leaves does not end it: it is read to its end, to learn what it cost.
pub(super) struct Passing {
    /// `None` once it is over or was handed on.
    body: Option<Incoming>,
    tail: Vec<u8>,
    /// Bytes that have passed.
    seen: u64,
    patience: Duration,
    silence: Pin<Box<Sleep>>,
    /// For as long as the client is there.
    cut: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// For AWS.
    waited: Waited,
    entry: Entry,
    /// Where to go when the client leaves; `None` once it has left.
    drains: Option<Drains>,
    /// For as long as the client is there, if it streams.
    _open: Option<OpenStream>,
}

impl Passing {
    pub(super) fn new(app: &Arc<App>, body: Incoming, entry: Entry, streams: bool) -> Self {
        let patience = app.relay.idle_timeout;
        Self {
            body: Some(body),
            tail: Vec::new(),
            seen: 0,
            patience,
            silence: Box::pin(tokio::time::sleep(patience)),
            _open: streams.then(|| entry.streaming()),
            cut: Some(Box::pin(app.tasks.aborted())),
            waited: Waited::default(),
            entry,
            drains: Some(app.drains.clone()),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        let start = bytes.len().saturating_sub(TAIL);
        self.tail.extend_from_slice(bytes.get(start..).unwrap_or_default());
        // Cut off now and then only, so that most pieces cost one copy.
        if self.tail.len() > 4 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }

    /// Writes down what the answer came to; `outcome` is for one that did not say. Does nothing the second time.
    fn over(&mut self, outcome: Outcome) {
        if self.body.take().is_none() {
            return;
        }
        let waited = self.waited.take();
        self.entry.note(|fields| {
            fields.course.ended_at = Some(Instant::now());
            fields.upstream += waited;
        });
        match usage(&self.tail) {
            Some(usage) => note(&self.entry, usage),
            None => self.entry.note(|fields| {
                fields.said = self.seen;
                // What the head said stays.
                fields.summary.get_or_insert(StreamSummary {
                    outcome,
                    usage: None,
                    stop_reason: None,
                    notices: Vec::new(),
                });
            }),
        }
        self.entry.settle();
    }

    /// Reads what nobody waits for to its end.
    async fn drain(mut self) {
        while poll_fn(|context| Pin::new(&mut self).poll_frame(context))
            .await
            .is_some_and(|frame| frame.is_ok())
        {}
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let (Some(drains), Some(body)) = (self.drains.take(), self.body.take()) {
            self.entry.note(|fields| fields.abandoned = true);
            let abandoned = Self {
                body: Some(body),
                tail: std::mem::take(&mut self.tail),
                seen: self.seen,
                patience: self.patience,
                silence: Box::pin(tokio::time::sleep(self.patience)),
                cut: None,
                waited: std::mem::take(&mut self.waited),
                entry: self.entry.clone(),
                drains: None,
                _open: None,
            };
            return drains.take(abandoned.drain());
        }
        self.over(Outcome::Cancelled);
    }
}

fn note(entry: &Entry, usage: Usage) {
    entry.note(|fields| {
        fields.summary = Some(StreamSummary {
            outcome: Outcome::Finished,
            usage: Some(usage),
            stop_reason: None,
            notices: Vec::new(),
        });
    });
}

impl Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let passing = &mut *self;
        let Some(body) = &mut passing.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(context);
        if polled.is_pending() {
            passing.waited.begin();
        } else {
            passing.waited.end();
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let ended = body.is_end_stream();
                if let Some(bytes) = frame.data_ref() {
                    passing.keep(bytes);
                }
                if ended {
                    passing.over(Outcome::Failed);
                }
                let deadline = Instant::now() + passing.patience;
                passing.silence.as_mut().reset(deadline);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                passing.over(Outcome::Failed);
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            Poll::Ready(None) => {
                passing.over(Outcome::Failed);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let reason = if passing.silence.as_mut().poll(context).is_ready() {
                    "Bedrock was silent for too long"
                } else if passing.cut.as_mut().is_some_and(|cut| cut.as_mut().poll(context).is_ready()) {
                    "the gateway is shutting down"
                } else {
                    return Poll::Pending;
                };
                passing.over(Outcome::Failed);
                Poll::Ready(Some(Err(io::Error::other(reason))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What the head of an InvokeModel answer says it cost.
pub(super) fn note_head(entry: &Entry, headers: &HeaderMap) {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let Some(input_tokens) = count("x-amzn-bedrock-input-token-count") else { return };
    let zero = |name: &str| count(name).unwrap_or(0);
    let usage = Usage {
        input_tokens,
        output_tokens: zero("x-amzn-bedrock-output-token-count"),
        cache_read_input_tokens: zero("x-amzn-bedrock-cache-read-input-token-count"),
        cache_creation_input_tokens: zero("x-amzn-bedrock-cache-write-input-token-count"),
        ..Usage::default()
    };
    note(entry, usage);
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Cost {
    #[serde(alias = "inputTokenCount")]
    input_tokens: u64,
    #[serde(alias = "outputTokenCount")]
    output_tokens: u64,
    #[serde(alias = "cacheReadInputTokenCount")]
    cache_read_input_tokens: u64,
    #[serde(alias = "cacheWriteInputTokenCount")]
    cache_write_input_tokens: u64,
}

/// What the end of an answer says it cost: `usage` of Converse, `amazon-bedrock-invocationMetrics` of InvokeModel,
/// which stands in base64 inside a stream. Frames need not be taken apart for that: JSON stands in them as it is.
fn usage(tail: &[u8]) -> Option<Usage> {
    let cost = |text: &[u8], member: &str| {
        let start = rfind(text, format!("\"{member}\":").as_bytes())?;
        let mut values = serde_json::Deserializer::from_slice(text.get(start..)?).into_iter::<Cost>();
        values.next()?.ok()
    };
    let in_chunk = || {
        let start = rfind(tail, b"\"bytes\":\"")?;
        let rest = tail.get(start..)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        cost(&STANDARD.decode(rest.get(..end)?).ok()?, "amazon-bedrock-invocationMetrics")
    };
    let cost = in_chunk().or_else(|| cost(tail, "usage"))?;
    let usage = Usage {
        input_tokens: cost.input_tokens,
        output_tokens: cost.output_tokens,
        cache_read_input_tokens: cost.cache_read_input_tokens,
        cache_creation_input_tokens: cost.cache_write_input_tokens,
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(usage)
}

/// Where the last `needle` in `text` ends.
fn rfind(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).rposition(|window| window == needle).map(|at| at + needle.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_read_from_the_end_of_every_kind_of_answer() {
        let tokens = |tail: &[u8]| {
            let usage = usage(tail)?;
            let cached = (usage.cache_read_input_tokens, usage.cache_creation_input_tokens);
            Some((usage.input_tokens, usage.output_tokens, cached.0, cached.1))
        };
        let whole = br#"{"output":{},"usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7,"cacheReadInputTokens":5}}"#;
        assert_eq!(tokens(whole), Some((3, 4, 5, 0)));
        let frame = b"\x00\x01:event-type\x07metadata{\"metrics\":{},\"usage\":{\"inputTokens\":3,\"outputTokens\":4,\"cacheWriteInputTokens\":6}}\x12\x34\x56";
        assert_eq!(tokens(frame), Some((3, 4, 0, 6)));
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"outputTokenCount":2,"cacheReadInputTokenCount":3}}"#;
        let chunk = format!(r#"x{{"bytes":"{}","p":"abc"}}y"#, STANDARD.encode(stop));
        assert_eq!(tokens(chunk.as_bytes()), Some((1, 2, 3, 0)));
        for nothing in [&b""[..], b"\"usage\":", br#""usage":"x""#, br#"{"bytes":"!!"}"#] {
            assert_eq!(tokens(nothing), None);
        }
    }
}
