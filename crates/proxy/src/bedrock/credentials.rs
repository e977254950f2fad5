//! The cache of AWS credentials.
//!
//! Order: keys given by name, a Bedrock API key, then the usual chain (environment, profile, SSO, web identity,
//! container and instance roles). The chain itself calls its source every time, so the cache is ours: refreshed
//! before expiry by a task of its own, while requests go on with what they have until it expires.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::chain_http::{ChainHttpClient, LastRequest};
use crate::clock::Clock;
use crate::config;
use crate::error_text::with_causes;
use crate::secret::Secret;
use crate::single_flight::{FlightError, FlightLimits, SingleFlight};
use crate::tasks::Tasks;

/// Refresh this long before expiry, as the AWS SDKs do.
const REFRESH_BUFFER: Duration = Duration::from_secs(300);
/// Pause between two attempts at an early refresh: the old credentials are still valid.
const RETRY_DELAY: Duration = Duration::from_secs(20);
/// Minimum time between two look-ups that rejections cause: AWS also rejects good credentials, in regions that the account
/// has not enabled, and clients name regions in ARNs.
const MIN_RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit of the chain: the instance metadata service retries within it, and every request may have to wait.
const CHAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds of a look-up. The time limit of the chain comes first, as its error names the service.
const LOAD_LIMITS: FlightLimits = FlightLimits {
    timeout: Duration::from_secs(11),
    max_attempts: 1,
    max_attempts_per_owner: 1,
    max_waiters: 10_000,
};

/// The source has no other credentials than those that AWS rejects.
const STILL_REJECTED: &str = "their source returned those that AWS rejects";

/// What a request is signed with.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    /// AWS keys, for SigV4.
    Keys(aws_credential_types::Credentials),
    /// A Bedrock API key.
    Bearer(Secret),
}

/// What is known of the credentials without a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialStatus {
    /// No look-up has ended yet.
    Unknown,
    /// None, or expired ones that could not be replaced.
    Missing,
    /// AWS rejects them.
    Rejected,
    /// A Bedrock API key.
    ApiKey,
    /// AWS keys, with their expiry.
    Keys(Option<SystemTime>),
}

/// The credential chain has no credentials. The text is the chain's own and holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no AWS credentials: {0}")]
pub(crate) struct CredentialsError(String);

impl From<FlightError> for CredentialsError {
    fn from(error: FlightError) -> Self {
        Self(match error {
            FlightError::TimedOut => format!("no response within {} s", LOAD_LIMITS.timeout.as_secs()),
            error => error.to_string(),
        })
    }
}

/// The cache and its source.
#[derive(Debug)]
pub(super) struct CredentialCache {
    source: Source,
    clock: Clock,
    current: RwLock<Option<Cached>>,
    loads: SingleFlight<(), Arc<Credentials>, CredentialsError>,
    /// When a rejection caused a look-up.
    reloaded_at: Mutex<Option<Instant>>,
    /// Whether the last look-up that was waited for failed.
    failed: AtomicBool,
    /// Whether AWS rejects the credentials.
    rejected: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Fixed(Arc<Credentials>),
    Chain(Chain),
}

/// The credential chain. Each of its parts reads its file or its settings once, so it is built anew after a failure and
/// after a rejection: the file may have been renewed.
struct Chain {
    build: Box<dyn Fn(LastRequest) -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync>,
    built: Mutex<Option<SharedCredentialsProvider>>,
    last_request: LastRequest,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("built", &self.built).finish_non_exhaustive()
    }
}

impl Chain {
    fn new(
        build: impl Fn(LastRequest) -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync + 'static,
    ) -> Self {
        Self { build: Box::new(build), built: Mutex::default(), last_request: LastRequest::default() }
    }

    /// The chain as it was built last, which is forgotten until it is [kept](Self::keep).
    async fn take(&self) -> SharedCredentialsProvider {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner).take();
        match built {
            Some(built) => built,
            None => (self.build)(self.last_request.clone()).await,
        }
    }

    /// Keys of `provider`, or an error that names the last service.
    async fn load(
        &self,
        provider: &SharedCredentialsProvider,
    ) -> Result<aws_credential_types::Credentials, CredentialsError> {
        self.last_request.clear();
        let error = match tokio::time::timeout(CHAIN_TIMEOUT, provider.provide_credentials()).await {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no response within {} s", CHAIN_TIMEOUT.as_secs()),
        };
        Err(CredentialsError(self.last_request.explain(error)))
    }

    fn keep(&self, chain: Option<SharedCredentialsProvider>) {
        *self.built.lock().unwrap_or_else(PoisonError::into_inner) = chain;
    }
}

