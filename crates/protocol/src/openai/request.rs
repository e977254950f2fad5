//! Chat completions request: the body of `POST /v1/chat/completions`.
//!
//! Every member is optional here and every unknown one is kept: decoding shows what the body *is*, translating decides
//! whether that will do. See <https://platform.openai.com/docs/api-reference/chat/create>.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{Item, JsonStr, List, RawJson, object};
use crate::json_error::{self, Wording};
use crate::request_body::{CacheControl, InvalidRequest};

object! {
    /// Body of the request.
    pub struct Request {
        /// Model, as the client names it.
        "model" => model: JsonStr<'a>,
        /// Conversation with the system prompt, oldest message first.
        "messages" => messages: List<MessageParam<'a>>,
        /// Whether the response is streamed.
        "stream" => stream: bool,
        /// Stream options.
        "stream_options" => stream_options: StreamOptions<'a>,
        /// Maximum of output tokens, thinking included.
        "max_completion_tokens" => max_completion_tokens: u64,
        /// The older name of `max_completion_tokens`.
        "max_tokens" => max_tokens: u64,
        /// Stop sequences.
        "stop" => stop: TextOr<'a, List<JsonStr<'a>>>,
        /// Temperature, 0 to 2.
        "temperature" => temperature: f64,
        /// Nucleus sampling, 0 to 1.
        "top_p" => top_p: f64,
        /// Number of choices.
        "n" => n: u64,
        /// Tools that the model may call.
        "tools" => tools: List<Tool<'a>>,
        /// Which tool the model has to call, if any.
        "tool_choice" => tool_choice: TextOr<'a, ToolChoice<'a>>,
        /// Whether parallel tool calls are allowed.
        "parallel_tool_calls" => parallel_tool_calls: bool,
        /// The older form of `tools`.
        "functions" => functions: List<Function<'a>>,
        /// The older form of `tool_choice`.
        "function_call" => function_call: TextOr<'a, NamedFunction<'a>>,
        /// Output format.
        "response_format" => response_format: ResponseFormat<'a>,
        /// How hard to think.
        "reasoning_effort" => reasoning_effort: JsonStr<'a>,
        /// Thinking. OpenRouter's.
        "reasoning" => reasoning: Reasoning<'a>,
        /// Thinking. Anthropic's, DeepSeek's and others'.
        "thinking" => thinking: RawJson<'a>,
        /// Whether to think. DashScope's.
        "enable_thinking" => enable_thinking: bool,
        /// Budget of thinking, in tokens. DashScope's.
        "thinking_budget" => thinking_budget: u64,
        /// Whether the response has thinking. OpenRouter's.
        "include_reasoning" => include_reasoning: bool,
        /// End user.
        "user" => user: JsonStr<'a>,
        /// Service tier.
        "service_tier" => service_tier: JsonStr<'a>,
    }
}

impl<'a> Request<'a> {
    /// Parses a body.
    ///
    /// # Errors
    /// When the body is not JSON, or a member is not of its type; the error has the JSON path.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidRequest> {
        json_error::parse(body, Wording::OpenAi)
    }
}

/// A text, or a structure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TextOr<'a, T> {
    /// Text.
    Text(JsonStr<'a>),
    /// The rest.
    More(T),
}

/// Value that a text may stand for.
pub trait LongForm {
    /// What an error expects: the text or the value.
    const EXPECTED: &'static str;
}

impl<T> LongForm for List<T> {
    const EXPECTED: &'static str = "a string or an array";
}

impl LongForm for ToolChoice<'_> {
    const EXPECTED: &'static str = "a string or an object";
}

impl LongForm for NamedFunction<'_> {
    const EXPECTED: &'static str = "a string or an object";
}

impl LongForm for ImageUrl<'_> {
    const EXPECTED: &'static str = "a string or an object";
}

