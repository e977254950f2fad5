//! Anthropic bodies of InvokeModel and the Messages API.
//!
//! Errors carry Converse's prefix; the handler removes it.

mod blocks;
mod cache_control;
mod context_management;
mod conversation;
mod safeguards;
mod tools;

use serde_json::{Map, Value};

use super::betas;
use super::fields::{self, ModelParameters, extra_input};
use crate::error::AwsError;
use crate::models::Model;
use crate::routes::Api;

type ValidationResult = Result<(), AwsError>;

/// Version of the Messages API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `2023-06-01`, on Bedrock `bedrock-2023-05-31`.
    V2023,
    /// `2026-10-21`, which has no sampling parameters.
    V2026,
}

/// Top-level members of every Anthropic body.
const COMMON: &[&str] = &[
    "anthropic_version",
    "max_tokens",
    "messages",
    "system",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "metadata",
    "output_config",
    "context_management",
    "safeguards",
];

/// Further members of InvokeModel bodies.
const INVOKE: &[&str] = &["anthropic_beta", "amazon-bedrock-guardrailConfig"];

/// Further members of Messages bodies.
const MESSAGES: &[&str] = &["model", "stream", "cache_control"];

/// Members of token counting bodies.
const COUNT_TOKENS: &[&str] = &[
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "context_management",
    "cache_control",
];

/// A body with the betas and the version of its request.
#[derive(Debug)]
struct Request<'a> {
    body: &'a Value,
    members: &'a Map<String, Value>,
    model: &'a Model,
    api: Api,
    betas: Vec<&'a str>,
    version: Version,
}

impl Request<'_> {
    /// Whether the request has this beta.
    fn has_beta(&self, name: &str) -> bool {
        self.betas.contains(&name)
    }

    /// Whether deferred tools are valid: the model supports tool search, and the request has its beta.
    fn supports_tool_search(&self) -> bool {
        self.model.supports_tool_search() && self.has_beta("tool-search-tool-2025-10-19")
    }
}

/// Validates an InvokeModel request for Claude, except its length.
///
/// # Errors
/// A `ValidationException` for the first violated rule.
pub(crate) fn invoke(body: &Value, model: &Model, is_streaming: bool) -> ValidationResult {
    if !model.is_claude() {
        return Err(AwsError::validation("The provided request is not valid"));
    }
    let members = members_of(body)?;
    check_required(members, &["anthropic_version", "max_tokens", "messages"])?;
    let version = match members["anthropic_version"].as_str() {
        Some("bedrock-2023-05-31") => Version::V2023,
        Some("2026-10-21") if model.generation >= 47 => Version::V2026,
        _ => return Err(AwsError::model("anthropic_version: Input should be 'bedrock-2023-05-31'")),
    };
    let betas = betas::of_body(members.get("anthropic_beta"), Api::InvokeModel, model)?;
    let request = Request { body, members, model, api: Api::InvokeModel, betas, version };
    check_members(members, &[COMMON, INVOKE])?;
    check_request(&request, is_streaming)
}

/// Validates a request to the Messages API, except its length.
///
/// # Errors
/// As [`invoke`].
pub(crate) fn messages(
    body: &Value,
    model: &Model,
    api: Api,
    headers: &[&str],
    version: Version,
) -> ValidationResult {
    let members = members_of(body)?;
    betas::of_header(headers, api, model)?;
    check_required(members, &["model", "max_tokens", "messages"])?;
    let request = Request { body, members, model, api, betas: headers.to_vec(), version };
    check_members(members, &[COMMON, MESSAGES])?;
    if members.get("stream").is_some_and(|stream| !stream.is_boolean()) {
        return Err(AwsError::model("stream: Input should be a valid boolean"));
    }
    check_request(&request, body["stream"] == true)
}

/// Validates a token counting request to the Mantle endpoint.
///
/// # Errors
/// As [`invoke`].
pub(crate) fn mantle_count_tokens(
    body: &Value,
    model: &Model,
    headers: &[&str],
    version: Version,
) -> ValidationResult {
    let members = members_of(body)?;
    betas::of_header(headers, Api::MantleMessages, model)?;
    check_required(members, &["model", "messages"])?;
    check_members(members, &[COUNT_TOKENS])?;
    let request =
        Request { body, members, model, api: Api::MantleMessages, betas: headers.to_vec(), version };
    check_content(&request)
}

