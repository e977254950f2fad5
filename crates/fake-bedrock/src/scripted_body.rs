//! Streaming response body: sends a script with its delays.
//!
//! Frames that are ready at once share a chunk; a delay flushes the frames before it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};

use crate::anthropic::Translator;
use crate::error::AwsError;
use crate::frame::{self, Padding};
use crate::log::Log;
use crate::response_metadata::ResponseMetadata;
use crate::script::{ScriptEvent, ScriptStep};
use crate::{converse, invoke, sse};

/// Maximum number of frames of a chunk: several, so that clients meet frames that are joined.
const MAX_FRAMES_PER_CHUNK: usize = 8;
/// Size at which a chunk is sent, in bytes: that of a TLS record.
const MAX_CHUNK_BYTES: usize = 16 * 1024;
/// Delay that lets half a frame leave before the connection is dropped.
const CUT_DELAY: Duration = Duration::from_millis(20);

/// Encoding of the stream.
#[derive(Debug)]
pub(crate) enum StreamFormat {
    Converse,
    Invoke(Translator),
    Messages {
        translator: Translator,
        /// Whether the ping has been sent.
        ping_sent: bool,
    },
}

/// Response body that sends a script.
#[derive(Debug)]
pub(crate) struct ScriptedBody {
    steps: std::vec::IntoIter<ScriptStep>,
    format: StreamFormat,
    metadata: ResponseMetadata,
    padding: Padding,
    started: Instant,
    pause: Option<Pin<Box<Sleep>>>,
    corrupt_next: bool,
    is_cut: bool,
    log: Arc<Log>,
    number: u64,
}

impl ScriptedBody {
    pub(crate) fn new(
        steps: Vec<ScriptStep>,
        format: StreamFormat,
        metadata: ResponseMetadata,
        started: Instant,
        log: Arc<Log>,
        number: u64,
    ) -> Self {
        Self {
            steps: steps.into_iter(),
            format,
            metadata,
            padding: Padding::new(number.wrapping_mul(0x2545_f491_4f6c_dd1d)),
            started,
            pause: None,
            corrupt_next: false,
            is_cut: false,
            log,
            number,
        }
    }

    fn event(&mut self, event: ScriptEvent, out: &mut BytesMut) {
        let latency = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_metadata = matches!(&event, ScriptEvent::Metadata)
            || matches!(&event, ScriptEvent::Other { name, .. } if name == "metadata");
        let before = out.len();
        match &mut self.format {
            StreamFormat::Converse => {
                converse::write(&event, &self.metadata, latency, &mut self.padding, out);
            }
            StreamFormat::Invoke(translator) => {
                invoke::write(translator, event, &self.metadata, latency, &mut self.padding, out);
            }
            StreamFormat::Messages { translator, ping_sent } => {
                sse::write(translator, ping_sent, event, &self.metadata, out);
            }
        }
        if is_metadata {
            self.log.add_usage(self.number, self.metadata.metered.usage);
        }
        if std::mem::take(&mut self.corrupt_next)
            && out.len() > before
            && let Some(last) = out.last_mut()
        {
            *last ^= 0xff;
        }
    }

    fn exception(&mut self, error: &AwsError, out: &mut BytesMut) {
        if let StreamFormat::Messages { .. } = self.format {
            sse::error(sse::error_type(error).0, &error.message, out);
            return;
        }
        let mut name = error.kind.to_string();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        frame::exception(name, error.body().to_string(), out);
    }

    fn error(&mut self, code: String, message: String, out: &mut BytesMut) {
        match self.format {
            StreamFormat::Messages { .. } => sse::error("api_error", &message, out),
            _ => frame::error(code, message, out),
        }
    }

    fn error_object(&mut self, kind: String, message: String, out: &mut BytesMut) {
        match self.format {
            StreamFormat::Invoke(_) => invoke::error(&kind, &message, &mut self.padding, out),
            StreamFormat::Messages { .. } => sse::error(&kind, &message, out),
            // Converse has no error of the model's own.
            StreamFormat::Converse => frame::error(kind, message, out),
        }
    }
}

/// Error that makes hyper drop the connection.
#[derive(Debug)]
pub(crate) struct ConnectionDropped;

impl std::fmt::Display for ConnectionDropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script drops the connection here")
    }
}

impl std::error::Error for ConnectionDropped {}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = ConnectionDropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionDropped>>> {
        let this = self.get_mut();
        let mut out = BytesMut::new();
        let mut frames = 0;
        loop {
            if let Some(pause) = &mut this.pause {
                if !out.is_empty() {
                    break;
                }
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.pause = None;
            }
            if this.is_cut {
                return Poll::Ready(Some(Err(ConnectionDropped)));
            }
            if frames == MAX_FRAMES_PER_CHUNK || out.len() >= MAX_CHUNK_BYTES {
                break;
            }
            match this.steps.next() {
                None if out.is_empty() => {
                    this.log.set_complete(this.number);
                    return Poll::Ready(None);
                }
                None => break,
                Some(ScriptStep::Event(event)) => {
                    if out.is_empty() {
                        out.reserve(2048);
                    }
                    this.event(event, &mut out);
                    frames += 1;
                }
                Some(ScriptStep::Exception(error)) => {
                    this.exception(&error, &mut out);
                    this.steps = Vec::new().into_iter();
                }
                Some(ScriptStep::Error(code, message)) => {
                    this.error(code, message, &mut out);
                    this.steps = Vec::new().into_iter();
                }
                Some(ScriptStep::ErrorObject(kind, message)) => {
                    this.error_object(kind, message, &mut out);
                    this.steps = Vec::new().into_iter();
                }
                Some(ScriptStep::Sleep(time)) => this.pause = Some(Box::pin(sleep(time))),
                Some(ScriptStep::CorruptNext) => this.corrupt_next = true,
                Some(ScriptStep::Cut) => {
                    if let Some(ScriptStep::Event(event)) = this.steps.next() {
                        let complete_bytes = out.len();
                        this.event(event, &mut out);
                        out.truncate(complete_bytes + (out.len() - complete_bytes) / 2);
                    }
                    this.is_cut = true;
                    this.pause = Some(Box::pin(sleep(CUT_DELAY)));
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(out.freeze()))))
    }
}
