//! What the line of a request tells to collectors of OpenTelemetry.

use std::time::SystemTime;

use http::Method;
use tokio::time::Instant;

use super::access_log::Fields;
use crate::app::App;
use crate::telemetry::otel::{RequestSpan, UpstreamSpan};
use crate::telemetry::trace_context::TraceContext;

/// What is known of a request from its head.
pub(super) struct Head<'a> {
    pub(super) trace: &'a TraceContext,
    pub(super) request_id: &'a str,
    pub(super) method: &'a Method,
    pub(super) route: Option<&'a str>,
    pub(super) client: &'static str,
    pub(super) session: Option<&'a str>,
    pub(super) started: Instant,
}

/// Tells of a request that is over.
pub(super) fn tell(app: &App, head: &Head<'_>, fields: &Fields) {
    if !app.otel.is_on() {
        return;
    }
    let (now, today) = (Instant::now(), app.clock.now());
    let at = |then: Instant| today - now.saturating_duration_since(then);
    let caller = fields.caller.as_deref();
    app.otel.export_span(&RequestSpan {
        trace: head.trace,
        request_id: head.request_id,
        method: method(head.method),
        route: head.route,
        status: fields.status.map(|status| status.as_u16()),
        client: head.client,
        team: caller.and_then(|caller| caller.team.as_deref()),
        error: fields.error.or((fields.outcome() != "finished").then(|| fields.outcome())),
        started_at: at(head.started),
        ended_at: today,
        upstream: call(app, head, fields, at, today),
    });
}

fn call<'a>(
    app: &'a App,
    head: &Head<'a>,
    fields: &'a Fields,
    at: impl Fn(Instant) -> SystemTime,
    today: SystemTime,
) -> Option<UpstreamSpan<'a>> {
    let course = &fields.course;
    let (asked, (model, region)) = (course.asked_at?, course.model.as_ref()?);
    let summary = fields.summary.as_ref();
    Some(UpstreamSpan {
        requested_model: fields.model_requested.as_deref().unwrap_or(model),
        model,
        region,
        host: app.bedrock.host(),
        upstream_api: fields.route.or(course.api).unwrap_or("other"),
        streamed: fields.stream,
        session_id: head.session,
        stop_reason: summary.and_then(|summary| summary.stop_reason.as_deref()),
        outcome: course.outcome(summary)?,
        aws_request_id: fields.aws_request_id.as_deref(),
        retries: fields.retries,
        usage: summary.and_then(|summary| summary.usage),
        time_to_first_chunk: fields.first_word.map(|first| first.saturating_duration_since(asked)),
        started_at: at(asked),
        ended_at: course.ended_at.map_or(today, &at),
    })
}

/// The method, if it is one that everybody knows.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}
