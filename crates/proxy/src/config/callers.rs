//! Callers that were never seen before: whether they may come, and what they may spend.

use super::env::Reader;

/// Callers that were never seen before.
#[derive(Clone, Debug)]
pub struct Callers {
    /// `PROVISION_USERS`: whether a valid token is enough to become a user.
    pub provision: bool,
    /// `DEFAULT_USER_DAILY_TOKENS`: a new user's limit; `None` is unlimited.
    pub user_limit: Option<i64>,
    /// `DEFAULT_TEAM_DAILY_TOKENS`: a new team's limit; `None` is unlimited.
    pub team_limit: Option<i64>,
    /// `QUOTA_USER_ON_OUTAGE=open`: whether somebody is served of whom nothing is known because the database is away.
    pub open_on_outage: bool,
    /// `MAX_CONCURRENT_REQUESTS_PER_USER`: how many requests of one user may be open on this replica.
    pub most_requests: usize,
}

pub(super) fn callers(reader: &mut Reader<impl Fn(&str) -> Option<String>>, open_on_outage: bool) -> Callers {
    Callers {
        provision: reader.boolean("PROVISION_USERS", true),
        user_limit: limit(reader, "DEFAULT_USER_DAILY_TOKENS", Some(1_000_000)),
        team_limit: limit(reader, "DEFAULT_TEAM_DAILY_TOKENS", None),
        open_on_outage,
        most_requests: reader.number("MAX_CONCURRENT_REQUESTS_PER_USER", 256, 1..=1_000_000),
    }
}

/// A number of tokens, or the word that there is no limit.
fn limit(
    reader: &mut Reader<impl Fn(&str) -> Option<String>>,
    name: &'static str,
    default: Option<i64>,
) -> Option<i64> {
    reader.default(name, default.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string()));
    let Some(value) = reader.text(name) else { return default };
    parse_limit(&value).unwrap_or_else(|reason| {
        reader.problem(name, Some(&value), reason);
        default
    })
}

/// Reads a daily limit as operators write it: a number of tokens, or `unlimited`.
///
/// # Errors
/// When it is neither.
pub fn parse_limit(text: &str) -> Result<Option<i64>, &'static str> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(None);
    }
    let number = text.replace('_', "").parse().ok().filter(|number| *number >= 0);
    number.map(Some).ok_or("use a number of tokens from 0, or unlimited")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_the_word_unlimited() {
        assert_eq!(parse_limit("1_000_000"), Ok(Some(1_000_000)));
        assert_eq!(parse_limit("0"), Ok(Some(0)));
        assert_eq!(parse_limit("Unlimited"), Ok(None));
        for wrong in ["-1", "", "1.5", "many", "99999999999999999999"] {
            assert!(parse_limit(wrong).is_err(), "{wrong}");
        }
    }
}
