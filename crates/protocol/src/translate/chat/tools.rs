//! What the model may call, and what it has to.

use std::collections::HashSet;

use super::members::{borrowed, leave_out};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Tool, ToolChoice};
use crate::capabilities::{Capabilities, ToolChoices};
use crate::json::{JsonStr, List};
use crate::json_edit::members;
use crate::json_error;
use crate::openai::request::{self as openai, AllowedTool, AllowedTools, Function, NamedFunction, TextOr};
use crate::translate::diagnostics::{Diagnostics, JsonPath};

/// The schema of a tool without arguments, which OpenAI lets be absent.
const NO_ARGUMENTS: &str = r#"{"type":"object","properties":{}}"#;

/// The tools, or the functions that were their predecessors.
pub(super) fn offered<'a>(
    tools: Option<&'a List<openai::Tool<'_>>>,
    functions: Option<&'a List<Function<'_>>>,
    diagnostics: &mut Diagnostics,
) -> Result<Option<List<Tool<'a>>>, InvalidRequest> {
    let root = JsonPath::ROOT;
    if let Some(tools) = tools {
        if functions.is_some() {
            diagnostics.dropped(root.key("functions"), "left out: there are tools");
        }
        let at_tools = root.key("tools");
        let offered =
            tools.iter().enumerate().map(|(index, tool)| this(tool, at_tools.index(index), diagnostics));
        return Ok(Some(List(offered.collect::<Result<_, _>>()?)));
    }
    let Some(functions) = functions else { return Ok(None) };
    let at_functions = root.key("functions");
    let offered = functions
        .iter()
        .enumerate()
        .map(|(index, function)| declared(function, at_functions.index(index), diagnostics));
    Ok(Some(List(offered.collect::<Result<_, _>>()?)))
}

fn this<'a>(
    tool: &'a openai::Tool<'_>,
    path: JsonPath<'_>,
    diagnostics: &mut Diagnostics,
) -> Result<Tool<'a>, InvalidRequest> {
    let openai::Tool { kind, function, cache_control, unknown } = tool;
    match kind.as_deref() {
        Some("function") | None => {}
        Some(kind) => {
            let message = format!("Input should be 'function': models on Bedrock have no '{kind}' tools");
            return Err(InvalidRequest::new(path.key("type"), message));
        }
    }
    leave_out(path, unknown, diagnostics);
    let at_function = path.key("function");
    let Some(function) = function else {
        return Err(InvalidRequest::new(at_function, "Field required"));
    };
    Ok(Tool { cache_control: cache_control.clone(), ..declared(function, at_function, diagnostics)? })
}

fn declared<'a>(
    function: &'a Function<'_>,
    path: JsonPath<'_>,
    diagnostics: &mut Diagnostics,
) -> Result<Tool<'a>, InvalidRequest> {
    let Function { name, description, parameters, strict, unknown } = function;
    leave_out(path, unknown, diagnostics);
    let Some(name) = name else { return Err(InvalidRequest::new(path.key("name"), "Field required")) };
    if let Some(schema) = parameters.filter(|schema| !schema.is_object()) {
        return Err(json_error::not_an_object(path.key("parameters"), schema));
    }
    let input_schema = parameters.filter(|schema| !members(*schema).is_empty());
    Ok(Tool {
        name: Some(borrowed(name)),
        description: description.as_ref().map(borrowed),
        input_schema: input_schema.or_else(|| serde_json::from_str(NO_ARGUMENTS).ok()),
        strict: strict.filter(|strict| *strict),
        ..Tool::default()
    })
}

/// Tool choice of the client.
pub(super) enum ChosenTools<'a> {
    /// For all tools.
    All(Option<ToolChoice<'a>>),
    /// Some tools only.
    Allowed {
        /// Whether one of them has to be called.
        is_required: bool,
        /// Names of the tools.
        names: Vec<&'a str>,
        /// Whether the names stand in `allowed_tools`.
        is_nested: bool,
    },
}

/// Tool choice.
pub(super) fn choice<'a>(
    choice: Option<&'a TextOr<'_, openai::ToolChoice<'_>>>,
    function_call: Option<&'a TextOr<'_, NamedFunction<'_>>>,
    diagnostics: &mut Diagnostics,
) -> Result<ChosenTools<'a>, InvalidRequest> {
    let root = JsonPath::ROOT;
    let path = root.key("tool_choice");
    let all = |choice: ToolChoice<'a>| ChosenTools::All(Some(choice));
    match (choice, function_call) {
        (None, None) => Ok(ChosenTools::All(None)),
        (Some(TextOr::Text(word)), _) => word_for(word, path).map(all),
        (Some(TextOr::More(choice)), _) => {
            let openai::ToolChoice { kind, function, name, allowed_tools, mode, tools, unknown } = choice;
            leave_out(path, unknown, diagnostics);
            match (kind.as_deref(), name) {
                (Some("allowed_tools"), _) => match allowed_tools {
                    Some(AllowedTools { mode, tools, unknown }) => {
                        let path = path.key("allowed_tools");
                        leave_out(path, unknown, diagnostics);
                        allowed(mode.as_deref(), tools.as_ref(), true, path)
                    }
                    None => allowed(mode.as_deref(), tools.as_ref(), false, path),
                },
                // Anthropic's, and that of the Responses API.
                (Some("tool" | "function"), Some(name)) if function.is_none() => Ok(all(ToolChoice {
                    kind: Some(JsonStr::from("tool")),
                    name: Some(borrowed(name)),
                    ..ToolChoice::default()
                })),
                (Some(kind @ ("auto" | "none" | "required" | "any")), _) => {
                    let word = if kind == "any" { "required" } else { kind };
                    word_for(&JsonStr::from(word), path).map(all)
                }
                (None | Some("function"), _) => {
                    named(function.as_ref(), path.key("function"), diagnostics).map(all)
                }
                (Some(_), _) => {
                    let message = "Input should be 'function' or 'allowed_tools'";
                    Err(InvalidRequest::new(path.key("type"), message))
                }
            }
        }
        (None, Some(TextOr::Text(word))) => word_for(word, root.key("function_call")).map(all),
        (None, Some(TextOr::More(function))) => {
            named(Some(function), root.key("function_call"), diagnostics).map(all)
        }
    }
}

