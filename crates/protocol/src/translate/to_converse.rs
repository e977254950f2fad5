//! Messages request → Converse request.

mod builtin_tools;
mod citations;
mod content;
mod documents;
mod inference_config;
mod tools;
mod turns;

use std::borrow::Cow;

use super::betas::{BetaFilter, RequestedBetas};
use super::cache::CacheMarkers;
use super::diagnostics::required;
use super::diagnostics::{Diagnostics, IGNORED, IGNORED_FIELDS, JsonPath, Notice, UnsupportedField};
use super::ordered_set::OrderedSet;
use super::thinking::{OutputLimit, ThinkingMapper, drop_limits_at_high_effort};
use super::{ToolNames, missing_thinking, safeguards};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{CacheControl, Metadata, OutputConfig, OutputFormat, Request, ToolChoice};
use crate::apis::UpstreamApi;
use crate::capabilities::Capabilities;
use crate::converse::request as converse;
use crate::json::{JsonStr, List, RawJson};
pub(super) use content::{EMPTY_TOOL_RESULT, EMPTY_TURN, VERBATIM};
use documents::DocumentNames;

/// JSON pointer to the stop sequence in a Claude model's response.
const STOP_SEQUENCE: &str = "/stop_sequence";
/// The same in a streamed response.
const STREAMED_STOP_SEQUENCE: &str = "/delta/stop_sequence";
/// JSON pointer to the number of thinking tokens, streamed or not.
const THINKING_TOKENS: &str = "/usage/output_tokens_details";

/// Capacity beyond the length of the client's body, enough for most requests.
const EXTRA_CAPACITY: usize = 2048;

/// Settings of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslationOptions {
    /// `max_tokens` of requests without one.
    pub default_max_tokens: u64,
    /// Budget of thinking for requests without `thinking`, in tokens; `None` for the default of the
    /// by itself.
    pub default_thinking_budget: Option<u64>,
    /// Whether the model may use a computer.
    pub computer_use: bool,
    /// Whether a request is rejected when leaving out a field may change the response.
    pub strict: bool,
    /// Whether Converse is the only upstream API that may be used.
    pub converse_only: bool,
}

impl TranslationOptions {
    /// Options with their defaults.
    #[must_use]
    pub const fn new(default_max_tokens: u64) -> Self {
        Self {
            default_max_tokens,
            default_thinking_budget: None,
            computer_use: false,
            strict: false,
            converse_only: false,
        }
    }
}

/// A call of ConverseStream, ready to be signed and sent.
#[derive(Debug)]
pub struct ConverseCall {
    /// The body, JSON.
    pub body: Vec<u8>,
    /// The limit of output tokens in it; `None` when it has none.
    pub max_tokens: Option<u64>,
    /// Tool names, for translating the response.
    pub tool_names: ToolNames,
    /// Fields that Converse cannot carry. If there are any, the body must not be sent.
    pub unsupported: Vec<UnsupportedField>,
    /// Changes of the request.
    pub notices: Vec<Notice>,
}

/// Builder of a Converse request.
pub(super) struct ConverseRequestBuilder {
    pub(super) capabilities: Capabilities,
    pub(super) options: TranslationOptions,
    pub(super) tool_names: ToolNames,
    pub(super) diagnostics: Diagnostics,
    /// Counter of the cache markers.
    pub(super) cache_markers: CacheMarkers,
    /// The names of the documents so far.
    documents: DocumentNames,
}

/// Translates a request, and the betas that came with it, for a model with these `capabilities`. `length` is that of the
/// client's body, in bytes: the result is about as long, and a buffer that need not grow saves copies of large
/// conversations.
///
/// # Errors
/// When the request is not valid on any route. What Converse alone cannot carry is in
/// [`ConverseCall::unsupported`].
pub fn to_converse<'a>(
    request: Request<'a>,
    betas: RequestedBetas<'a>,
    length: usize,
    capabilities: &Capabilities,
    options: &TranslationOptions,
) -> Result<ConverseCall, InvalidRequest> {
    let mut builder = ConverseRequestBuilder::new(*capabilities, *options);
    let upstream = builder.request(request, betas)?;
    let max_tokens = upstream.inference_config.max_tokens;
    let mut body = Vec::with_capacity(length + EXTRA_CAPACITY);
    serde_json::to_writer(&mut body, &upstream)
        .map_err(|error| InvalidRequest::new("", error.to_string()))?;
    let ConverseRequestBuilder { tool_names, diagnostics, .. } = builder;
    let (unsupported, notices) = diagnostics.finish(options.strict);
    Ok(ConverseCall { body, max_tokens, tool_names, unsupported, notices })
}

