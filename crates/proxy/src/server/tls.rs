//! TLS of the listener: the handshake, and the certificate, which is reloaded while the server runs.
//!
//! An invalid certificate never replaces a valid one. Open connections keep their certificate.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use crate::certificate::{self, CertificateError, CertifiedPair};
use crate::clock::Clock;
use crate::config::{self, TlsVersion};

/// Time between two checks of the files. A change is loaded when two checks in a row see the same version, so that a
/// certificate is not read before its key is written; 5 s loads a renewed certificate within 10 s.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Renewal tools such as certbot and cert-manager renew 30 days before expiry: with 7 days left, renewal has failed.
const EXPIRY_WARNING_SECONDS: u64 = 7 * 24 * 3600;
const DAY_SECONDS: u64 = 24 * 3600;

/// The certificate of the listener. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    current: Arc<CurrentCertificate>,
    acceptor: Arc<ServerConfig>,
    files: (PathBuf, PathBuf),
    clock: Clock,
}

#[derive(Debug)]
struct CurrentCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The files cannot be used.
    #[error("TLS_CERT_FILE and TLS_KEY_FILE: the {} {error}", match error.file {
        certificate::File::Certificate => "certificate",
        certificate::File::Key => "key",
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

/// Identifies the version of both files behind symbolic links: inode, modification time and size.
type FileVersion = [Option<(u64, i64, i64, u64)>; 2];

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn new(config: &config::TlsConfig, clock: Clock) -> Result<Self, TlsError> {
        let pair = certificate::read(&config.certificate, &config.key)?;
        warn_about_expiry(&pair, &clock);
        let current = Arc::new(CurrentCertificate(RwLock::new(pair.key)));
        let versions: &[_] = match config.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut acceptor = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        acceptor.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let files = (config.certificate.clone(), config.key.clone());
        Ok(Self { current, acceptor: Arc::new(acceptor), files, clock })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.acceptor))
    }

    /// Reads the files again, for new connections. Logs an error and keeps the current certificate when the files are
    /// invalid.
    pub async fn reload(&self) {
        let (certificate, key) = self.files.clone();
        // Network file systems may block.
        let read = tokio::task::spawn_blocking(move || certificate::read(&certificate, &key)).await;
        match read {
            Ok(Ok(pair)) => {
                warn_about_expiry(&pair, &self.clock);
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = pair.key;
                tracing::info!(
                    event = "certificate_loaded",
                    valid_until = pair.valid_until,
                    "certificate loaded"
                );
            }
            Ok(Err(error)) => {
                let error = TlsError::from(error);
                tracing::error!(event = "certificate_refused", %error, "certificate rejected; the previous one stays in use");
            }
            Err(error) => tracing::error!(%error, "certificate could not be reloaded"),
        }
    }

    /// Checks the files forever and reloads them after a change.
    pub(super) async fn watch(self) {
        let mut loaded = self.version().await;
        let mut last = loaded;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let version = self.version().await;
            if version != loaded && version == last {
                loaded = version;
                self.reload().await;
            }
            last = version;
        }
    }

    async fn version(&self) -> FileVersion {
        let (certificate, key) = self.files.clone();
        let versions = move || [file_version(&certificate), file_version(&key)];
        tokio::task::spawn_blocking(versions).await.unwrap_or_default()
    }
}

fn file_version(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// Warns about a certificate that clients reject, or will soon reject, for its dates.
fn warn_about_expiry(pair: &CertifiedPair, clock: &Clock) {
    let now = u64::try_from(clock.milliseconds() / 1000).unwrap_or_default();
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

    #[tokio::test(start_paused = true)]
    async fn changed_files_are_reloaded_and_invalid_ones_ignored() {
        let files = CertificateFiles::new("proxy.example", 0..4);
        let config = config::TlsConfig {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            min_version: TlsVersion::V1_2,
        };
        let tls = Tls::new(&config, Clock::machine()).unwrap();
        let served = || tls.current.0.read().unwrap().cert[0].clone();
        let polls = async |count| tokio::time::sleep(POLL_INTERVAL * count + POLL_INTERVAL / 2).await;
        let work = async {
            let first = served();
            polls(2).await;
            fs::write(&files.certificate, "broken").unwrap();
            polls(3).await;
            assert_eq!(served(), first);
            files.renew("proxy.example", 0..5);
            polls(1).await;
            polls(1).await;
            assert_ne!(served(), first);
        };
        tokio::select! {
            () = tls.clone().watch() => unreachable!("watch never returns"),
            () = work => {}
        }
    }
}
