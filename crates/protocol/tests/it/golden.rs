//! Bytes in, text out: the test data is the specification.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::anthropic::event_sink::EventSink;
use protocol::anthropic::{MessageAccumulator, Request, sse};
use protocol::capabilities::{Capabilities, PromptCache, Reasoning, Sampling, Thinking, ToolChoices, TopK};
use protocol::json::RawJson;
use protocol::json_edit::{items, members};
use protocol::translate::{self, End, RequestedBetas, TranslationOptions};

use crate::wire;

pub(crate) fn fixtures(folder: &str, extension: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(folder);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

pub(crate) fn snapshot(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The capabilities a request fixture is translated for: the first word of its name says which.
pub(crate) fn capabilities(name: &str) -> Capabilities {
    let efforts = |levels: &str| serde_json::from_str(levels).unwrap();
    let classic = Capabilities::CLASSIC_CLAUDE;
    match name.split('_').next().unwrap() {
        "nova" => Capabilities {
            tool_choice: ToolChoices::Named,
            top_k: TopK::InferenceConfig,
            ..Capabilities::UNKNOWN
        },
        // Moonshot's third.
        "kimi" => Capabilities {
            reasoning: Reasoning::ReasoningObject,
            effort: efforts(r#"["low","medium","high"]"#),
            thinking: Thinking { disabled: true, ..Thinking::default() },
            ..Capabilities::UNKNOWN
        },
        // Amazon's second generation.
        "nova2" => Capabilities {
            tool_choice: ToolChoices::Named,
            prompt_cache: PromptCache::FiveMinutes,
            images_in_results: true,
            documents: true,
            reasoning: Reasoning::ReasoningConfig,
            effort: efforts(r#"["low","medium","high"]"#),
            ..Capabilities::UNKNOWN
        },
        // OpenAI's newest.
        "gpt" => Capabilities {
            max_output_tokens: Some(128_000),
            min_output_tokens: 16,
            stop_sequences: false,
            sampling: Sampling::None,
            reasoning: Reasoning::ReasoningObject,
            effort: efforts(r#"["low","medium","high","xhigh"]"#),
            ..Capabilities::UNKNOWN
        },
        // A model that does nothing but talk.
        "talker" => Capabilities {
            max_output_tokens: Some(4096),
            tools: false,
            tool_choice: ToolChoices::None,
            images: false,
            stop_sequences: false,
            ..Capabilities::UNKNOWN
        },
        "untold" => Capabilities { tool_choice: ToolChoices::None, ..Capabilities::UNKNOWN },
        "newest" => Capabilities::NEWEST_CLAUDE,
        // Opus 4.5: effort, but no adaptive thinking.
        "opus45" => Capabilities {
            sampling: Sampling::OneOf,
            thinking: Thinking { enabled: true, disabled: true, ..Thinking::default() },
            effort: efforts(r#"["low","medium","high"]"#),
            ..classic
        },
        // Sonnet 4.5: thinking with a budget, and no effort.
        "sonnet45" => Capabilities {
            thinking: Thinking { enabled: true, disabled: true, ..Thinking::default() },
            effort: efforts("[]"),
            ..classic
        },
        // Before thinking.
        "early" => Capabilities {
            max_output_tokens: Some(4096),
            strict_tools: false,
            thinking: Thinking::default(),
            effort: efforts("[]"),
            ..classic
        },
        "between" => {
            Capabilities { thinking: Thinking { between_tools: true, ..Thinking::default() }, ..classic }
        }
        "five" => Capabilities { prompt_cache: PromptCache::FiveMinutes, ..classic },
        _ => classic,
    }
}

/// What the operator of a request fixture decided.
pub(crate) fn options(name: &str) -> TranslationOptions {
    TranslationOptions {
        computer_use: name.contains("computer_use"),
        default_thinking_budget: name.contains("thinking_by_default").then_some(4000),
        strict: name.contains("nothing_may_be_dropped"),
        ..TranslationOptions::new(8192)
    }
}

/// JSON with indentation and the order of its members; arguments of tools stay as they are.
fn pretty(json: &str) -> String {
    let mut out = String::new();
    indent(serde_json::from_str(json).unwrap(), 0, &mut out);
    out
}

fn indent(value: RawJson<'_>, depth: usize, out: &mut String) {
    let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
    let (members, items) = (members(value), items(value));
    for (index, member) in members.iter().enumerate() {
        out.push_str(if index == 0 { "{" } else { "," });
        out.push_str(&format!("{}{}: ", line(depth + 1), serde_json::to_string(&member.key).unwrap()));
        if &*member.key == "input" {
            out.push_str(member.value.get());
        } else {
            indent(member.value, depth + 1, out);
        }
    }
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { "," });
        out.push_str(&line(depth + 1));
        indent(*item, depth + 1, out);
    }
    match (members.is_empty(), items.is_empty()) {
        (true, true) => out.push_str(value.get()),
        (false, _) => out.push_str(&format!("{}}}", line(depth))),
        (_, false) => out.push_str(&format!("{}]", line(depth))),
    }
}

#[test]
fn requests_are_translated_as_recorded() {
    for (name, body) in fixtures("requests", "json") {
        let translated = Request::parse(body.as_bytes()).and_then(|request| {
            translate::to_converse(
                request,
                RequestedBetas::default(),
                body.len(),
                &capabilities(&name),
                &options(&name),
            )
        });
        let text = match translated {
            Err(invalid) => format!("refused: {invalid}\n"),
            Ok(call) => {
                let mut text = String::from_utf8(call.body).unwrap();
                text.extend(call.unsupported.iter().map(|loss| format!("\nloss: {loss}")));
                text.extend(call.notices.iter().map(|notice| {
                    let kind = if notice.dropped { "dropped" } else { "notice" };
                    format!("\n{kind}: {notice}")
                }));
                text
            }
        };
        snapshot("requests", &format!("{name}.converse"), &text);
    }
}

#[test]
fn streams_are_translated_as_recorded() {
    for (name, script) in fixtures("streams", "jsonl") {
        let bytes = wire::frames(&script);
        let (sse, summary) = wire::sse_of(&bytes, End::Eof);
        snapshot("streams", &format!("{name}.sse"), &format!("{sse}{summary:#?}"));

        let mut accumulator = MessageAccumulator::default();
        wire::run(wire::opening(), [&*bytes], End::Eof, |event| accumulator.event(event));
        let folded = match accumulator.finish() {
            Ok(message) => pretty(std::str::from_utf8(&message).unwrap()),
            Err(error) => error.to_string(),
        };
        snapshot("streams", &format!("{name}.json"), &folded);
    }
}

#[test]
fn documents_become_events_as_recorded() {
    for (name, response) in fixtures("responses", "json") {
        let mut sse = Vec::new();
        let summary = wire::unfold(response.as_bytes(), |event| sse::write(event, &mut sse));
        let sse = String::from_utf8(sse).unwrap();
        snapshot("responses", &format!("{name}.sse"), &format!("{sse}{summary:#?}"));
    }
}

#[test]
fn equal_requests_give_equal_bytes() {
    for (name, body) in fixtures("requests", "json") {
        let translate = || {
            let request = Request::parse(body.as_bytes()).ok()?;
            let options = options(&name);
            let call = translate::to_converse(
                request,
                RequestedBetas::default(),
                body.len(),
                &capabilities(&name),
                &options,
            );
            call.ok().map(|call| call.body)
        };
        let first = translate();
        for _ in 0..100 {
            assert_eq!(translate(), first, "{name}");
        }
    }
}

/// Fixtures with something that Bedrock rejects and that can be changed.
const INVALID: [&str; 6] = [
    "blank_turns",
    "everything_claude",
    "newest_legalises_although_nothing_may_be_dropped",
    "newest_system_messages_in_the_middle",
    "structured_output",
    "tools_only_in_history",
];

#[test]
fn normalization_changes_invalid_bodies_only() {
    let mut changed = Vec::new();
    for (name, body) in fixtures("requests", "json") {
        let Ok(request) = Request::parse(body.as_bytes()) else { continue };
        let (capabilities, options) = (capabilities(&name), options(&name));
        let Ok(Some(normalized)) = translate::normalize(body.as_bytes(), &request, &capabilities, false)
        else {
            continue;
        };
        changed.push(name.clone());
        let again = Request::parse(&normalized.body).unwrap();
        let text = std::str::from_utf8(&normalized.body).unwrap();
        assert!(
            translate::normalize(text.as_bytes(), &again, &capabilities, false).unwrap().is_none(),
            "{name}: {text}"
        );
        let converse = |request: Request<'_>| {
            let betas = RequestedBetas::default();
            let call = translate::to_converse(request, betas, 0, &capabilities, &options);
            call.map(|call| String::from_utf8(call.body).unwrap())
                .map_err(|error| normalized.locate_error(error).to_string())
        };
        // Schemas are changed by normalization alone.
        if name != "structured_output" {
            assert_eq!(converse(again), converse(request), "{name}");
        }
    }
    assert_eq!(changed, INVALID);
}
