//! Messages request: the body of `POST /v1/messages`.
//!
//! Every member is optional here and every unknown one is kept: parsing yields what the body *is*,
//! translation decides whether it is valid. See
//! <https://platform.claude.com/docs/en/api/messages/create>.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{Item, JsonStr, JsonText, List, MAX_UNKNOWN, RawJson, object};
use crate::json_error::{self, Wording};
pub use crate::request_body::CacheControl;
use crate::request_body::InvalidRequest;

object! {
    /// Body of the request.
    pub struct Request {
        /// Model, as the client names it.
        "model" => model: JsonStr<'a>,
        /// Conversation, oldest message first.
        "messages" => messages: List<InputMessage<'a>>,
        /// System prompt.
        "system" => system: Content<'a>,
        /// Maximum of output tokens.
        "max_tokens" => max_tokens: u64,
        /// Whether the response is streamed.
        "stream" => stream: bool,
        /// Stop sequences.
        "stop_sequences" => stop_sequences: List<JsonStr<'a>>,
        /// Temperature, 0 to 1; 0 is not the same as absent.
        "temperature" => temperature: f64,
        /// Nucleus sampling, 0 to 1.
        "top_p" => top_p: f64,
        /// Number of tokens to sample from.
        "top_k" => top_k: u64,
        /// Tools that the model may call.
        "tools" => tools: List<Tool<'a>>,
        /// Which tool the model has to call, if any.
        "tool_choice" => tool_choice: ToolChoice<'a>,
        /// Thinking, forwarded unchanged where it is valid.
        "thinking" => thinking: RawJson<'a>,
        /// Effort and output format.
        "output_config" => output_config: OutputConfig<'a>,
        /// Output format in its older place.
        "output_format" => output_format: OutputFormat<'a>,
        /// End user.
        "metadata" => metadata: Metadata<'a>,
        /// Service tier.
        "service_tier" => service_tier: JsonStr<'a>,
        /// Automatic prompt caching.
        "cache_control" => cache_control: CacheControl<'a>,
        /// Context management on the server.
        "context_management" => context_management: RawJson<'a>,
        /// Check of the response's tool calls by the platform.
        "safeguards" => safeguards: RawJson<'a>,
        /// Betas that are not in the header.
        "anthropic_beta" => anthropic_beta: List<JsonStr<'a>>,
    }
}

impl<'a> Request<'a> {
    /// Parses a body.
    ///
    /// # Errors
    /// When the body is not JSON, or a member is not of its type; the error has the JSON path.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidRequest> {
        json_error::parse(body, Wording::Anthropic)
    }

    /// The request in `body`, if it is valid. Without the error of [`Request::parse`], an invalid body is parsed once only.
    #[must_use]
    pub fn parse_valid(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        // Derived types would take the items of an array for their fields.
        if text.trim_start().starts_with('[') { None } else { serde_json::from_str(text).ok() }
    }
}

object! {
    /// Message of the conversation.
    pub struct InputMessage {
        /// `user` or `assistant`; newer clients also send `system`.
        "role" => role: JsonStr<'a>,
        /// Content of the message.
        "content" => content: Content<'a>,
    }
}

impl Item for InputMessage<'_> {
    const WHAT: &'static str = "messages and content blocks";
    // Anthropic's limit of messages in one request. <https://platform.claude.com/docs/en/api/messages/create>
    const MAX: usize = 100_000;

    fn weight(&self) -> usize {
        1 + self.content.as_ref().map_or(0, Content::weight)
    }
}

