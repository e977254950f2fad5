//! Table of directives: name and the function that builds the script.

use std::time::Duration;

use serde_json::{Value, json};

use super::builder::{ScriptBuilder, truncate};
use super::{Directive, Prompt, ResponsePlan};
use crate::arguments::arguments;
use crate::error::{AwsError, THROTTLED_MESSAGE};
use crate::script::{ScriptEvent, ScriptStep};
use crate::signatures::{base62, redacted_data, sign};

/// Maximum number of deltas of `[long N]` and `[paced N MS]`: more than a model writes.
const MAX_DELTAS: u64 = 1_000_000;
/// Maximum number of bytes of `[size N]`: more than AWS's SDKs accept in one frame.
const MAX_DELTA_BYTES: u64 = 30_000_000;

/// Tokens and maximum in the rejection of `[too-long]`.
const TOO_LONG_TOKENS: u64 = 206_456;
const TOO_LONG_MAXIMUM: u64 = 200_000;

/// Text of responses whose text does not matter.
const FILLER_WORDS: &[&str] =
    &["Lorem ", "ipsum ", "dolor ", "sit ", "amet, ", "consectetur ", "adipiscing ", "elit. "];

/// Builds the script of one directive.
type BuildScript = fn(&mut ScriptBuilder, &Directive, &Prompt) -> ResponsePlan;

/// Directives that choose the response.
pub(super) static DIRECTIVES: &[(&str, BuildScript)] = &[
    ("tool", tool),
    ("tools", tools),
    ("tools-same-id", |builder, directive, prompt| {
        builder.has_equal_ids = true;
        tools(builder, directive, prompt)
    }),
    ("tool-stop", tool_with_stop_reason),
    ("tool-empty", tool_without_input),
    ("toolcut", truncated_tool),
    ("tool-search", tool_search),
    ("thinking", thinking),
    ("redacted", redacted_thinking),
    ("cite", citations),
    ("xml", xml),
    ("long", long),
    ("paced", paced),
    ("size", size),
    ("throttle", |_, _, _| ResponsePlan::Fail(throttled())),
    ("throttle-once", throttle_once),
    ("throttle-first-frame", |_, _, _| ResponsePlan::Respond(vec![ScriptStep::Exception(throttled())])),
    ("throttle-mid", |builder, _, _| builder.unfinished_text().interrupt(ScriptStep::Exception(throttled()))),
    ("exception", |builder, directive, _| {
        builder.unfinished_text().interrupt(ScriptStep::Exception(named_exception(directive)))
    }),
    ("refuse", |_, directive, _| ResponsePlan::Fail(named_exception(directive))),
    ("too-long", |_, directive, prompt| {
        ResponsePlan::Fail(AwsError::too_long(
            directive.text(0, prompt.too_long),
            TOO_LONG_TOKENS,
            TOO_LONG_MAXIMUM,
        ))
    }),
    ("error-frame", |builder, _, _| {
        builder
            .unfinished_text()
            .interrupt(ScriptStep::Error("InternalError".into(), THROTTLED_MESSAGE.into()))
    }),
    ("chunk-error", |builder, directive, _| {
        let kind = directive.text(0, "overloaded_error").to_owned();
        builder.unfinished_text().interrupt(ScriptStep::ErrorObject(kind, "Overloaded".into()))
    }),
    ("cut", |builder, _, _| builder.unfinished_text().interrupt(ScriptStep::Cut)),
    ("cut-before", |_, _, _| ResponsePlan::DropConnection),
    ("no-metadata", no_metadata),
    ("no-stop", |builder, _, _| ResponsePlan::Respond(builder.unfinished_text().take_steps())),
    ("bad-crc", bad_crc),
    ("unknown-event", unknown_event),
    ("empty-first", empty_first),
    ("index-gap", index_gap),
    ("stop", |builder, directive, _| {
        builder.unfinished_text().block_stop().stop(directive.text(0, "end_turn"))
    }),
    ("stop-sequence", stop_sequence),
    ("max_tokens", |builder, _, _| builder.unfinished_text().block_stop().stop("max_tokens")),
];

/// Directives that may stand beside another one.
pub(super) const MODIFIERS: &[&str] = &["slow", "pause"];

fn throttled() -> AwsError {
    AwsError::from_name("ThrottlingException", None)
}

/// The exception whose name and original status are the arguments of the directive.
fn named_exception(directive: &Directive) -> AwsError {
    let original_status = directive.arguments.get(1).and_then(|status| status.parse().ok());
    AwsError::from_name(directive.text(0, "internalServerException"), original_status)
}

/// The tool that the directive names, or the first callable one.
fn chosen_tool<'a>(directive: &Directive, prompt: &'a Prompt) -> Option<&'a super::ToolDefinition> {
    let named = directive.arguments.first().and_then(|name| prompt.tools.iter().find(|t| t.name == *name));
    named.or_else(|| prompt.callable_tools().next())
}

fn no_tool(builder: &mut ScriptBuilder) -> ResponsePlan {
    builder.text_block("The prompt requires a tool call, but the request has no tool. ").stop("end_turn")
}

