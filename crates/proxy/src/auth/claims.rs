//! What a token says, checked claim by claim.

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::TokenError;

/// The longest name of a user or a team, in bytes, as the database's columns hold.
const LONGEST_NAME: usize = 255;
/// The longest ARN that Bedrock takes.
const LONGEST_PROFILE: usize = 2048;

/// What a token allows. The two kinds are apart: neither does the other's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To ask models: no claim `scope`, or `inference`.
    Inference,
    /// To see and change users, teams and tokens: `admin`.
    Admin,
    /// To see them: `admin:read`.
    AdminRead,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inference, Self::Admin, Self::AdminRead];

    /// Its name in the claim.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Admin => "admin",
            Self::AdminRead => "admin:read",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// What a token says about its bearer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `user_id`: who.
    pub user_id: String,
    /// `team`: for whom.
    pub team: Option<String>,
    /// `default_inference_profile`: an id or ARN for requests to the model it serves.
    pub default_inference_profile: Option<String>,
    /// `scope`.
    pub scope: Scope,
    /// `jti`: the token's own name, by which it can be revoked.
    pub jti: Option<String>,
    /// `iat`, seconds since the epoch.
    pub issued_at: Option<i64>,
    /// `exp`, seconds since the epoch.
    pub expires_at: i64,
}

/// What a token must say to be accepted.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    /// How far clocks may differ, in seconds.
    pub(super) leeway: i64,
}

impl Claims {
    /// Reads and checks a signed payload at `now`, in seconds since the epoch.
    pub(super) fn read(payload: &[u8], expected: &Expected, now: i64) -> Result<Self, TokenError> {
        let UniqueObject(claims) = serde_json::from_slice(payload).map_err(|_| TokenError::Payload)?;
        let expires_at = seconds(&claims, "exp")?.ok_or(TokenError::Claim {
            name: "exp",
            wrong: "is missing; every token must say when it expires",
        })?;
        if now.saturating_sub(expected.leeway) >= expires_at {
            return Err(TokenError::Expired);
        }
        if seconds(&claims, "nbf")?.is_some_and(|from| from > now.saturating_add(expected.leeway)) {
            return Err(TokenError::NotYet);
        }
        if claims.get("iss").and_then(Value::as_str) != Some(&expected.issuer) {
            return Err(TokenError::Issuer);
        }
        if !names(claims.get("aud"), &expected.audience) {
            return Err(TokenError::Audience);
        }
        let user_id = name(&claims, "user_id")?.ok_or(TokenError::Claim {
            name: "user_id",
            wrong: "is missing; every token must say whose it is",
        })?;
        Ok(Self {
            user_id,
            team: name(&claims, "team")?,
            default_inference_profile: profile(&claims)?,
            scope: scope(&claims)?,
            jti: name(&claims, "jti")?,
            issued_at: seconds(&claims, "iat")?,
            expires_at,
        })
    }

    /// The payload of a token that says this.
    pub(super) fn write(&self, expected: &Expected) -> Vec<u8> {
        let mut claims = json!({
            "iss": expected.issuer,
            "aud": expected.audience,
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

/// Whether `name` can be a user's or a team's; the error completes a sentence that begins with what it is.
///
/// # Errors
/// When it is empty, longer than 255 bytes, or has characters that cannot be seen.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("is empty");
    }
    if name.len() > LONGEST_NAME {
        return Err("is longer than 255 bytes");
    }
    if name.trim() != name {
        return Err("begins or ends with a space");
    }
    if name.chars().any(is_invisible) {
        return Err("contains control characters");
    }
    Ok(())
}

/// Controls, and what makes two names look the same: zero widths and changes of direction.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `null` says as much as nothing.
fn present<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    claims.get(claim).filter(|value| !value.is_null())
}

fn seconds(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<i64>, TokenError> {
    let wrong = TokenError::Claim { name: claim, wrong: "is not a whole number of seconds" };
    present(claims, claim).map(|value| value.as_i64().ok_or(wrong)).transpose()
}

fn text<'a>(claims: &'a Map<String, Value>, claim: &'static str) -> Result<Option<&'a str>, TokenError> {
    let wrong = TokenError::Claim { name: claim, wrong: "is not a string" };
    present(claims, claim).map(|value| value.as_str().ok_or(wrong)).transpose()
}

fn name(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<String>, TokenError> {
    let Some(name) = text(claims, claim)? else { return Ok(None) };
    check_name(name).map_err(|wrong| TokenError::Claim { name: claim, wrong })?;
    Ok(Some(name.to_owned()))
}

fn profile(claims: &Map<String, Value>) -> Result<Option<String>, TokenError> {
    const NAME: &str = "default_inference_profile";
    let Some(profile) = text(claims, NAME)? else { return Ok(None) };
    if profile.is_empty() || profile.len() > LONGEST_PROFILE || profile.chars().any(char::is_whitespace) {
        return Err(TokenError::Claim { name: NAME, wrong: "is not the id or ARN of an inference profile" });
    }
    Ok(Some(profile.to_owned()))
}

fn scope(claims: &Map<String, Value>) -> Result<Scope, TokenError> {
    let wrong = TokenError::Claim { name: "scope", wrong: "is not one of inference, admin and admin:read" };
    text(claims, "scope")?.map_or(Ok(Scope::Inference), |name| Scope::from_name(name).ok_or(wrong))
}

fn names(aud: Option<&Value>, audience: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

/// A JSON object in which no name stands twice, as readers differ about which of the two counts.
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
