//! Chat completions request → Messages request.

use super::conversation::Conversation;
use super::members::{borrowed, leave_out};
use super::paths::{ChatMembers, ChatPaths};
use super::reasoning::{self, ChatThinking};
use super::{cache, tools};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Metadata, OutputConfig, OutputFormat, Request, ToolChoice};
use crate::capabilities::Capabilities;
use crate::json::{JsonStr, List};
use crate::json_error;
use crate::openai;
use crate::openai::request::{JsonSchema, ResponseFormat, StreamOptions, TextOr};
use crate::translate::diagnostics::{Diagnostics, JsonPath, Notice, UnsupportedField};
use crate::translate::normalize::is_valid_stop_sequence;

/// Capacity beyond the length of the client's body, enough for most requests.
const EXTRA_CAPACITY: usize = 1024;

/// Settings of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatOptions {
    /// Whether cache points are set for clients that set none.
    pub auto_cache: bool,
    /// Whether a request is rejected when leaving out a field may change the response.
    pub strict: bool,
}

/// Messages request with the same meaning.
#[derive(Debug)]
pub struct ChatCall<'a> {
    /// The request; `None` if it has to be parsed from the body, as parts of it are made for it.
    pub request: Option<Request<'a>>,
    /// Body, JSON.
    pub body: Vec<u8>,
    /// Whether a stream has a chunk with the usage.
    pub include_usage: bool,
    /// Whether the response has calls as `function_call`.
    pub functions: bool,
    /// Whether the response has no thinking.
    pub exclude_reasoning: bool,
    /// Fields that are unsupported. If there are any, the body must not be sent.
    pub unsupported: Vec<UnsupportedField>,
    /// Changes of the request.
    pub notices: Vec<Notice>,
    /// Where the values of the request come from, for errors.
    pub paths: ChatPaths,
}

/// Translates a chat request for a model with these `capabilities`. `length` is that of the client's body, in bytes.
///
/// # Errors
/// When the request is not valid, or requests something that is not available; the paths are those of the chat request.
pub fn chat_to_messages<'a>(
    chat: &'a openai::Request<'_>,
    length: usize,
    capabilities: &Capabilities,
    options: &ChatOptions,
) -> Result<ChatCall<'a>, InvalidRequest> {
    let mut diagnostics = Diagnostics::default();
    let include_usage = include_usage(chat.stream_options.as_ref(), &mut diagnostics);
    let functions = chat.tools.is_none() && chat.functions.is_some();
    let Translated { mut request, paths, thinking, exclude_reasoning } =
        request(chat, capabilities, &mut diagnostics)?;
    if options.auto_cache {
        cache::set_points(&mut request, capabilities, &mut diagnostics);
    }
    let mut body = Vec::with_capacity(length + EXTRA_CAPACITY);
    serde_json::to_writer(&mut body, &request).map_err(|error| InvalidRequest::new("", error.to_string()))?;
    let is_complete = thinking.is_none();
    if let Some(thinking) = thinking {
        body.pop();
        body.extend_from_slice(format!(r#","thinking":{thinking}}}"#).as_bytes());
    }
    let (unsupported, notices) = diagnostics.finish(options.strict);
    let request = is_complete.then_some(request);
    Ok(ChatCall { request, body, include_usage, functions, exclude_reasoning, unsupported, notices, paths })
}

/// A translated request.
struct Translated<'a> {
    request: Request<'a>,
    paths: ChatPaths,
    /// The JSON of `thinking`, where `request` does not have it.
    thinking: Option<String>,
    exclude_reasoning: bool,
}

