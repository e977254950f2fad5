//! Variables that are set and look like ours, but are none: most of them are typing errors.
//!
//! A file `.env` is written for this program, so a mistake in it stops the start. The environment holds other programs'
//! variables, too: there only what surely was meant for us does, and the rest is said as a warning.

use std::collections::BTreeSet;

use super::Problem;

/// Nobody else's variables begin like this.
const OURS: [&str; 6] = ["AWS_BEDROCK_", "AWS_BEARER_TOKEN_", "JWT_", "QUOTA_", "LEDGER_", "ABANDONED_"];
/// Ours begin like this, and others' do, too.
const SHARED: [&str; 3] = ["DB_", "LOG_", "TLS_"];
/// Programs that have many variables, of which we read some.
const FOREIGN: [&str; 3] = ["AWS_", "OTEL_", "SSL_"];
/// An abbreviation has at least so many letters.
const SHORTEST: usize = 6;

/// What is to be said about the names that are set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Strangers {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// Looks at the names in `.env` and at those of the environment alone.
pub(super) fn find(
    known: &BTreeSet<&'static str>,
    in_file: &BTreeSet<String>,
    environment: impl Iterator<Item = String>,
) -> Strangers {
    let mut found = Strangers::default();
    let others = environment.filter(|name| !in_file.contains(name)).map(|name| (name, false));
    for (name, filed) in in_file.iter().map(|name| (name.clone(), true)).chain(others) {
        if known.contains(name.as_str()) {
            continue;
        }
        let (ours, meant) = (begins(&name, &OURS), nearest(known, &name));
        let said = match meant {
            Some(meant) => format!("there is no such variable; did you mean {meant}?"),
            None => "there is no such variable; .env.example names them all".to_owned(),
        };
        let wrong = if filed { ours || meant.is_some() } else { ours && meant.is_some() };
        if wrong {
            found.problems.push(Problem { variable: name, value: None, reason: said });
        } else if ours || meant.is_some() || (filed && begins(&name, &SHARED)) {
            found.warnings.push(format!("{name} is set, but {said}"));
        }
    }
    found
}

fn begins(name: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| name.starts_with(start))
}

/// The variable that `name` is probably meant to be.
fn nearest(known: &BTreeSet<&'static str>, name: &str) -> Option<&'static str> {
    let wanted = name.to_ascii_uppercase();
    let foreign = begins(&wanted, &FOREIGN);
    let candidates = known.iter().filter(|known| !foreign || begins(known, &OURS));
    let near = candidates.clone().filter_map(|known| {
        let distance = strsim::damerau_levenshtein(&wanted, known);
        (distance <= (wanted.len() / 5).min(3)).then_some((distance, *known))
    });
    let nearest = near.min().map(|(_, known)| known);
    let about_us = begins(&wanted, &OURS) || begins(&wanted, &SHARED);
    nearest.or_else(|| {
        let mut candidates = candidates.filter(|known| about_us && is_abbreviation(&wanted, known));
        candidates.next().copied()
    })
}

/// Whether one of both is the beginning of the other: `JWT_SECRET` of `JWT_SECRET_KEY`. What container platforms make of
/// a service's name, as `DB_PORT_5432_TCP`, is none.
fn is_abbreviation(name: &str, known: &str) -> bool {
    let (short, long) = if name.len() < known.len() { (name, known) } else { (known, name) };
    let rest = long.strip_prefix(short).filter(|_| short.len() >= SHORTEST);
    rest.is_some_and(|rest| !rest.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn said(file: &[&str], environment: &[&str]) -> Strangers {
        let known = Config::read(|_| None).1.names();
        find(&known, &names(file), names(environment).into_iter())
    }

    #[test]
    fn a_typing_error_in_the_file_is_a_mistake_with_a_suggestion() {
        for (typed, meant) in [
            ("AWS_BEDROK_REGION", "AWS_BEDROCK_REGION"),
            ("AWS_BEDROCK_ACCES_KEY", "AWS_BEDROCK_ACCESS_KEY"),
            ("JWT_SECRET", "JWT_SECRET_KEY"),
            ("DB_PASS", "DB_PASSWORD"),
            ("DB_SSL_MODE", "DB_SSLMODE"),
            ("PORTS", "PORT"),
            ("log_level", "LOG_LEVEL"),
        ] {
            let found = said(&[typed], &[]);
            assert_eq!(found.problems.len(), 1, "{typed}");
            let text = found.problems[0].to_string();
            assert!(text.contains(typed) && text.ends_with(&format!("did you mean {meant}?")), "{text}");
        }
        assert_eq!(said(&["QUOTA_SIZE"], &[]).problems.len(), 1, "nobody else's");
    }

    #[test]
    fn in_the_environment_only_what_is_surely_ours_is_a_mistake() {
        let found = said(&[], &["JWT_SECRET", "DB_PASS", "QUOTA_SIZE"]);
        assert_eq!(found.problems.len(), 1, "{found:?}");
        assert!(found.problems[0].to_string().starts_with("JWT_SECRET: "));
        assert_eq!(found.warnings.len(), 2, "{found:?}");
    }

    #[test]
    fn what_others_have_set_is_left_alone() {
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
            "OTEL_TRACES_SAMPLER",
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
        assert_eq!(said(&[], &others), Strangers::default());
        let filed = said(&others, &[]);
        assert_eq!(filed.problems, Vec::new());
        assert_eq!(filed.warnings.len(), 2, "{filed:?}");
    }
}
