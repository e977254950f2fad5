//! Spans of a request: the server span, and below it the client span of the request to Bedrock.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::attributes;
use super::request_span::{RequestSpan, UpstreamSpan, prompt_tokens};
use crate::ids;
use crate::telemetry::trace_context::TraceContext;

/// Builds spans with what all of them share.
pub(super) struct SpanBuilder {
    pub(super) scope: InstrumentationScope,
    /// Whether the newest attribute names are used.
    pub(super) use_newest_names: bool,
}

impl SpanBuilder {
    /// Builds the spans of a complete request.
    pub(super) fn build(&self, request: &RequestSpan<'_>) -> Vec<SpanData> {
        let mut spans = vec![self.server_span(request)];
        spans.extend(request.upstream.as_ref().map(|upstream| self.client_span(request, upstream)));
        spans
    }

    fn server_span(&self, request: &RequestSpan<'_>) -> SpanData {
        let mut attributes = vec![
            KeyValue::new(attributes::METHOD, request.method),
            KeyValue::new(attributes::REQUEST_ID, request.request_id.to_owned()),
            KeyValue::new(attributes::CLIENT, request.client),
        ];
        attributes.extend(request.route.map(|route| KeyValue::new(attributes::ROUTE, route.to_owned())));
        attributes.extend(request.team.map(|team| KeyValue::new(attributes::TEAM, team.to_owned())));
        attributes.extend(request.status.map(|status| KeyValue::new(attributes::STATUS, i64::from(status))));
        attributes.extend(request.error.map(|error| KeyValue::new(attributes::ERROR, error)));
        let parent = request.trace.parent.as_ref();
        // An error of the client is no error of a server span.
        // <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status>
        let failed = request.status.is_none_or(|status| status >= 500);
        SpanData {
            span_context: span_context(request.trace, request.trace.span_id),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: [Some(request.method), request.route]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
                .into(),
            attributes,
            status: status(failed.then(|| request.error.unwrap_or("cancelled"))),
            ..self.empty(request.started_at, request.ended_at)
        }
    }

    fn client_span(&self, request: &RequestSpan<'_>, upstream: &UpstreamSpan<'_>) -> SpanData {
        let mut attributes = vec![
            KeyValue::new(attributes::OPERATION, attributes::CHAT),
            KeyValue::new(attributes::PROVIDER, attributes::BEDROCK),
            KeyValue::new(attributes::REQUEST_MODEL, upstream.requested_model.to_owned()),
            KeyValue::new(attributes::RESPONSE_MODEL, upstream.model.to_owned()),
            KeyValue::new(attributes::STREAM, upstream.streamed),
            KeyValue::new(attributes::SERVER, upstream.host.to_owned()),
            KeyValue::new(attributes::REGION, upstream.region.to_owned()),
            KeyValue::new(attributes::API, upstream.upstream_api),
            KeyValue::new(attributes::RETRIES, i64::from(upstream.retries)),
        ];
        let ids = [
            (attributes::CONVERSATION, upstream.session_id),
            (attributes::AWS_REQUEST, upstream.aws_request_id),
        ];
        for (name, id) in ids {
            attributes.extend(id.map(|id| KeyValue::new(name, id.to_owned())));
        }
        attributes.extend(upstream.stop_reason.map(|stop_reason| {
            let reasons = vec![StringValue::from(stop_reason.to_owned())];
            KeyValue::new(attributes::FINISH, Value::Array(Array::String(reasons)))
        }));
        attributes.extend(
            upstream
                .time_to_first_chunk
                .map(|time| KeyValue::new(attributes::FIRST_CHUNK, time.as_secs_f64())),
        );
        attributes.extend(upstream.error().map(|error| KeyValue::new(attributes::ERROR, error)));
        attributes.extend(self.usage_attributes(upstream));
        SpanData {
            span_context: span_context(request.trace, SpanId::from_bytes(ids::span_id())),
            parent_span_id: request.trace.span_id,
            span_kind: SpanKind::Client,
            name: format!("{} {}", attributes::CHAT, upstream.requested_model).into(),
            attributes,
            status: status(upstream.error()),
            ..self.empty(upstream.started_at, upstream.ended_at)
        }
    }

    fn usage_attributes(&self, upstream: &UpstreamSpan<'_>) -> Vec<KeyValue> {
        let Some(usage) = &upstream.usage else { return Vec::new() };
        let cache_write =
            if self.use_newest_names { attributes::CACHE_WRITE } else { attributes::CACHE_CREATION };
        let counts = [
            (attributes::INPUT, prompt_tokens(usage)),
            (attributes::OUTPUT, usage.output_tokens),
            (attributes::CACHE_READ, usage.cache_read_input_tokens),
            (cache_write, usage.cache_creation_input_tokens),
        ];
        counts.map(|(name, count)| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))).to_vec()
    }

    /// Span with nothing but its times.
    fn empty(&self, start_time: SystemTime, end_time: SystemTime) -> SpanData {
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time,
            end_time,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn span_context(trace: &TraceContext, span_id: SpanId) -> SpanContext {
    let state = trace.parent.as_ref().map(|parent| parent.trace_state().clone());
    SpanContext::new(trace.trace_id, span_id, TraceFlags::SAMPLED, false, state.unwrap_or_default())
}

fn status(error: Option<&'static str>) -> Status {
    error.map_or(Status::Unset, Status::error)
}
