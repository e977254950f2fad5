//! Chunks of a stream: one `chat.completion.chunk` for each event, as server-sent events without names.
//!
//! All chunks of a response begin alike, so that beginning is written once and copied; what is in between is written
//! straight into the buffer. See <https://platform.openai.com/docs/api-reference/chat/streaming>.

use serde::Serialize;

use super::{CompletionHead, CompletionUsage, Error};

/// The last event of a stream that did not fail.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// A comment: keeps clients from giving up on a silent stream, and they do not read it.
pub const PING: &[u8] = b": ping\n\n";

/// Writer of the chunks of one response.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    /// `data: {"id":…,"model":…`
    beginning: Vec<u8>,
    /// From there to the delta.
    choice: &'static [u8],
}

impl ChunkWriter {
    /// Chunk writer for the response with this head.
    #[must_use]
    pub fn new(head: &CompletionHead) -> Self {
        #[derive(Serialize)]
        struct Beginning<'a> {
            id: &'a str,
            object: &'static str,
            created: i64,
            model: &'a str,
        }
        let beginning = Beginning {
            id: &head.id,
            object: "chat.completion.chunk",
            created: head.created,
            model: &head.model,
        };
        let mut json = b"data: ".to_vec();
        json.extend(serde_json::to_vec(&beginning).unwrap_or_default());
        // The closing brace: more follows.
        json.pop();
        // With `include_usage` every chunk has the member `usage`.
        let choice: &[u8] = if head.include_usage {
            br#","usage":null,"choices":[{"index":0,"delta":{"#
        } else {
            br#","choices":[{"index":0,"delta":{"#
        };
        Self { beginning: json, choice }
    }

    /// Writes the first chunk, with the role.
    pub fn role(&self, out: &mut Vec<u8>) {
        self.delta(out, |out| out.extend_from_slice(br#""role":"assistant","content":"""#));
    }

    /// More of the member `name`.
    pub fn text(&self, name: &'static str, text: &str, out: &mut Vec<u8>) {
        self.delta(out, |out| {
            key(name, out);
            string(text, out);
        });
    }

    /// More of the member `name`: a text as JSON spells it, without the quotes.
    pub fn spelled(&self, name: &'static str, text: &[u8], out: &mut Vec<u8>) {
        self.delta(out, |out| {
            key(name, out);
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        });
    }

    /// A call begins: its number, counted from 0, its id and the tool.
    pub fn call(&self, number: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        self.numbered(number, out, |out| {
            out.extend_from_slice(br#","id":"#);
            string(id, out);
            out.extend_from_slice(br#","type":"function","function":{"name":"#);
            string(name, out);
            out.extend_from_slice(br#","arguments":""}"#);
        });
    }

    /// More of the arguments of a call.
    pub fn arguments(&self, number: u32, json: &str, out: &mut Vec<u8>) {
        self.numbered(number, out, |out| {
            out.extend_from_slice(br#","function":{"arguments":"#);
            string(json, out);
            out.push(b'}');
        });
    }

    /// Writes the begin of the only function call, for clients that offered `functions`.
    pub fn function(&self, name: &str, out: &mut Vec<u8>) {
        self.delta(out, |out| {
            out.extend_from_slice(br#""function_call":{"name":"#);
            string(name, out);
            out.extend_from_slice(br#","arguments":""}"#);
        });
    }

    /// More of its arguments.
    pub fn function_arguments(&self, json: &str, out: &mut Vec<u8>) {
        self.delta(out, |out| {
            out.extend_from_slice(br#""function_call":{"arguments":"#);
            string(json, out);
            out.push(b'}');
        });
    }

    /// Writes the chunk with the finish reason.
    pub fn finish(&self, reason: &'static str, out: &mut Vec<u8>) {
        self.head(out);
        out.extend_from_slice(b"},\"finish_reason\":\"");
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\"}]}\n\n");
    }

    /// Writes the chunk with the usage.
    pub fn usage(&self, usage: &CompletionUsage, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.beginning);
        out.extend_from_slice(br#","choices":[],"usage":"#);
        json(usage, out);
        out.extend_from_slice(b"}\n\n");
    }

    /// The event that ends a stream that failed.
    pub fn error(error: &Error, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&error.envelope());
        out.extend_from_slice(b"\n\n");
    }

    fn numbered(&self, number: u32, out: &mut Vec<u8>, rest: impl FnOnce(&mut Vec<u8>)) {
        self.delta(out, |out| {
            out.extend_from_slice(br#""tool_calls":[{"index":"#);
            json(&number, out);
            rest(out);
            out.extend_from_slice(b"}]");
        });
    }

    fn delta(&self, out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
        self.head(out);
        members(out);
        out.extend_from_slice(b"},\"finish_reason\":null}]}\n\n");
    }

    fn head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.beginning);
        out.extend_from_slice(self.choice);
    }
}

fn key(name: &'static str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn string(text: &str, out: &mut Vec<u8>) {
    json(text, out);
}

fn json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    let written = serde_json::to_writer(&mut *out, value);
    debug_assert!(written.is_ok(), "chunks are plain data and a Vec takes every byte");
}
