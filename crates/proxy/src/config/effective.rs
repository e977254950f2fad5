//! What counts: every variable, its value, and where that came from. For people to look at; nothing decides by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One variable, as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// What it was set to; `[redacted]` for a secret, `None` when it is not set.
    pub value: Option<String>,
    /// What counts when it is not set; `None`: nothing.
    pub default: Option<String>,
    /// Whether its value is never printed.
    pub secret: bool,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The environment of the process.
    Environment,
    /// The file `.env`.
    File,
    /// It is not set, and this is what counts then.
    Default,
    /// It is not set, and AWS's usual chain of sources is asked instead.
    AwsChain,
    /// It is not set, and nothing counts.
    Unset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Environment => "environment",
            Self::File => ".env",
            Self::Default => "default",
            Self::AwsChain => "AWS chain",
            Self::Unset => "not set",
        })
    }
}

/// Who the proxy is towards AWS: when none of these is set, the chain decides.
const CREDENTIALS: [&str; 4] = [
    "AWS_BEDROCK_ACCESS_KEY",
    "AWS_BEDROCK_SECRET_KEY",
    "AWS_BEDROCK_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
];

/// All variables there are, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub(super) BTreeMap<&'static str, Setting>);

impl Settings {
    /// The names of all variables there are.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&'static str> {
        self.0.keys().copied().collect()
    }

    /// Each variable with the value that counts and where it came from; `in_file` tells which were set by `.env`.
    pub fn rows(
        &self,
        in_file: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&'static str, Option<&str>, Origin)> {
        let chain =
            CREDENTIALS.iter().all(|name| self.0.get(name).is_none_or(|setting| setting.value.is_none()));
        self.0.iter().map(move |(name, setting)| match (&setting.value, &setting.default) {
            (Some(value), _) if in_file(name) => (*name, Some(value.as_str()), Origin::File),
            (Some(value), _) => (*name, Some(value.as_str()), Origin::Environment),
            (None, _) if chain && CREDENTIALS.contains(name) => (*name, None, Origin::AwsChain),
            (None, Some(default)) => (*name, Some(default.as_str()), Origin::Default),
            (None, None) => (*name, None, Origin::Unset),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn row(pairs: &[(&str, &str)], wanted: &str) -> (Option<String>, Origin) {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let settings = Config::read(lookup).1;
        let mut rows = settings.rows(|name| name == "PORT");
        let (_, value, origin) = rows.find(|(name, ..)| *name == wanted).unwrap();
        (value.map(str::to_owned), origin)
    }

    #[test]
    fn each_value_says_where_it_came_from() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(row(&[("PORT", "9000")], "PORT"), (value("9000"), Origin::File));
        assert_eq!(row(&[("HOST", "::1")], "HOST"), (value("::1"), Origin::Environment));
        assert_eq!(row(&[("HOST", " ")], "HOST"), (value("127.0.0.1"), Origin::Default));
        assert_eq!(row(&[], "RUST_LOG"), (None, Origin::Unset));
        assert_eq!(row(&[], "AWS_BEDROCK_ACCESS_KEY"), (None, Origin::AwsChain));
        let bearer = [("AWS_BEARER_TOKEN_BEDROCK", "x")];
        assert_eq!(row(&bearer, "AWS_BEDROCK_ACCESS_KEY"), (None, Origin::Unset));
        assert_eq!(
            row(&[("AWS_REGION", "eu-west-1")], "AWS_BEDROCK_REGION_PREFIX"),
            (value("eu"), Origin::Default)
        );
        assert_eq!(row(&[], "DB_SSLMODE"), (value("require"), Origin::Default));
        assert_eq!(row(&[], "DEFAULT_TEAM_DAILY_TOKENS"), (value("unlimited"), Origin::Default));
    }

    #[test]
    fn whatever_may_hold_a_secret_is_masked() {
        let key = "0123456789abcdefghijklmnopqrstuv-canary";
        for (name, secret) in [
            ("AWS_BEDROCK_SECRET_KEY", key),
            ("AWS_BEDROCK_SESSION_TOKEN", key),
            ("AWS_BEARER_TOKEN_BEDROCK", key),
            ("JWT_SECRET_KEY", key),
            ("JWT_PREVIOUS_SECRET_KEYS", key),
            ("DB_PASSWORD", key),
            ("DATABASE_URL", "postgres://u:canary@h/db"),
        ] {
            assert_eq!(row(&[(name, secret)], name).0.as_deref(), Some("[redacted]"), "{name}");
        }
    }
}
