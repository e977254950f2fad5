//! What the model may call, and what it has to.

use super::members::{borrowed, leave_out};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Tool, ToolChoice};
use crate::json::{JsonStr, List};
use crate::json_edit::members;
use crate::json_error;
use crate::openai::request::{self as openai, Function, NamedFunction, TextOr};
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

/// Tool choice.
pub(super) fn choice<'a>(
    choice: Option<&'a TextOr<'_, openai::ToolChoice<'_>>>,
    function_call: Option<&'a TextOr<'_, NamedFunction<'_>>>,
    diagnostics: &mut Diagnostics,
) -> Result<Option<ToolChoice<'a>>, InvalidRequest> {
    let root = JsonPath::ROOT;
    let path = root.key("tool_choice");
    match (choice, function_call) {
        (None, None) => Ok(None),
        (Some(TextOr::Text(word)), _) => word_for(word, path).map(Some),
        (Some(TextOr::More(choice)), _) => {
            let openai::ToolChoice { kind, function, unknown } = choice;
            if kind.as_deref().is_some_and(|kind| kind != "function") {
                return Err(InvalidRequest::new(path.key("type"), "Input should be 'function'"));
            }
            leave_out(path, unknown, diagnostics);
            named(function.as_ref(), path.key("function"), diagnostics).map(Some)
        }
        (None, Some(TextOr::Text(word))) => word_for(word, root.key("function_call")).map(Some),
        (None, Some(TextOr::More(function))) => {
            named(Some(function), root.key("function_call"), diagnostics).map(Some)
        }
    }
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
