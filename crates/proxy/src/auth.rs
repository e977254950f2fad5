//! Authentication and authorization: who sent a request, and what the caller may do.
//!
//! [`Credential`] is the token in the headers, [`Authenticator::authenticate`] turns it into a [`Caller`], and
//! [`authorize`] checks an operation against the caller's scope. No HTTP here beyond the values of two headers.
//! Tokens are JSON Web Tokens signed with HMAC-SHA256; no other algorithm is accepted:
//! <https://www.rfc-editor.org/rfc/rfc7519>, <https://www.rfc-editor.org/rfc/rfc8725>.

mod audit_event_limiter;
mod caller;
mod claims;
mod concurrency;
mod credential;
mod error;
mod jwt;
mod lru;
mod rejections;
mod token_use;

pub(crate) use audit_event_limiter::AuditEventLimiter;
pub(crate) use caller::{Authenticated, Authenticator, Caller};
pub(crate) use claims::{Claims, Scope, check_name};
pub(crate) use concurrency::{ConcurrencyLimiter, ConcurrencyPermit};
pub(crate) use credential::Credential;
pub(crate) use error::{AccessError, TokenError};
pub(crate) use jwt::JwtKeys;
pub(crate) use rejections::{Known, RejectionList};
pub(crate) use token_use::TokenUse;

/// Permission that an operation requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Requests to models: scope `inference`.
    Inference,
    /// Users, teams, tokens and reports: scope `admin`, and `admin:read` for operations that only read.
    Admin,
    /// Any valid token.
    AnyToken,
}

/// Effect of an operation on what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Nothing is changed.
    Read,
    /// Something is changed.
    Write,
}

/// Checks that `caller` has the permission `access` for `action`. Without authentication there is no [`Access::Admin`],
/// because any web page could send requests to this address.
///
/// # Errors
/// [`AccessError::InsufficientScope`], or [`AccessError::AuthenticationDisabled`].
pub(crate) fn authorize(caller: &Caller, access: Access, action: Action) -> Result<(), AccessError> {
    match (access, caller.scope) {
        (Access::Admin, _) if caller.is_anonymous() => Err(AccessError::AuthenticationDisabled),
        (Access::Inference, Scope::Inference) | (Access::Admin, Scope::Admin) | (Access::AnyToken, _) => {
            Ok(())
        }
        (Access::Admin, Scope::AdminRead) if action == Action::Read => Ok(()),
        (_, scope) => Err(AccessError::InsufficientScope { scope, access }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Scope) -> Caller {
        Caller {
            user_id: "ana".to_owned(),
            team: None,
            user_limit: None,
            team_limit: None,
            token_limit: None,
            default_inference_profile: None,
            scope,
            jti: None,
            issued_at: None,
            expires_at: Some(0),
        }
    }

    #[test]
    fn expiry_is_near_in_the_last_tenth_of_a_life() {
        let day = 86_400;
        let near = |issued_at, expires_at, now| {
            Caller { issued_at, expires_at: Some(expires_at), ..caller(Scope::Inference) }.near_expiry(now)
        };
        assert_eq!(near(Some(0), day, day - 8_641), None);
        assert_eq!(near(Some(0), day, day - 8_640), Some(day));
        assert_eq!(near(Some(0), 365 * day, 361 * day), None, "at most three days before");
        assert_eq!(near(Some(0), 365 * day, 362 * day), Some(365 * day));
        assert_eq!(near(None, day, day), None, "a token without iat may have any life");
    }

    #[test]
    fn scope_grants_only_its_own_access() {
        let allowed = [
            (Scope::Inference, Access::Inference, Action::Write),
            (Scope::Inference, Access::AnyToken, Action::Read),
            (Scope::Admin, Access::Admin, Action::Write),
            (Scope::Admin, Access::AnyToken, Action::Read),
            (Scope::AdminRead, Access::Admin, Action::Read),
            (Scope::AdminRead, Access::AnyToken, Action::Read),
        ];
        for (scope, access, action) in allowed {
            assert_eq!(authorize(&caller(scope), access, action), Ok(()), "{scope:?} {access:?}");
        }
        let denied = [
            (Scope::Inference, Access::Admin, Action::Read),
            (Scope::Admin, Access::Inference, Action::Write),
            (Scope::AdminRead, Access::Inference, Action::Write),
            (Scope::AdminRead, Access::Admin, Action::Write),
        ];
        for (scope, access, action) in denied {
            let error = authorize(&caller(scope), access, action);
            assert_eq!(error, Err(AccessError::InsufficientScope { scope, access }));
        }
    }

    #[test]
    fn anonymous_caller_has_no_admin_access() {
        let anonymous = Caller { expires_at: None, ..caller(Scope::Inference) };
        assert_eq!(authorize(&anonymous, Access::Inference, Action::Write), Ok(()));
        let error = authorize(&anonymous, Access::Admin, Action::Read);
        assert_eq!(error, Err(AccessError::AuthenticationDisabled));
    }
}
