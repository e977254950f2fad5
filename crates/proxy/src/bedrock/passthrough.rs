//! Bedrock's own operations, asked by a client that speaks Bedrock: its bytes in, AWS's bytes out.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::sign::BEDROCK_HEADERS;
use super::{Attempts, Bedrock, Failure};

/// How the names of the headers that AWS answers with begin.
const AWS_HEADERS: &str = "x-amzn-";

/// An operation of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Converse.
    Converse,
    /// ConverseStream.
    ConverseStream,
    /// InvokeModel.
    Invoke,
    /// InvokeModelWithResponseStream.
    InvokeStream,
    /// CountTokens.
    CountTokens,
    /// The Messages API, which names its model in the body.
    Messages,
    /// The same on the Mantle endpoint.
    MantleMessages,
}

impl Operation {
    /// All that name their model in the path.
    pub const OF_A_MODEL: [Self; 5] =
        [Self::Converse, Self::ConverseStream, Self::Invoke, Self::InvokeStream, Self::CountTokens];

    /// Which of Bedrock's languages it speaks, for counting.
    #[must_use]
    pub fn api(self) -> &'static str {
        match self {
            Self::Converse | Self::ConverseStream => "converse",
            Self::Invoke | Self::InvokeStream => "invoke",
            Self::Messages | Self::MantleMessages => "messages",
            Self::CountTokens => "count_tokens",
        }
    }

    /// The last segment of its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Converse => "converse",
            Self::ConverseStream => "converse-stream",
            Self::Invoke => "invoke",
            Self::InvokeStream => "invoke-with-response-stream",
            Self::CountTokens => "count-tokens",
            Self::Messages | Self::MantleMessages => "messages",
        }
    }

    /// What it answers with.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::ConverseStream | Self::InvokeStream => super::EVENT_STREAM,
            Self::Messages | Self::MantleMessages => "text/event-stream",
            Self::Converse | Self::Invoke | Self::CountTokens => "application/json",
        }
    }

    /// Whether it answers piece by piece.
    #[must_use]
    pub fn streams(self) -> bool {
        !matches!(self, Self::Converse | Self::Invoke | Self::CountTokens)
    }
}

/// What a client asks in Bedrock's own language.
#[derive(Debug)]
pub struct Passage {
    /// A model id or ARN, not yet encoded.
    pub model_id: String,
    /// What is asked.
    pub operation: Operation,
    /// The client's headers; those that mean something to the operation are passed on.
    pub headers: HeaderMap,
    /// The client's body, which is not looked into.
    pub body: Bytes,
}

/// AWS's answer, not looked into.
#[derive(Debug)]
pub struct Passed {
    /// Its status; a success.
    pub status: StatusCode,
    /// Its content type, and AWS's own headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Incoming,
}

impl From<Response<Incoming>> for Passed {
    fn from(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let passes =
            |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with(AWS_HEADERS);
        Self { status: head.status, headers: only(&head.headers, passes), body }
    }
}

impl Bedrock {
    /// Asks, and asks again only when nobody was reached.
    ///
    /// # Errors
    /// When AWS refuses, or there is no answer.
    pub async fn pass(&self, passage: Passage, attempts: &mut Attempts) -> Result<Passed, Failure> {
        let place = self.place(&passage.model_id);
        let uri = place.endpoint.model(&passage.model_id, passage.operation.path());
        let passes = |name: &HeaderName| {
            [header::CONTENT_TYPE, header::ACCEPT].contains(name)
                || name.as_str().starts_with(BEDROCK_HEADERS)
        };
        let exchange = Exchange {
            place: &place,
            client: &self.client,
            method: Method::POST,
            uri: uri.map_err(Failure::unsendable)?,
            headers: &only(&passage.headers, passes),
            body: passage.body,
        };
        self.exchange(&exchange, attempts).await.map(Passed::from)
    }
}

fn only(headers: &HeaderMap, passes: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| passes(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}
