//! Builder of scripts: blocks, deltas and stops.

use super::{ForcedTool, Prompt, ResponsePlan, ScriptOptions, ToolDefinition};
use crate::arguments::{arguments, instance};
use crate::script::{ScriptEvent, ScriptStep};
use crate::signatures::base62;

/// Maximum number of characters of a prompt that a response quotes: enough to recognize the prompt.
const MAX_QUOTED_CHARS: usize = 200;

/// A script under construction.
pub(super) struct ScriptBuilder {
    steps: Vec<ScriptStep>,
    /// Index of the current block.
    pub(super) index: u32,
    pub(super) options: ScriptOptions,
    tool_calls: u64,
    /// Whether all calls have one id.
    pub(super) has_equal_ids: bool,
}

impl ScriptBuilder {
    pub(super) fn new(options: ScriptOptions) -> Self {
        Self {
            steps: vec![ScriptStep::Event(ScriptEvent::MessageStart)],
            index: 0,
            options,
            tool_calls: 0,
            has_equal_ids: false,
        }
    }

    /// The response to a prompt without directives.
    pub(super) fn default_response(&mut self, prompt: &Prompt) -> ResponsePlan {
        if let Some(schema) = &prompt.output_schema {
            let json = instance(schema, truncate(prompt.user_text())).to_string();
            return self.text_block(&json).stop("end_turn");
        }
        if !prompt.tool_results.is_empty() {
            let results: Vec<&str> = prompt.tool_results.iter().map(|result| truncate(result)).collect();
            let mut text = format!("The tool sent: {}", results.join(" and "));
            text.push_str(&describe_images(&prompt.images));
            return self.text_block(&text).stop("end_turn");
        }
        if let Some(forced_tool) = &prompt.forced_tool {
            let tool = match forced_tool {
                ForcedTool::Any => prompt.callable_tools().next(),
                ForcedTool::Named(name) => prompt.tools.iter().find(|tool| tool.name == *name),
            };
            if let Some(tool) = tool {
                return self.tool_call(tool, prompt.user_text()).stop("tool_use");
            }
        }
        let text = format!(
            "This output came from fake-bedrock over {}. You sent: {}{}",
            prompt.api.name(),
            truncate(prompt.user_text()),
            describe_images(&prompt.images)
        );
        self.text_block(&text).stop("end_turn")
    }

    pub(super) fn event(&mut self, event: ScriptEvent) {
        self.step(ScriptStep::Event(event));
    }

    pub(super) fn step(&mut self, step: ScriptStep) {
        self.steps.push(step);
    }

    /// Adds the delay between deltas.
    pub(super) fn pace(&mut self) {
        if !self.options.pace.is_zero() {
            self.step(ScriptStep::Sleep(self.options.pace));
        }
    }

    pub(super) fn text_delta(&mut self, text: &'static str) {
        let index = self.index;
        self.event(ScriptEvent::Text { index, text: text.into() });
    }

    pub(super) fn text_deltas(&mut self, deltas: &[&'static str]) -> &mut Self {
        for delta in deltas {
            self.text_delta(delta);
            self.pace();
        }
        self
    }

    /// Two text deltas of a block that stays open.
    pub(super) fn unfinished_text(&mut self) -> &mut Self {
        self.text_deltas(&["It began ", "well enough, "])
    }

    pub(super) fn block_stop(&mut self) -> &mut Self {
        let index = self.index;
        self.event(ScriptEvent::BlockStop { index });
        self.index += 1;
        self
    }

    /// A text block with three words in each delta.
    pub(super) fn text_block(&mut self, text: &str) -> &mut Self {
        let index = self.index;
        let mut words = text.split_inclusive(' ').peekable();
        while words.peek().is_some() {
            let text: String = words.by_ref().take(3).collect();
            self.event(ScriptEvent::Text { index, text: text.into() });
            self.pace();
        }
        self.block_stop()
    }

    /// Starts a tool call and returns the index of its block.
    pub(super) fn tool_start(&mut self, tool: &ToolDefinition) -> u32 {
        self.tool_calls += u64::from(!self.has_equal_ids || self.tool_calls == 0);
        let id = format!(
            "tooluse_{}",
            base62(self.options.seed.rotate_left(17) ^ self.tool_calls.wrapping_mul(0x9e37_79b9))
        );
        let index = self.index;
        self.event(ScriptEvent::ToolStart { index, id, name: tool.name.clone() });
        index
    }

    /// A tool call with arguments that satisfy the tool's schema.
    pub(super) fn tool_call(&mut self, tool: &ToolDefinition, user_text: &str) -> &mut Self {
        self.tool_call_with(tool, &arguments(&tool.schema, truncate(user_text)).to_string())
    }

    /// A tool call with these arguments, JSON.
    pub(super) fn tool_call_with(&mut self, tool: &ToolDefinition, json: &str) -> &mut Self {
        let index = self.tool_start(tool);
        let characters: Vec<char> = json.chars().collect();
        for part in characters.chunks(characters.len().div_ceil(4).max(5)) {
            self.event(ScriptEvent::ToolInput { index, json: part.iter().collect() });
            self.pace();
        }
        self.block_stop()
    }

    pub(super) fn message_stop(&mut self, reason: &str, stop_sequence: Option<String>) {
        self.event(ScriptEvent::MessageStop { reason: reason.into(), stop_sequence });
        self.event(ScriptEvent::Metadata);
    }

    /// Ends the message and returns the script.
    pub(super) fn stop(&mut self, reason: &str) -> ResponsePlan {
        self.message_stop(reason, None);
        ResponsePlan::Respond(self.take_steps())
    }

    /// Ends the script with a step that interrupts the stream.
    pub(super) fn interrupt(&mut self, step: ScriptStep) -> ResponsePlan {
        self.step(step);
        // `ScriptStep::Cut` sends half of this event.
        self.text_delta("never arrives whole");
        ResponsePlan::Respond(self.take_steps())
    }

    pub(super) fn take_steps(&mut self) -> Vec<ScriptStep> {
        std::mem::take(&mut self.steps)
    }
}

/// The first 200 characters of the text.
pub(super) fn truncate(text: &str) -> &str {
    text.char_indices().nth(MAX_QUOTED_CHARS).map_or(text, |(end, _)| &text[..end])
}

fn describe_images(images: &[String]) -> String {
    match images {
        [] => String::new(),
        [one] => format!(" I see 1 image ({one})."),
        many => format!(" I see {} images ({}).", many.len(), many.join("; ")),
    }
}