/// Text, or content blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Content<'a> {
    /// Plain text.
    Text(JsonStr<'a>),
    /// Content blocks.
    Blocks(List<Block<'a>>),
    /// Single object, as in some blocks of server tools; not parsed.
    Object(Members<'a>),
}

/// Members of an object that is not parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Members<'a>(Vec<(JsonStr<'a>, RawJson<'a>)>);

impl<'a> Members<'a> {
    /// The members in their order.
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
    /// Content block with the members of all types that are translated.
    ///
    /// Flat because `type` need not come first, and a second pass over the text would cost more than
    /// the absent members do.
    pub struct Block {
        /// Type of the block.
        "type" => kind: JsonStr<'a>,
        /// Of `text`.
        "text" => text: JsonText<'a>,
        /// Of `thinking`.
        "thinking" => thinking: JsonStr<'a>,
        /// Of `thinking`: signature of the model.
        "signature" => signature: JsonStr<'a>,
        /// Of `redacted_thinking`: opaque data.
        "data" => data: JsonStr<'a>,
        /// Of `image`, `document` and `search_result`.
        "source" => source: Source<'a>,
        /// Of `document` and `search_result`.
        "title" => title: JsonStr<'a>,
        /// Of `document`: its context.
        "context" => context: JsonStr<'a>,
        /// Of `tool_use`.
        "id" => id: JsonStr<'a>,
        /// Of `tool_use`.
        "name" => name: JsonStr<'a>,
        /// Of `tool_use`.
        "input" => input: RawJson<'a>,
        /// Of `tool_use`: the caller.
        "caller" => caller: RawJson<'a>,
        /// Of `tool_result`: id of the call.
        "tool_use_id" => tool_use_id: JsonStr<'a>,
        /// Of `tool_result` and `search_result`.
        "content" => content: Content<'a>,
        /// Of `tool_result`: whether the tool failed.
        "is_error" => is_error: bool,
        /// Of `text`: its citations; of `document` and `search_result`: whether citations are enabled.
        "citations" => citations: RawJson<'a>,
        /// Cache marker: end of a prefix to cache.
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

/// Source of an image or a document; of a search result, its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Source<'a> {
    /// Name.
    Name(JsonStr<'a>),
    /// Data, or a URL to fetch.
    Data(Box<SourceData<'a>>),
}

object! {
    /// Data, or a URL to fetch.
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
                f.write_str("a string or an object")
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
    /// Tool that the model may call.
    pub struct Tool {
        /// Absent or `custom` for a tool of the client; else a type that Anthropic defines.
        "type" => kind: JsonStr<'a>,
        /// Name of the tool.
        "name" => name: JsonStr<'a>,
        /// Description.
        "description" => description: JsonStr<'a>,
        /// JSON Schema of the arguments.
        "input_schema" => input_schema: RawJson<'a>,
        /// Cache marker: end of a prefix to cache.
        "cache_control" => cache_control: CacheControl<'a>,
        /// Whether the arguments must match the schema.
        "strict" => strict: bool,
        /// Whether the tool is loaded by tool search only.
        "defer_loading" => defer_loading: bool,
        /// Whether arguments are streamed before they are validated.
        "eager_input_streaming" => eager_input_streaming: bool,
        /// Callers that are allowed.
        "allowed_callers" => allowed_callers: List<JsonStr<'a>>,
    }
}

impl Item for Tool<'_> {
    const WHAT: &'static str = "tools";
    const MAX: usize = 10_000;
}

object! {
    /// Tool choice.
    pub struct ToolChoice {
        /// `auto`, `any`, `tool` or `none`.
        "type" => kind: JsonStr<'a>,
        /// Of `tool`: name of the tool.
        "name" => name: JsonStr<'a>,
        /// Whether parallel tool calls are disabled.
        "disable_parallel_tool_use" => disable_parallel_tool_use: bool,
    }
}

object! {
    /// Effort and output format.
    pub struct OutputConfig {
        /// `low` … `max`.
        "effort" => effort: JsonStr<'a>,
        /// Output format.
        "format" => format: OutputFormat<'a>,
    }
}

object! {
    /// Output format.
    pub struct OutputFormat {
        /// `json_schema`.
        "type" => kind: JsonStr<'a>,
        /// JSON Schema.
        "schema" => schema: RawJson<'a>,
    }
}

object! {
    /// Thinking.
    pub struct Thinking {
        /// `enabled`, `adaptive`, `disabled` or `between_tools`.
        "type" => kind: JsonStr<'a>,
        /// Of `enabled`: budget of thinking, in tokens.
        "budget_tokens" => budget_tokens: u64,
        /// Whether thinking is shown.
        "display" => display: RawJson<'a>,
    }
}

object! {
    /// Citation settings of a document or a search result.
    pub struct CitationsConfigParam {
        /// Whether citations are enabled.
        "enabled" => enabled: bool,
    }
}

object! {
    /// Citation with the members of all types.
    pub struct TextCitationParam {
        /// Type of the block.
        "type" => kind: JsonStr<'a>,
        /// Cited text.
        "cited_text" => cited_text: JsonStr<'a>,
        /// Of documents: index in the request.
        "document_index" => document_index: u64,
        /// Of documents: title.
        "document_title" => document_title: JsonStr<'a>,
        /// Of documents: id of the file.
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
        /// Of `search_result_location`: index in the request.
        "search_result_index" => search_result_index: u64,
        /// Of `search_result_location`: source.
        "source" => source: JsonStr<'a>,
        /// Of `search_result_location`.
        "title" => title: JsonStr<'a>,
    }
}

impl Item for TextCitationParam<'_> {
    const WHAT: &'static str = "citations";
    const MAX: usize = 10_000;
}

object! {
    /// End user.
    pub struct Metadata {
        /// Opaque id of the user.
        "user_id" => user_id: JsonStr<'a>,
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
            assert!(text.starts_with(path) && !text.contains("line 1"), "{body}: {text}");
        }
    }

    #[test]
    fn duplicate_member_is_rejected() {
        assert_eq!(refusal(r#"{"model":"a","model":"b"}"#), "model: the field is given twice");
        assert_eq!(refusal(r#"{"novel":1,"novel":2}"#), "novel: the field is given twice");
        assert_eq!(
            refusal(r#"{"messages":[{"role":"user","role":"user"}]}"#),
            "messages.0.role: the field is given twice"
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
            "model: the body is not valid JSON: a string has an invalid escape (line 1, column 17)"
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