#[derive(Clone, Debug)]
struct Cached {
    credentials: Arc<Credentials>,
    /// Whether AWS rejected them.
    is_rejected: bool,
    refresh_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

impl CredentialCache {
    /// A cache over what the configuration names, or else over the default chain, which is built at first use.
    pub(super) fn new(config: &config::BedrockConfig, clock: Clock, tasks: &Tasks) -> Self {
        let source = match (&config.keys, &config.bearer) {
            (Some(keys), _) => {
                Source::Fixed(Arc::new(Credentials::Keys(aws_credential_types::Credentials::new(
                    &keys.access_key,
                    keys.secret_key.expose(),
                    keys.session_token.as_ref().map(|token| token.expose().to_owned()),
                    None,
                    "configuration",
                ))))
            }
            (None, Some(token)) => Source::Fixed(Arc::new(Credentials::Bearer(token.clone()))),
            (None, None) => {
                let (region, ca_bundle) = (config.region.clone(), config.ca_bundle.clone());
                Source::Chain(Chain::new(move |last_request| {
                    Box::pin(default_chain(region.clone(), ca_bundle.clone(), last_request))
                }))
            }
        };
        Self::of(source, clock, tasks)
    }

    fn of(source: Source, clock: Clock, tasks: &Tasks) -> Self {
        Self {
            source,
            clock,
            current: RwLock::new(None),
            loads: SingleFlight::new("aws_credentials", LOAD_LIMITS, tasks),
            reloaded_at: Mutex::default(),
            failed: AtomicBool::new(false),
            rejected: AtomicBool::new(false),
        }
    }

    /// Whether rejected credentials can be replaced.
    pub(super) fn can_refresh(&self) -> bool {
        matches!(self.source, Source::Chain(_))
    }

    /// Whether the credentials are a Bedrock API key.
    pub(super) fn is_api_key(&self) -> bool {
        matches!(&self.source, Source::Fixed(credentials) if matches!(**credentials, Credentials::Bearer(_)))
    }

    /// When the credentials in use expire.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.expires_at
    }

    /// What is known without a look-up.
    pub(super) fn status(&self) -> CredentialStatus {
        if self.has_rejection() {
            return CredentialStatus::Rejected;
        }
        match &self.source {
            Source::Fixed(credentials) => match &**credentials {
                Credentials::Bearer(_) => CredentialStatus::ApiKey,
                Credentials::Keys(keys) => CredentialStatus::Keys(keys.expiry()),
            },
            Source::Chain(_) => match self.usable(self.clock.now()) {
                Some(entry) => CredentialStatus::Keys(entry.expires_at),
                None if self.failed.load(Ordering::Relaxed) => CredentialStatus::Missing,
                None => CredentialStatus::Unknown,
            },
        }
    }

