//! Tests of the cache of AWS credentials.

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

/// Seconds since the epoch at which kept keys expire.
const KEPT_UNTIL: u64 = 1_003_600;

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
    /// The same keys each time, with another expiry.
    Extends,
    /// The same keys each time, with the same expiry.
    Keeps,
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
        let kept_until = SystemTime::UNIX_EPOCH + Duration::from_secs(KEPT_UNTIL);
        let kept_for = kept_until.duration_since(now).unwrap_or_default();
        future::ProvideCredentials::new(async move {
            tokio::task::yield_now().await;
            let (key, life) = match behavior {
                Behavior::Renews => (format!("AKID{call}"), Duration::from_secs(3600)),
                Behavior::Repeats => ("AKIDSAME".to_owned(), Duration::from_secs(3600)),
                Behavior::Keeps => ("AKIDSAME".to_owned(), kept_for),
                Behavior::Extends => ("AKIDSAME".to_owned(), Duration::from_secs(600 + call as u64)),
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
    let chain = Chain::new(move |_| {
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
    assert_eq!(source.builds.load(Ordering::SeqCst), 4, "the chain is built anew, as a file may be there");
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

#[tokio::test(start_paused = true)]
async fn rejected_keys_with_another_expiry_are_the_same() {
    let (cache, source) = cache();
    source.set(Behavior::Extends);
    cache.mark_rejected(&cache.get().await.unwrap());
    assert!(!cache.refresh_rejected().await.unwrap(), "there are no others");
    assert_eq!(source.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn source_without_newer_credentials_is_spared() {
    let (cache, source) = cache();
    cache.get().await.unwrap();
    source.set(Behavior::Keeps);
    source.clock.advance(Duration::from_secs(3301));
    for _ in 0..298 {
        cache.get().await.unwrap();
        called(&source, 1).await;
        source.clock.advance(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(source.calls.load(Ordering::SeqCst), 1 + 15, "every 20 seconds");
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
