//! Authentication: the keys that sign tokens, the claims that tokens must have, and what new users may spend.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::env::EnvReader;
use crate::secret::Secret;

/// Minimum key length in characters: HS256 needs a key of at least 256 bits.
/// <https://www.rfc-editor.org/rfc/rfc7518#section-3.2>
const MIN_KEY_CHARACTERS: usize = 32;
/// A random key of [`MIN_KEY_CHARACTERS`] hexadecimal digits has about 14 different ones; fewer than 8 means that a person
/// typed it.
const MIN_DISTINCT_CHARACTERS: usize = 8;
/// Words that occur in example keys.
const PLACEHOLDERS: [&str; 6] =
    ["changeme", "change-me", "change_me", "your-secret", "your_secret", "yoursecret"];
/// RFC 7519 allows "no more than a few minutes". <https://www.rfc-editor.org/rfc/rfc7519#section-4.1.4>
const LEEWAY: Duration = Duration::from_secs(60);
const CURRENT_KEY: &str = "JWT_SECRET_KEY";
const PREVIOUS_KEYS: &str = "JWT_PREVIOUS_SECRET_KEYS";

/// Keys and claims of tokens.
#[derive(Clone, Debug)]
pub(crate) struct AuthConfig {
    /// `JWT_SECRET_KEY`: signs and verifies tokens; `None` switches authentication off.
    pub(crate) secret: Option<Secret>,
    /// `JWT_PREVIOUS_SECRET_KEYS`: verify tokens, but do not sign them.
    pub(crate) previous_secrets: Vec<Secret>,
    /// `JWT_ISSUER`: the claim `iss`.
    pub(crate) issuer: String,
    /// `JWT_AUDIENCE`: a value that the claim `aud` must contain.
    pub(crate) audience: String,
    /// `JWT_EXPIRY_HOURS`: lifetime of a token that is issued without one.
    pub(crate) expiry: Duration,
    /// Accepted difference between the clocks of two machines.
    pub(crate) leeway: Duration,
    /// `ALLOW_UNAUTHENTICATED`: listen on other addresses than loopback without a key.
    pub(crate) allow_unauthenticated: bool,
}

/// What a new user gets.
#[derive(Clone, Copy, Debug)]
pub struct NewUserConfig {
    /// `PROVISION_USERS`: create a user at the first request with a valid token.
    pub provision: bool,
    /// `DEFAULT_USER_DAILY_TOKENS`: daily limit of a new user; `None` is unlimited.
    pub user_limit: Option<i64>,
    /// `DEFAULT_TEAM_DAILY_TOKENS`: daily limit of a new team; `None` is unlimited.
    pub team_limit: Option<i64>,
}

/// What new users get from now on: clones share it, and a reload replaces it.
#[derive(Clone, Debug)]
pub(crate) struct SharedNewUsers(Arc<RwLock<NewUserConfig>>);

impl SharedNewUsers {
    fn new(config: NewUserConfig) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// The current values.
    pub(crate) fn get(&self) -> NewUserConfig {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the values, in all clones.
    pub(crate) fn set(&self, config: NewUserConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

/// Access while users and tokens cannot be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthOnOutage {
    /// What was last known decides: decisions of this process, and the list of revoked tokens and disabled users.
    LastKnown,
    /// No token is accepted.
    Closed,
}

/// Provisioning and limits of callers.
#[derive(Clone, Debug)]
pub(crate) struct CallerConfig {
    /// What a user gets at its first request.
    pub(crate) new_users: SharedNewUsers,
    /// `AUTH_ON_OUTAGE`: access while the database is unavailable.
    pub(crate) on_outage: AuthOnOutage,
    /// `MAX_CONCURRENT_REQUESTS_PER_USER`: open requests of one user on this replica.
    pub(crate) max_concurrent_requests: usize,
    /// User that requests without a token are charged to. Only the demo sets it; no variable does.
    pub(crate) guest: Option<String>,
}

pub(super) fn auth(env: &mut EnvReader<'_>) -> AuthConfig {
    let secret = env.secret(CURRENT_KEY);
    let previous = env.secret(PREVIOUS_KEYS);
    let previous = previous.as_ref().map_or("", Secret::expose).split(',').map(str::trim);
    let previous_secrets: Vec<_> =
        previous.filter(|key| !key.is_empty()).map(|key| env.register_secret(key)).collect();
    if secret.is_none() && !previous_secrets.is_empty() {
        env.error(PREVIOUS_KEYS, None, "needs a current key; set JWT_SECRET_KEY too");
    }
    if let Some(weakness) = secret.as_ref().and_then(|key| weakness(key.expose())) {
        env.error(CURRENT_KEY, None, format!("{weakness}; generate one with `openssl rand -base64 48`"));
    }
    for (at, key) in previous_secrets.iter().enumerate() {
        if let Some(weakness) = weakness(key.expose()) {
            env.error(PREVIOUS_KEYS, None, format!("key {} {weakness}; remove it", at + 1));
        }
    }
    AuthConfig {
        secret,
        previous_secrets,
        issuer: env.text_or_default("JWT_ISSUER"),
        audience: env.text_or_default("JWT_AUDIENCE"),
        // A working day, without a token that stays valid over days by accident.
        expiry: Duration::from_secs(3600 * env.number::<u64>("JWT_EXPIRY_HOURS")),
        leeway: LEEWAY,
        allow_unauthenticated: env.boolean("ALLOW_UNAUTHENTICATED"),
    }
}

/// Why `key` is too weak to sign with.
fn weakness(key: &str) -> Option<&'static str> {
    let mut characters: Vec<char> = key.chars().collect();
    let length = characters.len();
    characters.sort_unstable();
    characters.dedup();
    let lower = key.to_ascii_lowercase();
    if length < MIN_KEY_CHARACTERS {
        Some("is shorter than 32 characters, which is too weak")
    } else if key.starts_with("-----BEGIN") {
        Some("is a PEM file of a key pair, not a shared secret")
    } else if characters.len() < MIN_DISTINCT_CHARACTERS {
        Some("repeats a few characters, which is too weak")
    } else if PLACEHOLDERS.iter().any(|placeholder| lower.contains(placeholder)) {
        Some("is a placeholder from an example")
    } else {
        None
    }
}

pub(super) fn callers(env: &mut EnvReader<'_>) -> CallerConfig {
    let on_outage = [("last-known", AuthOnOutage::LastKnown), ("closed", AuthOnOutage::Closed)];
    CallerConfig {
        new_users: SharedNewUsers::new(NewUserConfig {
            provision: env.boolean("PROVISION_USERS"),
            user_limit: env.parse("DEFAULT_USER_DAILY_TOKENS", parse_limit).flatten(),
            team_limit: env.parse("DEFAULT_TEAM_DAILY_TOKENS", parse_limit).flatten(),
        }),
        on_outage: env.choice("AUTH_ON_OUTAGE", on_outage),
        // More than an agent with many sub-agents opens; a loop of a broken client stays bounded.
        max_concurrent_requests: env.number("MAX_CONCURRENT_REQUESTS_PER_USER"),
        guest: None,
    }
}

/// Parses a daily limit: a number of tokens, or `unlimited`, which gives `None`.
///
/// # Errors
/// When it is neither.
pub(crate) fn parse_limit(text: &str) -> Result<Option<i64>, &'static str> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(None);
    }
    parse_tokens(text)
        .map(Some)
        .ok_or("use a number of tokens from 0, such as 500k, 1_000_000 or 5M, or unlimited")
}

