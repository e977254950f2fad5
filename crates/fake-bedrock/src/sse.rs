//! Encoder of the Messages API: server-sent events and error bodies.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::anthropic::Translator;
use crate::error::AwsError;
use crate::response_metadata::ResponseMetadata;
use crate::script::ScriptEvent;

/// Appends one event; a ping follows the first `content_block_start`, as in Anthropic's API.
pub(crate) fn write(
    translator: &mut Translator,
    ping_sent: &mut bool,
    event: ScriptEvent,
    metadata: &ResponseMetadata,
    out: &mut BytesMut,
) {
    for value in translator.translate(event, metadata) {
        let starts = value["type"] == "content_block_start";
        write_event(&value, out);
        if starts && !std::mem::replace(ping_sent, true) {
            write_event(&json!({"type": "ping"}), out);
        }
    }
}

/// Appends an `error` event.
pub(crate) fn error(kind: &str, message: &str, out: &mut BytesMut) {
    write_event(&json!({"type": "error", "error": {"type": kind, "message": message}}), out);
}

fn write_event(value: &Value, out: &mut BytesMut) {
    let name = value["type"].as_str().unwrap_or("message");
    out.put_slice(format!("event: {name}\ndata: {value}\n\n").as_bytes());
}

/// Anthropic's error type and status of an AWS exception.
pub(crate) fn error_type(error: &AwsError) -> (&'static str, StatusCode) {
    let overloaded = StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    match error.kind.as_ref() {
        "ValidationException" => ("invalid_request_error", StatusCode::BAD_REQUEST),
        "AccessDeniedException" => ("permission_error", StatusCode::FORBIDDEN),
        "ResourceNotFoundException" => ("not_found_error", StatusCode::NOT_FOUND),
        "RequestEntityTooLargeException" => ("request_too_large", StatusCode::PAYLOAD_TOO_LARGE),
        "ThrottlingException" | "ServiceQuotaExceededException" => {
            ("rate_limit_error", StatusCode::TOO_MANY_REQUESTS)
        }
        "ServiceUnavailableException" | "ModelNotReadyException" => ("overloaded_error", overloaded),
        "ModelTimeoutException" => ("timeout_error", StatusCode::GATEWAY_TIMEOUT),
        "ModelErrorException" | "ModelStreamErrorException" => match original_status(error) {
            Some(400) => ("invalid_request_error", StatusCode::BAD_REQUEST),
            Some(413) => ("request_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Some(429) => ("rate_limit_error", StatusCode::TOO_MANY_REQUESTS),
            Some(503 | 529) => ("overloaded_error", overloaded),
            _ => ("api_error", StatusCode::INTERNAL_SERVER_ERROR),
        },
        _ => ("api_error", StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Status of the model.
fn original_status(error: &AwsError) -> Option<u64> {
    error
        .extra_members
        .iter()
        .find(|(name, _)| name == "originalStatusCode")
        .and_then(|(_, status)| status.as_u64())
}

/// Error response in Anthropic's format.
pub(crate) fn error_response(error: &AwsError, request_id: &str) -> Response<Bytes> {
    let (kind, status) = error_type(error);
    let body = json!({
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": request_id,
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_map_to_anthropic_error_types() {
        for (name, status, expected) in [
            ("ThrottlingException", None, ("rate_limit_error", 429)),
            ("ServiceUnavailableException", None, ("overloaded_error", 529)),
            ("ModelErrorException", Some(529), ("overloaded_error", 529)),
            ("ModelErrorException", Some(500), ("api_error", 500)),
            ("ModelTimeoutException", None, ("timeout_error", 504)),
        ] {
            let (kind, code) = error_type(&AwsError::from_name(name, status));
            assert_eq!((kind, code.as_u16()), expected, "{name}");
        }
    }
}