    /// The credentials to sign with now.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Arc<Credentials>, CredentialsError> {
        if let Source::Fixed(credentials) = &self.source {
            return Ok(Arc::clone(credentials));
        }
        let now = self.clock.now();
        let Some(entry) = self.usable(now) else { return self.load().await };
        if entry.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_early(now);
        }
        Ok(entry.credentials)
    }

    /// Marks `credentials` as rejected by AWS, unless they were replaced meanwhile.
    pub(super) fn mark_rejected(&self, credentials: &Arc<Credentials>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = current.as_mut().filter(|cached| Arc::ptr_eq(&cached.credentials, credentials))
        {
            cached.is_rejected = true;
        }
    }

    /// Replaces rejected credentials, unless another request has done so already. Returns whether there are others.
    pub(super) async fn refresh_rejected(self: &Arc<Self>) -> Result<bool, CredentialsError> {
        let Source::Chain(chain) = &self.source else { return Ok(false) };
        match self.usable(self.clock.now()) {
            Some(cached) if !cached.is_rejected => Ok(true),
            _ if !self.may_reload() => Ok(false),
            _ => {
                chain.keep(None);
                match self.load().await {
                    Ok(_) => Ok(true),
                    Err(error) if error.0 == STILL_REJECTED => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Whether a rejection may cause a look-up now, or join the one that it has caused.
    fn may_reload(&self) -> bool {
        let mut reloaded_at = self.reloaded_at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.loads.is_in_flight(&()) {
            return true;
        }
        if reloaded_at.is_some_and(|at| at.elapsed() < MIN_RELOAD_INTERVAL) {
            return false;
        }
        *reloaded_at = Some(Instant::now());
        true
    }

    /// Records whether AWS rejects the credentials.
    pub(super) fn set_rejected(&self, rejected: bool) {
        self.rejected.store(rejected, Ordering::Relaxed);
    }

    /// Whether AWS rejects the credentials, as the monitor or a request has found.
    pub(super) fn has_rejection(&self) -> bool {
        self.rejected.load(Ordering::Relaxed)
    }

    fn usable(&self, now: SystemTime) -> Option<Cached> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|entry| entry.expires_at.is_none_or(|at| now < at)).cloned()
    }

    /// Begins a refresh that no request waits for. Until it succeeds, and if it fails, the old credentials are used.
    fn refresh_early(self: &Arc<Self>, now: SystemTime) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = current.as_mut() {
            entry.refresh_at = Some(now + RETRY_DELAY);
        }
        drop(current);
        let cache = Arc::clone(self);
        self.loads.start(&(), || async move {
            cache.fetch().await.inspect_err(|error| {
                tracing::warn!(%error, "early refresh of the AWS credentials failed; the old ones are still valid");
            })
        });
    }

    async fn load(self: &Arc<Self>) -> Result<Arc<Credentials>, CredentialsError> {
        let cache = Arc::clone(self);
        let loaded = self.loads.run((), None, || async move { cache.fetch().await }).await;
        self.failed.store(loaded.is_err(), Ordering::Relaxed);
        loaded
    }

    async fn fetch(&self) -> Result<Arc<Credentials>, CredentialsError> {
        let Source::Chain(chain) = &self.source else {
            return Err(CredentialsError("fixed credentials are not loaded".to_owned()));
        };
        let in_use = self.usable(self.clock.now());
        if in_use.is_none() {
            // The part for instances returns its expired keys again when the metadata service fails, instead of the error.
            chain.keep(None);
        }
        let provider = chain.take().await;
        let credentials = chain.load(&provider).await?;
        let (now, expires_at) = (self.clock.now(), credentials.expiry());
        if expires_at.is_some_and(|at| at <= now) {
            let error = "their source returned credentials that have expired".to_owned();
            return Err(CredentialsError(chain.last_request.explain(error)));
        }
        if self.is_rejected(&credentials) {
            return Err(CredentialsError(STILL_REJECTED.to_owned()));
        }
        chain.keep(Some(provider));
        let refresh_at = expires_at.map(|at| match &in_use {
            Some(old) if old.expires_at == expires_at => {
                let expires_in_s = at.duration_since(now).unwrap_or_default().as_secs();
                tracing::info!(expires_in_s, "the source of the AWS credentials has no newer ones yet");
                now + RETRY_DELAY
            }
            _ => refresh_time(now, at),
        });
        let entry = Cached {
            is_rejected: false,
            credentials: Arc::new(Credentials::Keys(credentials)),
            refresh_at,
            expires_at,
        };
        let credentials = Arc::clone(&entry.credentials);
        self.set(entry);
        Ok(credentials)
    }

    /// Whether AWS has rejected `credentials`, which are in use.
    fn is_rejected(&self, credentials: &aws_credential_types::Credentials) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let rejected = current.as_ref().filter(|entry| entry.is_rejected);
        rejected.is_some_and(|entry| match &*entry.credentials {
            Credentials::Keys(keys) => have_same_secrets(keys, credentials),
            Credentials::Bearer(_) => false,
        })
    }

    fn set(&self, entry: Cached) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(entry);
    }
}

/// Five minutes before expiry, or at half time for credentials that live shorter than ten.
fn refresh_time(now: SystemTime, expires_at: SystemTime) -> SystemTime {
    let life = expires_at.duration_since(now).unwrap_or_default();
    now + life.saturating_sub(REFRESH_BUFFER.min(life / 2))
}

/// Whether two keys sign alike. Their expiry may differ: the part for instances extends that of expired keys.
fn have_same_secrets(
    one: &aws_credential_types::Credentials,
    other: &aws_credential_types::Credentials,
) -> bool {
    one.access_key_id() == other.access_key_id()
        && one.secret_access_key() == other.secret_access_key()
        && one.session_token() == other.session_token()
}

/// The chain's error with its causes, without a response of the metadata service, which may hold keys.
fn describe(error: &aws_credential_types::provider::error::CredentialsError) -> String {
    let text = with_causes(error);
    text.split(". Response {").next().unwrap_or_default().to_owned()
}

async fn default_chain(
    region: String,
    ca_bundle: Option<PathBuf>,
    last_request: LastRequest,
) -> SharedCredentialsProvider {
    let region = aws_config::Region::new(region);
    let mut config = ProviderConfig::without_region();
    if let Some(client) = ChainHttpClient::new(ca_bundle.as_deref(), last_request) {
        config = config.with_http_client(client);
    }
    let chain = DefaultCredentialsChain::builder().configure(config).region(region);
    SharedCredentialsProvider::new(chain.build().await)
}

#[cfg(test)]
mod tests;
