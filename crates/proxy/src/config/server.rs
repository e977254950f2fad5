//! The listener: address, limits, timeouts, shutdown and TLS.
//!
//! The TLS files are read once here, so that `config check` finds errors in them; the server reads them again
//! (`crate::certificate`, `server::tls`).

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::AuthConfig;
use super::browser::{self, BrowserConfig};
use super::env::EnvReader;
use crate::certificate::{self, CertificateError, PemFile};

/// Address, limits, timeouts and TLS of the listener.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `HOST`: the listen address; loopback unless there is `JWT_SECRET_KEY` or `ALLOW_UNAUTHENTICATED=true`.
    pub(crate) host: IpAddr,
    /// `PORT`; 0 lets the system choose.
    pub(crate) port: u16,
    /// Max open connections; further connections wait in the kernel's queue.
    pub max_connections: usize,
    /// `MAX_BODY_BYTES`: larger requests get 413.
    pub(crate) max_body_bytes: usize,
    /// Limit for the first request head of a connection.
    pub header_timeout: Duration,
    /// Limit for a request body.
    pub body_timeout: Duration,
    /// Limit for a client that does not read its response.
    pub write_timeout: Duration,
    /// `SHUTDOWN_GRACE_SECONDS`: limit for open requests after SIGTERM.
    pub shutdown_grace: Duration,
    /// `SHUTDOWN_DELAY_SECONDS`: time after SIGTERM in which `/readyz` fails and requests are still accepted, so that
    /// load balancers stop sending requests first.
    pub shutdown_delay: Duration,
    /// `ALLOWED_HOSTS` and `CORS_ALLOWED_ORIGINS`.
    pub(crate) browsers: BrowserConfig,
    /// `TLS_CERT_FILE` and companions; `None` is plain HTTP.
    pub(crate) tls: Option<TlsConfig>,
}

/// Certificate and key of TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsConfig {
    /// `TLS_CERT_FILE`: a PEM file with the certificate and its intermediate certificates.
    pub(crate) certificate: PathBuf,
    /// `TLS_KEY_FILE`: a PEM file with the private key.
    pub(crate) key: PathBuf,
}

/// Each connection may need an upstream one: both fit into the usual limit of 65,536 file descriptors.
const MAX_CONNECTIONS: usize = 10_000;
/// A head fits into a few packets: 10 s allow retransmissions and end slow-header attacks.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// 32 MB in 60 s need 4.5 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Twice nginx's `send_timeout`, for clients on unstable networks.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
const CERTIFICATE: &str = "TLS_CERT_FILE";
const KEY: &str = "TLS_KEY_FILE";

pub(super) fn server(env: &mut EnvReader<'_>, auth: &AuthConfig) -> ServerConfig {
    ServerConfig {
        host: env.parse("HOST", |text| host(text, auth)).unwrap_or(Ipv4Addr::LOCALHOST.into()),
        port: env.number("PORT"),
        max_connections: MAX_CONNECTIONS,
        // The request size limit of the Messages API. <https://docs.anthropic.com/en/api/errors#request-size-limits>
        max_body_bytes: env.number("MAX_BODY_BYTES"),
        header_timeout: HEADER_TIMEOUT,
        body_timeout: BODY_TIMEOUT,
        write_timeout: WRITE_TIMEOUT,
        // The default grace period of Kubernetes.
        shutdown_grace: env.seconds("SHUTDOWN_GRACE_SECONDS"),
        // Only servers behind a load balancer need a delay.
        shutdown_delay: env.seconds("SHUTDOWN_DELAY_SECONDS"),
        browsers: browser::browsers(env, auth),
        tls: tls(env),
    }
}

fn host(text: &str, auth: &AuthConfig) -> Result<IpAddr, &'static str> {
    let text = if text == "localhost" { "127.0.0.1" } else { text };
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() || auth.secret.is_some() || auth.allow_unauthenticated => {
            Ok(address)
        }
        Ok(_) => {
            Err("without authentication, every client that reaches this address spends your AWS money; set \
             JWT_SECRET_KEY to require tokens, or use 127.0.0.1, or set ALLOW_UNAUTHENTICATED=true if a proxy in \
             front of it authenticates clients")
        }
        Err(_) => Err("not an IP address; use 127.0.0.1, ::1 or 0.0.0.0"),
    }
}

/// Both files, or neither.
fn tls(env: &mut EnvReader<'_>) -> Option<TlsConfig> {
    let (certificate, key) = match (env.text(CERTIFICATE), env.text(KEY)) {
        (None, None) => return None,
        (Some(_), None) => {
            env.error(KEY, None, "missing beside TLS_CERT_FILE; name the PEM file of its private key");
            return None;
        }
        (None, Some(_)) => {
            env.error(CERTIFICATE, None, "missing beside TLS_KEY_FILE; name the PEM file of its certificate");
            return None;
        }
        (Some(certificate), Some(key)) => (certificate, key),
    };
    let tls = TlsConfig { certificate: PathBuf::from(&certificate), key: PathBuf::from(&key) };
    if let Err(CertificateError { file, reason }) = certificate::read(&tls.certificate, &tls.key) {
        let (name, value) = match file {
            PemFile::Certificate => (CERTIFICATE, certificate),
            PemFile::Key => (KEY, key),
        };
        env.error(name, Some(&value), reason);
    }
    Some(tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::fixtures::CertificateFiles;
    use crate::config::env::lookup_in;
    use crate::config::{Config, ConfigError};

    fn load(pairs: &[(&str, &str)]) -> Result<Option<TlsConfig>, Vec<ConfigError>> {
        Config::load(lookup_in(pairs)).map(|config| config.server.tls)
    }

    #[test]
    fn tls_needs_certificate_and_key() {
        assert!(load(&[]).unwrap().is_none());
        for (set, missing) in [(CERTIFICATE, KEY), (KEY, CERTIFICATE)] {
            let errors = load(&[(set, "/nonexistent.pem")]).unwrap_err();
            assert_eq!(errors[0].variable, missing);
        }
    }

    #[test]
    fn tls_error_names_the_variable_of_the_file() {
        let files = CertificateFiles::new("proxy.example", 0..1);
        let (certificate, key) = files.names();
        assert!(load(&[(CERTIFICATE, certificate), (KEY, key)]).unwrap().is_some());
        for (variables, name) in [
            ([(CERTIFICATE, "/nonexistent.pem"), (KEY, key)], CERTIFICATE),
            ([(CERTIFICATE, certificate), (KEY, "/nonexistent.pem")], KEY),
            ([(CERTIFICATE, certificate), (KEY, certificate)], KEY),
        ] {
            let errors = load(&variables).unwrap_err();
            assert_eq!((errors.len(), errors[0].variable.as_str()), (1, name), "{errors:?}");
        }
    }
}
