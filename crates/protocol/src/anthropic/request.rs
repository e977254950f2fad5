//! What a client asks: the body of `POST /v1/messages`.
//!
//! Every member is optional here and every unknown one is kept: reading says what the body *is*,
//! translating decides whether that will do. See
//! <https://platform.claude.com/docs/en/api/messages/create>.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::InvalidRequest;
use crate::json::{Item, JsonStr, List, MAX_UNKNOWN, RawJson, object};

object! {
    /// The whole body.
    pub struct Request {
        /// The model, as the client calls it.
        "model" => model: JsonStr<'a>,
        /// The conversation, oldest first.
        "messages" => messages: List<InputMessage<'a>>,
        /// What the model is told before the conversation.
        "system" => system: Content<'a>,
        /// The most tokens to answer with.
        "max_tokens" => max_tokens: u64,
        /// Whether the answer is to come piece by piece.
        "stream" => stream: bool,
        /// Texts that end the answer.
        "stop_sequences" => stop_sequences: List<JsonStr<'a>>,
        /// Randomness, 0 to 1; 0 is not the same as absent.
        "temperature" => temperature: f64,
        /// Nucleus sampling, 0 to 1.
        "top_p" => top_p: f64,
        /// Sample from this many tokens only.
        "top_k" => top_k: u64,
        /// What the model may call.
        "tools" => tools: List<Tool<'a>>,
        /// Whether and what it has to call.
        "tool_choice" => tool_choice: ToolChoice<'a>,
        /// How the model may think; passed on as it came.
        "thinking" => thinking: RawJson<'a>,
        /// Effort and format of the answer.
        "output_config" => output_config: OutputConfig<'a>,
        /// The format of the answer: what `output_config.format` was before.
        "output_format" => output_format: OutputFormat<'a>,
        /// Who asks.
        "metadata" => metadata: Metadata<'a>,
        /// Which capacity to use.
        "service_tier" => service_tier: JsonStr<'a>,
        /// Automatic caching of the whole prompt.
        "cache_control" => cache_control: CacheControl<'a>,
        /// Edits of the context on the server.
        "context_management" => context_management: RawJson<'a>,
        /// Betas, where they are not in the header.
        "anthropic_beta" => anthropic_beta: List<JsonStr<'a>>,
    }
}

impl<'a> Request<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// When the body is not JSON, or a member is not of its type; the error names the place.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidRequest> {
        read(body)
    }
}

/// Reads a body of any language; what is wrong is said with its place.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, InvalidRequest> {
    let text = std::str::from_utf8(body)
        .map_err(|error| InvalidRequest::new("", format!("the body is not valid UTF-8: {error}")))?;
    serde_json::from_str(text).map_err(|error| located::<T>(text, &error))
}

/// Reads the body once more to learn where it is wrong: only a refusal pays for the bookkeeping.
fn located<'a, T: Deserialize<'a>>(body: &'a str, error: &serde_json::Error) -> InvalidRequest {
    let mut json = serde_json::Deserializer::from_str(body);
    let path = serde_path_to_error::deserialize::<_, T>(&mut json)
        .err()
        .map_or_else(String::new, |error| dotted(error.path()));
    if error.is_data() {
        InvalidRequest::new(path, without_position(&error.to_string()))
    } else {
        InvalidRequest::new(path, format!("the body is not valid JSON: {error}"))
    }
}

fn dotted(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segments = path.iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    segments.collect::<Vec<_>>().join(".")
}

/// serde_json ends its messages with a position, which says less than the path.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

object! {
    /// One message of the conversation.
    pub struct InputMessage {
        /// `user` or `assistant`; newer clients also send `system`.
        "role" => role: JsonStr<'a>,
        /// What was said.
        "content" => content: Content<'a>,
    }
}

impl Item for InputMessage<'_> {
    const WHAT: &'static str = "messages and content blocks";
    const MAX: usize = 100_000;

    fn weight(&self) -> usize {
        1 + self.content.as_ref().map_or(0, Content::weight)
    }
}