impl ConverseRequestBuilder {
    /// New builder.
    pub(super) fn new(capabilities: Capabilities, options: TranslationOptions) -> Self {
        Self {
            capabilities,
            options,
            tool_names: ToolNames::default(),
            diagnostics: Diagnostics::default(),
            cache_markers: CacheMarkers::default(),
            documents: DocumentNames::default(),
        }
    }

    fn request<'a>(
        &mut self,
        mut request: Request<'a>,
        betas: RequestedBetas<'a>,
    ) -> Result<converse::Request<'a>, InvalidRequest> {
        let root = JsonPath::ROOT;
        // Which model and which operation are the caller's to read.
        request.model.take();
        request.stream.take();

        let automatic = self.cache_markers.automatic_point(
            request.cache_control.take(),
            &self.capabilities,
            &mut self.diagnostics,
        )?;
        let system = self.system(request.system.take(), root.key("system"))?;
        let messages = self.messages(request.messages.take(), automatic, root.key("messages"))?;
        let must_call = request.tool_choice.as_ref().is_some_and(is_forced);
        let tools = self.tools(request.tools.take(), request.tool_choice.take(), &messages)?;
        self.cache_markers.check()?;
        let max_tokens = request.max_tokens;
        let mut inference_config = self.inference_config(&mut request)?;
        let config = request.output_config.take();
        let (effort, output_config) = self.output_config(config, &mut request)?;
        // At its highest effort Amazon's model accepts no limit.
        let effort = effort.filter(|_| self.capabilities.claude || max_tokens != Some(0));
        let (top_k, more_config) = self.top_k(request.top_k.take());
        let bears_thinking = !must_call && top_k.is_none() && bears_thinking(&inference_config, &messages);
        let limit = OutputLimit {
            tokens: inference_config.max_tokens.unwrap_or_default(),
            raisable_to: max_tokens.is_none().then(|| self.max_output_tokens()),
            is_lowered: max_tokens > inference_config.max_tokens,
        };
        let mut mapper = ThinkingMapper {
            capabilities: &self.capabilities,
            diagnostics: &mut self.diagnostics,
            limit,
            raised: None,
            default_budget: self.options.default_thinking_budget.filter(|_| bears_thinking),
            unsupported: betas,
        };
        let mut thinking_config = mapper.map(request.thinking.take(), effort)?;
        let mut required_betas = OrderedSet::default();
        let of_tools = tools.builtin.iter().filter_map(|tool| tool.beta.clone());
        of_tools
            .chain(thinking_config.betas.drain(..).map(Cow::from))
            .for_each(|beta| required_betas.insert(beta));
        if thinking_config.has_budget() && missing_thinking::in_converse(&messages) {
            self.diagnostics.dropped(root.key("thinking"), missing_thinking::DROPPED_NOTICE);
            thinking_config.thinking = None;
        } else if let Some(raised) = thinking_config.max_tokens {
            inference_config.max_tokens = Some(raised);
        }
        drop_limits_at_high_effort(&thinking_config, &mut inference_config, &mut self.diagnostics);

        let output_config = output_config.map(|text_format| converse::OutputConfig {
            text_format,
            // Beside a format, effort would meet the member that Bedrock makes of it.
            effort: thinking_config.effort.take().map(|effort| effort.effort),
        });

        let upstream = converse::Request {
            system,
            messages,
            additional_model_response_field_paths: self.response_fields(&inference_config),
            inference_config,
            tool_config: tools.config,
            additional_model_request_fields: converse::AdditionalRequestFields {
                thinking: thinking_config.thinking,
                top_k,
                inference_config: more_config,
                tool_choice: tools.parallel,
                output_config: thinking_config.effort,
                tools: tools.builtin.into_iter().map(|tool| tool.json).collect(),
                anthropic_beta: self.betas(betas, request.anthropic_beta.take(), required_betas),
                reasoning: thinking_config.reasoning,
            },
            request_metadata: self.metadata(request.metadata.take()),
            service_tier: service_tier(request.service_tier.take().as_deref())?,
            output_config,
        };
        self.context_management(&mut request);
        if !self.capabilities.claude && request.safeguards.take().is_some() {
            self.diagnostics
                .adjusted(root.key(safeguards::FIELD), "left out: the model is not a Claude model");
        }
        let (ignored, unknown): (Vec<&str>, Vec<&str>) =
            request.left_over().partition(|name| IGNORED_FIELDS.contains(name));
        for name in ignored {
            self.diagnostics.adjusted(root.key(name), IGNORED);
        }
        self.diagnostics.unknown_fields(root, unknown.into_iter());
        Ok(upstream)
    }

    /// The betas to send: those of the header, those of the body, and what has to be switched on for the rest.
    fn betas<'a>(
        &mut self,
        requested: RequestedBetas<'a>,
        body: Option<List<JsonStr<'a>>>,
        required: OrderedSet<'a>,
    ) -> Vec<Cow<'a, str>> {
        let mut betas = BetaFilter::new(UpstreamApi::Converse, self.capabilities.claude);
        for name in requested.names {
            betas.add(&**name, |name| requested.is_unsupported(name));
        }
        for name in body.into_iter().flat_map(|names| names.0) {
            betas.add(name.0, |name| requested.is_unsupported(name));
        }
        required.into_texts().into_iter().for_each(|name| betas.require(name));
        betas.report(&mut self.diagnostics);
        betas.into_names()
    }

    /// Effort and output format.
    fn output_config<'a>(
        &mut self,
        config: Option<OutputConfig<'a>>,
        request: &mut Request<'a>,
    ) -> Result<(Option<JsonStr<'a>>, Option<converse::TextFormat<'a>>), InvalidRequest> {
        let path = JsonPath::ROOT.key("output_config");
        let mut config = config.unwrap_or_default();
        let effort = config.effort.take();
        // Of two formats the old member stays behind and is refused.
        let format = if config.format.is_some() {
            self.output_format(&mut config.format, path.key("format"))?
        } else {
            self.output_format(&mut request.output_format, JsonPath::ROOT.key("output_format"))?
        };
        self.diagnostics.unknown_fields(path, config.left_over());
        Ok((effort, format))
    }

    /// Takes the output format when the model has structured output.
    fn output_format<'a>(
        &mut self,
        format: &mut Option<OutputFormat<'a>>,
        path: JsonPath<'_>,
    ) -> Result<Option<converse::TextFormat<'a>>, InvalidRequest> {
        if format.is_some() && !self.capabilities.claude && !self.capabilities.structured_output {
            format.take();
            self.diagnostics.dropped(path, "left out: the model cannot be held to a schema on Bedrock");
            return Ok(None);
        }
        let takes = self.capabilities.structured_output;
        let is_schema = |format: &mut OutputFormat<'_>| format.kind.as_deref() == Some("json_schema");
        let Some(mut format) = format.take_if(|format| takes && is_schema(format)) else {
            return Ok(None);
        };
        format.kind.take();
        let at_schema = path.key("schema");
        let schema = required(format.schema.take(), at_schema)?;
        if !schema.is_object() {
            return Err(InvalidRequest::new(at_schema, "Input should be an object"));
        }
        self.diagnostics.unknown_fields(path, format.left_over());
        let structure = converse::TextStructure::JsonSchema { schema: schema.get() };
        Ok(Some(converse::TextFormat { r#type: "json_schema", structure }))
    }

    /// Members of a Claude model's response that Converse does not have.
    fn response_fields(&self, config: &converse::InferenceConfiguration<'_>) -> &'static [&'static str] {
        let thinks = self.capabilities.thinking.enabled || self.capabilities.thinking.adaptive;
        match (self.capabilities.claude, config.stop_sequences.is_empty(), thinks) {
            (true, true, true) => &[THINKING_TOKENS],
            (true, false, true) => &[STOP_SEQUENCE, STREAMED_STOP_SEQUENCE, THINKING_TOKENS],
            (true, false, false) => &[STOP_SEQUENCE, STREAMED_STOP_SEQUENCE],
            (true, true, false) | (false, ..) => &[],
        }
    }

    /// Cache point for the marker `control`, when the model takes one.
    fn cache_point(
        &mut self,
        control: Option<CacheControl<'_>>,
        path: JsonPath<'_>,
    ) -> Result<Option<converse::CachePoint>, InvalidRequest> {
        self.cache_markers.point(control, path, &self.capabilities, &mut self.diagnostics)
    }

    /// Drops a value that only a Claude model takes, for other models.
    pub(super) fn claude_only<T>(&mut self, value: Option<T>, path: JsonPath<'_>) -> Option<T> {
        if value.is_some() && !self.capabilities.claude {
            self.diagnostics.dropped(path, "left out: the model is not a Claude model");
            return None;
        }
        value
    }

    fn metadata<'a>(&mut self, metadata: Option<Metadata<'a>>) -> Option<converse::RequestMetadata<'a>> {
        let path = JsonPath::ROOT.key("metadata");
        let mut metadata = metadata?;
        let user_id = metadata.user_id.take();
        self.diagnostics.unknown_fields(path, metadata.left_over());
        let user_id = user_id?;
        if !is_legal_metadata(&user_id) {
            self.diagnostics.adjusted(
                path.key("user_id"),
                "left out: Bedrock does not accept these characters in request metadata",
            );
            return None;
        }
        Some(converse::RequestMetadata { user_id: user_id.0 })
    }

    /// Leaves out an edit that keeps everything, as it changes nothing.
    fn context_management<'a>(&mut self, request: &mut Request<'a>) {
        if request.context_management.take_if(|edits| keeps_everything(*edits)).is_some() {
            let path = JsonPath::ROOT.key("context_management");
            self.diagnostics.adjusted(path, "left out: keeping all thinking is what Bedrock does anyway");
        }
        if !self.capabilities.claude {
            self.claude_only(request.context_management.take(), JsonPath::ROOT.key("context_management"));
        }
    }
}

