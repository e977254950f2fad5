//! Builds scripts: one method for each kind of answer.

use serde_json::{Value, json};

use super::{
    Directive, ForcedTool, MAX_DELTA_BYTES, MAX_DELTAS, Plan, Prompt, ScriptOptions, Tool, first_200_chars,
};
use crate::arguments::{arguments, instance};
use crate::error::{AwsError, THROTTLED_MESSAGE};
use crate::script::{Event, Step};
use crate::signatures::{base62, redacted_data, sign};

use std::time::Duration;

pub(super) struct ScriptBuilder {
    steps: Vec<Step>,
    index: u32,
    options: ScriptOptions,
    tool_calls: u64,
}

impl ScriptBuilder {
    pub(super) fn new(options: ScriptOptions) -> Self {
        Self { steps: vec![Step::Event(Event::MessageStart)], index: 0, options, tool_calls: 0 }
    }

    pub(super) fn default_response(mut self, prompt: &Prompt) -> Plan {
        if let Some(schema) = &prompt.output_schema {
            let json = instance(schema, first_200_chars(prompt.user_text())).to_string();
            return self.text_block(&json).stop("end_turn");
        }
        if !prompt.tool_results.is_empty() {
            let user_text: Vec<&str> =
                prompt.tool_results.iter().map(|result| first_200_chars(result)).collect();
            let mut text = format!("The tool said: {}", user_text.join(" and "));
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
            "This answer came from fake-bedrock over {}. You said: {}{}",
            prompt.api.name(),
            first_200_chars(prompt.user_text()),
            describe_images(&prompt.images)
        );
        self.text_block(&text).stop("end_turn")
    }

    pub(super) fn directive(mut self, directive: &Directive, prompt: &Prompt) -> Plan {
        let throttled = || AwsError::from_name("ThrottlingException", None);
        match directive.name.as_str() {
            "tool" | "tools" | "tool-empty" | "toolcut" => self.call_tools(directive, prompt),
            "thinking" => {
                let thoughts: &[&str] = if prompt.omits_thinking {
                    &[]
                } else {
                    &["The user wants ", "to see me think. ", "So I think."]
                };
                let index = self.index;
                for &text in thoughts {
                    self.event(Event::Thinking { index, text: text.into() });
                    self.pace();
                }
                if prompt.signs_thinking {
                    self.event(Event::Signature { index, signature: sign(&thoughts.concat()) });
                }
                self.block_stop().text_block("I have thought about it. ").stop("end_turn")
            }
            "redacted" => {
                let data = redacted_data(self.options.seed);
                let (first, second) = data.split_at(data.len() / 2);
                let index = self.index;
                for part in [first, second] {
                    self.event(Event::Redacted { index, data: part.to_owned() });
                }
                self.block_stop().text_block("Part of my reasoning is redacted. ").stop("end_turn")
            }
            "cite" => self.cite(prompt),
            "tool-search" => self.search(prompt),
            "xml" => {
                self.text_deltas(&[
                    "I will write it.\n<wri",
                    "te_file>\n<pa",
                    "th>hello.txt</p",
                    "ath>\n<content>Hello, ",
                    "<b>world</b>",
                    "!</content>\n</write_",
                    "file",
                    ">\n",
                ]);
                self.block_stop().stop("end_turn")
            }
            "long" => {
                for n in 0..directive.number(0, 100).min(MAX_DELTAS) {
                    self.text_delta(FILLER_WORDS[n as usize % FILLER_WORDS.len()]);
                }
                self.block_stop().stop("end_turn")
            }
            "paced" => {
                self.options.pace = Duration::from_millis(match directive.arguments.get(1) {
                    Some(_) => directive.number(1, 10),
                    None if self.options.pace.is_zero() => 10,
                    None => self.options.pace.as_millis() as u64,
                });
                for n in 0..directive.number(0, 100).min(MAX_DELTAS) {
                    self.text_delta(FILLER_WORDS[n as usize % FILLER_WORDS.len()]);
                    self.pace();
                }
                self.block_stop().stop("end_turn")
            }
            "size" => {
                let length = directive.number(0, 1000).min(MAX_DELTA_BYTES) as usize;
                let mut text = "abcdefg ".repeat(length / 8 + 1);
                text.truncate(length);
                let index = self.index;
                self.event(Event::Text { index, text: text.into() });
                self.block_stop().stop("end_turn")
            }
            "throttle" => Plan::Fail(throttled()),
            "throttle-once" => {
                let Plan::Respond(steps) = self.text_block("This time it went through. ").stop("end_turn")
                else {
                    return Plan::DropConnection;
                };
                Plan::FailOnce(throttled(), steps)
            }
            "throttle-first-frame" => Plan::Respond(vec![Step::Exception(throttled())]),
            "refuse" => Plan::Fail(exception_from(directive)),
            "throttle-mid" => self.unfinished_text().interrupt(Step::Exception(throttled())),
            "exception" => self.unfinished_text().interrupt(Step::Exception(exception_from(directive))),
            "error-frame" => self
                .unfinished_text()
                .interrupt(Step::Error("InternalError".into(), THROTTLED_MESSAGE.into())),
            "chunk-error" => {
                let kind = directive.arguments.first().map_or("overloaded_error", String::as_str).to_owned();
                self.unfinished_text().interrupt(Step::ErrorObject(kind, "Overloaded".into()))
            }
            "cut" => self.unfinished_text().interrupt(Step::Cut),
            "cut-before" => Plan::DropConnection,
            "no-metadata" => {
                let Plan::Respond(mut steps) = self.unfinished_text().block_stop().stop("end_turn") else {
                    return Plan::DropConnection;
                };
                steps.pop();
                Plan::Respond(steps)
            }
            "no-stop" => {
                self.unfinished_text();
                Plan::Respond(self.steps)
            }
            "bad-crc" => {
                self.unfinished_text();
                self.steps.push(Step::CorruptNext);
                self.text_block("Nobody should read this. ").stop("end_turn")
            }
            "unknown-event" => {
                self.unfinished_text();
                self.other(
                    "contentBlockWink",
                    json!({"contentBlockIndex": 0, "wink": {"eye": "left"}, "p": "abc"}),
                );
                self.other(
                    "contentBlockDelta",
                    json!({"contentBlockIndex": 0, "delta": {"text": "still "}, "mood": {"level": 3}, "p": "ab"}),
                );
                self.text_deltas(&["going."]);
                self.block_stop().stop("end_turn")
            }
            "stop" => {
                let reason = directive.arguments.first().map_or("end_turn", String::as_str).to_owned();
                self.unfinished_text().block_stop().stop(&reason)
            }
            "stop-sequence" => {
                let sequence = prompt.stop_sequences.first().map_or("END", String::as_str).to_owned();
                self.unfinished_text().block_stop();
                self.event(Event::MessageStop {
                    reason: "stop_sequence".into(),
                    stop_sequence: Some(sequence),
                });
                self.event(Event::Metadata);
                Plan::Respond(self.steps)
            }
            "max_tokens" => self.unfinished_text().block_stop().stop("max_tokens"),
            "empty-first" => {
                self.event(Event::Text { index: 0, text: "".into() });
                self.text_deltas(&["First came ", "nothing."]);
                self.block_stop().stop("end_turn")
            }
            "index-gap" => {
                self.text_deltas(&["Block nought."]);
                self.block_stop();
                self.index = 2;
                self.text_deltas(&["Block two."]);
                self.block_stop().stop("end_turn")
            }
            _ => self.default_response(prompt),
        }
    }

