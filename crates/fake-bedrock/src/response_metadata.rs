//! Metadata of a response: usage and repeated request members.

use serde_json::{Map, Value, json};

use crate::models::Model;
use crate::safeguards::Safeguards;
use crate::script::{self, ScriptStep};
use crate::tokens::MeteredUsage;

/// Metadata of one response.
#[derive(Debug)]
pub(crate) struct ResponseMetadata {
    pub(crate) metered: MeteredUsage,
    /// Output tokens of thinking.
    pub(crate) thinking_tokens: u64,
    /// `additionalModelResponseFieldPaths` of the request.
    response_paths: Vec<String>,
    /// Name of the Claude model; `None` for models without an Anthropic message.
    message: Option<&'static str>,
    /// Request members that the response repeats, such as `serviceTier`.
    pub(crate) echoed: Map<String, Value>,
    /// What is responded to `safeguards`; `None` when the request has none.
    pub(crate) safeguards: Option<Safeguards>,
}

impl ResponseMetadata {
    /// Metadata of a response to a Converse request.
    pub(crate) fn from_converse(
        body: &Value,
        model: &Model,
        metered: MeteredUsage,
        steps: &[ScriptStep],
    ) -> Self {
        let paths = body.get("additionalModelResponseFieldPaths").and_then(Value::as_array);
        let echoed = ["serviceTier", "performanceConfig"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), body.get(*name)?.clone())))
            .collect();
        Self {
            metered,
            thinking_tokens: script::thinking_tokens(steps),
            response_paths: paths
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            message: model.is_claude().then(|| model.model_name()),
            echoed,
            safeguards: None,
        }
    }

    /// Metadata of a response to an Anthropic body.
    pub(crate) fn from_anthropic(
        body: &Value,
        metered: MeteredUsage,
        steps: &[ScriptStep],
        safeguards: Safeguards,
    ) -> Self {
        let mut echoed = Map::new();
        if body["context_management"].is_object() {
            echoed.insert("context_management".into(), json!({"applied_edits": []}));
        }
        let thinking_tokens = script::thinking_tokens(steps);
        let safeguards = body["safeguards"].is_array().then_some(safeguards);
        Self { metered, thinking_tokens, response_paths: Vec::new(), message: None, echoed, safeguards }
    }

    /// Final `usage` of an Anthropic message.
    pub(crate) fn usage(&self) -> Value {
        let mut usage = self.metered.to_anthropic(self.metered.usage.output_tokens);
        usage["output_tokens_details"] = json!({"thinking_tokens": self.thinking_tokens});
        usage
    }

    /// `additionalModelResponseFields`: the requested paths that exist in Anthropic's message.
    ///
    /// Paths may refer to the message or to the `message_delta` of a stream.
    pub(crate) fn response_fields(&self, reason: &str, stop_sequence: Option<&str>) -> Option<Value> {
        let name = self.message.filter(|_| !self.response_paths.is_empty())?;
        let delta = json!({
            "stop_reason": stop_reason(reason),
            "stop_sequence": stop_sequence,
            "stop_details": stop_details(reason),
        });
        let mut message = delta.clone();
        message["type"] = "message".into();
        message["role"] = "assistant".into();
        message["model"] = name.into();
        message["usage"] = self.usage();
        message["delta"] = delta;
        let mut fields = Map::new();
        for path in &self.response_paths {
            if let Some(value) = message.pointer(path) {
                let names: Vec<String> =
                    path.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
                insert(&mut fields, &names, value);
            }
        }
        (!fields.is_empty()).then_some(Value::Object(fields))
    }
}

fn insert(fields: &mut Map<String, Value>, names: &[String], value: &Value) {
    match names {
        [] => {}
        [last] => {
            fields.insert(last.clone(), value.clone());
        }
        [first, rest @ ..] => {
            let inner = fields.entry(first.clone()).or_insert_with(|| json!({}));
            if let Some(inner) = inner.as_object_mut() {
                insert(inner, rest, value);
            }
        }
    }
}

/// Anthropic's name of a Converse stop reason.
pub(crate) fn stop_reason(reason: &str) -> &str {
    match reason {
        "content_filtered" | "guardrail_intervened" => "refusal",
        "malformed_model_output" | "malformed_tool_use" => "end_turn",
        other => other,
    }
}

/// `stop_details` of a refusal; null for other stop reasons.
pub(crate) fn stop_details(reason: &str) -> Value {
    match stop_reason(reason) {
        "refusal" => {
            json!({"type": "refusal", "category": "cyber", "explanation": "The script requires it."})
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::find;
    use crate::script::ScriptEvent;

    fn fields(model: &str, paths: &[&str], reason: &str) -> Option<Value> {
        let (model, _) = find(model, "us-east-1").unwrap();
        let thought = ScriptStep::Event(ScriptEvent::Thinking { index: 0, text: "one two".into() });
        let body = json!({"additionalModelResponseFieldPaths": paths});
        ResponseMetadata::from_converse(&body, model, MeteredUsage::default(), &[thought])
            .response_fields(reason, Some("END"))
    }

    #[test]
    fn unknown_response_paths_are_ignored() {
        let claude = "us.anthropic.claude-opus-5";
        let requested =
            ["/stop_sequence", "/delta/stop_sequence", "/usage/output_tokens_details", "/nothing"];
        assert_eq!(
            fields(claude, &requested, "stop_sequence").unwrap(),
            json!({
                "stop_sequence": "END",
                "delta": {"stop_sequence": "END"},
                "usage": {"output_tokens_details": {"thinking_tokens": 2}},
            })
        );
        let refusal = fields(claude, &["/stop_details"], "content_filtered").unwrap();
        assert_eq!(refusal["stop_details"]["type"], "refusal");
        assert_eq!(fields(claude, &["/stop_details"], "end_turn").unwrap(), json!({"stop_details": null}));
        assert_eq!(fields("us.amazon.nova-pro-v1:0", &requested, "end_turn"), None);
    }
}
