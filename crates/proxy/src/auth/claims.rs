//! Claims of a token, checked one by one.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::TokenError;

/// Maximum length in bytes of a user or team name: the width of the database's columns.
const MAX_NAME_BYTES: usize = 255;
/// Maximum length in bytes of an inference profile: the longest `modelId` that Bedrock accepts.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
const MAX_PROFILE_BYTES: usize = 2048;

/// Longest claim in an error, in characters: issuers and audiences are names or URLs.
const MAX_SHOWN_CHARS: usize = 100;

/// Second audience of tokens for inference: Claude Code reads the headers about a limit only with a token for a gateway.
const CLAUDE_GATEWAY: &str = "claude-gateway";

/// Scope of a token. Inference and administration are separate: neither includes the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Requests to models: no claim `scope`, or `inference`.
    Inference,
    /// Reading and changing users, teams and tokens: `admin`.
    Admin,
    /// Reading them: `admin:read`.
    AdminRead,
}

impl Scope {
    /// All scopes.
    pub(crate) const ALL: [Self; 3] = [Self::Inference, Self::Admin, Self::AdminRead];

    /// Value in the claim.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Admin => "admin",
            Self::AdminRead => "admin:read",
        }
    }

    /// The scope with this value in the claim.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Claims of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// `user_id`.
    pub(crate) user_id: String,
    /// `team`.
    pub(crate) team: Option<String>,
    /// `default_inference_profile`: id or ARN for requests to the model that it serves.
    pub(crate) default_inference_profile: Option<String>,
    /// `scope`.
    pub(crate) scope: Scope,
    /// `jti`: id by which the token can be revoked.
    pub(crate) jti: Option<String>,
    /// `iat`, seconds since the epoch.
    pub(crate) issued_at: Option<i64>,
    /// `exp`, seconds since the epoch.
    pub(crate) expires_at: i64,
}

/// Values that the claims must have.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    /// Allowed difference of clocks in seconds.
    pub(super) leeway: i64,
}

impl Claims {
    /// Parses and checks a signed payload at `now`, in seconds since the epoch.
    pub(super) fn parse(payload: &[u8], expected: &Expected, now: i64) -> Result<Self, TokenError> {
        let UniqueObject(claims) = serde_json::from_slice(payload).map_err(|_| TokenError::Payload)?;
        let expires_at = seconds(&claims, "exp", f64::floor)?.ok_or(TokenError::Claim {
            name: "exp",
            reason: "is missing; every token must have an expiry",
        })?;
        if now.saturating_sub(expected.leeway) >= expires_at {
            return Err(TokenError::Expired);
        }
        let not_before = seconds(&claims, "nbf", f64::ceil)?;
        if not_before.is_some_and(|from| from > now.saturating_add(expected.leeway)) {
            return Err(TokenError::NotYetValid);
        }
        check_issuer(&claims, &expected.issuer)?;
        check_audience(&claims, &expected.audience)?;
        let user_id = name(&claims, "user_id")?.ok_or(TokenError::Claim {
            name: "user_id",
            reason: "is missing; every token must name a user",
        })?;
        Ok(Self {
            user_id,
            team: name(&claims, "team")?,
            default_inference_profile: profile(&claims)?,
            scope: scope(&claims)?,
            jti: name(&claims, "jti")?,
            issued_at: seconds(&claims, "iat", f64::floor)?,
            expires_at,
        })
    }

    /// Encodes the payload of a token with these claims.
    pub(super) fn encode(&self, expected: &Expected) -> Vec<u8> {
        let audiences = match self.scope {
            Scope::Inference if expected.audience != CLAUDE_GATEWAY => {
                json!([expected.audience, CLAUDE_GATEWAY])
            }
            Scope::Inference | Scope::Admin | Scope::AdminRead => json!(expected.audience),
        };
        let mut claims = json!({
            "iss": expected.issuer,
            "aud": audiences,
            "exp": self.expires_at,
            "user_id": self.user_id,
        });
        let optional = [
            ("iat", self.issued_at.map(Value::from)),
            ("jti", self.jti.clone().map(Value::from)),
            ("team", self.team.clone().map(Value::from)),
            ("default_inference_profile", self.default_inference_profile.clone().map(Value::from)),
            ("scope", (self.scope != Scope::Inference).then(|| self.scope.as_str().into())),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                claims[name] = value;
            }
        }
        claims.to_string().into_bytes()
    }
}

/// Checks the name of a user, team or token.
///
/// # Errors
/// When it is empty, longer than 255 bytes, or has invisible characters: the rest of a sentence that begins with the
/// name.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return Err("is longer than 255 bytes");
    }
    if name.trim() != name {
        return Err("begins or ends with a space");
    }
    if name.chars().any(|character| is_invisible(character) || is_other_space(character)) {
        return Err("contains control characters or other invisible characters");
    }
    Ok(())
}

/// Spaces that look like the usual one.
fn is_other_space(character: char) -> bool {
    character.is_whitespace() && character != ' '
}

