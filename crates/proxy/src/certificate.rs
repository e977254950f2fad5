//! A TLS certificate with its key: read from PEM files and checked.
//!
//! `config` names the files; `server::tls` serves the certificate.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::crypto;

/// A valid certificate chain with its private key.
#[derive(Clone, Debug)]
pub(crate) struct CertifiedPair {
    /// The chain and key for rustls.
    pub(crate) key: Arc<CertifiedKey>,
    /// Start of validity, in seconds since the epoch.
    pub(crate) valid_from: u64,
    /// End of validity, in seconds since the epoch.
    pub(crate) valid_until: u64,
}

/// Why the files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CertificateError {
    /// The file that is wrong.
    pub(crate) file: PemFile,
    /// What is wrong, then what to do; never contents of the file.
    pub(crate) reason: String,
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PemFile {
    /// The certificate and its intermediate certificates.
    Certificate,
    /// Its private key.
    Key,
}

impl PemFile {
    fn error(self, reason: impl Into<String>) -> CertificateError {
        CertificateError { file: self, reason: reason.into() }
    }
}

/// Reads and checks both files.
///
/// # Errors
/// When a file cannot be read or is not PEM, the key does not belong to the certificate, or other users can read the key.
pub(crate) fn read(certificate: &Path, key: &Path) -> Result<CertifiedPair, CertificateError> {
    let chain = read_chain(certificate)?;
    let (valid_from, valid_until) = validity(&chain[0])?;
    let key = read_private_key(key)?;
    let certified = CertifiedKey::from_der(chain, key, &crypto::provider()).map_err(|error| {
        let mismatch = matches!(error, rustls::Error::InconsistentKeys(_));
        let reason = if mismatch {
            "does not belong to the first certificate in TLS_CERT_FILE; name a certificate and its own key"
                .to_owned()
        } else {
            format!("cannot be used ({error}); use an RSA, ECDSA ({}) or Ed25519 key", crypto::CURVES)
        };
        PemFile::Key.error(reason)
    })?;
    Ok(CertifiedPair { key: Arc::new(certified), valid_from, valid_until })
}

/// The certificates in a file; at least one.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let error = |error: Error| {
        PemFile::Certificate.error(describe(&error, "the certificate, then those that signed it"))
    };
    let text = fs::read(path).map_err(|error| PemFile::Certificate.error(read_error(&error)))?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(error)?;
    if chain.is_empty() {
        return Err(error(Error::NoItemsFound));
    }
    Ok(chain)
}

/// The first private key in a file that other users cannot read.
fn read_private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let metadata = fs::metadata(path).map_err(|error| PemFile::Key.error(read_error(&error)))?;
    if is_world_readable(metadata.mode(), metadata.uid() == 0) {
        let mode = metadata.mode() & 0o777;
        let reason =
            format!("can be read by other users (mode {mode:04o}); chmod 600 it, or 640 if root owns it");
        return Err(PemFile::Key.error(reason));
    }
    let text = fs::read(path).map_err(|error| PemFile::Key.error(read_error(&error)))?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| PemFile::Key.error(describe(&error, "an unencrypted private key")))
}

/// Whether users other than the owner can read or change the key. A file of root may be readable by its group: that is
/// how an operator, or Kubernetes with `fsGroup`, gives a key to a server that does not run as root. PostgreSQL has the
/// same rule.
/// <https://www.postgresql.org/docs/current/ssl-tcp.html#SSL-SETUP>
fn is_world_readable(mode: u32, owned_by_root: bool) -> bool {
    let allowed = if owned_by_root { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

fn read_error(error: &io::Error) -> String {
    format!("cannot be read ({error}); name a PEM file that this process may read")
}

fn describe(error: &Error, expected: &str) -> String {
    match error {
        Error::NoItemsFound => format!("is missing in the file; name a PEM file with {expected}"),
        // The text of other errors may contain lines of the file.
        _ => format!("is not PEM, or is truncated; name a PEM file with {expected}"),
    }
}

/// Start and end of validity, in seconds since the epoch.
fn validity(certificate: &CertificateDer<'_>) -> Result<(u64, u64), CertificateError> {
    let read = Certificate::from_der(certificate).map_err(|error| {
        PemFile::Certificate
            .error(format!("begins with a certificate that cannot be parsed ({error}); create it again"))
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

    /// A certificate and its key in a temporary directory.
    pub(crate) struct CertificateFiles {
        _home: TempDir,
        pub(crate) certificate: PathBuf,
        pub(crate) key: PathBuf,
    }

    impl CertificateFiles {
        /// A self-signed certificate for `name`, valid in these years after 2026.
        pub(crate) fn new(name: &str, years: Range<i32>) -> Self {
            let home = tempfile::tempdir().unwrap();
            let (certificate, key) = (home.path().join("tls.crt"), home.path().join("tls.key"));
            let files = Self { _home: home, certificate, key };
            files.renew(name, years);
            files
        }

        /// Replaces both files.
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

    use super::fixtures::CertificateFiles;
    use super::*;

    fn read_invalid(files: &CertificateFiles) -> (PemFile, String) {
        let CertificateError { file, reason } = read(&files.certificate, &files.key).unwrap_err();
        (file, reason)
    }

    #[test]
    fn validity_is_read_from_the_certificate() {
        let files = CertificateFiles::new("proxy.example", 0..4);
        let pair = read(&files.certificate, &files.key).unwrap();
        assert_eq!((pair.valid_from, pair.valid_until), (1_767_225_600, 1_893_456_000));
        assert_eq!(pair.key.cert.len(), 1);
    }

    #[test]
    fn key_of_another_certificate_is_rejected() {
        let (one, other) =
            (CertificateFiles::new("proxy.example", 0..1), CertificateFiles::new("proxy.example", 0..1));
        fs::copy(&other.key, &one.key).unwrap();
        let (file, reason) = read_invalid(&one);
        assert!(file == PemFile::Key && reason.contains("does not belong"), "{reason}");
    }

    #[test]
    fn key_readable_by_other_users_is_rejected() {
        let files = CertificateFiles::new("proxy.example", 0..1);
        for mode in [0o644, 0o604, 0o660, 0o666] {
            fs::set_permissions(&files.key, Permissions::from_mode(mode)).unwrap();
            let (file, reason) = read_invalid(&files);
            assert!(file == PemFile::Key && reason.contains(&format!("(mode {mode:04o})")), "{reason}");
        }
        assert!(
            !is_world_readable(0o100_640, true)
                && !is_world_readable(0o100_440, true)
                && is_world_readable(0o100_640, false)
        );
    }

    #[test]
    fn invalid_pem_is_rejected_without_its_contents() {
        for (certificate, key, file) in [
            ("canary", None, PemFile::Certificate),
            ("", None, PemFile::Certificate),
            ("-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n", None, PemFile::Certificate),
            (
                "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n",
                None,
                PemFile::Certificate,
            ),
            ("-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n", None, PemFile::Certificate),
            ("", Some("canary"), PemFile::Key),
            ("", Some("-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n"), PemFile::Key),
            (
                "",
                Some(
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                PemFile::Key,
            ),
        ] {
            let files = CertificateFiles::new("proxy.example", 0..1);
            match key {
                Some(key) => fs::write(&files.key, key).unwrap(),
                None => fs::write(&files.certificate, certificate).unwrap(),
            }
            let (found, reason) = read_invalid(&files);
            assert_eq!(found, file, "{reason}");
            assert!(!reason.contains("canary") && !reason.contains("Y2Fu"), "{reason}");
        }
    }
}
