//! Signatures: tokens are made with one key and accepted with several, so that keys can be changed without a break.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::claims::{Expected, UniqueObject};
use super::{Claims, TokenError};
use crate::config;
use crate::secret::Secret;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 8192;
const ALGORITHM: &str = "HS256";
const HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

/// The keys that tokens are signed with, and what tokens have to say.
#[derive(Clone)]
pub struct JwtKeys {
    /// Keyed once, cloned for each use. The first one signs; all are accepted.
    keyed: Vec<Hmac<Sha256>>,
    expected: Expected,
}

impl std::fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtKeys").field("accepted", &self.keyed.len()).finish_non_exhaustive()
    }
}

impl JwtKeys {
    /// The keys of the configuration; `None` when authentication is off.
    #[must_use]
    pub fn new(config: &config::Auth) -> Option<Self> {
        let secrets = config.secret.iter().chain(&config.previous_secrets);
        // A key of any length can be used, so that none is left out here.
        let keyed = |secret: &Secret| Hmac::new_from_slice(secret.expose().as_bytes()).ok();
        let keyed: Vec<_> = secrets.filter_map(keyed).collect();
        let expected = Expected {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway: i64::try_from(config.leeway.as_secs()).unwrap_or(i64::MAX),
        };
        config.secret.as_ref().map(|_| Self { keyed, expected })
    }

    /// What `token` says, when all of it holds at `now` (seconds since the epoch). The order of the checks: form,
    /// algorithm, signature, `exp`, `nbf`, `iss`, `aud`, `user_id`, the rest.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        check_header(&decode(header)?)?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        // Every key is tried; each comparison takes as long as any other.
        if !self.keyed.iter().any(|key| keyed(key, signed).verify_slice(&signature).is_ok()) {
            return Err(TokenError::Signature);
        }
        Claims::read(&payload, &self.expected, now)
    }

    /// Whether a token that expires at `expires_at` is over at `now`, both in seconds since the epoch.
    #[must_use]
    pub fn is_expired(&self, expires_at: i64, now: i64) -> bool {
        now.saturating_sub(self.expected.leeway) >= expires_at
    }

    /// A token that says `claims`, with the issuer and the audience that are expected here.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> Secret {
        let payload = URL_SAFE_NO_PAD.encode(claims.write(&self.expected));
        let mut token = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(HEADER));
        let signature = self.keyed.first().map(|key| keyed(key, &token).finalize().into_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.unwrap_or_default(), &mut token);
        Secret::new(token)
    }
}

fn keyed(key: &Hmac<Sha256>, signed: &str) -> Hmac<Sha256> {
    let mut mac = key.clone();
    mac.update(signed.as_bytes());
    mac
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// Only the algorithm counts. `kid`, `jku`, `x5u` and `jwk` are a sender's word about keys and are not looked at;
/// what a header calls critical (`crit`) would have to be understood, and nothing is.
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
