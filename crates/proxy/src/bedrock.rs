//! AWS I/O: credentials, signatures, sending, retries, the control plane and STS.
//!
//! Reading order: `operation` (operations of the Bedrock Runtime), `target` (account, region and endpoint of a
//! request), `send` (one signed request), `retry` (the one retry policy), `error` (how a request can fail),
//! `credentials` (the cache) and `credential_monitor` (checks and renews them), `control` (models and inference
//! profiles), `sts` (identity and clock). Responses are returned as bytes: decoding them is `inference`'s.

mod control;
pub(crate) mod credential_monitor;
mod credentials;
mod endpoint;
mod error;
mod operation;
mod retry;
mod send;
mod sign;
mod sts;
mod target;
mod xml;

use std::sync::Arc;
use std::time::SystemTime;

pub(crate) use control::{FoundationModel, InferenceProfile};
pub(crate) use credentials::{CredentialStatus, CredentialsError};
pub(crate) use error::{ServiceError, UpstreamError, attempt_outcome};
pub(crate) use operation::Operation;
pub(crate) use operation::{forwarded_request_headers, forwarded_response_headers};
pub(crate) use retry::{Attempts, Next, RetryPolicy};
pub(crate) use send::{SignedRequest, UpstreamResponse};
pub(crate) use target::Target;

use crate::clock::Clock;
use crate::config;
use crate::http_client::HttpClientError;
use credentials::CredentialCache;
use target::Targets;

/// Bedrock in one region, with the credentials of one account.
#[derive(Debug)]
pub struct Bedrock {
    region: String,
    credentials: Arc<CredentialCache>,
    targets: Targets,
}

impl Bedrock {
    /// Prepares everything that needs no network. Credentials are looked up at the first request.
    ///
    /// # Errors
    /// When there are no usable root certificates, or the endpoint is not a URL.
    pub(crate) fn new(config: &config::BedrockConfig, clock: &Clock) -> Result<Self, HttpClientError> {
        let credentials = Arc::new(CredentialCache::new(config, clock.clone()));
        let targets = Targets::new(config, &credentials, clock)?;
        Ok(Self { region: config.region.clone(), credentials, targets })
    }

    /// The configured region, which prices depend on.
    #[must_use]
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// The host of the runtime endpoint, for people to read.
    #[must_use]
    pub(crate) fn host(&self) -> &str {
        self.targets.runtime().host()
    }

    /// When the credentials in use expire, in seconds since the epoch; `None` for those that do not.
    #[must_use]
    pub(crate) fn credentials_expiry(&self) -> Option<i64> {
        let since = self.credentials.expiry()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    }

    /// Looks the credentials up, so that a missing role is reported before the first request.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) async fn preload_credentials(&self) -> Result<(), CredentialsError> {
        self.credentials.get().await.map(drop)
    }

    /// What is known of the credentials without a look-up.
    #[must_use]
    pub(crate) fn credential_status(&self) -> CredentialStatus {
        self.credentials.status()
    }

    /// Records whether AWS rejects the credentials, for `/readyz`.
    pub fn set_credentials_rejected(&self, rejected: bool) {
        self.credentials.set_rejected(rejected);
    }

    /// Sends a request for which only a failed connection or rejected credentials may be retried: everything but
    /// inference.
    ///
    /// # Errors
    /// The last error, when no attempt got a response.
    pub(crate) async fn send(
        &self,
        target: &Target,
        request: &SignedRequest,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let mut attempts = Attempts::new(RetryPolicy::ConnectOnly, None);
        loop {
            let error = match target.send(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match attempts.next(&error, target.can_refresh(), None, &[]) {
                Next::Retry(delay) => tokio::time::sleep(delay).await,
                Next::RefreshCredentials => target.refresh_credentials().await?,
                Next::Fallback(_) | Next::GiveUp => return Err(error),
            }
        }
    }
}
