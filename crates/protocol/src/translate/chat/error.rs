//! What went wrong, in OpenAI's words.

use crate::anthropic::{self, ErrorType};
use crate::openai;

/// Messages of the prompt being too long.
const TOO_LONG: [&str; 2] = ["prompt is too long", "exceed context limit"];

/// Maps an error to one of the chat completions API.
#[must_use]
pub fn chat_error(error: &anthropic::Error) -> openai::Error {
    let (kind, code) = match error.kind {
        ErrorType::InvalidRequest if TOO_LONG.iter().any(|words| error.message.contains(words)) => {
            ("invalid_request_error", Some("context_length_exceeded"))
        }
        ErrorType::InvalidRequest => ("invalid_request_error", None),
        ErrorType::Authentication => ("invalid_request_error", Some("invalid_api_key")),
        ErrorType::Billing => ("insufficient_quota", Some("insufficient_quota")),
        ErrorType::Permission => ("permission_error", Some("permission_denied")),
        ErrorType::NotFound => ("invalid_request_error", Some("model_not_found")),
        ErrorType::TooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorType::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorType::Api => ("server_error", None),
        ErrorType::Timeout => ("server_error", Some("timeout")),
        ErrorType::Overloaded => ("server_error", Some("overloaded")),
    };
    let param = (error.kind == ErrorType::InvalidRequest).then(|| param(&error.message)).flatten();
    openai::Error { message: error.message.clone(), kind, param, code }
}

/// JSON path that a message begins with: `messages.0.content: …`.
fn param(message: &str) -> Option<String> {
    let (place, _) = message.split_once(": ")?;
    let is_step = |step: &str| {
        !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    place.split('.').all(is_step).then(|| place.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_the_error_is_the_param() {
        let error = |message: &str| chat_error(&anthropic::Error::new(ErrorType::InvalidRequest, message));
        assert_eq!(error("messages.0.content: Field required").param.as_deref(), Some("messages.0.content"));
        assert_eq!(error("the body is not valid JSON: x").param, None);
        assert_eq!(error("no colon").param, None);
    }

    #[test]
    fn prompt_too_long_has_the_code_clients_recover_on() {
        let error =
            anthropic::Error::new(ErrorType::InvalidRequest, "prompt is too long: 9 tokens > 8 maximum");
        assert_eq!(chat_error(&error).code, Some("context_length_exceeded"));
    }
}
