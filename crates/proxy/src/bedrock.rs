//! The only room that talks to AWS: credentials, signature, sending, and retries while nothing was answered yet.
//!
//! It knows AWS's errors and nothing of what the client is told; it gives the bytes of a stream and does not read
//! them.

mod control;
mod count_tokens;
mod credentials;
mod endpoint;
mod exchange;
mod failure;
mod identity;
mod messages;
mod passthrough;
mod places;
mod retry;
mod sign;

use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;

pub use control::{FoundationModel, InferenceProfile};
pub use credentials::{Known, NoCredentials};
pub use failure::{Failure, Phase, Refusal, outcome};
pub use identity::CallerIdentity;
pub use passthrough::{Operation, Passage, Passed};
pub use retry::Attempts;

use crate::clock::Clock;
use crate::config;
use crate::http_client::{self, Client, HttpClientError};
use credentials::{CredentialCache, Identity};
use endpoint::Endpoint;
use places::{Place, Places};

/// The media type of an event stream.
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
const SERVICE_TIER: &str = "x-amzn-bedrock-service-tier";
const USER_AGENT: &str = concat!("bedrock-proxy/", env!("CARGO_PKG_VERSION"));

/// A Bedrock runtime in one region, with one account's credentials.
#[derive(Debug)]
pub struct Bedrock {
    endpoint: Endpoint,
    region: String,
    credentials: CredentialCache,
    client: Client,
    places: Places,
    clock: Clock,
}

/// What to ask which model. Cheap to clone: a retry sends the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// A model id or ARN, not yet encoded.
    pub model_id: String,
    /// The operation.
    pub operation: Operation,
    /// The body of the request.
    pub body: Bytes,
    /// `X-Amzn-Bedrock-Service-Tier`, for InvokeModel: Converse says it in the body.
    pub service_tier: Option<String>,
    /// `anthropic-beta`, for the Messages API: InvokeModel and Converse say it in the body.
    pub betas: Vec<String>,
}

/// A stream that has begun with status 200.
#[derive(Debug)]
pub struct Answer {
    /// Frames of `application/vnd.amazon.eventstream`.
    pub body: Incoming,
    /// `x-amzn-requestid`: what AWS support asks for.
    pub request_id: Option<String>,
}

/// The way to an answer.
struct Way<'a> {
    place: Place<'a>,
    client: &'a Client,
    uri: Uri,
}

impl Bedrock {
    /// Prepares everything that needs no network; credentials are looked up at the first request.
    ///
    /// # Errors
    /// When there are no usable root certificates, or the endpoint is not a URL.
    pub fn new(config: &config::BedrockConfig, clock: Clock) -> Result<Self, HttpClientError> {
        let endpoint = Endpoint::new(config).map_err(|error| HttpClientError::Endpoint(error.to_string()))?;
        let client = http_client::new(endpoint.is_https(), config.ca_bundle.as_deref())?;
        Ok(Self {
            places: Places::new(config, &endpoint, &client)?,
            client,
            endpoint,
            region: config.region.clone(),
            credentials: CredentialCache::new(config, clock.clone()),
            clock,
        })
    }

    /// The region that prices depend on.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where requests go, for people to read.
    #[must_use]
    pub fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// When the credentials expire that are in use, in seconds since the epoch; `None` for those that do not.
    #[must_use]
    pub fn credentials_expiry(&self) -> Option<i64> {
        let since = self.credentials.expiry()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    }

    /// Looks the credentials up, so that a missing role is known before the first request.
    ///
    /// # Errors
    /// When there are none.
    pub async fn warm_up(&self) -> Result<(), NoCredentials> {
        self.credentials.get().await.map(drop)
    }

    /// What is known of the credentials; asks nobody.
    #[must_use]
    pub fn known(&self) -> Known {
        self.credentials.known()
    }

    /// Asks, and asks again while `attempts` allow it and AWS says that it may help.
    ///
    /// # Errors
    /// The last failure, when none of the attempts began a stream.
    pub async fn stream(&self, question: &Question, attempts: &mut Attempts) -> Result<Answer, Failure> {
        let way = self.way(question)?;
        loop {
            let identity = self.credentials.get().await.inspect_err(|_| attempts.failed("credentials"))?;
            let failure = match self.send(&way, question, &identity).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            attempts.failed(failure.outcome());
            attempts.tell(&failure);
            if failure.blames_credentials() && self.credentials.can_refresh() && attempts.refresh() {
                tracing::warn!(%failure, "AWS refused the credentials; fetching new ones");
                self.credentials.replace(&identity).await?;
            } else if !(failure.is_retryable() && attempts.again().await) {
                return Err(failure);
            }
        }
    }

    fn way(&self, question: &Question) -> Result<Way<'_>, Failure> {
        let (place, client) = match question.operation {
            Operation::MantleMessages => self.mantle()?,
            _ => (self.place(&question.model_id), &self.client),
        };
        let uri = match question.operation {
            Operation::Messages | Operation::MantleMessages => place.endpoint.url(messages::PATH),
            operation => place.endpoint.model(&question.model_id, operation.path()),
        };
        Ok(Way { uri: uri.map_err(Failure::unsendable)?, place, client })
    }

    async fn send(
        &self,
        Way { place, client, uri }: &Way<'_>,
        question: &Question,
        identity: &Identity,
    ) -> Result<Answer, Failure> {
        let mut request = Request::post(uri.clone())
            .header(header::HOST, place.endpoint.host())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, question.operation.media_type())
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(question.body.clone()))
            .map_err(Failure::unsendable)?;
        if let Some(tier) = &question.service_tier {
            let tier = tier.parse().map_err(Failure::unsendable)?;
            request.headers_mut().insert(SERVICE_TIER, tier);
        }
        if matches!(question.operation, Operation::Messages | Operation::MantleMessages) {
            messages::add_headers(request.headers_mut(), &question.betas)?;
        }
        sign::authorize(&mut request, &question.body, identity, place.scope(), self.clock.now())
            .map_err(Failure::unsendable)?;
        let sent = client.request(request).await;
        let (head, body) =
            sent.map_err(|error| Failure::unreachable(place.endpoint.host(), &error))?.into_parts();
        if head.status != StatusCode::OK {
            return Err(failure::refused(&head, body).await);
        }
        let content_type = failure::text_header(&head, header::CONTENT_TYPE.as_str());
        let expected = question.operation.media_type();
        if content_type.as_deref().is_none_or(|value| !value.starts_with(expected)) {
            return Err(failure::not_a_stream(&head, body).await);
        }
        Ok(Answer { body, request_id: failure::text_header(&head, failure::REQUEST_ID) })
    }
}
