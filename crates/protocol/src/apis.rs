//! The APIs on both sides: those that clients speak, and those of Bedrock that requests are sent to.

use std::fmt;

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
