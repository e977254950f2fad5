//! Telemetry: log lines, labels of the metrics, and the export of spans and metrics by OTLP.
//!
//! OpenTelemetry's SDK reads its own variables. Those that are read here decide whether anything is exported, select what
//! the SDK does not know, or would be ignored in silence if they are wrong.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>,
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use tracing_subscriber::EnvFilter;

use super::env::EnvReader;
use crate::secret::Secret;

/// The log target of this program.
const OUR_TARGET: &str = "bedrock_proxy";

/// Filter, format and destination of log lines.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    /// `LOG_LEVEL`, or a filter made from it and `AWS_BEDROCK_DEBUG`.
    pub(crate) filter: String,
    /// `LOG_FORMAT=json`; otherwise text.
    pub(crate) json: bool,
    /// `LOG_OUTPUT=stdout` or `both`.
    pub(crate) stdout: bool,
    /// `LOG_FILE_PATH`, with `LOG_OUTPUT=file` or `both`.
    pub(crate) file: Option<PathBuf>,
    /// `LOG_RETENTION_DAYS` and `LOG_RETENTION_BYTES`.
    pub(crate) retention: LogRetention,
    /// Every secret of the configuration; the log scrubber removes them.
    pub(crate) secrets: Vec<Secret>,
}

/// Retention of log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogRetention {
    /// `LOG_RETENTION_DAYS`.
    pub(crate) days: u32,
    /// `LOG_RETENTION_BYTES`, for all files together.
    pub(crate) bytes: u64,
}

pub(super) fn log(env: &mut EnvReader<'_>) -> LogConfig {
    let outputs = [("file", (true, false)), ("stdout", (false, true)), ("both", (true, true))];
    let (to_file, stdout) = env.choice("LOG_OUTPUT", outputs);
    let file = file(env);
    LogConfig {
        filter: filter(env),
        json: env.choice("LOG_FORMAT", [("json", true), ("text", false)]),
        stdout,
        file: file.filter(|_| to_file),
        // A month, and at most 1 GiB on disk.
        retention: LogRetention {
            days: env.number("LOG_RETENTION_DAYS"),
            bytes: env.number("LOG_RETENTION_BYTES"),
        },
        secrets: Vec::new(),
    }
}

/// Libraries log warnings and errors only: their details may contain data that the scrubber does not know. `sqlx` logs errors
/// only: it warns about each broken connection, and the store logs the outage once. So does `aws_config`: it warns about each
/// source without credentials, with its response in Rust's debug format, and the cache of credentials logs the outcome.
fn filter(env: &mut EnvReader<'_>) -> String {
    const NAME: &str = "LOG_LEVEL";
    let value = env.text_or_default(NAME);
    let is_debug = env.boolean("AWS_BEDROCK_DEBUG");
    let mut level = value.to_ascii_lowercase();
    if !["debug", "info", "warn", "error"].contains(&level.as_str()) {
        if value.contains('=') && EnvFilter::try_new(&value).is_ok() {
            return value;
        }
        let advice =
            "use one of: debug, info, warn, error, or levels by module such as warn,bedrock_proxy=debug";
        env.error(NAME, Some(&value), advice);
    }
    if is_debug {
        "debug".clone_into(&mut level);
    }
    let others = if level == "error" { "error" } else { "warn" };
    format!("{others},sqlx=error,aws_config=error,{OUR_TARGET}={level}")
}

fn file(env: &mut EnvReader<'_>) -> Option<PathBuf> {
    const NAME: &str = "LOG_FILE_PATH";
    let value = env.text_or_default(NAME);
    let path = Path::new(&value);
    if path.starts_with("/dev") || path.starts_with("/proc") {
        env.error(NAME, Some(&value), "not a directory for rotated files; use LOG_OUTPUT=stdout");
        return None;
    }
    let is_file_name = matches!(path.components().next_back(), Some(Component::Normal(_)));
    if !is_file_name || value.ends_with('/') || path.is_dir() {
        env.error(NAME, Some(&value), "a directory; name a file in it, as ./logs/bedrock-proxy.json");
        return None;
    }
    Some(path.to_owned())
}

/// Labels of the Prometheus metrics.
#[derive(Clone, Debug)]
pub(crate) struct MetricsConfig {
    /// `METRICS_USER_LABEL`: label tokens and cost by user.
    pub(crate) user_label: bool,
}

/// Export of spans and metrics by OTLP; nothing is exported without an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct OtelConfig {
    /// The collector of spans.
    pub(crate) traces: Option<CollectorConfig>,
    /// The collector of metrics.
    pub(crate) metrics: Option<CollectorConfig>,
    /// `OTEL_TRACES_SAMPLER`.
    pub(crate) sampler: Sampler,
    /// `OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`: use the latest names of the semantic conventions.
    pub(crate) newest_names: bool,
}

