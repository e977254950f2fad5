//! Decodes the bytes of a response into events, by operation.

use http::HeaderMap;
use protocol::anthropic::Usage;
use protocol::anthropic::event_sink::EventSink;
use protocol::translate::{
    self, ConverseStream, End, InvokeStream, MappedError, MessagesApiStream, Outcome, Step, StreamContext,
    StreamSummary, UsageObserver,
};

use super::request::UpstreamRequest;
use crate::bedrock::Operation;

/// The largest document, in bytes: the longest outputs of today's models are below 1 MB.
const MAX_DOCUMENT_BYTES: usize = 32 << 20;

/// The decoder of one response.
#[derive(Debug)]
pub(super) enum Decoder {
    /// Frames of ConverseStream, translated.
    ConverseStream(Box<ConverseStream>),
    /// A document, translated into the events of a stream once it is complete.
    Document(Box<Document>),
    /// Frames of InvokeModelWithResponseStream with Anthropic's events, forwarded.
    InvokeModel(Box<InvokeStream>),
    /// Server-sent events of the Messages API, forwarded.
    Messages(Box<MessagesApiStream>),
    /// A response of the Bedrock API, forwarded unchanged; decoded for its usage alone.
    Passthrough(Box<UsageObserver>),
    /// Ended, with what it came to.
    Ended(Option<StreamSummary>, Option<Box<MappedError>>),
}

/// A document on its way.
#[derive(Debug)]
pub(super) struct Document {
    context: StreamContext,
    format: DocumentFormat,
    bytes: Vec<u8>,
}

/// The format of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DocumentFormat {
    /// Converse's.
    Converse,
    /// A message of Anthropic's API.
    Message,
}

impl Document {
    fn is_too_large(&self) -> bool {
        self.bytes.len() > MAX_DOCUMENT_BYTES
    }

    fn finish(self, end: End, sink: &mut dyn EventSink) -> StreamSummary {
        match (end, self.format) {
            (End::Eof, DocumentFormat::Converse) => {
                translate::translate_response(&self.bytes, self.context, sink)
            }
            (End::Eof, DocumentFormat::Message) => {
                translate::translate_message(&self.bytes, self.context, sink)
            }
            (end, _) => ConverseStream::new(self.context).finish(end, sink),
        }
    }
}

/// What a chunk has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// No event yet.
    Waiting,
    /// There is a first event.
    Started,
    /// The response has ended.
    Ended,
}

impl Decoder {
    /// The decoder of the response to `upstream`, whose head has `headers`.
    pub(super) fn new(upstream: &UpstreamRequest, headers: &HeaderMap) -> Self {
        if upstream.upstream_api.is_none() {
            return Self::Passthrough(Box::new(usage_observer(upstream.operation, headers)));
        }
        let context = upstream.context.clone();
        match upstream.operation {
            Operation::InvokeModelWithResponseStream => {
                Self::InvokeModel(Box::new(InvokeStream::new(context)))
            }
            Operation::Messages | Operation::MantleMessages => {
                Self::Messages(Box::new(MessagesApiStream::new(context)))
            }
            operation if operation.is_streamed() => {
                Self::ConverseStream(Box::new(ConverseStream::new(context)))
            }
            operation => {
                let is_converse = operation == Operation::Converse;
                let format = if is_converse { DocumentFormat::Converse } else { DocumentFormat::Message };
                Self::Document(Box::new(Document { context, format, bytes: Vec::new() }))
            }
        }
    }

