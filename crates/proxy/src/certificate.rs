//! A certificate and its key, read from files and judged: whether they can be used, and until when.
//!
//! Not here: which files (`config`), and what is done with them (`server::tls`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A certificate that can be shown, with its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// For rustls.
    pub shown: Arc<CertifiedKey>,
    /// When it begins to be valid, in seconds since 1970.
    pub from: u64,
    /// When it expires, in seconds since 1970.
    pub until: u64,
}

/// Why files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Wrong {
    /// The file that is wrong.
    pub file: File,
    /// What is wrong and what to do. Never any of its content.
    pub reason: String,
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The certificate and those that lead to its authority.
    Certificate,
    /// Its private key.
    Key,
}

impl File {
    fn wrong(self, reason: impl Into<String>) -> Wrong {
        Wrong { file: self, reason: reason.into() }
    }
}

/// Reads both files.
///
/// # Errors
/// When one of them cannot be read or is not PEM, the key is not that of the certificate, or others could read the key.
pub fn read(certificate: &Path, key: &Path) -> Result<Pair, Wrong> {
    let chain = chain(certificate)?;
    let (from, until) = validity(&chain[0])?;
    let key = private(key)?;
    let shown = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| {
        let mismatch = matches!(error, rustls::Error::InconsistentKeys(_));
        let reason = if mismatch {
            "is not the key of the first certificate in TLS_CERT_FILE; name the two files that were made together"
                .to_owned()
        } else {
            format!("cannot be used ({error}); use an RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key")
        };
        File::Key.wrong(reason)
    })?;
    Ok(Pair { shown: Arc::new(shown), from, until })
}

/// The certificates in a file, at least one.
fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let wrong =
        |error: Error| File::Certificate.wrong(told(&error, "the certificate, then those that signed it"));
    let text = fs::read(path).map_err(|error| File::Certificate.wrong(unreadable(&error)))?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if chain.is_empty() {
        return Err(wrong(Error::NoItemsFound));
    }
    Ok(chain)
}

/// The first private key in a file that nobody else may read.
fn private(path: &Path) -> Result<PrivateKeyDer<'static>, Wrong> {
    let metadata = fs::metadata(path).map_err(|error| File::Key.wrong(unreadable(&error)))?;
    if exposed(metadata.mode(), metadata.uid() == 0) {
        let mode = metadata.mode() & 0o777;
        let reason = format!("can be read by others (mode {mode:04o}); chmod 600 it, or 640 if root owns it");
        return Err(File::Key.wrong(reason));
    }
    let text = fs::read(path).map_err(|error| File::Key.wrong(unreadable(&error)))?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| File::Key.wrong(told(&error, "an unencrypted private key")))
}