fn tool(builder: &mut ScriptBuilder, directive: &Directive, prompt: &Prompt) -> ResponsePlan {
    let Some(tool) = chosen_tool(directive, prompt) else { return no_tool(builder) };
    builder.text_block("Let me use a tool. ");
    match directive.arguments.get(1..).filter(|words| !words.is_empty()) {
        Some(words) => {
            let mut arguments = arguments(&tool.schema, truncate(prompt.user_text()));
            arguments["command"] = words.join(" ").into();
            builder.tool_call_with(tool, &arguments.to_string())
        }
        None => builder.tool_call(tool, prompt.user_text()),
    }
    .stop("tool_use")
}

fn tools(builder: &mut ScriptBuilder, directive: &Directive, prompt: &Prompt) -> ResponsePlan {
    let Some(first) = chosen_tool(directive, prompt) else { return no_tool(builder) };
    let second = prompt.callable_tools().nth(1).unwrap_or(first);
    let user_text = prompt.user_text();
    builder.text_block("Two calls at once. ").tool_call(first, user_text).tool_call(second, user_text);
    builder.stop("tool_use")
}

/// A call of the first tool that ends with another stop reason.
fn tool_with_stop_reason(
    builder: &mut ScriptBuilder,
    directive: &Directive,
    prompt: &Prompt,
) -> ResponsePlan {
    let Some(tool) = prompt.callable_tools().next() else { return no_tool(builder) };
    builder.tool_call(tool, prompt.user_text()).stop(directive.text(0, "end_turn"))
}

fn tool_without_input(builder: &mut ScriptBuilder, directive: &Directive, prompt: &Prompt) -> ResponsePlan {
    let Some(tool) = chosen_tool(directive, prompt) else { return no_tool(builder) };
    builder.tool_start(tool);
    builder.block_stop().stop("tool_use")
}

