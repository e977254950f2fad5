//! AWS I/O: credentials, signatures, sending, retries, the control plane and STS.
//!
//! Reading order: `operation` (operations of the Bedrock Runtime), `target` (account, region and endpoint of a
//! request), `send` (one signed request), `retry` (the one retry policy), `error` (how a request can fail),
//! `credentials` (the cache) and `credential_monitor` (checks and renews them), `control` (models and inference
//! profiles), `sts` (identity and clock). Responses are returned as bytes: decoding them is `inference`'s.

mod chain_http;
mod control;
pub(crate) mod credential_monitor;
mod credentials;
mod endpoint;
mod error;
mod operation;
mod retry;
mod retry_budget;
mod send;
mod sign;
mod sts;
mod target;
mod xml;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
pub(crate) use control::{FoundationModel, InferenceProfile};
pub(crate) use credentials::{CredentialStatus, CredentialsError};
pub(crate) use error::{ServiceError, UpstreamError, attempt_outcome, request_id};
use http::{Request, Response};
use hyper::body::Incoming;
pub(crate) use operation::Operation;
pub(crate) use operation::{forwarded_request_headers, forwarded_response_headers};
pub(crate) use retry::{Attempts, Next, RetryPolicy};
pub(crate) use sign::BodyHash;
pub(crate) use target::Target;
use tokio::sync::SetOnce;

use crate::clock::Clock;
use crate::config;
pub(crate) use crate::http_client::ConnectionReuse;
use crate::http_client::HttpClientError;
use crate::ids::RequestId;
use crate::tasks::Tasks;
use credentials::CredentialCache;
use retry_budget::RetryBudget;
use target::Targets;

/// Time limit for the head of a response of the control plane or of STS, with retries. They respond within a second.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Bedrock in one region, with the credentials of one account.
#[derive(Debug)]
pub struct Bedrock {
    region: String,
    credentials: Arc<CredentialCache>,
    targets: Targets,
    retry_budget: Arc<RetryBudget>,
    /// The account of the credentials, once STS has named it.
    account: RwLock<Option<String>>,
    /// Whether the last request got no response.
    unreachable: AtomicBool,
    /// Set when the credentials were checked once.
    first_check: SetOnce<()>,
}

impl Bedrock {
    /// Prepares everything that needs no network. Credentials are looked up at the first request, by tasks that outlive
    /// requests.
    ///
    /// # Errors
    /// When there are no usable root certificates, or the endpoint is not a URL.
    pub(crate) fn new(
        config: &config::BedrockConfig,
        clock: &Clock,
        tasks: &Tasks,
    ) -> Result<Self, HttpClientError> {
        let credentials = Arc::new(CredentialCache::new(config, clock.clone(), tasks));
        let targets = Targets::new(config, &credentials, clock)?;
        Ok(Self {
            region: config.region.clone(),
            credentials,
            targets,
            retry_budget: Arc::default(),
            account: RwLock::default(),
            unreachable: AtomicBool::new(false),
            first_check: SetOnce::new(),
        })
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

    /// Waits until the credentials were checked once, with any result.
    pub(crate) async fn first_credential_check(&self) {
        self.first_check.wait().await;
    }

    /// Ends [`Bedrock::first_credential_check`].
    fn finish_first_credential_check(&self) {
        // Only the first call has an effect.
        let _ = self.first_check.set(());
    }

    /// Records whether AWS rejects the credentials, for `/readyz`.
    pub fn set_credentials_rejected(&self, rejected: bool) {
        self.credentials.set_rejected(rejected);
    }

    /// Whether `arn` names a resource of another account than that of the credentials, as far as that is known.
    #[must_use]
    pub(crate) fn is_foreign_account(&self, arn: &str) -> bool {
        let named = arn.split(':').nth(4).filter(|account| !account.is_empty());
        let own = self.account.read().unwrap_or_else(PoisonError::into_inner);
        named.is_some_and(|named| own.as_ref().is_some_and(|own| own != named))
    }

    /// Whether the last request got no response from AWS.
    #[must_use]
    pub(crate) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// Records the outcome of a request to `target`, after all its attempts: whether AWS responds, and whether it rejects the
    /// credentials. Only the configured region counts, as AWS rejects all credentials in a region that the account has not enabled, and clients
    /// name regions in ARNs.
    pub(crate) fn record_outcome(&self, target: &Target, error: Option<&UpstreamError>) {
        if target.host() != self.host() || target.region() != self.region {
            return;
        }
        let is_unreachable = error.is_some_and(UpstreamError::is_without_response);
        if is_unreachable != self.is_unreachable() {
            self.unreachable.store(is_unreachable, Ordering::Relaxed);
        }
        match error {
            None if self.credentials.has_rejection() => self.credentials.set_rejected(false),
            Some(error) if error.is_identity_error() => self.credentials.set_rejected(true),
            None | Some(_) => {}
        }
    }

    /// The attempts of one request, none yet.
    #[must_use]
    pub(crate) fn attempts(&self, policy: RetryPolicy, request_id: Option<&RequestId>) -> Attempts {
        Attempts::new(policy, request_id, &self.retry_budget)
    }

    /// Sends a request to the control plane or to STS, within a time limit.
    ///
    /// # Errors
    /// As [`Bedrock::send`]; when there is no response in time.
    async fn look_up(
        &self,
        target: &Target,
        request: &Request<Bytes>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let response = tokio::time::timeout(LOOKUP_TIMEOUT, self.send(target, request, None)).await;
        response.unwrap_or(Err(UpstreamError::Timeout))
    }

    /// Sends a request for which only a failed connection or rejected credentials may be retried: everything but
    /// inference.
    ///
    /// # Errors
    /// The last error, when no attempt got a response.
    pub(crate) async fn send(
        &self,
        target: &Target,
        request: &Request<Bytes>,
        body_hash: Option<&BodyHash>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut attempts = self.attempts(RetryPolicy::ConnectOnly, None);
        loop {
            let error = match target.send(request, body_hash, None, attempts.connection_reuse()).await {
                Ok(response) => {
                    attempts.succeeded();
                    return Ok(response);
                }
                Err(error) => error,
            };
            match attempts.next(&error, target.can_refresh(), None, &[]) {
                Next::Retry(delay) => tokio::time::sleep(delay).await,
                Next::RefreshCredentials if target.refresh_credentials().await? => {}
                Next::RefreshCredentials | Next::Fallback(_) | Next::GiveUp => return Err(error),
            }
        }
    }
}
