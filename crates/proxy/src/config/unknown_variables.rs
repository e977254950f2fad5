//! Unknown variables that resemble ours: most of them are typing errors.
//!
//! The `.env` file belongs to this program, so an unknown variable in it stops the start. The environment contains the
//! variables of other programs too: only a variable that was clearly meant for us stops the start, others that resemble
//! ours are warnings.

use std::collections::BTreeSet;

use super::ConfigError;
use super::settings::REMOVED;

/// Prefixes that no other program uses.
const OUR_PREFIXES: [&str; 4] = ["AWS_BEDROCK_", "AWS_BEARER_TOKEN_", "JWT_", "QUOTA_"];
/// Prefixes that other programs use too.
const SHARED_PREFIXES: [&str; 3] = ["DB_", "LOG_", "TLS_"];
/// Prefixes of other programs; we read some of their variables.
const OTHER_PREFIXES: [&str; 3] = ["AWS_", "OTEL_", "SSL_"];
/// Minimum length of an abbreviation: shorter names such as `DB_` or `LOG_` are prefixes of everything.
const MIN_ABBREVIATION_LENGTH: usize = 6;
/// Maximum edit distance of a suggestion: three typing errors, fewer in short names, so that no other word is suggested.
const MAX_DISTANCE: usize = 3;

/// Errors and warnings about unknown variables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UnknownVariables {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

/// Checks the names in `.env`, and those in the environment alone.
pub(super) fn find(
    known: &BTreeSet<String>,
    in_file: &BTreeSet<String>,
    environment: impl Iterator<Item = String>,
) -> UnknownVariables {
    let mut found = UnknownVariables::default();
    let others = environment.filter(|name| !in_file.contains(name)).map(|name| (name, false));
    for (name, from_file) in in_file.iter().map(|name| (name.clone(), true)).chain(others) {
        if known.contains(name.as_str()) {
            continue;
        }
        if let Some(removed) = REMOVED.iter().find(|removed| removed.name == name) {
            let reason = format!("no longer read; {}", removed.advice);
            if removed.is_error {
                found.errors.push(ConfigError { variable: name, value: None, reason });
            } else {
                found.warnings.push(format!("{name} is {reason}"));
            }
            continue;
        }
        let (is_ours, suggestion) = (has_prefix(&name, &OUR_PREFIXES), nearest(known, &name));
        let reason = match suggestion {
            Some(suggestion) => format!("there is no such variable; did you mean {suggestion}?"),
            None => "there is no such variable; .env.example lists all variables".to_owned(),
        };
        let is_error =
            if from_file { is_ours || suggestion.is_some() } else { is_ours && suggestion.is_some() };
        if is_error {
            found.errors.push(ConfigError { variable: name, value: None, reason });
        } else if is_ours || suggestion.is_some() || (from_file && has_prefix(&name, &SHARED_PREFIXES)) {
            found.warnings.push(format!("{name} is set, but {reason}"));
        }
    }
    found
}

fn has_prefix(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The known variable that `name` resembles most.
fn nearest<'a>(known: &'a BTreeSet<String>, name: &str) -> Option<&'a str> {
    let name = name.to_ascii_uppercase();
    let is_other = has_prefix(&name, &OTHER_PREFIXES);
    let candidates =
        known.iter().map(String::as_str).filter(|known| !is_other || has_prefix(known, &OUR_PREFIXES));
    let near = candidates.clone().filter_map(|known| {
        let distance = strsim::damerau_levenshtein(&name, known);
        (distance <= (name.len() / 5).min(MAX_DISTANCE)).then_some((distance, known))
    });
    let nearest = near.min().map(|(_, known)| known);
    let may_be_ours = has_prefix(&name, &OUR_PREFIXES) || has_prefix(&name, &SHARED_PREFIXES);
    nearest.or_else(|| {
        let mut candidates = candidates.filter(|known| may_be_ours && is_abbreviation(&name, known));
        candidates.next()
    })
}

