//! Rules of each model: thinking, effort, sampling, metadata, output limit.
//!
//! Converse passes `additionalModelRequestFields`, InvokeModel and the Messages API pass the body.

use serde_json::{Map, Value};

use super::check::extraneous;
use super::conversation::unsupported;
use super::output_schema::{self, OUTPUT_SCHEMA};
use crate::error::AwsError;
use crate::models::Model;
use crate::routes::Api;

type ValidationResult = Result<(), AwsError>;

/// Members of `additionalModelRequestFields` for Claude.
const CLAUDE_FIELDS: &[&str] = &[
    "thinking",
    "top_k",
    "tool_choice",
    "anthropic_beta",
    "output_config",
    "tools",
    "stop_sequences",
    "metadata",
];

/// Members of `additionalModelRequestFields` for Nova.
const NOVA_FIELDS: &[&str] = &["inferenceConfig", "reasoningConfig"];

/// Models of other vendors whose reasoning is set with `reasoning` alone.
const NO_THINKING_FIELD: &[&str] = &["openai.gpt-5", "openai.gpt-6", "xai."];

/// Parameters that all APIs have under different names.
#[derive(Debug)]
pub(super) struct ModelParameters<'a> {
    /// Anthropic's fields: `thinking`, `output_config`, `anthropic_beta`, `metadata`, `top_k`.
    pub(super) fields: &'a Map<String, Value>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) max_tokens: Option<u64>,
    /// Whether the tool choice forces a call.
    pub(super) forces_tool: bool,
    pub(super) api: Api,
    /// Betas of the request, already validated.
    pub(super) betas: Vec<&'a str>,
}

impl ModelParameters<'_> {
    /// Whether the request has this beta.
    fn has_beta(&self, name: &str) -> bool {
        self.betas.contains(&name)
    }
}

/// Checks the additional fields of a Converse request.
pub(super) fn check_additional_fields(fields: &Map<String, Value>, model: &Model) -> ValidationResult {
    for key in fields.keys() {
        if model.is_claude() && !CLAUDE_FIELDS.contains(&key.as_str()) {
            return Err(extra_input(key));
        }
        if model.is_nova() && !NOVA_FIELDS.contains(&key.as_str()) {
            return Err(extraneous("", key));
        }
        if key == "thinking" && NO_THINKING_FIELD.iter().any(|vendor| model.id.starts_with(vendor)) {
            return Err(extraneous("", key));
        }
        // These models have no additional fields.
        if model.id.starts_with("meta.") || model.id == "deepseek.r1-v1:0" {
            return Err(extraneous("", key));
        }
    }
    Ok(())
}

pub(super) fn extra_input(key: &str) -> AwsError {
    AwsError::model(format!("{key}: Extra inputs are not permitted"))
}

/// Whether a value is valid in request metadata: no quotes, no braces, ASCII only.
pub(super) fn is_valid_metadata(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c))
}

pub(super) fn invalid_metadata() -> AwsError {
    AwsError::validation("Request metadata contains a value that violates the regular expression")
}

/// Checks the rules of the model.
pub(super) fn check(parameters: &ModelParameters<'_>, model: &Model) -> ValidationResult {
    if let Some(max) = parameters.max_tokens.filter(|max| *max > model.max_output_tokens) {
        let limit = model.max_output_tokens;
        return Err(match parameters.api {
            Api::Converse => AwsError::validation(format!(
                "The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens \
                 value that is lower than {limit}."
            )),
            _ => AwsError::model(format!(
                "max_tokens: {max} > {limit}, which is the maximum allowed number of output tokens for {}",
                model.model_name()
            )),
        });
    }
    if !model.is_claude() {
        return check_other_models(parameters, model);
    }
    check_metadata(parameters)?;
    check_output_config(parameters, model)?;
    check_sampling(parameters, model)?;
    check_thinking(parameters, model)
}

