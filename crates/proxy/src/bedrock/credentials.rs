//! Who the gateway is towards AWS, cached.
//!
//! Order: keys given by name, a Bedrock API key, then the usual chain (environment, profile, SSO, web identity,
//! container and instance roles). The chain itself asks its source at every call, so the cache is ours: refreshed
//! before expiry by one request at a time, while the others go on with what they have until it expires.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::{Mutex, OnceCell};

use crate::clock::Clock;
use crate::config;
use crate::http_client;
use crate::secret::Secret;

/// Refresh this long before expiry.
const EARLY: Duration = Duration::from_secs(300);
/// After an early refresh failed, leave the source alone for this long.
const PAUSE: Duration = Duration::from_secs(20);
/// How long one refresh may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a request is signed with.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    /// AWS keys, for SigV4.
    Keys(Credentials),
    /// A Bedrock API key.
    Bearer(Secret),
}

/// What is known of the credentials without asking for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// They were not looked for yet.
    Nothing,
    /// There are none, or those that there were have expired and no others came.
    Missing,
    /// A Bedrock API key.
    ApiKey,
    /// AWS keys, which end then.
    Keys(Option<SystemTime>),
}

/// The chain gave nothing; the text is the chain's own and holds no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no AWS credentials: {0}")]
pub struct NoCredentials(String);

/// The cache and its source.
#[derive(Debug)]
pub(super) struct CredentialCache {
    source: Source,
    clock: Clock,
    current: RwLock<Option<Entry>>,
    refreshing: Mutex<()>,
    /// Whether the last look at the source gave nothing.
    failed: AtomicBool,
}

#[derive(Debug)]
enum Source {
    Fixed(Arc<Identity>),
    Chain { region: String, provider: OnceCell<SharedCredentialsProvider> },
}

#[derive(Clone, Debug)]
struct Entry {
    identity: Arc<Identity>,
    refresh_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

impl CredentialCache {
    /// A cache over what the configuration names, or else over the default chain, which is built at first use.
    pub(super) fn new(config: &config::BedrockConfig, clock: Clock) -> Self {
        let source = match (&config.keys, &config.bearer) {
            (Some(keys), _) => Source::Fixed(Arc::new(Identity::Keys(Credentials::new(
                &keys.access_key,
                keys.secret_key.expose(),
                keys.session_token.as_ref().map(|token| token.expose().to_owned()),
                None,
                "configuration",
            )))),
            (None, Some(token)) => Source::Fixed(Arc::new(Identity::Bearer(token.clone()))),
            (None, None) => Source::Chain { region: config.region.clone(), provider: OnceCell::new() },
        };
        Self::of(source, clock)
    }

    fn of(source: Source, clock: Clock) -> Self {
        let (current, refreshing) = (RwLock::new(None), Mutex::new(()));
        Self { source, clock, current, refreshing, failed: AtomicBool::new(false) }
    }

    /// A cache over any provider.
    #[cfg(test)]
    fn over(provider: impl ProvideCredentials + 'static, clock: Clock) -> Self {
        let provider = OnceCell::new_with(Some(SharedCredentialsProvider::new(provider)));
        Self::of(Source::Chain { region: "us-east-1".to_owned(), provider }, clock)
    }

    /// Whether a rejected identity can be replaced by a fresh one.
    pub(super) fn can_refresh(&self) -> bool {
        matches!(self.source, Source::Chain { .. })
    }

    /// When what is in use expires.
    pub(super) fn expiry(&self) -> Option<SystemTime> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.expires_at
    }

    /// What is known, without asking anybody.
    pub(super) fn known(&self) -> Known {
        match &self.source {
            Source::Fixed(identity) => match &**identity {
                Identity::Bearer(_) => Known::ApiKey,
                Identity::Keys(credentials) => Known::Keys(credentials.expiry()),
            },
            Source::Chain { .. } => match self.usable(self.clock.now()) {
                Some(entry) => Known::Keys(entry.expires_at),
                None if self.failed.load(Ordering::Relaxed) => Known::Missing,
                None => Known::Nothing,
            },
        }
    }

    /// The identity to sign with now.
    pub(super) async fn get(&self) -> Result<Arc<Identity>, NoCredentials> {
        if let Source::Fixed(identity) = &self.source {
            return Ok(Arc::clone(identity));
        }
        let now = self.clock.now();
        match self.usable(now) {
            Some(entry) if entry.refresh_at.is_none_or(|at| now < at) => Ok(entry.identity),
            Some(entry) => Ok(self.refresh_early(entry).await),
            None => {
                let _single_flight = self.refreshing.lock().await;
                match self.usable(self.clock.now()) {
                    Some(entry) => Ok(entry.identity),
                    None => self.load().await,
                }
            }
        }
    }

    /// A fresh identity after AWS refused `rejected`; if another request has replaced it already, that one.
    pub(super) async fn replace(&self, rejected: &Arc<Identity>) -> Result<Arc<Identity>, NoCredentials> {
        if let Source::Fixed(identity) = &self.source {
            return Ok(Arc::clone(identity));
        }
        let _single_flight = self.refreshing.lock().await;
        match self.usable(self.clock.now()) {
            Some(entry) if !Arc::ptr_eq(&entry.identity, rejected) => Ok(entry.identity),
            _ => self.load().await,
        }
    }

