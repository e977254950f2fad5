//! Validation of requests, with Bedrock's error messages.
//!
//! Smithy shapes first, as in AWS's front end, then the rules of the operation, then those of the model. Messages are
//! AWS's where one is known; the others are modelled on them.

mod anthropic;
mod betas;
mod check;
mod conversation;
mod fields;
mod output_schema;
mod schema;
#[cfg(test)]
mod tests;
mod tools;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use crate::converse::{self, items};
use crate::error::AwsError;
use crate::models::{Model, ModelIdForm};
use crate::routes::Api;
use crate::too_long;

pub(crate) use anthropic::{Version, invoke, mantle_count_tokens, messages};

type ValidationResult = Result<(), AwsError>;

/// Validates a Converse request, except its length (see [`check_context_window`]).
///
/// # Errors
/// A `ValidationException` for the first violated rule.
pub(crate) fn converse(body: &Value, model: &Model, streaming: bool) -> ValidationResult {
    check::check(&schema::CONVERSE, body)?;
    check_shared(body, model, streaming)?;
    if let Some(metadata) = body.get("requestMetadata").and_then(Value::as_object) {
        let fits = |text: &str| text.chars().count() <= 256 && fields::is_valid_metadata(text);
        let pair = |(key, value): (&String, &Value)| {
            !key.is_empty() && fits(key) && value.as_str().is_some_and(fits)
        };
        if metadata.is_empty() || metadata.len() > 16 || !metadata.iter().all(pair) {
            return Err(fields::invalid_metadata());
        }
    }
    for path in items(body, "additionalModelResponseFieldPaths").iter().filter_map(Value::as_str) {
        if !path.starts_with('/') {
            return Err(AwsError::validation(format!(
                "The additionalModelResponseFieldPaths value '{path}' is not a valid JSON Pointer."
            )));
        }
    }
    if let Some(config) = body.get("outputConfig") {
        if let Some(effort) = config.get("effort").and_then(Value::as_str) {
            fields::check_effort(effort, model)?;
        }
        if config.get("textFormat").is_some() && !model.has("format") {
            return Err(match model.is_claude() {
                true => fields::extra_input("output_config.format"),
                false => conversation::unsupported("outputConfig.textFormat"),
            });
        }
    }
    match body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"].as_str() {
        None => Ok(()),
        Some(schema) => match serde_json::from_str(schema) {
            Ok(schema @ Value::Object(_)) => output_schema::check(&schema, output_schema::OUTPUT_SCHEMA),
            _ => Err(AwsError::validation(
                "The schema of outputConfig.textFormat must be a JSON object in a string.",
            )),
        },
    }
}

/// Removes null members of content blocks, which AWS's front end ignores.
pub(crate) fn drop_nulls(body: &mut Value) {
    let prune = |blocks: Option<&mut Value>| {
        for block in blocks.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(members) = block.as_object_mut() {
                members.retain(|_, value| !value.is_null());
            }
        }
    };
    prune(body.get_mut("system"));
    prune(body.get_mut("toolConfig").and_then(|config| config.get_mut("tools")));
    for message in body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten() {
        prune(message.get_mut("content"));
    }
}

/// Checks the rules that Converse and CountTokens share.
fn check_shared(body: &Value, model: &Model, streaming: bool) -> ValidationResult {
    conversation::check(body, model)?;
    tools::check(body, model, streaming)?;
    let none = Map::new();
    let fields = match body.get("additionalModelRequestFields").filter(|fields| !fields.is_null()) {
        None => &none,
        Some(fields) => fields
            .as_object()
            .ok_or_else(|| AwsError::validation("The additionalModelRequestFields must be a JSON object."))?,
    };
    fields::check_additional_fields(fields, model)?;
    let inference = &body["inferenceConfig"];
    if model.has("no_stop_sequences") && !items(inference, "stopSequences").is_empty() {
        return Err(conversation::unsupported("stopSequences"));
    }
    if model.is_claude() {
        conversation::check_stop_sequences(items(inference, "stopSequences"))?;
    }
    let choice = &body["toolConfig"]["toolChoice"];
    let parameters = fields::ModelParameters {
        fields,
        temperature: inference["temperature"].as_f64(),
        top_p: inference["topP"].as_f64(),
        max_tokens: inference["maxTokens"].as_u64(),
        forces_tool: choice.get("any").or_else(|| choice.get("tool")).is_some()
            || matches!(fields.get("tool_choice").and_then(|c| c["type"].as_str()), Some("any" | "tool")),
        api: Api::Converse,
        betas: match model.is_claude() {
            true => betas::of_body(fields.get("anthropic_beta"), Api::Converse, model)?,
            false => Vec::new(),
        },
    };
    fields::check(&parameters, model)?;
    if model.is_claude() && fields.get("thinking").is_some_and(|thinking| thinking["type"] == "enabled") {
        check_thinking_first(body)?;
    }
    Ok(())
}

