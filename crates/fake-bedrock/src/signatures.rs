//! Generated ids, signatures of thinking, and redacted thinking.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Mac as _;

use crate::auth::hmac_sha256;

/// Signing key of thinking; no secret.
const KEY: &[u8] = b"fake-bedrock thinking";

/// Length of an HMAC, in bytes.
const MAC_BYTES: usize = 32;

/// What a signature is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// Models that can read each other's blocks.
    pub(crate) reader: &'static str,
    /// Hash of the conversation before the block.
    pub(crate) prefix: [u8; 32],
}

/// Signs the text of a thinking block: an HMAC of the text, and one of the text and its binding.
pub(crate) fn sign(text: &str, binding: Option<&Binding>) -> String {
    let mac = |message: &[u8]| hmac_sha256(KEY, message).map(|mac| mac.finalize().into_bytes().to_vec());
    let mut signature = mac(text.as_bytes()).unwrap_or_default();
    if let Some(binding) = binding {
        signature.extend(mac(&bound_message(text, binding)).unwrap_or_default());
    }
    BASE64.encode(signature)
}

fn bound_message(text: &str, binding: &Binding) -> Vec<u8> {
    [binding.reader.as_bytes(), &binding.prefix, text.as_bytes()].concat()
}

/// Whether [`sign`] made the signature for this text.
pub(crate) fn is_valid_signature(text: &str, signature: &str) -> bool {
    let signature = BASE64.decode(signature).unwrap_or_default();
    let of_text = signature.get(..MAC_BYTES).unwrap_or_default();
    hmac_sha256(KEY, text.as_bytes()).is_some_and(|mac| mac.verify_slice(of_text).is_ok())
}

/// Whether [`sign`] made the signature for this text and this binding.
pub(crate) fn is_bound_signature(text: &str, signature: &str, binding: &Binding) -> bool {
    let signature = BASE64.decode(signature).unwrap_or_default();
    let of_binding = signature.get(MAC_BYTES..).unwrap_or_default();
    hmac_sha256(KEY, &bound_message(text, binding)).is_some_and(|mac| mac.verify_slice(of_binding).is_ok())
}

/// Data of redacted thinking, which [`is_issued_data`] recognizes.
pub(crate) fn redacted_data(seed: u64, binding: Option<&Binding>) -> String {
    let body = format!("EmwKAhgB{seed:016x}");
    format!("{body}.{}", sign(&body, binding))
}

/// Body and signature of redacted thinking.
pub(crate) fn redacted_body(data: &str) -> Option<(&str, &str)> {
    data.split_once('.')
}

/// Whether [`redacted_data`] made this data.
pub(crate) fn is_issued_data(data: &str) -> bool {
    redacted_body(data).is_some_and(|(body, signature)| is_valid_signature(body, signature))
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
        let signature = sign("thought", None);
        assert!(is_valid_signature("thought", &signature));
        assert!(!is_valid_signature("altered", &signature));
        assert!(!is_valid_signature("thought", "not base64"));
    }

    #[test]
    fn bound_signature_is_valid_for_its_prefix_only() {
        let binding = Binding { reader: "m", prefix: [1; 32] };
        let signature = sign("thought", Some(&binding));
        assert!(is_valid_signature("thought", &signature), "older models check the text only");
        assert!(is_bound_signature("thought", &signature, &binding));
        for other in [Binding { prefix: [2; 32], ..binding.clone() }, Binding { reader: "n", ..binding }] {
            assert!(!is_bound_signature("thought", &signature, &other));
        }
        assert!(!is_bound_signature("thought", &sign("thought", None), &binding));
    }
}
