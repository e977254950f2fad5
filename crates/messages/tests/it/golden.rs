//! Bytes in, text out: the test data is the specification.

use std::fs;
use std::path::{Path, PathBuf};

use messages::anthropic::{Fold, Request};
use messages::capability::{Capabilities, PromptCache, ToolChoices};
use messages::translate::{self, End, Options};

use crate::wire;

fn fixtures(folder: &str, extension: &str) -> Vec<(String, String)> {
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

fn snapshot(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The capabilities a request fixture is translated for: the beginning of its name says which.
fn capabilities(name: &str) -> Capabilities {
    if name.starts_with("nova") {
        Capabilities { tool_choice: ToolChoices::Named, ..Capabilities::UNKNOWN }
    } else if name.starts_with("five_minutes") {
        Capabilities { prompt_cache: PromptCache::FiveMinutes, ..Capabilities::CLASSIC_CLAUDE }
    } else {
        Capabilities::CLASSIC_CLAUDE
    }
}

#[test]
fn requests_are_translated_as_recorded() {
    for (name, body) in fixtures("requests", "json") {
        let translated = Request::parse(body.as_bytes()).and_then(|request| {
            translate::request(request, &capabilities(&name), &Options { default_max_tokens: 8192 })
        });
        let text = match translated {
            Err(invalid) => format!("refused: {invalid}\n"),
            Ok(call) => {
                let mut text = String::from_utf8(call.body).unwrap();
                text.extend(call.losses.iter().map(|loss| format!("\nloss: {loss}")));
                text.extend(call.notices.iter().map(|notice| format!("\nnotice: {notice}")));
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

        let mut fold = Fold::default();
        wire::run(wire::opening(), [&*bytes], End::Eof, |event| fold.push(event));
        let folded = match fold.finish() {
            Ok(message) => serde_json::to_string_pretty(&message).unwrap(),
            Err(error) => error.to_string(),
        };
        snapshot("streams", &format!("{name}.json"), &folded);
    }
}

#[test]
fn the_same_request_gives_the_same_bytes_every_time() {
    for (name, body) in fixtures("requests", "json") {
        let translate = || {
            let request = Request::parse(body.as_bytes()).ok()?;
            let options = Options { default_max_tokens: 8192 };
            translate::request(request, &capabilities(&name), &options).ok().map(|call| call.body)
        };
        let first = translate();
        for _ in 0..100 {
            assert_eq!(translate(), first, "{name}");
        }
    }
}