    fn call_tools(&mut self, directive: &Directive, prompt: &Prompt) -> Plan {
        let named =
            directive.arguments.first().and_then(|name| prompt.tools.iter().find(|t| t.name == *name));
        let Some(first) = named.or_else(|| prompt.callable_tools().next()) else {
            return self
                .text_block("I was asked to call a tool, but there is none in this request. ")
                .stop("end_turn");
        };
        let user_text = prompt.user_text();
        match directive.name.as_str() {
            "tool-empty" => {
                self.tool_start(first);
                self.block_stop().stop("tool_use")
            }
            "toolcut" => {
                let index = self.tool_start(first);
                let json = arguments(&first.schema, first_200_chars(user_text)).to_string();
                let json = if json.len() < 4 { r#"{"unfinished": "#.to_owned() } else { json };
                let half = json.chars().take(json.chars().count() / 2).collect();
                self.event(Event::ToolInput { index, json: half });
                self.block_stop().stop("max_tokens")
            }
            "tools" => {
                let second = prompt.callable_tools().nth(1).unwrap_or(first);
                self.text_block("Two calls at once. ")
                    .tool_call(first, user_text)
                    .tool_call(second, user_text)
                    .stop("tool_use")
            }
            _ => self.text_block("Let me use a tool. ").tool_call(first, user_text).stop("tool_use"),
        }
    }

    /// One sentence for each thing that may be cited, with its citation.
    fn cite(&mut self, prompt: &Prompt) -> Plan {
        if prompt.citable_sources.is_empty() {
            return self.text_block("There is nothing here that I may cite. ").stop("end_turn");
        }
        for source in &prompt.citable_sources {
            let index = self.index;
            let quoted = first_200_chars(&source.text);
            let text = format!("{} says so: ", source.title);
            self.event(Event::Text { index, text: text.into() });
            self.pace();
            self.event(Event::Text { index, text: quoted.to_owned().into() });
            let mut citation = json!({
                "title": source.title,
                "sourceContent": [{"text": quoted}],
                "location": source.location,
            });
            if let Some(source) = &source.source {
                citation["source"] = source.as_str().into();
            }
            self.event(Event::Citation { index, citation });
            self.block_stop();
        }
        self.stop("end_turn")
    }

    /// Finds the first deferred tool and calls it, or asks the caller's own search for it.
    fn search(&mut self, prompt: &Prompt) -> Plan {
        let Some(deferred_tool) = prompt.tools.iter().find(|tool| tool.deferred) else {
            return self.text_block("There is no deferred tool to search for. ").stop("end_turn");
        };
        let Some(search) = &prompt.search_tool else {
            let Some(client_search) = prompt.callable_tools().find(|tool| tool.name == "ToolSearch") else {
                return self.text_block("There is nothing to search with. ").stop("end_turn");
            };
            let index = self.tool_start(client_search);
            let mut input = arguments(&client_search.schema, "");
            input["query"] = format!("select:{}", deferred_tool.name).into();
            self.event(Event::ToolInput { index, json: input.to_string() });
            return self.block_stop().stop("tool_use");
        };
        let id = format!("srvtoolu_bdrk_{}", base62(self.options.seed));
        let input_name = if search.contains("bm25") { "query" } else { "pattern" };
        let index = self.index;
        let block = json!({"type": "server_tool_use", "id": id, "name": search, "input": {}});
        self.event(Event::AnthropicBlockStart { index, block });
        let json = Value::from_iter([(input_name, deferred_tool.name.as_str())]).to_string();
        self.event(Event::ToolInput { index, json });
        self.block_stop();
        let index = self.index;
        let references = json!([{"type": "tool_reference", "tool_name": deferred_tool.name}]);
        let block = json!({
            "type": "tool_search_tool_result",
            "tool_use_id": id,
            "content": {"type": "tool_search_tool_search_result", "tool_references": references},
        });
        self.event(Event::AnthropicBlockStart { index, block });
        self.block_stop().tool_call(deferred_tool, prompt.user_text()).stop("tool_use")
    }

    fn event(&mut self, event: Event) {
        self.steps.push(Step::Event(event));
    }

    fn other(&mut self, name: &str, payload: Value) {
        self.event(Event::Other { name: name.into(), payload });
    }

    fn pace(&mut self) {
        if !self.options.pace.is_zero() {
            self.steps.push(Step::Sleep(self.options.pace));
        }
    }

    fn text_delta(&mut self, text: &'static str) {
        let index = self.index;
        self.event(Event::Text { index, text: text.into() });
    }

    fn text_deltas(&mut self, text_deltas: &[&'static str]) -> &mut Self {
        for fragment in text_deltas {
            self.text_delta(fragment);
            self.pace();
        }
        self
    }

    /// The start of an answer that will not end as it should.
    fn unfinished_text(&mut self) -> &mut Self {
        self.text_deltas(&["It began ", "well enough, "])
    }

    fn block_stop(&mut self) -> &mut Self {
        let index = self.index;
        self.event(Event::BlockStop { index });
        self.index += 1;
        self
    }

    /// A block of text, a few words per delta.
    fn text_block(&mut self, text: &str) -> &mut Self {
        let index = self.index;
        let mut directives = text.split_inclusive(' ').peekable();
        while directives.peek().is_some() {
            let text: String = directives.by_ref().take(3).collect();
            self.event(Event::Text { index, text: text.into() });
            self.pace();
        }
        self.block_stop()
    }

    fn tool_start(&mut self, tool: &Tool) -> u32 {
        self.tool_calls += 1;
        let id = format!(
            "tooluse_{}",
            base62(self.options.seed.rotate_left(17) ^ self.tool_calls.wrapping_mul(0x9e37_79b9))
        );
        let index = self.index;
        self.event(Event::ToolStart { index, id, name: tool.name.clone() });
        index
    }

    fn tool_call(&mut self, tool: &Tool, user_text: &str) -> &mut Self {
        let index = self.tool_start(tool);
        let json = arguments(&tool.schema, first_200_chars(user_text)).to_string();
        let characters: Vec<char> = json.chars().collect();
        for piece in characters.chunks(characters.len().div_ceil(4).max(5)) {
            self.event(Event::ToolInput { index, json: piece.iter().collect() });
            self.pace();
        }
        self.block_stop()
    }

    fn stop(&mut self, reason: &str) -> Plan {
        self.event(Event::MessageStop { reason: reason.into(), stop_sequence: None });
        self.event(Event::Metadata);
        Plan::Respond(std::mem::take(&mut self.steps))
    }

    fn interrupt(&mut self, step: Step) -> Plan {
        self.steps.push(step);
        // What `Step::Cut` cuts in half.
        self.text_delta("never arrives whole");
        Plan::Respond(std::mem::take(&mut self.steps))
    }
}

/// The words of answers whose text does not matter.
const FILLER_WORDS: &[&str] =
    &["Lorem ", "ipsum ", "dolor ", "sit ", "amet, ", "consectetur ", "adipiscing ", "elit. "];

fn exception_from(directive: &Directive) -> AwsError {
    let name = directive.arguments.first().map_or("internalServerException", String::as_str);
    let original = directive.arguments.get(1).and_then(|status| status.parse().ok());
    AwsError::from_name(name, original)
}

fn describe_images(images: &[String]) -> String {
    match images {
        [] => String::new(),
        [one] => format!(" I see 1 image ({one})."),
        many => format!(" I see {} images ({}).", many.len(), many.join("; ")),
    }
}
