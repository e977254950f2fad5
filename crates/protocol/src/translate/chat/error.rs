//! Errors in OpenAI's words.

use super::ChatPaths;
use crate::anthropic::{self, ErrorType};
use crate::openai;
use crate::translate::error::is_context_overflow;

/// Maps an error to one of the chat completions API.
#[must_use]
pub fn chat_error(error: &anthropic::Error) -> openai::Error {
    let message = message(error);
    let (kind, code) = match error.kind {
        ErrorType::InvalidRequest => ("invalid_request_error", request_code(error, message)),
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
    openai::Error { message: message.to_owned(), kind, param: error.path.clone(), code }
}

/// The error with the path in AWS's message replaced by the client's. Where the client's is not known, only the name of
/// the member is left of it: AWS names places of another body.
pub(super) fn without_upstream_path(error: anthropic::Error, paths: &ChatPaths) -> anthropic::Error {
    let Some((path, rest)) = error.message.split_once(": ").filter(|(path, _)| is_path(path)) else {
        return error;
    };
    // Items may have moved on the way.
    let is_stable = !path.starts_with("messages") && !path.bytes().any(|byte| byte.is_ascii_digit());
    match paths.locate(path).filter(|_| is_stable) {
        Some(path) => {
            anthropic::Error { message: format!("{path}: {rest}"), path: Some(path), kind: error.kind }
        }
        None if is_context_overflow(rest) => anthropic::Error::new(error.kind, rest),
        None => {
            let name = path.rsplit('.').find(|segment| !segment.bytes().all(|byte| byte.is_ascii_digit()));
            anthropic::Error::new(error.kind, format!("{}: {rest}", name.unwrap_or(path)))
        }
    }
}

/// Whether this is the path of a member that requests have.
fn is_path(text: &str) -> bool {
    const MEMBERS: [&str; 12] = [
        "max_tokens",
        "messages",
        "metadata",
        "output_config",
        "stop_sequences",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ];
    let is_segment = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split('.').all(is_segment) && MEMBERS.contains(&text.split('.').next().unwrap_or_default())
}

/// The message; without its path where OpenAI's sentence names it.
fn message(error: &anthropic::Error) -> &str {
    let path = error.path.as_deref().unwrap_or_default();
    let rest = error.message.strip_prefix(path).and_then(|rest| rest.strip_prefix(": "));
    rest.filter(|rest| rest.starts_with("Invalid ")).unwrap_or(&error.message)
}

/// The code of an invalid request.
fn request_code(error: &anthropic::Error, message: &str) -> Option<&'static str> {
    if error.path.is_none() {
        return is_context_overflow(&error.message).then_some("context_length_exceeded");
    }
    if message.starts_with("Invalid type for '") {
        Some("invalid_type")
    } else if message.contains("integer below minimum value") {
        Some("integer_below_min_value")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::InvalidRequest;

    #[test]
    fn path_of_the_error_is_the_param() {
        let invalid = InvalidRequest::new("messages.0.content", "Field required");
        let error = chat_error(&invalid.into());
        assert_eq!(error.param.as_deref(), Some("messages.0.content"));
        assert_eq!(error.message, "messages.0.content: Field required");
        for message in ["the body is not valid JSON: x", "no colon", "messages.0: of the upstream body"] {
            assert_eq!(chat_error(&anthropic::Error::new(ErrorType::InvalidRequest, message)).param, None);
        }
    }

    #[test]
    fn path_of_the_upstream_body_is_replaced() {
        let upstream = |message: &str| {
            let error = anthropic::Error::new(ErrorType::InvalidRequest, message);
            let error = chat_error(&without_upstream_path(error, &ChatPaths::default()));
            (error.message, error.param)
        };
        for (message, expected, param) in [
            ("messages.3.content.0.text: Field required", "text: Field required", None),
            ("messages.3.content.0: Field required", "content: Field required", None),
            ("tools.0.custom.name: too long", "name: too long", None),
            ("temperature: too hot", "temperature: too hot", Some("temperature")),
            ("metadata.user_id: too long", "user: too long", Some("user")),
            ("prompt is too long: 9 tokens > 8 maximum", "prompt is too long: 9 tokens > 8 maximum", None),
            ("thinking: x", "thinking: x", None),
        ] {
            assert_eq!(upstream(message), (expected.to_owned(), param.map(str::to_owned)), "{message}");
        }
    }

    #[test]
    fn wrong_type_is_openais_error() {
        let body = br#"{"max_tokens":"a"}"#;
        let error = chat_error(&openai::Request::parse(body).unwrap_err().into());
        assert_eq!(
            error.message,
            "Invalid type for 'max_tokens': expected an integer, but got a string instead."
        );
        assert_eq!((error.param.as_deref(), error.code), (Some("max_tokens"), Some("invalid_type")));
    }

    #[test]
    fn prompt_too_long_has_the_code_clients_recover_on() {
        let code =
            |message: &str| chat_error(&anthropic::Error::new(ErrorType::InvalidRequest, message)).code;
        for message in [
            "prompt is too long: 9 tokens > 8 maximum",
            "Input is too long for requested model.",
            "Input is too long.",
            "input length and `max_tokens` exceed context limit: 213462 + 8192 > 204698",
        ] {
            assert_eq!(code(message), Some("context_length_exceeded"), "{message}");
        }
        assert_eq!(code("Too many tokens, please wait before trying again."), None);
        let named = InvalidRequest::new("tools.0.name", "input is too long");
        assert_eq!(chat_error(&named.into()).code, None, "the client's own text");
    }
}
