//! The cryptography of TLS, chosen by a Cargo feature: ring, or AWS's, which has post-quantum key exchange.
//!
//! rustls cannot choose a provider itself when the program is built with both, so each TLS configuration names this one.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as chosen;

/// The elliptic curves of server keys that the provider signs with.
#[cfg(feature = "aws-lc-rs")]
pub(crate) const CURVES: &str = "P-256, P-384, P-521";
/// The elliptic curves of server keys that the provider signs with.
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) const CURVES: &str = "P-256, P-384";

/// The provider of all TLS connections.
#[must_use]
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(chosen::default_provider())
}