/// Whether one name is the beginning of the other, as `JWT_SECRET` of `JWT_SECRET_KEY`. A rest with digits does not count:
/// container platforms derive names such as `DB_PORT_5432_TCP` from the name of a service.
fn is_abbreviation(name: &str, known: &str) -> bool {
    let (short, long) = if name.len() < known.len() { (name, known) } else { (known, name) };
    let rest = long.strip_prefix(short).filter(|_| short.len() >= MIN_ABBREVIATION_LENGTH);
    rest.is_some_and(|rest| !rest.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn check(file: &[&str], environment: &[&str]) -> UnknownVariables {
        let known = settings::names();
        find(&known, &names(file), names(environment).into_iter())
    }

    #[test]
    fn typing_error_in_the_file_is_an_error() {
        for (name, suggestion) in [
            ("AWS_BEDROK_REGION", "AWS_BEDROCK_REGION"),
            ("AWS_BEDROCK_ACCES_KEY", "AWS_BEDROCK_ACCESS_KEY"),
            ("JWT_SECRET", "JWT_SECRET_KEY"),
            ("DB_PASS", "DB_PASSWORD"),
            ("DB_SSL_MODE", "DB_SSLMODE"),
            ("PORTS", "PORT"),
            ("log_level", "LOG_LEVEL"),
        ] {
            let found = check(&[name], &[]);
            assert_eq!(found.errors.len(), 1, "{name}");
            let text = found.errors[0].to_string();
            assert!(text.contains(name) && text.ends_with(&format!("did you mean {suggestion}?")), "{text}");
        }
        assert_eq!(check(&["QUOTA_SIZE"], &[]).errors.len(), 1, "no other program uses this prefix");
    }

    #[test]
    fn only_our_prefixes_are_errors_in_the_environment() {
        let found = check(&[], &["JWT_SECRET", "DB_PASS", "QUOTA_SIZE"]);
        assert_eq!(found.errors.len(), 1, "{found:?}");
        assert!(found.errors[0].to_string().starts_with("JWT_SECRET: "));
        assert_eq!(found.warnings.len(), 2, "{found:?}");
    }

    #[test]
    fn removed_variables_are_reported_with_advice() {
        for removed in REMOVED {
            assert!(settings::setting(removed.name).is_none(), "{}", removed.name);
            for found in [check(&[removed.name], &[]), check(&[], &[removed.name])] {
                let errors = found.errors.iter().map(ToString::to_string);
                let texts: Vec<_> = errors.chain(found.warnings.iter().cloned()).collect();
                let [text] = texts.as_slice() else { panic!("{found:?}") };
                assert!(text.starts_with(removed.name) && text.ends_with(removed.advice), "{text}");
                assert_eq!(found.errors.is_empty(), !removed.is_error, "{found:?}");
            }
            let named = removed.advice.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_');
            for name in named.filter(|word| word.contains('_')) {
                assert!(settings::names().contains(name), "{name}");
            }
        }
    }

    #[test]
    fn variables_of_other_programs_are_accepted() {
        let others = [
            "AWS_PROFILE",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_ROLE_ARN",
            "AWS_ENDPOINT_URL_SSO",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_EC2_METADATA_DISABLED",
            "AWS_EXECUTION_ENV",
            "AWS_PAGER",
            "OTEL_SERVICE_NAME",
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "HOME",
            "PATH",
            "HOSTNAME",
            "LOGNAME",
            "LANG",
            "RUST_BACKTRACE",
            "RUST_LOG_STYLE",
            "DB_PORT_5432_TCP",
            "DB_SERVICE_HOST",
            "KUBERNETES_PORT",
            "POSTGRES_PASSWORD",
            "COMPOSE_PROJECT_NAME",
            "HTTPS_PROXY",
            "SSL_CERT_FILE",
            "ANTHROPIC_BASE_URL",
            "PWD",
            "ANTHROPIC_API_KEY",
            "XDG_DATA_DIRS",
            "SHLVL",
            "TERM",
            "USER",
            "MAIL",
            "SHELL",
            "OLDPWD",
            "TZ",
            "LS_COLORS",
        ];
        assert_eq!(check(&[], &others), UnknownVariables::default());
        let in_file = check(&others, &[]);
        assert_eq!(in_file.errors, Vec::new());
        assert_eq!(in_file.warnings.len(), 2, "{in_file:?}");
    }
}
