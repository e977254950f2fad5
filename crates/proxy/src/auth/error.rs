//! Errors of authentication and authorization: the check that failed, and what to do. The texts reveal nothing secret.

use super::{Access, Scope};

/// Failed check of a credential. The text is safe for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// No token in the headers.
    #[error(
        "no credential was sent; send the header `Authorization: Bearer <token>` or `x-api-key: <token>`"
    )]
    Missing,
    /// Two headers with different tokens.
    #[error(
        "conflicting credentials: `Authorization` and `x-api-key` hold different tokens; send only one of them"
    )]
    Conflicting,
    /// A header that is sent more than once.
    #[error("the header `{0}` was sent more than once; send it once")]
    Repeated(&'static str),
    /// Another scheme than `Bearer`.
    #[error("the header `Authorization` must be `Bearer <token>`, with one space and one token")]
    Scheme,
    /// A SigV4 signature: the proxy has no keys to check it.
    #[error(
        "the request is signed for AWS, which this proxy does not check; send its token as the Bedrock API key \
         (AWS_BEARER_TOKEN_BEDROCK), in Claude Code as ANTHROPIC_AUTH_TOKEN with CLAUDE_CODE_SKIP_BEDROCK_AUTH=1"
    )]
    SignedForAws,
    /// Longer than any token of the proxy.
    #[error("the token is longer than 8192 bytes, which no token of this proxy is")]
    TooLong,
    /// Not three parts of base64url, or an invalid header.
    #[error(
        "the credential is not a token of this proxy (a JSON Web Token in three parts); get one from its operator"
    )]
    Malformed,
    /// Another algorithm than HS256.
    #[error("the token is not signed with HS256, the only algorithm that this proxy accepts")]
    Algorithm,
    /// A signature by none of the keys.
    #[error("the token's signature is not valid; the token was signed with another key, or changed")]
    Signature,
    /// A payload that is not an object of claims.
    #[error("the token's claims are not a JSON object with unique names")]
    Payload,
    /// An invalid or missing claim.
    #[error("the token's claim `{name}` {reason}")]
    Claim {
        /// Name of the claim.
        name: &'static str,
        /// Rest of the sentence that begins with the claim.
        reason: &'static str,
    },
    /// `exp` is in the past.
    #[error("the token has expired; get a new one")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet (`nbf`); the clocks of its issuer and of this proxy may differ")]
    NotYetValid,
    /// No issuer.
    #[error("the token has no issuer (`iss`); this proxy accepts {expected:?}")]
    MissingIssuer {
        /// `JWT_ISSUER`.
        expected: String,
    },
    /// Another issuer.
    #[error("the token was issued by {found:?} (`iss`); this proxy accepts {expected:?}")]
    Issuer {
        /// Issuer of the token.
        found: String,
        /// `JWT_ISSUER`.
        expected: String,
    },
    /// No audience.
    #[error("the token has no audience (`aud`); this proxy accepts {expected:?}")]
    MissingAudience {
        /// `JWT_AUDIENCE`.
        expected: String,
    },
    /// Another audience.
    #[error("the token is for {found:?} (`aud`); this proxy accepts {expected:?}")]
    Audience {
        /// Audiences of the token, separated by commas.
        found: String,
        /// `JWT_AUDIENCE`.
        expected: String,
    },
}

impl TokenError {
    /// Name of the failed check, in metrics and events.
    #[must_use]
    pub(crate) fn check(&self) -> &'static str {
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
            Self::NotYetValid => "nbf",
            Self::MissingIssuer { .. } | Self::Issuer { .. } => "iss",
            Self::MissingAudience { .. } | Self::Audience { .. } => "aud",
        }
    }
}

/// Reason why a request is rejected. The text is safe for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccessError {
    /// The credential is invalid.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token was revoked by its id.
    #[error("the token was revoked; get a new one")]
    Revoked {
        /// User of the token, if it has a row.
        user_id: Option<String>,
    },
    /// All tokens of the user were revoked after this one was issued.
    #[error("all tokens of this user that were issued earlier were revoked; get a new one")]
    Superseded {
        /// User of the token.
        user_id: String,
    },
    /// The user is disabled.
    #[error("the user {0:?} is disabled; the proxy's operator can enable it")]
    UserDisabled(String),
    /// The team is disabled.
    #[error("the team {0:?} is disabled; the proxy's operator can enable it")]
    TeamDisabled(String),
    /// The user has no row, and users are not provisioned.
    #[error("the user {0:?} is unknown; the proxy's operator can add it")]
    UnknownUser(String),
    /// The rows cannot be looked up, and the configuration denies access then.
    #[error("the proxy cannot check access because its database is unavailable; try again in a few seconds")]
    StoreUnavailable,
    /// The scope of the token does not allow the operation.
    #[error("{}", insufficient_scope(*.scope, *.access))]
    InsufficientScope {
        /// Scope of the token.
        scope: Scope,
        /// Permission that the operation requires.
        access: Access,
    },
    /// The user has as many open requests as are allowed.
    #[error(
        "the user {user_id:?} has {max} requests open, and no more are served at a time; try again in a few seconds"
    )]
    TooManyRequests {
        /// The user.
        user_id: String,
        /// `MAX_CONCURRENT_REQUESTS_PER_USER`.
        max: usize,
    },
    /// The operation requires authentication, which is off.
    #[error("the admin API needs authentication; set JWT_SECRET_KEY, or use the command line")]
    AuthenticationDisabled,
}

fn insufficient_scope(scope: Scope, access: Access) -> &'static str {
    match (scope, access) {
        (Scope::AdminRead, Access::Admin) => {
            "this token is read-only (scope admin:read); use a token with scope admin"
        }
        (_, Access::Admin) => "this token has no admin scope; use a token with scope admin",
        (_, Access::Inference | Access::AnyToken) => {
            "this is an admin token, which does not allow inference; use a token without an admin scope"
        }
    }
}

impl AccessError {
    /// Name of the failed check, in metrics and events.
    #[must_use]
    pub(crate) fn check(&self) -> &'static str {
        match self {
            Self::Token(error) => error.check(),
            Self::Revoked { .. } => "revoked",
            Self::Superseded { .. } => "superseded",
            Self::UserDisabled(_) => "user_disabled",
            Self::TeamDisabled(_) => "team_disabled",
            Self::UnknownUser(_) => "unknown_user",
            Self::StoreUnavailable => "database_unavailable",
            Self::InsufficientScope { .. } => "insufficient_scope",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::AuthenticationDisabled => "authentication_disabled",
        }
    }

    /// User that was rejected, if it is authenticated.
    #[must_use]
    pub(crate) fn user_id(&self) -> Option<&str> {
        match self {
            Self::UserDisabled(user)
            | Self::UnknownUser(user)
            | Self::Superseded { user_id: user }
            | Self::TooManyRequests { user_id: user, .. } => Some(user),
            Self::Revoked { user_id } => user_id.as_deref(),
            Self::Token(_)
            | Self::TeamDisabled(_)
            | Self::StoreUnavailable
            | Self::InsufficientScope { .. }
            | Self::AuthenticationDisabled => None,
        }
    }
}