/// Whether more people can get at a key than should. The group of a file of root's is how an operator, or Kubernetes
/// with `fsGroup`, hands a key to a server that is not root; PostgreSQL has the same rule.
/// <https://www.postgresql.org/docs/current/ssl-tcp.html#SSL-SETUP>
fn exposed(mode: u32, of_root: bool) -> bool {
    let allowed = if of_root { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read ({error}); name a PEM file that this process may read")
}

fn told(error: &Error, wanted: &str) -> String {
    match error {
        Error::NoItemsFound => format!("holds nothing of the kind; name a PEM file with {wanted}"),
        // What else goes wrong is told by kind: the error's own words may hold lines of the file.
        _ => format!("is not PEM, or is cut off; name a PEM file with {wanted}"),
    }
}

/// From when until when a certificate is valid.
fn validity(certificate: &CertificateDer<'_>) -> Result<(u64, u64), Wrong> {
    let read = Certificate::from_der(certificate).map_err(|error| {
        File::Certificate
            .wrong(format!("begins with a certificate that cannot be read ({error}); make it anew"))
    })?;
    let validity = read.tbs_certificate().validity();
    Ok((validity.not_before.to_unix_duration().as_secs(), validity.not_after.to_unix_duration().as_secs()))
}

/// Certificates for tests.
#[cfg(test)]
pub(crate) mod fixtures {
    use std::fs::{self, Permissions};
    use std::ops::Range;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    /// A folder with a pair of files.
    pub(crate) struct Folder {
        _home: TempDir,
        pub(crate) certificate: PathBuf,
        pub(crate) key: PathBuf,
    }

    impl Folder {
        /// A certificate of its own making for `name`, valid in these years after 2026.
        pub(crate) fn new(name: &str, years: Range<i32>) -> Self {
            let home = tempfile::tempdir().unwrap();
            let (certificate, key) = (home.path().join("tls.crt"), home.path().join("tls.key"));
            let folder = Self { _home: home, certificate, key };
            folder.renew(name, years);
            folder
        }

        /// Another one in the same place.
        pub(crate) fn renew(&self, name: &str, years: Range<i32>) {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.not_before = date_time_ymd(2026 + years.start, 1, 1);
            params.not_after = date_time_ymd(2026 + years.end, 1, 1);
            let pair = KeyPair::generate().unwrap();
            fs::write(&self.certificate, params.self_signed(&pair).unwrap().pem()).unwrap();
            fs::write(&self.key, pair.serialize_pem()).unwrap();
            fs::set_permissions(&self.key, Permissions::from_mode(0o600)).unwrap();
        }

        pub(crate) fn names(&self) -> (&str, &str) {
            (self.certificate.to_str().unwrap(), self.key.to_str().unwrap())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::fixtures::Folder;
    use super::*;

    fn wrong(folder: &Folder) -> (File, String) {
        let Wrong { file, reason } = read(&folder.certificate, &folder.key).unwrap_err();
        (file, reason)
    }

    #[test]
    fn a_pair_tells_until_when_it_is_valid() {
        let folder = Folder::new("proxy.example", 0..4);
        let pair = read(&folder.certificate, &folder.key).unwrap();
        assert_eq!((pair.from, pair.until), (1_767_225_600, 1_893_456_000));
        assert_eq!(pair.shown.cert.len(), 1);
    }

    #[test]
    fn the_key_of_another_certificate_is_refused() {
        let (one, other) = (Folder::new("proxy.example", 0..1), Folder::new("proxy.example", 0..1));
        fs::copy(&other.key, &one.key).unwrap();
        let (file, reason) = wrong(&one);
        assert!(file == File::Key && reason.contains("made together"), "{reason}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = Folder::new("proxy.example", 0..1);
        for mode in [0o644, 0o604, 0o660, 0o666] {
            fs::set_permissions(&folder.key, Permissions::from_mode(mode)).unwrap();
            let (file, reason) = wrong(&folder);
            assert!(file == File::Key && reason.contains(&format!("(mode {mode:04o})")), "{reason}");
        }
        assert!(!exposed(0o100_640, true) && !exposed(0o100_440, true) && exposed(0o100_640, false));
    }

    #[test]
    fn what_is_no_pem_is_refused_without_a_word_of_its_content() {
        for (certificate, key, file) in [
            ("canary", None, File::Certificate),
            ("", None, File::Certificate),
            ("-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n", None, File::Certificate),
            ("-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n", None, File::Certificate),
            ("-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n", None, File::Certificate),
            ("", Some("canary"), File::Key),
            ("", Some("-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"), File::Key),
            (
                "",
                Some(
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                File::Key,
            ),
        ] {
            let folder = Folder::new("proxy.example", 0..1);
            match key {
                Some(key) => fs::write(&folder.key, key).unwrap(),
                None => fs::write(&folder.certificate, certificate).unwrap(),
            }
            let told = wrong(&folder);
            assert_eq!(told.0, file, "{}", told.1);
            assert!(!told.1.contains("canary") && !told.1.contains("Y2Fu"), "{}", told.1);
        }
    }
}
