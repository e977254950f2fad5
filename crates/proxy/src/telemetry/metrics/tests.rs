use std::sync::Arc;

use super::*;

const TOKENS: [(&str, i64); 5] =
    [("input", 10), ("output", 20), ("cache_read", 0), ("cache_write_5m", 0), ("cache_write_1h", 0)];

fn spent<'a>(model: &'a str, team: Option<&'a str>, user: &'a str) -> Spent<'a> {
    Spent {
        model,
        team,
        user,
        tokens: TOKENS,
        cost: 1_500_000_000,
        saved: 250_000_000,
        priced: false,
        estimated: true,
    }
}

fn counted<'a>(route: &'a str, method: &'a http::Method) -> Counted<'a> {
    Counted { route, method, status: 200, client: "curl", took: Duration::from_millis(300) }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is missing in\n{text}");
    }
}

#[test]
fn numbers_are_printed_by_their_names() {
    let metrics = Metrics::default();
    metrics.begun("/v1/messages");
    metrics.begun("/v1/messages");
    metrics.request(&counted("/v1/messages", &http::Method::POST));
    metrics.spent(&spent("m", Some("red"), "ana"));
    metrics.lesson("invoke", "beta");
    let (model, region) = (metrics.model("m"), metrics.region("us-east-1"));
    let asked = Answered { model: &model, region: &region, api: "converse", outcome: "throttled" };
    metrics.asked(&asked);
    metrics.overhead(Phase::Quota, Duration::from_micros(30));
    has(
        &metrics.render(true),
        &[
            r#"bedrock_proxy_http_requests_total{route="/v1/messages",method="POST",status="200",client="curl"} 1"#,
            r#"bedrock_proxy_http_request_duration_seconds_bucket{le="0.5",route="/v1/messages",status="200"} 1"#,
            r#"bedrock_proxy_inflight_requests{route="/v1/messages"} 1"#,
            r#"bedrock_proxy_upstream_requests_total{model="m",region="us-east-1",api="converse",outcome="throttled"} 1"#,
            r#"bedrock_proxy_overhead_seconds_bucket{le="0.00005",phase="quota"} 1"#,
            r#"bedrock_proxy_tokens_total{model="m",type="output",team="red"} 20"#,
            r#"bedrock_proxy_cost_usd_total{model="m",team="red"} 1.5"#,
            r#"bedrock_proxy_cache_savings_usd_total{model="m",team="red"} 0.25"#,
            r#"bedrock_proxy_unpriced_requests_total{model="m"} 1"#,
            r#"bedrock_proxy_estimated_requests_total{model="m"} 1"#,
            r#"bedrock_proxy_lessons_total{api="invoke",lesson="beta"} 1"#,
            "bedrock_proxy_usage_queue_dropped_total 0",
        ],
    );
    assert!(!metrics.render(true).contains("cache_read"), "nothing was read from the cache");
}

#[test]
fn users_are_a_label_only_when_they_are_asked_for() {
    for (users, label) in [(false, ""), (true, r#",user="ana""#)] {
        let metrics = Metrics::new(&[], users);
        metrics.spent(&spent("m", None, "ana"));
        let cost = format!(r#"bedrock_proxy_cost_usd_total{{model="m",team=""{label}}} 1.5"#);
        has(&metrics.render(true), &[&cost]);
    }
}

#[test]
fn made_up_names_do_not_grow_the_lists_without_end() {
    let known = "anthropic.claude".to_owned();
    let metrics = Metrics::new(std::slice::from_ref(&known), true);
    for number in 0..2 * MOST_NAMES {
        let name = format!("n{number}");
        metrics.spent(&spent(&name, Some("t"), "u"));
        metrics.spent(&spent("m", Some(&name), "u"));
        metrics.spent(&spent("m", Some("t"), &name));
        metrics.begun(&name);
        let method = http::Method::from_bytes(name.as_bytes()).unwrap();
        metrics.request(&counted(&name, &method));
        assert!(metrics.region(&name).as_ref() == name.as_str() || metrics.region(&name).as_ref() == "other");
    }
    assert_eq!(metrics.model(&known).as_ref(), known, "what the catalog knows is always named");
    let text = metrics.render(true);
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    // Beyond the named ones of each kind there is one `other`, and the pairs that were made on purpose.
    assert!(series("bedrock_proxy_cost_usd_total{") <= 3 * (MOST_NAMES + 2), "{text}");
    assert_eq!(series("bedrock_proxy_http_requests_total{"), MOST_NAMES + 1);
    assert!(text.contains(r#"method="other""#) && !text.contains(r#"method="n1""#));
}

#[test]
fn a_stream_is_counted_for_as_long_as_it_is_open() {
    let metrics = Metrics::default();
    let streams = [metrics.stream(), metrics.stream()];
    has(&metrics.render(true), &["bedrock_proxy_streams_active 2"]);
    drop(streams);
    has(&metrics.render(true), &["bedrock_proxy_streams_active 0"]);
}

#[test]
fn the_process_is_looked_at() {
    let metrics = Metrics::default();
    metrics.look(&Snapshot { credentials_expiry: Some(7), db_up: true, ..Snapshot::default() });
    let text = metrics.render(false);
    has(&text, &["bedrock_proxy_db_up 1"]);
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
    metrics.look(&Snapshot::default());
    assert!(!metrics.render(true).contains("expiry_timestamp_seconds"), "gone with the credentials");
}

/// Nothing is asserted about the time, as machines differ; run it alone and with `--release` to know it.
#[test]
fn a_request_is_counted_from_many_threads_at_once() {
    let metrics = Arc::new(Metrics::default());
    #[allow(clippy::disallowed_methods)] // it is only printed
    let begun = std::time::Instant::now();
    let (threads, each) = (4_u32, 2_000_u32);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..each).for_each(|_| one_request(&metrics)));
        }
    });
    println!("{:?} a request", begun.elapsed() * 2 / (threads * each));
    let text = metrics.render(true);
    has(&text, &[&format!(r#"bedrock_proxy_retries_total{{reason="throttled"}} {}"#, threads * each)]);
}

/// As many counts as a streamed request makes.
fn one_request(metrics: &Metrics) {
    metrics.begun("/v1/messages");
    let _stream = metrics.stream();
    let (model, region) = (metrics.model("anthropic.claude-sonnet-4-5"), metrics.region("us-east-1"));
    metrics.decided("user", "allowed", "within_limit");
    for outcome in ["throttled", "ok"] {
        metrics.asked(&Answered { model: &model, region: &region, api: "converse", outcome });
    }
    metrics.retried("throttled");
    metrics.answered(&model, &region, Duration::from_secs(2));
    metrics.first_token(&model, Duration::from_millis(700));
    metrics.inter_token(&model, Duration::from_millis(12));
    for phase in Phase::ALL {
        metrics.overhead(phase, Duration::from_micros(20));
    }
    metrics.spent(&spent("anthropic.claude-sonnet-4-5", Some("red"), "ana"));
    metrics.request(&counted("/v1/messages", &http::Method::POST));
}
