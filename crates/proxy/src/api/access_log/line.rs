//! What the line of a request says. The names are those of `docs/operations.md`; what is not known is left out.

use std::time::Duration;

use protocol::anthropic::Usage;

use super::{Fields, Line};
use crate::api::context::CallersId;
use crate::store::dollars;
use crate::telemetry::metrics::method_label;

/// Which API a path belongs to, by what its template contains; the first row that fits.
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

/// The API of a template: one of a closed list, or `other`.
pub(super) fn api(template: &str) -> &'static str {
    // The list of models has an alias below the path of the Messages API; the hello of clients has one, too.
    if template.ends_with("/hello") || template == "/" {
        return "hello";
    }
    APIS.iter().find(|(part, _)| template.contains(part)).map_or("other", |(_, api)| api)
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with three digits behind the point, for what takes less than one.
fn fine_milliseconds(duration: Duration) -> f64 {
    #[allow(clippy::cast_precision_loss)] // exact up to three hundred years
    let microseconds = duration.as_micros() as f64;
    microseconds / 1000.0
}

/// Logs it.
pub(super) fn log(line: &Line, fields: &Fields) {
    let caller = fields.caller.as_deref();
    let duration = line.started.elapsed();
    let asked = fields.asked || fields.upstream > Duration::ZERO;
    let overhead = duration.saturating_sub(fields.upstream).saturating_sub(fields.client);
    let charged = fields.charged.as_ref();
    let usage = charged.map(|charged| charged.usage);
    let usage = usage.or_else(|| fields.summary.as_ref()?.usage).filter(|usage| *usage != Usage::default());
    let long = usage.map(|usage| usage.cache_creation.ephemeral_1h_input_tokens);
    let template = line.template();
    let path = (line.path != template).then_some(line.path.as_str());
    let stream_notices = fields.summary.as_ref().map_or(0, |summary| summary.notices.len());
    tracing::info!(
        event = "request",
        request_id = %line.request_id,
        client_request_id = line.callers_id.as_ref().map(CallersId::as_str),
        trace_id = %line.trace.trace_id,
        span_id = %line.trace.span_id,
        user = caller.map(|caller| caller.user_id.as_str()),
        team = caller.and_then(|caller| caller.team.as_deref()),
        token_id = caller.and_then(|caller| caller.jti.as_deref()),
        session_id = line.session_id,
        client = line.client.name,
        client_version = line.client.version,
        client_ip = line.peer.map(|peer| peer.ip().to_canonical().to_string()),
        method = method_label(&line.method),
        route = template,
        path,
        status = fields.status.map(|status| status.as_u16()),
        api = api(template),
        model_requested = fields.model_requested.as_deref(),
        model_upstream = fields.model_upstream.as_deref(),
        upstream_api = fields.route,
        region = asked.then(|| line.app.bedrock.region()),
        stream = fields.model_requested.is_some().then_some(fields.stream),
        ttft_ms = fields.first_word.map(|at| milliseconds(at - line.started)),
        duration_ms = milliseconds(duration),
        upstream_ms = asked.then(|| milliseconds(fields.upstream)),
        overhead_ms = fine_milliseconds(overhead),
        in_tok = usage.map(|usage| usage.input_tokens),
        out_tok = usage.map(|usage| usage.output_tokens),
        cache_read_tok = usage.map(|usage| usage.cache_read_input_tokens),
        cache_write_5m_tok =
            usage.zip(long).map(|(usage, long)| usage.cache_creation_input_tokens.saturating_sub(long)),
        cache_write_1h_tok = long,
        cost_usd = charged.filter(|_| usage.is_some()).map(|charged| dollars(charged.cost)),
        estimated = charged.is_some_and(|charged| charged.estimated).then_some(true),
        stop_reason = fields.summary.as_ref().and_then(|summary| summary.stop_reason.as_deref()),
        retries = fields.retries,
        notices = fields.notices + stream_notices,
        aws_request_id = fields.aws_request_id.as_deref(),
        error_type = fields.error,
        error_class = fields.error.and(fields.error_class),
        bytes_in = fields.bytes_in,
        bytes_out = fields.bytes_out,
        outcome = fields.outcome(),
        "{} {}",
        method_label(&line.method),
        path.unwrap_or(template),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_belongs_to_an_api() {
        for (template, expected) in [
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
            assert_eq!(api(template), expected, "{template}");
        }
    }
}