/// Text, or blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content<'a> {
    /// Plain text.
    Text(JsonStr<'a>),
    /// Content blocks.
    Blocks(List<Block<'a>>),
    /// A single object, as some blocks of server tools hold; not looked into.
    Object(Members<'a>),
}

/// The members of an object that is not looked into.
#[derive(Clone, Debug, PartialEq)]
pub struct Members<'a>(Vec<(JsonStr<'a>, RawJson<'a>)>);

impl<'a> Members<'a> {
    /// The members, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, RawJson<'a>)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Content<'_> {
    fn weight(&self) -> usize {
        match self {
            Self::Text(_) | Self::Object(_) => 0,
            Self::Blocks(blocks) => blocks.iter().map(Item::weight).sum(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Visit<'a> {
            type Value = Content<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of content blocks")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'a>, E> {
                Ok(Content::Text(JsonStr::from(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'a>, E> {
                Ok(Content::Text(JsonStr::from(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Content<'a>, A::Error> {
                List::from_seq(seq).map(Content::Blocks)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MAX_UNKNOWN {
                        return Err(de::Error::custom("too many unknown fields"));
                    }
                    members.push(member);
                }
                Ok(Content::Object(Members(members)))
            }
        }

        deserializer.deserialize_any(Visit(PhantomData))
    }
}

object! {
    /// One content block: the members of all the kinds that are translated, flat.
    ///
    /// Flat because `type` need not come first, and a second pass over the text would cost more than
    /// the absent members do.
    pub struct Block {
        /// The kind.
        "type" => kind: JsonStr<'a>,
        /// Of `text`.
        "text" => text: JsonStr<'a>,
        /// Of `thinking`.
        "thinking" => thinking: JsonStr<'a>,
        /// Of `thinking`: proves that the model wrote it.
        "signature" => signature: JsonStr<'a>,
        /// Of `redacted_thinking`: opaque.
        "data" => data: JsonStr<'a>,
        /// Of `image`, `document` and `search_result`.
        "source" => source: Source<'a>,
        /// Of `document` and `search_result`.
        "title" => title: JsonStr<'a>,
        /// Of `document`: what it is about.
        "context" => context: JsonStr<'a>,
        /// Of `tool_use`.
        "id" => id: JsonStr<'a>,
        /// Of `tool_use`.
        "name" => name: JsonStr<'a>,
        /// Of `tool_use`.
        "input" => input: RawJson<'a>,
        /// Of `tool_use`: who called.
        "caller" => caller: RawJson<'a>,
        /// Of `tool_result`: which call it answers.
        "tool_use_id" => tool_use_id: JsonStr<'a>,
        /// Of `tool_result` and `search_result`.
        "content" => content: Content<'a>,
        /// Of `tool_result`: whether the tool failed.
        "is_error" => is_error: bool,
        /// Of `text`: where it comes from; of `document` and `search_result`: whether it may be cited.
        "citations" => citations: RawJson<'a>,
        /// Ends a prefix to cache.
        "cache_control" => cache_control: CacheControl<'a>,
    }
}

impl Item for Block<'_> {
    const WHAT: &'static str = "content blocks";
    const MAX: usize = 10_000;

    fn weight(&self) -> usize {
        let source = match &self.source {
            Some(Source::Data(data)) => data.content.as_ref().map_or(0, Content::weight),
            _ => 0,
        };
        1 + source + self.content.as_ref().map_or(0, Content::weight)
    }
}

/// Where the bytes of an image or a document are; of a search result, the name of the place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Source<'a> {
    /// A name.
    Name(JsonStr<'a>),
    /// Bytes, or a place to fetch them from.
    Data(Box<SourceData<'a>>),
}

object! {
    /// Bytes, or a place to fetch them from.
    pub struct SourceData {
        /// `base64`, `text`, `content`, `url`, `file`, …
        "type" => kind: JsonStr<'a>,
        /// Of `base64` and `text`: `image/png`, …
        "media_type" => media_type: JsonStr<'a>,
        /// Of `base64`: the bytes; of `text`: the text.
        "data" => data: JsonStr<'a>,
        /// Of `content`: the parts of the document.
        "content" => content: Content<'a>,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Source<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Visit<'a> {
            type Value = Source<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a source object or a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Source<'a>, E> {
                Ok(Source::Name(JsonStr::from(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Source<'a>, E> {
                Ok(Source::Name(JsonStr::from(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source<'a>, A::Error> {
                SourceData::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|data| Source::Data(Box::new(data)))
            }
        }

        deserializer.deserialize_any(Visit(PhantomData))
    }
}

object! {
    /// Something the model may call.
    pub struct Tool {
        /// Absent or `custom` for a tool of the client's own; else a kind that Anthropic defines.
        "type" => kind: JsonStr<'a>,
        /// What the model calls it by.
        "name" => name: JsonStr<'a>,
        /// What it is for.
        "description" => description: JsonStr<'a>,
        /// The JSON Schema of its arguments.
        "input_schema" => input_schema: RawJson<'a>,
        /// Ends a prefix to cache.
        "cache_control" => cache_control: CacheControl<'a>,
        /// Whether the arguments must obey the schema.
        "strict" => strict: bool,
        /// Whether the model learns of it only through a tool search.
        "defer_loading" => defer_loading: bool,
        /// Whether arguments are to be streamed before they are checked.
        "eager_input_streaming" => eager_input_streaming: bool,
        /// Who may call it.
        "allowed_callers" => allowed_callers: List<JsonStr<'a>>,
    }
}

impl Item for Tool<'_> {
    const WHAT: &'static str = "tools";
    const MAX: usize = 10_000;
}

object! {
    /// Whether the model has to call a tool.
    pub struct ToolChoice {
        /// `auto`, `any`, `tool` or `none`.
        "type" => kind: JsonStr<'a>,
        /// Of `tool`: which.
        "name" => name: JsonStr<'a>,
        /// Whether it may call one tool at the most.
        "disable_parallel_tool_use" => disable_parallel_tool_use: bool,
    }
}

object! {
    /// Effort and format of the answer.
    pub struct OutputConfig {
        /// `low` … `max`.
        "effort" => effort: JsonStr<'a>,
        /// What the answer has to look like.
        "format" => format: OutputFormat<'a>,
    }
}

object! {
    /// What the answer has to look like.
    pub struct OutputFormat {
        /// `json_schema`.
        "type" => kind: JsonStr<'a>,
        /// The schema.
        "schema" => schema: RawJson<'a>,
    }
}

object! {
    /// How the model may think.
    pub struct Thinking {
        /// `enabled`, `adaptive`, `disabled` or `between_tools`.
        "type" => kind: JsonStr<'a>,
        /// Of `enabled`: how many tokens it may think.
        "budget_tokens" => budget_tokens: u64,
        /// Whether the thoughts are shown.
        "display" => display: RawJson<'a>,
    }
}

object! {
    /// Whether a document or a search result may be cited.
    pub struct CitationsConfig {
        /// Whether it may.
        "enabled" => enabled: bool,
    }
}

object! {
    /// Where a piece of an answer comes from: the members of all the kinds, flat.
    pub struct Citation {
        /// The kind.
        "type" => kind: JsonStr<'a>,
        /// What is cited.
        "cited_text" => cited_text: JsonStr<'a>,
        /// Of documents: which, counted over the request.
        "document_index" => document_index: u64,
        /// Of documents.
        "document_title" => document_title: JsonStr<'a>,
        /// Of documents: the uploaded file.
        "file_id" => file_id: JsonStr<'a>,
        /// Of `char_location`.
        "start_char_index" => start_char_index: u64,
        /// Of `char_location`.
        "end_char_index" => end_char_index: u64,
        /// Of `page_location`.
        "start_page_number" => start_page_number: u64,
        /// Of `page_location`.
        "end_page_number" => end_page_number: u64,
        /// Of `content_block_location` and `search_result_location`.
        "start_block_index" => start_block_index: u64,
        /// Of `content_block_location` and `search_result_location`.
        "end_block_index" => end_block_index: u64,
        /// Of `search_result_location`: which, counted over the request.
        "search_result_index" => search_result_index: u64,
        /// Of `search_result_location`: the name of the place.
        "source" => source: JsonStr<'a>,
        /// Of `search_result_location`.
        "title" => title: JsonStr<'a>,
    }
}

impl Item for Citation<'_> {
    const WHAT: &'static str = "citations";
    const MAX: usize = 10_000;
}

object! {
    /// Who asks.
    pub struct Metadata {
        /// An opaque name of the user.
        "user_id" => user_id: JsonStr<'a>,
    }
}

object! {
    /// The end of a prefix to cache.
    pub struct CacheControl {
        /// `ephemeral`.
        "type" => kind: JsonStr<'a>,
        /// `5m` or `1h`.
        "ttl" => ttl: JsonStr<'a>,
        /// How widely the cache is shared; unknown to Bedrock.
        "scope" => scope: RawJson<'a>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        Request::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn wrong_type_is_rejected_with_its_path() {
        for (body, path) in [
            (r#"{"max_tokens":"many"}"#, "max_tokens: "),
            (r#"{"max_tokens":-1}"#, "max_tokens: "),
            (r#"{"max_tokens":1e9}"#, "max_tokens: "),
            (r#"{"stream":"true"}"#, "stream: "),
            (r#"{"messages":{}}"#, "messages: "),
            (r#"{"messages":[1]}"#, "messages.0: "),
            (r#"{"messages":[{"role":1}]}"#, "messages.0.role: "),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "messages.0.content: "),
            (
                r#"{"messages":[{"content":"x"},{"content":[{"type":"text","text":[]}]}]}"#,
                "messages.1.content.0.text: ",
            ),
            (
                r#"{"messages":[{"content":[{"source":{"data":null,"media_type":3}}]}]}"#,
                "messages.0.content.0.source.media_type: ",
            ),
            (r#"{"tools":[{"name":{}}]}"#, "tools.0.name: "),
            (r#"{"system":[{"cache_control":"yes"}]}"#, "system.0.cache_control: "),
        ] {
            let text = refusal(body);
            assert!(text.starts_with(path) && !text.contains("line 1"), "{body} said: {text}");
        }
    }

    #[test]
    fn duplicate_member_is_rejected() {
        assert_eq!(refusal(r#"{"model":"a","model":"b"}"#), "duplicate field `model`");
        assert_eq!(refusal(r#"{"novel":1,"novel":2}"#), "duplicate field `novel`");
        assert_eq!(
            refusal(r#"{"messages":[{"role":"user","role":"user"}]}"#),
            "messages.0: duplicate field `role`"
        );
    }

    #[test]
    fn body_that_is_not_json_is_rejected() {
        for body in
            ["", "nope", "{", "{\"model\":\"a\"} x", "[1]", "\u{feff}{}", "{\"a\":\"\\ud800\"}", "{/**/}"]
        {
            assert!(Request::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Request::parse(b"{\"model\":\"\xff\"}").unwrap_err().message.contains("UTF-8"));
        assert_eq!(
            refusal(r#"{"model":"\ud800"}"#),
            "model: the body is not valid JSON: unexpected end of hex escape at line 1 column 17"
        );
        assert!(refusal(r#"{"messages":[{"content":"\ud800\u0041"}]}"#).starts_with("messages.0.content: "));
        assert!(refusal(r#"{"temperature":1e400}"#).starts_with("temperature: "));
    }

    #[test]
    fn deep_nesting_is_rejected_everywhere() {
        for key in ["thinking", "novel", "messages", "system"] {
            let body = format!("{{\"{key}\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
            assert!(Request::parse(body.as_bytes()).is_err(), "{key}");
        }
    }

    #[test]
    fn a_small_body_cannot_become_a_large_structure() {
        let blocks = format!(r#"{{"system":[{}{{}}]}}"#, "{},".repeat(Block::MAX));
        assert_eq!(refusal(&blocks), "system: too many content blocks: at most 10000");
        let parts = format!(
            r#"{{"messages":[{{"content":[{{"source":{{"content":[{}{{}}]}}}},{{"source":{{"content":[{{}}]}}}}]}}]}}"#,
            "{},".repeat(Block::MAX - 2)
        );
        assert_eq!(
            refusal(&parts),
            "messages.0.content: too many content blocks: at most 10000",
            "the parts of documents count"
        );
        let members: Vec<String> = (0..1000).map(|n| format!("\"m{n}\":0")).collect();
        assert_eq!(refusal(&format!("{{{}}}", members.join(","))), "too many unknown fields");
    }

    #[test]
    fn null_counts_as_absent() {
        let request = Request::parse(br#"{"system":null,"novel":null,"temperature":null}"#).unwrap();
        assert_eq!(request, Request::default());
    }

    #[test]
    fn numbers_survive_a_round_trip() {
        for number in ["133333333333350350", "0.1", "0.30000000000000004", "5e-324"] {
            let body = format!("{{\"top_p\":{number}}}");
            let request = Request::parse(body.as_bytes()).unwrap();
            let printed = serde_json::to_string(&request).unwrap();
            assert_eq!(Request::parse(printed.as_bytes()).unwrap(), request, "{number}");
            assert_eq!(request.top_p, number.parse().ok());
        }
    }

    #[test]
    fn content_that_is_an_object_is_kept() {
        let body =
            r#"{"messages":[{"content":[{"type":"web_search_tool_result","content":{"z":1.0,"a":"b"}}]}]}"#;
        let request = Request::parse(body.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), body);
    }

    #[test]
    fn reading_and_writing_a_request_changes_nothing() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},{"type":"tool_use","id":"t","name":"n","input":{"z":1.0,"a":[1e3]}}]}],"max_tokens":5,"temperature":0.0,"novel":{"b":1,"a":2}}"#;
        let request = Request::parse(body.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), body);
    }
}
