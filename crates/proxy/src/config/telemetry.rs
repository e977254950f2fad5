//! What is told to others about requests: labels of the metrics, and the collector of OpenTelemetry.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>,
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};

use super::env::Reader;
use crate::secret::Secret;

/// What Prometheus is told.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `METRICS_USER_LABEL`: whether tokens and dollars are told by user, too.
    pub user_label: bool,
}

/// What a collector is told; nothing without an endpoint.
#[derive(Clone, Debug)]
pub struct Otel {
    /// Where spans go.
    pub traces: Option<Collector>,
    /// Where metrics go.
    pub metrics: Option<Collector>,
    /// `OTEL_SERVICE_NAME`, or `service.name` of `OTEL_RESOURCE_ATTRIBUTES`.
    pub service_name: String,
    /// `OTEL_RESOURCE_ATTRIBUTES` without the name of the service.
    pub attributes: Vec<(String, String)>,
    /// `OTEL_TRACES_SAMPLER`: which traces are recorded.
    pub sampler: Sampler,
    /// `OTEL_METRIC_EXPORT_INTERVAL`: how often metrics are sent.
    pub interval: Duration,
    /// `OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`: whether the newest names are used.
    pub newest_names: bool,
}

/// A collector for one kind of signal.
#[derive(Clone, Debug)]
pub struct Collector {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and its like as typed, or `OTEL_EXPORTER_OTLP_ENDPOINT` with its path.
    pub url: Uri,
    /// `OTEL_EXPORTER_OTLP_HEADERS` and its like; they often hold a token.
    pub headers: Vec<(HeaderName, Secret)>,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT` and its like: how long one sending may take.
    pub timeout: Duration,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether a caller decides who named a trace.
    pub parent_based: bool,
    /// The part of the other traces, from 0 to 1.
    pub ratio: f64,
}

/// The variables of one kind of signal.
struct Signal {
    exporter: &'static str,
    endpoint: &'static str,
    headers: &'static str,
    timeout: &'static str,
    protocol: &'static str,
    path: &'static str,
}

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    headers: "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    path: "/v1/traces",
};
const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    headers: "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    timeout: "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    path: "/v1/metrics",
};
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const OPT_IN: &str = "OTEL_SEMCONV_STABILITY_OPT_IN";

pub(super) fn metrics(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Metrics {
    Metrics { user_label: reader.boolean("METRICS_USER_LABEL", false) }
}

pub(super) fn otel(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Otel {
    let off = reader.boolean("OTEL_SDK_DISABLED", false);
    let (traces, metrics) = (collector(reader, &TRACES), collector(reader, &METRICS));
    let mut attributes = attributes(reader);
    let named = attributes.iter().position(|(name, _)| name == "service.name");
    let named = named.map(|at| attributes.remove(at).1);
    let service_name = reader.text("OTEL_SERVICE_NAME").or(named);
    let names = reader.text(OPT_IN).unwrap_or_default();
    Otel {
        traces: traces.filter(|_| !off),
        metrics: metrics.filter(|_| !off),
        service_name: service_name.unwrap_or_else(|| "bedrock-proxy".to_owned()),
        attributes,
        sampler: sampler(reader),
        interval: Duration::from_millis(reader.number(
            "OTEL_METRIC_EXPORT_INTERVAL",
            60_000,
            100..=3_600_000,
        )),
        // Others' names may stand beside it.
        newest_names: names.split(',').any(|name| name.trim() == "gen_ai_latest_experimental"),
    }
}

fn collector(reader: &mut Reader<impl Fn(&str) -> Option<String>>, signal: &Signal) -> Option<Collector> {
    let off = reader.choice(signal.exporter, false, &[("otlp", false), ("none", true)]);
    let url = url(reader, signal);
    protocol(reader, signal);
    let headers = headers(reader, signal);
    let usual = reader.number(TIMEOUT, 10_000, 1..=600_000);
    let timeout = Duration::from_millis(reader.number(signal.timeout, usual, 1..=600_000));
    Some(Collector { url: url.filter(|_| !off)?, headers, timeout })
}

fn url(reader: &mut Reader<impl Fn(&str) -> Option<String>>, signal: &Signal) -> Option<Uri> {
    let own = reader.text(signal.endpoint).map(|text| (signal.endpoint, text, ""));
    let (name, text, path) = own.or(reader.text(ENDPOINT).map(|text| (ENDPOINT, text, signal.path)))?;
    let url = parsed(&text).and_then(|uri| with_path(uri, path));
    if url.is_none() {
        reader.problem(name, Some(&text), "not a URL of a collector; use one such as http://localhost:4318");
    }
    url
}

fn parsed(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let fine = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (fine && plain).then_some(uri)
}

/// `path` behind that of `uri`.
fn with_path(uri: Uri, path: &str) -> Option<Uri> {
    if path.is_empty() {
        return Some(uri);
    }
    let mut parts = uri.into_parts();
    let before = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
    parts.path_and_query = Some(format!("{}{path}", before.trim_end_matches('/')).parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Of the protocols, the one that is spoken here.
fn protocol(reader: &mut Reader<impl Fn(&str) -> Option<String>>, signal: &Signal) {
    let Some((name, value)) = reader.first(&[signal.protocol, PROTOCOL]) else { return };
    if value != "http/protobuf" {
        reader.problem(
            name,
            Some(&value),
            "not spoken here; use http/protobuf, and the port of the collector that takes it (4318 where gRPC is 4317)",
        );
    }
}

fn headers(
    reader: &mut Reader<impl Fn(&str) -> Option<String>>,
    signal: &Signal,
) -> Vec<(HeaderName, Secret)> {
    // Both are asked for, so that both are known as secrets.
    let [own, common] = [signal.headers, HEADERS].map(|name| reader.secret(name).map(|text| (name, text)));
    let Some((name, text)) = own.or(common) else { return Vec::new() };
    let headers: Option<Vec<_>> = pairs(text.expose())
        .map(|pair| {
            let (name, value) = pair?;
            let name: HeaderName = name.parse().ok()?;
            HeaderValue::from_str(&value).ok()?;
            Some((name, reader.hide(value)))
        })
        .collect();
    headers.unwrap_or_else(|| {
        reader.problem(
            name,
            None,
            "not a list of headers; write name=value,name=value (the value is not shown)",
        );
        Vec::new()
    })
}

fn attributes(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Vec<(String, String)> {
    let Some(text) = reader.text(ATTRIBUTES) else { return Vec::new() };
    pairs(&text).collect::<Option<Vec<_>>>().unwrap_or_else(|| {
        reader.problem(ATTRIBUTES, Some(&text), "not a list of attributes; write name=value,name=value");
        Vec::new()
    })
}

/// `a=b,c=d` with percent escapes in the values. <https://www.w3.org/TR/baggage/#header-content>
fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> + '_ {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let name = name.trim();
        (!name.is_empty()).then_some((name.to_owned(), unescaped(value.trim())?))
    })
}

/// Text without percent escapes.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn sampler(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Sampler {
    let (on, off, part) = (Some(1.0), Some(0.0), None);
    let kinds = [
        ("parentbased_always_on", (true, on)),
        ("parentbased_always_off", (true, off)),
        ("parentbased_traceidratio", (true, part)),
        ("always_on", (false, on)),
        ("always_off", (false, off)),
        ("traceidratio", (false, part)),
    ];
    let (parent_based, ratio) = reader.choice(SAMPLER, (true, on), &kinds);
    let argument = reader.text(SAMPLER_ARG);
    let part = argument
        .as_deref()
        .map_or(Some(1.0), |text| text.parse().ok().filter(|part: &f64| (0.0..=1.0).contains(part)));
    if let (None, None) = (ratio, part) {
        reader.problem(
            SAMPLER_ARG,
            argument.as_deref(),
            "not a part of all traces; use a number from 0 to 1",
        );
    }
    Sampler { parent_based, ratio: ratio.or(part).unwrap_or(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Otel, Vec<String>) {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let mut reader = Reader::new(lookup);
        let otel = otel(&mut reader);
        let problems = reader.finish().0.into_iter().map(|problem| problem.to_string()).collect();
        (otel, problems)
    }

    fn urls(pairs: &[(&str, &str)]) -> [Option<String>; 2] {
        let (otel, problems) = read(pairs);
        assert_eq!(problems, Vec::<String>::new());
        [otel.traces, otel.metrics].map(|collector| collector.map(|collector| collector.url.to_string()))
    }

    #[test]
    fn nothing_is_sent_without_an_endpoint() {
        assert_eq!(urls(&[("OTEL_SERVICE_NAME", "x")]), [None, None]);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert_eq!(urls(&[base, ("OTEL_SDK_DISABLED", "true")]), [None, None]);
    }

    #[test]
    fn each_signal_has_its_path_or_an_endpoint_of_its_own() {
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
    fn headers_are_secret_and_their_values_are_unescaped() {
        let (otel, problems) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20dTpw, x-a=b"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-b=c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert!(!format!("{otel:?}").contains("Basic"), "{otel:?}");
        let headers = |collector: &Option<Collector>| {
            let headers = collector.as_ref().unwrap().headers.iter();
            headers.map(|(name, value)| format!("{name}: {}", value.expose())).collect::<Vec<_>>()
        };
        assert_eq!(headers(&otel.traces), ["authorization: Basic dTpw", "x-a: b"]);
        assert_eq!(headers(&otel.metrics), ["x-b: c"]);
        assert_eq!(otel.traces.unwrap().timeout, Duration::from_millis(2500));
    }

    #[test]
    fn the_service_has_the_name_that_is_said_most_plainly() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=one,deployment.environment.name=a%2Cb");
        let (otel, _) = read(&[attributes]);
        let expected = vec![("deployment.environment.name".to_owned(), "a,b".to_owned())];
        assert_eq!((otel.service_name.as_str(), otel.attributes), ("one", expected));
        assert_eq!(read(&[attributes, ("OTEL_SERVICE_NAME", "two")]).0.service_name, "two");
        assert_eq!(read(&[]).0.service_name, "bedrock-proxy");
    }

    #[test]
    fn samplers_have_their_standard_names() {
        let sampler = |pairs: &[(&str, &str)]| {
            let sampler = read(pairs).0.sampler;
            (sampler.parent_based, sampler.ratio)
        };
        assert_eq!(sampler(&[]), (true, 1.0));
        assert_eq!(sampler(&[("OTEL_TRACES_SAMPLER", "always_off")]), (false, 0.0));
        let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
        assert_eq!(sampler(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]), (true, 0.25));
        assert_eq!(sampler(&[ratio]), (true, 1.0));
    }

    #[test]
    fn what_cannot_be_is_said_with_its_variable() {
        for (name, value, word) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://localhost:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "otlp"),
            ("OTEL_RESOURCE_ATTRIBUTES", "novalue", "name=value"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "whole number"),
        ] {
            let problems = read(&[(name, value)]).1;
            assert!(problems.iter().any(|text| text.contains(name) && text.contains(word)), "{problems:?}");
        }
        let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(read(&ratio).1.iter().any(|text| text.contains("from 0 to 1")));
        let problems = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]).1;
        assert!(problems.len() == 2 && !problems.iter().any(|text| text.contains("hunter2")), "{problems:?}");
    }
}