/// The collector of one signal.
#[derive(Clone, Debug)]
pub(crate) struct CollectorConfig {
    /// `OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT` unchanged, or `OTEL_EXPORTER_OTLP_ENDPOINT` with its path.
    pub(crate) url: Uri,
    /// `OTEL_EXPORTER_OTLP_HEADERS` or `…_<SIGNAL>_HEADERS`; they often contain a token.
    pub(crate) headers: Vec<(HeaderName, Secret)>,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT` or `…_<SIGNAL>_TIMEOUT`: limit for one export.
    pub(crate) timeout: Duration,
}

/// One signal.
struct Signal {
    exporter: &'static str,
    /// Its part in the names of variables.
    name: &'static str,
    path: &'static str,
}

const TRACES: Signal = Signal { exporter: "OTEL_TRACES_EXPORTER", name: "TRACES", path: "/v1/traces" };
const METRICS: Signal = Signal { exporter: "OTEL_METRICS_EXPORTER", name: "METRICS", path: "/v1/metrics" };
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// The default of the specification, in milliseconds.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const OPT_IN: &str = "OTEL_SEMCONV_STABILITY_OPT_IN";

pub(super) fn metrics(env: &mut EnvReader<'_>) -> MetricsConfig {
    MetricsConfig { user_label: env.boolean("METRICS_USER_LABEL") }
}

pub(super) fn otel(env: &mut EnvReader<'_>) -> OtelConfig {
    let disabled = env.boolean("OTEL_SDK_DISABLED");
    let (endpoint, headers) = (env.text(ENDPOINT), env.secret(HEADERS));
    let [traces, metrics] =
        [TRACES, METRICS].map(|signal| collector(env, &signal, endpoint.as_deref(), headers.as_ref()));
    let names = env.text(OPT_IN).unwrap_or_default();
    OtelConfig {
        traces: traces.filter(|_| !disabled),
        metrics: metrics.filter(|_| !disabled),
        sampler: sampler(env),
        // The variable is a list that may contain opt-ins of other instrumentations.
        newest_names: names.split(',').any(|name| name.trim() == "gen_ai_latest_experimental"),
    }
}

/// The collector of `signal`; `endpoint` and `headers` are those of all signals.
fn collector(
    env: &mut EnvReader<'_>,
    signal: &Signal,
    endpoint: Option<&str>,
    headers: Option<&Secret>,
) -> Option<CollectorConfig> {
    let disabled = env.choice(signal.exporter, [("otlp", false), ("none", true)]);
    let url = url(env, signal, endpoint);
    check_protocol(env, signal);
    let headers = header_list(env, signal, headers);
    let timeout = timeout(env, signal);
    Some(CollectorConfig { url: url.filter(|_| !disabled)?, headers, timeout })
}

/// The variable `OTEL_EXPORTER_OTLP_<SIGNAL>_<suffix>` with its value.
fn specific(env: &EnvReader<'_>, signal: &Signal, suffix: &str) -> Option<(String, String)> {
    let name = format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.name);
    env.library_value(&name).map(|value| (name, value))
}

/// As [`specific`], or else `OTEL_EXPORTER_OTLP_<suffix>`.
fn specific_or_common(env: &EnvReader<'_>, signal: &Signal, suffix: &str) -> Option<(String, String)> {
    let name = format!("OTEL_EXPORTER_OTLP_{suffix}");
    let common = || env.library_value(&name).map(|value| (name.clone(), value));
    specific(env, signal, suffix).or_else(common)
}

fn url(env: &mut EnvReader<'_>, signal: &Signal, endpoint: Option<&str>) -> Option<Uri> {
    let common = endpoint.map(|text| (ENDPOINT.to_owned(), text.to_owned(), signal.path));
    let specific = specific(env, signal, "ENDPOINT").map(|(name, text)| (name, text, ""));
    let (name, text, path) = specific.or(common)?;
    let url = parse_url(&text).and_then(|uri| with_path(uri, path));
    if url.is_none() {
        env.error(&name, Some(&text), "not a URL of a collector; use one such as http://localhost:4318");
    }
    url
}

fn parse_url(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let no_user = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (is_http && no_user).then_some(uri)
}

/// `uri` with `path` appended.
fn with_path(uri: Uri, path: &str) -> Option<Uri> {
    if path.is_empty() {
        return Some(uri);
    }
    let mut parts = uri.into_parts();
    let base = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
    parts.path_and_query = Some(format!("{}{path}", base.trim_end_matches('/')).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Rejects every protocol but `http/protobuf`.
fn check_protocol(env: &mut EnvReader<'_>, signal: &Signal) {
    let Some((name, value)) = specific_or_common(env, signal, "PROTOCOL") else { return };
    if value != "http/protobuf" {
        env.error(
            &name,
            Some(&value),
            "not supported; use http/protobuf, and the collector's port for it (4318; gRPC uses 4317)",
        );
    }
}

/// The SDK limits the retries of an export by it, and our client the time of one request.
fn timeout(env: &mut EnvReader<'_>, signal: &Signal) -> Duration {
    let default = Duration::from_millis(DEFAULT_TIMEOUT_MS);
    let Some((name, value)) = specific_or_common(env, signal, "TIMEOUT") else { return default };
    value.parse().map_or_else(
        |_| {
            env.error(&name, Some(&value), "not a whole number of milliseconds");
            default
        },
        Duration::from_millis,
    )
}

fn header_list(
    env: &mut EnvReader<'_>,
    signal: &Signal,
    common: Option<&Secret>,
) -> Vec<(HeaderName, Secret)> {
    let specific = specific(env, signal, "HEADERS").map(|(name, text)| (name, env.register_secret(text)));
    let common = common.map(|text| (HEADERS.to_owned(), text.clone()));
    let Some((name, text)) = specific.or(common) else { return Vec::new() };
    let pairs = text.expose().split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let headers: Option<Vec<_>> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let name: HeaderName = name.trim().parse().ok()?;
            // <https://www.w3.org/TR/baggage/#header-content>
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            HeaderValue::from_str(&value).ok()?;
            Some((name, env.register_secret(value)))
        })
        .collect();
    headers.unwrap_or_else(|| {
        env.error(&name, None, "not a list of headers; write name=value,name=value (the value is not shown)");
        Vec::new()
    })
}

/// The SDK ignores what it does not know, so both variables are checked, the argument for every sampler.
fn sampler(env: &mut EnvReader<'_>) -> Sampler {
    let argument = env.library_value(SAMPLER_ARG);
    let ratio: Option<f64> = argument.as_deref().map_or(Some(1.0), |text| text.parse().ok());
    let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or_else(|| {
        env.error(SAMPLER_ARG, argument.as_deref(), "not a ratio; use a number from 0 to 1");
        1.0
    });
    let kinds = [
        ("parentbased_always_on", (true, 1.0)),
        ("parentbased_always_off", (true, 0.0)),
        ("parentbased_traceidratio", (true, ratio)),
        ("always_on", (false, 1.0)),
        ("always_off", (false, 0.0)),
        ("traceidratio", (false, ratio)),
    ];
    let (is_parent_based, ratio) = env.choice(SAMPLER, kinds);
    let root = Sampler::TraceIdRatioBased(ratio);
    if is_parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::lookup_in;
    use crate::config::{Config, ConfigError};

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        Config::load(lookup_in(pairs))
    }

    fn load_log(pairs: &[(&str, &str)]) -> LogConfig {
        load(pairs).unwrap().log
    }

    #[test]
    fn default_log_is_json_file_for_thirty_days() {
        let log = load_log(&[]);
        assert_eq!(log.file.as_deref(), Some(Path::new("./logs/bedrock-proxy.json")));
        assert!(log.json && !log.stdout);
        assert_eq!(log.retention, LogRetention { days: 30, bytes: 1 << 30 });
        assert_eq!(log.filter, "warn,sqlx=error,aws_config=error,bedrock_proxy=info");
    }

    #[test]
    fn log_output_selects_stdout_file_or_both() {
        let stdout = load_log(&[("LOG_OUTPUT", "stdout")]);
        assert!(stdout.stdout && stdout.file.is_none());
        let both = load_log(&[("LOG_OUTPUT", "both"), ("LOG_FILE_PATH", "/var/log/x/proxy.log")]);
        assert!(both.stdout && both.file.as_deref() == Some(Path::new("/var/log/x/proxy.log")));
        let ignored = load(&[("LOG_OUTPUT", "stdout"), ("LOG_FILE_PATH", "./logs/x.json")]).unwrap();
        assert!(
            ignored.warnings.iter().any(|warning| warning.contains("LOG_FILE_PATH")),
            "{:?}",
            ignored.warnings
        );
    }

    #[test]
    fn log_level_applies_to_our_target_only() {
        assert_eq!(
            load_log(&[("LOG_LEVEL", "error")]).filter,
            "error,sqlx=error,aws_config=error,bedrock_proxy=error"
        );
        let debug = [("AWS_BEDROCK_DEBUG", "true"), ("LOG_LEVEL", "info")];
        assert_eq!(load_log(&debug).filter, "warn,sqlx=error,aws_config=error,bedrock_proxy=debug");
        assert_eq!(load_log(&[debug[0], ("LOG_LEVEL", "info,hyper=trace")]).filter, "info,hyper=trace");
    }

    #[test]
    fn invalid_log_variables_are_rejected_with_advice() {
        for (name, value, advice) in [
            ("LOG_OUTPUT", "stderr", "use one of: file, stdout, both"),
            ("LOG_FORMAT", "xml", "use one of: json, text"),
            ("LOG_LEVEL", "loud", "use one of: debug"),
            ("LOG_LEVEL", "bedrock_proxy=loud", "levels by module"),
            ("LOG_FILE_PATH", "/dev/stdout", "LOG_OUTPUT=stdout"),
            ("LOG_FILE_PATH", "/tmp", "name a file in it"),
            ("LOG_FILE_PATH", "logs/", "name a file in it"),
            ("LOG_FILE_PATH", "..", "name a file in it"),
            ("LOG_RETENTION_DAYS", "0", "from 1 to"),
            ("LOG_RETENTION_BYTES", "1000", "from 1048576 to"),
        ] {
            let errors = load(&[(name, value)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].variable == name && errors[0].reason.contains(advice), "{errors:?}");
        }
    }

    #[test]
    fn every_secret_is_registered_for_the_scrubber() {
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
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-key=canary-of-metrics"),
        ]);
        let secrets = config.unwrap().log.secrets;
        let registered: Vec<_> = secrets.iter().map(Secret::expose).collect();
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
            "canary-of-metrics",
        ] {
            assert!(registered.contains(&secret), "{secret}");
        }
    }

    fn read(pairs: &[(&str, &str)]) -> (OtelConfig, Vec<String>) {
        let lookup = lookup_in(pairs);
        let mut env = EnvReader::new(&lookup, &|_| false);
        let otel = otel(&mut env);
        let errors = env.finish().0.into_iter().map(|error| error.to_string()).collect();
        (otel, errors)
    }

    fn urls(pairs: &[(&str, &str)]) -> [Option<String>; 2] {
        let (otel, errors) = read(pairs);
        assert_eq!(errors, Vec::<String>::new());
        [otel.traces, otel.metrics].map(|collector| collector.map(|collector| collector.url.to_string()))
    }

    #[test]
    fn nothing_is_exported_without_an_endpoint() {
        assert_eq!(urls(&[("OTEL_SERVICE_NAME", "x")]), [None, None]);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert_eq!(urls(&[base, ("OTEL_SDK_DISABLED", "true")]), [None, None]);
    }

    #[test]
    fn each_signal_has_its_path_or_endpoint() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp/");
        let some = |text: &str| Some(text.to_owned());
        let both =
            [some("http://collector:4318/otlp/v1/traces"), some("http://collector:4318/otlp/v1/metrics")];
        assert_eq!(urls(&[base]), both);
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in?x=1");
        assert_eq!(urls(&[base, own]), [some("https://traces.example/in?x=1"), both[1].clone()]);
        assert_eq!(urls(&[own]), [some("https://traces.example/in?x=1"), None]);
        assert_eq!(urls(&[base, ("OTEL_METRICS_EXPORTER", "none")]), [both[0].clone(), None]);
    }

    #[test]
    fn header_values_are_secret_and_percent_decoded() {
        let (otel, errors) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20dTpw, x-a=b"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-b=c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ]);
        assert_eq!(errors, Vec::<String>::new());
        assert!(!format!("{otel:?}").contains("Basic"), "{otel:?}");
        let headers = |collector: &Option<CollectorConfig>| {
            let headers = collector.as_ref().unwrap().headers.iter();
            headers.map(|(name, value)| format!("{name}: {}", value.expose())).collect::<Vec<_>>()
        };
        assert_eq!(headers(&otel.traces), ["authorization: Basic dTpw", "x-a: b"]);
        assert_eq!(headers(&otel.metrics), ["x-b: c"]);
        assert_eq!(otel.traces.unwrap().timeout, Duration::from_millis(2500));
    }

    #[test]
    fn samplers_have_standard_names() {
        let sampler = |pairs: &[(&str, &str)]| format!("{:?}", read(pairs).0.sampler);
        assert_eq!(sampler(&[]), "ParentBased(TraceIdRatioBased(1.0))");
        assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER", "always_off")]), "TraceIdRatioBased(0.0)");
        let by_ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        let quarter = [by_ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        assert_eq!(sampler(&quarter), "ParentBased(TraceIdRatioBased(0.25))");
        assert_eq!(sampler(&[by_ratio]), "ParentBased(TraceIdRatioBased(1.0))");
    }

    #[test]
    fn invalid_otel_variables_are_rejected_with_advice() {
        for (name, value, word) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "whole number"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "soon", "whole number"),
            ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
        ] {
            let errors = read(&[(name, value)]).1;
            assert!(errors.iter().any(|text| text.contains(name) && text.contains(word)), "{errors:?}");
        }
        for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            let errors = read(&[(name, "hunter2")]).1;
            assert!(errors.len() == 1 && errors[0].contains(name), "{errors:?}");
            assert!(!errors[0].contains("hunter2"), "{errors:?}");
        }
    }
}
