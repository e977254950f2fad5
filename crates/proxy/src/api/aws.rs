//! Errors for clients that speak Bedrock: AWS's shape, with AWS's codes and statuses.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use protocol::anthropic::ErrorType;
use protocol::translate::Fault;

use super::error::ApiError;
use crate::bedrock::Failure;

/// An error in AWS's shape.
#[derive(Debug)]
pub(super) struct AwsError {
    status: StatusCode,
    code: String,
    /// Without ARNs and account ids.
    message: String,
    /// AWS's own id of the request.
    pub(super) request_id: Option<String>,
    /// What it would be in Anthropic's words, for the log.
    pub(super) kind: ErrorType,
    /// Whose fault it is, for the log.
    pub(super) class: &'static str,
    /// Further headers.
    headers: HeaderMap,
}

/// The exception that AWS has for a kind of error.
fn exception(kind: ErrorType) -> (StatusCode, &'static str) {
    match kind {
        ErrorType::InvalidRequest => (StatusCode::BAD_REQUEST, "ValidationException"),
        ErrorType::Authentication => (StatusCode::FORBIDDEN, "UnrecognizedClientException"),
        ErrorType::Permission => (StatusCode::FORBIDDEN, "AccessDeniedException"),
        // What AWS says of its own quotas.
        ErrorType::Billing => (StatusCode::TOO_MANY_REQUESTS, "ServiceQuotaExceededException"),
        ErrorType::NotFound => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
        ErrorType::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException"),
        ErrorType::RateLimit => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
        ErrorType::Timeout => (StatusCode::REQUEST_TIMEOUT, "ModelTimeoutException"),
        ErrorType::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException"),
    }
}

impl From<ApiError> for AwsError {
    fn from(error: ApiError) -> Self {
        let (headers, class) = (error.headers(), error.class());
        let error = error.error();
        let (status, code) = exception(error.kind);
        let message = error.message.to_string();
        Self { status, code: code.to_owned(), message, request_id: None, kind: error.kind, class, headers }
    }
}

impl From<Failure> for AwsError {
    fn from(failure: Failure) -> Self {
        let Failure::Refused(refusal) = failure else { return ApiError::from(failure).into() };
        let meaning = refusal.meaning;
        let class = ApiError::from(meaning.clone()).class();
        let request_id = refusal.request_id;
        // A client that hears of expired credentials renews its own, which would not help.
        let ours = meaning.fault == Fault::Operator && meaning.error.kind == ErrorType::Api;
        let status = StatusCode::from_u16(refusal.status).ok().filter(|status| !ours && !status.is_success());
        match status {
            Some(status) => Self {
                status,
                code: meaning.code,
                message: meaning.error.message.to_string(),
                request_id,
                kind: meaning.error.kind,
                class,
                headers: HeaderMap::new(),
            },
            None => Self { request_id, class, ..ApiError::from(meaning.error).into() },
        }
    }
}

impl IntoResponse for AwsError {
    fn into_response(self) -> Response {
        let mut headers = self.headers;
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let texts = [("x-amzn-errortype", Some(&self.code)), ("x-amzn-requestid", self.request_id.as_ref())];
        for (name, text) in texts {
            let value =
                text.filter(|text| !text.is_empty()).and_then(|text| HeaderValue::from_str(text).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        (self.status, headers, serde_json::json!({"message": self.message}).to_string()).into_response()
    }
}
