//! TLS of the listener: the handshake, and the certificate, which is reloaded while the server runs.
//!
//! A certificate that is invalid, has expired or is not valid yet never replaces a valid one. Open connections keep their
//! certificate.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::certificate::{self, CertificateError, CertifiedPair};
use crate::clock::Clock;
use crate::config;
use crate::crypto;
use crate::telemetry::metrics::Metrics;

/// Time between two checks of the files. A change is loaded when two checks in a row see the same version, so that a
/// certificate is not read before its key is written; 5 s loads a renewed certificate within 10 s.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Renewal tools such as certbot and cert-manager renew 30 days before expiry: with 7 days left, renewal has failed.
const EXPIRY_WARNING_SECONDS: u64 = 7 * 24 * 3600;
const DAY_SECONDS: u64 = 24 * 3600;
/// A time that does not come.
const NEVER: u64 = u64::MAX;
/// Time between two warnings about the dates of the certificate.
const WARNING_INTERVAL: Duration = Duration::from_secs(DAY_SECONDS);

/// The certificate of the listener. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    current: Arc<CurrentCertificate>,
    acceptor: Arc<ServerConfig>,
    files: (PathBuf, PathBuf),
    /// When the files, which are not valid yet, will be: in seconds since the epoch, or [`NEVER`].
    valid_later: Arc<AtomicU64>,
    clock: Clock,
}

#[derive(Debug)]
struct CurrentCertificate(RwLock<CertifiedPair>);

impl CurrentCertificate {
    fn get(&self) -> CertifiedPair {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().key)
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The files cannot be used.
    #[error("TLS_CERT_FILE and TLS_KEY_FILE: the {} {error}", match error.file {
        certificate::PemFile::Certificate => "certificate",
        certificate::PemFile::Key => "key",
    })]
    Files {
        /// Which file, and why.
        #[from]
        error: CertificateError,
    },
    /// rustls rejects the versions.
    #[error("TLS cannot be set up: {0}")]
    Versions(#[from] rustls::Error),
}

/// Identifies the version of a file behind symbolic links: inode, change time, modification time and size. Only the
/// change time shows that the permission to read a file was granted.
type FileVersion = (u64, [i64; 4], u64);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn new(config: &config::TlsConfig, clock: Clock) -> Result<Self, TlsError> {
        let pair = certificate::read(&config.certificate, &config.key)?;
        warn_about_expiry(&pair, &clock);
        let current = Arc::new(CurrentCertificate(RwLock::new(pair)));
        let mut acceptor = ServerConfig::builder_with_provider(crypto::provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        acceptor.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let files = (config.certificate.clone(), config.key.clone());
        let valid_later = Arc::new(AtomicU64::new(NEVER));
        Ok(Self { current, acceptor: Arc::new(acceptor), files, valid_later, clock })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.acceptor))
    }

    /// End of validity of the certificate in use, in seconds since the epoch.
    pub(super) fn valid_until(&self) -> u64 {
        self.current.get().valid_until
    }

    /// Reads the files again, for new connections. Logs an error and keeps the current certificate when the files are
    /// invalid, or when their dates are wrong and those of the current one are not.
    pub async fn reload(&self) {
        self.valid_later.store(NEVER, Ordering::Relaxed);
        let (certificate, key) = self.files.clone();
        // Network file systems may block.
        let read = tokio::task::spawn_blocking(move || certificate::read(&certificate, &key)).await;
        match read {
            Ok(Ok(pair)) => self.replace(pair),
            Ok(Err(error)) => {
                let error = TlsError::from(error);
                tracing::error!(event = "certificate_refused", %error, "certificate rejected; the previous one stays in use");
            }
            Err(error) => tracing::error!(%error, "certificate could not be reloaded"),
        }
    }

    /// Uses `pair` from now on, unless clients would reject it and accept the current one.
    fn replace(&self, pair: CertifiedPair) {
        let now = seconds(&self.clock);
        warn_about_expiry(&pair, &self.clock);
        let is_valid = |pair: &CertifiedPair| (pair.valid_from..pair.valid_until).contains(&now);
        if !is_valid(&pair) && is_valid(&self.current.get()) {
            tracing::error!(
                event = "certificate_refused",
                valid_from = rfc3339(pair.valid_from),
                valid_until = rfc3339(pair.valid_until),
                "certificate rejected for its dates; the previous one stays in use"
            );
            if now < pair.valid_from {
                self.valid_later.store(pair.valid_from, Ordering::Relaxed);
            }
            return;
        }
        let valid_until = pair.valid_until;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
        let valid_until = rfc3339(valid_until);
        tracing::info!(event = "certificate_loaded", valid_until, "certificate loaded");
    }

    /// Checks the files forever and reloads them after a change. Warns once a day about the dates of the certificate in use,
    /// and shows its end in `metrics`.
    /// Reloads them at once after `reload`.
    pub(super) async fn watch(self, metrics: Arc<Metrics>, reload: Arc<Notify>) {
        let mut loaded = self.version().await;
        let mut last = loaded;
        let mut warned_at = Instant::now();
        loop {
            metrics.set_certificate_expiry(self.valid_until());
            let is_requested = tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => false,
                () = reload.notified() => true,
            };
            let version = self.version().await;
            let is_valid_now = self.valid_later.load(Ordering::Relaxed) <= seconds(&self.clock);
            if (version != loaded && version == last) || is_valid_now || is_requested {
                loaded = version;
                self.reload().await;
            }
            last = version;
            if warned_at.elapsed() >= WARNING_INTERVAL {
                warned_at = Instant::now();
                warn_about_expiry(&self.current.get(), &self.clock);
            }
        }
    }

    async fn version(&self) -> [Option<FileVersion>; 2] {
        let (certificate, key) = self.files.clone();
        let versions = move || [file_version(&certificate), file_version(&key)];
        tokio::task::spawn_blocking(versions).await.unwrap_or_default()
    }
}