impl<'de: 'a, 'a, T: Deserialize<'de> + LongForm> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'a, T>(PhantomData<(&'a (), T)>);

        impl<'de: 'a, 'a, T: Deserialize<'de> + LongForm> Visitor<'de> for Visit<'a, T> {
            type Value = TextOr<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(JsonStr::from(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOr<'a, T>, E> {
                Ok(TextOr::Text(JsonStr::from(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<TextOr<'a, T>, A::Error> {
                T::deserialize(SeqAccessDeserializer::new(seq)).map(TextOr::More)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<'a, T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::More)
            }
        }

        deserializer.deserialize_any(Visit(PhantomData))
    }
}

object! {
    /// One message of the conversation: the members of all the roles, flat.
    pub struct MessageParam {
        /// `system`, `developer`, `user`, `assistant`, `tool` or `function`.
        "role" => role: JsonStr<'a>,
        /// Content of the message.
        "content" => content: TextOr<'a, List<ContentPart<'a>>>,
        /// Name of the participant; of `function`: name of the function.
        "name" => name: JsonStr<'a>,
        /// Of `assistant`: what it calls.
        "tool_calls" => tool_calls: List<ToolCallParam<'a>>,
        /// Of `assistant`: its tool calls.
        "function_call" => function_call: FunctionCallParam<'a>,
        /// Of `assistant`: the text of its refusal.
        "refusal" => refusal: JsonStr<'a>,
        /// Of `assistant`: what it thought, as far as it was shown.
        "reasoning_content" => reasoning_content: RawJson<'a>,
        /// Of `tool`: id of the call that it is the result of.
        "tool_call_id" => tool_call_id: JsonStr<'a>,
    }
}

impl Item for MessageParam<'_> {
    const WHAT: &'static str = "messages, parts and calls";
    // As for the Messages API, which the request is translated into.
    const MAX: usize = 100_000;

    fn weight(&self) -> usize {
        let parts = match &self.content {
            Some(TextOr::More(parts)) => parts.len(),
            Some(TextOr::Text(_)) | None => 0,
        };
        1 + parts + self.tool_calls.as_ref().map_or(0, |calls| calls.len())
    }
}

object! {
    /// One part of a content: the members of all the kinds that are translated, flat.
    pub struct ContentPart {
        /// Type of the block.
        "type" => kind: JsonStr<'a>,
        /// Of `text`.
        "text" => text: JsonStr<'a>,
        /// Of `refusal`.
        "refusal" => refusal: JsonStr<'a>,
        /// Of `image_url`.
        "image_url" => image_url: TextOr<'a, ImageUrl<'a>>,
        /// Of `file`.
        "file" => file: File<'a>,
        /// Ends a prefix to cache. Not OpenAI's: gateways between clients and Claude models have it.
        "cache_control" => cache_control: CacheControl<'a>,
    }
}

impl Item for ContentPart<'_> {
    const WHAT: &'static str = "content parts";
    const MAX: usize = 10_000;
}

object! {
    /// Image.
    pub struct ImageUrl {
        /// A data URL, or an address.
        "url" => url: JsonStr<'a>,
        /// How closely to look.
        "detail" => detail: JsonStr<'a>,
    }
}

object! {
    /// Document.
    pub struct File {
        /// A data URL.
        "file_data" => file_data: JsonStr<'a>,
        /// Title.
        "filename" => filename: JsonStr<'a>,
    }
}

object! {
    /// Tool call.
    pub struct ToolCallParam {
        /// Id of the call.
        "id" => id: JsonStr<'a>,
        /// `function`.
        "type" => kind: JsonStr<'a>,
        /// Function that is called.
        "function" => function: FunctionCallParam<'a>,
        /// Index in the stream; clients send back what they accumulated.
        "index" => index: u64,
    }
}

impl Item for ToolCallParam<'_> {
    const WHAT: &'static str = "calls";
    const MAX: usize = 10_000;
}

object! {
    /// Function call.
    pub struct FunctionCallParam {
        /// Name of the tool.
        "name" => name: JsonStr<'a>,
        /// JSON text of the arguments.
        "arguments" => arguments: Arguments<'a>,
    }
}

/// Arguments of a call: the text of a JSON object.
///
/// A response that was cut leaves a part of the text, and some clients send back the object, or another value. A
/// conversation goes on after each of them: what is no object becomes the only member of one.
#[derive(Clone, Debug, Default)]
pub struct Arguments<'a> {
    text: JsonStr<'a>,
    /// The object with a text that is none.
    repaired: OnceLock<String>,
}

impl Arguments<'_> {
    /// Member of an object with arguments that are no object.
    pub const INVALID: &'static str = "_invalid_arguments";

    /// The arguments as an object, and whether it holds a text that is none.
    #[must_use]
    pub fn object(&self) -> Option<(RawJson<'_>, bool)> {
        if self.text.is_blank() || self.text.trim() == "null" {
            return serde_json::from_str(RawJson::EMPTY_OBJECT).ok().map(|object| (object, false));
        }
        let object = serde_json::from_str::<RawJson<'_>>(&self.text).ok().filter(|json| json.is_object());
        if let Some(object) = object {
            return Some((object, false));
        }
        let repaired = self.repaired.get_or_init(|| {
            let text = serde_json::to_string(&self.text).unwrap_or_default();
            format!(r#"{{"{}":{text}}}"#, Self::INVALID)
        });
        serde_json::from_str(repaired).ok().map(|object| (object, true))
    }
}

impl PartialEq for Arguments<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = RawJson::deserialize(deserializer)?;
        let text = if value.get().starts_with('"') {
            value.read().map_err(de::Error::custom)?
        } else {
            JsonStr::from(value.get())
        };
        Ok(Self { text, repaired: OnceLock::new() })
    }
}

object! {
    /// Tool that the model may call.
    pub struct Tool {
        /// `function`.
        "type" => kind: JsonStr<'a>,
        /// The function.
        "function" => function: Function<'a>,
        /// Ends a prefix to cache. Not OpenAI's; as in [`ContentPart`].
        "cache_control" => cache_control: CacheControl<'a>,
    }
}

