//! The connections to Bedrock: HTTP/1.1 over rustls, pooled.
//!
//! HTTP/1.1 on purpose: the pool keeps one HTTP/2 connection per host, and long streams would queue for its slots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the 60 s after which load balancers drop an idle connection.
const IDLE_IN_POOL: Duration = Duration::from_secs(50);

/// Idle connections beyond these are closed: each holds its buffers.
const MOST_IDLE: usize = 64;
/// The most that is read ahead on a connection, in bytes. Left to itself the buffer grows to 400 KB.
const READ_BUFFER: usize = 64 << 10;

/// A client with its pool. Cheap to clone.
pub type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Why no connection could ever be made.
#[derive(Debug, thiserror::Error)]
pub enum NoTransport {
    /// The endpoint makes no URL.
    #[error("the Bedrock endpoint is not a URL: {0}")]
    Endpoint(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The system has no root certificates.
    #[error("no root certificates: {0}; install ca-certificates, or set SSL_CERT_FILE or AWS_CA_BUNDLE")]
    NoRoots(std::io::Error),
    /// The file named by `AWS_CA_BUNDLE` holds none.
    #[error("AWS_CA_BUNDLE={}: {reason}", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A client. Root certificates are only loaded when something is reached by TLS: those of `ca_bundle`, or the system's.
///
/// # Errors
/// When there are none.
pub fn client(https: bool, ca_bundle: Option<&Path>) -> Result<Client, NoTransport> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = if https { tls(ca_bundle)? } else { trusting(RootCertStore::empty())? };
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_IN_POOL)
        .pool_max_idle_per_host(MOST_IDLE)
        .http1_max_buf_size(READ_BUFFER)
        .build(connector);
    Ok(client)
}

fn tls(ca_bundle: Option<&Path>) -> Result<ClientConfig, NoTransport> {
    match ca_bundle {
        Some(path) => trusting(read_bundle(path)?),
        None => {
            let builder = builder()?.with_native_roots().map_err(NoTransport::NoRoots)?;
            Ok(builder.with_no_client_auth())
        }
    }
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, NoTransport> {
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn read_bundle(path: &Path) -> Result<RootCertStore, NoTransport> {
    let broken = |reason: String| NoTransport::Bundle { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| broken(error.to_string()))? {
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        roots.add(certificate).map_err(|error| broken(error.to_string()))?;
    }
    if roots.is_empty() { Err(broken("contains no certificate".to_owned())) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nothing").unwrap();
        let error = read_bundle(file.path()).unwrap_err();
        assert!(error.to_string().contains("contains no certificate"), "{error}");
    }
}
