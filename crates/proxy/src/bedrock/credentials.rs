//! The cache of AWS credentials.
//!
//! Order: keys given by name, a Bedrock API key, then the usual chain (environment, profile, SSO, web identity,
//! container and instance roles). The chain itself calls its source every time, so the cache is ours: refreshed
//! before expiry by one request at a time, while the others go on with what they have until it expires.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::{Mutex, OnceCell};

use crate::clock::Clock;
use crate::config;
use crate::secret::Secret;

/// Refresh this long before expiry, as the AWS SDKs do.
const REFRESH_BUFFER: Duration = Duration::from_secs(300);
/// Pause after a failed early refresh: the old credentials are still valid.
const RETRY_DELAY: Duration = Duration::from_secs(20);
/// Time limit of one look-up: the instance metadata service retries within it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The cache and its source.
#[derive(Debug)]
pub(super) struct CredentialCache {
    source: Source,
    clock: Clock,
    current: RwLock<Option<Cached>>,
    refreshing: Mutex<()>,
    /// Whether the last look-up failed.
    failed: AtomicBool,
    /// Whether AWS rejects the credentials.
    rejected: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Fixed(Arc<Credentials>),
    Chain { region: String, provider: OnceCell<SharedCredentialsProvider> },
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
    pub(super) fn new(config: &config::BedrockConfig, clock: Clock) -> Self {
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
            (None, None) => Source::Chain { region: config.region.clone(), provider: OnceCell::new() },
        };
        Self::of(source, clock)
    }

    fn of(source: Source, clock: Clock) -> Self {
        let (current, refreshing) = (RwLock::new(None), Mutex::new(()));
        Self {
            source,
            clock,
            current,
            refreshing,
            failed: AtomicBool::new(false),
            rejected: AtomicBool::new(false),
        }
    }

    /// A cache over any provider.
    #[cfg(test)]
    fn over(provider: impl ProvideCredentials + 'static, clock: Clock) -> Self {
        let provider = OnceCell::new_with(Some(SharedCredentialsProvider::new(provider)));
        Self::of(Source::Chain { region: "us-east-1".to_owned(), provider }, clock)
    }

    /// Whether rejected credentials can be replaced.
    pub(super) fn can_refresh(&self) -> bool {
        matches!(self.source, Source::Chain { .. })
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
        if self.rejected.load(Ordering::Relaxed) {
            return CredentialStatus::Rejected;
        }
        match &self.source {
            Source::Fixed(credentials) => match &**credentials {
                Credentials::Bearer(_) => CredentialStatus::ApiKey,
                Credentials::Keys(keys) => CredentialStatus::Keys(keys.expiry()),
            },
            Source::Chain { .. } => match self.usable(self.clock.now()) {
                Some(entry) => CredentialStatus::Keys(entry.expires_at),
                None if self.failed.load(Ordering::Relaxed) => CredentialStatus::Missing,
                None => CredentialStatus::Unknown,
            },
        }
    }

    /// The credentials to sign with now.
    pub(super) async fn get(&self) -> Result<Arc<Credentials>, CredentialsError> {
        if let Source::Fixed(credentials) = &self.source {
            return Ok(Arc::clone(credentials));
        }
        let now = self.clock.now();
        match self.usable(now) {
            Some(entry) if entry.refresh_at.is_none_or(|at| now < at) => Ok(entry.credentials),
            Some(entry) => Ok(self.refresh_early(entry).await),
            None => {
                let _single_flight = self.refreshing.lock().await;
                match self.usable(self.clock.now()) {
                    Some(entry) => Ok(entry.credentials),
                    None => self.load().await,
                }
            }
        }
    }

    /// Marks `credentials` as rejected by AWS, unless they were replaced meanwhile.
    pub(super) fn mark_rejected(&self, credentials: &Arc<Credentials>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = current.as_mut().filter(|cached| Arc::ptr_eq(&cached.credentials, credentials))
        {
            cached.is_rejected = true;
        }
    }

    /// Fresh credentials in place of rejected ones; those that another request has fetched already.
    pub(super) async fn refresh_rejected(&self) -> Result<Arc<Credentials>, CredentialsError> {
        if let Source::Fixed(credentials) = &self.source {
            return Ok(Arc::clone(credentials));
        }
        let _single_flight = self.refreshing.lock().await;
        match self.usable(self.clock.now()) {
            Some(cached) if !cached.is_rejected => Ok(cached.credentials),
            _ => self.load().await,
        }
    }

    /// Whether AWS rejects the credentials, as the monitor has found.
    pub(super) fn set_rejected(&self, rejected: bool) {
        self.rejected.store(rejected, Ordering::Relaxed);
    }

    fn usable(&self, now: SystemTime) -> Option<Cached> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|entry| entry.expires_at.is_none_or(|at| now < at)).cloned()
    }

    /// One request refreshes; those that find it busy, and all if it fails, keep the old ones.
    async fn refresh_early(&self, old: Cached) -> Arc<Credentials> {
        let Ok(_single_flight) = self.refreshing.try_lock() else {
            return old.credentials;
        };
        match self.load().await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, "early refresh of the AWS credentials failed; the old ones are still valid");
                let refresh_at = Some(self.clock.now() + RETRY_DELAY);
                let credentials = Arc::clone(&old.credentials);
                self.set(Cached { refresh_at, ..old });
                credentials
            }
        }
    }

    async fn load(&self) -> Result<Arc<Credentials>, CredentialsError> {
        // Boxed: a large and rare future, which the future of every request would have room for.
        let loaded = Box::pin(self.fetch()).await;
        self.failed.store(loaded.is_err(), Ordering::Relaxed);
        loaded
    }

    async fn fetch(&self) -> Result<Arc<Credentials>, CredentialsError> {
        let Source::Chain { region, provider } = &self.source else {
            return Err(CredentialsError("fixed credentials are not loaded".to_owned()));
        };
        let load = async {
            let provider = provider.get_or_init(|| default_chain(region.clone())).await;
            provider.provide_credentials().await
        };
        let credentials = match tokio::time::timeout(LOAD_TIMEOUT, load).await {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(error)) => return Err(CredentialsError(with_causes(&error))),
            Err(_) => {
                return Err(CredentialsError(format!("no response within {} s", LOAD_TIMEOUT.as_secs())));
            }
        };
        let expires_at = credentials.expiry();
        let entry = Cached {
            is_rejected: false,
            credentials: Arc::new(Credentials::Keys(credentials)),
            refresh_at: expires_at.map(|at| refresh_time(self.clock.now(), at)),
            expires_at,
        };
        let credentials = Arc::clone(&entry.credentials);
        self.set(entry);
        Ok(credentials)
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