impl Item for Tool<'_> {
    const WHAT: &'static str = "tools";
    const MAX: usize = 10_000;
}

object! {
    /// A function that the model may call.
    pub struct Function {
        /// Name of the tool.
        "name" => name: JsonStr<'a>,
        /// Description.
        "description" => description: JsonStr<'a>,
        /// JSON Schema of the arguments.
        "parameters" => parameters: RawJson<'a>,
        /// Whether the arguments must match the schema.
        "strict" => strict: bool,
    }
}

impl Item for Function<'_> {
    const WHAT: &'static str = "functions";
    const MAX: usize = 10_000;
}

object! {
    /// Thinking, as OpenRouter has it.
    pub struct Reasoning {
        /// How hard to think.
        "effort" => effort: JsonStr<'a>,
        /// Budget of thinking, in tokens.
        "max_tokens" => max_tokens: u64,
        /// Whether to think.
        "enabled" => enabled: bool,
        /// Whether the response has no thinking.
        "exclude" => exclude: bool,
        /// How thinking is summarized.
        "summary" => summary: RawJson<'a>,
    }
}

object! {
    /// Tool that has to be called, or tools that may be.
    pub struct ToolChoice {
        /// `function` or `allowed_tools`.
        "type" => kind: JsonStr<'a>,
        /// Of `function`: the function.
        "function" => function: NamedFunction<'a>,
        /// Of `function`, as in the Responses API: name of the function.
        "name" => name: JsonStr<'a>,
        /// Of `allowed_tools`: the tools.
        "allowed_tools" => allowed_tools: AllowedTools<'a>,
        /// Of `allowed_tools`, as in the Responses API: `auto` or `required`.
        "mode" => mode: JsonStr<'a>,
        /// Of `allowed_tools`, as in the Responses API: the tools.
        "tools" => tools: List<AllowedTool<'a>>,
    }
}

object! {
    /// Tools that may be called.
    pub struct AllowedTools {
        /// `auto` or `required`.
        "mode" => mode: JsonStr<'a>,
        /// The tools.
        "tools" => tools: List<AllowedTool<'a>>,
    }
}

object! {
    /// Tool that may be called, by its name.
    pub struct AllowedTool {
        /// `function`.
        "type" => kind: JsonStr<'a>,
        /// The function.
        "function" => function: NamedFunction<'a>,
        /// Name of the function, as in the Responses API.
        "name" => name: JsonStr<'a>,
    }
}

impl Item for AllowedTool<'_> {
    const WHAT: &'static str = "tools";
    const MAX: usize = 10_000;
}

object! {
    /// A function, by its name.
    pub struct NamedFunction {
        /// The name.
        "name" => name: JsonStr<'a>,
    }
}

object! {
    /// Output format.
    pub struct ResponseFormat {
        /// `text`, `json_object` or `json_schema`.
        "type" => kind: JsonStr<'a>,
        /// Of `json_schema`.
        "json_schema" => json_schema: JsonSchema<'a>,
    }
}

object! {
    /// A schema for the output.
    pub struct JsonSchema {
        /// Title.
        "name" => name: JsonStr<'a>,
        /// Description.
        "description" => description: JsonStr<'a>,
        /// JSON Schema.
        "schema" => schema: RawJson<'a>,
        /// Whether the output must match the schema.
        "strict" => strict: bool,
    }
}

object! {
    /// Stream options.
    pub struct StreamOptions {
        /// Whether the usage is sent, in a chunk of its own.
        "include_usage" => include_usage: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_always_an_object() {
        for (sent, object, is_repaired) in [
            (r#""{\"z\":1.0,\"a\":[1e3]}""#, r#"{"z":1.0,"a":[1e3]}"#, false),
            (r#"{"z":1.0}"#, r#"{"z":1.0}"#, false),
            (r#""""#, "{}", false),
            (r#"" \n""#, "{}", false),
            (r#""null""#, "{}", false),
            (r#""{\"x\": \"unter""#, r#"{"_invalid_arguments":"{\"x\": \"unter"}"#, true),
            (r#""[1]""#, r#"{"_invalid_arguments":"[1]"}"#, true),
            ("[1, 2]", r#"{"_invalid_arguments":"[1, 2]"}"#, true),
            ("7.0", r#"{"_invalid_arguments":"7.0"}"#, true),
            ("false", r#"{"_invalid_arguments":"false"}"#, true),
            (r#""\u0000é\ud83d\ude00""#, "{\"_invalid_arguments\":\"\\u0000é\u{1f600}\"}", true),
        ] {
            let arguments: Arguments<'_> = serde_json::from_str(sent).unwrap();
            let found = arguments.object().map(|(object, is_repaired)| (object.get(), is_repaired));
            assert_eq!(found, Some((object, is_repaired)), "{sent}");
        }
    }
}