/// Checks that the last assistant turn of a tool loop starts with thinking, when thinking is enabled.
fn check_thinking_first(body: &Value) -> ValidationResult {
    let all = items(body, "messages");
    let Some((last, earlier)) = all.split_last() else {
        return Ok(());
    };
    let is_tool_loop = items(last, "content").iter().any(|block| block.get("toolResult").is_some());
    let Some(m) = earlier
        .iter()
        .rposition(|message| conversation::role(message) == "assistant")
        .filter(|_| is_tool_loop)
    else {
        return Ok(());
    };
    let first = items(&earlier[m], "content").first().and_then(Value::as_object);
    let kind = match first.and_then(|block| block.keys().next()).map(String::as_str) {
        Some("reasoningContent") | None => return Ok(()),
        Some("toolUse") => "tool_use",
        Some(_) => "text",
    };
    Err(AwsError::model(format!(
        "messages.{m}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`"
    )))
}

/// Validates a CountTokens request and returns the count.
///
/// # Errors
/// A `ValidationException`, also for profiles, unsupported models and prompts beyond the context window.
pub(crate) fn count_tokens(
    id: &str,
    body: &Value,
    model: &Model,
    form: ModelIdForm,
) -> Result<u64, AwsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/:".contains(c);
    if id.len() > 256 || !id.chars().all(allowed) {
        return Err(AwsError::validation(format!(
            "1 validation error detected: Value '{id}' at 'modelId' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: [a-zA-Z_\\.\\-/0-9:]+"
        )));
    }
    check::check(&schema::COUNT_TOKENS, body)?;
    if form != ModelIdForm::FoundationModel || !model.supports_count_tokens() {
        return Err(AwsError::validation("The provided model doesn't support counting tokens"));
    }
    let input = &body["input"];
    if let Some(request) = input.get("converse") {
        check_shared(request, model, false)?;
        let tokens = converse::cacheable_prompt(request, model).tokens();
        return count_within_context(tokens, &betas_of(&request["additionalModelRequestFields"]), model);
    }
    let bytes =
        input["invokeModel"]["body"].as_str().and_then(|body| BASE64.decode(body).ok()).unwrap_or_default();
    let anthropic_body: Value = serde_json::from_slice(&bytes)
        .map_err(|_| AwsError::validation("The body of the invokeModel input is not valid JSON."))?;
    invoke(&anthropic_body, model, false).map_err(AwsError::without_model_prefix)?;
    count_within_context(
        crate::anthropic::cacheable_prompt(&anthropic_body, model).tokens(),
        &betas_of(&anthropic_body),
        model,
    )
}

fn betas_of(fields: &Value) -> Vec<&str> {
    items(fields, "anthropic_beta").iter().filter_map(Value::as_str).collect()
}

/// The count, if it fits the context window.
fn count_within_context(tokens: u64, betas: &[&str], model: &Model) -> Result<u64, AwsError> {
    match check_context_window(tokens, betas, model) {
        Ok(()) => Ok(tokens),
        Err(_) => Err(AwsError::validation("Input is too long for requested model.")),
    }
}

/// Rejects prompts beyond the context window, which a beta extends for two Sonnet models.
///
/// # Errors
/// A `ValidationException` with the message of the model family.
pub(crate) fn check_context_window(tokens: u64, betas: &[&str], model: &Model) -> ValidationResult {
    let is_extensible = model.id.contains("sonnet") && (40..=45).contains(&model.generation);
    let is_extended = is_extensible && betas.contains(&"context-1m-2025-08-07");
    let maximum = if is_extended { 1_000_000 } else { model.context_window };
    if tokens <= maximum {
        return Ok(());
    }
    Err(too_long::rejection(too_long::wording(model), tokens, maximum))
}
