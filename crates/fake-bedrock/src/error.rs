//! AWS errors: status, header and body of each exception.
//!
//! The messages stand beside the rules that they belong to.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

/// Prefix of an error that the model's own validation raised.
pub(crate) const MODEL_ERROR_PREFIX: &str = "The model returned the following errors: ";

/// An error response of AWS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AwsError {
    pub(crate) status: StatusCode,
    /// Shape name of the exception, such as `ValidationException`.
    pub(crate) kind: Cow<'static, str>,
    pub(crate) message: String,
    /// Further members of the body, such as `originalStatusCode`.
    pub(crate) extra_members: Vec<(String, Value)>,
}

impl AwsError {
    /// Rejection of a prompt that is too long, in the wording of this name.
    pub(crate) fn too_long(wording: &str, tokens: u64, maximum: u64) -> Self {
        match wording {
            "prompt-and-max-tokens" => Self::model(format!(
                "input length and `max_tokens` exceed context limit: {tokens} + 8192 > {maximum}, decrease input length or \
                 `max_tokens` and try again"
            )),
            "input" => Self::validation("Input is too long."),
            "input-for-model" => Self::validation("Input is too long for requested model."),
            "nova" => Self::model(
                "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
            ),
            "context-length" => Self::model(format!(
                "This model's maximum context length is {maximum} tokens. Please reduce the length of the prompt"
            )),
            "text-bytes" => Self::model("too many total text bytes"),
            "titan" => Self::validation(format!(
                "400 Bad Request: Too many input tokens. Max input tokens: {maximum}, request input token count: {tokens} "
            )),
            "max-length" => Self::validation(format!(
                "Malformed input request: expected maxLength: {maximum}, actual: {tokens}, please reformat your input and try \
                 again."
            )),
            _ => Self::model(format!("prompt is too long: {tokens} tokens > {maximum} maximum")),
        }
    }

    pub(crate) fn new(
        status: StatusCode,
        kind: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, kind: kind.into(), message: message.into(), extra_members: Vec::new() }
    }

    /// A 400 from Bedrock's validation.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// A 400 from the model's validation, which Converse reports after [`MODEL_ERROR_PREFIX`].
    pub(crate) fn model(message: impl std::fmt::Display) -> Self {
        Self::validation(format!("{MODEL_ERROR_PREFIX}{message}"))
    }

    /// Removes [`MODEL_ERROR_PREFIX`], which only Converse sends.
    pub(crate) fn without_model_prefix(mut self) -> Self {
        if let Some(rest) = self.message.strip_prefix(MODEL_ERROR_PREFIX) {
            self.message = rest.to_owned();
        }
        self
    }

    pub(crate) fn forbidden(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, message)
    }

    /// An exception by its shape name, with its modelled status and a common message.
    ///
    /// `original_status`: status of the model, for the two exceptions that carry it.
    pub(crate) fn from_name(name: &str, original_status: Option<u16>) -> Self {
        let mut kind = name.to_owned();
        if let Some(first) = kind.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let (status, message) = match kind.as_str() {
            "ThrottlingException" => (429, THROTTLED_MESSAGE),
            "ModelNotReadyException" => (429, "The model is not ready for inference. Wait and try again."),
            "ModelTimeoutException" => (
                408,
                "The request took too long to process. Processing time exceeded the model timeout length.",
            ),
            "InternalServerException" => {
                (500, "The system encountered an unexpected error during processing. Try your request again.")
            }
            "ServiceUnavailableException" => (503, "Bedrock is unable to process your request."),
            "ModelErrorException" => {
                (424, "The system encountered an unexpected error during processing. Try your request again.")
            }
            "ModelStreamErrorException" => (
                424,
                "Model produced invalid sequence as part of ToolUse. Please refer to the model tool use \
                 troubleshooting guide.",
            ),
            "AccessDeniedException" => {
                (403, "You don't have access to the model with the specified model ID.")
            }
            "ResourceNotFoundException" => (
                404,
                "Model use case details have not been submitted for this account. Fill out the Anthropic use case \
                 details form before using the model. If you have already filled out the form, try again in 15 minutes.",
            ),
            "ServiceQuotaExceededException" => {
                (400, "Your request exceeds the service quota for your account.")
            }
            "ExpiredTokenException" => (403, "The security token included in the request is expired"),
            "UnrecognizedClientException" => (403, "The security token included in the request is invalid."),
            _ => (400, "Input is too long for requested model."),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let original_status = match kind.as_str() {
            "ModelErrorException" | "ModelStreamErrorException" => Some(original_status.unwrap_or(500)),
            _ => None,
        };
        let mut error = Self::new(status, kind, message);
        if let Some(original_status) = original_status {
            error.extra_members.push(("originalStatusCode".into(), original_status.into()));
            let key = if error.kind == "ModelErrorException" { "resourceName" } else { "originalMessage" };
            error.extra_members.push((key.into(), "the model failed".into()));
        }
        error
    }

    /// Body of the response, and payload of an exception frame.
    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("message".into(), self.message.clone().into());
        body.extend(self.extra_members.clone());
        Value::Object(body)
    }

    /// HTTP response, without `x-amzn-requestid`.
    pub(crate) fn response(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let kind = format!("{}:http://internal.amazon.com/coral/com.amazon.bedrock/", self.kind);
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            headers.insert("x-amzn-errortype", kind);
        }
        response
    }
}

/// Message of the most frequent throttle, tokens per minute.
pub(crate) const THROTTLED_MESSAGE: &str = "Too many tokens, please wait before trying again.";

/// Response of bedrock-runtime to an unknown route: HTTP 200 for every method.
pub(crate) fn unknown_operation() -> Response<Bytes> {
    let body = json!({
        "Output": {"__type": "com.amazon.coral.service#UnknownOperationException"},
        "Version": "1.0",
    });
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_has_type_header_and_message_body() {
        let response = AwsError::from_name("throttlingException", None).response();
        assert_eq!(response.status(), 429);
        assert_eq!(
            response.headers()["x-amzn-errortype"],
            "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"
        );
        assert_eq!(response.body().as_ref(), format!("{{\"message\":\"{THROTTLED_MESSAGE}\"}}").as_bytes());
    }

    #[test]
    fn model_error_has_the_original_status() {
        let error = AwsError::from_name("modelStreamErrorException", Some(503));
        assert_eq!(error.status, 424);
        assert_eq!(error.extra_members[0], ("originalStatusCode".into(), 503.into()));
    }
}
