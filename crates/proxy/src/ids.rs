//! Random ids and fractions. Only this file reads random numbers of the system.

use std::fmt;

/// 62 letters and digits, the alphabet of Anthropic's ids.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of an id after its prefix: 142 random bits, so that ids never repeat.
const ID_LENGTH: usize = 24;

/// The id of one request: `req_` and 24 letters and digits.
///
/// It occurs in the `request-id` header, in `request_id` of an error and in the access log.
/// <https://docs.anthropic.com/en/api/errors#request-id>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Generates an id.
    #[must_use]
    pub fn generate() -> Self {
        Self(id("req_"))
    }

    /// The id as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Generates the id of a message: `msg_` and 24 letters and digits.
#[must_use]
pub(crate) fn message_id() -> String {
    id("msg_")
}

/// Generates the id of a chat completion: `chatcmpl-` and 24 letters and digits.
#[must_use]
pub(crate) fn completion_id() -> String {
    id("chatcmpl-")
}

/// Generates the id of an event: `evt_` and 24 letters and digits.
#[must_use]
pub fn event_id() -> String {
    id("evt_")
}

/// Generates the id of a token made at `now`, in milliseconds since the epoch; ids of later tokens sort after it.
#[must_use]
pub(crate) fn token_id(now: i64) -> String {
    id(&format!("tok_{now:012x}"))
}

/// Generates a key that signs tokens: 48 letters and digits.
#[must_use]
#[cfg(feature = "demo")]
pub(crate) fn signing_key() -> String {
    id(&id(""))
}

/// Generates the pseudonym of a user whose name is erased: `erased-` and 24 letters and digits.
#[must_use]
pub(crate) fn pseudonym() -> String {
    id("erased-")
}

/// Generates the id of a replica: `gw_` and 24 letters and digits.
#[must_use]
pub(crate) fn holder() -> String {
    id("gw_")
}

/// Generates the id of a trace; never all zero, which is invalid in W3C Trace Context.
#[must_use]
pub(crate) fn trace_id() -> [u8; 16] {
    random_bytes()
}

/// Generates the id of a span; never all zero.
#[must_use]
pub(crate) fn span_id() -> [u8; 8] {
    random_bytes()
}

/// Checks once at start that the system provides random numbers.
///
/// # Errors
/// When it provides none: ids would repeat, and a usage record with a repeated id would be dropped.
pub(crate) fn check() -> Result<(), String> {
    getrandom::u32().map(drop).map_err(|error| {
        format!("the system provides no random numbers ({error}); allow the process to read /dev/urandom")
    })
}

/// A random fraction in `0.0..1.0`, for the jitter of retries.
#[must_use]
pub(crate) fn fraction() -> f64 {
    // An f64 represents 53 bits exactly.
    let bits = getrandom::u64().unwrap_or(u64::MAX / 2) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}

/// Random bytes of the system.
fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [1; N];
    // An error would repeat ids; `check` has excluded it at start.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

fn id(prefix: &str) -> String {
    let bytes = random_bytes::<ID_LENGTH>();
    let mut id = String::with_capacity(prefix.len() + ID_LENGTH);
    id.push_str(prefix);
    id.extend(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_prefix_and_24_characters() {
        for id in [RequestId::generate().to_string(), message_id()] {
            let (_, random) = id.split_at(4);
            assert_eq!(random.len(), 24);
            assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        }
        assert_ne!(RequestId::generate(), RequestId::generate());
    }

    #[test]
    fn fraction_is_below_one() {
        assert!((0..1000).all(|_| (0.0..1.0).contains(&fraction())));
    }
}
