//! Generated ids, signatures of thinking, and redacted thinking.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Mac as _;

use crate::auth::hmac_sha256;

/// Signing key of thinking; no secret.
const KEY: &[u8] = b"fake-bedrock thinking";

/// Signs the text of a thinking block.
pub(crate) fn sign(text: &str) -> String {
    hmac_sha256(KEY, text.as_bytes())
        .map(|mac| BASE64.encode(mac.finalize().into_bytes()))
        .unwrap_or_default()
}

/// Whether [`sign`] made the signature for this text.
pub(crate) fn is_valid_signature(text: &str, sign: &str) -> bool {
    let sign = BASE64.decode(sign).unwrap_or_default();
    hmac_sha256(KEY, text.as_bytes()).is_some_and(|mac| mac.verify_slice(&sign).is_ok())
}

/// Data of redacted thinking, which [`is_issued_data`] recognizes.
pub(crate) fn redacted_data(seed: u64) -> String {
    let body = format!("EmwKAhgB{seed:016x}");
    format!("{body}.{}", sign(&body))
}

/// Whether [`redacted_data`] made this data.
pub(crate) fn is_issued_data(data: &str) -> bool {
    data.split_once('.').is_some_and(|(body, sign)| is_valid_signature(body, sign))
}

/// Whether this base64 encodes data that [`redacted_data`] made.
pub(crate) fn is_issued_base64(base64: &str) -> bool {
    BASE64
        .decode(base64)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .is_some_and(|data| is_issued_data(&data))
}

/// Id of 22 characters, as in AWS's tool use ids.
pub(crate) fn base62(seed: u64) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut state = seed;
    (0..22)
        .map(|_| {
            state = mix(state);
            char::from(DIGITS[(state % 62) as usize])
        })
        .collect()
}

/// The `SplitMix64` step: turns a counter into a pseudorandom number.
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_valid_for_its_text_only() {
        assert!(is_valid_signature("thought", &sign("thought")));
        assert!(!is_valid_signature("altered", &sign("thought")));
        assert!(!is_valid_signature("thought", "not base64"));
    }
}
