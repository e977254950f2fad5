//! Operations of the Bedrock Runtime, their paths, media types and headers.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-messages-api.html>

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::UpstreamError;
use super::endpoint::encode_segment;
use super::sign::BEDROCK_HEADER_PREFIX;

/// The media type of an event stream.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
/// The path of the Messages API, on the runtime and on the Mantle endpoint.
const MESSAGES_PATH: &str = "/anthropic/v1/messages";
/// The path that counts tokens; on Mantle only.
const MESSAGES_COUNT_PATH: &str = "/anthropic/v1/messages/count_tokens";
/// The service tier of InvokeModel; Converse has it in the body.
const SERVICE_TIER: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");
/// Every model takes the older version, and no endpoint rejects it.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// Prefix of AWS's own response headers.
const AWS_HEADER_PREFIX: &str = "x-amzn-";
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An operation of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Converse.
    Converse,
    /// ConverseStream.
    ConverseStream,
    /// InvokeModel.
    InvokeModel,
    /// InvokeModelWithResponseStream.
    InvokeModelWithResponseStream,
    /// CountTokens.
    CountTokens,
    /// The Messages API, which has its model in the body.
    Messages,
    /// The Messages API on the Mantle endpoint.
    MantleMessages,
    /// The Messages API without streaming.
    MessagesDocument,
    /// The Messages API on the Mantle endpoint without streaming.
    MantleMessagesDocument,
    /// Token counting of the Messages API on the Mantle endpoint.
    MantleCountTokens,
}

impl Operation {
    /// All operations that have their model in the path.
    pub(crate) const OF_A_MODEL: [Self; 5] = [
        Self::Converse,
        Self::ConverseStream,
        Self::InvokeModel,
        Self::InvokeModelWithResponseStream,
        Self::CountTokens,
    ];

    /// The upstream API as metrics and logs name it.
    #[must_use]
    pub(crate) fn api(self) -> &'static str {
        match self {
            Self::Converse | Self::ConverseStream => "converse",
            Self::InvokeModel | Self::InvokeModelWithResponseStream => "invoke",
            Self::Messages | Self::MantleMessages | Self::MessagesDocument | Self::MantleMessagesDocument => {
                "messages"
            }
            Self::CountTokens | Self::MantleCountTokens => "count_tokens",
        }
    }

    /// The last segment of the path.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Converse => "converse",
            Self::ConverseStream => "converse-stream",
            Self::InvokeModel => "invoke",
            Self::InvokeModelWithResponseStream => "invoke-with-response-stream",
            Self::CountTokens => "count-tokens",
            Self::Messages | Self::MantleMessages | Self::MessagesDocument | Self::MantleMessagesDocument => {
                "messages"
            }
            Self::MantleCountTokens => "count_tokens",
        }
    }

    /// The path for `model_id`, which becomes exactly one segment.
    pub(crate) fn path(self, model_id: &str) -> String {
        match self {
            Self::Messages | Self::MantleMessages | Self::MessagesDocument | Self::MantleMessagesDocument => {
                MESSAGES_PATH.to_owned()
            }
            Self::MantleCountTokens => MESSAGES_COUNT_PATH.to_owned(),
            _ => {
                let mut path = String::with_capacity(model_id.len() + 48);
                path.push_str("/model/");
                encode_segment(model_id, &mut path);
                path.push('/');
                path.push_str(self.name());
                path
            }
        }
    }

    /// The media type of a successful response.
    #[must_use]
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::ConverseStream | Self::InvokeModelWithResponseStream => EVENT_STREAM,
            Self::Messages | Self::MantleMessages => "text/event-stream",
            Self::Converse
            | Self::InvokeModel
            | Self::MessagesDocument
            | Self::MantleMessagesDocument
            | Self::CountTokens
            | Self::MantleCountTokens => "application/json",
        }
    }

    /// Whether the response is a stream of events.
    #[must_use]
    pub(crate) fn is_streamed(self) -> bool {
        matches!(
            self,
            Self::ConverseStream
                | Self::InvokeModelWithResponseStream
                | Self::Messages
                | Self::MantleMessages
        )
    }

    /// Whether the endpoint is Mantle's.
    pub(super) fn is_on_mantle(self) -> bool {
        matches!(self, Self::MantleMessages | Self::MantleMessagesDocument | Self::MantleCountTokens)
    }

    /// The headers of a request of our own: media types, service tier, `anthropic-version` and `anthropic-beta`.
    ///
    /// # Errors
    /// When a tier or a beta is not a header value.
    pub(crate) fn headers(
        self,
        service_tier: Option<&str>,
        betas: &[String],
    ) -> Result<HeaderMap, UpstreamError> {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, JSON);
        if self != Self::MantleCountTokens {
            headers.insert(header::ACCEPT, HeaderValue::from_static(self.media_type()));
        }
        if let Some(tier) = service_tier {
            headers.insert(SERVICE_TIER, tier.parse().map_err(UpstreamError::construction)?);
        }
        if self.api() == "messages" || self == Self::MantleCountTokens {
            headers.insert("anthropic-version", ANTHROPIC_VERSION);
            if !betas.is_empty() {
                let betas = HeaderValue::try_from(betas.join(",")).map_err(UpstreamError::construction)?;
                headers.insert("anthropic-beta", betas);
            }
        }
        Ok(headers)
    }
}

/// The headers of a client of the Bedrock API that are forwarded to AWS: media types and Bedrock's own.
pub(crate) fn forwarded_request_headers(headers: &HeaderMap) -> HeaderMap {
    filter_headers(headers, |name| {
        [header::CONTENT_TYPE, header::ACCEPT].contains(name)
            || name.as_str().starts_with(BEDROCK_HEADER_PREFIX)
    })
}

/// The headers of AWS that are forwarded to a client of the Bedrock API: the content type and AWS's own.
pub(crate) fn forwarded_response_headers(headers: &HeaderMap) -> HeaderMap {
    filter_headers(headers, |name| {
        *name == header::CONTENT_TYPE || name.as_str().starts_with(AWS_HEADER_PREFIX)
    })
}

fn filter_headers(headers: &HeaderMap, is_kept: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| is_kept(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}
