//! The token in the headers of a request.

use super::TokenError;

const AUTHORIZATION: &str = "Authorization";
const API_KEY: &str = "x-api-key";
const SCHEME: &str = "Bearer";
/// Prefix of the schemes of SigV4 signatures.
const AWS_SCHEME: &str = "AWS4-";

/// A bearer token as a client sent it, not verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credential<'a>(&'a str);

impl<'a> Credential<'a> {
    /// Reads the token from the values of `Authorization` and of `x-api-key`; both may hold it, if they hold the same.
    /// A value without a token counts as absent: clients send one for a setting that is empty.
    ///
    /// # Errors
    /// When there is no token, there are several, or the scheme is not `Bearer`.
    pub(crate) fn from_headers(
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, TokenError> {
        let authorization = authorization.into_iter().filter(|value| !is_empty_bearer(value));
        let api_key = api_key.into_iter().filter(|value| !value.trim_ascii().is_empty());
        let authorization = single(AUTHORIZATION, authorization)?.map(bearer).transpose()?;
        let api_key = single(API_KEY, api_key)?.map(visible_ascii).transpose()?;
        match (authorization, api_key) {
            (Some(token), Some(other)) if token != other => Err(TokenError::Conflicting),
            (Some(token), _) | (None, Some(token)) => Ok(Self(token)),
            (None, None) => Err(TokenError::Missing),
        }
    }

    /// The token.
    pub(super) fn token(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential([redacted])")
    }
}

fn single<'a>(
    header: &'static str,
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a [u8]>, TokenError> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() { Err(TokenError::Repeated(header)) } else { Ok(first) }
}

/// Whether the value is blank, or a scheme without a token.
fn is_empty_bearer(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    value.is_empty() || value.eq_ignore_ascii_case(SCHEME.as_bytes())
}

fn bearer(value: &[u8]) -> Result<&str, TokenError> {
    if value.starts_with(AWS_SCHEME.as_bytes()) {
        return Err(TokenError::SignedForAws);
    }
    let (scheme, token) = value.split_at_checked(SCHEME.len()).ok_or(TokenError::Scheme)?;
    if !scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) {
        return Err(TokenError::Scheme);
    }
    let token = token.strip_prefix(b" ").ok_or(TokenError::Scheme)?;
    visible_ascii(token).map_err(|_| TokenError::Scheme)
}

/// Accepts visible ASCII without a comma, which would separate several values.
fn visible_ascii(value: &[u8]) -> Result<&str, TokenError> {
    let is_valid = !value.is_empty() && value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
    let text = std::str::from_utf8(value).ok().filter(|_| is_valid);
    text.ok_or(TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(authorization: &[&'static str], api_key: &[&'static str]) -> Result<&'static str, TokenError> {
        Credential::from_headers(
            authorization.iter().map(|value| value.as_bytes()),
            api_key.iter().map(|value| value.as_bytes()),
        )
        .map(Credential::token)
    }

    #[test]
    fn either_header_works_and_equal_ones_do() {
        for scheme in ["Bearer t", "bearer t", "BEARER t"] {
            assert_eq!(parse(&[scheme], &[]), Ok("t"));
        }
        assert_eq!(parse(&[], &["t"]), Ok("t"));
        assert_eq!(parse(&["Bearer t"], &["t"]), Ok("t"));
        assert_eq!(parse(&["Bearer t"], &["u"]), Err(TokenError::Conflicting));
        assert_eq!(parse(&[], &[]), Err(TokenError::Missing));
        assert_eq!(parse(&[], &[""]), Err(TokenError::Missing));
    }

    #[test]
    fn empty_headers_count_as_absent() {
        for empty in ["", " ", "\t", "Bearer", "bearer ", "Bearer  "] {
            assert_eq!(parse(&[empty], &[]), Err(TokenError::Missing), "{empty:?}");
            assert_eq!(parse(&[empty], &["t"]), Ok("t"), "{empty:?}");
            assert_eq!(parse(&[empty, "Bearer t"], &[]), Ok("t"), "{empty:?}");
        }
        for empty in ["", " ", "\t "] {
            assert_eq!(parse(&["Bearer t"], &[empty]), Ok("t"), "{empty:?}");
            assert_eq!(parse(&[], &[empty, "t", empty]), Ok("t"), "{empty:?}");
        }
    }

    #[test]
    fn repeated_or_malformed_headers_are_rejected() {
        assert_eq!(parse(&["Bearer t", "Bearer t"], &[]), Err(TokenError::Repeated("Authorization")));
        assert_eq!(parse(&[], &["t", "t"]), Err(TokenError::Repeated("x-api-key")));
        for value in [
            "Bearer  t",
            "Bearer\tt",
            "Bearer t\n",
            "Bearer t ",
            "Bearer t,u",
            "Bearer t, Bearer t",
            "Bearert",
            "Basic dDp0",
        ] {
            assert_eq!(parse(&[value], &[]), Err(TokenError::Scheme), "{value:?}");
        }
        assert_eq!(parse(&[], &["t,t"]), Err(TokenError::Malformed));
        let signed = "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/bedrock/aws4_request";
        assert_eq!(parse(&[signed], &[]), Err(TokenError::SignedForAws));
    }
}