fn allowed<'a>(
    mode: Option<&str>,
    tools: Option<&'a List<AllowedTool<'_>>>,
    is_nested: bool,
    path: JsonPath<'_>,
) -> Result<ChosenTools<'a>, InvalidRequest> {
    let is_required = match mode {
        Some("auto") | None => false,
        Some("required") => true,
        Some(_) => return Err(InvalidRequest::new(path.key("mode"), "Input should be 'auto' or 'required'")),
    };
    let path = path.key("tools");
    let tools = tools.filter(|tools| !tools.is_empty());
    let Some(tools) = tools else {
        return Err(InvalidRequest::new(path, "at least one tool is required"));
    };
    let mut names = Vec::with_capacity(tools.len());
    for (index, tool) in tools.iter().enumerate() {
        let path = path.index(index);
        if tool.kind.as_deref().is_some_and(|kind| kind != "function") {
            return Err(InvalidRequest::new(path.key("type"), "Input should be 'function'"));
        }
        let name = tool.function.as_ref().and_then(|function| function.name.as_deref());
        let name = name.or(tool.name.as_deref());
        names.push(name.ok_or_else(|| InvalidRequest::new(path.key("function"), "Field required"))?);
    }
    Ok(ChosenTools::Allowed { is_required, names, is_nested })
}

/// Tools, tool choice, and the indexes of the tools where some are left out.
type Allowed<'a> = (Option<List<Tool<'a>>>, Option<ToolChoice<'a>>, Option<Vec<usize>>);

/// Restricts the tools to those of the choice.
///
/// Claude has no such choice, so the other tools are left out. That changes the cached prefix; a single tool that has to be
/// called is named instead, which keeps the tools.
///
/// # Errors
/// When a tool of the choice is not offered.
pub(super) fn allow<'a>(
    offered: Option<List<Tool<'a>>>,
    choice: ChosenTools<'a>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> Result<Allowed<'a>, InvalidRequest> {
    let (is_required, names, is_nested) = match choice {
        ChosenTools::All(choice) => return Ok((offered, choice, None)),
        ChosenTools::Allowed { is_required, names, is_nested } => (is_required, names, is_nested),
    };
    let root = JsonPath::ROOT;
    let path = root.key("tool_choice");
    let nested = path.key("allowed_tools");
    let path = if is_nested { nested } else { path };
    let tools = offered.map(|tools| tools.0).unwrap_or_default();
    let offered: HashSet<&str> = tools.iter().filter_map(|tool| tool.name.as_deref()).collect();
    if let Some(index) = names.iter().position(|name| !offered.contains(name)) {
        let message = "Input should be the name of one of the tools";
        return Err(InvalidRequest::new(path.key("tools").index(index), message));
    }
    let kind = |kind: &'static str| ToolChoice { kind: Some(JsonStr::from(kind)), ..ToolChoice::default() };
    let allowed: HashSet<&str> = names.iter().copied().collect();
    if let (true, [name], ToolChoices::Named) = (is_required, &names[..], capabilities.tool_choice) {
        let choice = ToolChoice { name: Some(JsonStr::from(*name)), ..kind("tool") };
        return Ok((Some(List(tools)), Some(choice), None));
    }
    let choice = kind(if is_required { "any" } else { "auto" });
    let is_allowed = |tool: &Tool<'_>| tool.name.as_deref().is_some_and(|name| allowed.contains(name));
    if tools.iter().all(is_allowed) {
        return Ok((Some(List(tools)), Some(choice), None));
    }
    diagnostics.adjusted(path, "only these tools are sent, which changes the cached prefix");
    let (indexes, tools) = tools.into_iter().enumerate().filter(|(_, tool)| is_allowed(tool)).unzip();
    Ok((Some(List(tools)), Some(choice), Some(indexes)))
}

fn word_for(word: &JsonStr<'_>, path: JsonPath<'_>) -> Result<ToolChoice<'static>, InvalidRequest> {
    let kind = match &**word {
        "auto" => "auto",
        "none" => "none",
        "required" => "any",
        _ => {
            let message = "Input should be 'none', 'auto', 'required' or the name of a function";
            return Err(InvalidRequest::new(path, message));
        }
    };
    Ok(ToolChoice { kind: Some(JsonStr::from(kind)), ..ToolChoice::default() })
}

fn named<'a>(
    function: Option<&'a NamedFunction<'_>>,
    path: JsonPath<'_>,
    diagnostics: &mut Diagnostics,
) -> Result<ToolChoice<'a>, InvalidRequest> {
    let Some(NamedFunction { name: Some(name), unknown }) = function else {
        return Err(InvalidRequest::new(path.key("name"), "Field required"));
    };
    leave_out(path, unknown, diagnostics);
    Ok(ToolChoice { kind: Some(JsonStr::from("tool")), name: Some(borrowed(name)), ..ToolChoice::default() })
}
