//! Betas that each API accepts.

use serde_json::Value;

use crate::error::AwsError;
use crate::models::Model;
use crate::routes::Api;

/// Betas of every API.
const COMMON: &[&str] = &[
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

/// Betas of every API except Converse.
const ANTHROPIC: &[&str] = &[
    crate::safeguards::BETA,
    // Claude Code sends it to InvokeModel.
    "afk-mode-2026-01-31",
    "context-management-2025-06-27",
    "tool-search-tool-2025-10-19",
    "mid-conversation-tool-changes-2026-07-01",
    "mid-conversation-output-config-2026-07-01",
    "search-results-2025-06-09",
    "pdfs-2024-09-25",
    "token-counting-2024-11-01",
    "model-context-window-exceeded-2025-08-26",
];

/// Further betas of the Messages API.
const MESSAGES: &[&str] =
    &["claude-code-20250219", "mid-conversation-system-2026-04-07", "thinking-token-count-2026-05-13"];

/// Beta of the Messages API on bedrock-runtime only.
const RUNTIME: &str = "fallback-credit-2026-07-01";

/// Betas of the Messages API on bedrock-mantle only.
const MANTLE: &[&str] = &["tool-examples-2025-10-29", "per-turn-control-2026-07-01", "web-search-2025-03-05"];

fn is_accepted(name: &str, api: Api, model: &Model) -> bool {
    // InvokeModel accepts this beta only for models with structured outputs.
    if name == "structured-outputs-2025-11-13" && api == Api::InvokeModel && !model.has("format") {
        return false;
    }
    COMMON.contains(&name)
        || (api != Api::Converse && ANTHROPIC.contains(&name))
        || (api.is_messages() && MESSAGES.contains(&name))
        || (api == Api::RuntimeMessages && name == RUNTIME)
        || (api == Api::MantleMessages && MANTLE.contains(&name))
}

/// Betas of the body: `anthropic_beta`.
///
/// # Errors
/// `invalid beta flag`, without the name of the beta.
pub(super) fn of_body<'a>(
    list: Option<&'a Value>,
    api: Api,
    model: &Model,
) -> Result<Vec<&'a str>, AwsError> {
    let Some(list) = list.filter(|list| !list.is_null()) else {
        return Ok(Vec::new());
    };
    let list =
        list.as_array().ok_or_else(|| AwsError::model("anthropic_beta: Input should be a valid list"))?;
    let mut names = Vec::new();
    for (n, name) in list.iter().enumerate() {
        let name = name
            .as_str()
            .ok_or_else(|| AwsError::model(format!("anthropic_beta.{n}: Input should be a valid string")))?;
        names.push(name);
    }
    if names.iter().all(|name| is_accepted(name, api, model)) {
        Ok(names)
    } else {
        Err(AwsError::model("invalid beta flag"))
    }
}

/// Betas of the `anthropic-beta` header.
///
/// # Errors
/// A message that names the unknown betas.
pub(super) fn of_header(names: &[&str], api: Api, model: &Model) -> Result<(), AwsError> {
    let unknown: Vec<String> =
        names.iter().filter(|name| !is_accepted(name, api, model)).map(|name| format!("`{name}`")).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(AwsError::model(format!(
        "Unexpected value(s) {} for the `anthropic-beta` header. Please consult our documentation at docs.claude.com or \
         try again without the header.",
        unknown.join(", ")
    )))
}
