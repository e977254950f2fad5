//! The effective configuration: every variable, its value and its origin. For `config print` only.

use std::collections::BTreeMap;
use std::fmt;

use super::settings;
use crate::secret::Secret;

/// What is known of the value of a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EffectiveValue {
    /// The value; `[redacted]` for a secret, `None` when unset.
    pub(crate) value: Option<String>,
    /// A default that depends on other variables, instead of the default of the row; empty: none.
    pub(crate) default: Option<String>,
    /// Another variable that the value comes from: that with the file of a secret, or an alternative.
    pub(crate) source: Option<String>,
    /// Whether the default comes from the AWS profile.
    pub(crate) in_profile: bool,
    /// The value of a secret, to compare it with a later one.
    pub(super) secret: Option<Secret>,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The environment of the process.
    Environment,
    /// The file `.env`.
    DotEnv,
    /// Another variable.
    Variable(String),
    /// Unset; the default applies.
    Default,
    /// Unset; the AWS credential chain applies.
    AwsChain,
    /// Unset; the selected profile of the AWS configuration applies.
    AwsProfile,
    /// Unset, without a default.
    Unset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Environment => "environment",
            Self::DotEnv => ".env",
            Self::Variable(name) => name,
            Self::Default => "default",
            Self::AwsChain => "AWS chain",
            Self::AwsProfile => "AWS profile",
            Self::Unset => "not set",
        })
    }
}

/// When none of these is set, the AWS credential chain applies.
const CREDENTIALS: [&str; 4] = [
    "AWS_BEDROCK_ACCESS_KEY",
    "AWS_BEDROCK_SECRET_KEY",
    "AWS_BEDROCK_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
];

/// The values of all variables that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings(pub(super) BTreeMap<&'static str, EffectiveValue>);

impl Settings {
    /// Each variable with its effective value and origin; `in_dotenv` is true for those that `.env` set.
    pub(crate) fn rows(
        &self,
        in_dotenv: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&'static str, Option<&str>, Origin)> {
        let chain = CREDENTIALS.iter().all(|name| self.0.get(name).is_none_or(|known| known.value.is_none()));
        self.0.iter().map(move |(name, known)| {
            let fixed = settings::setting(name).map(|setting| setting.default);
            let default = known.default.as_deref().or(fixed).filter(|text| !text.is_empty());
            let origin = match (&known.value, default) {
                (Some(_), _) => match &known.source {
                    Some(source) => Origin::Variable(source.clone()),
                    None if in_dotenv(name) => Origin::DotEnv,
                    None => Origin::Environment,
                },
                (None, _) if chain && CREDENTIALS.contains(name) => Origin::AwsChain,
                (None, Some(_)) if known.in_profile => Origin::AwsProfile,
                (None, Some(_)) => Origin::Default,
                (None, None) => Origin::Unset,
            };
            (*name, known.value.as_deref().or(default), origin)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::env::lookup_in;

    fn row(pairs: &[(&str, &str)], name: &str) -> (Option<String>, Origin) {
        let settings = Config::read(&lookup_in(pairs), &|_| false).1;
        let mut rows = settings.rows(|name| name == "PORT");
        let (_, value, origin) = rows.find(|(row, ..)| *row == name).unwrap();
        (value.map(str::to_owned), origin)
    }

    #[test]
    fn rows_have_value_and_origin() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(row(&[("PORT", "9000")], "PORT"), (value("9000"), Origin::DotEnv));
        assert_eq!(row(&[("HOST", "::1")], "HOST"), (value("::1"), Origin::Environment));
        assert_eq!(row(&[("HOST", " ")], "HOST"), (value("127.0.0.1"), Origin::Default));
        assert_eq!(row(&[], "AWS_CA_BUNDLE"), (None, Origin::Unset));
        let region = [("AWS_DEFAULT_REGION", "eu-west-1")];
        let source = Origin::Variable("AWS_DEFAULT_REGION".to_owned());
        assert_eq!(row(&region, "AWS_BEDROCK_REGION"), (value("eu-west-1"), source));
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
    fn secret_variables_are_masked() {
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
