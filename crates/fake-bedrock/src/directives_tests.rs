use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::script::{ScriptEvent, output_tokens};
use crate::signatures::{is_issued_base64, is_issued_data, is_valid_signature};

fn prompt(text: &str) -> Prompt {
    Prompt { texts: vec![text.into()], signs_thinking: true, ..Prompt::default() }
}

fn options() -> ScriptOptions {
    ScriptOptions { seed: 42, pace: Duration::ZERO }
}

fn steps(prompt: &Prompt) -> Vec<ScriptStep> {
    match plan(prompt, options()) {
        ResponsePlan::Respond(steps) => steps,
        other => panic!("not played: {other:?}"),
    }
}

fn text(steps: &[ScriptStep]) -> String {
    steps
        .iter()
        .filter_map(|step| match step {
            ScriptStep::Event(ScriptEvent::Text { text, .. }) => Some(text.as_ref()),
            _ => None,
        })
        .collect()
}

fn weather() -> ToolDefinition {
    ToolDefinition {
        name: "get_weather".into(),
        schema: json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["kelvin", "celsius"]},
                "days": {"type": "integer", "minimum": 2},
                "detail": {"type": "object", "required": ["deep"], "properties": {"deep": {"type": "boolean"}}},
                "tags": {"type": "array", "items": {"type": "string"}},
                "optional": {"type": "string"}
            },
            "required": ["city", "unit", "days", "detail", "tags"]
        }),
        deferred: false,
    }
}

#[test]
fn default_response_quotes_the_prompt() {
    let steps = steps(&prompt("hello there"));
    assert_eq!(text(&steps), "This output came from fake-bedrock over ConverseStream. You sent: hello there");
    assert!(steps.len() > 6);
    assert_eq!(output_tokens(&steps), 11);
}

#[test]
fn last_text_with_a_directive_decides() {
    let prompt =
        Prompt { texts: vec!["[throttle]".into(), "[LONG 7]".into(), "and on".into()], ..Prompt::default() };
    assert_eq!(output_tokens(&steps(&prompt)), 7);
    assert_eq!(text(&steps(&self::prompt("see [1] and [nonsense]"))).matches("[nonsense]").count(), 1);
}

#[test]
fn tool_call_contains_the_required_properties() {
    let prompt = Prompt { tools: vec![weather()], ..prompt("please [tool]") };
    let mut json = String::new();
    let mut deltas = 0;
    for step in steps(&prompt) {
        if let ScriptStep::Event(ScriptEvent::ToolInput { json: part, .. }) = step {
            json.push_str(&part);
            deltas += 1;
        }
    }
    assert!(deltas > 1);
    let arguments: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        arguments,
        json!({"city": "Paris", "unit": "kelvin", "days": 2, "detail": {"deep": true}, "tags": ["example"]})
    );
}

#[test]
fn forced_tool_is_called_without_a_directive() {
    let prompt = Prompt { tools: vec![weather()], forced_tool: Some(ForcedTool::Any), ..prompt("hi") };
    assert!(
        matches!(&steps(&prompt)[1], ScriptStep::Event(ScriptEvent::ToolStart { name, .. }) if name == "get_weather")
    );
}

