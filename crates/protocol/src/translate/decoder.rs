//! The decoder of one response, whichever operation it comes from.

use super::MappedError;
use super::from_converse::{
    ConverseStream, End, Outcome, Step, StreamContext, StreamSummary, translate_response,
};
use super::from_invoke::InvokeStream;
use super::from_messages_api::{MessagesApiStream, translate_message};
use super::passthrough::{MAX_DOCUMENT_BYTES, UsageObserver};
use crate::anthropic::event_sink::EventSink;

/// Decoder of the bytes of one response into events.
#[derive(Debug)]
pub enum Decoder {
    /// Frames of ConverseStream, translated.
    ConverseStream(Box<ConverseStream>),
    /// A document, translated into the events of a stream once it is complete.
    Document(Box<DocumentDecoder>),
    /// Frames of InvokeModelWithResponseStream with Anthropic's events, forwarded.
    InvokeModel(Box<InvokeStream>),
    /// Server-sent events of the Messages API, forwarded.
    Messages(Box<MessagesApiStream>),
    /// A response of the Bedrock API, forwarded unchanged; decoded for its usage alone.
    Passthrough(Box<UsageObserver>),
    /// Ended, with what it came to.
    Ended(Option<StreamSummary>, Option<Box<MappedError>>),
}

/// Decoder of a response that is one document.
#[derive(Debug)]
pub struct DocumentDecoder {
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

impl DocumentDecoder {
    fn is_too_large(&self) -> bool {
        self.bytes.len() > MAX_DOCUMENT_BYTES
    }

    fn finish(self, end: End, sink: &mut dyn EventSink) -> StreamSummary {
        match (end, self.format) {
            (End::Eof, DocumentFormat::Converse) => translate_response(&self.bytes, self.context, sink),
            (End::Eof, DocumentFormat::Message) => translate_message(&self.bytes, self.context, sink),
            (end, _) => ConverseStream::new(self.context).finish(end, sink),
        }
    }
}

/// What a chunk has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No event yet.
    Waiting,
    /// There is a first event.
    Started,
    /// The response has ended.
    Ended,
}

impl Decoder {
    /// Decoder of a ConverseStream response.
    #[must_use]
    pub fn converse_stream(context: StreamContext) -> Self {
        Self::ConverseStream(Box::new(ConverseStream::new(context)))
    }

    /// Decoder of a Converse response.
    #[must_use]
    pub fn converse_document(context: StreamContext) -> Self {
        let format = DocumentFormat::Converse;
        Self::Document(Box::new(DocumentDecoder { context, format, bytes: Vec::new() }))
    }

    /// Decoder of one message, from InvokeModel or the Messages API.
    #[must_use]
    pub fn message_document(context: StreamContext) -> Self {
        let format = DocumentFormat::Message;
        Self::Document(Box::new(DocumentDecoder { context, format, bytes: Vec::new() }))
    }

    /// Decoder of an InvokeModelWithResponseStream response with Anthropic's events.
    #[must_use]
    pub fn invoke_stream(context: StreamContext) -> Self {
        Self::InvokeModel(Box::new(InvokeStream::new(context)))
    }

    /// Decoder of a stream of the Messages API.
    #[must_use]
    pub fn messages_stream(context: StreamContext) -> Self {
        Self::Messages(Box::new(MessagesApiStream::new(context)))
    }

    /// Decoder of a response that is forwarded unchanged.
    #[must_use]
    pub fn passthrough(observer: UsageObserver) -> Self {
        Self::Passthrough(Box::new(observer))
    }

    /// Decodes `bytes` into `sink`.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn EventSink) -> Progress {
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
    pub fn end_early(&mut self, end: End, sink: &mut dyn EventSink) -> Progress {
        let had_started = self.has_started();
        let Some(summary) = self.finish(end, sink) else { return Progress::Ended };
        let has_started = had_started || summary.outcome == Outcome::Finished;
        if let (Self::Ended(kept, _), true) = (&mut *self, has_started) {
            *kept = Some(summary);
        }
        if has_started { Progress::Started } else { Progress::Ended }
    }

    /// Ends the response: writes the last events into `sink` and returns what it came to. `None` the second time.
    pub fn finish(&mut self, end: End, sink: &mut dyn EventSink) -> Option<StreamSummary> {
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
    pub fn has_started(&self) -> bool {
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
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::Document(document) if document.is_too_large())
    }

    /// Whether the response ended before it was read to its end.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Ended(..))
    }

    /// Whether the bytes go to the client unchanged.
    pub fn is_passthrough(&self) -> bool {
        matches!(self, Self::Passthrough(_))
    }

    /// AWS's error inside the response.
    pub fn failure(&self) -> Option<&MappedError> {
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
