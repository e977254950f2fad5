//! The one HTTP client: HTTP/1.1 over rustls, pooled. `bedrock` and `telemetry` send with it; `healthcheck` and `doctor`
//! use it to request the health of a server on this machine.
//!
//! Not HTTP/2: the pool keeps one HTTP/2 connection per host, and long streams would queue for its slots.

mod connector;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::crypto;
use crate::error_text::with_causes;
use connector::Connector;
pub(crate) use connector::is_closed_idle_connection;

/// Limit for the TCP connection alone. A SYN that is lost is sent again after 1 s (RFC 6298), so 3 s allow two losses.
const TCP_TIMEOUT: Duration = Duration::from_secs(3);
/// Shorter than the 60 s after which AWS load balancers close an idle connection, so that no request meets a close.
/// <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-load-balancer-attributes.html>
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Idle connections beyond these are closed: each keeps its buffers of up to [`MAX_READ_BUFFER_BYTES`].
const MAX_IDLE_CONNECTIONS: usize = 64;
/// Upper bound of the read-ahead of one connection. hyper's own default lets the buffer grow to about 400 KB.
const MAX_READ_BUFFER_BYTES: usize = 64 << 10;
/// Limit for a whole health request: shorter than the 5 s that container platforms allow for a check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);
/// A health response has a few hundred bytes; the limit keeps another program on the port from filling the memory.
const MAX_HEALTH_BYTES: usize = 64 << 10;

type Inner = legacy::Client<Connector, Full<Bytes>>;

/// An HTTP client with its connection pool. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pooled: Inner,
    /// Opens a connection for each request, and shares none.
    unpooled: Inner,
}

/// Which connection a request is sent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConnectionReuse {
    /// An idle connection of the pool, or a new one.
    #[default]
    Allowed,
    /// A new connection, as the pool may hold more connections that the peer has closed.
    Forbidden,
}

impl Client {
    /// Sends `request` and returns the head of the response.
    ///
    /// # Errors
    /// When there is no connection, or no response on it.
    pub(crate) async fn request(
        &self,
        request: Request<Full<Bytes>>,
        reuse: ConnectionReuse,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let client = match reuse {
            ConnectionReuse::Allowed => &self.pooled,
            ConnectionReuse::Forbidden => &self.unpooled,
        };
        client.request(request).await
    }
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The endpoint is not a URL.
    #[error("the Bedrock endpoint is not a URL: {0}")]
    Endpoint(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The system has no root certificates.
    #[error("no root certificates: {0}; install ca-certificates, or set SSL_CERT_FILE or AWS_CA_BUNDLE")]
    NoRoots(std::io::Error),
    /// The file named by `AWS_CA_BUNDLE` contains no usable certificate.
    #[error("AWS_CA_BUNDLE={}: {reason}", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Builds a client. Root certificates are loaded only for `https`: those of `ca_bundle`, or the system's.
///
/// # Errors
/// When there are no root certificates, or TLS cannot be set up.
pub(crate) fn new(https: bool, ca_bundle: Option<&Path>) -> Result<Client, HttpClientError> {
    Ok(ClientBuilder::new(https, ca_bundle)?.build(None))
}

/// Builds clients with the same root certificates and different time limits.
#[derive(Clone, Debug)]
pub(crate) struct ClientBuilder(ClientConfig);

impl ClientBuilder {
    /// As [`new`], without the client.
    pub(crate) fn new(https: bool, ca_bundle: Option<&Path>) -> Result<Self, HttpClientError> {
        Ok(Self(if https { tls_config(ca_bundle)? } else { config_trusting(RootCertStore::empty())? }))
    }

    /// A client whose TCP connections are made within `tcp_timeout`, at most 3 s.
    pub(crate) fn build(&self, tcp_timeout: Option<Duration>) -> Client {
        with_tls(self.0.clone(), tcp_timeout.map_or(TCP_TIMEOUT, |timeout| timeout.min(TCP_TIMEOUT)))
    }
}

/// Whether the time limit of a connection ended the request.
pub(crate) fn is_timeout(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn with_tls(tls: ClientConfig, tcp_timeout: Duration) -> Client {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(tcp_timeout));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    let connector = Connector(https);
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .http1_max_buf_size(MAX_READ_BUFFER_BYTES);
    let pooled = builder.build(connector.clone());
    Client { pooled, unpooled: builder.pool_max_idle_per_host(0).build(connector) }
}

fn tls_config(ca_bundle: Option<&Path>) -> Result<ClientConfig, HttpClientError> {
    match ca_bundle {
        Some(path) => config_trusting(read_ca_bundle(path)?),
        None => {
            let builder = tls_builder()?.with_native_roots().map_err(HttpClientError::NoRoots)?;
            Ok(builder.with_no_client_auth())
        }
    }
}

fn config_trusting(roots: RootCertStore) -> Result<ClientConfig, HttpClientError> {
    Ok(tls_builder()?.with_root_certificates(roots).with_no_client_auth())
}

fn tls_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(crypto::provider()).with_safe_default_protocol_versions()
}

fn read_ca_bundle(path: &Path) -> Result<RootCertStore, HttpClientError> {
    let error = |reason: String| HttpClientError::CaBundle { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|cause| error(cause.to_string()))? {
        let certificate = certificate.map_err(|cause| error(cause.to_string()))?;
        roots.add(certificate).map_err(|cause| error(cause.to_string()))?;
    }
    if roots.is_empty() { Err(error("contains no certificate".to_owned())) } else { Ok(roots) }
}

/// The response of a server on this machine.
#[derive(Debug)]
pub(crate) struct HealthResponse {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

impl HealthResponse {
    /// Whether the status is 2xx.
    #[must_use]
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends GET `url` to a server on this machine, and accepts any certificate: the request carries no secret.
///
/// # Errors
/// When no complete response arrives within 4 s.
pub(crate) async fn get_local(url: &str) -> Result<HealthResponse, String> {
    let response = tokio::time::timeout(HEALTH_TIMEOUT, get(url)).await;
    response.unwrap_or_else(|_| Err(format!("{url}: no response within {} s", HEALTH_TIMEOUT.as_secs())))
}

/// The address that reaches a listener on `host` from the same machine: loopback for an unspecified address.
#[must_use]
pub(crate) fn loopback_for(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        address => address,
    }
}

async fn get(url: &str) -> Result<HealthResponse, String> {
    let failed = |error: &dyn std::error::Error| format!("{url}: {}", with_causes(error));
    let provider = crypto::provider();
    let tls = tls_builder()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider)))
        .with_no_client_auth();
    let request = Request::get(url).body(Full::default());
    let request = request.map_err(|_| format!("{url}: not a URL such as http://127.0.0.1:8081"))?;
    let response = with_tls(tls, TCP_TIMEOUT)
        .request(request, ConnectionReuse::Forbidden)
        .await
        .map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_HEALTH_BYTES).collect().await;
    let body = body.map_err(|error| failed(&*error))?.to_bytes();
    Ok(HealthResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Accepts every certificate.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_bundle_without_certificates_is_rejected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        let error = read_ca_bundle(file.path()).unwrap_err();
        assert!(error.to_string().contains("contains no certificate"), "{error}");
    }
}
