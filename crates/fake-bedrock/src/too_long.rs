//! Rejections of a prompt that is too long, in the wordings of all model families.

use crate::error::AwsError;
use crate::models::Model;

/// Name of the wording that the model's family has for a prompt that is too long.
pub(crate) fn wording(model: &Model) -> &'static str {
    match () {
        () if model.is_claude() => "prompt",
        () if model.is_nova() => "nova",
        () => "context-length",
    }
}

/// Rejection of a prompt that is too long, in the wording of this name.
pub(crate) fn rejection(wording: &str, tokens: u64, maximum: u64) -> AwsError {
    match wording {
        "prompt-and-max-tokens" => AwsError::model(format!(
            "input length and `max_tokens` exceed context limit: {tokens} + 8192 > {maximum}, decrease input length or \
             `max_tokens` and try again"
        )),
        "input" => AwsError::validation("Input is too long."),
        "input-for-model" => AwsError::validation("Input is too long for requested model."),
        "nova" => AwsError::model(
            "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
        ),
        "context-length" => AwsError::model(format!(
            "This model's maximum context length is {maximum} tokens. Please reduce the length of the prompt"
        )),
        "text-bytes" => AwsError::model("too many total text bytes"),
        "titan" => AwsError::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {maximum}, request input token count: {tokens} "
        )),
        "max-length" => AwsError::validation(format!(
            "Malformed input request: expected maxLength: {maximum}, actual: {tokens}, please reformat your input and try \
             again."
        )),
        _ => AwsError::model(format!("prompt is too long: {tokens} tokens > {maximum} maximum")),
    }
}
