//! Spans of a complete request: the server span, and below it the client span of the request to Bedrock. They hold facts and
//! counts of the record, which has no content.

use std::time::SystemTime;

use http::Method;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use protocol::anthropic::Usage;
use tokio::time::Instant;

use super::attributes;
use crate::ids;
use crate::telemetry::metrics::method_label;
use crate::telemetry::record::{RequestRecord, UpstreamRecord};
use crate::telemetry::trace_context::TraceContext;

/// Builds spans with what all of them share.
pub(super) struct SpanBuilder {
    pub(super) scope: InstrumentationScope,
    /// Whether the newest attribute names are used.
    pub(super) use_newest_names: bool,
}

/// The time of a monotonic clock, as the wall clock would show it that shows `now` now.
fn wall_time(then: Instant, now: SystemTime) -> SystemTime {
    now - then.elapsed()
}

impl SpanBuilder {
    /// Builds the spans of a record that is complete at `now`; `labels` are its bounded model and Region.
    pub(super) fn build(
        &self,
        record: &RequestRecord,
        labels: Option<(&str, &str)>,
        now: SystemTime,
    ) -> Vec<SpanData> {
        let mut spans = vec![self.server_span(record, now)];
        let upstream = record.upstream.as_ref().zip(labels);
        spans.extend(upstream.and_then(|(upstream, labels)| self.client_span(record, upstream, labels, now)));
        spans
    }

    fn server_span(&self, record: &RequestRecord, now: SystemTime) -> SpanData {
        let (head, method) = (&record.head, method(&record.head.method));
        let mut attributes = vec![
            KeyValue::new(attributes::METHOD, method),
            KeyValue::new(attributes::REQUEST_ID, head.request_id.as_str().to_owned()),
            KeyValue::new(attributes::CLIENT, head.user_agent.name),
        ];
        attributes.extend(head.route.clone().map(|route| KeyValue::new(attributes::ROUTE, route)));
        attributes.extend(record.team.clone().map(|team| KeyValue::new(attributes::TEAM, team)));
        let status = record.status.map(|status| status.as_u16());
        attributes.extend(status.map(|status| KeyValue::new(attributes::STATUS, i64::from(status))));
        let outcome = Some(record.outcome()).filter(|outcome| *outcome != "finished");
        let error = record.error.as_ref().map(|error| error.kind).or(outcome);
        attributes.extend(error.map(|error| KeyValue::new(attributes::ERROR, error)));
        let parent = head.trace.parent.as_ref();
        // An error of the client is no error of a server span.
        // <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status>
        let failed = status.is_none_or(|status| status >= 500);
        SpanData {
            span_context: span_context(&head.trace, head.trace.span_id),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: head.route.as_ref().map_or(method.into(), |route| format!("{method} {route}").into()),
            attributes,
            status: error_status(failed.then(|| error.unwrap_or("cancelled"))),
            ..self.empty(wall_time(head.started_at, now), now)
        }
    }

    /// The span of all attempts together; `None` if nothing was sent to a model.
    fn client_span(
        &self,
        record: &RequestRecord,
        upstream: &UpstreamRecord,
        (model, region): (&str, &str),
        now: SystemTime,
    ) -> Option<SpanData> {
        let (started_at, error) = (upstream.started_at?, upstream.final_error());
        let requested_model = record.requested_model.as_deref().unwrap_or(model);
        let mut attributes = vec![
            KeyValue::new(attributes::OPERATION, attributes::CHAT),
            KeyValue::new(attributes::PROVIDER, attributes::BEDROCK),
            KeyValue::new(attributes::REQUEST_MODEL, requested_model.to_owned()),
            KeyValue::new(attributes::RESPONSE_MODEL, model.to_owned()),
            KeyValue::new(attributes::STREAM, record.streamed.unwrap_or(false)),
            KeyValue::new(attributes::SERVER, upstream.host.clone()),
            KeyValue::new(attributes::REGION, region.to_owned()),
            KeyValue::new(attributes::API, upstream.upstream_api.unwrap_or("other")),
            KeyValue::new(attributes::RETRIES, i64::from(upstream.retries)),
        ];
        let ids = [
            (attributes::CONVERSATION, record.head.session_id.as_deref()),
            (attributes::AWS_REQUEST, upstream.aws_request_id()),
        ];
        for (name, id) in ids {
            attributes.extend(id.map(|id| KeyValue::new(name, id.to_owned())));
        }
        attributes.extend(upstream.stop_reason.clone().map(|stop_reason| {
            let reasons = vec![StringValue::from(stop_reason)];
            KeyValue::new(attributes::FINISH, Value::Array(Array::String(reasons)))
        }));
        let first_chunk = upstream.time_to_first_token();
        attributes.extend(first_chunk.map(|time| KeyValue::new(attributes::FIRST_CHUNK, time.as_secs_f64())));
        attributes.extend(error.map(|error| KeyValue::new(attributes::ERROR, error)));
        attributes.extend(upstream.usage.iter().flat_map(|usage| self.usage_attributes(usage)));
        let ended_at = upstream.ended_at.map_or(now, |ended_at| wall_time(ended_at, now));
        Some(SpanData {
            span_context: span_context(&record.head.trace, SpanId::from_bytes(ids::span_id())),
            parent_span_id: record.head.trace.span_id,
            span_kind: SpanKind::Client,
            name: format!("{} {requested_model}", attributes::CHAT).into(),
            attributes,
            status: error_status(error),
            ..self.empty(wall_time(started_at, now), ended_at)
        })
    }

