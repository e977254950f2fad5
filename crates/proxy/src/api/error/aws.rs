//! Errors in AWS's shape, for clients of the Bedrock API: with AWS's codes and statuses.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use protocol::anthropic::ErrorType;
use protocol::apis::ClientApi;
use serde_json::json;

use super::{ApiError, SPANISH};

/// What AWS itself responded with.
#[derive(Clone, Debug)]
pub(super) struct AwsResponse {
    /// Its status; `None` for errors of the proxy.
    pub(super) status: Option<u16>,
    /// Its message, where the error has another.
    pub(super) message: Option<String>,
    /// Its code.
    pub(super) code: String,
    /// Its id of the request.
    pub(super) request_id: Option<String>,
    /// Its `retry-after`, in seconds.
    pub(super) retry_after: Option<u16>,
    /// Whether the proxy's own credentials are at fault: a client that gets such an error would renew its own credentials, which does not help.
    pub(super) is_operator_fault: bool,
}

/// The exception that AWS has for a kind of error.
fn exception(kind: ErrorType) -> &'static str {
    match kind {
        ErrorType::InvalidRequest => "ValidationException",
        ErrorType::Authentication => "UnrecognizedClientException",
        ErrorType::Permission => "AccessDeniedException",
        ErrorType::Billing => "ServiceQuotaExceededException",
        ErrorType::NotFound => "ResourceNotFoundException",
        ErrorType::TooLarge => "RequestEntityTooLargeException",
        ErrorType::RateLimit => "ThrottlingException",
        ErrorType::Timeout => "ModelTimeoutException",
        ErrorType::Overloaded => "ServiceUnavailableException",
        _ => "InternalServerException",
    }
}

/// Renders `error` in AWS's shape.
pub(super) fn render(error: &ApiError) -> Response {
    let own_code = exception(error.error.kind);
    let own_status = StatusCode::from_u16(ClientApi::Bedrock.error_status(error.error.kind));
    let own_status = own_status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let aws = error.aws.as_deref();
    let status =
        aws.filter(|aws| !aws.is_operator_fault).and_then(|aws| StatusCode::from_u16(aws.status?).ok());
    let (status, code) = match (status.filter(|status| !status.is_success()), aws) {
        (Some(status), Some(aws)) => (status, aws.code.as_str()),
        // The path, the method or the body has a status of its own.
        _ if error.has_own_status && error.status.is_client_error() => (error.status, own_code),
        _ if error.status == StatusCode::SERVICE_UNAVAILABLE => {
            (error.status, exception(ErrorType::Overloaded))
        }
        _ => (own_status, own_code),
    };
    let mut headers = error.headers.as_deref().cloned().unwrap_or_default();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request_id = aws.and_then(|aws| aws.request_id.as_deref());
    for (name, text) in [("x-amzn-errortype", Some(code)), ("x-amzn-requestid", request_id)] {
        let text = text.filter(|text| !text.is_empty());
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    let own = (error.should_retry.is_none() && error.retry_after > 0).then_some(error.retry_after);
    let retry_after = match aws {
        Some(aws) => aws.retry_after,
        None => own.filter(|_| !headers.contains_key(header::RETRY_AFTER)),
    };
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let message = aws.and_then(|aws| aws.message.as_ref()).unwrap_or(&error.error.message);
    let translated = error.translated(message);
    if translated.is_some() {
        headers.insert(header::CONTENT_LANGUAGE, SPANISH);
    }
    let message = translated.as_ref().unwrap_or(message);
    (status, headers, json!({"message": message}).to_string()).into_response()
}
