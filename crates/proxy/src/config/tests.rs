mod documents;

use std::collections::BTreeSet;
use std::time::Duration;

use super::env::lookup_in;
use super::settings::{Kind, SETTINGS};
use super::*;

fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
    Config::load(lookup_in(pairs))
}

fn errors(pairs: &[(&str, &str)]) -> String {
    load(pairs).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn empty_environment_gives_the_documented_defaults() {
    let config = load(&[]).unwrap();
    assert_eq!((config.server.host.to_string().as_str(), config.server.port), ("127.0.0.1", 8081));
    assert_eq!(config.bedrock.region, "us-east-1");
    assert_eq!(config.catalog.prefix, Some("us"));
    assert_eq!(config.inference.options.default_max_tokens, 8192);
    assert_eq!(config.inference.request_timeout, Duration::from_secs(300));
    assert!(config.inference.xml_buffer && config.log.json && config.warnings.is_empty());
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = errors(&[
        ("PORT", "eighty"),
        ("AWS_BEDROCK_DEBUG", "maybe"),
        ("AWS_BEDROCK_ACCESS_KEY", "AKIAEXAMPLE"),
        ("AWS_BEDROCK_REGION", "us east 1"),
        ("LOG_OUTPUT", "stderr"),
        ("QUOTA_CACHE_READ_PERCENT", "101"),
    ]);
    let expected =
        ["PORT", "AWS_BEDROCK_DEBUG", "AWS_BEDROCK_SECRET_KEY", "AWS_BEDROCK_REGION", "LOG_OUTPUT", "QUOTA"];
    for variable in expected {
        assert!(text.contains(variable), "{variable} is missing in:\n{text}");
    }
    assert_eq!(text.lines().count(), 6);
}

#[test]
fn secrets_are_never_printed() {
    let secrets = [
        ("AWS_BEDROCK_ACCESS_KEY", "AKIAEXAMPLE"),
        ("AWS_BEDROCK_SECRET_KEY", "canary-1"),
        ("AWS_BEDROCK_SESSION_TOKEN", "canary-2"),
        ("AWS_BEARER_TOKEN_BEDROCK", "canary-3"),
    ];
    let debug = format!("{:?}", load(&secrets).unwrap());
    assert!(!debug.contains("canary"), "{debug}");
    let mut invalid = secrets.to_vec();
    invalid.extend([("PORT", "x"), ("JWT_SECRET_KEY", "canary-4")]);
    assert!(!errors(&invalid).contains("canary"));
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

type Variables = &'static [(&'static str, &'static str)];

/// Each secret with a value, and the variables that it needs.
const SECRETS: [(&str, &str, Variables); 8] = [
    ("AWS_BEDROCK_SECRET_KEY", "hunter2", &[("AWS_BEDROCK_ACCESS_KEY", "AKIAEXAMPLE")]),
    (
        "AWS_BEDROCK_SESSION_TOKEN",
        "hunter2",
        &[("AWS_BEDROCK_ACCESS_KEY", "AKIAEXAMPLE"), ("AWS_BEDROCK_SECRET_KEY", "x")],
    ),
    ("AWS_BEARER_TOKEN_BEDROCK", "hunter2", &[]),
    ("JWT_SECRET_KEY", "0123456789abcdefghijklmnopqrstuv-hunter2", &[]),
    (
        "JWT_PREVIOUS_SECRET_KEYS",
        "0123456789abcdefghijklmnopqrstuv-hunter2",
        &[("JWT_SECRET_KEY", "vutsrqponmlkjihgfedcba9876543210-x")],
    ),
    ("DATABASE_URL", "postgres://user:hunter2@host/name", &[]),
    ("DB_PASSWORD", "hunter2", &[]),
    ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2", &[]),
];

#[test]
fn every_secret_can_be_in_a_file() {
    let secrets = SETTINGS.iter().filter(|setting| setting.is_secret());
    let secrets: BTreeSet<_> = secrets.map(|setting| setting.name).collect();
    assert_eq!(secrets, SECRETS.iter().map(|(name, ..)| *name).collect());
    for (name, value, others) in SECRETS {
        let (file, variable) = (file_with(&format!("{value}\n")), format!("{name}_FILE"));
        let path = file.path().to_str().unwrap();
        let set = |pair| [others, &[pair]].concat();
        let in_variable = load(&set((name, value))).unwrap();
        let in_file = load(&set((&variable, path))).unwrap();
        let exposed = |config: &Config| {
            config.log.secrets.iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(exposed(&in_file), exposed(&in_variable), "{name}");
        assert_eq!(format!("{in_file:?}"), format!("{in_variable:?}"), "{name}");

        let both = errors(&[others, &[(name, value), (&variable, path)]].concat());
        assert!(both.contains(&format!("set beside {name}; unset one of them")), "{both}");
        assert!(!both.contains("hunter2"), "{both}");
    }
}

#[test]
fn unusable_file_of_a_secret_is_an_error() {
    let (empty, long) = (file_with(" \n"), file_with(&"x".repeat(100_000)));
    let reason =
        |path: &std::path::Path| errors(&[("AWS_BEARER_TOKEN_BEDROCK_FILE", path.to_str().unwrap())]);
    assert!(reason(empty.path()).contains("is empty"));
    assert!(reason(long.path()).contains("is longer than 65536 bytes"));
    assert!(reason("/no/such/file".as_ref()).contains("cannot be read"));
    assert!(reason("/".as_ref()).contains("cannot be read"));
}

#[test]
fn public_address_needs_allow_unauthenticated() {
    assert!(errors(&[("HOST", "0.0.0.0")]).contains("ALLOW_UNAUTHENTICATED"));
    let open = load(&[("HOST", "0.0.0.0"), ("ALLOW_UNAUTHENTICATED", "true")]).unwrap();
    assert!(open.server.host.is_unspecified());
    assert!(load(&[("HOST", "::1")]).is_ok());
    assert!(load(&[("HOST", "localhost")]).is_ok());
}

#[test]
fn mappings_accept_arns_and_reject_duplicates() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc";
    let text = format!("\"claude-3-5-sonnet=anthropic.claude-3-5-sonnet-20241022-v2:0, mine='{arn}'\"");
    let config = load(&[("AWS_BEDROCK_MODEL_MAPPINGS", &text)]).unwrap();
    assert_eq!(config.catalog.mappings[0].1, "anthropic.claude-3-5-sonnet-20241022-v2:0");
    assert_eq!(config.catalog.mappings[1], ("mine".to_owned(), arn.to_owned()));
    let text = errors(&[("AWS_BEDROCK_MODEL_MAPPINGS", "a=b,,a=c,d=,e")]);
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn region_decides_the_default_prefix() {
    let prefix = |region: &str| load(&[("AWS_REGION", region)]).unwrap().catalog.prefix;
    assert_eq!(prefix("us-gov-west-1"), Some("us-gov"));
    assert_eq!(prefix("us-west-2"), Some("us"));
    assert_eq!(prefix("eu-central-1"), Some("eu"));
    assert_eq!(prefix("ap-southeast-2"), Some("apac"));
    assert_eq!(prefix("ca-central-1"), Some("global"));
    let set = |value| load(&[("ANTHROPIC_BEDROCK_REGION_PREFIX", value)]).map(|config| config.catalog.prefix);
    assert_eq!(set("jp").unwrap(), Some("jp"));
    assert_eq!(set("none").unwrap(), None);
    assert!(set("mars").is_err());
}

#[test]
fn custom_endpoint_excludes_fips_and_dual_stack() {
    let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9000");
    assert!(load(&[endpoint]).unwrap().warnings.is_empty());
    let text = errors(&[endpoint, ("AWS_USE_FIPS_ENDPOINT", "1"), ("AWS_USE_DUALSTACK_ENDPOINT", "yes")]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(errors(&[("AWS_ENDPOINT_URL", "ftp://host")]).contains("AWS_ENDPOINT_URL"));
    assert_eq!(load(&[("AWS_ENDPOINT_URL", "http://proxy.example")]).unwrap().warnings.len(), 1);
}

#[test]
fn every_variable_that_is_read_is_in_the_table() {
    let read: BTreeSet<_> = Config::read(&|_| None, &|_| false).1.0.into_keys().collect();
    let table: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(read, table);
    assert_eq!(table.len(), SETTINGS.len(), "a variable has two rows");
}

#[test]
fn choices_of_the_table_are_those_of_the_reader() {
    for setting in SETTINGS {
        let Kind::Choice(words) = setting.kind else { continue };
        let expected = format!("{}=\"x-y\": use one of: {}", setting.name, words.join(", "));
        let errors = errors(&[(setting.name, "x-y")]);
        assert_eq!(errors, expected);
    }
}
