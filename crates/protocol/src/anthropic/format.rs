//! Response format of the Messages API.

use std::borrow::Cow;

use super::event_sink::{ClientFormat, Encoder, EventSink};
use super::{Error, Event, sse};

/// Response format of the Messages API: server-sent events, or the message itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagesFormat;

impl ClientFormat for MessagesFormat {
    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(MessagesEncoder::default())
    }

    fn document(&self, message: Vec<u8>) -> Result<Vec<u8>, Error> {
        Ok(message)
    }
}

/// Encoder of events as server-sent events.
#[derive(Debug, Default)]
pub struct MessagesEncoder {
    out: Vec<u8>,
}

impl EventSink for MessagesEncoder {
    #[inline]
    fn event(&mut self, event: &Event<'_>) {
        sse::write(event, &mut self.out);
    }

    #[inline]
    fn raw(&mut self, name: &str, json: &str) {
        sse::write_raw(name, json, &mut self.out);
    }
}

impl Encoder for MessagesEncoder {
    fn ping(&mut self) {
        self.out.extend_from_slice(sse::PING);
    }

    fn error(&mut self, error: &Error, request_id: &str) {
        let request_id = (!request_id.is_empty()).then_some(Cow::Borrowed(request_id));
        self.event(&Event::Error { error: Cow::Borrowed(error), request_id });
    }

    fn take(&mut self) -> Vec<u8> {
        // The next write is about as long: a buffer that need not grow saves copies.
        let next = Vec::with_capacity(self.out.len());
        std::mem::replace(&mut self.out, next)
    }

    fn len(&self) -> usize {
        self.out.len()
    }
}
