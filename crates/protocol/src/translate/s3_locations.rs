//! S3 locations in bodies of the Bedrock Runtime API: Bedrock reads them with the credentials of
//! the proxy, not of the client.
//!
//! Images, documents, videos and audio have them, in Converse and in native bodies, also in tool results. The body is
//! scanned and not parsed: the forms of all models are not known, and a body may be large.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_S3Location.html>

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Nesting up to which the path is known. Bodies of AWS's APIs are not deeper than some ten.
const MAX_DEPTH: usize = 200;
/// Longest name in a path that is shown: clients choose names.
const MAX_NAME_CHARS: usize = 40;

/// The path of the first S3 location in `body`. Text that is data of a tool (inputs, results, schemas) does not count.
#[must_use]
pub fn find_s3_location(body: &[u8]) -> Option<String> {
    Scanner { body, position: 0, containers: Vec::new(), overflow: 0, ignored: None }.find()
}

/// An object or array that has begun.
struct Container<'b> {
    /// The name of the member that it belongs to, also through arrays.
    name: Cow<'b, [u8]>,
    /// The number of the current item; `None` for an object.
    index: Option<usize>,
    /// The name of the current member of an object.
    member: Cow<'b, [u8]>,
}

struct Scanner<'b> {
    body: &'b [u8],
    position: usize,
    containers: Vec<Container<'b>>,
    /// Containers beyond [`MAX_DEPTH`].
    overflow: usize,
    /// Depth of the object whose current member is data of a tool.
    ignored: Option<usize>,
}

impl<'b> Scanner<'b> {
    fn find(mut self) -> Option<String> {
        while let Some(byte) = self.body.get(self.position) {
            self.position += 1;
            match byte {
                b'"' => {
                    let text = self.string();
                    let is_name = self.next_byte() == Some(b':');
                    let found = if is_name { self.member(text) } else { self.text(&text) };
                    if found.is_some() {
                        return found;
                    }
                }
                b'{' | b'[' => self.begin(*byte == b'['),
                b'}' | b']' => self.end(),
                b',' => self.next_item(),
                _ => {}
            }
        }
        None
    }

    /// Reads a string whose opening quote has been read, without its escapes if it is short enough to be a name.
    fn string(&mut self) -> Cow<'b, [u8]> {
        /// No name of AWS's APIs is longer, escapes included: `s3Location` in escapes has 60 bytes.
        const MAX_ESCAPED_BYTES: usize = 256;
        let begin = self.position;
        loop {
            let rest = self.body.get(self.position..).unwrap_or_default();
            match memchr::memchr2(b'"', b'\\', rest) {
                None => {
                    self.position = self.body.len();
                    return Cow::Borrowed(rest);
                }
                Some(at) if rest.get(at) == Some(&b'"') => {
                    let text = self.body.get(begin..self.position + at).unwrap_or_default();
                    self.position += at + 1;
                    if text.len() > MAX_ESCAPED_BYTES || memchr::memchr(b'\\', text).is_none() {
                        return Cow::Borrowed(text);
                    }
                    let quoted = self.body.get(begin - 1..self.position).unwrap_or_default();
                    let unescaped = serde_json::from_slice::<String>(quoted);
                    return unescaped.map_or(Cow::Borrowed(text), |text| Cow::Owned(text.into_bytes()));
                }
                // The next byte is escaped.
                Some(at) => self.position += at + 2,
            }
        }
    }

    /// The next byte that is no white space.
    fn next_byte(&self) -> Option<u8> {
        let rest = self.body.get(self.position..).unwrap_or_default();
        rest.iter().copied().find(|byte| !byte.is_ascii_whitespace())
    }

    fn begin(&mut self, is_array: bool) {
        if self.containers.len() == MAX_DEPTH {
            self.overflow += 1;
            return;
        }
        let name = match self.containers.last() {
            Some(Container { index: None, member, .. }) => member.clone(),
            Some(Container { name, .. }) => name.clone(),
            None => Cow::Borrowed(&b""[..]),
        };
        self.containers.push(Container { name, index: is_array.then_some(0), member: Cow::Borrowed(b"") });
    }

    fn end(&mut self) {
        if self.overflow > 0 {
            self.overflow -= 1;
            return;
        }
        if self.ignored.is_some_and(|depth| depth >= self.containers.len()) {
            self.ignored = None;
        }
        self.containers.pop();
    }

    fn next_item(&mut self) {
        if self.overflow > 0 {
            return;
        }
        if self.ignored == Some(self.containers.len()) {
            self.ignored = None;
        }
        if let Some(Container { index: Some(index), .. }) = self.containers.last_mut() {
            *index += 1;
        }
    }

    /// The name of a member.
    fn member(&mut self, name: Cow<'b, [u8]>) -> Option<String> {
        if self.ignored.is_some() {
            return None;
        }
        let is_location = is_s3_location(&name);
        let depth = self.containers.len();
        let Some(object) = self.containers.last_mut().filter(|_| self.overflow == 0) else {
            return is_location.then(|| self.path());
        };
        if is_tool_data(&object.name, &name) {
            self.ignored = Some(depth);
        }
        object.member = name;
        is_location.then(|| self.path())
    }

    /// A text that is a value: the body of a request to InvokeModel whose tokens are counted is in base64.
    fn text(&self, text: &[u8]) -> Option<String> {
        let object = self.containers.last().filter(|_| self.overflow == 0 && self.ignored.is_none())?;
        if &*object.name != b"invokeModel" || &*object.member != b"body" {
            return None;
        }
        let inner = find_s3_location(&STANDARD.decode(text).ok()?)?;
        Some(format!("{}.{inner}", self.path()))
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for container in &self.containers {
            let step = match container.index {
                Some(index) => index.to_string(),
                None => String::from_utf8_lossy(&container.member).chars().take(MAX_NAME_CHARS).collect(),
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&step);
        }
        path
    }
}