fn file_version(path: &Path) -> Option<FileVersion> {
    let metadata = fs::metadata(path).ok()?;
    let times = [metadata.ctime(), metadata.ctime_nsec(), metadata.mtime(), metadata.mtime_nsec()];
    Some((metadata.ino(), times, metadata.len()))
}

/// Seconds since the epoch.
/// Seconds since the epoch as RFC 3339; empty for an instant beyond the year 9999.
fn rfc3339(seconds: u64) -> String {
    let instant = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    instant.map(|instant| instant.to_string()).unwrap_or_default()
}

fn seconds(clock: &Clock) -> u64 {
    u64::try_from(clock.milliseconds() / 1000).unwrap_or_default()
}

/// Warns about a certificate that clients reject, or will soon reject, for its dates.
fn warn_about_expiry(pair: &CertifiedPair, clock: &Clock) {
    let now = seconds(clock);
    if now < pair.valid_from {
        tracing::warn!("the certificate in TLS_CERT_FILE is not valid yet; clients reject it");
    } else if now >= pair.valid_until {
        tracing::warn!("the certificate in TLS_CERT_FILE has expired; clients reject it until it is renewed");
    } else if pair.valid_until - now < EXPIRY_WARNING_SECONDS {
        let days = (pair.valid_until - now) / DAY_SECONDS;
        tracing::warn!(days, "the certificate in TLS_CERT_FILE expires soon; renew it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::fixtures::CertificateFiles;

    fn tls(files: &CertificateFiles, clock: Clock) -> Tls {
        let config = config::TlsConfig { certificate: files.certificate.clone(), key: files.key.clone() };
        Tls::new(&config, clock).unwrap()
    }

    /// Runs `work` while the files are watched.
    async fn watching(tls: &Tls, work: impl Future<Output = ()>) {
        tokio::select! {
            () = tls.clone().watch(Arc::default(), Arc::default()) => unreachable!("watch never returns"),
            () = work => {}
        }
    }

    async fn polls(count: u32) {
        tokio::time::sleep(POLL_INTERVAL * count + POLL_INTERVAL / 2).await;
    }

    /// 2026-07-01.
    fn summer() -> Clock {
        Clock::manual(std::time::UNIX_EPOCH + Duration::from_secs(1_782_864_000))
    }

    #[tokio::test(start_paused = true)]
    async fn changed_files_are_reloaded_and_invalid_ones_ignored() {
        let files = CertificateFiles::new("proxy.example", 0..4);
        let tls = tls(&files, Clock::machine());
        let served = || tls.current.get().key.cert[0].clone();
        watching(&tls, async {
            let first = served();
            polls(2).await;
            fs::write(&files.certificate, "broken").unwrap();
            polls(3).await;
            assert_eq!(served(), first);
            files.renew("proxy.example", 0..5);
            polls(1).await;
            polls(1).await;
            assert_ne!(served(), first);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn expired_pair_never_replaces_a_valid_one() {
        let (files, clock) = (CertificateFiles::new("proxy.example", 0..2), summer());
        let tls = tls(&files, clock.clone());
        watching(&tls, async {
            let valid = tls.valid_until();
            for years in [-3..-1, 1..3] {
                files.renew("proxy.example", years);
                polls(3).await;
                assert_eq!(tls.valid_until(), valid, "the valid one stays");
            }
            clock.advance(Duration::from_secs(200 * DAY_SECONDS));
            polls(3).await;
            assert!(tls.valid_until() > valid, "the future one has become valid");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn any_pair_replaces_an_expired_one() {
        let files = CertificateFiles::new("proxy.example", -4..-3);
        let tls = tls(&files, summer());
        files.renew("proxy.example", -3..-2);
        tls.reload().await;
        assert_eq!(tls.valid_until(), 1_704_067_200);
    }

    #[test]
    fn granted_permission_changes_the_version() {
        use std::os::unix::fs::PermissionsExt;
        let files = CertificateFiles::new("proxy.example", 0..2);
        let before = file_version(&files.key);
        // The time of a change has the granularity of the kernel's clock tick.
        let has_changed = (0..1_000_000).any(|_| {
            fs::set_permissions(&files.key, fs::Permissions::from_mode(0o400)).unwrap();
            file_version(&files.key) != before
        });
        assert!(has_changed);
    }
}
