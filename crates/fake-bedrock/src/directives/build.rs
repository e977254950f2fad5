//! Builds scripts: one method for each kind of answer.

use serde_json::{Value, json};

use super::{
    Directive, ForcedTool, MAX_DELTA_BYTES, MAX_DELTAS, Plan, Prompt, ScriptOptions, Tool, beginning,
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
    tools: u64,
}

impl ScriptBuilder {
    pub(super) fn new(options: ScriptOptions) -> Self {
        Self { steps: vec![Step::Event(Event::MessageStart)], index: 0, options, tools: 0 }
    }

    pub(super) fn ordinary(mut self, prompt: &Prompt) -> Plan {
        if let Some(schema) = &prompt.format {
            let json = instance(schema, beginning(prompt.said())).to_string();
            return self.say(&json).end("end_turn");
        }
        if !prompt.tool_results.is_empty() {
            let said: Vec<&str> = prompt.tool_results.iter().map(|result| beginning(result)).collect();
            let mut answer = format!("The tool said: {}", said.join(" and "));
            answer.push_str(&seen(&prompt.images));
            return self.say(&answer).end("end_turn");
        }
        if let Some(forced) = &prompt.forced {
            let tool = match forced {
                ForcedTool::Any => prompt.callable().next(),
                ForcedTool::Named(name) => prompt.tools.iter().find(|tool| tool.name == *name),
            };
            if let Some(tool) = tool {
                return self.call(tool, prompt.said()).end("tool_use");
            }
        }
        let answer = format!(
            "This answer came from fake-bedrock over {}. You said: {}{}",
            prompt.route.name(),
            beginning(prompt.said()),
            seen(&prompt.images)
        );
        self.say(&answer).end("end_turn")
    }

    pub(super) fn magic(mut self, word: &Directive, prompt: &Prompt) -> Plan {
        let throttled = || AwsError::named("ThrottlingException", None);
        match word.name.as_str() {
            "tool" | "tools" | "tool-empty" | "toolcut" => self.call_tools(word, prompt),
            "thinking" => {
                let thoughts: &[&str] =
                    if prompt.hides { &[] } else { &["The user wants ", "to see me think. ", "So I think."] };
                let index = self.index;
                for &text in thoughts {
                    self.event(Event::Thinking { index, text: text.into() });
                    self.pace();
                }
                if prompt.signs {
                    self.event(Event::Signature { index, signature: sign(&thoughts.concat()) });
                }
                self.close().say("I have thought about it. ").end("end_turn")
            }
            "redacted" => {
                let data = redacted_data(self.options.seed);
                let (first, second) = data.split_at(data.len() / 2);
                let index = self.index;
                for part in [first, second] {
                    self.event(Event::Redacted { index, data: part.to_owned() });
                }
                self.close().say("Part of my reasoning is redacted. ").end("end_turn")
            }
            "cite" => self.cite(prompt),
            "tool-search" => self.search(prompt),
            "xml" => {
                self.fragments(&[
                    "I will write it.\n<wri",
                    "te_file>\n<pa",
                    "th>hello.txt</p",
                    "ath>\n<content>Hello, ",
                    "<b>world</b>",
                    "!</content>\n</write_",
                    "file",
                    ">\n",
                ]);
                self.close().end("end_turn")
            }
            "long" => {
                for n in 0..word.number(0, 100).min(MAX_DELTAS) {
                    self.text(PLAIN[n as usize % PLAIN.len()]);
                }
                self.close().end("end_turn")
            }
            "paced" => {
                self.options.pace = Duration::from_millis(match word.arguments.get(1) {
                    Some(_) => word.number(1, 10),
                    None if self.options.pace.is_zero() => 10,
                    None => self.options.pace.as_millis() as u64,
                });
                for n in 0..word.number(0, 100).min(MAX_DELTAS) {
                    self.text(PLAIN[n as usize % PLAIN.len()]);
                    self.pace();
                }
                self.close().end("end_turn")
            }
            "size" => {
                let length = word.number(0, 1000).min(MAX_DELTA_BYTES) as usize;
                let mut text = "abcdefg ".repeat(length / 8 + 1);
                text.truncate(length);
                let index = self.index;
                self.event(Event::Text { index, text: text.into() });
                self.close().end("end_turn")
            }
            "throttle" => Plan::Refuse(throttled()),
            "throttle-once" => {
                let Plan::Play(steps) = self.say("This time it went through. ").end("end_turn") else {
                    return Plan::Drop;
                };
                Plan::FailOnce(throttled(), steps)
            }
            "throttle-first-frame" => Plan::Play(vec![Step::Exception(throttled())]),
            "refuse" => Plan::Refuse(named(word)),
            "throttle-mid" => self.begin().fail(Step::Exception(throttled())),
            "exception" => self.begin().fail(Step::Exception(named(word))),
            "error-frame" => self.begin().fail(Step::Error("InternalError".into(), THROTTLED_MESSAGE.into())),
            "chunk-error" => {
                let kind = word.arguments.first().map_or("overloaded_error", String::as_str).to_owned();
                self.begin().fail(Step::ErrorObject(kind, "Overloaded".into()))
            }
            "cut" => self.begin().fail(Step::Cut),
            "cut-before" => Plan::Drop,
            "no-metadata" => {
                let Plan::Play(mut steps) = self.begin().close().end("end_turn") else {
                    return Plan::Drop;
                };
                steps.pop();
                Plan::Play(steps)
            }
            "no-stop" => {
                self.begin();
                Plan::Play(self.steps)
            }
            "bad-crc" => {
                self.begin();
                self.steps.push(Step::CorruptNext);
                self.say("Nobody should read this. ").end("end_turn")
            }
            "unknown-event" => {
                self.begin();
                self.other(
                    "contentBlockWink",
                    json!({"contentBlockIndex": 0, "wink": {"eye": "left"}, "p": "abc"}),
                );
                self.other(
                    "contentBlockDelta",
                    json!({"contentBlockIndex": 0, "delta": {"text": "still "}, "mood": {"level": 3}, "p": "ab"}),
                );
                self.fragments(&["going."]);
                self.close().end("end_turn")
            }
            "stop" => {
                let reason = word.arguments.first().map_or("end_turn", String::as_str).to_owned();
                self.begin().close().end(&reason)
            }
            "stop-sequence" => {
                let sequence = prompt.stop_sequences.first().map_or("END", String::as_str).to_owned();
                self.begin().close();
                self.event(Event::MessageStop {
                    reason: "stop_sequence".into(),
                    stop_sequence: Some(sequence),
                });
                self.event(Event::Metadata);
                Plan::Play(self.steps)
            }
            "max_tokens" => self.begin().close().end("max_tokens"),
            "empty-first" => {
                self.event(Event::Text { index: 0, text: "".into() });
                self.fragments(&["First came ", "nothing."]);
                self.close().end("end_turn")
            }
            "index-gap" => {
                self.fragments(&["Block nought."]);
                self.close();
                self.index = 2;
                self.fragments(&["Block two."]);
                self.close().end("end_turn")
            }
            _ => self.ordinary(prompt),
        }
    }

