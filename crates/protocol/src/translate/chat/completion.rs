//! Message → chat completion.

use serde::Deserialize;

use super::{finish_reason, openai_usage, update_usage};
use crate::anthropic::{self, Error, ErrorType, PartialUsage};
use crate::json::{JsonStr, RawJson};
use crate::openai::{Choice, Completion, CompletionHead, CompletionMessage, FunctionCall, ToolCall};

/// Members of a message that a completion needs. Other blocks and members are specific to Anthropic: chat completions
/// have no counterpart, and no chat request enables them.
#[derive(Deserialize)]
struct MessageFields<'a> {
    #[serde(borrow, default)]
    content: Vec<Piece<'a>>,
    #[serde(borrow, default)]
    stop_reason: Option<JsonStr<'a>>,
    #[serde(default)]
    usage: PartialUsage,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: JsonStr<'a>,
    #[serde(borrow, default)]
    text: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    thinking: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    id: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    name: Option<JsonStr<'a>>,
    #[serde(borrow, default)]
    input: Option<RawJson<'a>>,
}

/// Translates the JSON of a message into a completion that begins with `head`.
///
/// # Errors
/// When it is not the JSON of a message.
pub fn chat_completion(message: &[u8], head: &CompletionHead) -> Result<Vec<u8>, Error> {
    let api = |error: serde_json::Error| Error::new(ErrorType::Api, error.to_string());
    let fields: MessageFields<'_> = serde_json::from_slice(message).map_err(api)?;
    let mut message = CompletionMessage { role: "assistant", ..CompletionMessage::default() };
    for piece in fields.content {
        match &*piece.kind {
            "text" => message.content.get_or_insert_default().push_str(&piece.text.unwrap_or_default()),
            "thinking" if head.exclude_reasoning => {}
            "thinking" => {
                message
                    .reasoning_content
                    .get_or_insert_default()
                    .push_str(&piece.thinking.unwrap_or_default());
            }
            "tool_use" => {
                let text = |text: Option<JsonStr<'_>>| text.unwrap_or_default().0.into_owned();
                let arguments = piece.input.map_or(RawJson::EMPTY_OBJECT, RawJson::get).to_owned();
                let function = FunctionCall { name: text(piece.name), arguments };
                message.tool_calls.push(ToolCall { id: text(piece.id), kind: "function", function });
            }
            _ => {}
        }
    }
    if head.functions && message.tool_calls.len() <= 1 {
        message.function_call = message.tool_calls.pop().map(|call| call.function);
    } else if head.functions {
        return Err(multiple_functions_error());
    }
    // Thoughts that are not shown are none.
    message.reasoning_content.take_if(|thoughts| thoughts.is_empty());
    let finish_reason = finish_reason(fields.stop_reason.as_deref(), head.functions);
    let mut usage = anthropic::Usage::default();
    update_usage(&mut usage, &fields.usage);
    let completion = Completion {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        choices: [Choice { index: 0, message, logprobs: None, finish_reason }],
        usage: openai_usage(&usage),
    };
    serde_json::to_vec(&completion).map_err(api)
}

/// There is one place for a call where `functions` were offered.
pub(super) fn multiple_functions_error() -> Error {
    Error::new(ErrorType::Api, "the model called several functions at once; offer them as `tools`")
}
