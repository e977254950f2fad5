//! Who sent a request, as far as a token alone can say: tokens are verified and minted here.
//!
//! Pure: no clock, no database, no HTTP. What the database knows about the bearer comes after this, in `callers`.
//! Tokens are JSON Web Tokens signed with HMAC-SHA256, and nothing else is ever accepted:
//! <https://www.rfc-editor.org/rfc/rfc7519>, <https://www.rfc-editor.org/rfc/rfc8725>.

mod cache;
mod caller;
mod claims;
mod concurrency;
mod credential;
mod error;
mod jwt;
mod rate_limiter;

pub use caller::{Caller, Callers, Rejection, Verdict};
pub use claims::{Claims, Scope, check_name};
pub use concurrency::{Crowd, Turn};
pub use credential::credential;
pub use error::Refusal;
pub use jwt::Keys;
pub use rate_limiter::Bound;
