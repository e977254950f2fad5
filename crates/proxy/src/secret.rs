//! Secret strings, which print as `[redacted]`, and secrets inside other strings.

use std::borrow::Cow;
use std::fmt;

/// Text that replaces a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// A secret value: an AWS secret key, a session token, a bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`; only [`Secret::expose`] returns it.
    #[must_use]
    pub(crate) fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for code that sends it or signs with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Names, or parts of names, of URL parameters whose values are secrets.
const SECRET_PARAMETERS: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "key", "sig", "auth", "credential"];

/// Replaces what can be a password in a text that should be a URL, or a list of URLs: the part before the last `@`, and
/// the values of parameters such as `password` and `api_key`. A text that is not a URL may be one that is misspelled.
pub(crate) fn redact_url(text: &str) -> Cow<'_, str> {
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (text, None),
    };
    // A `?` in a password is not escaped in every URL that a person writes.
    if let Some((_, rest)) = query.and_then(|query| query.rsplit_once('@'))
        && (address.contains("://") || address.contains(':'))
    {
        let scheme = address.split_once("://").map_or("", |(scheme, _)| scheme);
        let separator = if scheme.is_empty() { "" } else { "://" };
        return Cow::Owned(format!("{scheme}{separator}{REDACTED}@{}", redact_parameters(rest)));
    }
    let without_user = match address.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => {
            let (scheme, _) = user.split_once("://").unwrap_or(("", user));
            let separator = if user.contains("://") { "://" } else { "" };
            Some(format!("{scheme}{separator}{REDACTED}@{host}"))
        }
        _ => None,
    };
    let parameters = query.map(redact_parameters);
    match (without_user, query, parameters) {
        (None, None, _) => Cow::Borrowed(text),
        (None, Some(query), Some(redacted)) if redacted == query => Cow::Borrowed(text),
        (user, _, redacted) => {
            let address = user.unwrap_or_else(|| address.to_owned());
            let query = redacted.map(|query| format!("?{query}")).unwrap_or_default();
            Cow::Owned(format!("{address}{query}"))
        }
    }
}

fn redact_parameters(query: &str) -> String {
    let redacted = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_parameter(name) => format!("{name}={REDACTED}"),
        _ => pair.to_owned(),
    });
    redacted.collect::<Vec<_>>().join("&")
}

fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARAMETERS.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn passwords_in_urls_are_redacted() {
        for (text, expected) in [
            ("http://ana:canary@proxy:4318/v1?x=1", "http://[redacted]@proxy:4318/v1?x=1"),
            ("https://canary@vault.example:8200", "https://[redacted]@vault.example:8200"),
            ("https://a:can@ary@host", "https://[redacted]@host"),
            ("https://a:can/ary@host/x", "https://[redacted]@host/x"),
            ("https://a:can?ary@host/x", "https://[redacted]@host/x"),
            ("a:canary@host:4318", "[redacted]@host:4318"),
            ("http//a:canary@host", "[redacted]@host"),
            ("https://h/v1?api_key=canary&x=1", "https://h/v1?api_key=[redacted]&x=1"),
            ("https://h/?Password=canary", "https://h/?Password=[redacted]"),
            ("https://u:canary@h/?token=canary", "https://[redacted]@h/?token=[redacted]"),
            ("a=https://u:canary@h,b=https://v:canary@i", "a=https://[redacted]@i"),
        ] {
            assert_eq!(redact_url(text), expected);
        }
        for text in [
            "",
            "9000",
            "us-east-1",
            "https://h:4318/v1/traces?x=1",
            "ana@example.com",
            "arn:aws:bedrock:us-east-1::inference-profile/us.x",
            "name=arn:aws:bedrock:eu-west-1:1:x,b=c",
            "0 0 * * *",
        ] {
            assert!(matches!(redact_url(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn secret_prints_as_redacted() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:#?}", Some(&secret)),
            "[redacted] [redacted] Some(\n    [redacted],\n)"
        );
        assert_eq!(secret.expose(), "hunter2");
    }
}
