//! Access log: one line per request. Field names are those of `docs/operations.md`; unknown values are left out.

use std::time::Duration;

use protocol::anthropic::Usage;

use super::metrics::method_label;
use super::record::RequestRecord;

/// API of a route, by a part of its path template; the first row that matches.
const APIS: [(&str, &str); 10] = [
    ("/admin/", "admin"),
    ("count_tokens", "count_tokens"),
    ("count-tokens", "count_tokens"),
    ("chat/completions", "chat"),
    ("/model/", "bedrock"),
    ("inference-profiles", "bedrock"),
    ("models", "models"),
    ("messages", "messages"),
    ("/v1/me", "me"),
    ("/metrics", "metrics"),
];

/// API of a route: one of a closed list, or `other`.
fn api(route: &str) -> &'static str {
    // Some clients send their hello, and their list of models, below the path of the Messages API.
    if route.ends_with("/hello") || route == "/" {
        return "hello";
    }
    APIS.iter().find(|(part, _)| route.contains(part)).map_or("other", |(_, api)| api)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with three decimals, for durations below one.
fn fine_milliseconds(duration: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)] // exact up to three hundred years
    let microseconds = duration.as_micros() as f64;
    microseconds / 1000.0
}

/// Nano-dollars as dollars, to the last digit.
fn dollars(nano_usd: i64) -> String {
    const NANO: u64 = 1_000_000_000;
    let sign = if nano_usd < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", nano_usd.unsigned_abs() / NANO, nano_usd.unsigned_abs() % NANO)
}

/// Logs the line of a request. `aws_region` is the Region of the configuration.
pub(super) fn log(record: &RequestRecord, aws_region: &str) {
    let head = &*record.head;
    let (upstream, error) = (record.upstream.as_ref(), record.error.as_ref());
    let upstream_time = record.upstream_time();
    let charge = upstream.and_then(|upstream| upstream.charge);
    let usage = charge.map(|charge| charge.usage).or_else(|| upstream?.usage);
    let usage = usage.filter(|usage| *usage != Usage::default());
    let write_1h = usage.map(|usage| usage.cache_creation.ephemeral_1h_input_tokens);
    let first_token_at = upstream.and_then(|upstream| upstream.first_token_at);
    // The Bedrock API names its upstream API in the path.
    let is_bedrock = record.client_api == Some("bedrock");
    let route = head.route_or_other();
    let path = (head.path != route).then_some(head.path.as_str());
    tracing::info!(
        event = "request",
        request_id = %head.request_id,
        client_request_id = head.client_request_id,
        trace_id = %head.trace.trace_id,
        span_id = %head.trace.span_id,
        user = record.user_id,
        team = record.team,
        token_id = record.token_id,
        session_id = head.session_id,
        client = head.user_agent.name,
        client_version = head.user_agent.version,
        client_ip = head.peer.map(|peer| peer.ip().to_canonical().to_string()),
        method = method_label(&head.method),
        route,
        path,
        status = record.status.map(|status| status.as_u16()),
        api = api(route),
        model_requested = record.requested_model,
        model_upstream = upstream.and_then(|upstream| upstream.model_id.as_deref()),
        upstream_api = upstream.and_then(|upstream| upstream.upstream_api).filter(|_| !is_bedrock),
        region = upstream_time.map(|_| aws_region),
        stream = record.streamed,
        ttft_ms = first_token_at.map(|at| milliseconds(at - head.started_at)),
        duration_ms = milliseconds(record.duration),
        upstream_ms = upstream_time.map(milliseconds),
        overhead_ms = fine_milliseconds(record.overhead()),
        in_tok = usage.map(|usage| usage.input_tokens),
        out_tok = usage.map(|usage| usage.output_tokens),
        cache_read_tok = usage.map(|usage| usage.cache_read_input_tokens),
        cache_write_5m_tok = usage
            .zip(write_1h)
            .map(|(usage, write_1h)| usage.cache_creation_input_tokens.saturating_sub(write_1h)),
        cache_write_1h_tok = write_1h,
        cost_usd = charge.filter(|_| usage.is_some()).map(|charge| dollars(charge.cost_nano_usd)),
        estimated = charge.is_some_and(|charge| charge.estimated).then_some(true),
        stop_reason = upstream.and_then(|upstream| upstream.stop_reason.as_deref()),
        retries = upstream.map_or(0, |upstream| upstream.retries),
        notices = upstream.map_or(0, |upstream| upstream.notices),
        aws_request_id = upstream.and_then(|upstream| upstream.aws_request_id()),
        error_type = error.map(|error| error.kind),
        error_class = error.map(|error| error.class),
        error_code = error.and_then(|error| error.code),
        error_path = error.and_then(|error| error.path.as_deref()),
        bytes_in = record.request_bytes,
        bytes_out = record.response_bytes,
        outcome = record.outcome(),
        "{} {}",
        method_label(&head.method),
        path.unwrap_or(route),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_belongs_to_an_api() {
        for (route, expected) in [
            ("/v1/messages", "messages"),
            ("/anthropic/messages", "messages"),
            ("/v1/messages/count_tokens", "count_tokens"),
            ("/bedrock/model/{id}/count-tokens", "count_tokens"),
            ("/v1/messages/chat/completions", "chat"),
            ("/v1/messages/models", "models"),
            ("/v1/models/{id}", "models"),
            ("/model/{id}/converse-stream", "bedrock"),
            ("/bedrock/inference-profiles", "bedrock"),
            ("/v1/me", "me"),
            ("/metrics", "metrics"),
            ("/admin/v1/users/{id}", "admin"),
            ("/v1/messages/api/hello", "hello"),
            ("/", "hello"),
            ("other", "other"),
        ] {
            assert_eq!(api(route), expected, "{route}");
        }
    }

    #[test]
    fn costs_are_exact() {
        assert_eq!(dollars(3_333_333), "0.003333333");
        assert_eq!(dollars(-12_000_000_001), "-12.000000001");
        assert_eq!(dollars(i64::MAX), "9223372036.854775807");
    }
}