    fn call_tools(&mut self, word: &Directive, prompt: &Prompt) -> Plan {
        let named = word.arguments.first().and_then(|name| prompt.tools.iter().find(|t| t.name == *name));
        let Some(first) = named.or_else(|| prompt.callable().next()) else {
            return self
                .say("I was asked to call a tool, but there is none in this request. ")
                .end("end_turn");
        };
        let said = prompt.said();
        match word.name.as_str() {
            "tool-empty" => {
                self.start(first);
                self.close().end("tool_use")
            }
            "toolcut" => {
                let index = self.start(first);
                let json = arguments(&first.schema, beginning(said)).to_string();
                let json = if json.len() < 4 { r#"{"unfinished": "#.to_owned() } else { json };
                let half = json.chars().take(json.chars().count() / 2).collect();
                self.event(Event::ToolInput { index, json: half });
                self.close().end("max_tokens")
            }
            "tools" => {
                let second = prompt.callable().nth(1).unwrap_or(first);
                self.say("Two calls at once. ").call(first, said).call(second, said).end("tool_use")
            }
            _ => self.say("Let me use a tool. ").call(first, said).end("tool_use"),
        }
    }

    /// One sentence for each thing that may be cited, with its citation.
    fn cite(&mut self, prompt: &Prompt) -> Plan {
        if prompt.citable_sources.is_empty() {
            return self.say("There is nothing here that I may cite. ").end("end_turn");
        }
        for source in &prompt.citable_sources {
            let index = self.index;
            let quoted = beginning(&source.text);
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
            self.close();
        }
        self.end("end_turn")
    }

    /// Finds the first deferred tool and calls it, or asks the caller's own search for it.
    fn search(&mut self, prompt: &Prompt) -> Plan {
        let Some(wanted) = prompt.tools.iter().find(|tool| tool.deferred) else {
            return self.say("There is no deferred tool to search for. ").end("end_turn");
        };
        let Some(search) = &prompt.search else {
            let Some(own) = prompt.callable().find(|tool| tool.name == "ToolSearch") else {
                return self.say("There is nothing to search with. ").end("end_turn");
            };
            let index = self.start(own);
            let mut input = arguments(&own.schema, "");
            input["query"] = format!("select:{}", wanted.name).into();
            self.event(Event::ToolInput { index, json: input.to_string() });
            return self.close().end("tool_use");
        };
        let id = format!("srvtoolu_bdrk_{}", base62(self.options.seed));
        let asked = if search.contains("bm25") { "query" } else { "pattern" };
        let index = self.index;
        let block = json!({"type": "server_tool_use", "id": id, "name": search, "input": {}});
        self.event(Event::AnthropicBlockStart { index, block });
        let json = Value::from_iter([(asked, wanted.name.as_str())]).to_string();
        self.event(Event::ToolInput { index, json });
        self.close();
        let index = self.index;
        let found = json!([{"type": "tool_reference", "tool_name": wanted.name}]);
        let block = json!({
            "type": "tool_search_tool_result",
            "tool_use_id": id,
            "content": {"type": "tool_search_tool_search_result", "tool_references": found},
        });
        self.event(Event::AnthropicBlockStart { index, block });
        self.close().call(wanted, prompt.said()).end("tool_use")
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

    fn text(&mut self, text: &'static str) {
        let index = self.index;
        self.event(Event::Text { index, text: text.into() });
    }

    fn fragments(&mut self, fragments: &[&'static str]) -> &mut Self {
        for fragment in fragments {
            self.text(fragment);
            self.pace();
        }
        self
    }

    /// The start of an answer that will not end as it should.
    fn begin(&mut self) -> &mut Self {
        self.fragments(&["It began ", "well enough, "])
    }

    fn close(&mut self) -> &mut Self {
        let index = self.index;
        self.event(Event::BlockStop { index });
        self.index += 1;
        self
    }

    /// A block of text, a few words per delta.
    fn say(&mut self, text: &str) -> &mut Self {
        let index = self.index;
        let mut words = text.split_inclusive(' ').peekable();
        while words.peek().is_some() {
            let text: String = words.by_ref().take(3).collect();
            self.event(Event::Text { index, text: text.into() });
            self.pace();
        }
        self.close()
    }

    fn start(&mut self, tool: &Tool) -> u32 {
        self.tools += 1;
        let id = format!(
            "tooluse_{}",
            base62(self.options.seed.rotate_left(17) ^ self.tools.wrapping_mul(0x9e37_79b9))
        );
        let index = self.index;
        self.event(Event::ToolStart { index, id, name: tool.name.clone() });
        index
    }

    fn call(&mut self, tool: &Tool, said: &str) -> &mut Self {
        let index = self.start(tool);
        let json = arguments(&tool.schema, beginning(said)).to_string();
        let characters: Vec<char> = json.chars().collect();
        for piece in characters.chunks(characters.len().div_ceil(4).max(5)) {
            self.event(Event::ToolInput { index, json: piece.iter().collect() });
            self.pace();
        }
        self.close()
    }

    fn end(&mut self, reason: &str) -> Plan {
        self.event(Event::MessageStop { reason: reason.into(), stop_sequence: None });
        self.event(Event::Metadata);
        Plan::Play(std::mem::take(&mut self.steps))
    }

    fn fail(&mut self, step: Step) -> Plan {
        self.steps.push(step);
        // What `Step::Cut` cuts in half.
        self.text("never arrives whole");
        Plan::Play(std::mem::take(&mut self.steps))
    }
}

/// The words of answers whose text does not matter.
const PLAIN: &[&str] =
    &["Lorem ", "ipsum ", "dolor ", "sit ", "amet, ", "consectetur ", "adipiscing ", "elit. "];

fn named(word: &Directive) -> AwsError {
    let name = word.arguments.first().map_or("internalServerException", String::as_str);
    let original = word.arguments.get(1).and_then(|status| status.parse().ok());
    AwsError::named(name, original)
}

fn seen(images: &[String]) -> String {
    match images {
        [] => String::new(),
        [one] => format!(" I see 1 image ({one})."),
        many => format!(" I see {} images ({}).", many.len(), many.join("; ")),
    }
}