    fn usable(&self, now: SystemTime) -> Option<Entry> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|entry| entry.expires_at.is_none_or(|at| now < at)).cloned()
    }

    /// One request refreshes; those that find it busy, and all if it fails, keep the old identity.
    async fn refresh_early(&self, old: Entry) -> Arc<Identity> {
        let Ok(_single_flight) = self.refreshing.try_lock() else {
            return old.identity;
        };
        match self.load().await {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::warn!(%error, "AWS credentials could not be refreshed early; the old ones are still valid");
                let refresh_at = Some(self.clock.now() + PAUSE);
                let identity = Arc::clone(&old.identity);
                self.keep(Entry { refresh_at, ..old });
                identity
            }
        }
    }

    async fn load(&self) -> Result<Arc<Identity>, NoCredentials> {
        let loaded = self.ask().await;
        self.failed.store(loaded.is_err(), Ordering::Relaxed);
        loaded
    }

    async fn ask(&self) -> Result<Arc<Identity>, NoCredentials> {
        let Source::Chain { region, provider } = &self.source else {
            return Err(NoCredentials("fixed credentials are not loaded".to_owned()));
        };
        let load = async {
            let provider = provider.get_or_init(|| default_chain(region.clone())).await;
            provider.provide_credentials().await
        };
        let credentials = match tokio::time::timeout(PATIENCE, load).await {
            Ok(Ok(credentials)) => credentials,
            Ok(Err(error)) => return Err(NoCredentials(http_client::with_causes(&error))),
            Err(_) => {
                return Err(NoCredentials(format!("no answer within {} s", PATIENCE.as_secs())));
            }
        };
        let expires_at = credentials.expiry();
        let entry = Entry {
            identity: Arc::new(Identity::Keys(credentials)),
            refresh_at: expires_at.map(|at| refresh_time(self.clock.now(), at)),
            expires_at,
        };
        let identity = Arc::clone(&entry.identity);
        self.keep(entry);
        Ok(identity)
    }

    fn keep(&self, entry: Entry) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(entry);
    }
}

/// Five minutes before expiry, or at half time for credentials that live shorter than ten.
fn refresh_time(now: SystemTime, expires_at: SystemTime) -> SystemTime {
    let life = expires_at.duration_since(now).unwrap_or_default();
    now + life.saturating_sub(EARLY.min(life / 2))
}

async fn default_chain(region: String) -> SharedCredentialsProvider {
    let region = aws_config::Region::new(region);
    let chain = aws_config::default_provider::credentials::DefaultCredentialsChain::builder().region(region);
    SharedCredentialsProvider::new(chain.build().await)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::future;

    use super::*;

    /// Gives keys that live for an hour and counts how often it is asked; fails while told to.
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
                    return Err(CredentialsError::not_loaded("told to"));
                }
                Ok(Credentials::new(format!("AKID{call}"), "secret", None, expiry, "test"))
            })
        }
    }

    fn cache() -> (CredentialCache, Counting) {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let counting = Counting { clock: clock.clone(), calls: Arc::default(), fails: Arc::default() };
        (CredentialCache::over(counting.clone(), clock), counting)
    }

    fn key(identity: &Identity) -> String {
        match identity {
            Identity::Keys(credentials) => credentials.access_key_id().to_owned(),
            Identity::Bearer(_) => "bearer".to_owned(),
        }
    }

    #[tokio::test]
    async fn the_source_is_asked_once_for_many_requests() {
        let (cache, source) = cache();
        let all = futures_util::future::join_all((0..50).map(|_| cache.get())).await;
        assert!(all.into_iter().all(|identity| key(&identity.unwrap()) == "AKID1"));
        assert_eq!(source.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn credentials_are_refreshed_before_they_expire_by_one_request() {
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
    async fn the_old_credentials_serve_until_they_expire_when_a_refresh_fails() {
        let (cache, source) = cache();
        cache.get().await.unwrap();
        source.fails.store(true, Ordering::SeqCst);
        source.clock.advance(Duration::from_secs(3400));
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        assert_eq!(key(&cache.get().await.unwrap()), "AKID1");
        assert_eq!(source.calls.load(Ordering::SeqCst), 2, "a failed refresh is not repeated at once");
        source.clock.advance(Duration::from_secs(300));
        assert!(matches!(cache.known(), Known::Missing), "they have expired, and there are no others");
        assert!(cache.get().await.unwrap_err().to_string().contains("no AWS credentials"));
    }

    #[tokio::test]
    async fn what_is_known_is_told_without_asking_the_source() {
        let (cache, source) = cache();
        assert_eq!(cache.known(), Known::Nothing);
        source.fails.store(true, Ordering::SeqCst);
        assert!(cache.get().await.is_err());
        assert_eq!(cache.known(), Known::Missing);
        source.fails.store(false, Ordering::SeqCst);
        cache.get().await.unwrap();
        let end = source.clock.now() + Duration::from_secs(3600);
        assert_eq!(cache.known(), Known::Keys(Some(end)));
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn rejected_credentials_are_replaced_once() {
        let (cache, source) = cache();
        let rejected = cache.get().await.unwrap();
        let both = tokio::join!(cache.replace(&rejected), cache.replace(&rejected));
        assert_eq!((key(&both.0.unwrap()), key(&both.1.unwrap())), ("AKID2".to_owned(), "AKID2".to_owned()));
        assert_eq!(source.calls.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn keys_given_by_name_win_over_a_bearer_token() {
        let pairs = [
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDNAMED"),
            ("AWS_BEDROCK_SECRET_KEY", "secret"),
            ("AWS_BEARER_TOKEN_BEDROCK", "ABSK"),
        ];
        let source = |pairs: &[(&str, &str)]| {
            let lookup = |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned());
            let config = config::Config::load(lookup).unwrap();
            match CredentialCache::new(&config.bedrock, Clock::machine()).source {
                Source::Fixed(identity) => key(&identity),
                Source::Chain { .. } => "chain".to_owned(),
            }
        };
        assert_eq!(source(&pairs), "AKIDNAMED");
        assert_eq!(source(&pairs[2..]), "bearer");
        assert_eq!(source(&[]), "chain");
    }
}