/// Minimum of `max_tokens` for newer models of other vendors.
const MIN_OUTPUT_TOKENS: u64 = 16;

/// Checks the rules of models other than Claude.
fn check_other_models(parameters: &ModelParameters<'_>, model: &Model) -> ValidationResult {
    if !model.has("sampling") {
        let present =
            [(parameters.temperature.is_some(), "temperature"), (parameters.top_p.is_some(), "topP")];
        if let Some((_, name)) = present.iter().find(|(present, _)| *present) {
            return Err(unsupported(name));
        }
    }
    let id_prefixes = ["openai.gpt-5", "openai.gpt-6", "xai.", "moonshotai.kimi-k3"];
    if id_prefixes.iter().any(|start| model.id.starts_with(start))
        && parameters.max_tokens.is_some_and(|max| max < MIN_OUTPUT_TOKENS)
    {
        return Err(AwsError::validation(format!(
            "The maximum tokens you requested is below the model minimum of {MIN_OUTPUT_TOKENS}."
        )));
    }
    Ok(())
}

fn check_metadata(parameters: &ModelParameters<'_>) -> ValidationResult {
    let Some(metadata) = parameters.fields.get("metadata").and_then(Value::as_object) else {
        return Ok(());
    };
    if let Some(key) = metadata.keys().find(|key| *key != "user_id") {
        return Err(extra_input(&format!("metadata.{key}")));
    }
    let user = metadata.get("user_id").and_then(Value::as_str).unwrap_or_default();
    if user.chars().count() > 256 {
        return Err(AwsError::model("metadata.user_id: String should have at most 256 characters"));
    }
    // No such check is known of bedrock-mantle.
    if parameters.api != Api::MantleMessages && !is_valid_metadata(user) {
        return Err(invalid_metadata());
    }
    Ok(())
}

fn check_output_config(parameters: &ModelParameters<'_>, model: &Model) -> ValidationResult {
    let Some(config) = parameters.fields.get("output_config").and_then(Value::as_object) else {
        return Ok(());
    };
    for key in config.keys() {
        match key.as_str() {
            "effort" => {}
            "format" if model.has("format") && parameters.api != Api::MantleMessages => {}
            _ => return Err(extra_input(&format!("output_config.{key}"))),
        }
    }
    if let Some(format) = config.get("format").filter(|format| !format.is_null()) {
        if format["type"] != "json_schema" || !format["schema"].is_object() {
            return Err(AwsError::model("output_config.format.schema: Field required"));
        }
        output_schema::check(&format["schema"], OUTPUT_SCHEMA)?;
    }
    let Some(effort) = config.get("effort").filter(|effort| !effort.is_null()) else {
        return Ok(());
    };
    if model.generation == 45
        && model.accepts_effort("").is_some()
        && !parameters.has_beta("effort-2025-11-24")
    {
        return Err(extra_input("output_config"));
    }
    let effort = effort.as_str().unwrap_or_default();
    check_effort(effort, model)?;
    let disabled = parameters.fields.get("thinking").is_some_and(|thinking| thinking["type"] == "disabled");
    if disabled && model.generation >= 50 && matches!(effort, "xhigh" | "max") {
        return Err(AwsError::model(format!(
            "\"thinking.type.disabled\" is not supported for this model when output_config.effort is '{effort}'."
        )));
    }
    Ok(())
}

/// Checks that the model supports this effort level.
pub(super) fn check_effort(level: &str, model: &Model) -> ValidationResult {
    match model.accepts_effort(level) {
        None if !model.is_claude() => Err(unsupported("outputConfig.effort")),
        Some(true) => Ok(()),
        Some(false) => {
            Err(AwsError::model(format!("output_config.effort: '{level}' is not supported by this model")))
        }
        None => Err(AwsError::model("This model does not support the effort parameter.")),
    }
}