/// Destructures the request, so that a new member that is not translated does not compile.
fn request<'a>(
    chat: &'a openai::Request<'_>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> Result<Translated<'a>, InvalidRequest> {
    let openai::Request {
        model,
        messages,
        stream,
        stream_options: _,
        max_completion_tokens,
        max_tokens,
        stop,
        temperature,
        top_p,
        n,
        tools,
        tool_choice,
        parallel_tool_calls,
        functions,
        function_call,
        response_format,
        reasoning_effort,
        reasoning,
        thinking,
        enable_thinking,
        thinking_budget,
        include_reasoning,
        user,
        service_tier,
        unknown,
    } = chat;
    let root = JsonPath::ROOT;
    if n.is_some_and(|n| n != 1) {
        return Err(InvalidRequest::new(
            "n",
            "Input should be 1: Bedrock returns one completion for each request",
        ));
    }
    let offered = tools::offered(tools.as_ref(), functions.as_ref(), diagnostics)?;
    let choice = tools::choice(tool_choice.as_ref(), function_call.as_ref(), diagnostics)?;
    let (offered, choice, sent_tools) = tools::allow(offered, choice, capabilities, diagnostics)?;
    let one_at_a_time = *parallel_tool_calls == Some(false) || (tools.is_none() && functions.is_some());
    let choice = with_parallel(choice, one_at_a_time && offered.is_some());
    let Conversation { system, system_origins, messages, origins } =
        super::conversation::conversation(messages.as_ref(), capabilities, diagnostics)?;

    let mut request = Request {
        model: model.as_ref().map(borrowed),
        messages: Some(messages),
        system,
        max_tokens: most_tokens(*max_completion_tokens, *max_tokens, diagnostics)?,
        stream: *stream,
        stop_sequences: stop.as_ref().and_then(|stop| stop_sequences(stop, capabilities, diagnostics)),
        temperature: temperature.map(|value| cooled(value, diagnostics)),
        top_p: *top_p,
        tools: offered,
        tool_choice: choice,
        metadata: user.as_ref().map(|user| Metadata { user_id: Some(borrowed(user)), ..Metadata::default() }),
        service_tier: service_tier.as_ref().and_then(|tier| known_tier(tier, diagnostics)),
        ..Request::default()
    };
    let format = match response_format {
        Some(format) => output_format(format, diagnostics)?,
        None => None,
    };
    let wishes = reasoning::ThinkingMembers {
        thinking: *thinking,
        reasoning: reasoning.as_ref(),
        reasoning_effort: reasoning_effort.as_deref(),
        enable_thinking: *enable_thinking,
        thinking_budget: *thinking_budget,
        include_reasoning: *include_reasoning,
    };
    let ChatThinking { effort, thinking, is_excluded, paths: thinking_paths } =
        reasoning::apply(&wishes, &mut request, capabilities, diagnostics)?;
    if format.is_some() || effort.is_some() {
        request.output_config = Some(OutputConfig { effort, format, ..OutputConfig::default() });
    }
    leave_out(root, unknown, diagnostics);
    let members = ChatMembers { thinking: thinking_paths, ..ChatMembers::new(chat) };
    let paths = ChatPaths { system: system_origins, turns: origins, tools: sent_tools, members };
    Ok(Translated { request, paths, thinking, exclude_reasoning: is_excluded })
}

fn include_usage(options: Option<&StreamOptions<'_>>, diagnostics: &mut Diagnostics) -> bool {
    let Some(StreamOptions { include_usage, unknown }) = options else { return false };
    leave_out(JsonPath::ROOT.key("stream_options"), unknown, diagnostics);
    include_usage.unwrap_or(false)
}

fn most_tokens(
    newer: Option<u64>,
    older: Option<u64>,
    diagnostics: &mut Diagnostics,
) -> Result<Option<u64>, InvalidRequest> {
    // A Messages request with 0 only fills the cache; OpenAI's API has no such request.
    let zero = [("max_completion_tokens", newer), ("max_tokens", older)];
    if let Some((name, _)) = zero.into_iter().find(|(_, value)| *value == Some(0)) {
        let message = format!(
            "Invalid '{name}': integer below minimum value. Expected a value >= 1, but got 0 instead."
        );
        return Err(InvalidRequest::new(name, message));
    }
    if newer.is_some() && older.is_some_and(|older| newer != Some(older)) {
        diagnostics.adjusted(JsonPath::ROOT.key("max_tokens"), "left out: max_completion_tokens replaces it");
    }
    Ok(newer.or(older))
}