/// Whether a tool has to be called, which a model cannot do while it thinks.
fn is_forced(choice: &ToolChoice<'_>) -> bool {
    matches!(choice.kind.as_deref(), Some("any" | "tool"))
}

/// Whether a request without thinking would be valid with it: thinking excludes sampling and a prefill, and has to
/// begin a turn with tool calls.
fn bears_thinking(limits: &converse::InferenceConfiguration<'_>, messages: &[converse::Message<'_>]) -> bool {
    use converse::{ContentBlock, ConversationRole};

    let samples = limits.temperature.is_some_and(|value| value < 1.0) || limits.top_p.is_some();
    let prefilled = messages.last().is_some_and(|message| message.role == ConversationRole::Assistant);
    let turn = messages.iter().rev().find(|message| message.role == ConversationRole::Assistant);
    let calls_without_thinking = turn.is_some_and(|turn| {
        let calls = turn.content.iter().any(|block| matches!(block, ContentBlock::ToolUse(_)));
        calls && !matches!(turn.content.first(), Some(ContentBlock::ReasoningContent(_)))
    });
    !samples && !prefilled && !calls_without_thinking
}

fn service_tier(tier: Option<&str>) -> Result<Option<converse::ServiceTier>, InvalidRequest> {
    let r#type = match tier {
        None | Some("auto") => return Ok(None),
        Some("standard_only" | "default") => "default",
        // Bedrock's own tiers, which Anthropic has no names for.
        Some("priority") => "priority",
        Some("flex") => "flex",
        Some("reserved") => "reserved",
        Some(_) => {
            return Err(InvalidRequest::new("service_tier", "Input should be 'auto' or 'standard_only'"));
        }
    };
    Ok(Some(converse::ServiceTier { r#type: r#type.into() }))
}

pub(super) fn is_legal_metadata(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" \t\n\r:_@$#=/+,-.".contains(&byte))
}

fn keeps_everything(edits: RawJson<'_>) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ContextManagement<'a> {
        #[serde(default, borrow)]
        edits: Vec<Edit<'a>>,
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Edit<'a> {
        #[serde(borrow)]
        r#type: JsonStr<'a>,
        #[serde(default, borrow)]
        keep: Option<RawJson<'a>>,
    }

    edits.read::<ContextManagement<'_>>().is_ok_and(|management| {
        management.edits.iter().all(|edit| {
            let all = edit.keep.is_some_and(|keep| matches!(keep.get(), "\"all\"" | r#"{"type":"all"}"#));
            &*edit.r#type == "clear_thinking_20251015" && all
        })
    })
}
