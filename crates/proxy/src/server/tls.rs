//! TLS at the proxy's own door: the handshake, and the certificate that it shows, which may change while it runs.
//!
//! A certificate that cannot be used never takes the place of one that can. Open connections keep what they began with.

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

use crate::certificate::{self, Pair, Wrong};
use crate::clock::Clock;
use crate::config::{self, TlsVersion};

/// How often the files are looked at. Changes are taken up at the second look that finds them the same, so that a
/// certificate is not read before its key is there.
const LOOK: Duration = Duration::from_secs(5);
/// A certificate that is not renewed for so long before its end will not be.
const SOON: u64 = 7 * 24 * 3600;
const DAY: u64 = 24 * 3600;

/// The certificate that is shown to clients. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    shown: Arc<Shown>,
    acceptor: Arc<ServerConfig>,
    files: (PathBuf, PathBuf),
    clock: Clock,
}

#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum CannotOffer {
    /// The files cannot be used.
    #[error("TLS_CERT_FILE and TLS_KEY_FILE: the {} {wrong}", match wrong.file {
        certificate::File::Certificate => "certificate",
        certificate::File::Key => "key",
    })]
    Files {
        /// Which one, and why.
        #[from]
        wrong: Wrong,
    },
    /// The versions cannot be.
    #[error("TLS cannot be set up: {0}")]
    Versions(#[from] rustls::Error),
}

/// What tells that a file is another than before, wherever symbolic links lead.
type Stamp = [Option<(u64, i64, i64, u64)>; 2];

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn new(config: &config::Tls, clock: Clock) -> Result<Self, CannotOffer> {
        let pair = certificate::read(&config.certificate, &config.key)?;
        judge(&pair, &clock);
        let shown = Arc::new(Shown(RwLock::new(pair.shown)));
        let versions: &[_] = match config.oldest {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut acceptor = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        acceptor.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let files = (config.certificate.clone(), config.key.clone());
        Ok(Self { shown, acceptor: Arc::new(acceptor), files, clock })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.acceptor))
    }

    /// Reads the files again and shows what they hold to the connections that come. What cannot be used is reported, and
    /// the certificate from before stays.
    pub async fn reload(&self) {
        let (certificate, key) = self.files.clone();
        // Files may be on something that answers late.
        let read = tokio::task::spawn_blocking(move || certificate::read(&certificate, &key)).await;
        match read {
            Ok(Ok(pair)) => {
                judge(&pair, &self.clock);
                *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = pair.shown;
                tracing::info!(
                    event = "certificate_loaded",
                    valid_until = pair.until,
                    "a new certificate is shown"
                );
            }
            Ok(Err(wrong)) => {
                let error = CannotOffer::from(wrong);
                tracing::error!(event = "certificate_refused", %error, "the certificate from before is shown further on");
            }
            Err(error) => tracing::error!(%error, "the certificate could not be read again"),
        }
    }

    /// Looks at the files for ever and reads them again when they have changed.
    pub(super) async fn watch(self) {
        let mut known = self.stamp().await;
        let mut before = known;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.stamp().await;
            if now != known && now == before {
                known = now;
                self.reload().await;
            }
            before = now;
        }
    }

    async fn stamp(&self) -> Stamp {
        let (certificate, key) = self.files.clone();
        let look = move || [stamp(&certificate), stamp(&key)];
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}

fn stamp(path: &Path) -> Option<(u64, i64, i64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// Says when clients will mind the dates of a certificate.
fn judge(pair: &Pair, clock: &Clock) {
    let now = u64::try_from(clock.milliseconds() / 1000).unwrap_or_default();
    if now < pair.from {
        tracing::warn!("the certificate in TLS_CERT_FILE is not valid yet; clients refuse it");
    } else if now >= pair.until {
        tracing::warn!("the certificate in TLS_CERT_FILE has expired; clients refuse it until it is renewed");
    } else if pair.until - now < SOON {
        let days = (pair.until - now) / DAY;
        tracing::warn!(days, "the certificate in TLS_CERT_FILE expires soon; renew it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::fixtures::Folder;

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_read_again_and_broken_ones_change_nothing() {
        let folder = Folder::new("proxy.example", 0..4);
        let config = config::Tls {
            certificate: folder.certificate.clone(),
            key: folder.key.clone(),
            oldest: TlsVersion::V1_2,
        };
        let tls = Tls::new(&config, Clock::machine()).unwrap();
        let shown = || tls.shown.0.read().unwrap().cert[0].clone();
        let looks = async |count| tokio::time::sleep(LOOK * count + LOOK / 2).await;
        let work = async {
            let first = shown();
            looks(2).await;
            fs::write(&folder.certificate, "broken").unwrap();
            looks(3).await;
            assert_eq!(shown(), first);
            folder.renew("proxy.example", 0..5);
            looks(1).await;
            looks(1).await;
            assert_ne!(shown(), first);
        };
        tokio::select! {
            () = tls.clone().watch() => unreachable!("it looks for ever"),
            () = work => {}
        }
    }
}