/// The stop sequences without blank ones, which Bedrock rejects.
fn stop_sequences<'a>(
    stop: &'a TextOr<'_, List<JsonStr<'_>>>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> Option<List<JsonStr<'a>>> {
    let (texts, is_list) = match stop {
        TextOr::Text(text) => (std::slice::from_ref(text), false),
        TextOr::More(texts) => (&texts[..], true),
    };
    let path = JsonPath::ROOT;
    let path = path.key("stop");
    let mut sequences = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        if is_valid_stop_sequence(text, capabilities) {
            sequences.push(borrowed(text));
        } else {
            let path = if is_list { path.index(index) } else { path };
            diagnostics.dropped(path, "left out: the model does not accept a blank stop sequence");
        }
    }
    (!sequences.is_empty() || texts.is_empty()).then_some(List(sequences))
}

/// Lowers a temperature above 1: OpenAI's scale ends at 2.
fn cooled(temperature: f64, diagnostics: &mut Diagnostics) -> f64 {
    if temperature > 1.0 && temperature <= 2.0 {
        diagnostics
            .dropped(JsonPath::ROOT.key("temperature"), "lowered to 1, the most that models on Bedrock take");
        return 1.0;
    }
    temperature
}

/// Tiers with equal names in the Messages API.
fn known_tier<'a>(tier: &'a JsonStr<'_>, diagnostics: &mut Diagnostics) -> Option<JsonStr<'a>> {
    if matches!(&**tier, "auto" | "default" | "flex" | "priority") {
        return Some(borrowed(tier));
    }
    diagnostics.dropped(JsonPath::ROOT.key("service_tier"), "left out: Bedrock has no such tier");
    None
}

/// Disabled parallel calls need a tool choice.
fn with_parallel(choice: Option<ToolChoice<'_>>, one_at_a_time: bool) -> Option<ToolChoice<'_>> {
    if !one_at_a_time {
        return choice;
    }
    let choice =
        choice.unwrap_or_else(|| ToolChoice { kind: Some(JsonStr::from("auto")), ..ToolChoice::default() });
    // No call at all is no two calls.
    let disable = (choice.kind.as_deref() != Some("none")).then_some(true);
    Some(ToolChoice { disable_parallel_tool_use: disable, ..choice })
}

fn output_format<'a>(
    format: &'a ResponseFormat<'_>,
    diagnostics: &mut Diagnostics,
) -> Result<Option<OutputFormat<'a>>, InvalidRequest> {
    let root = JsonPath::ROOT;
    let path = root.key("response_format");
    let ResponseFormat { kind, json_schema, unknown } = format;
    leave_out(path, unknown, diagnostics);
    match kind.as_deref() {
        None => Err(InvalidRequest::new(path.key("type"), "Field required")),
        Some("text") => Ok(None),
        Some("json_object") => {
            let why = "left out: models on Bedrock can be held to a json_schema, but not to JSON of any kind";
            diagnostics.dropped(path, why);
            Ok(None)
        }
        Some("json_schema") => {
            let path = path.key("json_schema");
            let Some(JsonSchema { name, description, schema, strict, unknown }) = json_schema else {
                return Err(InvalidRequest::new(path, "Field required"));
            };
            leave_out(path, unknown, diagnostics);
            let at_schema = path.key("schema");
            let schema = schema.ok_or_else(|| InvalidRequest::new(at_schema, "Field required"))?;
            if !schema.is_object() {
                return Err(json_error::not_an_object(at_schema, schema));
            }
            if name.is_some() {
                diagnostics.adjusted(path.key("name"), "left out: the schema has none here");
            }
            if description.is_some() {
                diagnostics.dropped(path.key("description"), "left out: write it into the schema instead");
            }
            if *strict == Some(false) {
                diagnostics.adjusted(path.key("strict"), "left out: schemas are always obeyed here");
            }
            let kind = Some(JsonStr::from("json_schema"));
            Ok(Some(OutputFormat { kind, schema: Some(schema), ..OutputFormat::default() }))
        }
        Some(_) => Err(InvalidRequest::new(
            path.key("type"),
            "Input should be 'text', 'json_object' or 'json_schema'",
        )),
    }
}
