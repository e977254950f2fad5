//! Whose requests are served: the keys that tokens are signed with, and what tokens have to say.

use std::time::Duration;

use super::env::Reader;
use crate::secret::Secret;

/// The shortest key, in characters.
const SHORTEST: usize = 32;
/// A key with fewer different characters was typed, not drawn.
const FEWEST_CHARACTERS: usize = 8;
/// What stands in examples.
const PLACEHOLDERS: [&str; 6] =
    ["changeme", "change-me", "change_me", "your-secret", "your_secret", "yoursecret"];
const CURRENT: &str = "JWT_SECRET_KEY";
const PREVIOUS: &str = "JWT_PREVIOUS_SECRET_KEYS";

/// Whose requests are served.
#[derive(Clone, Debug)]
pub struct Auth {
    /// `JWT_SECRET_KEY`: signs tokens and accepts them; `None` when everybody is served.
    pub secret: Option<Secret>,
    /// `JWT_PREVIOUS_SECRET_KEYS`: accepted, but not signed with.
    pub previous_secrets: Vec<Secret>,
    /// `JWT_ISSUER`: the claim `iss`.
    pub issuer: String,
    /// `JWT_AUDIENCE`: what the claim `aud` has to contain.
    pub audience: String,
    /// `JWT_EXPIRY_HOURS`: how long a token is valid when nobody says otherwise.
    pub expiry: Duration,
    /// `JWT_LEEWAY_SECONDS`: how far the clocks of two machines may differ.
    pub leeway: Duration,
    /// `ALLOW_UNAUTHENTICATED`: without a key, serve others than this machine, too.
    pub allow_unauthenticated: bool,
}

pub(super) fn auth(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Auth {
    let secret = reader.secret(CURRENT);
    let previous = reader.secret(PREVIOUS);
    let previous = previous.as_ref().map_or("", Secret::expose).split(',').map(str::trim);
    let previous_secrets: Vec<_> =
        previous.filter(|key| !key.is_empty()).map(|key| reader.hide(key)).collect();
    if secret.is_none() && !previous_secrets.is_empty() {
        reader.problem(PREVIOUS, None, "has no current key to go with; set JWT_SECRET_KEY, too");
    }
    let named = secret.iter().map(|key| (CURRENT, key));
    for (name, key) in named.chain(previous_secrets.iter().map(|key| (PREVIOUS, key))) {
        if let Some(weakness) = weakness(key.expose()) {
            reader.problem(name, None, format!("{weakness}; make one with `openssl rand -base64 48`"));
        }
    }
    Auth {
        secret,
        previous_secrets,
        issuer: reader.text_or("JWT_ISSUER", "bedrock-proxy"),
        audience: reader.text_or("JWT_AUDIENCE", "bedrock-api"),
        expiry: Duration::from_secs(3600 * reader.number("JWT_EXPIRY_HOURS", 24, 1..=87_600)),
        leeway: reader.seconds("JWT_LEEWAY_SECONDS", 60, 0..=600),
        allow_unauthenticated: reader.boolean("ALLOW_UNAUTHENTICATED", false),
    }
}

/// Why nobody should trust a signature by `key`.
fn weakness(key: &str) -> Option<&'static str> {
    let mut characters: Vec<char> = key.chars().collect();
    let length = characters.len();
    characters.sort_unstable();
    characters.dedup();
    let lower = key.to_ascii_lowercase();
    if length < SHORTEST {
        Some("is shorter than 32 characters, so it can be guessed")
    } else if key.starts_with("-----BEGIN") {
        Some("is a file of a key pair, of which one half is public")
    } else if characters.len() < FEWEST_CHARACTERS {
        Some("repeats a few characters, so it can be guessed")
    } else if PLACEHOLDERS.iter().any(|placeholder| lower.contains(placeholder)) {
        Some("is a placeholder that everybody knows")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Problem};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
        Config::load(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_a_key_everybody_on_this_machine_is_served() {
        let config = load(&[]).unwrap();
        assert!(config.auth.secret.is_none() && config.server.host.is_loopback());
        assert_eq!(
            (config.auth.issuer.as_str(), config.auth.audience.as_str()),
            ("bedrock-proxy", "bedrock-api")
        );
        assert_eq!((config.auth.expiry.as_secs(), config.auth.leeway.as_secs()), (86_400, 60));
    }

    #[test]
    fn with_a_key_any_address_may_be_listened_on() {
        assert!(load(&[("JWT_SECRET_KEY", KEY), ("HOST", "0.0.0.0")]).unwrap().server.host.is_unspecified());
        let both = load(&[("JWT_SECRET_KEY", KEY), ("ALLOW_UNAUTHENTICATED", "true")]).unwrap();
        assert!(both.warnings[0].contains("every request needs a token"), "{:?}", both.warnings);
    }

    #[test]
    fn weak_keys_are_refused_without_being_shown() {
        let weak = [
            "canary-too-short",
            "canarycanarycanarycanarycanarycanary",
            "-----BEGIN PUBLIC KEY----- canary MFkwEwYHKoZIzj0CAQYI",
            "changeme-canary-changeme-canary-changeme",
        ];
        for key in weak {
            for name in ["JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS"] {
                let problems =
                    load(&[("JWT_SECRET_KEY", KEY), (name, key)][usize::from(name == "JWT_SECRET_KEY")..]);
                let text = problems.unwrap_err().iter().map(ToString::to_string).collect::<String>();
                assert!(text.contains(name) && !text.contains("canary"), "{text}");
            }
        }
    }

    #[test]
    fn previous_keys_need_a_current_one() {
        let both = format!("{KEY}, abcdefghijklmnopqrstuvwxyz012345,");
        assert!(load(&[("JWT_PREVIOUS_SECRET_KEYS", &both)]).is_err());
        let config = load(&[("JWT_SECRET_KEY", KEY), ("JWT_PREVIOUS_SECRET_KEYS", &both)]).unwrap();
        assert_eq!(config.auth.previous_secrets.len(), 2);
    }
}