/// A number such as `1_000_000`, `500k`, `2.5M` or `1G`.
fn parse_tokens(text: &str) -> Option<i64> {
    let text = text.replace('_', "");
    let zeros = match text.chars().last()? {
        'k' | 'K' => 3,
        'm' | 'M' => 6,
        'g' | 'G' => 9,
        _ => 0,
    };
    let number = if zeros > 0 { text.get(..text.len() - 1)? } else { &text };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if (1..=zeros).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    format!("{whole}{fraction}{}", "0".repeat(zeros - fraction.len())).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::lookup_in;
    use crate::config::{Config, ConfigError};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        Config::load(lookup_in(pairs))
    }

    #[test]
    fn without_a_key_only_loopback_is_served() {
        let config = load(&[]).unwrap();
        assert!(config.auth.secret.is_none() && config.server.host.is_loopback());
        assert_eq!(
            (config.auth.issuer.as_str(), config.auth.audience.as_str()),
            ("bedrock-proxy", "bedrock-api")
        );
        assert_eq!((config.auth.expiry.as_secs(), config.auth.leeway.as_secs()), (86_400, 60));
    }

    #[test]
    fn key_allows_any_listen_address() {
        assert!(load(&[("JWT_SECRET_KEY", KEY), ("HOST", "0.0.0.0")]).unwrap().server.host.is_unspecified());
        let both = load(&[("JWT_SECRET_KEY", KEY), ("ALLOW_UNAUTHENTICATED", "true")]).unwrap();
        assert!(both.warnings[0].contains("every request needs a token"), "{:?}", both.warnings);
    }

    #[test]
    fn weak_keys_are_rejected_without_being_printed() {
        let weak = [
            "canary-too-short",
            "canarycanarycanarycanarycanarycanary",
            "-----BEGIN PUBLIC KEY----- canary MFkwEwYHKoZIzj0CAQYI",
            "changeme-canary-changeme-canary-changeme",
        ];
        for key in weak {
            for name in ["JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS"] {
                let errors =
                    load(&[("JWT_SECRET_KEY", KEY), (name, key)][usize::from(name == "JWT_SECRET_KEY")..]);
                let text = errors.unwrap_err().iter().map(ToString::to_string).collect::<String>();
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

    #[test]
    fn limit_is_a_number_or_unlimited() {
        assert_eq!(parse_limit("1_000_000"), Ok(Some(1_000_000)));
        let amounts = [
            ("5M", 5_000_000),
            ("500k", 500_000),
            ("2.5m", 2_500_000),
            ("1_0K", 10_000),
            ("1G", 1_000_000_000),
        ];
        for (text, tokens) in amounts {
            assert_eq!(parse_limit(text), Ok(Some(tokens)), "{text}");
        }
        for wrong in
            ["M", "1.5", "1.M", ".5M", "1.2345k", "5 M", "5MM", "1e6", "99999999999G", "\u{e9}M", "+5"]
        {
            assert!(parse_limit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_limit("0"), Ok(Some(0)));
        assert_eq!(parse_limit("Unlimited"), Ok(None));
        for invalid in ["-1", "", "1.5", "many", "99999999999999999999"] {
            assert!(parse_limit(invalid).is_err(), "{invalid}");
        }
    }
}