#[test]
fn parallel_calls_have_different_ids() {
    let prompt = Prompt { tools: vec![weather()], ..prompt("[tools]") };
    let ids: std::collections::HashSet<String> = steps(&prompt)
        .into_iter()
        .filter_map(|step| match step {
            ScriptStep::Event(ScriptEvent::ToolStart { id, .. }) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn tool_result_is_quoted() {
    let prompt = Prompt { tool_results: vec!["21 degrees".into()], ..Prompt::default() };
    assert_eq!(text(&steps(&prompt)), "The tool sent: 21 degrees");
}

#[test]
fn images_are_described() {
    let prompt = Prompt { images: vec!["image/png, 68 bytes".into()], ..prompt("look") };
    assert!(text(&steps(&prompt)).ends_with("I see 1 image (image/png, 68 bytes)."));
}

#[test]
fn thinking_is_signed_and_redacted_thinking_is_recognized() {
    let thinking = steps(&prompt("[thinking]"));
    assert!(
        thinking
            .iter()
            .any(|step| matches!(step, ScriptStep::Event(ScriptEvent::Signature { signature, .. })
        if is_valid_signature("The user wants to see me think. So I think.", signature)))
    );
    let data: String = steps(&prompt("[redacted]"))
        .into_iter()
        .filter_map(|step| match step {
            ScriptStep::Event(ScriptEvent::Redacted { data, .. }) => Some(data),
            _ => None,
        })
        .collect();
    assert!(is_issued_data(&data) && is_issued_base64(&BASE64.encode(&data)));
    assert!(!is_issued_data(&format!("{data}x")) && !is_issued_data("anything"));
}

#[test]
fn every_directive_has_a_plan() {
    for name in DIRECTIVES.iter().map(|(name, _)| name).chain(MODIFIERS) {
        let prompt = Prompt { tools: vec![weather()], ..prompt(&format!("[{name}]")) };
        if let ResponsePlan::Respond(steps) = plan(&prompt, options()) {
            assert!(!steps.is_empty(), "{name}");
        }
    }
    let slow = steps(&prompt("[slow 5] [pause 7] [long 3]"));
    assert_eq!(slow[0], ScriptStep::Sleep(Duration::from_millis(5)));
    assert!(slow.contains(&ScriptStep::Sleep(Duration::from_millis(7))));
    assert_eq!(output_tokens(&slow), 3);
}

#[test]
fn omitted_thinking_has_only_a_signature() {
    let prompt = Prompt { signs_thinking: true, omits_thinking: true, ..prompt("[thinking]") };
    let steps = steps(&prompt);
    assert!(!steps.iter().any(|step| matches!(step, ScriptStep::Event(ScriptEvent::Thinking { .. }))));
    assert!(
        matches!(&steps[1], ScriptStep::Event(ScriptEvent::Signature { signature, .. }) if is_valid_signature("", signature))
    );
}

#[test]
fn structured_output_satisfies_the_schema() {
    let schema = json!({
        "type": "object",
        "properties": {"title": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "count": {"type": "integer"}},
        "required": ["title", "count"],
    });
    let prompt = Prompt { output_schema: Some(schema), ..prompt("name this session") };
    let response: Value = serde_json::from_str(&text(&steps(&prompt))).unwrap();
    assert_eq!(response, json!({"title": "example", "count": 1}));
}

#[test]
fn search_finds_and_calls_the_deferred_tool() {
    let deferred = ToolDefinition { deferred: true, ..weather() };
    let client_search = ToolDefinition { name: "ToolSearch".into(), ..weather() };
    let served = Prompt {
        tools: vec![deferred.clone()],
        search_tool: Some("tool_search_tool_regex".into()),
        ..prompt("[tool-search]")
    };
    let starts: Vec<String> = steps(&served)
        .iter()
        .filter_map(|step| match step {
            ScriptStep::Event(ScriptEvent::AnthropicBlockStart { block, .. }) => {
                Some(block["type"].to_string())
            }
            ScriptStep::Event(ScriptEvent::ToolStart { name, .. }) => Some(name.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(starts, ["\"server_tool_use\"", "\"tool_search_tool_result\"", "get_weather"]);
    let steps = steps(&Prompt { tools: vec![client_search, deferred], ..prompt("[tool-search]") });
    assert!(
        matches!(&steps[2], ScriptStep::Event(ScriptEvent::ToolInput { json, .. }) if json.contains("select:get_weather"))
    );
}

#[test]
fn deferred_tool_is_called_only_by_name() {
    let deferred = ToolDefinition { name: "later".into(), deferred: true, ..weather() };
    let prompt = |text: &str| Prompt { tools: vec![deferred.clone(), weather()], ..prompt(text) };
    let called = |text: &str| {
        steps(&prompt(text)).into_iter().find_map(|step| match step {
            ScriptStep::Event(ScriptEvent::ToolStart { name, .. }) => Some(name),
            _ => None,
        })
    };
    assert_eq!(called("[tool]").as_deref(), Some("get_weather"));
    assert_eq!(called("[tool later]").as_deref(), Some("later"));
}

#[test]
fn citation_follows_its_text() {
    let location = json!({"documentChar": {"documentIndex": 0, "start": 0, "end": 4}});
    let citable_sources =
        CitableSource { title: "Notes".into(), source: None, text: "Snow".into(), location };
    let steps = steps(&Prompt { citable_sources: vec![citable_sources], ..prompt("[cite]") });
    assert_eq!(text(&steps), "Notes contains: Snow");
    assert!(matches!(&steps[3], ScriptStep::Event(ScriptEvent::Citation { citation, .. })
        if citation["sourceContent"][0]["text"] == "Snow"));
}
