//! What a client asks: the body of `POST /v1/chat/completions`.
//!
//! Every member is optional here and every unknown one is kept: reading says what the body *is*, translating decides
//! whether that will do. See <https://platform.openai.com/docs/api-reference/chat/create>.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{CacheControl, read};
use crate::json::{Item, JsonStr, List, RawJson, object};

object! {
    /// The whole body.
    pub struct Request {
        /// The model, as the client calls it.
        "model" => model: JsonStr<'a>,
        /// The conversation, oldest first, with what the model is told before it.
        "messages" => messages: List<Message<'a>>,
        /// Whether the answer is to come piece by piece.
        "stream" => stream: bool,
        /// What a stream is to hold beside the answer.
        "stream_options" => stream_options: StreamOptions<'a>,
        /// The most tokens to answer with, thinking included.
        "max_completion_tokens" => max_completion_tokens: u64,
        /// What it was called before.
        "max_tokens" => max_tokens: u64,
        /// Texts that end the answer.
        "stop" => stop: TextOr<'a, List<JsonStr<'a>>>,
        /// Randomness, 0 to 2.
        "temperature" => temperature: f64,
        /// Nucleus sampling, 0 to 1.
        "top_p" => top_p: f64,
        /// How many answers to give.
        "n" => n: u64,
        /// What the model may call.
        "tools" => tools: List<Tool<'a>>,
        /// Whether and what it has to call.
        "tool_choice" => tool_choice: TextOr<'a, ToolChoice<'a>>,
        /// Whether it may call several at once.
        "parallel_tool_calls" => parallel_tool_calls: bool,
        /// What `tools` was before.
        "functions" => functions: List<Function<'a>>,
        /// What `tool_choice` was before.
        "function_call" => function_call: TextOr<'a, NamedFunction<'a>>,
        /// What the answer has to look like.
        "response_format" => response_format: ResponseFormat<'a>,
        /// How hard to think.
        "reasoning_effort" => reasoning_effort: JsonStr<'a>,
        /// Who asks.
        "user" => user: JsonStr<'a>,
        /// Which capacity to use.
        "service_tier" => service_tier: JsonStr<'a>,
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

/// A text, or something that says more.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TextOr<'a, T> {
    /// The text.
    Text(JsonStr<'a>),
    /// The rest.
    More(T),
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for TextOr<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<'a, T>(PhantomData<(&'a (), T)>);

        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for Visit<'a, T> {
            type Value = TextOr<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or what it is short for")
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
    pub struct Message {
        /// `system`, `developer`, `user`, `assistant`, `tool` or `function`.
        "role" => role: JsonStr<'a>,
        /// What was said.
        "content" => content: TextOr<'a, List<Part<'a>>>,
        /// Who said it; of `function`: what was called.
        "name" => name: JsonStr<'a>,
        /// Of `assistant`: what it calls.
        "tool_calls" => tool_calls: List<ToolCall<'a>>,
        /// Of `assistant`: what it calls, as it was said before.
        "function_call" => function_call: FunctionCall<'a>,
        /// Of `assistant`: why it would not answer.
        "refusal" => refusal: JsonStr<'a>,
        /// Of `assistant`: what it thought, as far as it was shown.
        "reasoning_content" => reasoning_content: RawJson<'a>,
        /// Of `tool`: which call it answers.
        "tool_call_id" => tool_call_id: JsonStr<'a>,
    }
}

impl Item for Message<'_> {
    const WHAT: &'static str = "messages, parts and calls";
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
    /// One part of what was said: the members of all the kinds that are translated, flat.
    pub struct Part {
        /// The kind.
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

impl Item for Part<'_> {
    const WHAT: &'static str = "content parts";
    const MAX: usize = 10_000;
}

object! {
    /// Where an image is.
    pub struct ImageUrl {
        /// A data URL, or an address.
        "url" => url: JsonStr<'a>,
        /// How closely to look.
        "detail" => detail: JsonStr<'a>,
    }
}

object! {
    /// A document.
    pub struct File {
        /// A data URL.
        "file_data" => file_data: JsonStr<'a>,
        /// What it is called.
        "filename" => filename: JsonStr<'a>,
    }
}

object! {
    /// A call of a tool.
    pub struct ToolCall {
        /// Names the call.
        "id" => id: JsonStr<'a>,
        /// `function`.
        "type" => kind: JsonStr<'a>,
        /// What is called.
        "function" => function: FunctionCall<'a>,
        /// Which one of a stream it was; clients send back what they collected.
        "index" => index: u64,
    }
}

impl Item for ToolCall<'_> {
    const WHAT: &'static str = "calls";
    const MAX: usize = 10_000;
}

object! {
    /// What is called, and with what.
    pub struct FunctionCall {
        /// The tool.
        "name" => name: JsonStr<'a>,
        /// The text of a JSON object.
        "arguments" => arguments: JsonStr<'a>,
    }
}

object! {
    /// Something the model may call.
    pub struct Tool {
        /// `function`.
        "type" => kind: JsonStr<'a>,
        /// What it is.
        "function" => function: Function<'a>,
        /// Ends a prefix to cache. Not OpenAI's; as in [`Part`].
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
        /// What the model calls it by.
        "name" => name: JsonStr<'a>,
        /// What it is for.
        "description" => description: JsonStr<'a>,
        /// The JSON Schema of its arguments.
        "parameters" => parameters: RawJson<'a>,
        /// Whether the arguments must obey the schema.
        "strict" => strict: bool,
    }
}

impl Item for Function<'_> {
    const WHAT: &'static str = "functions";
    const MAX: usize = 10_000;
}

object! {
    /// Which tool has to be called.
    pub struct ToolChoice {
        /// `function`.
        "type" => kind: JsonStr<'a>,
        /// Which.
        "function" => function: NamedFunction<'a>,
    }
}

object! {
    /// A function, by its name.
    pub struct NamedFunction {
        /// The name.
        "name" => name: JsonStr<'a>,
    }
}

object! {
    /// What the answer has to look like.
    pub struct ResponseFormat {
        /// `text`, `json_object` or `json_schema`.
        "type" => kind: JsonStr<'a>,
        /// Of `json_schema`.
        "json_schema" => json_schema: JsonSchema<'a>,
    }
}

object! {
    /// A schema for the answer.
    pub struct JsonSchema {
        /// What it is called.
        "name" => name: JsonStr<'a>,
        /// What it is for.
        "description" => description: JsonStr<'a>,
        /// The schema.
        "schema" => schema: RawJson<'a>,
        /// Whether the answer must obey it.
        "strict" => strict: bool,
    }
}

object! {
    /// What a stream is to hold beside the answer.
    pub struct StreamOptions {
        /// What it cost, in a chunk of its own.
        "include_usage" => include_usage: bool,
    }
}