fn truncated_tool(builder: &mut ScriptBuilder, directive: &Directive, prompt: &Prompt) -> ResponsePlan {
    let Some(tool) = chosen_tool(directive, prompt) else { return no_tool(builder) };
    let index = builder.tool_start(tool);
    let json = arguments(&tool.schema, truncate(prompt.user_text())).to_string();
    let json = if json.len() < 4 { r#"{"unfinished": "#.to_owned() } else { json };
    let half = json.chars().take(json.chars().count() / 2).collect();
    builder.event(ScriptEvent::ToolInput { index, json: half });
    builder.block_stop().stop("max_tokens")
}

/// Finds the first deferred tool and calls it, or calls the client's own search tool.
fn tool_search(builder: &mut ScriptBuilder, _: &Directive, prompt: &Prompt) -> ResponsePlan {
    let Some(deferred_tool) = prompt.tools.iter().find(|tool| tool.deferred) else {
        return builder.text_block("There is no deferred tool to search for. ").stop("end_turn");
    };
    let Some(search_tool) = &prompt.search_tool else {
        let Some(client_search) = prompt.callable_tools().find(|tool| tool.name == "ToolSearch") else {
            return builder.text_block("There is nothing to search with. ").stop("end_turn");
        };
        let index = builder.tool_start(client_search);
        let mut input = arguments(&client_search.schema, "");
        input["query"] = format!("select:{}", deferred_tool.name).into();
        builder.event(ScriptEvent::ToolInput { index, json: input.to_string() });
        return builder.block_stop().stop("tool_use");
    };
    let id = format!("srvtoolu_bdrk_{}", base62(builder.options.seed));
    let input_name = if search_tool.contains("bm25") { "query" } else { "pattern" };
    let index = builder.index;
    let block = json!({"type": "server_tool_use", "id": id, "name": search_tool, "input": {}});
    builder.event(ScriptEvent::AnthropicBlockStart { index, block });
    let json = Value::from_iter([(input_name, deferred_tool.name.as_str())]).to_string();
    builder.event(ScriptEvent::ToolInput { index, json });
    builder.block_stop();
    let index = builder.index;
    let references = json!([{"type": "tool_reference", "tool_name": deferred_tool.name}]);
    let block = json!({
        "type": "tool_search_tool_result",
        "tool_use_id": id,
        "content": {"type": "tool_search_tool_search_result", "tool_references": references},
    });
    builder.event(ScriptEvent::AnthropicBlockStart { index, block });
    builder.block_stop().tool_call(deferred_tool, prompt.user_text()).stop("tool_use")
}

fn thinking(builder: &mut ScriptBuilder, _: &Directive, prompt: &Prompt) -> ResponsePlan {
    let deltas: &[&str] =
        if prompt.omits_thinking { &[] } else { &["The user wants ", "to see me think. ", "So I think."] };
    let index = builder.index;
    for &text in deltas {
        builder.event(ScriptEvent::Thinking { index, text: text.into() });
        builder.pace();
    }
    if prompt.signs_thinking {
        builder.event(ScriptEvent::Signature {
            index,
            signature: sign(&deltas.concat(), prompt.binding.as_ref()),
        });
    }
    builder.block_stop().text_block("I have thought about it. ").stop("end_turn")
}

fn redacted_thinking(builder: &mut ScriptBuilder, _: &Directive, prompt: &Prompt) -> ResponsePlan {
    let data = redacted_data(builder.options.seed, prompt.binding.as_ref());
    let (first, second) = data.split_at(data.len() / 2);
    let index = builder.index;
    for part in [first, second] {
        builder.event(ScriptEvent::Redacted { index, data: part.to_owned() });
    }
    builder.block_stop().text_block("Part of my reasoning is redacted. ").stop("end_turn")
}

/// One sentence with a citation for each source.
fn citations(builder: &mut ScriptBuilder, _: &Directive, prompt: &Prompt) -> ResponsePlan {
    if prompt.citable_sources.is_empty() {
        return builder.text_block("There is nothing here that I may cite. ").stop("end_turn");
    }
    for source in &prompt.citable_sources {
        let index = builder.index;
        let quote = truncate(&source.text);
        let text = format!("{} contains: ", source.title);
        builder.event(ScriptEvent::Text { index, text: text.into() });
        builder.pace();
        builder.event(ScriptEvent::Text { index, text: quote.to_owned().into() });
        let mut citation = json!({
            "title": source.title,
            "sourceContent": [{"text": quote}],
            "location": source.location,
        });
        if let Some(url) = &source.source {
            citation["source"] = url.as_str().into();
        }
        builder.event(ScriptEvent::Citation { index, citation });
        builder.block_stop();
    }
    builder.stop("end_turn")
}

fn xml(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.text_deltas(&[
        "I will write it.\n<wri",
        "te_file>\n<pa",
        "th>hello.txt</p",
        "ath>\n<content>Hello, ",
        "<b>world</b>",
        "!</content>\n</write_",
        "file",
        ">\n",
    ]);
    builder.block_stop().stop("end_turn")
}

fn long(builder: &mut ScriptBuilder, directive: &Directive, _: &Prompt) -> ResponsePlan {
    for n in 0..directive.number(0, 100).min(MAX_DELTAS) {
        builder.text_delta(FILLER_WORDS[n as usize % FILLER_WORDS.len()]);
    }
    builder.block_stop().stop("end_turn")
}

fn paced(builder: &mut ScriptBuilder, directive: &Directive, _: &Prompt) -> ResponsePlan {
    let pace = builder.options.pace;
    builder.options.pace = Duration::from_millis(match directive.arguments.get(1) {
        Some(_) => directive.number(1, 10),
        None if pace.is_zero() => 10,
        None => pace.as_millis() as u64,
    });
    for n in 0..directive.number(0, 100).min(MAX_DELTAS) {
        builder.text_delta(FILLER_WORDS[n as usize % FILLER_WORDS.len()]);
        builder.pace();
    }
    builder.block_stop().stop("end_turn")
}

fn size(builder: &mut ScriptBuilder, directive: &Directive, _: &Prompt) -> ResponsePlan {
    let length = directive.number(0, 1000).min(MAX_DELTA_BYTES) as usize;
    // One word, as the number of words is limited by `max_tokens`.
    let mut text = "abcdefg-".repeat(length / 8 + 1);
    text.truncate(length);
    let index = builder.index;
    builder.event(ScriptEvent::Text { index, text: text.into() });
    builder.block_stop().stop("end_turn")
}

fn throttle_once(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.text_block("This time it went through. ").message_stop("end_turn", None);
    ResponsePlan::FailOnce(throttled(), builder.take_steps())
}

fn no_metadata(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.unfinished_text().block_stop().message_stop("end_turn", None);
    let mut steps = builder.take_steps();
    // The last step is the metadata.
    steps.pop();
    ResponsePlan::Respond(steps)
}

fn bad_crc(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.unfinished_text().step(ScriptStep::CorruptNext);
    builder.text_block("This is never delivered. ").stop("end_turn")
}

fn unknown_event(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.unfinished_text();
    for (name, payload) in [
        ("contentBlockWink", json!({"contentBlockIndex": 0, "wink": {"eye": "left"}, "p": "abc"})),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"text": "still "}, "mood": {"level": 3}, "p": "ab"}),
        ),
    ] {
        builder.event(ScriptEvent::Other { name: name.into(), payload });
    }
    builder.text_deltas(&["going."]).block_stop().stop("end_turn")
}

fn empty_first(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.event(ScriptEvent::Text { index: 0, text: "".into() });
    builder.text_deltas(&["First came ", "nothing."]).block_stop().stop("end_turn")
}

fn index_gap(builder: &mut ScriptBuilder, _: &Directive, _: &Prompt) -> ResponsePlan {
    builder.text_deltas(&["Block nought."]).block_stop();
    builder.index = 2;
    builder.text_deltas(&["Block two."]).block_stop().stop("end_turn")
}

fn stop_sequence(builder: &mut ScriptBuilder, _: &Directive, prompt: &Prompt) -> ResponsePlan {
    let sequence = prompt.stop_sequences.first().map_or("END", String::as_str).to_owned();
    builder.unfinished_text().block_stop().message_stop("stop_sequence", Some(sequence));
    ResponsePlan::Respond(builder.take_steps())
}
