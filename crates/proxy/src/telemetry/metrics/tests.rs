use std::sync::Arc;

use protocol::anthropic::Usage;
use protocol::translate::Outcome;

use super::super::record::RequestHead;
use super::super::record::tests::{record, upstream};
use super::*;

fn charge() -> Charge {
    Charge {
        usage: Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() },
        cost_nano_usd: 1_500_000_000,
        cache_savings_nano_usd: 250_000_000,
        is_priced: false,
        estimated: true,
    }
}

/// Record of a request by `user_id` of `team` for `model`, charged.
fn charged(model: &str, team: Option<&str>, user_id: &str) -> RequestRecord {
    let mut record = record();
    record.user_id = Some(user_id.to_owned());
    record.team = team.map(str::to_owned);
    record.upstream = Some(UpstreamRecord {
        foundation_model: model.to_owned(),
        charge: Some(charge()),
        ..upstream(&["ok"])
    });
    record
}

fn with_head(mut record: RequestRecord, edit: impl FnOnce(&mut RequestHead)) -> RequestRecord {
    edit(Arc::make_mut(&mut record.head));
    record
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_record_is_counted_by_its_labels() {
    let metrics = Metrics::default();
    metrics.request_started("/v1/messages");
    metrics.request_started("/v1/messages");
    metrics.unsupported_feature("invoke", "beta");
    let mut record = charged("m", Some("red"), "ana");
    record.status = Some(http::StatusCode::OK);
    record.duration = Duration::from_millis(300);
    record.add_phase(OverheadPhase::Quota, Duration::from_micros(30));
    metrics.record(&record);
    assert_lines(
        &metrics.render(),
        &[
            r#"bedrock_proxy_http_requests_total{route="/v1/messages",method="POST",status="200",client="curl"} 1"#,
            r#"bedrock_proxy_http_request_duration_seconds_bucket{le="0.5",route="/v1/messages",status="200"} 1"#,
            r#"bedrock_proxy_inflight_requests{route="/v1/messages"} 1"#,
            r#"bedrock_proxy_upstream_requests_total{model="m",region="us-east-1",api="converse",outcome="ok"} 1"#,
            r#"bedrock_proxy_overhead_seconds_bucket{le="0.00005",phase="quota"} 1"#,
            r#"bedrock_proxy_tokens_total{model="m",type="output",team="red"} 20"#,
            r#"bedrock_proxy_cost_usd_total{model="m",team="red"} 1.5"#,
            r#"bedrock_proxy_cache_savings_usd_total{model="m",team="red"} 0.25"#,
            r#"bedrock_proxy_unpriced_requests_total{model="m"} 1"#,
            r#"bedrock_proxy_estimated_requests_total{model="m"} 1"#,
            r#"bedrock_proxy_unsupported_features_total{api="invoke",feature="beta"} 1"#,
            "bedrock_proxy_usage_queue_dropped_total 0",
        ],
    );
    assert!(!metrics.render().contains("cache_read"), "no token was read from the cache");
}

/// Attempts and retries that are counted for a record, as `attempt outcome count` and `retry outcome count`.
fn attempts(upstream: UpstreamRecord) -> Vec<String> {
    let mut record = record();
    record.upstream = Some(upstream);
    let metrics = Metrics::default();
    metrics.record(&record);
    let text = metrics.render();
    let lines = text.lines().filter_map(|line| {
        let retry = line.strip_prefix(r#"bedrock_proxy_retries_total{reason=""#);
        let attempt = line.split_once(r#"api="converse",outcome=""#).map(|(_, rest)| rest);
        let (outcome, count) = retry.or(attempt)?.split_once("\"} ")?;
        Some(format!("{} {outcome} {count}", if retry.is_some() { "retry" } else { "attempt" }))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines
}

#[test]
fn attempts_are_counted_by_their_outcome() {
    let finished = upstream(&["throttled", "throttled", "ok"]);
    assert_eq!(attempts(finished), ["attempt ok 1", "attempt throttled 2", "retry throttled 2"]);
    let cancelled = UpstreamRecord { outcome: Some(Outcome::Cancelled), ..upstream(&["ok"]) };
    assert_eq!(attempts(cancelled), ["attempt cancelled 1"]);
    let denied = UpstreamRecord { gave_up: true, outcome: None, ..upstream(&["validation", "access"]) };
    assert_eq!(attempts(denied), ["attempt access 1", "attempt validation 1", "retry validation 1"]);
    let interrupted = UpstreamRecord {
        outcome: Some(Outcome::Failed),
        interrupted_by: Some("timeout"),
        ..upstream(&["ok"])
    };
    assert_eq!(attempts(interrupted), ["attempt timeout 1"]);
    assert_eq!(attempts(UpstreamRecord::default()), Vec::<String>::new());
}

#[test]
fn time_between_tokens_is_the_mean() {
    let mut record = record();
    let start = record.head.started_at;
    record.upstream = Some(UpstreamRecord {
        started_at: Some(start),
        first_token_at: Some(start + Duration::from_secs(1)),
        ended_at: Some(start + Duration::from_secs(3)),
        ..upstream(&["ok"])
    });
    let metrics = Metrics::default();
    metrics.record(&record);
    assert_lines(
        &metrics.render(),
        &[
            r#"bedrock_proxy_inter_token_seconds_sum{model="m"} 0.02"#,
            r#"bedrock_proxy_time_to_first_token_seconds_sum{model="m"} 1.0"#,
            r#"bedrock_proxy_upstream_duration_seconds_sum{model="m",region="us-east-1"} 3.0"#,
        ],
    );
}

#[test]
fn durations_of_a_phase_are_added() {
    let mut record = record();
    record.add_phase(OverheadPhase::Translate, Duration::from_micros(30));
    record.add_phase(OverheadPhase::Translate, Duration::from_micros(20));
    record.add_phase(OverheadPhase::Auth, Duration::from_micros(5));
    let metrics = Metrics::default();
    metrics.record(&record);
    let text = metrics.render();
    assert_lines(
        &text,
        &[
            r#"bedrock_proxy_overhead_seconds_count{phase="translate"} 1"#,
            r#"bedrock_proxy_overhead_seconds_bucket{le="0.00005",phase="translate"} 1"#,
            r#"bedrock_proxy_overhead_seconds_bucket{le="0.000025",phase="translate"} 0"#,
        ],
    );
    assert!(!text.contains(r#"phase="quota""#), "{text}");
}

#[test]
fn user_label_is_optional() {
    for (has_user_label, label) in [(false, ""), (true, r#",user="ana""#)] {
        let metrics = Metrics::new(&[], has_user_label);
        metrics.record(&charged("m", None, "ana"));
        let cost = format!(r#"bedrock_proxy_cost_usd_total{{model="m",team=""{label}}} 1.5"#);
        assert_lines(&metrics.render(), &[&cost]);
    }
}

#[test]
fn invented_label_values_are_bounded() {
    let cataloged = "anthropic.claude".to_owned();
    let metrics = Metrics::new(std::slice::from_ref(&cataloged), true);
    for number in 0..2 * MAX_LABEL_VALUES {
        let value = format!("n{number}");
        metrics.record(&charged(&value, Some("t"), "u"));
        metrics.record(&charged("m", Some(&value), "u"));
        metrics.record(&charged("m", Some("t"), &value));
        metrics.request_started(&value);
        metrics.record(&with_head(record(), |head| {
            head.route = Some(value.clone());
            head.method = http::Method::from_bytes(value.as_bytes()).unwrap();
        }));
        let region = metrics.region_label(&value);
        assert!([value.as_str(), "other"].contains(&&*region));
    }
    assert_eq!(*metrics.model_label(&cataloged), *cataloged, "models of the catalog keep their label");
    let text = metrics.render();
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    // Beyond the values of each label there is one `other`, and the pairs above.
    assert!(series("bedrock_proxy_cost_usd_total{") <= 3 * (MAX_LABEL_VALUES + 2), "{text}");
    // One more is the route of the charged records.
    assert!(series("bedrock_proxy_http_requests_total{") <= MAX_LABEL_VALUES + 2, "{text}");
    assert!(text.contains(r#"method="other""#) && !text.contains(r#"method="n1""#));
}

#[test]
fn a_stream_is_counted_while_open() {
    let metrics = Metrics::default();
    let streams = [metrics.stream_opened(), metrics.stream_opened()];
    assert_lines(&metrics.render(), &["bedrock_proxy_streams_active 2"]);
    drop(streams);
    assert_lines(&metrics.render(), &["bedrock_proxy_streams_active 0"]);
}

#[test]
fn gauges_and_process_metrics_are_refreshed() {
    let metrics = Metrics::default();
    metrics.refresh(&Snapshot { credentials_expire_at: Some(7), db_up: true, ..Snapshot::default() });
    let text = metrics.render();
    assert_lines(&text, &["bedrock_proxy_db_up 1"]);
    assert!(text.contains("\nbedrock_proxy_aws_credentials_expiry_timestamp_seconds"), "{text}");
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{name}\n{text}"))
    };
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_threads"] {
        assert!(value(name) > 0.0, "{name}");
    }
    // 2020, in seconds.
    assert!(value("process_start_time_seconds") > 1_577_836_800.0);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    metrics.refresh(&Snapshot::default());
    assert!(!metrics.render().contains("expiry_timestamp_seconds"), "absent without an expiry");
}

/// Asserts nothing about the time, as machines differ; run it alone and with `--release` to read it.
#[test]
fn concurrent_records_are_all_counted() {
    let metrics = Metrics::default();
    #[allow(clippy::disallowed_methods)] // it is only printed
    let started_at = std::time::Instant::now();
    let (threads, requests) = (4_u32, 2_000_u32);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..requests).for_each(|_| one_request(&metrics)));
        }
    });
    println!("{:?} per request", started_at.elapsed() * 2 / (threads * requests));
    let text = metrics.render();
    let line = format!(r#"bedrock_proxy_retries_total{{reason="throttled"}} {}"#, threads * requests);
    assert_lines(&text, &[&line]);
}

/// Counts what a streamed request counts.
fn one_request(metrics: &Metrics) {
    metrics.request_started("/v1/messages");
    let _stream = metrics.stream_opened();
    metrics.quota_decided("user", "allowed", "within_limit");
    let mut record = charged("anthropic.claude-sonnet-4-5", Some("red"), "ana");
    let start = record.head.started_at;
    for phase in OverheadPhase::ALL {
        record.add_phase(phase, Duration::from_micros(20));
    }
    record.upstream = Some(UpstreamRecord {
        first_token_at: Some(start + Duration::from_millis(700)),
        ended_at: Some(start + Duration::from_secs(2)),
        charge: Some(charge()),
        ..upstream(&["throttled", "ok"])
    });
    metrics.record(&record);
}
