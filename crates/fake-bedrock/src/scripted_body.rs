//! The body of a streamed answer: plays a script at its own pace.
//!
//! Frames that are ready at once share a chunk; a silence flushes what came before it.

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
use crate::response_metadata::Terms;
use crate::script::{Event, Step};
use crate::{converse, invoke, sse};

/// Frames that one chunk may carry.
const COALESCED: usize = 8;
/// Bytes after which a chunk is full, however few its frames.
const FULL: usize = 16 * 1024;
/// Time for the half of a cut frame to leave before the connection goes.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// How events become payloads.
#[derive(Debug)]
pub(crate) enum Dialect {
    Converse,
    Invoke(Translator),
    Messages {
        translator: Translator,
        /// Whether the ping has been sent.
        pinged: bool,
    },
}

/// A script being played.
#[derive(Debug)]
pub(crate) struct Playing {
    steps: std::vec::IntoIter<Step>,
    dialect: Dialect,
    terms: Terms,
    padding: Padding,
    started: Instant,
    silence: Option<Pin<Box<Sleep>>>,
    garble: bool,
    cut: bool,
    log: Arc<Log>,
    number: u64,
}

impl Playing {
    pub(crate) fn new(
        steps: Vec<Step>,
        dialect: Dialect,
        terms: Terms,
        started: Instant,
        log: Arc<Log>,
        number: u64,
    ) -> Self {
        Self {
            steps: steps.into_iter(),
            dialect,
            terms,
            padding: Padding::new(number.wrapping_mul(0x2545_f491_4f6c_dd1d)),
            started,
            silence: None,
            garble: false,
            cut: false,
            log,
            number,
        }
    }

    fn event(&mut self, event: Event, out: &mut BytesMut) {
        let latency = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_metadata = matches!(&event, Event::Metadata)
            || matches!(&event, Event::Other { name, .. } if name == "metadata");
        let before = out.len();
        match &mut self.dialect {
            Dialect::Converse => converse::write(&event, &self.terms, latency, &mut self.padding, out),
            Dialect::Invoke(translator) => {
                invoke::write(translator, event, &self.terms, latency, &mut self.padding, out);
            }
            Dialect::Messages { translator, pinged } => {
                sse::write(translator, pinged, event, &self.terms, out);
            }
        }
        if is_metadata {
            self.log.used(self.number, self.terms.metered.usage);
        }
        if std::mem::take(&mut self.garble)
            && out.len() > before
            && let Some(last) = out.last_mut()
        {
            *last ^= 0xff;
        }
    }

    fn exception(&mut self, error: &AwsError, out: &mut BytesMut) {
        if let Dialect::Messages { .. } = self.dialect {
            sse::error(sse::kind(error).0, &error.message, out);
            return;
        }
        let mut name = error.kind.to_string();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        frame::exception(name, error.body().to_string(), out);
    }

    fn error(&mut self, code: String, message: String, out: &mut BytesMut) {
        match self.dialect {
            Dialect::Messages { .. } => sse::error("api_error", &message, out),
            _ => frame::error(code, message, out),
        }
    }

    fn error_object(&mut self, kind: String, message: String, out: &mut BytesMut) {
        match self.dialect {
            Dialect::Invoke(_) => invoke::error(&kind, &message, &mut self.padding, out),
            Dialect::Messages { .. } => sse::error(&kind, &message, out),
            // Converse has no words for it.
            Dialect::Converse => frame::error(kind, message, out),
        }
    }
}

/// The caller shall see a broken connection.
#[derive(Debug)]
pub(crate) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script drops the connection here")
    }
}

impl std::error::Error for Dropped {}

impl Body for Playing {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let this = self.get_mut();
        let mut out = BytesMut::new();
        let mut frames = 0;
        loop {
            if let Some(silence) = &mut this.silence {
                if !out.is_empty() {
                    break;
                }
                if silence.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.silence = None;
            }
            if this.cut {
                return Poll::Ready(Some(Err(Dropped)));
            }
            if frames == COALESCED || out.len() >= FULL {
                break;
            }
            match this.steps.next() {
                None if out.is_empty() => {
                    this.log.complete(this.number);
                    return Poll::Ready(None);
                }
                None => break,
                Some(Step::Event(event)) => {
                    if out.is_empty() {
                        out.reserve(2048);
                    }
                    this.event(event, &mut out);
                    frames += 1;
                }
                Some(Step::Exception(error)) => {
                    this.exception(&error, &mut out);
                    this.steps = Vec::new().into_iter();
                }
                Some(Step::Error(code, message)) => {
                    this.error(code, message, &mut out);
                    this.steps = Vec::new().into_iter();
                }
                Some(Step::ErrorObject(kind, message)) => {
                    this.error_object(kind, message, &mut out);
                    this.steps = Vec::new().into_iter();
                }
                Some(Step::Sleep(time)) => this.silence = Some(Box::pin(sleep(time))),
                Some(Step::Garble) => this.garble = true,
                Some(Step::Cut) => {
                    if let Some(Step::Event(event)) = this.steps.next() {
                        let whole = out.len();
                        this.event(event, &mut out);
                        out.truncate(whole + (out.len() - whole) / 2);
                    }
                    this.cut = true;
                    this.silence = Some(Box::pin(sleep(BEFORE_CUT)));
                }
            }
        }
        Poll::Ready(Some(Ok(Frame::data(out.freeze()))))
    }
}
