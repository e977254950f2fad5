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

use super::chain_http::ChainHttpClient;
use crate::clock::Clock;
use crate::config;
use crate::http_client::with_causes;
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
/// Bounds of a look-up: the instance metadata service retries within its time, and every request may have to wait.
const LOAD_LIMITS: FlightLimits = FlightLimits {
    timeout: Duration::from_secs(10),
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
    build: Box<dyn Fn() -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync>,
    built: Mutex<Option<SharedCredentialsProvider>>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("built", &self.built).finish_non_exhaustive()
    }
}

impl Chain {
    fn new(
        build: impl Fn() -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync + 'static,
    ) -> Self {
        Self { build: Box::new(build), built: Mutex::default() }
    }

    /// The chain as it was built last, which is forgotten until it is [kept](Self::keep).
    async fn take(&self) -> SharedCredentialsProvider {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner).take();
        match built {
            Some(built) => built,
            None => (self.build)().await,
        }
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
                Source::Chain(Chain::new(move || Box::pin(default_chain(region.clone(), ca_bundle.clone()))))
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
        let provider = chain.take().await;
        let loaded = provider.provide_credentials().await;
        let credentials = loaded.map_err(|error| CredentialsError(with_causes(&error)))?;
        let (now, expires_at) = (self.clock.now(), credentials.expiry());
        if expires_at.is_some_and(|at| at <= now) {
            return Err(CredentialsError("their source returned credentials that have expired".to_owned()));
        }
        if self.is_rejected(&credentials) {
            return Err(CredentialsError(STILL_REJECTED.to_owned()));
        }
        chain.keep(Some(provider));
        let entry = Cached {
            is_rejected: false,
            credentials: Arc::new(Credentials::Keys(credentials)),
            refresh_at: expires_at.map(|at| refresh_time(now, at)),
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
            Credentials::Keys(keys) => keys == credentials,
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

async fn default_chain(region: String, ca_bundle: Option<PathBuf>) -> SharedCredentialsProvider {
    let region = aws_config::Region::new(region);
    let mut config = ProviderConfig::without_region();
    if let Some(client) = ChainHttpClient::new(ca_bundle.as_deref()) {
        config = config.with_http_client(client);
    }
    let chain = DefaultCredentialsChain::builder().configure(config).region(region);
    SharedCredentialsProvider::new(chain.build().await)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;

    use super::*;

    /// Provides keys that are valid for an hour, and counts its calls.
    #[derive(Clone, Debug)]
    struct Counting {
        clock: Clock,
        builds: Arc<AtomicUsize>,
        calls: Arc<AtomicUsize>,
        behavior: Arc<Mutex<Behavior>>,
    }

    /// What the source does.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    enum Behavior {
        /// Other keys each time.
        #[default]
        Renews,
        /// The same keys each time.
        Repeats,
        Fails,
        Hangs,
        ReturnsExpired,
    }

    impl Default for Counting {
        fn default() -> Self {
            let clock = Clock::machine();
            Self { clock, builds: Arc::default(), calls: Arc::default(), behavior: Arc::default() }
        }
    }

    impl Counting {
        fn set(&self, behavior: Behavior) {
            *self.behavior.lock().unwrap() = behavior;
        }
    }

    impl ProvideCredentials for Counting {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
            let behavior = *self.behavior.lock().unwrap();
            let now = self.clock.now();
            future::ProvideCredentials::new(async move {
                tokio::task::yield_now().await;
                let (key, life) = match behavior {
                    Behavior::Renews => (format!("AKID{call}"), Duration::from_secs(3600)),
                    Behavior::Repeats => ("AKIDSAME".to_owned(), Duration::from_secs(3600)),
                    Behavior::ReturnsExpired => ("AKIDOLD".to_owned(), Duration::ZERO),
                    Behavior::Fails => return Err(CredentialsError::not_loaded("test")),
                    Behavior::Hangs => std::future::pending().await,
                };
                Ok(aws_credential_types::Credentials::new(key, "secret", None, Some(now + life), "test"))
            })
        }
    }

    fn cache() -> (Arc<CredentialCache>, Counting) {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let source = Counting { clock, ..Counting::default() };
        (over(&source), source)
    }

    /// A cache over a chain of `source` alone.
    fn over(source: &Counting) -> Arc<CredentialCache> {
        let (clock, source) = (source.clock.clone(), source.clone());
        let chain = Chain::new(move || {
            source.builds.fetch_add(1, Ordering::SeqCst);
            let provider = SharedCredentialsProvider::new(source.clone());
            Box::pin(async { provider })
        });
        Arc::new(CredentialCache::of(Source::Chain(chain), clock, &Tasks::default()))
    }