fn check_sampling(parameters: &ModelParameters<'_>, model: &Model) -> ValidationResult {
    let top_k = parameters.fields.contains_key("top_k");
    if !model.has("sampling") {
        // Some models take the values that they use anyway.
        let takes_defaults = model.has("sampling_default");
        let differs = |value: Option<f64>, default: f64| {
            value.is_some_and(|value| !takes_defaults || (value - default).abs() > f64::EPSILON)
        };
        let present = [
            (differs(parameters.temperature, 1.0), "temperature"),
            (differs(parameters.top_p, 0.99), "top_p"),
            (top_k, "top_k"),
        ];
        if let Some((_, name)) = present.iter().find(|(present, _)| *present) {
            return Err(AwsError::model(format!("`{name}` is deprecated for this model.")));
        }
    }
    if parameters.temperature.is_some() && parameters.top_p.is_some() && model.generation >= 45 {
        return Err(AwsError::model(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ));
    }
    Ok(())
}

fn check_thinking(parameters: &ModelParameters<'_>, model: &Model) -> ValidationResult {
    let Some(thinking) = parameters.fields.get("thinking").filter(|thinking| !thinking.is_null()) else {
        return Ok(());
    };
    let kind = thinking["type"].as_str().unwrap_or_default();
    if !model.accepts_thinking(kind) {
        let text = match kind {
            "enabled" if model.generation >= 47 => {
                "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
                 \"output_config.effort\" to control thinking behavior."
            }
            "adaptive" => "adaptive thinking is not supported on this model",
            "disabled" if model.generation >= 47 => {
                "\"thinking.type.disabled\" is not supported for this model: thinking is always on."
            }
            "enabled" | "disabled" => return Err(extra_input("thinking")),
            "between_tools" => "\"thinking.type.between_tools\" is not supported for this model.",
            _ => "thinking.type must be \"enabled\" or \"adaptive\"",
        };
        return Err(AwsError::model(text));
    }
    check_thinking_members(parameters, thinking, kind)?;
    if kind == "disabled" {
        return Ok(());
    }
    if parameters.forces_tool {
        return Err(AwsError::model("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if kind != "enabled" {
        return Ok(());
    }
    let Some(budget) = thinking["budget_tokens"].as_u64() else {
        return Err(AwsError::model("thinking.enabled.budget_tokens: Field required"));
    };
    if budget < 1024 {
        return Err(AwsError::model(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    }
    // Interleaved thinking spends its budget over several turns.
    let interleaved = parameters.has_beta("interleaved-thinking-2025-05-14");
    if !interleaved && parameters.max_tokens.is_some_and(|max| max <= budget) {
        return Err(AwsError::model("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    if parameters.temperature.is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON) {
        return Err(AwsError::model("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if parameters.fields.contains_key("top_k") {
        return Err(AwsError::model("`top_k` must be unset when thinking is enabled."));
    }
    Ok(())
}

fn check_thinking_members(
    parameters: &ModelParameters<'_>,
    thinking: &Value,
    kind: &str,
) -> ValidationResult {
    for (key, value) in thinking.as_object().into_iter().flatten() {
        let is_member = match key.as_str() {
            "type" => true,
            "budget_tokens" => kind == "enabled",
            "display" => kind != "disabled",
            "block_binding" => {
                kind != "disabled" && parameters.has_beta("thinking-binding-controls-2026-08-01")
            }
            _ => false,
        };
        if !is_member {
            return Err(extra_input(&format!("thinking.{kind}.{key}")));
        }
        let updates = parameters.has_beta("thinking-display-updates-2026-08-18");
        let is_valid_display = value.as_str().is_some_and(|display| {
            matches!(display, "summarized" | "omitted") || (display == "updates" && updates)
        });
        if key == "display" && !value.is_null() && !is_valid_display {
            return Err(AwsError::model(format!(
                "thinking.{kind}.display: Input should be 'summarized' or 'omitted'"
            )));
        }
    }
    Ok(())
}
