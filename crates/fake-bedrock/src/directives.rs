//! Directives in the prompt that choose the response.
//!
//! A directive in square brackets may stand anywhere in the last user text, so that demo prompts can contain one.
//! `[slow MS]` and `[pause MS]` may stand beside another directive.

use std::time::Duration;

use serde_json::Value;

use crate::error::AwsError;
use crate::routes::Api;
use crate::script::ScriptStep;
use crate::signatures::Binding;

mod builder;
mod table;

use builder::ScriptBuilder;
use table::{DIRECTIVES, MODIFIERS};

/// The last user turn, independent of the API.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    /// Text blocks of the last user message.
    pub(crate) texts: Vec<String>,
    /// Texts of its tool results.
    pub(crate) tool_results: Vec<String>,
    /// Descriptions of its images, such as `image/png, 68 bytes`.
    pub(crate) images: Vec<String>,
    pub(crate) tools: Vec<ToolDefinition>,
    /// Tool choice that forces a call.
    pub(crate) forced_tool: Option<ForcedTool>,
    pub(crate) stop_sequences: Vec<String>,
    /// Whether thinking is signed, as with Claude.
    pub(crate) signs_thinking: bool,
    /// What thinking is bound to.
    pub(crate) binding: Option<Binding>,
    /// Whether thinking has a signature but no text.
    pub(crate) omits_thinking: bool,
    /// API of the request; default responses name it.
    pub(crate) api: Api,
    /// Wording of the model's family for a prompt that is too long.
    pub(crate) too_long: &'static str,
    /// JSON schema of the response text.
    pub(crate) output_schema: Option<Value>,
    /// Sources with citations enabled.
    pub(crate) citable_sources: Vec<CitableSource>,
    /// Name of the server-side tool search.
    pub(crate) search_tool: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct ToolDefinition {
    pub(crate) name: String,
    pub(crate) schema: Value,
    /// Whether its definition has not been loaded yet.
    pub(crate) deferred: bool,
}

/// A document or search result with citations enabled.
#[derive(Debug)]
pub(crate) struct CitableSource {
    pub(crate) title: String,
    /// Source of a search result.
    pub(crate) source: Option<String>,
    /// Its text; a placeholder for binary documents.
    pub(crate) text: String,
    /// `location` of the citation, as in Converse.
    pub(crate) location: Value,
}

#[derive(Debug)]
pub(crate) enum ForcedTool {
    Any,
    Named(String),
}

impl Prompt {
    /// Tools whose definitions are loaded.
    fn callable_tools(&self) -> impl Iterator<Item = &ToolDefinition> {
        self.tools.iter().filter(|tool| !tool.deferred)
    }

    /// The last text that is neither blank nor a `<system-reminder>`.
    pub(crate) fn user_text(&self) -> &str {
        self.texts
            .iter()
            .rev()
            .map(|text| text.trim())
            .find(|text| !text.is_empty() && !text.starts_with("<system-reminder>"))
            .unwrap_or_default()
    }
}

/// The chosen response.
#[derive(Debug, PartialEq)]
pub(crate) enum ResponsePlan {
    Respond(Vec<ScriptStep>),
    Fail(AwsError),
    /// Fails the first time that this body arrives, and responds afterwards.
    FailOnce(AwsError, Vec<ScriptStep>),
    /// Closes the connection without a response.
    DropConnection,
}

/// Inputs of a script that do not come from the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptOptions {
    /// Seed of ids, different for every request.
    pub(crate) seed: u64,
    /// Delay between the deltas of default responses.
    pub(crate) pace: Duration,
}

/// Chooses the response.
pub(crate) fn plan(prompt: &Prompt, options: ScriptOptions) -> ResponsePlan {
    let directives = parse_directives(prompt);
    let mut builder = ScriptBuilder::new(options);
    let chosen = directives.iter().find_map(|directive| {
        let (_, build) = DIRECTIVES.iter().find(|(name, _)| *name == directive.name)?;
        Some((build, directive))
    });
    let plan = match chosen {
        Some((build, directive)) => build(&mut builder, directive, prompt),
        None => builder.default_response(prompt),
    };
    let modifier = |name: &str| {
        let directive = directives.iter().find(|directive| directive.name == name);
        directive.map(|directive| Duration::from_millis(directive.number(0, 1000)))
    };
    let ResponsePlan::Respond(mut steps) = plan else { return plan };
    if let Some(pause) = modifier("pause") {
        steps.insert(steps.len() / 2, ScriptStep::Sleep(pause));
    }
    if let Some(slow) = modifier("slow") {
        steps.insert(0, ScriptStep::Sleep(slow));
    }
    ResponsePlan::Respond(steps)
}

/// A directive of the prompt, such as `[paced 5 20]`.
struct Directive {
    /// Name in lower case.
    name: String,
    arguments: Vec<String>,
}

impl Directive {
    fn number(&self, position: usize, default: u64) -> u64 {
        self.arguments.get(position).and_then(|n| n.parse().ok()).unwrap_or(default)
    }

    fn text<'a>(&'a self, position: usize, default: &'a str) -> &'a str {
        self.arguments.get(position).map_or(default, String::as_str)
    }
}

fn is_directive(name: &str) -> bool {
    MODIFIERS.contains(&name) || DIRECTIVES.iter().any(|(directive, _)| *directive == name)
}

/// Directives of the last text that contains any.
fn parse_directives(prompt: &Prompt) -> Vec<Directive> {
    for text in prompt.texts.iter().rev() {
        let directives: Vec<Directive> = text
            .split('[')
            .skip(1)
            .filter_map(|rest| {
                let mut parts = rest.split_once(']')?.0.split_whitespace();
                let name = parts.next()?.to_ascii_lowercase();
                let arguments = parts.map(str::to_owned).collect();
                is_directive(&name).then_some(Directive { name, arguments })
            })
            .collect();
        if !directives.is_empty() {
            return directives;
        }
    }
    Vec::new()
}

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
