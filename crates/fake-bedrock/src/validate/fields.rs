//! What each generation of Claude takes besides the conversation: thinking, effort, sampling, betas, limits.
//!
//! Both operations come here with the same questions, Converse with `additionalModelRequestFields`, InvokeModel with its
//! body.

use serde_json::{Map, Value};

use super::check::extraneous;
use crate::error::AwsError;
use crate::models::Model;

type Checked = Result<(), AwsError>;

/// Betas that both operations take.
const BETAS: &[&str] = &[
    "interleaved-thinking-2025-05-14",
    "context-1m-2025-08-07",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "structured-outputs-2025-11-13",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "token-efficient-tools-2025-02-19",
    "output-128k-2025-02-19",
    "dev-full-thinking-2025-05-14",
    "compact-2026-01-12",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
];

/// Betas that only InvokeModel takes.
const INVOKE_BETAS: &[&str] = &[
    "context-management-2025-06-27",
    "tool-search-tool-2025-10-19",
    "mid-conversation-tool-changes-2026-07-01",
    "mid-conversation-output-config-2026-07-01",
    "search-results-2025-06-09",
    "pdfs-2024-09-25",
    "token-counting-2024-11-01",
    "model-context-window-exceeded-2025-08-26",
];

/// Members of `additionalModelRequestFields` that Claude takes.
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

/// Members of `additionalModelRequestFields` that Nova takes.
const NOVA_FIELDS: &[&str] = &["inferenceConfig", "reasoningConfig"];

/// The part of a request that both operations have under different names.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The native fields: `thinking`, `output_config`, `anthropic_beta`, `metadata`, `top_k`.
    pub(super) fields: &'a Map<String, Value>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: bool,
    pub(super) max_tokens: Option<u64>,
    /// Whether the tool choice forces a call.
    pub(super) forced: bool,
    pub(super) invoke: bool,
}

/// The additional fields of a Converse request, for any model.
pub(super) fn allowed(fields: &Map<String, Value>, model: &Model) -> Checked {
    for key in fields.keys() {
        if model.is_claude() && !CLAUDE_FIELDS.contains(&key.as_str()) {
            return Err(extra(key));
        }
        if model.is_nova() && !NOVA_FIELDS.contains(&key.as_str()) {
            return Err(extraneous("", key));
        }
    }
    Ok(())
}

pub(super) fn extra(key: &str) -> AwsError {
    AwsError::model(format!("{key}: Extra inputs are not permitted"))
}

/// Whether a value may stand in request metadata; quotes, braces and anything beyond ASCII may not.
pub(super) fn metadata_fits(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c))
}

pub(super) fn bad_metadata() -> AwsError {
    AwsError::validation("Request metadata contains a value that violates the regular expression")
}

/// The rules of one model about one request.
pub(super) fn check(asked: &Asked<'_>, model: &Model) -> Checked {
    if asked.max_tokens.is_some_and(|max| max > model.max_output) {
        let limit = model.max_output;
        return Err(AwsError::validation(format!(
            "The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens \
             value that is lower than {limit}."
        )));
    }
    if !model.is_claude() {
        return Ok(());
    }
    let betas = betas(asked)?;
    let user = &asked.fields.get("metadata").map_or(&Value::Null, |metadata| &metadata["user_id"]);
    if user.as_str().is_some_and(|user| !metadata_fits(user)) {
        return Err(bad_metadata());
    }
    output_config(asked, model, &betas)?;
    sampling(asked, model)?;
    thinking(asked, model, &betas)
}

fn betas<'a>(asked: &Asked<'a>) -> Result<Vec<&'a str>, AwsError> {
    let Some(list) = asked.fields.get("anthropic_beta") else {
        return Ok(Vec::new());
    };
    let invalid = || AwsError::model("invalid beta flag");
    let list =
        list.as_array().ok_or_else(|| AwsError::model("anthropic_beta: Input should be a valid list"))?;
    let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let known = |name: &&str| BETAS.contains(name) || (asked.invoke && INVOKE_BETAS.contains(name));
    if names.len() < list.len() || !names.iter().all(known) {
        return Err(invalid());
    }
    Ok(names)
}

fn output_config(asked: &Asked<'_>, model: &Model, betas: &[&str]) -> Checked {
    let Some(config) = asked.fields.get("output_config").and_then(Value::as_object) else {
        return Ok(());
    };
    for key in config.keys() {
        match key.as_str() {
            "effort" => {}
            "format" if model.has("format") => {}
            _ => return Err(extra(&format!("output_config.{key}"))),
        }
    }
    let Some(effort) = config.get("effort") else {
        return Ok(());
    };
    if model.generation == 45 && model.effort("").is_some() && !betas.contains(&"effort-2025-11-24") {
        return Err(extra("output_config"));
    }
    effort_fits(effort.as_str().unwrap_or_default(), model)
}

/// Whether the model has this level of effort.
pub(super) fn effort_fits(level: &str, model: &Model) -> Checked {
    match model.effort(level) {
        Some(true) => Ok(()),
        Some(false) => {
            Err(AwsError::model(format!("output_config.effort: '{level}' is not supported by this model")))
        }
        None => Err(AwsError::model("This model does not support the effort parameter.")),
    }
}

fn sampling(asked: &Asked<'_>, model: &Model) -> Checked {
    let top_k = asked.fields.contains_key("top_k");
    if !model.has("sampling") {
        let given = [(asked.temperature.is_some(), "temperature"), (asked.top_p, "top_p"), (top_k, "top_k")];
        if let Some((_, name)) = given.iter().find(|(given, _)| *given) {
            return Err(AwsError::model(format!("`{name}` is deprecated for this model.")));
        }
    }
    if asked.temperature.is_some() && asked.top_p && model.generation >= 45 {
        return Err(AwsError::model(
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        ));
    }
    Ok(())
}

fn thinking(asked: &Asked<'_>, model: &Model, betas: &[&str]) -> Checked {
    let Some(thinking) = asked.fields.get("thinking").filter(|thinking| !thinking.is_null()) else {
        return Ok(());
    };
    let kind = thinking["type"].as_str().unwrap_or_default();
    if !model.thinks(kind) {
        let text = match kind {
            "enabled" if model.generation >= 47 => {
                "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \
                 \"output_config.effort\" to control thinking behavior."
            }
            "adaptive" => "adaptive thinking is not supported on this model",
            "disabled" if model.generation >= 47 => {
                "\"thinking.type.disabled\" is not supported for this model: thinking is always on."
            }
            "enabled" | "disabled" => return Err(extra("thinking")),
            _ => "thinking.type must be \"enabled\" or \"adaptive\"",
        };
        return Err(AwsError::model(text));
    }
    if kind == "disabled" {
        return Ok(());
    }
    if asked.forced {
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
    // Interleaved thinking may spend its budget over several turns.
    let interleaved = betas.contains(&"interleaved-thinking-2025-05-14");
    if !interleaved && asked.max_tokens.is_some_and(|max| max <= budget) {
        return Err(AwsError::model("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    if asked.temperature.is_some_and(|temperature| (temperature - 1.0).abs() > f64::EPSILON) {
        return Err(AwsError::model("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if asked.fields.contains_key("top_k") {
        return Err(AwsError::model("`top_k` must be unset when thinking is enabled."));
    }
    Ok(())
}
