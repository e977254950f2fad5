//! JSON Web Tokens: one key signs, several verify, so that keys can be rotated without interruption.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::claims::{Expected, UniqueObject};
use super::{Claims, TokenError};
use crate::config;
use crate::secret::Secret;

/// Maximum length of a token in bytes: hyper's usual limit for headers would allow more, but tokens have some 300.
const MAX_TOKEN_BYTES: usize = 8192;
const ALGORITHM: &str = "HS256";
const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

/// Keys of tokens, and the values that claims must have.
#[derive(Clone)]
pub(crate) struct JwtKeys {
    /// Initialized once, cloned for each use. The first one signs; all verify.
    macs: Vec<Hmac<Sha256>>,
    expected: Expected,
}

impl std::fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtKeys").field("accepted", &self.macs.len()).finish_non_exhaustive()
    }
}

impl JwtKeys {
    /// Keys of the configuration; `None` when authentication is off.
    #[must_use]
    pub(crate) fn new(config: &config::AuthConfig) -> Option<Self> {
        let secrets = config.secret.iter().chain(&config.previous_secrets);
        // HMAC accepts keys of any length, so no key is dropped here.
        let mac = |secret: &Secret| Hmac::new_from_slice(secret.expose().as_bytes()).ok();
        let macs: Vec<_> = secrets.filter_map(mac).collect();
        let expected = Expected {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway: i64::try_from(config.leeway.as_secs()).unwrap_or(i64::MAX),
        };
        config.secret.as_ref().map(|_| Self { macs, expected })
    }

    /// Verifies `token` at `now` (seconds since the epoch). Order of the checks: form, algorithm, signature, `exp`, `nbf`,
    /// `iss`, `aud`, `user_id`, other claims.
    ///
    /// # Errors
    /// The first check that fails.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        check_header(&decode(header)?)?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        // Each comparison takes constant time.
        if !self.macs.iter().any(|key| mac_of(key, signed).verify_slice(&signature).is_ok()) {
            return Err(TokenError::Signature);
        }
        Claims::parse(&payload, &self.expected, now)
    }

    /// Whether a token that expires at `expires_at` is expired at `now`, both in seconds since the epoch.
    #[must_use]
    pub(crate) fn is_expired(&self, expires_at: i64, now: i64) -> bool {
        now.saturating_sub(self.expected.leeway) >= expires_at
    }

    /// Digests of the name of a user, one for each key: they cannot be computed from the database alone.
    #[must_use]
    pub(crate) fn name_digests(&self, name: &str) -> Vec<String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // A signed text has no colon.
        let digest = |key| hex(&mac_of(key, &format!("erased-name:{name}")).finalize().into_bytes());
        self.macs.iter().map(digest).collect()
    }

    /// Signs a token with `claims`, and with the expected issuer and audience.
    #[must_use]
    pub(crate) fn sign(&self, claims: &Claims) -> Secret {
        let payload = URL_SAFE_NO_PAD.encode(claims.encode(&self.expected));
        let mut token = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(HEADER));
        let signature = self.macs.first().map(|key| mac_of(key, &token).finalize().into_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.unwrap_or_default(), &mut token);
        Secret::new(token)
    }
}

fn mac_of(key: &Hmac<Sha256>, signed: &str) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(signed.as_bytes());
    mac
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// Accepts only the algorithm HS256. `kid`, `jku`, `x5u` and `jwk` are ignored, because a sender must not choose the key;
/// `crit` is rejected, because no extension is supported.
fn check_header(header: &[u8]) -> Result<(), TokenError> {
    let UniqueObject(header) = serde_json::from_slice(header).map_err(|_| TokenError::Malformed)?;
    if header.get("alg").and_then(Value::as_str) != Some(ALGORITHM) {
        return Err(TokenError::Algorithm);
    }
    let typ = header.get("typ").map(|typ| typ.as_str().unwrap_or_default());
    if header.contains_key("crit") || typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(TokenError::Malformed);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