/// Whether a member is an S3 location, in any spelling.
fn is_s3_location(name: &[u8]) -> bool {
    let letters = name.iter().filter(|byte| !b"_-".contains(byte)).map(u8::to_ascii_lowercase);
    letters.eq(b"s3location".iter().copied())
}

/// Whether the member `name` of an object under the name `parent` is JSON that a client, a tool or a model made up.
fn is_tool_data(parent: &[u8], name: &[u8]) -> bool {
    matches!(
        (parent, name),
        (b"toolUse" | b"content", b"input")
            | (b"inputSchema" | b"content", b"json")
            | (b"function", b"parameters")
            | (_, b"input_schema")
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn location() -> Value {
        json!({"s3Location": {"uri": "s3://bucket/key"}})
    }

    #[test]
    fn locations_are_found_in_every_part_of_a_body() {
        let source = |kind: &str| json!({kind: {"format": "x", "source": location()}});
        let nested = json!({"toolUse": {"input": {"a": [1, {"b": 2}]}}});
        for (body, expected) in [
            (
                json!({"messages": [{"content": [{"text": "x"}, source("image")]}]}),
                "messages.0.content.1.image.source.s3Location",
            ),
            (
                json!({"messages": [{"content": [source("document")]}]}),
                "messages.0.content.0.document.source.s3Location",
            ),
            (
                json!({"messages": [{"content": [nested, source("video")]}]}),
                "messages.0.content.1.video.source.s3Location",
            ),
            (
                json!({"messages": [{"content": [source("audio")]}]}),
                "messages.0.content.0.audio.source.s3Location",
            ),
            (
                json!({"messages": [{"content": [{"toolResult": {"content": [{"json": {"s3Location": 1}}, source("document")]}}]}]}),
                "messages.0.content.0.toolResult.content.1.document.source.s3Location",
            ),
            (
                json!({"system": [{"guardContent": source("image")}]}),
                "system.0.guardContent.image.source.s3Location",
            ),
            (json!({"mediaSource": location()}), "mediaSource.s3Location"),
            (
                json!({"singleEmbeddingParams": {"video": {"source": location()}}}),
                "singleEmbeddingParams.video.source.s3Location",
            ),
            (
                json!({"input": {"converse": {"messages": [{"content": [source("image")]}]}}}),
                "input.converse.messages.0.content.0.image.source.s3Location",
            ),
            (
                json!({"input": {"invokeModel": {"body": STANDARD.encode(location().to_string())}}}),
                "input.invokeModel.body.s3Location",
            ),
            (json!({"source": {"S3_location": 1}}), "source.S3_location"),
        ] {
            assert_eq!(find_s3_location(body.to_string().as_bytes()).as_deref(), Some(expected), "{body}");
        }
        for (text, expected) in [
            (r#"{"source":{"s3\u004cocation":{}}}"#, "source.s3Location"),
            (
                r#"{"source":{"\u0073\u0033\u004c\u006f\u0063\u0061\u0074\u0069\u006f\u006e" : {}}}"#,
                "source.s3Location",
            ),
            (r#"{"a":"\\","source":{"s3Location":{}}}"#, "source.s3Location"),
            (r#"{"a":"\"","source":{"s3Location":{}}}"#, "source.s3Location"),
            (r#"{"s3Location":{},"s3Location":null}"#, "s3Location"),
            (r#"{"toolUse":{"input":1,"x":{"s3Location":{}}}}"#, "toolUse.x.s3Location"),
            (r#"{"toolUse":{"input":{"a":[1,2]},"s3Location":1}}"#, "toolUse.s3Location"),
        ] {
            assert_eq!(find_s3_location(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        for depth in [100, 300, 100_000] {
            let deep = format!(r#"{{"a":{}{},"s3Location":1}}"#, "[".repeat(depth), "]".repeat(depth));
            assert_eq!(find_s3_location(deep.as_bytes()).as_deref(), Some("s3Location"), "{depth}");
            let inside = format!(r#"{{"a":{}{{"s3Location":1}}"#, "[".repeat(depth));
            assert!(find_s3_location(inside.as_bytes()).is_some(), "{depth}");
        }
    }

    #[test]
    fn data_of_tools_is_no_location() {
        for body in [
            json!({"messages": [{"content": [{"toolUse": {"input": location()}}, {"text": "\"s3Location\": {"}]}]}),
            json!({"messages": [{"content": [{"toolResult": {"content": [{"json": location()}]}}]}]}),
            json!({"toolConfig": {"tools": [{"toolSpec": {"inputSchema": {"json": {"properties": location()}}}}]}}),
            json!({"tools": [{"name": "t", "input_schema": {"properties": location()}}]}),
            json!({"tools": [{"function": {"parameters": {"properties": location()}}}]}),
            json!({"messages": [{"content": [{"type": "tool_use", "input": location()}]}]}),
            json!({"messages": [{"content": [{"text": "s3Location"}]}], "s3Locations": 1}),
            json!(["s3Location", {"x": "s3Location"}]),
        ] {
            assert_eq!(find_s3_location(body.to_string().as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned(bytes in any::<Vec<u8>>(), text in r#"[\[\]{},:"\\a3u]{0,60}"#) {
            let _ = find_s3_location(&bytes);
            let _ = find_s3_location(text.as_bytes());
        }
    }
}