/// Characters that are not seen, so that different names look the same or empty: control characters, those of the general
/// category `Cf`, default-ignorable and noncharacter code points, line separators, and letters that are blank.
///
/// <https://www.unicode.org/reports/tr44/#Default_Ignorable_Code_Point>
fn is_invisible(character: char) -> bool {
    const FORMAT_OR_IGNORABLE: [(char, char); 29] = [
        ('\u{ad}', '\u{ad}'),
        ('\u{34f}', '\u{34f}'),
        ('\u{600}', '\u{605}'),
        ('\u{61c}', '\u{61c}'),
        ('\u{6dd}', '\u{6dd}'),
        ('\u{70f}', '\u{70f}'),
        ('\u{890}', '\u{891}'),
        ('\u{8e2}', '\u{8e2}'),
        ('\u{115f}', '\u{1160}'),
        ('\u{17b4}', '\u{17b5}'),
        ('\u{180b}', '\u{180f}'),
        ('\u{200b}', '\u{200f}'),
        ('\u{2028}', '\u{202e}'),
        ('\u{2060}', '\u{206f}'),
        // Braille pattern blank.
        ('\u{2800}', '\u{2800}'),
        ('\u{3164}', '\u{3164}'),
        ('\u{fdd0}', '\u{fdef}'),
        ('\u{fe00}', '\u{fe0f}'),
        ('\u{feff}', '\u{feff}'),
        ('\u{ffa0}', '\u{ffa0}'),
        ('\u{fff0}', '\u{fffb}'),
        ('\u{110bd}', '\u{110bd}'),
        ('\u{110cd}', '\u{110cd}'),
        ('\u{13430}', '\u{1343f}'),
        ('\u{16fe4}', '\u{16fe4}'),
        ('\u{1bca0}', '\u{1bca3}'),
        // Musical symbol null notehead.
        ('\u{1d159}', '\u{1d159}'),
        ('\u{1d173}', '\u{1d17a}'),
        ('\u{e0000}', '\u{e0fff}'),
    ];
    let is_noncharacter = u32::from(character) & 0xfffe == 0xfffe;
    let is_listed = |(first, last): &(char, char)| (*first..=*last).contains(&character);
    character.is_control() || is_noncharacter || FORMAT_OR_IGNORABLE.iter().any(is_listed)
}

/// A claim that is not `null`, which means the same as a missing one.
fn present<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    claims.get(claim).filter(|value| !value.is_null())
}

/// Seconds since the epoch. A fraction is allowed, as JavaScript's `Date.now() / 1000` has one; `round` removes it.
///
/// <https://www.rfc-editor.org/rfc/rfc7519#section-2> (NumericDate)
fn seconds(
    claims: &Map<String, Value>,
    claim: &'static str,
    round: fn(f64) -> f64,
) -> Result<Option<i64>, TokenError> {
    let error = TokenError::Claim { name: claim, reason: "is not a number of seconds since 1970" };
    let parse = |value: &Value| {
        let fractional = || format!("{:.0}", round(value.as_f64()?)).parse().ok();
        value.as_i64().or_else(fractional)
    };
    present(claims, claim).map(|value| parse(value).ok_or(error)).transpose()
}

fn text<'a>(claims: &'a Map<String, Value>, claim: &'static str) -> Result<Option<&'a str>, TokenError> {
    let error = TokenError::Claim { name: claim, reason: "is not a string" };
    present(claims, claim).map(|value| value.as_str().ok_or(error)).transpose()
}

fn name(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<String>, TokenError> {
    let Some(name) = text(claims, claim)? else { return Ok(None) };
    check_name(name).map_err(|reason| TokenError::Claim { name: claim, reason })?;
    Ok(Some(name.to_owned()))
}

fn profile(claims: &Map<String, Value>) -> Result<Option<String>, TokenError> {
    const NAME: &str = "default_inference_profile";
    let Some(profile) = text(claims, NAME)? else { return Ok(None) };
    if profile.is_empty() || profile.len() > MAX_PROFILE_BYTES || profile.chars().any(char::is_whitespace) {
        return Err(TokenError::Claim { name: NAME, reason: "is not the id or ARN of an inference profile" });
    }
    Ok(Some(profile.to_owned()))
}

fn scope(claims: &Map<String, Value>) -> Result<Scope, TokenError> {
    let error = TokenError::Claim { name: "scope", reason: "is not one of inference, admin and admin:read" };
    text(claims, "scope")?.map_or(Ok(Scope::Inference), |name| Scope::from_name(name).ok_or(error))
}

fn check_issuer(claims: &Map<String, Value>, expected: &str) -> Result<(), TokenError> {
    let expected_owned = || expected.to_owned();
    match present(claims, "iss") {
        Some(Value::String(issuer)) if issuer == expected => Ok(()),
        Some(issuer) => Err(TokenError::Issuer { found: shown(issuer), expected: expected_owned() }),
        None => Err(TokenError::MissingIssuer { expected: expected_owned() }),
    }
}

/// `aud` is a string, or a list of them.
fn check_audience(claims: &Map<String, Value>, expected: &str) -> Result<(), TokenError> {
    let is_expected = |value: &Value| value.as_str() == Some(expected);
    match present(claims, "aud") {
        Some(Value::Array(audiences)) if audiences.iter().any(is_expected) => Ok(()),
        Some(audience) if is_expected(audience) => Ok(()),
        Some(Value::Array(audiences)) if audiences.is_empty() => {
            Err(TokenError::MissingAudience { expected: expected.to_owned() })
        }
        Some(audience) => Err(TokenError::Audience { found: shown(audience), expected: expected.to_owned() }),
        None => Err(TokenError::MissingAudience { expected: expected.to_owned() }),
    }
}

/// The value of a claim in an error: strings without quotes, cut to what fits into a sentence.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// A JSON object without duplicate names: parsers differ in which of two values counts.
pub(super) struct UniqueObject(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = UniqueObject;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<UniqueObject, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("duplicate"));
                    }
                }
                Ok(UniqueObject(map))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
