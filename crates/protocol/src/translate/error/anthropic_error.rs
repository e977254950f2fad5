//! Errors in Anthropic's format, from Bedrock's Messages API and inside streams of models.
//!
//! They are mapped to AWS's exceptions, so that one table decides what they mean.

use serde::Deserialize;

use super::{MappedError, map_error};
use crate::converse::event::Exception;

/// Error object of the body.
#[derive(Debug, Default, Deserialize)]
pub(in crate::translate) struct ErrorBody {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

/// Parses `{"type":"error","error":{"type":…,"message":…}}`; `None` when it is something else.
#[must_use]
pub fn parse_error(body: &[u8]) -> Option<MappedError> {
    #[derive(Deserialize)]
    struct Envelope {
        error: ErrorBody,
    }
    let Envelope { error } = serde_json::from_slice(body).ok()?;
    (!error.kind.is_empty()).then(|| map_error_body(error))
}

/// Maps the error.
pub(in crate::translate) fn map_error_body(body: ErrorBody) -> MappedError {
    let (status, code) = match body.kind.as_str() {
        "invalid_request_error" => (400, "ValidationException"),
        "authentication_error" => (403, "UnrecognizedClientException"),
        "billing_error" | "permission_error" => (403, "AccessDeniedException"),
        "not_found_error" => (404, "ResourceNotFoundException"),
        "request_too_large" => (413, ""),
        "rate_limit_error" => (429, "ThrottlingException"),
        "timeout_error" => (408, "ModelTimeoutException"),
        "overloaded_error" => (503, "ServiceUnavailableException"),
        _ => (500, "InternalServerException"),
    };
    map_error(status, code, &Exception { message: Some(body.message), ..Exception::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::ErrorType;
    use crate::translate::Retry;

    #[test]
    fn anthropic_errors_map_like_aws_errors() {
        for (name, kind, retry) in [
            ("invalid_request_error", ErrorType::InvalidRequest, Retry::Never),
            ("permission_error", ErrorType::Permission, Retry::Never),
            ("not_found_error", ErrorType::Permission, Retry::Never),
            ("request_too_large", ErrorType::TooLarge, Retry::Never),
            ("rate_limit_error", ErrorType::RateLimit, Retry::AfterPause),
            ("timeout_error", ErrorType::Timeout, Retry::ByClient),
            ("overloaded_error", ErrorType::Overloaded, Retry::AfterPause),
            ("api_error", ErrorType::Api, Retry::AfterPause),
            ("novel_error", ErrorType::Api, Retry::AfterPause),
        ] {
            let body = format!(r#"{{"type":"error","error":{{"type":"{name}","message":"so it is"}}}}"#);
            let failure = parse_error(body.as_bytes()).unwrap();
            assert_eq!((failure.error.kind, failure.retry), (kind, retry), "{name}");
            assert!(failure.error.message.starts_with("so it is"), "{failure:?}");
        }
        for other in [r#"{"message":"x"}"#, r#"{"error":"x"}"#, r#"{"error":{}}"#, "x"] {
            assert!(parse_error(other.as_bytes()).is_none(), "{other}");
        }
    }
}
