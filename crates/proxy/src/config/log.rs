//! Log lines: how much, in which form, where to, and for how long.

use std::path::{Component, Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::env::Reader;
use crate::secret::Secret;

/// What the program itself is called in filters.
const OURS: &str = "bedrock_proxy";

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// What is logged, in the words of `RUST_LOG`; made of `LOG_LEVEL` and `AWS_BEDROCK_DEBUG` without it.
    pub filter: String,
    /// `LOG_FORMAT=json`; otherwise text.
    pub json: bool,
    /// `LOG_OUTPUT=stdout` or `both`.
    pub stdout: bool,
    /// `LOG_FILE_PATH`, with `LOG_OUTPUT=file` or `both`.
    pub file: Option<PathBuf>,
    /// `LOG_RETENTION_DAYS` and `LOG_RETENTION_BYTES`.
    pub retention: Retention,
    /// What must not stand in a line: every secret of the configuration.
    pub secrets: Vec<Secret>,
}

/// How long log files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `LOG_RETENTION_DAYS`.
    pub days: u32,
    /// `LOG_RETENTION_BYTES`, all files together.
    pub bytes: u64,
}

pub(super) fn log(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Log {
    let outputs = [("file", (true, false)), ("stdout", (false, true)), ("both", (true, true))];
    let (to_file, stdout) = reader.choice("LOG_OUTPUT", (true, false), &outputs);
    let file = file(reader);
    Log {
        filter: filter(reader),
        json: reader.choice("LOG_FORMAT", true, &[("json", true), ("text", false)]),
        stdout,
        file: file.filter(|_| to_file),
        retention: Retention {
            days: reader.number("LOG_RETENTION_DAYS", 30, 1..=36_500),
            bytes: reader.number("LOG_RETENTION_BYTES", 1 << 30, 1 << 20..=1 << 50),
        },
        secrets: Vec::new(),
    }
}

/// Libraries have less to say than the program: their details are of no use to whoever runs it, and not ours to vouch for.
fn filter(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> String {
    const NAME: &str = "RUST_LOG";
    let levels = [("debug", "debug"), ("info", "info"), ("warn", "warn"), ("error", "error")];
    let mut level = reader.choice("LOG_LEVEL", "info", &levels);
    if reader.boolean("AWS_BEDROCK_DEBUG", false) {
        level = "debug";
    }
    let others = if level == "error" { "error" } else { "warn" };
    let usual = format!("{others},{OURS}={level}");
    let Some(filter) = reader.text(NAME) else { return usual };
    match EnvFilter::try_new(&filter) {
        Ok(_) => filter,
        Err(error) => {
            let advice = "use a level such as info, or modules with levels such as warn,bedrock_proxy=debug";
            reader.problem(NAME, Some(&filter), format!("not a filter ({error}); {advice}"));
            usual
        }
    }
}

fn file(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Option<PathBuf> {
    const NAME: &str = "LOG_FILE_PATH";
    let value = reader.text_or(NAME, "./logs/bedrock-proxy.json");
    let path = Path::new(&value);
    if path.starts_with("/dev") || path.starts_with("/proc") {
        reader.problem(
            NAME,
            Some(&value),
            "is no place for files that are named by their day; use LOG_OUTPUT=stdout",
        );
        return None;
    }
    let named = matches!(path.components().next_back(), Some(Component::Normal(_)));
    if !named || value.ends_with('/') || path.is_dir() {
        reader.problem(NAME, Some(&value), "is a folder; name a file in it, as ./logs/bedrock-proxy.json");
        return None;
    }
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Problem};

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
        Config::load(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn log(pairs: &[(&str, &str)]) -> Log {
        load(pairs).unwrap().log
    }

    #[test]
    fn without_a_word_lines_of_json_go_to_a_file_for_thirty_days() {
        let log = log(&[]);
        assert_eq!(log.file.as_deref(), Some(Path::new("./logs/bedrock-proxy.json")));
        assert!(log.json && !log.stdout);
        assert_eq!(log.retention, Retention { days: 30, bytes: 1 << 30 });
        assert_eq!(log.filter, "warn,bedrock_proxy=info");
    }

    #[test]
    fn lines_go_where_the_operator_says() {
        let stdout = log(&[("LOG_OUTPUT", "stdout")]);
        assert!(stdout.stdout && stdout.file.is_none());
        let both = log(&[("LOG_OUTPUT", "both"), ("LOG_FILE_PATH", "/var/log/x/proxy.log")]);
        assert!(both.stdout && both.file.as_deref() == Some(Path::new("/var/log/x/proxy.log")));
        let vain = load(&[("LOG_OUTPUT", "stdout"), ("LOG_FILE_PATH", "./logs/x.json")]).unwrap();
        assert!(vain.warnings.iter().any(|warning| warning.contains("LOG_FILE_PATH")), "{:?}", vain.warnings);
    }

    #[test]
    fn detail_is_ours_and_rust_log_wins() {
        assert_eq!(log(&[("LOG_LEVEL", "error")]).filter, "error,bedrock_proxy=error");
        let debug = [("AWS_BEDROCK_DEBUG", "true"), ("LOG_LEVEL", "info")];
        assert_eq!(log(&debug).filter, "warn,bedrock_proxy=debug");
        assert_eq!(log(&[debug[0], ("RUST_LOG", "info,hyper=trace")]).filter, "info,hyper=trace");
    }

    #[test]
    fn mistakes_are_named_with_what_to_do() {
        for (name, value, advice) in [
            ("LOG_OUTPUT", "stderr", "use one of: file, stdout, both"),
            ("LOG_FORMAT", "xml", "use one of: json, text"),
            ("LOG_LEVEL", "loud", "use one of: debug"),
            ("RUST_LOG", "bedrock_proxy=loud", "not a filter"),
            ("LOG_FILE_PATH", "/dev/stdout", "LOG_OUTPUT=stdout"),
            ("LOG_FILE_PATH", "/tmp", "name a file in it"),
            ("LOG_FILE_PATH", "logs/", "name a file in it"),
            ("LOG_FILE_PATH", "..", "name a file in it"),
            ("LOG_RETENTION_DAYS", "0", "from 1 to"),
            ("LOG_RETENTION_BYTES", "1000", "from 1048576 to"),
        ] {
            let problems = load(&[(name, value)]).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].variable == name && problems[0].reason.contains(advice), "{problems:?}");
        }
    }

    #[test]
    fn every_secret_of_the_configuration_is_kept_out_of_lines() {
        let key = "0123456789abcdef0123456789abcdef";
        let previous = "canary-previous-0123456789abcdef,canary-earlier-90123456789abcdef";
        let config = load(&[
            ("AWS_BEDROCK_ACCESS_KEY", "AKIAEXAMPLE"),
            ("AWS_BEDROCK_SECRET_KEY", "canary-secret-key"),
            ("AWS_BEDROCK_SESSION_TOKEN", "canary-session"),
            ("AWS_BEARER_TOKEN_BEDROCK", "canary-bearer"),
            ("JWT_SECRET_KEY", key),
            ("JWT_PREVIOUS_SECRET_KEYS", previous),
            ("DATABASE_URL", "postgres://u:canary%40password@h/db"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=canary%20header"),
        ]);
        let secrets = config.unwrap().log.secrets;
        let known: Vec<_> = secrets.iter().map(Secret::expose).collect();
        for secret in [
            "canary-secret-key",
            "canary-session",
            "canary-bearer",
            key,
            "canary-previous-0123456789abcdef",
            "canary-earlier-90123456789abcdef",
            "canary%40password",
            "canary@password",
            "canary header",
        ] {
            assert!(known.contains(&secret), "{secret}");
        }
    }
}
