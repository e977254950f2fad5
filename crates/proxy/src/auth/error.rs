//! Why a credential is not accepted: which check failed and what to do, in words that give nothing away.

/// Why a credential is not accepted. Its text is safe to show to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error(
        "no credential was sent; send the header `Authorization: Bearer <token>` or `x-api-key: <token>`"
    )]
    Missing,
    /// Two headers that disagree.
    #[error(
        "conflicting credentials: `Authorization` and `x-api-key` hold different tokens; send only one of them"
    )]
    Conflicting,
    /// One header, several times.
    #[error("the header `{0}` was sent more than once; send it once")]
    Repeated(&'static str),
    /// Something else than a bearer token.
    #[error("the header `Authorization` must be `Bearer <token>`, with one space and one token")]
    Scheme,
    /// A signature for AWS, whose keys are not ours to check.
    #[error(
        "the request is signed for AWS, which this gateway does not check; send its token as the Bedrock API key \
         (AWS_BEARER_TOKEN_BEDROCK), in Claude Code as ANTHROPIC_AUTH_TOKEN with CLAUDE_CODE_SKIP_BEDROCK_AUTH=1"
    )]
    SignedForAws,
    /// No client needs as much.
    #[error("the token is longer than 8192 bytes; no token of this gateway is")]
    TooLong,
    /// Not three parts of base64url, or a header that is not one.
    #[error(
        "the credential is not a token of this gateway (a JSON Web Token in three parts); ask its operator for one"
    )]
    Malformed,
    /// Another algorithm than the only one.
    #[error("the token is not signed with HS256, the only algorithm accepted here")]
    Algorithm,
    /// Not signed with a key of ours.
    #[error("the token's signature is not valid here; it was made with another key, or changed on its way")]
    Signature,
    /// The signed part is not an object of claims.
    #[error("the token's claims are not a JSON object in which every claim stands once")]
    Payload,
    /// A claim that cannot be what it is.
    #[error("the token's claim `{name}` {wrong}")]
    Claim {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// Its time is over.
    #[error("the token has expired; get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet (`nbf`); the clocks of its maker and of this gateway may differ")]
    NotYet,
    /// Made by somebody else.
    #[error("the token's issuer (`iss`) is not the one expected here")]
    Issuer,
    /// Made for somebody else.
    #[error("the token's audience (`aud`) does not contain the one expected here")]
    Audience,
}

impl TokenError {
    /// The check that failed, in one word, for the log and the events.
    #[must_use]
    pub fn check(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Conflicting => "conflicting",
            Self::Repeated(_) => "repeated",
            Self::Scheme | Self::SignedForAws => "scheme",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Payload => "payload",
            Self::Claim { name, .. } => name,
            Self::Expired => "exp",
            Self::NotYet => "nbf",
            Self::Issuer => "iss",
            Self::Audience => "aud",
        }
    }
}