fn members_of(body: &Value) -> Result<&Map<String, Value>, AwsError> {
    body.as_object().ok_or_else(|| AwsError::model("Input should be a valid dictionary"))
}

fn check_required(members: &Map<String, Value>, names: &[&str]) -> ValidationResult {
    match names.iter().find(|name| members.get(**name).is_none_or(Value::is_null)) {
        Some(name) => Err(AwsError::model(format!("{name}: Field required"))),
        None => Ok(()),
    }
}

fn check_members(members: &Map<String, Value>, lists: &[&[&str]]) -> ValidationResult {
    match members.keys().find(|key| !lists.iter().any(|list| list.contains(&key.as_str()))) {
        Some(key) => Err(extra_input(key)),
        None => Ok(()),
    }
}

fn check_request(request: &Request<'_>, is_streaming: bool) -> ValidationResult {
    let body = request.body;
    let Some(max_tokens) = body["max_tokens"].as_u64() else {
        return Err(AwsError::model(match body["max_tokens"].as_i64() {
            Some(_) => "max_tokens: Input should be greater than or equal to 0",
            None => "max_tokens: Input should be a valid integer",
        }));
    };
    let forces_tool = matches!(body["tool_choice"]["type"].as_str(), Some("any" | "tool"));
    if max_tokens == 0 {
        check_zero_max_tokens(request, is_streaming, forces_tool)?;
    }
    check_sampling(request)?;
    check_stop_sequences(request)?;
    context_management::check(request)?;
    safeguards::check(request)?;
    let parameters = ModelParameters {
        fields: request.members,
        temperature: body["temperature"].as_f64(),
        top_p: body["top_p"].as_f64(),
        max_tokens: Some(max_tokens),
        forces_tool,
        api: request.api,
        betas: request.betas.clone(),
    };
    fields::check(&parameters, request.model)?;
    check_content(request)
}

/// Checks everything that the model reads.
fn check_content(request: &Request<'_>) -> ValidationResult {
    tools::check(request)?;
    blocks::system(request)?;
    conversation::check(request)?;
    cache_control::check(request)
}

/// Checks `max_tokens: 0`, which only fills the cache.
fn check_zero_max_tokens(request: &Request<'_>, is_streaming: bool, forces_tool: bool) -> ValidationResult {
    let accepts_thinking = matches!(request.body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"));
    let feature = match () {
        () if is_streaming => "`stream`",
        () if accepts_thinking => "`thinking`",
        () if forces_tool => "a `tool_choice` that forces tool use",
        () if request.body["output_config"]["format"].is_object() => "`output_config.format`",
        () => return Ok(()),
    };
    Err(AwsError::model(format!("max_tokens: 0 is not supported together with {feature}")))
}

fn check_sampling(request: &Request<'_>) -> ValidationResult {
    let parameter =
        |name: &str| request.members.get(name).filter(|value| !value.is_null()).map(|v| (name.to_owned(), v));
    let names = ["temperature", "top_p", "top_k"];
    for (name, value) in names.iter().filter_map(|name| parameter(name)) {
        if request.version == Version::V2026 {
            return Err(extra_input(&name));
        }
        let problem = match (name.as_str(), value.as_f64()) {
            (_, None) => "Input should be a valid number",
            ("top_k", Some(_)) if !value.is_i64() && !value.is_u64() => "Input should be a valid integer",
            (_, Some(number)) if number < 0.0 => "Input should be greater than or equal to 0",
            ("temperature" | "top_p", Some(number)) if number > 1.0 => {
                "Input should be less than or equal to 1"
            }
            _ => continue,
        };
        return Err(AwsError::model(format!("{name}: {problem}")));
    }
    Ok(())
}

fn check_stop_sequences(request: &Request<'_>) -> ValidationResult {
    let Some(sequences) = request.members.get("stop_sequences").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let Some(sequences) = sequences.as_array() else {
        return Err(AwsError::model("stop_sequences: Input should be a valid list"));
    };
    super::conversation::check_stop_sequences(sequences)
}
