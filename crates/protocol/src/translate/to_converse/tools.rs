//! Tools and tool choice.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::value::RawValue;

use super::ConverseRequestBuilder;
use super::builtin_tools::BuiltinTool;
use super::content::constant;
use crate::anthropic::{InvalidRequest, request};
use crate::capabilities::ToolChoices;
use crate::converse::request::{
    CachePoint, ContentBlock, InputSchema, Message, ParallelToolUse, Tool, ToolChoice, ToolConfig, ToolSpec,
};
use crate::json::List;
use crate::translate::diagnostics::JsonPath;
use crate::translate::diagnostics::required;
use crate::translate::ordered_set::OrderedSet;
use crate::translate::server_tools::{Offered, left_out};

/// Description of a placeholder tool.
const TOOL_NO_LONGER_AVAILABLE: &str = "No longer available.";
/// The schema that takes any arguments.
static ANY_ARGUMENTS: LazyLock<Box<RawValue>> = LazyLock::new(|| constant(r#"{"type":"object"}"#));

/// Tools of a request and the choice between them.
#[derive(Default)]
pub(super) struct Tools<'a> {
    /// `toolConfig`.
    pub(super) config: Option<ToolConfig<'a>>,
    /// Tools that Converse has no form for.
    pub(super) builtin: Vec<BuiltinTool<'a>>,
    /// The part of the choice that Converse has no name for.
    pub(super) parallel: Option<ParallelToolUse>,
}

impl ConverseRequestBuilder {
    /// The tools and the choice between them. `messages` are those of the upstream request.
    pub(super) fn tools<'a>(
        &mut self,
        tools: Option<List<request::Tool<'a>>>,
        choice: Option<request::ToolChoice<'a>>,
        messages: &[Message<'a>],
    ) -> Result<Tools<'a>, InvalidRequest> {
        let at_tools = JsonPath::ROOT.key("tools");
        if !self.capabilities.tools && tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            self.diagnostics.unsupported(at_tools, "the model does not support tools");
            return Ok(Tools::default());
        }
        let mut config = ToolConfig::default();
        let mut builtin = Vec::new();
        let has_tool_blocks = has_tool_blocks(messages);
        let tools = tools.unwrap_or_default().0;
        let left_out = self.server_tools(&tools, choice.as_ref(), at_tools)?;
        for (index, mut tool) in tools.into_iter().enumerate() {
            let path = at_tools.index(index);
            if left_out.contains(&index) {
                self.inherit_marker(tool, path, &mut config.tools)?;
            } else if let Some(kind) = tool.kind.take().filter(|kind| &**kind != "custom") {
                builtin.extend(self.builtin_tool(kind, tool, path, has_tool_blocks)?);
            } else {
                self.tool(tool, path, &mut config.tools)?;
            }
        }
        let given = !config.tools.is_empty();
        if !given {
            self.placeholder_tools(messages, at_tools, &mut config.tools);
        }
        let mut tools = Tools { config: None, builtin, parallel: None };
        if let Some(choice) = choice {
            let at_choice = JsonPath::ROOT.key("tool_choice");
            if &*required(choice.kind.clone(), at_choice.key("type"))? == "none" {
                self.choice_of_no_tool(choice, at_choice);
                let has_tools = !config.tools.is_empty() || !tools.builtin.is_empty();
                if !(has_tool_blocks || has_tools && self.must_keep_tools()) {
                    self.no_tools(&config, &tools.builtin);
                    return Ok(Tools::default());
                }
                let what =
                    if has_tool_blocks { "when the conversation holds tool calls" } else { "beside tools" };
                self.diagnostics.unsupported(at_choice, format!("Converse has no 'none' {what}"));
            } else {
                (config.tool_choice, tools.parallel) =
                    self.tool_choice(choice, given, &tools.builtin, at_choice)?;
            }
        }
        tools.config = (!config.tools.is_empty()).then_some(config);
        Ok(tools)
    }

    /// Which tools to leave out because Bedrock does not have them.
    fn server_tools<'a>(
        &mut self,
        tools: &[request::Tool<'a>],
        choice: Option<&request::ToolChoice<'a>>,
        path: JsonPath<'_>,
    ) -> Result<HashSet<usize>, InvalidRequest> {
        let forced = choice.filter(|choice| choice.kind.as_deref() == Some("tool"));
        let forced = forced.and_then(|choice| choice.name.as_deref());
        let offered: Vec<Offered<'_>> = tools
            .iter()
            .map(|tool| Offered { kind: tool.kind.as_deref(), name: tool.name.as_deref() })
            .collect();
        let left_out = left_out(&offered, forced)?;
        for tool in &left_out {
            self.diagnostics.dropped(path.index(tool.index), tool.what.as_str());
        }
        Ok(left_out.into_iter().map(|tool| tool.index).collect())
    }

    /// Moves the cache marker of a dropped tool to the tool before it.
    fn inherit_marker<'a>(
        &mut self,
        mut tool: request::Tool<'a>,
        path: JsonPath<'_>,
        out: &mut Vec<Tool<'a>>,
    ) -> Result<(), InvalidRequest> {
        let marked = matches!(out.last(), None | Some(Tool::CachePoint(_)));
        let point = self.tool_cache_point(tool.cache_control.take(), path)?;
        out.extend(point.filter(|_| !marked).map(Tool::CachePoint));
        Ok(())
    }

    /// The cache point behind a tool, where the model takes one.
    fn tool_cache_point<'a>(
        &mut self,
        control: Option<request::CacheControl<'a>>,
        path: JsonPath<'_>,
    ) -> Result<Option<CachePoint>, InvalidRequest> {
        let path = path.key("cache_control");
        let point = self.cache_point(control, path)?;
        if point.is_some() && !self.capabilities.cache_with_tools {
            self.diagnostics.adjusted(path, "left out: the model does not support cache points among tools");
            return Ok(None);
        }
        Ok(point)
    }

    fn tool<'a>(
        &mut self,
        mut tool: request::Tool<'a>,
        path: JsonPath<'_>,
        out: &mut Vec<Tool<'a>>,
    ) -> Result<(), InvalidRequest> {
        let name = self.tool_names.alias_for(required(tool.name.take(), path.key("name"))?.0);
        let description = tool.description.take().filter(|text| !text.is_empty()).map(|text| text.0);
        let at_schema = path.key("input_schema");
        let schema = required(tool.input_schema.take(), at_schema)?;
        if !schema.is_object() {
            return Err(InvalidRequest::new(at_schema, "Input should be an object"));
        }
        let strict = self.strict(&mut tool.strict, path.key("strict"));
        // The default value needs no counterpart.
        tool.defer_loading.take_if(|defer| !*defer);
        if !self.capabilities.claude && tool.defer_loading.take().is_some() {
            self.diagnostics.adjusted(
                path.key("defer_loading"),
                "left out: the model cannot search for tools, so it gets them all",
            );
        }
        tool.allowed_callers.take_if(|callers| callers.iter().all(|caller| &**caller == "direct"));
        if tool.eager_input_streaming.take() == Some(true) {
            self.diagnostics.adjusted(
                path.key("eager_input_streaming"),
                "left out: Bedrock decides how arguments are streamed",
            );
        }
        out.push(Tool::ToolSpec(ToolSpec {
            name,
            description,
            input_schema: InputSchema { json: schema.raw() },
            strict,
        }));
        out.extend(self.tool_cache_point(tool.cache_control.take(), path)?.map(Tool::CachePoint));
        self.diagnostics.unknown_fields(path, tool.left_over());
        Ok(())
    }

    /// Takes `strict` when the model knows it. `false` asks for nothing, and some models reject it with any value.
    pub(super) fn strict(&mut self, strict: &mut Option<bool>, path: JsonPath<'_>) -> Option<bool> {
        strict.take_if(|strict| !*strict);
        if self.capabilities.strict_tools {
            return strict.take();
        }
        if !self.capabilities.claude && strict.take().is_some() {
            self.diagnostics.dropped(path, "left out: the model cannot be held to a schema on Bedrock");
        }
        None
    }

    /// Declares tools that the conversation calls when the request has none: Bedrock requires it.
    fn placeholder_tools<'a>(
        &mut self,
        messages: &[Message<'a>],
        path: JsonPath<'_>,
        out: &mut Vec<Tool<'a>>,
    ) {
        for name in called_tools(messages) {
            self.diagnostics
                .adjusted(path, format!("`{name}` declared for Bedrock, because the conversation calls it"));
            out.push(Tool::ToolSpec(ToolSpec {
                name,
                description: Some(Cow::Borrowed(TOOL_NO_LONGER_AVAILABLE)),
                input_schema: InputSchema { json: &ANY_ARGUMENTS },
                strict: None,
            }));
        }
    }

    fn tool_choice<'a>(
        &mut self,
        mut choice: request::ToolChoice<'a>,
        given: bool,
        builtin: &[BuiltinTool<'a>],
        path: JsonPath<'_>,
    ) -> Result<(Option<ToolChoice<'a>>, Option<ParallelToolUse>), InvalidRequest> {
        if !given && builtin.is_empty() && self.diagnostics.unsupported.is_empty() {
            return Err(InvalidRequest::new(path, "tool_choice may only be specified while providing tools"));
        }
        let kind = required(choice.kind.take(), path.key("type"))?;
        let upstream = match &*kind {
            "auto" => ToolChoice::Auto {},
            "any" => ToolChoice::Any {},
            "tool" => {
                let name = required(choice.name.take(), path.key("name"))?;
                if given && builtin.iter().any(|tool| tool.name.as_ref() == Some(&name.0)) {
                    self.diagnostics
                        .unsupported(path, format!("Converse cannot make the model call `{name}`"));
                }
                ToolChoice::Tool { name: self.tool_names.alias_for(name.0) }
            }
            _ => {
                let message = "Input should be 'auto', 'any', 'tool' or 'none'";
                return Err(InvalidRequest::new(path.key("type"), message));
            }
        };
        let upstream = self.declared(upstream, given, path).and_then(|choice| self.at_most(choice, path));
        choice.disable_parallel_tool_use.take_if(|disable| !*disable);
        let mut parallel = None;
        if self.capabilities.claude && choice.disable_parallel_tool_use.take().is_some() {
            parallel = Some(ParallelToolUse { r#type: None, disable_parallel_tool_use: true });
        }
        if let (None, Some(parallel)) = (&upstream, &mut parallel) {
            // Without an upstream choice this object needs the type.
            parallel.r#type = Some("auto");
        }
        self.diagnostics.unknown_fields(path, choice.left_over());
        Ok((upstream, parallel))
    }

    /// The choice, unless Converse has no tools to choose from.
    fn declared<'a>(
        &mut self,
        choice: ToolChoice<'a>,
        given: bool,
        path: JsonPath<'_>,
    ) -> Option<ToolChoice<'a>> {
        if given {
            return Some(choice);
        }
        if !matches!(choice, ToolChoice::Auto {}) {
            self.diagnostics
                .unsupported(path, "Converse cannot make the model call tools that it knows by their type");
        }
        None
    }

    /// The choice, or the strongest below it that the model takes. Nothing else ever weakens a
    /// choice.
    fn at_most<'a>(&mut self, choice: ToolChoice<'a>, path: JsonPath<'_>) -> Option<ToolChoice<'a>> {
        let wanted = match choice {
            ToolChoice::Auto {} => ToolChoices::Auto,
            ToolChoice::Any {} => ToolChoices::Any,
            ToolChoice::Tool { .. } => ToolChoices::Named,
        };
        let taken = self.capabilities.tool_choice;
        if wanted <= taken {
            return Some(choice);
        }
        let (sent, name) = match taken {
            ToolChoices::Any | ToolChoices::Named => (Some(ToolChoice::Any {}), "any"),
            ToolChoices::Auto => (Some(ToolChoice::Auto {}), "auto"),
            ToolChoices::None => (None, "auto"),
        };
        if wanted > ToolChoices::Auto {
            self.diagnostics
                .dropped(path, format!("weakened to `{name}`: the model does not support a stricter choice"));
        }
        sent
    }

    /// Whether another upstream API has to carry tools that Converse can only leave out: thinking is bound to them, and
    /// they are the begin of what is cached.
    fn must_keep_tools(&self) -> bool {
        self.capabilities.claude && !self.options.converse_only
    }

    /// Takes the members of the choice `none`, which Converse lacks.
    fn choice_of_no_tool<'a>(&mut self, mut choice: request::ToolChoice<'a>, path: JsonPath<'_>) {
        choice.kind.take();
        choice.disable_parallel_tool_use.take();
        self.diagnostics.unknown_fields(path, choice.left_over());
    }

    /// Reports that tools are left out, if there are any.
    fn no_tools(&mut self, config: &ToolConfig<'_>, builtin: &[BuiltinTool<'_>]) {
        if !config.tools.is_empty() || !builtin.is_empty() {
            self.diagnostics.adjusted(
                JsonPath::ROOT.key("tools"),
                "not sent, so that none can be called: tool_choice is none",
            );
        }
    }
}

/// Whether the conversation holds tool calls or results.
fn has_tool_blocks(messages: &[Message<'_>]) -> bool {
    let is_tool_block =
        |block: &ContentBlock<'_>| matches!(block, ContentBlock::ToolUse(_) | ContentBlock::ToolResult(_));
    messages.iter().any(|message| message.content.iter().any(is_tool_block))
}

/// Upstream names of the tools that the conversation calls, each once.
fn called_tools<'a>(messages: &[Message<'a>]) -> Vec<Cow<'a, str>> {
    let mut names = OrderedSet::default();
    for block in messages.iter().flat_map(|message| &message.content) {
        if let ContentBlock::ToolUse(call) = block {
            names.insert(call.name.clone());
        }
    }
    names.into_texts()
}
