//! Ids and chance: the only room that rolls dice.

use std::fmt;

/// 62 letters and digits, the alphabet of Anthropic's own ids.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const LENGTH: usize = 24;

/// The id of one request: `req_` and 24 letters and digits (142 bits of chance).
///
/// It stands in the `request-id` header, in `request_id` of an error and in the access log.
/// <https://docs.anthropic.com/en/api/errors#request-id>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Draws a new id.
    #[must_use]
    pub fn draw() -> Self {
        Self(id("req_"))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Draws the id of a message: `msg_` and 24 letters and digits.
#[must_use]
pub fn message_id() -> String {
    id("msg_")
}

/// Draws the id of a chat completion: `chatcmpl-` and 24 letters and digits.
#[must_use]
pub fn completion_id() -> String {
    id("chatcmpl-")
}

/// Draws the id of an event: `evt_` and 24 letters and digits.
#[must_use]
pub fn event_id() -> String {
    id("evt_")
}

/// Draws the id of a token made at `now`, in milliseconds since the epoch; ids of later tokens sort after it.
#[must_use]
pub fn token_id(now: i64) -> String {
    id(&format!("tok_{now:012x}"))
}

/// Draws what a process calls itself among replicas: `gw_` and 24 letters and digits.
#[must_use]
pub fn holder() -> String {
    id("gw_")
}

/// Draws the id of a trace; never all zero, which would mean none.
#[must_use]
pub fn trace_id() -> [u8; 16] {
    chance()
}

/// Draws the id of a part of a trace; never all zero.
#[must_use]
pub fn span_id() -> [u8; 8] {
    chance()
}

/// Whether there is any chance to draw from. Asked once, before anything is served.
///
/// # Errors
/// When the kernel gives none: ids would be equal then, and of two usage rows with one id only the first counts.
pub fn check() -> Result<(), String> {
    getrandom::u32().map(drop).map_err(|error| {
        format!("the system gives no random numbers ({error}); let the process read /dev/urandom")
    })
}

/// A fraction in `0.0..1.0`, to spread retries.
#[must_use]
pub fn fraction() -> f64 {
    // 53 bits are what an f64 holds exactly.
    let bits = getrandom::u64().unwrap_or(u64::MAX / 2) >> 11;
    #[allow(clippy::cast_precision_loss)]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}

/// Bytes of the kernel's chance.
fn chance<const N: usize>() -> [u8; N] {
    let mut chance = [1; N];
    // Without the kernel's chance an id repeats; `check` has seen that there is some.
    let _ = getrandom::fill(&mut chance);
    chance
}

fn id(prefix: &str) -> String {
    let chance = chance::<LENGTH>();
    let mut id = String::with_capacity(prefix.len() + LENGTH);
    id.push_str(prefix);
    id.extend(chance.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_prefix_and_24_letters_or_digits() {
        for id in [RequestId::draw().to_string(), message_id()] {
            let (_, random) = id.split_at(4);
            assert_eq!(random.len(), 24);
            assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        }
        assert_ne!(RequestId::draw(), RequestId::draw());
    }

    #[test]
    fn a_fraction_is_below_one() {
        assert!((0..1000).all(|_| (0.0..1.0).contains(&fraction())));
    }
}
