//! Fixtures: recorded or hand-written scripts, one in each file, replayed verbatim.
//!
//! `{"match": "part of the last user text", "events": [{"contentBlockDelta": {…}}, {"sleep_ms": 20},
//! {"exception": "throttlingException", "message": "…"}, {"error": "code", "message": "…"}, {"cut": true}]}`

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::error::AwsError;
use crate::script::{ScriptEvent, ScriptStep};
use crate::tokens::MeteredUsage;

/// A script and the text that chooses it.
#[derive(Debug)]
pub(crate) struct Fixture {
    match_text: String,
    steps: Vec<ScriptStep>,
}

/// Loads every `*.json` of the directory, ordered by name.
///
/// # Errors
/// The directory or a file cannot be read, or a file is invalid; the message names the file.
pub(crate) fn load(directory: &Path) -> io::Result<Vec<Fixture>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let invalid =
                |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
            let script =
                serde_json::from_slice(&std::fs::read(path)?).map_err(|e| invalid(&e.to_string()))?;
            parse(&script).map_err(|why| invalid(&why))
        })
        .collect()
}

/// Script of the first fixture whose text the prompt contains.
pub(crate) fn find<'a>(fixtures: &'a [Fixture], text: &str) -> Option<&'a [ScriptStep]> {
    fixtures.iter().find(|fixture| text.contains(&fixture.match_text)).map(|fixture| fixture.steps.as_slice())
}

/// Usage that a script contains.
pub(crate) fn usage(steps: &[ScriptStep]) -> Option<MeteredUsage> {
    steps.iter().find_map(|step| match step {
        ScriptStep::Event(ScriptEvent::Other { name, payload }) if name == "metadata" => {
            MeteredUsage::from_converse(payload.get("usage")?)
        }
        _ => None,
    })
}

fn parse(script: &Value) -> Result<Fixture, String> {
    let match_text =
        script["match"].as_str().filter(|text| !text.is_empty()).ok_or("`match` must be a text")?;
    let events = script["events"].as_array().ok_or("`events` must be a list")?;
    let steps = events.iter().map(step).collect::<Result<_, _>>()?;
    Ok(Fixture { match_text: match_text.to_owned(), steps })
}

fn step(event: &Value) -> Result<ScriptStep, String> {
    let text = |name: &str| event[name].as_str().map(str::to_owned);
    let members = event.as_object().ok_or("an event must be an object")?;
    if let Some(time) = event["sleep_ms"].as_u64() {
        return Ok(ScriptStep::Sleep(Duration::from_millis(time)));
    }
    if let Some(name) = text("exception") {
        let mut error = AwsError::from_name(&name, None);
        error.message = text("message").unwrap_or(error.message);
        for (name, value) in members {
            if name.starts_with("original") {
                error.extra_members.retain(|(existing, _)| existing != name);
                error.extra_members.push((name.clone(), value.clone()));
            }
        }
        return Ok(ScriptStep::Exception(error));
    }
    if let Some(code) = text("error") {
        return Ok(ScriptStep::Error(code, text("message").unwrap_or_default()));
    }
    if event["cut"] == true {
        return Ok(ScriptStep::Cut);
    }
    match members.iter().next() {
        Some((name, payload)) if members.len() == 1 && payload.is_object() => {
            Ok(ScriptStep::Event(ScriptEvent::Other { name: name.clone(), payload: payload.clone() }))
        }
        _ => Err(format!("not an event: {event}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fixture_is_parsed_into_steps() {
        let fixture = parse(&json!({"match": "hello", "events": [
            {"messageStart": {"role": "assistant"}},
            {"sleep_ms": 20},
            {"exception": "throttlingException", "message": "enough"},
        ]}))
        .unwrap();
        assert_eq!(fixture.steps.len(), 3);
        assert_eq!(fixture.steps[1], ScriptStep::Sleep(Duration::from_millis(20)));
        assert!(matches!(&fixture.steps[2], ScriptStep::Exception(error) if error.message == "enough"));
        let fixtures = [fixture];
        assert!(find(&fixtures, "well hello there").is_some());
        assert!(find(&fixtures, "goodbye").is_none());
    }

    #[test]
    fn invalid_fixture_is_rejected() {
        assert!(parse(&json!({"events": []})).is_err());
        assert!(parse(&json!({"match": "x", "events": [{"a": {}, "b": {}}]})).is_err());
    }
}