    /// Decodes `bytes` into `sink`.
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn EventSink) -> Progress {
        let step = match self {
            Self::ConverseStream(stream) => stream.push(bytes, sink),
            Self::InvokeModel(stream) => stream.push(bytes, sink),
            Self::Messages(stream) => stream.push(bytes, sink),
            Self::Passthrough(observer) => {
                observer.push(bytes);
                Step::More
            }
            Self::Document(document) => {
                document.bytes.extend_from_slice(bytes);
                if document.is_too_large() { Step::Ended } else { Step::More }
            }
            Self::Ended(..) => Step::Ended,
        };
        match step {
            Step::Ended if self.has_started() => self.end_early(End::Eof, sink),
            Step::Ended => Progress::Ended,
            Step::More if self.has_started() => Progress::Started,
            Step::More => Progress::Waiting,
        }
    }

    /// Ends a response that came with its first chunks, such as a document: the last events go into
    /// `sink`, and what it came to is kept for [`Self::finish`].
    pub(super) fn end_early(&mut self, end: End, sink: &mut dyn EventSink) -> Progress {
        let had_started = self.has_started();
        let Some(summary) = self.finish(end, sink) else { return Progress::Ended };
        let has_started = had_started || summary.outcome == Outcome::Finished;
        if let (Self::Ended(kept, _), true) = (&mut *self, has_started) {
            *kept = Some(summary);
        }
        if has_started { Progress::Started } else { Progress::Ended }
    }

    /// Ends the response: writes the last events into `sink` and returns what it came to. `None` the second time.
    pub(super) fn finish(&mut self, end: End, sink: &mut dyn EventSink) -> Option<StreamSummary> {
        let failure = self.failure().cloned().map(Box::new);
        Some(match std::mem::replace(self, Self::Ended(None, failure)) {
            Self::ConverseStream(stream) => stream.finish(end, sink),
            Self::InvokeModel(stream) => stream.finish(end, sink),
            Self::Messages(stream) => stream.finish(end, sink),
            Self::Passthrough(observer) => {
                let observed = observer.finish(&end);
                if let Self::Ended(_, failure) = self {
                    *failure = observed.error.map(Box::new);
                }
                StreamSummary {
                    outcome: observed.outcome,
                    usage: observed.usage,
                    // Without the final usage, a stop reason does not make the usage exact.
                    stop_reason: observed.stop_reason.filter(|_| observed.outcome == Outcome::Finished),
                    notices: Vec::new(),
                }
            }
            Self::Document(document) => document.finish(end, sink),
            Self::Ended(summary, _) => return summary,
        })
    }

    /// Whether there was an event.
    pub(super) fn has_started(&self) -> bool {
        match self {
            Self::ConverseStream(stream) => stream.is_started(),
            Self::InvokeModel(stream) => stream.is_started(),
            Self::Messages(stream) => stream.is_started(),
            Self::Passthrough(_) => true,
            Self::Document(_) => false,
            Self::Ended(summary, _) => summary.is_some(),
        }
    }

    /// Whether it is a document that is too large to be translated.
    pub(super) fn is_too_large(&self) -> bool {
        matches!(self, Self::Document(document) if document.is_too_large())
    }

    /// Whether the response ended before it was read to its end.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended(..))
    }

    /// Whether the bytes go to the client unchanged.
    pub(super) fn is_passthrough(&self) -> bool {
        matches!(self, Self::Passthrough(_))
    }

    /// AWS's error inside the response.
    pub(super) fn failure(&self) -> Option<&MappedError> {
        match self {
            Self::ConverseStream(stream) => stream.failure(),
            Self::InvokeModel(stream) => stream.failure(),
            Self::Messages(stream) => stream.failure(),
            // Known at its end only.
            Self::Passthrough(_) | Self::Document(_) => None,
            Self::Ended(_, failure) => failure.as_deref(),
        }
    }
}

/// The observer of a response of the Bedrock API. InvokeModel states its usage in `headers`.
fn usage_observer(operation: Operation, headers: &HeaderMap) -> UsageObserver {
    match operation {
        Operation::Converse => UsageObserver::converse(),
        Operation::InvokeModel => UsageObserver::invoke_model(header_usage(headers)),
        Operation::InvokeModelWithResponseStream => UsageObserver::invoke_model_stream(),
        _ => UsageObserver::converse_stream(),
    }
}

/// The usage in the headers of InvokeModel.
fn header_usage(headers: &HeaderMap) -> Option<Usage> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let count_or_zero = |name: &str| count(name).unwrap_or(0);
    Some(Usage {
        input_tokens: count("x-amzn-bedrock-input-token-count")?,
        output_tokens: count_or_zero("x-amzn-bedrock-output-token-count"),
        cache_read_input_tokens: count_or_zero("x-amzn-bedrock-cache-read-input-token-count"),
        cache_creation_input_tokens: count_or_zero("x-amzn-bedrock-cache-write-input-token-count"),
        ..Usage::default()
    })
}