    fn usage_attributes(&self, usage: &Usage) -> [KeyValue; 4] {
        let cache_write =
            if self.use_newest_names { attributes::CACHE_WRITE } else { attributes::CACHE_CREATION };
        let counts = [
            (attributes::INPUT, prompt_tokens(usage)),
            (attributes::OUTPUT, usage.output_tokens),
            (attributes::CACHE_READ, usage.cache_read_input_tokens),
            (cache_write, usage.cache_creation_input_tokens),
        ];
        counts.map(|(name, count)| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX)))
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

fn error_status(error: Option<&'static str>) -> Status {
    error.map_or(Status::Unset, Status::error)
}

/// All tokens of a prompt: Anthropic counts those of the cache apart, OpenTelemetry's conventions include them.
pub(super) fn prompt_tokens(usage: &Usage) -> u64 {
    let cached = usage.cache_read_input_tokens.saturating_add(usage.cache_creation_input_tokens);
    usage.input_tokens.saturating_add(cached)
}

/// Method of the request, if it is a standard one.
/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#common-attributes>
pub(super) fn method(method: &Method) -> &'static str {
    match method_label(method) {
        "other" => "_OTHER",
        standard => standard,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::record::ErrorRecord;
    use crate::telemetry::record::tests::{record, upstream};

    fn build(record: &RequestRecord, now: SystemTime) -> Vec<SpanData> {
        let scope = InstrumentationScope::builder("test").build();
        SpanBuilder { scope, use_newest_names: false }.build(record, Some(("m", "r")), now)
    }

    fn attribute(span: &SpanData, name: &str) -> Option<String> {
        let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
        found.map(|attribute| attribute.value.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn spans_have_the_times_of_the_record() {
        let second = Duration::from_secs(1);
        let mut record = record();
        let started_at = record.head.started_at;
        tokio::time::advance(9 * second).await;
        record.response_sent = true;
        record.requested_model = Some("sonnet".to_owned());
        record.upstream = Some(UpstreamRecord {
            started_at: Some(started_at + second),
            first_token_at: Some(started_at + 3 * second),
            ended_at: Some(started_at + 8 * second),
            ..upstream(&["throttled", "ok"])
        });
        let now = SystemTime::UNIX_EPOCH + 100 * second;
        let spans = build(&record, now);
        let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((server.start_time, server.end_time), (now - 9 * second, now));
        assert_eq!((client.start_time, client.end_time), (now - 8 * second, now - second));
        assert_eq!(client.name, "chat sonnet");
        let client = |name| attribute(client, name);
        assert_eq!(client(attributes::RESPONSE_MODEL).as_deref(), Some("m"));
        assert_eq!(client(attributes::REGION).as_deref(), Some("r"));
        assert_eq!(client(attributes::FIRST_CHUNK).as_deref(), Some("2"));
        assert_eq!((attribute(server, attributes::ERROR), client(attributes::ERROR)), (None, None));
    }

    #[test]
    fn error_is_the_type_sent_or_the_outcome() {
        let error = |record: &RequestRecord| {
            let spans = build(record, SystemTime::UNIX_EPOCH + Duration::from_secs(9));
            assert_eq!(spans.len(), 1);
            attribute(&spans[0], attributes::ERROR)
        };
        let mut record = record();
        assert_eq!(error(&record).as_deref(), Some("cancelled"));
        record.error = Some(ErrorRecord { kind: "api_error", class: "upstream", code: None, path: None });
        assert_eq!(error(&record).as_deref(), Some("api_error"));
    }

    #[test]
    fn a_call_without_a_model_has_no_span() {
        let mut record = record();
        record.upstream = Some(UpstreamRecord { started_at: None, ..upstream(&["ok"]) });
        assert_eq!(build(&record, SystemTime::UNIX_EPOCH + Duration::from_secs(9)).len(), 1);
    }
}