    /// Waits until the source was called `count` times, and its result is there.
    async fn called(source: &Counting, count: usize) {
        while source.calls.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
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
    async fn credentials_are_refreshed_before_expiry() {
        let (cache, source) = cache();
        cache.get().await.unwrap();
        source.clock.advance(Duration::from_secs(3299));
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        source.clock.advance(Duration::from_secs(2));
        let all = futures_util::future::join_all((0..9).map(|_| cache.get())).await;
        assert!(all.into_iter().all(|got| key(&got.unwrap()) == "AKID1"), "no request waits for the refresh");
        called(&source, 2).await;
        assert_eq!(key(&cache.get().await.unwrap()), "AKID2");
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn old_credentials_serve_when_a_refresh_fails() {
        let (cache, source) = cache();
        cache.get().await.unwrap();
        source.set(Behavior::Fails);
        source.clock.advance(Duration::from_secs(3400));
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        called(&source, 2).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        called(&source, 2).await;
        assert_eq!(source.calls.load(Ordering::SeqCst), 2, "a failed refresh is not repeated at once");
        source.clock.advance(Duration::from_secs(300));
        assert!(cache.get().await.unwrap_err().to_string().contains("no AWS credentials"));
        assert_eq!(cache.status(), CredentialStatus::Missing, "they have expired, and there are no others");
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_source_holds_all_requests_up_once() {
        let (cache, source) = cache();
        source.set(Behavior::Hangs);
        let begun = Instant::now();
        let all = futures_util::future::join_all((0..100).map(|_| cache.get())).await;
        assert!(all.iter().all(|got| got.as_ref().unwrap_err().to_string().contains("within 10 s")));
        assert_eq!((begun.elapsed().as_secs(), source.calls.load(Ordering::SeqCst)), (10, 1));
        source.set(Behavior::Renews);
        assert!(cache.get().await.is_err(), "the failure counts for a moment");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(cache.get().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failing_source_is_called_every_two_seconds() {
        let (cache, source) = cache();
        source.set(Behavior::Fails);
        for _ in 0..80 {
            assert!(cache.get().await.is_err());
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(source.calls.load(Ordering::SeqCst), 4);
        assert_eq!(
            source.builds.load(Ordering::SeqCst),
            4,
            "the chain is built anew, as a file may be there"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn expired_credentials_of_the_source_are_an_error() {
        let (cache, source) = cache();
        source.set(Behavior::ReturnsExpired);
        for _ in 0..3 {
            assert!(cache.get().await.unwrap_err().to_string().contains("have expired"));
        }
        assert_eq!((source.calls.load(Ordering::SeqCst), cache.status()), (1, CredentialStatus::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn status_needs_no_look_up() {
        let (cache, source) = cache();
        assert_eq!(cache.status(), CredentialStatus::Unknown);
        source.set(Behavior::Fails);
        assert!(cache.get().await.is_err());
        assert_eq!(cache.status(), CredentialStatus::Missing);
        source.set(Behavior::Renews);
        tokio::time::advance(Duration::from_secs(2)).await;
        cache.get().await.unwrap();
        let end = source.clock.now() + Duration::from_secs(3600);
        assert_eq!(cache.status(), CredentialStatus::Keys(Some(end)));
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn rejections_cause_few_look_ups() {
        let (cache, source) = cache();
        for _ in 0..80 {
            cache.mark_rejected(&cache.get().await.unwrap());
            cache.refresh_rejected().await.unwrap();
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(source.calls.load(Ordering::SeqCst), 5, "at the start, and every two seconds");
    }

    #[tokio::test]
    async fn rejected_credentials_are_replaced_once() {
        let (cache, source) = cache();
        let rejected = cache.get().await.unwrap();
        cache.mark_rejected(&rejected);
        let both = tokio::join!(cache.refresh_rejected(), cache.refresh_rejected());
        assert!(both.0.unwrap() && both.1.unwrap());
        assert_eq!(key(&cache.get().await.unwrap()), "AKID2");
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
        assert_eq!(source.builds.load(Ordering::SeqCst), 2, "the chain reads its files again");
    }

    #[tokio::test(start_paused = true)]
    async fn source_that_repeats_rejected_credentials_is_spared() {
        let (cache, source) = cache();
        source.set(Behavior::Repeats);
        let rejected = cache.get().await.unwrap();
        cache.mark_rejected(&rejected);
        for _ in 0..20 {
            assert!(!cache.refresh_rejected().await.unwrap(), "there are no others");
            assert_eq!(key(&cache.get().await.unwrap()), "AKIDSAME");
        }
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
        tokio::time::advance(Duration::from_secs(2)).await;
        source.set(Behavior::Renews);
        assert!(cache.refresh_rejected().await.unwrap());
        assert_eq!(key(&cache.get().await.unwrap()), "AKID3");
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
            match CredentialCache::new(&config.bedrock, Clock::machine(), &Tasks::default()).source {
                Source::Fixed(credentials) => key(&credentials),
                Source::Chain(_) => "chain".to_owned(),
            }
        };
        assert_eq!(source(&pairs), "AKIDNAMED");
        assert_eq!(source(&pairs[2..]), "bearer");
        assert_eq!(source(&[]), "chain");
    }
}