async fn default_chain(region: String) -> SharedCredentialsProvider {
    let region = aws_config::Region::new(region);
    let chain = aws_config::default_provider::credentials::DefaultCredentialsChain::builder().region(region);
    SharedCredentialsProvider::new(chain.build().await)
}

/// An error and what caused it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;

    use super::*;

    /// Provides keys that are valid for an hour and counts its calls; fails while `fails` is set.
    #[derive(Clone, Debug)]
    struct Counting {
        clock: Clock,
        calls: Arc<AtomicUsize>,
        fails: Arc<AtomicBool>,
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            let expiry = Some(self.clock.now() + Duration::from_secs(3600));
            let failing = self.fails.load(Ordering::SeqCst);
            let clock = self.clock.clone();
            future::ProvideCredentials::new(async move {
                tokio::task::yield_now().await;
                let _ = clock;
                if failing {
                    return Err(CredentialsError::not_loaded("test"));
                }
                Ok(aws_credential_types::Credentials::new(
                    format!("AKID{call}"),
                    "secret",
                    None,
                    expiry,
                    "test",
                ))
            })
        }
    }

    fn cache() -> (CredentialCache, Counting) {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let counting = Counting { clock: clock.clone(), calls: Arc::default(), fails: Arc::default() };
        (CredentialCache::over(counting.clone(), clock), counting)
    }

    fn key(credentials: &Credentials) -> String {
        match credentials {
            Credentials::Keys(keys) => keys.access_key_id().to_owned(),
            Credentials::Bearer(_) => "bearer".to_owned(),
        }
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_look_up() {
        let (cache, source) = cache();
        let all = futures_util::future::join_all((0..50).map(|_| cache.get())).await;
        assert!(all.into_iter().all(|credentials| key(&credentials.unwrap()) == "AKID1"));
        assert_eq!(source.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn one_request_refreshes_credentials_before_expiry() {
        let (cache, source) = cache();
        cache.get().await.unwrap();
        source.clock.advance(Duration::from_secs(3299));
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        source.clock.advance(Duration::from_secs(2));
        let both = tokio::join!(cache.get(), cache.get());
        assert_eq!((key(&both.0.unwrap()), key(&both.1.unwrap())), ("AKID2".to_owned(), "AKID1".to_owned()));
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn old_credentials_serve_when_a_refresh_fails() {
        let (cache, source) = cache();
        cache.get().await.unwrap();
        source.fails.store(true, Ordering::SeqCst);
        source.clock.advance(Duration::from_secs(3400));
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        assert_eq!(source.calls.load(Ordering::SeqCst), 2, "a failed refresh is not repeated at once");
        source.clock.advance(Duration::from_secs(300));
        assert!(
            matches!(cache.status(), CredentialStatus::Missing),
            "they have expired, and there are no others"
        );
        assert!(cache.get().await.unwrap_err().to_string().contains("no AWS credentials"));
    }

    #[tokio::test]
    async fn status_needs_no_look_up() {
        let (cache, source) = cache();
        assert_eq!(cache.status(), CredentialStatus::Unknown);
        source.fails.store(true, Ordering::SeqCst);
        assert!(cache.get().await.is_err());
        assert_eq!(cache.status(), CredentialStatus::Missing);
        source.fails.store(false, Ordering::SeqCst);
        cache.get().await.unwrap();
        let end = source.clock.now() + Duration::from_secs(3600);
        assert_eq!(cache.status(), CredentialStatus::Keys(Some(end)));
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn rejected_credentials_are_replaced_once() {
        let (cache, source) = cache();
        let rejected = cache.get().await.unwrap();
        cache.mark_rejected(&rejected);
        let both = tokio::join!(cache.refresh_rejected(), cache.refresh_rejected());
        assert_eq!((key(&both.0.unwrap()), key(&both.1.unwrap())), ("AKID2".to_owned(), "AKID2".to_owned()));
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn configured_keys_win_over_a_bearer_token() {
        let pairs = [
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDNAMED"),
            ("AWS_BEDROCK_SECRET_KEY", "secret"),
            ("AWS_BEARER_TOKEN_BEDROCK", "ABSK"),
        ];
        let source = |pairs: &[(&str, &str)]| {
            let lookup = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
            let config = config::Config::load(lookup).unwrap();
            match CredentialCache::new(&config.bedrock, Clock::machine()).source {
                Source::Fixed(credentials) => key(&credentials),
                Source::Chain { .. } => "chain".to_owned(),
            }
        };
        assert_eq!(source(&pairs), "AKIDNAMED");
        assert_eq!(source(&pairs[2..]), "bearer");
        assert_eq!(source(&[]), "chain");
    }
}
