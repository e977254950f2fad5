//! `safeguards`: the member and its beta must arrive together.

use serde_json::Value;

use super::super::fields::extra_input;
use super::{Request, ValidationResult};
use crate::error::AwsError;
use crate::safeguards::BETA;

/// Checks the list of safeguards.
pub(super) fn check(request: &Request<'_>) -> ValidationResult {
    let list = match (request.members.get("safeguards"), request.has_beta(BETA)) {
        (None, false) => return Ok(()),
        (Some(_), false) => return Err(extra_input("safeguards")),
        (None, true) => return Err(AwsError::model("safeguards: Field required")),
        (Some(list), true) => list,
    };
    let Some(list) = list.as_array() else {
        return Err(AwsError::model("safeguards: Input should be a valid list"));
    };
    for (s, safeguard) in list.iter().enumerate() {
        let kind = safeguard["type"].as_str().unwrap_or_default();
        if kind != "dangerous_tool_use" {
            return Err(AwsError::model(format!(
                "safeguards.{s}: Input tag '{kind}' found using 'type' does not match any of the expected tags: \
                 'dangerous_tool_use'"
            )));
        }
        for (key, value) in safeguard.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("type", _) | ("classifier_context", Value::Object(_)) => {}
                ("classifier_context", _) => {
                    return Err(AwsError::model(format!(
                        "safeguards.{s}.dangerous_tool_use.classifier_context: Input should be a valid dictionary"
                    )));
                }
                _ => return Err(extra_input(&format!("safeguards.{s}.dangerous_tool_use.{key}"))),
            }
        }
    }
    Ok(())
}
