//! Consumers of stream events, and the formats of client APIs.
//!
//! Each decoder of an upstream API makes the events of the Messages API and writes them to an [`EventSink`]. A
//! [`ClientFormat`] makes the [`Encoder`] that a streamed response is written with, and the JSON document of a response
//! that is not streamed.

use std::fmt;

use super::{Error, Event};

/// Consumer of the events of one response.
pub trait EventSink {
    /// Takes an event.
    fn event(&mut self, event: &Event<'_>);

    /// Takes an event as the model's own server wrote it: its name and its JSON.
    ///
    /// By default the JSON is parsed and handed to [`event`](Self::event); an event of an unknown type is ignored.
    fn raw(&mut self, _name: &str, json: &str) {
        if let Ok(event) = serde_json::from_str(json) {
            self.event(&event);
        }
    }
}

impl<F: FnMut(&Event<'_>)> EventSink for F {
    fn event(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// Writer of one streamed response in the format of a client API.
pub trait Encoder: EventSink + fmt::Debug + Send {
    /// Writes a ping, unless the response has ended.
    fn ping(&mut self);

    /// Ends a response with an error, unless it has ended.
    fn error(&mut self, error: &Error, request_id: &str);

    /// Removes the bytes written so far.
    fn take(&mut self) -> Vec<u8>;

    /// Whether no bytes wait to be taken.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes that wait to be taken.
    fn len(&self) -> usize;
}

/// Response format of a client API, with what a request has chosen of it.
pub trait ClientFormat: fmt::Debug + Send + Sync {
    /// Encoder for a streamed response.
    fn encoder(&self) -> Box<dyn Encoder>;

    /// Document of a response that is not streamed, made from the JSON of a message.
    ///
    /// # Errors
    /// When the format has no representation for the message.
    fn document(&self, message: Vec<u8>) -> Result<Vec<u8>, Error>;

    /// JSON path, in the client's body, of the value at `path` in the Messages request that was made from it; `None` when
    /// the client sent no such value.
    fn locate(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }

    /// Error of the upstream as the client shows it or recovers on it.
    fn upstream_error(&self, error: Error) -> Error {
        error
    }
}

/// Recorder of the events that arrive before the response to the client begins.
#[derive(Debug, Default)]
pub struct FirstEvents(Vec<Recorded>);

#[derive(Debug)]
enum Recorded {
    Typed(Event<'static>),
    Raw { name: String, json: String },
}

impl FirstEvents {
    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands the events to `sink`, in the order and form they arrived.
    pub fn replay(self, sink: &mut (impl EventSink + ?Sized)) {
        for recorded in self.0 {
            match recorded {
                Recorded::Typed(event) => sink.event(&event),
                Recorded::Raw { name, json } => sink.raw(&name, &json),
            }
        }
    }
}

impl EventSink for FirstEvents {
    fn event(&mut self, event: &Event<'_>) {
        self.0.push(Recorded::Typed(event.clone().into_owned()));
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.0.push(Recorded::Raw { name: name.to_owned(), json: json.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::{Delta, MessagesEncoder};

    #[test]
    fn first_events_are_replayed_as_they_came() {
        let mut recorder = FirstEvents::default();
        let mut direct = MessagesEncoder::default();
        let text = "word".to_owned();
        for sink in [&mut recorder as &mut dyn EventSink, &mut direct] {
            sink.raw("novel", r#"{"type":"novel","z":1.0}"#);
            let delta = Delta::TextDelta { text: text.as_str().into() };
            sink.event(&Event::ContentBlockDelta { index: 3, delta });
        }
        let mut replayed = MessagesEncoder::default();
        assert!(!recorder.is_empty());
        recorder.replay(&mut replayed);
        assert_eq!(replayed.take(), direct.take());
    }

    #[test]
    fn raw_events_are_parsed_by_default() {
        let mut names = Vec::new();
        let mut sink = |event: &Event<'_>| names.push(event.name());
        sink.raw("message_stop", r#"{"type":"message_stop"}"#);
        sink.raw("novel", r#"{"type":"novel"}"#);
        assert_eq!(names, ["message_stop"]);
    }
}
