//! The APIs on both sides: those that clients speak, and those of Bedrock that requests are sent to.

use std::fmt;

use crate::anthropic::ErrorType;

/// API that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientApi {
    /// Anthropic's Messages API: `POST /v1/messages`.
    Messages,
    /// OpenAI's chat completions API: `POST /v1/chat/completions`.
    ChatCompletions,
    /// The Bedrock Runtime API, for clients of AWS's SDKs.
    Bedrock,
}

impl ClientApi {
    /// HTTP status of an error of `kind`: as Anthropic documents it, which OpenAI's clients understand too, or as AWS has
    /// it.
    ///
    /// <https://docs.anthropic.com/en/api/errors>,
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>
    #[must_use]
    pub const fn error_status(self, kind: ErrorType) -> u16 {
        let is_aws = matches!(self, Self::Bedrock);
        match kind {
            ErrorType::InvalidRequest => 400,
            ErrorType::Authentication if is_aws => 403,
            ErrorType::Authentication => 401,
            // AWS's own quotas have the status of throttles.
            ErrorType::Billing if is_aws => 429,
            ErrorType::Billing => 402,
            ErrorType::Permission => 403,
            ErrorType::NotFound => 404,
            ErrorType::TooLarge => 413,
            ErrorType::RateLimit => 429,
            ErrorType::Api => 500,
            ErrorType::Timeout if is_aws => 408,
            ErrorType::Timeout => 504,
            ErrorType::Overloaded if is_aws => 503,
            ErrorType::Overloaded => 529,
        }
    }

    /// Name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::ChatCompletions => "chat_completions",
            Self::Bedrock => "bedrock",
        }
    }
}

impl fmt::Display for ClientApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// API of Bedrock that a request is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamApi {
    /// Converse and ConverseStream: the request is translated. Every model has it.
    Converse,
    /// InvokeModel and InvokeModelWithResponseStream, with the client's own body. Claude models only.
    InvokeModel,
    /// Bedrock's Messages API, with the client's own body. Claude models only.
    Messages,
}

impl UpstreamApi {
    /// Name in the header `x-bedrock-proxy-route`, in logs, metrics and `AWS_BEDROCK_ROUTE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Converse => "converse",
            Self::InvokeModel => "invoke",
            Self::Messages => "messages",
        }
    }
}

impl fmt::Display for UpstreamApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
