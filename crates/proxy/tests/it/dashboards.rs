//! The dashboard and the alerts: they query metrics that exist, and link to the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bedrock_proxy::testing::{
    Attempt, Charge, Metrics, OverheadPhase, RequestHead, RequestId, RequestRecord, Snapshot, TraceContext,
    UpstreamRecord, UserAgent,
};
use http::{HeaderMap, Method, StatusCode};
use protocol::anthropic::Usage;
use protocol::translate::Outcome;
use serde_json::Value;

fn file(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A request that was retried once and used tokens of every type.
fn record() -> RequestRecord {
    let started_at = tokio::time::Instant::now();
    let later = |seconds| Some(started_at + Duration::from_secs(seconds));
    let attempt = |outcome| Attempt { outcome, aws_request_id: None };
    let mut usage = Usage {
        input_tokens: 1,
        output_tokens: 9,
        cache_read_input_tokens: 1,
        cache_creation_input_tokens: 2,
        ..Usage::default()
    };
    usage.cache_creation.ephemeral_1h_input_tokens = 1;
    let charge =
        Charge { usage, cost_nano_usd: 1, cache_savings_nano_usd: 1, is_priced: false, estimated: true };
    let mut record = RequestRecord::new(Arc::new(RequestHead {
        request_id: RequestId::generate(),
        client_request_id: None,
        trace: TraceContext::from_headers(&HeaderMap::new()),
        method: Method::POST,
        path: "/v1/messages".to_owned(),
        route: Some("/v1/messages".to_owned()),
        user_agent: UserAgent { name: "curl", version: None },
        session_id: None,
        peer: None,
        started_at,
    }));
    record.status = Some(StatusCode::OK);
    record.duration = Duration::from_secs(3);
    record.add_phase(OverheadPhase::Auth, Duration::from_micros(9));
    record.upstream = Some(UpstreamRecord {
        upstream_api: Some("converse"),
        attempts: vec![attempt("throttled"), attempt("ok")],
        started_at: later(0),
        first_token_at: later(1),
        ended_at: later(2),
        usage: Some(usage),
        outcome: Some(Outcome::Finished),
        charge: Some(charge),
        ..UpstreamRecord::default()
    });
    record
}

/// The names of all series, when everything has happened once.
fn printed() -> BTreeSet<String> {
    let metrics = Metrics::default();
    metrics.request_started("/v1/messages");
    metrics.record(&record());
    metrics.auth_failed("expired");
    metrics.quota_decided("user", "denied", "limit");
    metrics.unsupported_feature("invoke", "beta");
    metrics.usage_flushed(Duration::from_millis(3));
    metrics.set_certificate_expiry(1);
    metrics.set_price_versions(&["2026-11-22".to_owned()]);
    metrics.refresh(&Snapshot { credentials_expire_at: Some(1), ..Snapshot::default() });
    let text = metrics.render();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

/// The names of series in a query; `:` makes a name a rule's own.
fn series_names(text: &str) -> BTreeSet<&str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !letter(c)).filter(|word| !word.contains(':'));
    words.filter(|word| word.starts_with("bedrock_proxy_") || word.starts_with("process_")).collect()
}

#[test]
fn alerts_and_dashboard_query_existing_metrics() {
    let printed = printed();
    for path in [
        "deploy/prometheus/alerts.yaml",
        "deploy/prometheus/alerts.test.yaml",
        "deploy/grafana/bedrock-proxy.json",
    ] {
        let text = file(path);
        let requested = series_names(&text);
        assert!(requested.len() > 5, "{path} queries {requested:?}");
        for name in requested {
            assert!(printed.contains(name), "{path} queries {name}, which is not printed");
        }
    }
}

#[test]
fn every_alert_has_description_runbook_and_test() {
    let (rules, tried, runbook) = (
        file("deploy/prometheus/alerts.yaml"),
        file("deploy/prometheus/alerts.test.yaml"),
        file("docs/operations.md"),
    );
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 11);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in ["severity:", "summary:", "description:"] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        let runbook_url =
            format!("runbook_url: {}/blob/main/docs/operations.md#", env!("CARGO_PKG_REPOSITORY"));
        let anchor = alert.split(&runbook_url).nth(1).expect(name).lines().next().unwrap();
        assert!(runbook.contains(&format!(r#"id="{anchor}""#)), "{name}: the runbook has no {anchor}");
        let fires =
            tried.split("- alertname: ").any(|test| test.starts_with(name) && test.contains("exp_alerts"));
        assert!(fires, "{name} is never made to fire");
    }
}

#[test]
fn dashboard_defines_variables_and_panels_do_not_overlap() {
    let board: Value = serde_json::from_str(&file("deploy/grafana/bedrock-proxy.json")).unwrap();
    let variables = board["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "team", "model"]);
    let panels = board["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for (x, y) in
            (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
        {
            assert!(cells.insert((x, y)), "{} lies on another panel", panel["title"]);
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            let targets = panel["targets"].as_array().unwrap();
            assert!(
                targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| !expr.is_empty()))
            );
        }
    }
}
