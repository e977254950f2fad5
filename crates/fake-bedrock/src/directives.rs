//! The magic words: which script a prompt asks for.
//!
//! A word in square brackets anywhere in the last user text chooses the answer, so that ordinary demo prompts can carry
//! one. `[slow MS]` and `[pause MS]` may stand beside another word.

use std::time::Duration;

use serde_json::Value;

use crate::error::AwsError;
use crate::routes::Api;
use crate::script::Step;

mod build;

use build::ScriptBuilder;

/// The last user turn, in neither dialect.
#[derive(Debug, Default)]
pub(crate) struct Prompt {
    /// The text blocks of the last user message.
    pub(crate) texts: Vec<String>,
    /// The texts of its tool results.
    pub(crate) tool_results: Vec<String>,
    /// Its images, such as `image/png, 68 bytes`.
    pub(crate) images: Vec<String>,
    pub(crate) tools: Vec<Tool>,
    /// The tool choice, when it forces a call.
    pub(crate) forced_tool: Option<ForcedTool>,
    pub(crate) stop_sequences: Vec<String>,
    /// Whether reasoning comes signed, as Claude's does.
    pub(crate) signs_thinking: bool,
    /// Whether reasoning comes without its text: only the signature is shown.
    pub(crate) omits_thinking: bool,
    /// The way the request came in, which ordinary answers tell.
    pub(crate) api: Api,
    /// The schema that the answer must satisfy.
    pub(crate) output_schema: Option<Value>,
    /// What an answer may cite.
    pub(crate) citable_sources: Vec<CitableSource>,
    /// The name of the tool search that Bedrock itself runs.
    pub(crate) search_tool: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
    /// Whether its definition is still to be searched for.
    pub(crate) deferred: bool,
}

/// A document or search result whose citations are wanted.
#[derive(Debug)]
pub(crate) struct CitableSource {
    pub(crate) title: String,
    /// Where a search result comes from.
    pub(crate) source: Option<String>,
    /// Its text, as far as it is known.
    pub(crate) text: String,
    /// Converse's `location` of the citation.
    pub(crate) location: Value,
}

#[derive(Debug)]
pub(crate) enum ForcedTool {
    Any,
    Named(String),
}

impl Prompt {
    /// The tools whose definitions the model has.
    fn callable_tools(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().filter(|tool| !tool.deferred)
    }

    /// The text that counts as what the user said: the last one that is not an agent's own reminder.
    pub(crate) fn user_text(&self) -> &str {
        self.texts
            .iter()
            .rev()
            .map(|text| text.trim())
            .find(|text| !text.is_empty() && !text.starts_with("<system-reminder>"))
            .unwrap_or_default()
    }
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Respond(Vec<Step>),
    Fail(AwsError),
    /// As [`Plan::Fail`], but only the first time this very body arrives.
    FailOnce(AwsError, Vec<Step>),
    /// Drop the connection without a byte.
    DropConnection,
}

/// Numbers and times that a script may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScriptOptions {
    /// Different for every request.
    pub(crate) seed: u64,
    /// Silence between the deltas of ordinary answers.
    pub(crate) pace: Duration,
}

/// Chooses the answer.
pub(crate) fn plan(prompt: &Prompt, options: ScriptOptions) -> Plan {
    let directives = parse_directives(prompt);
    let builder = ScriptBuilder::new(options);
    let base = directives.iter().find(|directive| !matches!(directive.name.as_str(), "slow" | "pause"));
    let plan = match base {
        Some(directive) => builder.directive(directive, prompt),
        None => builder.default_response(prompt),
    };
    let milliseconds = |name: &str| {
        directives
            .iter()
            .find(|directive| directive.name == name)
            .map(|directive| Duration::from_millis(directive.number(0, 1000)))
    };
    let Plan::Respond(mut steps) = plan else { return plan };
    if let Some(pause) = milliseconds("pause") {
        steps.insert(steps.len() / 2, Step::Sleep(pause));
    }
    if let Some(slow) = milliseconds("slow") {
        steps.insert(0, Step::Sleep(slow));
    }
    Plan::Respond(steps)
}

struct Directive {
    name: String,
    arguments: Vec<String>,
}

impl Directive {
    fn number(&self, position: usize, default: u64) -> u64 {
        self.arguments.get(position).and_then(|n| n.parse().ok()).unwrap_or(default)
    }
}

/// Deltas that `[long N]` and `[paced N MS]` give at most.
const MAX_DELTAS: u64 = 1_000_000;
/// Bytes that `[size N]` gives at most.
const MAX_DELTA_BYTES: u64 = 16_000_000;

const DIRECTIVE_NAMES: &[&str] = &[
    "tool",
    "tools",
    "tool-empty",
    "thinking",
    "redacted",
    "xml",
    "long",
    "paced",
    "size",
    "slow",
    "pause",
    "throttle",
    "throttle-once",
    "throttle-first-frame",
    "throttle-mid",
    "exception",
    "refuse",
    "error-frame",
    "cut",
    "cut-before",
    "no-metadata",
    "no-stop",
    "bad-crc",
    "unknown-event",
    "stop",
    "stop-sequence",
    "max_tokens",
    "toolcut",
    "empty-first",
    "index-gap",
    "cite",
    "chunk-error",
    "tool-search",
];

/// The magic words of the last text that has any.
fn parse_directives(prompt: &Prompt) -> Vec<Directive> {
    for text in prompt.texts.iter().rev() {
        let directives: Vec<Directive> = text
            .split('[')
            .skip(1)
            .filter_map(|rest| {
                let mut parts = rest.split_once(']')?.0.split_whitespace();
                let name = parts.next()?.to_ascii_lowercase();
                let arguments = parts.map(str::to_owned).collect();
                DIRECTIVE_NAMES.contains(&name.as_str()).then_some(Directive { name, arguments })
            })
            .collect();
        if !directives.is_empty() {
            return directives;
        }
    }
    Vec::new()
}

fn first_200_chars(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
